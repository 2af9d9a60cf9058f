/** Machine code under construction: bytes, labels, and branches that take two bytes where the distance allows. */
import type { Operand as X86Operand } from '#x86'
import { Encoder } from './encoded.ts'
import type { CodeLine } from './image.ts'
import type { Place } from './site.ts'

/** A branch to a label of this code (number) or to an address (bigint). */
type Branch = { readonly at: number; readonly kind: number; readonly target: number | bigint }

const PLAIN = new Encoder({ mode: 64 })
const LOCKED = new Encoder({ mode: 64, lock: true })

/** Bytes of the longest instruction. SDM Vol. 2A, "Instruction Format". */
const LONGEST = 15

const JMP = -1
const CALL = -2
/** Condition numbers of the low opcode bits. SDM Vol. 2, Appendix B, "Encodings for Condition Tests (tttn)". */
const CC = { B: 2, AE: 3, E: 4, NE: 5, BE: 6, A: 7, L: 12, GE: 13, LE: 14, G: 15 } as const

export class Code {
  #bytes = new Uint8Array(1024)
  #length = 0
  readonly #branches: Branch[] = []
  readonly #pointers: { readonly at: number; readonly before: number; readonly label: number }[] = []
  /** Label to [offset without branches, branches before it]. */
  readonly #labels: (readonly [number, number] | undefined)[] = []

  readonly #marks: (readonly [label: number, place: Place, isReport: boolean])[] = []

  op(mnemonic: string, ...operands: X86Operand[]): void {
    this.#reserve(LONGEST)
    this.#length += PLAIN.into(this.#bytes, this.#length, mnemonic, operands)
  }

  locked(mnemonic: string, ...operands: X86Operand[]): void {
    this.#reserve(LONGEST)
    this.#length += LOCKED.into(this.#bytes, this.#length, mnemonic, operands)
  }

  raw(bytes: Uint8Array): void {
    this.#reserve(bytes.length)
    this.#bytes.set(bytes, this.#length)
    this.#length += bytes.length
  }

  /** Makes room for `size` more bytes. */
  #reserve(size: number): void {
    const end = this.#length + size
    if (end <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(end, this.#bytes.length * 2))
    grown.set(this.#bytes)
    this.#bytes = grown
  }

  /** MOV r32, the address of a label: code lies below 4 GiB. */
  address(register: number, label: number): void {
    this.raw(register < 8 ? Uint8Array.of(0xb8 + register) : Uint8Array.of(0x41, 0xb0 + register))
    this.pointer(label)
  }

  /** MOV R11D, [label + 4 * register]; JMP R11: the table at the label has addresses of 4 bytes. */
  jumpBy(register: number, label: number): void {
    this.raw(Uint8Array.of(0x44 | (register < 8 ? 0 : 2), 0x8b, 0x1c, 0x85 | ((register & 7) << 3)))
    this.pointer(label)
    this.raw(Uint8Array.of(0x41, 0xff, 0xe3))
  }

  /** The address of a label, 4 bytes. */
  pointer(label: number): void {
    this.#pointers.push({ at: this.#length, before: this.#branches.length, label })
    this.raw(new Uint8Array(4))
  }

  label(): number {
    this.#labels.push(undefined)
    return this.#labels.length - 1
  }

  /** Where the code from here on was written. */
  mark(place: Place, isReport = false): void {
    const label = this.label()
    this.place(label)
    this.#marks.push([label, place, isReport])
  }

  place(label: number): void {
    this.#labels[label] = [this.#length, this.#branches.length]
  }

  jump(target: number | bigint): void {
    this.#branches.push({ at: this.#length, kind: JMP, target })
  }

  jcc(cc: keyof typeof CC, target: number | bigint): void {
    this.#branches.push({ at: this.#length, kind: CC[cc], target })
  }

  call(target: number | bigint): void {
    this.#branches.push({ at: this.#length, kind: CALL, target })
  }

  /** The bytes for code that begins at `origin`, and where each label is. Throws where a label was never placed. */
  link(origin: bigint): { bytes: Uint8Array; addresses: readonly bigint[]; lines: readonly CodeLine[] } {
    const branches = this.#branches
    const isLong = branches.map(b => b.kind === CALL)
    const before = new Int32Array(branches.length + 1)
    const size = (i: number): number => (isLong[i] ? (branches[i]!.kind >= 0 ? 6 : 5) : 2)
    const addressOf = (target: number | bigint): bigint => {
      if (typeof target === 'bigint') return target
      const found = this.#labels[target]
      if (found === undefined) throw new Error(`label ${target} is used and not placed`)
      return origin + BigInt(found[0] + before[found[1]]!)
    }
    const distance = (i: number): number => {
      const end = branches[i]!.at + before[i]! + size(i)
      const { target } = branches[i]!
      if (typeof target === 'bigint') return Number(target - origin) - end
      const found = this.#labels[target]
      if (found === undefined) throw new Error(`label ${target} is used and not placed`)
      return found[0] + before[found[1]]! - end
    }
    // Branches only grow, so this ends.
    for (let changed = true; changed; ) {
      changed = false
      for (let i = 0; i < branches.length; i++) before[i + 1] = before[i]! + size(i)
      for (let i = 0; i < branches.length; i++) {
        if (isLong[i]) continue
        const d = distance(i)
        if (d < -128 || d > 127) {
          isLong[i] = true
          changed = true
        }
      }
    }
    const bytes = new Uint8Array(this.#length + before[branches.length]!)
    const view = new DataView(bytes.buffer)
    let from = 0
    let to = 0
    for (let i = 0; i < branches.length; i++) {
      const { at, kind } = branches[i]!
      bytes.set(this.#bytes.subarray(from, at), to)
      to += at - from
      from = at
      const d = distance(i)
      if (!isLong[i]) {
        bytes[to++] = kind >= 0 ? 0x70 | kind : 0xeb
        view.setInt8(to++, d)
        continue
      }
      if (kind >= 0) bytes[to++] = 0x0f
      bytes[to++] = kind >= 0 ? 0x80 | kind : kind === CALL ? 0xe8 : 0xe9
      view.setInt32(to, d, true)
      to += 4
    }
    bytes.set(this.#bytes.subarray(from, this.#length), to)
    for (const p of this.#pointers) view.setUint32(p.at + before[p.before]!, Number(addressOf(p.label)), true)
    const lines = this.#marks.map(([label, { file, line }, isReport]) => ({
      gva: addressOf(label),
      file,
      line,
      ...(isReport ? { isReport } : {}),
    }))
    return { bytes, addresses: this.#labels.map((l, n) => (l === undefined ? 0n : addressOf(n))), lines }
  }
}
