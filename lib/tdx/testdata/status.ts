/** Test words for statuses: what a call came to, by name. */
import * as abi from '#abi'
import type { LogicalProcessor } from '../leaf.ts'
import type { Host } from './host.ts'

type Inputs = Parameters<Host['call']>[1]

/** The status of a call in words. */
export const said = (host: Host, leaf: number, inputs: Inputs = {}, lp?: LogicalProcessor): string =>
  abi.statusName(host.call(leaf, inputs, lp))

/** What every TD operand is checked for, by value. */
export const badPages = (host: Host): [why: string, value: bigint, status: string][] => [
  ['misaligned', 0x1001n, 'TDX_OPERAND_INVALID'],
  ['with key id bits', 1n << 45n, 'TDX_OPERAND_INVALID'],
  ['too wide', 1n << 60n, 'TDX_OPERAND_INVALID'],
  ['in no TDMR', 0x10_0000_0000n, 'TDX_OPERAND_ADDR_RANGE_ERROR'],
  ['reserved in its TDMR', BigInt(host.memory.u8.length), 'TDX_PAGE_METADATA_INCORRECT'],
]
