/** Formats what a guest printed, by the rules of the KVM selftests' guest_vsnprintf (lib/guest_sprintf.c): no floats. */

const DIRECTIVE = /%([-+ #0]*)(\d+|\*)?(?:\.(\d*|\*))?(hh|h|ll|l|L|z)?([a-zA-Z%])/g
const BITS: Readonly<Record<string, number>> = { hh: 8, h: 16, l: 64, ll: 64, L: 64, z: 64 }

/** The text whose bytes travelled in these values, up to its NUL. */
export const textOf = (values: readonly bigint[]): string => {
  const bytes = new Uint8Array(BigUint64Array.from(values).buffer)
  const end = bytes.indexOf(0)
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end))
}

/**
 * `text` with `values` (as they travelled, 64 bits each) in place. `string` reads what a `%s` points to.
 * `strings` says where among the values a string itself begins, and how many values it takes.
 * A directive without a value, or an unknown one, stays as it is written.
 */
export const format = (
  text: string,
  values: readonly bigint[],
  string: (pointer: bigint) => string = p => `<string at 0x${p.toString(16)}>`,
  strings: Readonly<Record<number, number>> = {},
): string => {
  let next = 0
  return text.replace(DIRECTIVE, (whole, flags: string, width, precision, length, kind: string) => {
    if (kind === '%') return '%'
    if (!'cspoxXdiu'.includes(kind)) return whole
    const star = (given: string | undefined): number | undefined =>
      given === '*' ? Number(BigInt.asIntN(32, values[next++] ?? 0n)) : given === undefined ? undefined : Number(given)
    const wide = star(width)
    const digits = star(precision)
    const length64 = strings[next]
    const value = values[next++]
    if (value === undefined) return whole
    const isLeft = flags.includes('-') || (wide ?? 0) < 0
    const size = Math.abs(wide ?? 0)
    const pad = (s: string) => (isLeft ? s.padEnd(size) : s.padStart(size))
    if (kind === 'c') return pad(String.fromCharCode(Number(value & 0xffn)))
    if (kind === 's') {
      if (length64 === undefined) return pad(string(value).slice(0, digits))
      next += length64 - 1
      return pad(textOf(values.slice(next - length64, next)).slice(0, digits))
    }
    return number(value, kind, flags, length, digits, isLeft ? 0 : size, pad)
  })
}

const number = (
  value: bigint,
  kind: string,
  flags: string,
  length: string | undefined,
  digits: number | undefined,
  width: number,
  pad: (s: string) => string,
): string => {
  if (kind === 'p') return pad(value.toString(16).padStart(16, '0'))
  const bits = BITS[length ?? ''] ?? 32
  const isSigned = kind === 'd' || kind === 'i'
  const held = isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value)
  const radix = kind === 'o' ? 8 : kind === 'x' || kind === 'X' ? 16 : 10
  let body = (held < 0n ? -held : held).toString(radix)
  const sign = held < 0n ? '-' : !isSigned ? '' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : ''
  const prefix = !flags.includes('#') || held === 0n ? '' : radix === 16 ? '0x' : radix === 8 ? '0' : ''
  if (digits !== undefined) body = body.padStart(digits, '0')
  else if (flags.includes('0')) body = body.padStart(width - sign.length - prefix.length, '0')
  const whole = sign + prefix + body
  return pad(kind === 'X' ? whole.toUpperCase() : whole)
}
