/** What was given cannot be run: one line for whoever gave it. */
export class BadImage extends Error {
  override readonly name = 'BadImage'
}
