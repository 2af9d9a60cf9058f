/** Guests for tests: real code that boots from the reset vector to 64-bit mode and reports by TDG.VP.VMCALL. */
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { assemble, type Cpu } from '#x86'
import type { Platform } from '../platform.ts'
import type { Vcpu } from '../vcpu.ts'
import { Host, type TdOptions } from './host.ts'

/** One page of code and data at the top of 4 GiB, then page tables that map the top 2 MiB onto itself. */
const PAGE = 0xffff_f000n
const CODE64 = 0xffff_f200n
const GDT_POINTER = 0xe00
const GDT = 0xe10
const IDT_POINTER = 0xe40
const IDT_PAGE = 0xffff_b000n
export const STACK_TOP = 0xffff_b000n
const STACK_PAGE = 0xffff_a000n
/** A page the guest may use as it likes. */
export const DATA_PAGE = 0xffff_9000n
const PML4 = 0xffff_e000n
const PDPT = 0xffff_d000n
const PD = 0xffff_c000n

const BOOT32 = `
  lgdt [0xfffffe00]
  mov eax, cr4
  or eax, 0x6a0
  mov cr4, eax
  mov eax, 0xffffe000
  mov cr3, eax
  mov eax, 0x80000021
  mov cr0, eax
  jmp 8:0xfffff200
`

/** Vectors with a handler, and whether the CPU pushes an error code. */
const VECTORS: readonly (readonly [number, boolean])[] = [
  [2, false],
  [6, false],
  [8, true],
  [13, true],
  [14, true],
  [20, false],
  [0x40, false],
]

/**
 * Handlers: R15 is the vector, R14 the error code or RIP on top of the stack, R13 RFLAGS pushed, R12 CR2; leaves by
 * TDG.VP.VMCALL showing R10 to R15. After it the interrupted code is left for good.
 */
const HANDLERS = `${VECTORS.map(([vector, hasError]) => {
  const flags = hasError ? 24 : 16
  return `handler_${vector}:
  mov r15d, ${vector}
  mov r14, [rsp]
  mov r13, [rsp+${flags}]
  mov r12, cr2
  jmp report`
}).join('\n')}
report:
  mov ecx, 0xfc00
  xor eax, eax
  tdcall
  hlt
`

const page = (fill: (view: DataView) => void): Uint8Array => {
  const bytes = new Uint8Array(4096)
  fill(new DataView(bytes.buffer))
  return bytes
}

export type Guest = {
  readonly host: Host
  readonly tdr: bigint
  readonly tdvpr: bigint
  readonly vcpu: Vcpu
  /** The Cpu, once it has run. */
  readonly cpu: Cpu
  /** VP.ENTER; returns RAX. `answers`: registers for the guest. */
  enter(answers?: Parameters<Host['call']>[1]): bigint
}

/**
 * A TD whose vCPU executes `code` (assembler text; ends where it likes) in 64-bit mode after booting.
 * `report` is a label it may jump to. Before MR.FINALIZE `build` may add to the TD.
 */
export const guest = (
  code: string,
  options: TdOptions & {
    build?: (host: Host, tdr: bigint) => void
    mode?: 32 | 64
    x2apicId?: number
    platform?: Platform
  } = {},
): Guest => {
  const host = new Host({
    processors: 2,
    ...(options.platform === undefined ? {} : { platform: options.platform }),
  }).boot()
  const tdr = host.td(options)
  const tdvpr = host.vcpu(tdr, {
    rcx: 0xbeefn,
    ...(options.x2apicId === undefined ? {} : { x2apicId: options.x2apicId }),
  })
  const start = options.mode === 32 ? code : BOOT32
  const boot = assemble(start, { mode: 32, at: PAGE })
  const body = assemble(
    `mov eax, 0xfffffe40
  lidt [rax]
  mov rsp, ${STACK_TOP}
  ${options.mode === 32 ? 'hlt' : code}
  ${HANDLERS}`,
    { mode: 64, at: CODE64 },
  )
  const top = page(view => {
    const bytes = new Uint8Array(view.buffer)
    bytes.set(boot.bytes, 0)
    bytes.set(body.bytes, Number(CODE64 - PAGE))
    view.setUint16(GDT_POINTER, 0x17, true)
    view.setUint32(GDT_POINTER + 2, Number(PAGE) + GDT, true)
    view.setBigUint64(GDT + 8, 0x00af_9b00_0000_ffffn, true)
    view.setBigUint64(GDT + 16, 0x00cf_9300_0000_ffffn, true)
    view.setUint16(IDT_POINTER, 0xfff, true)
    view.setBigUint64(IDT_POINTER + 2, IDT_PAGE, true)
    bytes.set(assemble(`jmp ${PAGE}`, { mode: 32, at: 0xffff_fff0n }).bytes, 0xff0)
  })
  const idt = page(view => {
    for (const [vector] of VECTORS) {
      const handler = body.labels[`handler_${vector}`]!
      const gate = (handler & 0xffffn) | (8n << 16n) | (0x8e00n << 32n) | (((handler >> 16n) & 0xffffn) << 48n)
      view.setBigUint64(16 * vector, gate, true)
    }
  })
  host.page(tdr, PAGE, top)
  host.page(tdr, IDT_PAGE, idt)
  host.page(tdr, STACK_PAGE)
  host.page(tdr, DATA_PAGE)
  const shared = options.configFlags !== undefined && (options.configFlags & 1n) !== 0n ? 1n << 51n : 1n << 47n
  host.page(
    tdr,
    PML4,
    page(view => {
      view.setBigUint64(0, PDPT | 3n, true)
    }),
  )
  host.page(
    tdr,
    PDPT,
    page(view => {
      for (let i = 0; i < 3; i++) view.setBigUint64(8 * i, (BigInt(i) << 30n) | 0x83n, true)
      view.setBigUint64(8 * 3, PD | 3n, true)
      for (let i = 0; i < 3; i++) view.setBigUint64(8 * (4 + i), (BigInt(i) << 30n) | shared | 0x83n, true)
      view.setBigUint64(8 * 8, (shared << 1n) | 0x83n, true)
    }),
  )
  host.page(
    tdr,
    PD,
    page(view => view.setBigUint64(8 * 511, 0xffe0_0083n, true)),
  )
  options.build?.(host, tdr)
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  const vcpu = host.module.vcpus.get(Number(tdvpr) as Hpa)!
  return {
    host,
    tdr,
    tdvpr,
    vcpu,
    get cpu() {
      return vcpu.cpu!
    },
    enter: (answers = {}) => host.call(abi.TDH_VP_ENTER, { ...answers, rcx: tdvpr }),
  }
}

/** Linear address of a GPA below 3 GiB, with the shared bit. */
export const sharedAt = (gpa: bigint): bigint => 0x1_0000_0000n + gpa
/** A linear address whose GPA has bits above the shared bit. */
export const TOO_WIDE = 0x2_0000_0000n
export const TDVMCALL = 77n
