/** What the Secure EPT says about a GPA, in words: for debuggers. */
import * as abi from '#abi'
import { stateOfEntry } from './sept.ts'
import type { Vcpu } from './vcpu.ts'

export type SeptEntry = {
  /** Level of the entry where the walk ended: 0 is that of a 4 KiB page. */
  readonly level: number
  readonly entry: bigint
  /** `SEPT_MAPPED`, `SEPT_PENDING`, ... */
  readonly state: string
}

const NAMES = new Map(
  Object.entries(abi).flatMap(([name, value]) =>
    /^SEPT_(NL_)?(FREE|BLOCKEDW?|PENDING|MAPPED|REMOVED|EXPORTED)/.test(name) && typeof value === 'number'
      ? [[value, name] as const]
      : [],
  ),
)

/** The entry that a private GPA's walk ends at; undefined for a shared GPA. */
export const explainSept = ({ td }: Vcpu, gpa: bigint): SeptEntry | undefined => {
  if ((gpa & td.sharedBit) !== 0n) return undefined
  const entry = td.tree.walk(Number(gpa), 0)
  const state = stateOfEntry(entry)
  return { level: td.tree.level, entry, state: NAMES.get(state) ?? `state ${state}` }
}
