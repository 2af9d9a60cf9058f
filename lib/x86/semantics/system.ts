/** Instructions whose meaning is the CPU's own business: privilege, descriptor tables, ports, MSRs, hints. */

import type { CallName } from '../calls.ts'
import type { Semantics } from '../tier.ts'
import { dst, last, memory, number, rax, rcx, rdx, sizeOf, src } from './operands.ts'

/** Nothing but the call: its registers are implicit. */
const forward =
  (name: CallName): Semantics =>
  t => {
    t.call(name)
  }

/** HLT, CLI, STI, CLTS. SDM Vol. 2A and 2B, under their names. */
export const hlt = forward('hlt')
export const cli = forward('cli')
export const sti = forward('sti')
export const clts = forward('clts')
/** INVD, WBINVD, WBNOINVD. SDM Vol. 2A and 2D, under their names. */
export const invd = forward('invd')
export const wbinvd = forward('wbinvd')
export const wbnoinvd = forward('wbinvd')
/** RDMSR, WRMSR, RDTSC, RDTSCP, RDPMC, CPUID, XGETBV, XSETBV: through EDX:EAX and ECX. */
export const rdmsr = forward('rdmsr')
export const wrmsr = forward('wrmsr')
export const rdtsc = forward('rdtsc')
export const rdtscp = forward('rdtscp')
export const rdpmc = forward('rdpmc')
export const cpuid = forward('cpuid')
export const xgetbv = forward('xgetbv')
export const xsetbv = forward('xsetbv')
export const rdpkru = forward('rdpkru')
export const wrpkru = forward('wrpkru')
/** SYSCALL, SYSENTER, SWAPGS. SDM Vol. 2B, under their names. */
export const syscall = forward('syscall')
export const sysenter = forward('sysenter')
export const swapgs = forward('swapgs')
/** SYSRET and SYSEXIT: to 64-bit code with REX.W. SDM Vol. 2B, under their names. */
export const sysret: Semantics = (t, i) => {
  t.call('sysret', number(t, i.operandSize))
}
export const sysexit: Semantics = (t, i) => {
  t.call('sysexit', number(t, i.operandSize))
}
/** CLAC and STAC. SDM Vol. 2A and 2B, under their names. */
export const clac = forward('clac')
export const stac = forward('stac')
/** TDCALL, SEAMCALL, VMCALL: they leave for whoever is outside. Intel TDX CPU Architectural Extensions. */
export const tdcall = forward('tdcall')
export const seamcall = forward('seamcall')
export const vmcall = forward('vmcall')
/** MONITOR and MWAIT. The address is checked as a read of one byte. SDM Vol. 2B, "MONITOR" and "MWAIT". */
export const monitor: Semantics = (t, i) => {
  t.call('monitor', t.read(rax(i.addressSize)), t.read(rcx(4)), t.read(rdx(4)))
}
export const mwait: Semantics = t => {
  t.call('mwait', t.read(rax(4)), t.read(rcx(4)))
}
/** PAUSE: it may leave a guest that spins. SDM Vol. 2B, "PAUSE". */
export const pause = forward('pause')

/** Hints, fences and NOPs: memory is ordered and cached by definition here. SDM Vol. 2B, "NOP". */
export const nop: Semantics = () => {}
export const [lfence, mfence, sfence, endbr32, endbr64, serialize] = [nop, nop, nop, nop, nop, nop]
export const [prefetch, prefetchw, prefetchwt1, prefetcht0, prefetcht1, prefetcht2, prefetchnta, cldemote] = [
  ...[nop, nop, nop, nop, nop, nop, nop, nop],
] as const
/** CLFLUSH and CLWB check their address as a read of one byte does. SDM Vol. 2A, "CLFLUSH". */
export const clflush: Semantics = (t, i) => {
  const at = memory(i, dst(i))
  t.load(at.seg, t.address(at), 1)
}
export const [clflushopt, clwb] = [clflush, clflush]

/** IN and OUT with DX or an immediate port. SDM Vol. 2A, "IN" and Vol. 2B, "OUT". */
export const in_: Semantics = (t, i) => t.write(dst(i), t.call('in', t.read(src(i)), number(t, sizeOf(dst(i)))))
export const out: Semantics = (t, i) => {
  t.call('out', t.read(dst(i)), number(t, sizeOf(src(i))), t.read(src(i)))
}

/** INVLPG and INVPCID. SDM Vol. 2A, under their names. */
export const invlpg: Semantics = (t, i) => {
  const at = memory(i, dst(i))
  t.call('invlpg', number(t, at.seg), t.address(at))
}
export const invpcid: Semantics = (t, i) => {
  const at = memory(i, src(i))
  t.call('requireSupervisor')
  const offset = t.address(at)
  const pcid = t.load(at.seg, offset, 8)
  const linear = t.load(at.seg, t.add(at.addressSize, offset, number(t, 8)), 8)
  t.call('invpcid', t.read(dst(i)), pcid, linear)
}

/** RDRAND and RDSEED: CF says that there was a number. SDM Vol. 2B, under their names. */
const random =
  (name: 'rdrand' | 'rdseed'): Semantics =>
  (t, i) => {
    t.write(dst(i), t.truncate(t.call(name), sizeOf(dst(i))))
    for (const flag of ['of', 'sf', 'zf', 'af', 'pf'] as const) t.setFlag(flag, t.always(false))
    t.setFlag('cf', t.always(true))
  }
export const [rdrand, rdseed] = [random('rdrand'), random('rdseed')]

/** LMSW: bits 3:0 of CR0, of which PE can only be set. SDM Vol. 2A, "LMSW". */
export const lmsw: Semantics = (t, i) => {
  t.call('requireSupervisor')
  t.call('lmsw', t.truncate(t.read(last(i)), 2))
}

/** RDPID: IA32_TSC_AUX. SDM Vol. 2B, "RDPID". */
export const rdpid: Semantics = (t, i) => t.write(dst(i), t.truncate(t.call('rdpid'), sizeOf(dst(i))))

/** FWAIT: a pending x87 exception is raised now. SDM Vol. 2D, "WAIT/FWAIT". */
export const wait = forward('wait')
export const fwait = wait
