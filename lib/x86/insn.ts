/** An instruction as the decoder hands it on: everything that is known from the bytes alone. */
import type { Row } from './table.ts'

/** Size of the code segment the bytes were decoded for. */
export type Mode = 16 | 32 | 64

/** Segment register numbers, in the order of the reg field of MOV Sreg. */
export type Seg = 0 | 1 | 2 | 3 | 4 | 5
export const [ES, CS, SS, DS, FS, GS] = [0, 1, 2, 3, 4, 5] as const

/** Register files. `high` is AH, CH, DH, BH; `vec` is XMM (size 16) and YMM (size 32). */
export type RegFile = 'gpr' | 'high' | 'seg' | 'cr' | 'dr' | 'st' | 'mm' | 'vec'

/** A register. `size` in bytes; `index` is the number inside the file (`high`: 0 = AH … 3 = BH). */
export type Reg = { readonly kind: 'reg'; readonly file: RegFile; readonly index: number; readonly size: number }

/** A memory operand. `size` in bytes (0 for LEA, INVLPG and the like). */
export type Mem = {
  readonly kind: 'mem'
  readonly size: number
  readonly seg: Seg
  /** GPR number, or -1 for none. */
  readonly base: number
  /** GPR number (or vector register number for gathers), or -1 for none. */
  readonly index: number
  readonly scale: 1 | 2 | 4 | 8
  /** Sign-extended; RIP-relative operands keep the displacement from the end of the instruction. */
  readonly disp: bigint
  readonly ripRelative: boolean
  /** Address size in bytes. */
  readonly addressSize: 2 | 4 | 8
}

/** An immediate, already extended as the instruction uses it and wrapped to `size` bytes. */
export type Imm = { readonly kind: 'imm'; readonly size: number; readonly value: bigint }

/** A near branch target: displacement from the end of the instruction, sign-extended (not wrapped). */
export type Rel = { readonly kind: 'rel'; readonly size: number; readonly disp: bigint }

/** A far pointer in the instruction: ptr16:16 or ptr16:32. */
export type Far = { readonly kind: 'far'; readonly size: number; readonly selector: number; readonly offset: bigint }

export type Operand = Reg | Mem | Imm | Rel | Far

export type Insn = {
  /** The table's row: mnemonic, semantics name and what else is said about the encoding. */
  readonly row: Row
  readonly mode: Mode
  /** Bytes of the whole instruction, 1 to 15. */
  readonly length: number
  /** Effective operand size in bytes. */
  readonly operandSize: 2 | 4 | 8
  readonly addressSize: 2 | 4 | 8
  /** Condition code of Jcc, SETcc, CMOVcc (low four bits of the opcode), else 0. */
  readonly cc: number
  readonly lock: boolean
  /** REP/REPE (F3), REPNE (F2) as a prefix of a string instruction, else ''. */
  readonly rep: '' | 'rep' | 'repne'
  /** Vector length in bytes for VEX encodings (16 or 32), else 0. */
  readonly vectorLength: 0 | 16 | 32
  /** Explicit operands, in the order the SDM lists them (destination first). */
  readonly operands: readonly Operand[]
}
