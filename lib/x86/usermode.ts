/** A CPU as a process has it: ring 3, paging over some regions, flat segments with the selectors that Linux has. */
import {
  CR0_AM,
  CR0_ET,
  CR0_MP,
  CR0_NE,
  CR0_PE,
  CR0_PG,
  CR0_WP,
  CR4_FSGSBASE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
  RIGHTS,
  XCR0_AVX,
  XCR0_SSE,
  XCR0_X87,
} from '#abi'
import { type Hpa, hpa, PAGE_SIZE } from '#bits'
import type { Cpu } from './cpu.ts'
import type { Seg } from './insn.ts'

/** Whole pages at a linear address; `at` is where they are in a run of frames, `prot` has r, w, x. */
export type Region = { readonly linear: number; readonly length: number; readonly at: number; readonly prot: string }

/** Where the descriptor tables are: supervisor pages that no program reaches. */
const TABLES = 0xffff_8000_0000_0000n

/** 4-level paging over the regions, in frames from `first` on, and over the descriptor tables. */
const paging = (cpu: Cpu, regions: readonly Region[], first: Hpa): void => {
  const { memory } = cpu
  const root = memory.allocate()
  const map = (linear: bigint, frame: number, rights: bigint) => {
    let table: number = root
    for (const shift of [39n, 30n, 21n]) {
      const at = table + Number((linear >> shift) & 0x1ffn) * 8
      const entry = memory.read(at, 8)
      const next = entry === 0n ? memory.allocate() : hpa(Number(entry & 0xf_ffff_f000n))
      if (entry === 0n) memory.write(at, 8, BigInt(next) | 7n)
      table = next
    }
    memory.write(table + Number((linear >> 12n) & 0x1ffn) * 8, 8, BigInt(frame) | rights)
  }
  for (const { linear, length, at, prot } of regions) {
    const rights = 5n | (prot.includes('w') ? 2n : 0n) | (prot.includes('x') ? 0n : 1n << 63n)
    for (let page = 0; page < length; page += PAGE_SIZE) map(BigInt(linear + page), first + at + page, rights)
  }
  const tables = memory.allocateRun(2)
  map(TABLES, tables, 3n)
  map(TABLES + 0x1000n, tables + PAGE_SIZE, 3n)
  // Flat descriptors, by selector: 8 and 10 code, 18 data of the kernel; 20 and 30 code, 28 data of the process.
  const flat = (type: bigint, dpl: bigint, flags: bigint) =>
    0x000f_0000_0000_ffffn | (type << 40n) | (1n << 44n) | (dpl << 45n) | (1n << 47n) | (flags << 52n)
  const CODE32 = 0xcn
  const CODE64 = 0xan
  memory.write(tables + 0x08, 8, flat(0xbn, 0n, CODE32))
  memory.write(tables + 0x10, 8, flat(0xbn, 0n, CODE64))
  memory.write(tables + 0x18, 8, flat(0x3n, 0n, CODE32))
  memory.write(tables + 0x20, 8, flat(0xbn, 3n, CODE32))
  memory.write(tables + 0x28, 8, flat(0x3n, 3n, CODE32))
  memory.write(tables + 0x30, 8, flat(0xbn, 3n, CODE64))
  // Interrupt gates to nowhere: nothing is delivered, but INT n asks for their DPL.
  for (let n = 0; n < 256; n++) {
    const dpl = n === 3 || n === 4 ? 3n : 0n
    memory.write(tables + PAGE_SIZE + n * 16, 8, (0x10n << 16n) | (0xen << 40n) | (dpl << 45n) | (1n << 47n))
  }
  // The TSS has no I/O permission map: its offset lies behind the limit.
  memory.write(tables + 0x800 + 0x66, 2, 0x68n)
  cpu.tr.set(0x40, TABLES + 0x800n, 0x67, 0x8b)
  cpu.ldtr.set(0, 0n, 0, RIGHTS.UNUSABLE)
  cpu.cr3 = BigInt(root)
}

/** Control registers and tables. The caller loads the segments, general registers, RIP and RFLAGS. */
export const userMode = (cpu: Cpu, regions: readonly Region[], first: Hpa): void => {
  paging(cpu, regions, first)
  cpu.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
  cpu.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE
  cpu.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG
  cpu.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX
  Object.assign(cpu.gdtr, { base: TABLES, limit: 0x7f })
  Object.assign(cpu.idtr, { base: TABLES + 0x1000n, limit: 0xfff })
}

/** Fills the hidden part as loading the selector does. VMX access-rights format: type, S, DPL, P, L, D/B, G, unusable. */
export const userSegment = (cpu: Cpu, seg: Seg, selector: number): void => {
  const rights = selector === 0 ? 0x1_0000 : selector === 0x33 ? 0xa0fb : selector === 0x23 ? 0xc0fb : 0xc0f3
  cpu.segments[seg]!.set(selector, 0n, selector === 0 ? 0 : 0xffff_ffff, rights)
}
