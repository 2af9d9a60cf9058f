/** Where regions are left, and where in the state frame compiled code puts what it leaves behind. */

import { STATE } from '../state.ts'

/** Where things of compiled code are in the state frame, behind the registers. */
export const SCRATCH = {
  LEFT: 0x400,
  RULE: STATE.RULE,
  FLAG_A: 0x408,
  FLAG_B: 0x410,
  FLAG_R: 0x418,
  LINEAR: 0x420,
  PAGE: 0x428,
  PAGE_FRAME: 0x430,
  SCATTER: 0x440,
  /** 16 bytes that a unit's function has for what comes behind it. */
  VALUE: 0x480,
} as const
/** Offset of a site that has stored RIP itself. */
export const STORED = -0x8000_0000
/** Rule of a site where the function knows the recipe, at run time. */
export const DYNAMIC = -1

/**
 * Why a region is left: `slice` (it ran for long enough), `edge` (the code goes on outside of it, or where nothing is
 * compiled), `jump` (the same, to where only running tells), `access` (the TLB does not know the page, or the access
 * ends in another), `case` (what the instruction meets is the interpreter's).
 */
export type Way = 'slice' | 'edge' | 'jump' | 'access' | 'case'

/** Places where the region is left, by number. */
export type Sites = {
  readonly ways: Way[]
  /** RIP, from the beginning of the page. */
  readonly offsets: number[]
  /** Instructions to take from what is left. */
  readonly done: number[]
  /** Number of the recipe times 64 plus the flags that follow from it. */
  readonly rules: number[]
  /** The access that the TLB did not know; its address is in SCRATCH.LINEAR. */
  readonly missed: (Missed | undefined)[]
  /** Instructions that the interpreter does in place, by number: where they are in the page, and whether it is about flags. */
  readonly helped: { readonly offset: number; readonly flags: boolean }[]
}

/** `length` bytes were asked for, `size` of them by the instruction that was reached. */
export type Missed = { readonly size: number; readonly length: number; readonly writes: boolean }
/** Leaves before the instruction that is being written. */
export type Leave = (way: Way, missed?: Missed) => void
