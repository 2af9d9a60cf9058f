/**
 * What ends an instruction early: a `Fault`, which the CPU delivers, or a `Leave`, which ends the run with a VM exit.
 * Both are everyday events of a guest, so neither pays for a stack trace.
 */
import { EXCEPTIONS } from '#abi'
import { gpa, gva, hex } from '#bits'
import type { VmExit } from './vmx.ts'

/**
 * An exception: the guest did something x86 answers with one. The state is as before the instruction.
 * `cr2` is the address of a page fault, `dr6` what a debug exception adds to DR6.
 */
export class Fault extends Error {
  override readonly name = 'Fault'
  readonly vector: number
  readonly errorCode: number | undefined
  readonly cr2: bigint | undefined
  readonly dr6: bigint
  /** The instruction before it is complete; RF is not set in the flags that are pushed. */
  readonly isTrap: boolean

  constructor(vector: number, errorCode?: number, cr2?: bigint, dr6 = 0n, isTrap = false) {
    const limit = Error.stackTraceLimit
    Error.stackTraceLimit = 0
    super()
    Error.stackTraceLimit = limit
    this.vector = vector
    this.errorCode = errorCode
    this.cr2 = cr2
    this.dr6 = dr6
    this.isTrap = isTrap
  }

  override get message(): string {
    const name = EXCEPTIONS[this.vector]?.mnemonic ?? `vector ${this.vector}`
    const code = this.errorCode === undefined ? '' : `(${hex(this.errorCode)})`
    return `${name}${code}${this.cr2 === undefined ? '' : ` at ${hex(this.cr2)}`}`
  }
}

/** The guest is left: `exit` says why. RIP is at the instruction, and nothing of it has happened. No `Error`: none of it is wrong. */
export class Leave {
  readonly exit: VmExit

  constructor(exit: VmExit) {
    this.exit = exit
  }
}

/** The exit information of `reason`, everything that is not named being zero. */
export const vmExit = (reason: number, fields: Partial<Omit<VmExit, 'reason'>> = {}): VmExit => ({
  reason,
  qualification: fields.qualification ?? 0n,
  instructionLength: fields.instructionLength ?? 0,
  instructionInfo: fields.instructionInfo ?? 0,
  gla: fields.gla ?? gva(0n),
  gpa: fields.gpa ?? gpa(0n),
})
