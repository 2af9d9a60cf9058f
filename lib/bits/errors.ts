/** Errors that every room may throw. */

/** Real hardware has it and we do not: stops the test by name, and never looks like a pass. */
export class NotModelled extends Error {
  override readonly name = 'NotModelled'
}
