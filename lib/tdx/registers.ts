/** The host's registers of a SEAMCALL, in and out. */

/** Their values by name. XMM0 … XMM15 as 256 bytes where the host passes them. */
export type RegisterValues = {
  rax: bigint
  rcx: bigint
  rdx: bigint
  rbx: bigint
  rsi: bigint
  rdi: bigint
  rbp: bigint
  r8: bigint
  r9: bigint
  r10: bigint
  r11: bigint
  r12: bigint
  r13: bigint
  r14: bigint
  r15: bigint
  xmm?: Uint8Array | undefined
}

/** Places of registers in `words`: the low half, the high one follows. */
export const WORD = {
  RAX: 0,
  RCX: 2,
  RDX: 4,
  R8: 16,
  R9: 18,
  R10: 20,
  R11: 22,
  R12: 24,
  R13: 26,
  R14: 28,
  R15: 30,
} as const

/**
 * A register file as the processor has it, RSP among them for its place only. What goes with every ucall looks at
 * halves: a bigint of each register would be made for it.
 */
export class SeamcallRegs implements RegisterValues {
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15, low and high halves. */
  readonly words = new Uint32Array(32)
  readonly #whole = new BigUint64Array(this.words.buffer)
  xmm: Uint8Array | undefined

  /** The values of all that are not named are 0. */
  constructor(values: Partial<RegisterValues> = {}) {
    Object.assign(this, values)
  }

  /** Another set's values, without XMM. */
  copy({ words }: SeamcallRegs): void {
    this.words.set(words)
  }

  /** The values by name. */
  values(): RegisterValues {
    const { rax, rcx, rdx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, xmm } = this
    const values = { rax, rcx, rdx, rbx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15 }
    return xmm === undefined ? values : { ...values, xmm }
  }

  get rax(): bigint {
    return this.#whole[0]!
  }
  set rax(value: bigint) {
    this.#whole[0] = value
  }

  get rcx(): bigint {
    return this.#whole[1]!
  }
  set rcx(value: bigint) {
    this.#whole[1] = value
  }

  get rdx(): bigint {
    return this.#whole[2]!
  }
  set rdx(value: bigint) {
    this.#whole[2] = value
  }

  get rbx(): bigint {
    return this.#whole[3]!
  }
  set rbx(value: bigint) {
    this.#whole[3] = value
  }

  get rbp(): bigint {
    return this.#whole[5]!
  }
  set rbp(value: bigint) {
    this.#whole[5] = value
  }

  get rsi(): bigint {
    return this.#whole[6]!
  }
  set rsi(value: bigint) {
    this.#whole[6] = value
  }

  get rdi(): bigint {
    return this.#whole[7]!
  }
  set rdi(value: bigint) {
    this.#whole[7] = value
  }

  get r8(): bigint {
    return this.#whole[8]!
  }
  set r8(value: bigint) {
    this.#whole[8] = value
  }

  get r9(): bigint {
    return this.#whole[9]!
  }
  set r9(value: bigint) {
    this.#whole[9] = value
  }

  get r10(): bigint {
    return this.#whole[10]!
  }
  set r10(value: bigint) {
    this.#whole[10] = value
  }

  get r11(): bigint {
    return this.#whole[11]!
  }
  set r11(value: bigint) {
    this.#whole[11] = value
  }

  get r12(): bigint {
    return this.#whole[12]!
  }
  set r12(value: bigint) {
    this.#whole[12] = value
  }

  get r13(): bigint {
    return this.#whole[13]!
  }
  set r13(value: bigint) {
    this.#whole[13] = value
  }

  get r14(): bigint {
    return this.#whole[14]!
  }
  set r14(value: bigint) {
    this.#whole[14] = value
  }

  get r15(): bigint {
    return this.#whole[15]!
  }
  set r15(value: bigint) {
    this.#whole[15] = value
  }
}
