/** Where a guest stands, seen with the emulator's own debugger: the notes of a failure. */
import { hex } from '#bits'
import { symbolAt } from '#guest'
import type { Failure as FailureData } from '#reports'
import type { Machine } from './machine.ts'
import type { Td } from './td.ts'

type GuestState = NonNullable<FailureData['guest']>

export const guestState = (machine: Machine, td: Td, index: number, fd: number): GuestState => {
  const seen = machine.host.inspect(fd)
  const symbol = symbolAt(td.image.symbols, seen.rip)
  const at = symbol === undefined ? '' : ` ${symbol.name}${symbol.offset === 0 ? '' : `+${hex(symbol.offset)}`}`
  return {
    vcpu: index,
    rip: `${hex(seen.rip)}${at}`,
    instructions: seen.instructions,
    notes: [],
  }
}
