/**
 * Predecoded instructions in machine memory. A block is a head and then one record for each instruction of a straight run
 * of code; conditional jumps may be among them. What a handler does not know from the shape of an instruction is here.
 */

/** Bytes of a head, and of a record. */
export const RECORD_BYTES = 32

/** Byte offsets in a head. */
export const HEAD = {
  /** Instructions in the block: taken from what is left at its beginning, given back where it is left early. */
  NEED: 0,
  /** How many more jumps to it make it hot. */
  HEAT: 4,
} as const
/** A block with this need is never entered: it is not there, or there is compiled code for it. */
export const NEVER = 0x7fff_ffff

/** Byte offsets in a record. */
export const RECORD = {
  /** Number of the handler in the table. */
  HANDLER: 0,
  /** Offset of the instruction in its page, 16 bits. */
  OFFSET: 4,
  /** Instructions from this one to the end of the block, 8 bits: what is given back where the block is left before it. */
  REFUND: 6,
  /** Bits by which the index is shifted, 8 bits. */
  SCALE: 7,
  /** The register operands, as offsets in the state frame, 16 bits each. */
  FIRST: 8,
  SECOND: 10,
  /** Base and index, as offsets in the state frame, 8 bits each. */
  BASE: 12,
  INDEX: 13,
  THIRD: 14,
  /** Displacement, 64 bits; of an instruction with a branch target, the offset from the page of what follows. */
  DISPLACEMENT: 16,
  /** Immediate, 64 bits; of a call through a register or memory, the offset from the page of what follows. */
  IMMEDIATE: 24,
  /** Head of the block that a branch goes to, and its offset from the page, signed, 32 bits each. */
  TARGET: 24,
  TARGET_OFFSET: 28,
} as const

/** Most instructions of a block: it lies in one frame. */
export const MOST_IN_BLOCK = 96

/** Handlers that are always there: to leave before the record, to put the flags in the frame, to go on in another block. */
export const ENTRY = { LEAVE: 0, SETTLE: 1, GO: 2 } as const

/** In the state frame, behind what compiled code has there: where the cache of computed jumps is. */
export const JUMPS = 0x7f0
/** And the size of the access that the TLB did not know, negative for a write; its address is in SCRATCH.LINEAR. 0: none. */
export const MISSED = 0x7f4
/** The record that was left. */
export const LEFT_AT = 0x7f8

/** Entries of the cache of computed jumps: the linear address of a block, 64 bits, and its head, 32 bits. */
export const JUMP_BYTES = 16
export const JUMP_ENTRIES = 256
