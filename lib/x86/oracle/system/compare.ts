/** What differs between two outcomes of a program, as far as it is architectural. */
import { RIGHTS } from '#abi'
import type { Outcome } from './machine.ts'
import { AFTER_SEGMENTS, BEFORE_SEGMENTS, SEGMENTS, type Segment } from './start.ts'

/** Bits of access rights that are compared: type, S, DPL, P, L, D/B. G only says how the limit was written. */
const COMPARED = 0x60ff
const ACCESSED = 1

/**
 * A segment as it can be compared. Of an unusable one the selector counts; whether a base and limit are left in it
 * differs between makers. The DPL of CS and the data segments is looked at by no one but SS's, and KVM does not keep it.
 */
const shown = (name: string, { selector, base, limit, rights }: Segment): string => {
  const unusable = (rights & RIGHTS.UNUSABLE) !== 0 || (rights & RIGHTS.P) === 0
  const at = selector.toString(16)
  if (unusable) return `${at} unusable${name === 'ss' ? ` dpl ${(rights >> 5) & 3}` : ''}`
  const known = name === 'ldtr' || name === 'tr' ? rights & 0xff : rights & COMPARED
  return `${at} ${base.toString(16)}+${limit.toString(16)} ${(known | (name === 'tr' || name === 'ldtr' ? 0 : ACCESSED)).toString(16)}`
}

/** `FIELD: ours, real`, one line each. */
export const compare = (ours: Outcome, real: Outcome): string[] => {
  const found: string[] = []
  const check = (name: string, a: string, b: string) => {
    if (a !== b) found.push(`${name}: ${a}, ${b}`)
  }
  check('end', ours.end, real.end)
  // At a port, KVM is where it goes on once it is answered, and that depends on what the port is told.
  if (found.length > 0 || ours.end.startsWith('io ')) return found
  for (const name of [...BEFORE_SEGMENTS, ...AFTER_SEGMENTS]) {
    check(name, ours.state.numbers[name]!.toString(16), real.state.numbers[name]!.toString(16))
  }
  for (const name of SEGMENTS)
    check(name, shown(name, ours.state.segments[name]!), shown(name, real.state.segments[name]!))
  const places = [...new Set([...ours.changed.keys(), ...real.changed.keys()])].sort((a, b) => a - b)
  for (const at of places)
    check(`[${at.toString(16)}]`, ours.changed.get(at)?.toString(16) ?? '-', real.changed.get(at)?.toString(16) ?? '-')
  return found
}
