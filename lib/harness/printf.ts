/** printf's formats over integers that travelled as numbers, as the KVM selftests' guest_sprintf.c has them. */

const FORMAT = /%([-+ 0#]*)(\d+)?(?:\.(\d+))?(?:hh|h|ll|l|z)?([%cdiuxXop])/g

/** `format` with `values` in place. A value that is missing shows as `?`. */
export const formatText = (format: string, values: readonly bigint[]): string => {
  let next = 0
  return format.replace(
    FORMAT,
    (_, flags: string, width: string | undefined, precision: string | undefined, as: string) => {
      if (as === '%') return '%'
      const value = values[next++]
      if (value === undefined) return '?'
      return pad(body(value, as, flags, Number(precision ?? 0)), Number(width ?? 0), flags, precision === undefined)
    },
  )
}

const body = (value: bigint, as: string, flags: string, digits: number): string => {
  const unsigned = BigInt.asUintN(64, value)
  const isAlternate = flags.includes('#')
  switch (as) {
    case 'c':
      return String.fromCharCode(Number(value & 0xffn))
    case 'x':
      return `${isAlternate ? '0x' : ''}${unsigned.toString(16).padStart(digits, '0')}`
    case 'X':
      return `${isAlternate ? '0X' : ''}${unsigned.toString(16).toUpperCase().padStart(digits, '0')}`
    case 'o':
      return `${isAlternate ? '0' : ''}${unsigned.toString(8).padStart(digits, '0')}`
    case 'p':
      return `0x${unsigned.toString(16)}`
    case 'u':
      return unsigned.toString().padStart(digits, '0')
    default: {
      const sign = value < 0n ? '-' : flags.includes('+') ? '+' : flags.includes(' ') ? ' ' : ''
      return sign + (value < 0n ? -value : value).toString().padStart(digits, '0')
    }
  }
}

const pad = (text: string, width: number, flags: string, mayZero: boolean): string => {
  if (flags.includes('-')) return text.padEnd(width)
  if (!flags.includes('0') || !mayZero) return text.padStart(width)
  const prefix = /^([-+ ]|0[xX])?/.exec(text)?.[0] ?? ''
  return prefix + text.slice(prefix.length).padStart(width - prefix.length, '0')
}
