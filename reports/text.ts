/** Text as every reader of TAP takes it: names without '#', lines without control characters. */
import { stripVTControlCharacters } from 'node:util'

/**
 * A test's name, safe in a result line: `#`, control characters, line separators and blanks at the ends are
 * percent-encoded, so that different names stay different.
 */
export const safeName = (name: string): string =>
  name.toWellFormed().replace(/[#\p{Cc}\u2028\u2029]|%(?=[0-9A-F]{2})|^ | $/gu, encodeURIComponent)

/** What follows a directive, on one line. */
export const safeReason = (reason: string): string =>
  visible(stripVTControlCharacters(reason).replace(/\s+/g, ' '))
    .replace(/[\u2028\u2029]/g, ' ')
    .trim()

/**
 * Output of a test as lines: a lone carriage return ends a line too (Python's readers think so), terminal escapes are
 * gone, other control characters are spelled `\x00`. A missing newline at the end is no extra line.
 */
export const lines = (text: string): string[] => {
  const all = visible(
    stripVTControlCharacters(text.toWellFormed()).replace(/\r+\n/g, '\n').replaceAll('\r', '\n'),
  ).split('\n')
  if (all.at(-1) === '') all.pop()
  return all
}

/** Control characters but newline and tab, spelled out. */
const visible = (text: string): string =>
  text.replace(/(?![\n\t])\p{Cc}/gu, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`)

/** One argument of a command line, quoted where a POSIX shell needs it. */
export const quoted = (argument: string): string =>
  /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`
