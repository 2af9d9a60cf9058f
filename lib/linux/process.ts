/** One process on one CPU in ring 3: a static ELF program, its address space, and the way in and out of the kernel. */
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
  IA32_FMASK,
  IA32_LSTAR,
  IA32_STAR,
  RIGHTS,
  XCR0_AVX,
  XCR0_SSE,
  XCR0_X87,
} from '#abi'
import { ElfError, type ElfFile, hex, readElf } from '#bits'
import { Cpu, type Fault, PhysicalMemory, type TierName } from '#x86'
import { AddressSpace, pageDown, pageUp, SPACE_END } from './space.ts'
import { buildStack } from './stack.ts'

const STACK_TOP = SPACE_END
const STACK_SIZE = 8n << 20n
/** mmap goes down from below the stack's room to grow. */
const MMAP_TOP = STACK_TOP - (64n << 20n)
/** Where a position-independent program is put. Linux, ELF_ET_DYN_BASE without randomization. */
const PIE_BASE = 0x5555_5555_4000n
/** Room that brk may take. */
const BRK_ROOM = 1n << 40n

/** The kernel's pages: descriptor table, interrupt table, and where SYSCALL goes. */
const KERNEL = 0xffff_8000_0000_0000n
const [GDT, IDT, ENTRY] = [KERNEL, KERNEL + 0x1000n, KERNEL + 0x2000n]
/** The selectors of Linux on x86-64. Linux, arch/x86/include/asm/segment.h. */
const [KERNEL_CODE, USER_CODE32, USER_DATA, USER_CODE, TSS] = [0x10, 0x23, 0x2b, 0x33, 0x40]
/** hlt; sysretq: the run stops at HLT, and goes back with the answer in RAX. */
const ENTRY_CODE = Uint8Array.of(0xf4, 0x48, 0x0f, 0x07)
/** IF TF DF AC NT and what else a kernel does not want set when it is entered. */
const ENTRY_FLAGS = 0x4_7700n

export type ProcessOptions = {
  readonly name: string
  readonly args: readonly string[]
  readonly environment?: readonly string[]
  readonly memory?: PhysicalMemory
  /** Bytes of AT_RANDOM and the like come from it. */
  readonly seed?: bigint
  readonly tier?: TierName
}

export class Process {
  readonly cpu: Cpu
  readonly space: AddressSpace
  /** Where the program's break began and is. */
  readonly breakStart: bigint
  breakEnd: bigint
  /** The exception that stopped the CPU last. */
  fault: Fault | undefined
  /** The memory is somebody else's, who wants all of it back. Memory of its own goes with it, and need not be cleared. */
  readonly #isGuest: boolean

  /** Throws `ElfError` where the file is no program that can run. */
  constructor(file: Uint8Array, options: ProcessOptions) {
    const elf = readElf(file, 64)
    if (elf.interpreted) throw new ElfError('is dynamically linked (PT_INTERP): link it with -static')
    const memory = options.memory ?? new PhysicalMemory(undefined, true)
    this.#isGuest = options.memory !== undefined
    this.space = new AddressSpace(memory)
    this.cpu = new Cpu({
      memory,
      seed: options.seed ?? 1n,
      tier: options.tier ?? 'interpret',
      onFault: fault => {
        this.fault = fault
        return 'stop'
      },
    })
    this.space.onChange = () => this.cpu.tlb.flush()
    try {
      const bias = elf.type === 'dyn' ? PIE_BASE : 0n
      this.#map(elf, bias)
      const last = elf.segments.at(-1)!
      this.breakStart = pageUp(last.virtual + last.size + bias)
      this.breakEnd = this.breakStart
      this.space.map({ from: STACK_TOP - STACK_SIZE, to: STACK_TOP, read: true, write: true, execute: false })
      const entry = elf.entry + bias
      const random = new Uint8Array(16)
      new DataView(random.buffer).setBigUint64(
        0,
        BigInt.asUintN(64, (options.seed ?? 1n) * 0x9e37_79b9_7f4a_7c15n),
        true,
      )
      const pointer = buildStack(this.space, STACK_TOP, {
        name: options.name,
        args: options.args,
        environment: options.environment ?? [],
        entry,
        headers: { at: headersAt(elf, bias), count: elf.headers.count, size: elf.headers.size },
        hwcap: this.cpu.cpuid(1, 0)[3],
        random,
      })
      if (pointer === undefined) throw new ElfError('arguments and environment do not fit on the stack')
      this.#system()
      this.cpu.rip = entry
      this.cpu.gpr[4] = pointer
    } catch (error) {
      this.close()
      throw error
    }
  }

  get mmapTop(): bigint {
    return MMAP_TOP
  }
  get breakLimit(): bigint {
    const next = this.space.areas.find(area => area.from >= this.breakEnd)
    const room = this.breakStart + BRK_ROOM
    return next === undefined || next.from > room ? room : next.from
  }

  close(): void {
    this.cpu.close()
    if (this.#isGuest) this.space.close()
  }

  #map(elf: ElfFile, bias: bigint): void {
    for (const { number, virtual, bytes, size, readable, writable, executable } of elf.segments) {
      const at = virtual + bias
      const [from, to] = [pageDown(at), pageUp(at + size)]
      if (from < 0x1000n || to > MMAP_TOP - STACK_SIZE)
        throw new ElfError(
          `segment ${number} at ${hex(at)}: a process has ${hex(0x1000)} to ${hex(MMAP_TOP - STACK_SIZE)}`,
        )
      const area = { from, to, read: readable, write: writable, execute: executable, parts: [{ at, bytes }] }
      // A page that two segments share allows what either does.
      const shared = this.space.areaAt(from)
      this.space.map(area)
      if (shared === undefined) continue
      this.space.map({
        from,
        to: from + 0x1000n,
        read: readable || shared.read,
        write: writable || shared.write,
        execute: executable || shared.execute,
        parts: [...(shared.parts ?? []), ...area.parts],
      })
    }
  }

  /** Descriptors and control registers as Linux leaves them to a process. */
  #system(): void {
    const { cpu, space } = this
    const { memory } = space
    const [gdt, idt, entry] = [memory.allocate(), memory.allocate(), memory.allocate()]
    space.mapKernel(GDT, gdt)
    space.mapKernel(IDT, idt)
    space.mapKernel(ENTRY, entry)
    const flat = (type: bigint, flags: bigint) => 0x000f_0000_0000_ffffn | (type << 40n) | (flags << 52n)
    memory.write(gdt + KERNEL_CODE, 8, flat(0x9bn, 0xan))
    memory.write(gdt + KERNEL_CODE + 8, 8, flat(0x93n, 0xcn))
    memory.write(gdt + (USER_CODE32 & ~7), 8, flat(0xfbn, 0xcn))
    memory.write(gdt + (USER_DATA & ~7), 8, flat(0xf3n, 0xcn))
    memory.write(gdt + (USER_CODE & ~7), 8, flat(0xfbn, 0xan))
    // Nothing is delivered, but INT n asks for the privilege of its gate: INT3 and INTO are for everyone.
    for (let n = 0; n < 256; n++) {
      const dpl = n === 3 || n === 4 ? 3n : 0n
      memory.write(idt + n * 16, 8, (BigInt(KERNEL_CODE) << 16n) | (0x8en << 40n) | (dpl << 45n))
    }
    memory.set(entry, ENTRY_CODE)
    Object.assign(cpu.gdtr, { base: GDT, limit: 0x7f })
    Object.assign(cpu.idtr, { base: IDT, limit: 0xfff })
    cpu.ldtr.set(0, 0n, 0, RIGHTS.UNUSABLE)
    // The I/O permission map lies beyond the limit: no port is allowed.
    cpu.tr.set(TSS, GDT + 0x800n, 0x67, 0x8b)
    memory.write(gdt + 0x800 + 0x66, 2, 0x68n)
    cpu.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE
    const avx = cpu.features.has('AVX')
    const xsave = cpu.features.has('XSAVE')
    cpu.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | (xsave ? CR4_OSXSAVE : 0n)
    cpu.cr3 = BigInt(space.root)
    cpu.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG
    cpu.xcr0 = XCR0_X87 | XCR0_SSE | (avx ? XCR0_AVX : 0n)
    cpu.msrs.set(IA32_STAR, (BigInt(USER_CODE32) << 48n) | (BigInt(KERNEL_CODE) << 32n))
    cpu.msrs.set(IA32_LSTAR, ENTRY)
    cpu.msrs.set(IA32_FMASK, ENTRY_FLAGS)
    cpu.gpr.fill(0n)
    cpu.x87.fcw = 0x37f
    cpu.x87.ftw = 0
    cpu.mxcsr = 0x1f80
    cpu.segments[1]!.set(USER_CODE, 0n, 0xffff_ffff, 0xa0fb)
    cpu.segments[2]!.set(USER_DATA, 0n, 0xffff_ffff, 0xc0f3)
    for (const n of [0, 3, 4, 5]) cpu.segments[n]!.set(0, 0n, 0, RIGHTS.UNUSABLE)
    cpu.rflags = 0x202n
    cpu.refresh()
  }
}

/** Where the program headers lie once the program is in memory, 0 if no segment holds them. */
const headersAt = ({ headers, segments }: ElfFile, bias: bigint): bigint => {
  const end = headers.offset + BigInt(headers.count * headers.size)
  for (const { offset, virtual, bytes } of segments)
    if (headers.offset >= offset && end <= offset + BigInt(bytes.length))
      return virtual + (headers.offset - offset) + bias
  return 0n
}
