/** Values as failures show them: bigints in hex, bytes as a dump, structures a field a line where they are long. */
import { hex } from '#bits'

const WIDE = 60
const DEPTH = 6

/** `value` as text; more than one line only where it does not fit one. */
export const show = (value: unknown): string => {
  if (typeof value === 'string') return value.includes('\n') ? value : quote(value)
  if (value instanceof Uint8Array) return value.length <= 16 ? byteText(value) : dump(value)
  const flat = inline(value, DEPTH)
  return flat.length <= WIDE ? flat : nested(value, '', DEPTH)
}

/** `value` with a field a line, whatever its size: two of these compare well line by line. */
export const showFields = (value: unknown): string => nested(value, '', DEPTH)

/** As kselftest and our sources quote. */
const quote = (text: string): string =>
  `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`

const byteText = (bytes: Uint8Array): string => [...bytes].map(b => b.toString(16).padStart(2, '0')).join(' ')

/** Sixteen bytes a line, with the offset, however few they are: two of these compare line by line. */
export const showBytes = (bytes: Uint8Array): string => `${dump(bytes)}\n`

/** Sixteen bytes a line, with the offset. */
const dump = (bytes: Uint8Array): string => {
  const lines: string[] = []
  for (let at = 0; at < bytes.length; at += 16)
    lines.push(`${at.toString(16).padStart(4, '0')}  ${byteText(bytes.subarray(at, at + 16))}`)
  return lines.join('\n')
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array) && !(value instanceof RegExp)

const fieldsOf = (value: Record<string, unknown>): [string, unknown][] =>
  Object.entries(value).filter(([, field]) => typeof field !== 'function')

const inline = (value: unknown, depth: number): string => {
  switch (typeof value) {
    case 'bigint':
      return value < 0n ? `-${hex(-value)}` : hex(value)
    case 'string':
      return quote(value)
    case 'function':
      return value.name === '' ? 'a function' : `function ${value.name}`
    default:
      break
  }
  if (value instanceof Uint8Array) return byteText(value)
  if (value instanceof Error) return `${value.name}: ${value.message}`
  if (depth === 0) return '...'
  if (Array.isArray(value)) return `[${value.map(item => inline(item, depth - 1)).join(', ')}]`
  if (isPlain(value))
    return `{ ${fieldsOf(value)
      .map(([key, field]) => `${key}: ${inline(field, depth - 1)}`)
      .join(', ')} }`
  return String(value)
}

const nested = (value: unknown, indent: string, depth: number): string => {
  if (!isPlain(value) || value instanceof Error || depth === 0) return inline(value, depth)
  const inner = `${indent}  `
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}']
  const fields = fieldsOf(value)
  const width = Math.max(0, ...fields.map(([key]) => key.length))
  const lines = fields.map(([key, field]) => {
    const flat = inline(field, depth - 1)
    const text = flat.length <= WIDE ? flat : nested(field, inner, depth - 1)
    return Array.isArray(value) ? `${inner}${text}` : `${inner}${`${key}:`.padEnd(width + 1)} ${text}`
  })
  return [open, ...lines, `${indent}${close}`].join('\n')
}

/** Names and texts as `showFields` has them. */
export const showRows = (rows: readonly (readonly [string, string])[]): string => {
  const width = Math.max(0, ...rows.map(([name]) => name.length))
  return ['{', ...rows.map(([name, text]) => `  ${`${name}:`.padEnd(width + 1)} ${text}`), '}'].join('\n')
}

/** Milliseconds as failures say them. */
export const seconds = (ms: number): string => `${ms / 1000} second${ms === 1000 ? '' : 's'}`
