/** SEAMCALLs as KVM makes them: one logical processor, one set of registers that every call reuses. */
import { hex } from '#bits'
import { type LogicalProcessor, SeamcallRegs, type TdxModule, WORD } from '#tdx'

/** Class, number and flags of a completion status without the operand in bits 31:0. */
export const statusOf = (rax: bigint): bigint => rax & 0xffff_ffff_0000_0000n

/** RAX of version 0 of each leaf. */
const RAX: readonly bigint[] = Array.from({ length: 128 }, (_, leaf) => BigInt(leaf))

/** The SEAMCALL instruction of one logical processor. */
export class Seam {
  /** What the last call left in the registers; the next call overwrites it. */
  readonly regs = new SeamcallRegs()
  readonly module: TdxModule
  readonly lp: LogicalProcessor

  constructor(module: TdxModule, lp: LogicalProcessor) {
    this.module = module
    this.lp = lp
  }

  /** A SEAMCALL with up to four operands. Returns the completion status; outputs are in `regs`. */
  call(leaf: number, rcx = 0n, rdx = 0n, r8 = 0n, r9 = 0n): bigint {
    const { regs } = this
    regs.rax = RAX[leaf] ?? BigInt(leaf)
    regs.rcx = rcx
    regs.rdx = rdx
    regs.r8 = r8
    regs.r9 = r9
    this.module.seamcall(this.lp, regs)
    return regs.rax
  }

  /** A SEAMCALL on an address, in RCX, of a TD, in RDX: what is called sixteen times for each page. */
  callAt(leaf: number, at: number, tdr: number): bigint {
    const { regs } = this
    const { words } = regs
    regs.rax = RAX[leaf] ?? BigInt(leaf)
    words[WORD.RCX] = at
    words[WORD.RCX + 1] = at / 2 ** 32
    words[WORD.RDX] = tdr
    words[WORD.RDX + 1] = tdr / 2 ** 32
    regs.r8 = 0n
    regs.r9 = 0n
    this.module.seamcall(this.lp, regs)
    return regs.rax
  }

  /** A SEAMCALL that KVM's own bookkeeping says cannot fail: anything but success is a bug of ours. */
  must(name: string, leaf: number, rcx = 0n, rdx = 0n, r8 = 0n, r9 = 0n): void {
    const status = this.call(leaf, rcx, rdx, r8, r9)
    if (status !== 0n) throw new Error(`SEAMCALL ${name}: ${hex(status)} where only success is possible`)
  }
}
