/**
 * Operations that every tier forwards to the CPU rather than spelling out: privilege, descriptors, ports, MSRs, and a
 * few functions of plain values. A call sees the whole state and may change it, fault or leave.
 */
import {
  CR0_EM,
  CR0_MP,
  CR0_PE,
  CR0_TS,
  CR4_FSGSBASE,
  CR4_UMIP,
  RFLAGS_AC,
  RFLAGS_AF,
  RFLAGS_CF,
  RFLAGS_DF,
  RFLAGS_ID,
  RFLAGS_IF,
  RFLAGS_IOPL,
  RFLAGS_NT,
  RFLAGS_OF,
  RFLAGS_PF,
  RFLAGS_RF,
  RFLAGS_SF,
  RFLAGS_TF,
  RFLAGS_VIF,
  RFLAGS_VIP,
  RFLAGS_VM,
  RFLAGS_ZF,
  VECTOR_GP,
  VECTOR_MF,
  VECTOR_NM,
  VECTOR_UD,
} from '#abi'
import { bits, type Size } from '#bits'
import type { Cpu } from './cpu.ts'
import type { Seg } from './insn.ts'
import { compareStrings } from './packedstring.ts'
import { x87calls } from './x87calls.ts'

type Call = (cpu: Cpu, a: bigint, b: bigint, c: bigint) => unknown

/** Bits of FSW: an unmasked exception is pending; the top of the stack. */
const FSW_ES = 0x80
const FSW_TOP = 0x3800
/** Bits of MXCSR that may be set. */
const MXCSR_MASK = 0xffffn

const MASK32 = 0xffff_ffffn

const seg = (n: bigint): Seg => Number(n) as Seg
const opSize = (n: bigint): 2 | 4 | 8 => Number(n) as 2 | 4 | 8
const size = (n: bigint): Size => Number(n) as Size

/** EDX:EAX, as RDMSR and its like leave it. */
const setEdxEax = (cpu: Cpu, value: bigint): void => {
  cpu.gpr[0] = value & MASK32
  cpu.gpr[2] = (value >> 32n) & MASK32
}
const edxEax = (cpu: Cpu): bigint => ((cpu.gpr[2]! & MASK32) << 32n) | (cpu.gpr[0]! & MASK32)
const ecx = (cpu: Cpu): number => Number(cpu.gpr[1]! & MASK32)
const supervisor = (cpu: Cpu): void => {
  if (cpu.cpl !== 0) cpu.raise(VECTOR_GP, 0)
}
const iopl = (cpu: Cpu): number => Number(bits(cpu.rflags, 13, 12))

const STATUS = RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF | RFLAGS_DF

/** CRC-32C, one bit at a time. */
const crc32 = (crc: bigint, data: bigint, bytes: bigint): bigint => {
  let rest = Number(crc)
  for (let n = 0n; n < bytes; n++) {
    rest ^= Number((data >> (8n * n)) & 0xffn)
    for (let k = 0; k < 8; k++) rest = (rest >>> 1) ^ (rest & 1 ? 0x82f6_3b78 : 0)
  }
  return BigInt(rest >>> 0)
}

const pext = (from: bigint, where: bigint): bigint => {
  let out = 0n
  let n = 0n
  for (let rest = where; rest !== 0n; rest &= rest - 1n, n++) if ((from & rest & -rest) !== 0n) out |= 1n << n
  return out
}

const pdep = (from: bigint, where: bigint): bigint => {
  let out = 0n
  for (let rest = where, bits = from; rest !== 0n; rest &= rest - 1n, bits >>= 1n)
    if ((bits & 1n) === 1n) out |= rest & -rest
  return out
}

const table = {
  // Plain functions
  crc32: (_cpu, crc, data, bytes) => crc32(crc, data, bytes),
  pext: (_cpu, from, where) => pext(from, where),
  pdep: (_cpu, from, where) => pdep(from, where),
  compareStrings: (_cpu, a, b, control) => BigInt(compareStrings(a, b, Number(control))),

  // Checks
  requireSupervisor: supervisor,
  requireSystemSegments: cpu => {
    // Not modelled: virtual-8086 mode.
    if ((cpu.cr0 & CR0_PE) === 0n) cpu.raise(VECTOR_UD)
  },
  requireUmip: cpu => {
    if (cpu.cpl > 0 && (cpu.cr4 & CR4_UMIP) !== 0n) cpu.raise(VECTOR_GP, 0)
  },
  requireAligned: (cpu, segment, offset, to) => {
    if (((cpu.segments[seg(segment)]!.base + offset) & (to - 1n)) !== 0n) cpu.raise(VECTOR_GP, 0)
  },

  // Segments and descriptor tables
  loadSegment: (cpu, segment, selector) => cpu.loadSegment(seg(segment), Number(selector)),
  readSegmentBase: (cpu, segment) => {
    if (cpu.mode !== 64 || (cpu.cr4 & CR4_FSGSBASE) === 0n) cpu.raise(VECTOR_UD)
    return cpu.segments[seg(segment)]!.base
  },
  writeSegmentBase: (cpu, segment, base) => {
    if (cpu.mode !== 64 || (cpu.cr4 & CR4_FSGSBASE) === 0n) cpu.raise(VECTOR_UD)
    cpu.setSegmentBase(seg(segment), base)
  },
  lgdt: (cpu, base, limit) => cpu.lgdt(base, Number(limit)),
  lidt: (cpu, base, limit) => cpu.lidt(base, Number(limit)),
  lldt: (cpu, selector) => cpu.lldt(Number(selector)),
  ltr: (cpu, selector) => cpu.ltr(Number(selector)),
  verr: (cpu, selector) => cpu.verr(Number(selector)),
  verw: (cpu, selector) => cpu.verw(Number(selector)),
  larAllowed: (cpu, selector) => (cpu.lar(Number(selector)) === undefined ? 0n : 1n),
  lar: (cpu, selector) => cpu.lar(Number(selector)) ?? 0n,
  lslAllowed: (cpu, selector) => (cpu.lsl(Number(selector)) === undefined ? 0n : 1n),
  lsl: (cpu, selector) => cpu.lsl(Number(selector)) ?? 0n,
  gdtBase: cpu => cpu.gdtr.base,
  gdtLimit: cpu => BigInt(cpu.gdtr.limit),
  idtBase: cpu => cpu.idtr.base,
  idtLimit: cpu => BigInt(cpu.idtr.limit),
  ldtSelector: cpu => BigInt(cpu.ldtr.selector),
  taskSelector: cpu => BigInt(cpu.tr.selector),

  // Control flow
  farJump: (cpu, selector, offset, s) => cpu.farJump(Number(selector), offset, opSize(s)),
  farCall: (cpu, selector, offset, s) => cpu.farCall(Number(selector), offset, opSize(s)),
  farReturn: (cpu, s, release) => cpu.farReturn(opSize(s), Number(release)),
  iret: (cpu, s) => cpu.iret(opSize(s)),
  int: (cpu, vector) => cpu.softwareInterrupt(Number(vector), 'int'),
  int3: cpu => cpu.softwareInterrupt(3, 'int3'),
  int1: cpu => cpu.softwareInterrupt(1, 'int1'),
  into: cpu => cpu.softwareInterrupt(4, 'into'),
  syscall: cpu => cpu.syscall(),
  sysret: (cpu, s) => cpu.sysret(opSize(s)),
  sysenter: cpu => cpu.sysenter(),
  sysexit: (cpu, s) => cpu.sysexit(opSize(s)),

  // Flags
  pushedFlags: (cpu, s) => cpu.rflags & ~(RFLAGS_RF | RFLAGS_VM) & (s === 2n ? 0xffffn : MASK32),
  popFlags: (cpu, value, s) => {
    let change = STATUS | RFLAGS_TF | RFLAGS_NT | (s === 2n ? 0n : RFLAGS_AC | RFLAGS_ID)
    if (cpu.cpl <= iopl(cpu)) change |= RFLAGS_IF
    if (cpu.cpl === 0) change |= RFLAGS_IOPL
    // RF is cleared; VIP and VIF too where the operand reaches them. SDM Vol. 2B, "POPF/POPFD/POPFQ".
    const cleared = s === 2n ? RFLAGS_RF : RFLAGS_RF | (cpu.cpl === 0 ? RFLAGS_VIF | RFLAGS_VIP : 0n)
    cpu.rflags = (cpu.rflags & ~change & ~cleared) | (value & change)
  },
  cli: cpu => cpu.cli(),
  sti: cpu => cpu.sti(),
  clac: cpu => cpu.clac(),
  stac: cpu => cpu.stac(),

  // Control, debug and model-specific registers
  readCr: (cpu, n) => cpu.readCr(Number(n)),
  writeCr: (cpu, n, value) => cpu.writeCr(Number(n), value),
  readDr: (cpu, n) => cpu.readDr(Number(n)),
  writeDr: (cpu, n, value) => cpu.writeDr(Number(n), value),
  machineStatus: cpu => cpu.machineStatus(),
  lmsw: (cpu, value) => cpu.lmsw(value),
  clts: cpu => cpu.clts(),
  rdmsr: cpu => setEdxEax(cpu, cpu.rdmsr(ecx(cpu))),
  wrmsr: cpu => cpu.wrmsr(ecx(cpu), edxEax(cpu)),
  rdtsc: cpu => setEdxEax(cpu, cpu.rdtsc()),
  rdtscp: cpu => {
    setEdxEax(cpu, cpu.rdtsc())
    cpu.gpr[1] = cpu.rdpid() & MASK32
  },
  rdpkru: cpu => setEdxEax(cpu, cpu.rdpkru()),
  wrpkru: cpu => cpu.wrpkru(edxEax(cpu)),
  rdpmc: cpu => setEdxEax(cpu, cpu.rdpmc(ecx(cpu))),
  xgetbv: cpu => setEdxEax(cpu, cpu.xgetbv(ecx(cpu))),
  xsetbv: cpu => cpu.xsetbv(ecx(cpu), edxEax(cpu)),
  cpuid: cpu => {
    const [eax, ebx, ecx_, edx] = cpu.doCpuid(Number(cpu.gpr[0]! & MASK32), ecx(cpu))
    cpu.gpr[0] = BigInt(eax >>> 0)
    cpu.gpr[3] = BigInt(ebx >>> 0)
    cpu.gpr[1] = BigInt(ecx_ >>> 0)
    cpu.gpr[2] = BigInt(edx >>> 0)
  },
  swapgs: cpu => cpu.swapgs(),

  // SIMD state
  requireSse: cpu => cpu.requireSse(),
  requireAvx: cpu => cpu.requireAvx(),
  /** #UD with CR0.EM, #NM with CR0.TS, then a pending x87 exception. SDM Vol. 3A, "MMX State". */
  requireMmx: cpu => {
    if ((cpu.cr0 & CR0_EM) !== 0n) cpu.raise(VECTOR_UD)
    if ((cpu.cr0 & CR0_TS) !== 0n) cpu.raise(VECTOR_NM)
    if ((cpu.x87.fsw & FSW_ES) !== 0) cpu.raise(VECTOR_MF)
  },
  /** Every MMX instruction but EMMS: TOP is 0 and all registers are valid. */
  enterMmx: cpu => {
    cpu.x87.fsw &= ~FSW_TOP
    cpu.x87.ftw = 0xff
  },
  emms: cpu => {
    cpu.x87.fsw &= ~FSW_TOP
    cpu.x87.ftw = 0
  },
  ldmxcsr: (cpu, value) => {
    if ((value & ~MXCSR_MASK) !== 0n) cpu.raise(VECTOR_GP, 0)
    cpu.mxcsr = Number(value)
  },
  stmxcsr: cpu => BigInt(cpu.mxcsr),

  // Ports
  allowPort: (cpu, port, s) => cpu.allowPort(Number(port), size(s)),
  in: (cpu, port, s) => cpu.in(Number(port), size(s)),
  out: (cpu, port, s, value) => cpu.out(Number(port), size(s), value),

  // The rest
  /** A pending x87 exception; #NM with CR0.MP and CR0.TS. */
  wait: cpu => {
    if ((cpu.cr0 & (CR0_MP | CR0_TS)) === (CR0_MP | CR0_TS)) cpu.raise(VECTOR_NM)
    if ((cpu.x87.fsw & FSW_ES) !== 0) cpu.raise(VECTOR_MF)
  },
  hlt: cpu => cpu.hlt(),
  invd: cpu => cpu.invd(),
  wbinvd: cpu => cpu.wbinvd(),
  invlpg: (cpu, segment, offset) => cpu.invlpg(cpu.segments[seg(segment)]!.base + offset),
  tdcall: cpu => cpu.tdcall(),
  seamcall: cpu => cpu.seamcall(),
  vmcall: cpu => cpu.vmcall(),
  pause: () => {},
  invpcid: (cpu, type, pcid, linear) => cpu.invpcid(type, pcid, linear),
  monitor: (cpu, address, extensions, hints) => cpu.monitor(address, extensions, hints),
  mwait: (cpu, hints, extensions) => cpu.mwait(hints, extensions),
  rdrand: cpu => cpu.rdrand(),
  rdseed: cpu => cpu.rdseed(),
  rdpid: cpu => cpu.rdpid(),
  ...x87calls,
} satisfies Record<string, Call>

export type CallName = keyof typeof table
export const calls: Readonly<Record<CallName, Call>> = table
