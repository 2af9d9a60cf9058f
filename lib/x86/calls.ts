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
import * as control from './control.ts'
import type { Cpu } from './cpu.ts'
import * as fastcalls from './fastcalls.ts'
import type { Seg } from './insn.ts'
import * as interrupt from './interrupt.ts'
import { compareStrings } from './packedstring.ts'
import * as ports from './ports.ts'
import * as segments from './segments.ts'
import * as system from './system.ts'
import * as transfer from './transfer.ts'
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
  loadSegment: (cpu, segment, selector) => segments.loadSegment(cpu, seg(segment), Number(selector)),
  readSegmentBase: (cpu, segment) => {
    if (cpu.mode !== 64 || (cpu.cr4 & CR4_FSGSBASE) === 0n) cpu.raise(VECTOR_UD)
    return cpu.segments[seg(segment)]!.base
  },
  writeSegmentBase: (cpu, segment, base) => {
    if (cpu.mode !== 64 || (cpu.cr4 & CR4_FSGSBASE) === 0n) cpu.raise(VECTOR_UD)
    segments.setSegmentBase(cpu, seg(segment), base)
  },
  lgdt: (cpu, base, limit) => system.loadTable(cpu, cpu.gdtr, base, Number(limit)),
  lidt: (cpu, base, limit) => system.loadTable(cpu, cpu.idtr, base, Number(limit)),
  lldt: (cpu, selector) => segments.lldt(cpu, Number(selector)),
  ltr: (cpu, selector) => segments.ltr(cpu, Number(selector)),
  verr: (cpu, selector) => (segments.verify(cpu, Number(selector), 'read') ? 1n : 0n),
  verw: (cpu, selector) => (segments.verify(cpu, Number(selector), 'write') ? 1n : 0n),
  larAllowed: (cpu, selector) => (segments.lar(cpu, Number(selector)) === undefined ? 0n : 1n),
  lar: (cpu, selector) => segments.lar(cpu, Number(selector)) ?? 0n,
  lslAllowed: (cpu, selector) => (segments.lsl(cpu, Number(selector)) === undefined ? 0n : 1n),
  lsl: (cpu, selector) => segments.lsl(cpu, Number(selector)) ?? 0n,
  gdtBase: cpu => cpu.gdtr.base,
  gdtLimit: cpu => BigInt(cpu.gdtr.limit),
  idtBase: cpu => cpu.idtr.base,
  idtLimit: cpu => BigInt(cpu.idtr.limit),
  ldtSelector: cpu => BigInt(cpu.ldtr.selector),
  taskSelector: cpu => BigInt(cpu.tr.selector),

  // Control flow
  farJump: (cpu, selector, offset, s) => transfer.farJump(cpu, Number(selector), offset, opSize(s)),
  farCall: (cpu, selector, offset, s) => transfer.farCall(cpu, Number(selector), offset, opSize(s)),
  farReturn: (cpu, s, release) => transfer.farReturn(cpu, opSize(s), Number(release)),
  iret: (cpu, s) => transfer.iret(cpu, opSize(s)),
  int: (cpu, vector) => interrupt.softwareInterrupt(cpu, Number(vector), 'int'),
  int3: cpu => interrupt.softwareInterrupt(cpu, 3, 'int3'),
  int1: cpu => interrupt.softwareInterrupt(cpu, 1, 'int1'),
  into: cpu => interrupt.softwareInterrupt(cpu, 4, 'into'),
  syscall: cpu => fastcalls.syscall(cpu),
  sysret: (cpu, s) => fastcalls.sysret(cpu, opSize(s)),
  sysenter: cpu => fastcalls.sysenter(cpu),
  sysexit: (cpu, s) => fastcalls.sysexit(cpu, opSize(s)),

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
  cli: cpu => system.cli(cpu),
  sti: cpu => system.sti(cpu),
  clac: cpu => system.setAc(cpu, false),
  stac: cpu => system.setAc(cpu, true),

  // Control, debug and model-specific registers
  readCr: (cpu, n) => control.readCr(cpu, Number(n)),
  writeCr: (cpu, n, value) => control.writeCr(cpu, Number(n), value),
  readDr: (cpu, n) => control.readDr(cpu, Number(n)),
  writeDr: (cpu, n, value) => control.writeDr(cpu, Number(n), value),
  machineStatus: cpu => control.visibleCr0(cpu),
  lmsw: (cpu, value) => control.lmsw(cpu, value),
  clts: cpu => control.clts(cpu),
  rdmsr: cpu => setEdxEax(cpu, cpu.rdmsr(ecx(cpu))),
  wrmsr: cpu => cpu.wrmsr(ecx(cpu), edxEax(cpu)),
  rdtsc: cpu => setEdxEax(cpu, system.rdtsc(cpu)),
  rdtscp: cpu => {
    setEdxEax(cpu, system.rdtsc(cpu))
    cpu.gpr[1] = cpu.msrs.tscAux & MASK32
  },
  rdpkru: cpu => setEdxEax(cpu, system.rdpkru(cpu)),
  wrpkru: cpu => system.wrpkru(cpu, edxEax(cpu)),
  rdpmc: cpu => setEdxEax(cpu, system.rdpmc(cpu, ecx(cpu))),
  xgetbv: cpu => setEdxEax(cpu, system.xgetbv(cpu, ecx(cpu))),
  xsetbv: cpu => system.xsetbv(cpu, ecx(cpu), edxEax(cpu)),
  cpuid: cpu => {
    const [eax, ebx, ecx_, edx] = system.cpuid(cpu, Number(cpu.gpr[0]! & MASK32), ecx(cpu))
    cpu.gpr[0] = BigInt(eax >>> 0)
    cpu.gpr[3] = BigInt(ebx >>> 0)
    cpu.gpr[1] = BigInt(ecx_ >>> 0)
    cpu.gpr[2] = BigInt(edx >>> 0)
  },
  swapgs: cpu => fastcalls.swapgs(cpu),

  // SIMD state
  requireSse: cpu => system.requireSse(cpu),
  requireAvx: cpu => system.requireAvx(cpu),
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
  allowPort: (cpu, port, s) => ports.allowPort(cpu, Number(port), size(s)),
  in: (cpu, port, s) => ports.in_(cpu, Number(port), size(s)),
  out: (cpu, port, s, value) => ports.out(cpu, Number(port), size(s), value),

  // The rest
  /** A pending x87 exception; #NM with CR0.MP and CR0.TS. */
  wait: cpu => {
    if ((cpu.cr0 & (CR0_MP | CR0_TS)) === (CR0_MP | CR0_TS)) cpu.raise(VECTOR_NM)
    if ((cpu.x87.fsw & FSW_ES) !== 0) cpu.raise(VECTOR_MF)
  },
  hlt: cpu => system.hlt(cpu),
  invd: cpu => system.invd(cpu),
  wbinvd: cpu => system.wbinvd(cpu),
  invlpg: (cpu, segment, offset) => system.invlpg(cpu, cpu.segments[seg(segment)]!.base + offset),
  tdcall: cpu => system.tdcall(cpu),
  seamcall: cpu => system.seamcall(cpu),
  vmcall: cpu => system.vmcall(cpu),
  pause: () => {},
  invpcid: (cpu, type, pcid, linear) => system.invpcid(cpu, type, pcid, linear),
  monitor: (cpu, address, extensions) => system.monitor(cpu, address, extensions),
  mwait: (cpu, _hints, extensions) => system.mwait(cpu, extensions),
  rdrand: cpu => system.random(cpu),
  rdseed: cpu => system.random(cpu),
  rdpid: cpu => cpu.msrs.tscAux,
  ...x87calls,
} satisfies Record<string, Call>

export type CallName = keyof typeof table
export const calls: Readonly<Record<CallName, Call>> = table
