/** The emulator's own debugger: looks into a vCPU past TDX. Nothing that KVM does goes through here. */
import type { Gva } from '#bits'
import { explainSept, type SeptEntry, type VeInfo } from '#tdx'
import { type Cpu, explainWalk, type RaisedFault, saveArea, tear, type Walk } from '#x86'
import type { Vcpu } from './vcpu.ts'

/** A vCPU as the emulator sees it. */
export type Inspection = {
  readonly rip: bigint
  readonly rflags: bigint
  /** RAX RCX RDX RBX RSP RBP RSI RDI R8 … R15. */
  readonly gpr: readonly bigint[]
  readonly cr0: bigint
  readonly cr2: bigint
  readonly cr3: bigint
  readonly cr4: bigint
  readonly efer: bigint
  readonly cpl: number
  /** Size of the code the CPU executes now: 16, 32 or 64. */
  readonly mode: number
  /** Instructions retired since the vCPU was made. */
  readonly instructions: number
  /** What the guest would read by RDTSC. */
  readonly tsc: bigint
  /** RAX of the last VP.ENTER: completion status and exit reason. */
  readonly lastExit: bigint
  /** The last exceptions, oldest first. */
  readonly faults: readonly RaisedFault[]
  /** How the guest's page tables map a linear address; undefined where there is no telling. */
  walk(linear: bigint): Walk | undefined
  /** What the Secure EPT of a TD has for a GPA; undefined where that is shared, or there is none. */
  sept(gpa: bigint): SeptEntry | undefined
  /** Of a TD's vCPU, what TDG.VP.VEINFO.GET would tell, or told last. */
  readonly ve: VeInfo | undefined
  /** The vCPU's turn is over, before an instruction that another vCPU may come between: see `tear` of the CPU. */
  tear(): void
  /** x87, SSE and AVX registers, as XSAVE writes them in its standard format: `size` bytes, from 576 on with what has room. */
  extended(size: number): Uint8Array
  /** Bytes at a linear address of the guest, or undefined where the guest itself could not read them now. */
  read(linear: Gva, length: number): Uint8Array | undefined
}

const readGuest = (cpu: Cpu, linear: Gva, length: number): Uint8Array | undefined => {
  try {
    return cpu.readBytes(linear, length)
  } catch {
    // A fault or an exit, which nobody delivers.
    return undefined
  }
}

/** Instructions retired since the vCPU was made. */
export const instructionsOf = (vcpu: Vcpu): number =>
  (vcpu.ordinary?.cpu ?? vcpu.seam.module.inspect(vcpu.tdvpr)?.cpu)?.instructions ?? 0

/** Before the first KVM_RUN there is no CPU yet, and everything is 0. */
export const inspect = (vcpu: Vcpu): Inspection => {
  const td = vcpu.ordinary === undefined ? vcpu.seam.module.inspect(vcpu.tdvpr)?.vcpu : undefined
  const cpu = vcpu.ordinary?.cpu ?? td?.cpu
  if (cpu === undefined) return { ...NOT_RUN, lastExit: vcpu.enterStatus }
  return {
    rip: cpu.rip,
    rflags: cpu.rflags,
    gpr: [...cpu.gpr],
    cr0: cpu.cr0,
    cr2: cpu.cr2,
    cr3: cpu.cr3,
    cr4: cpu.cr4,
    efer: cpu.efer,
    cpl: cpu.cpl,
    mode: cpu.mode,
    instructions: cpu.instructions,
    tsc: cpu.tsc,
    lastExit: vcpu.enterStatus,
    faults: cpu.faults.list(),
    ve: td === undefined ? undefined : { ...td.ve },
    walk: linear => explainWalk(cpu, linear),
    sept: gpa => (td === undefined ? undefined : explainSept(td, gpa)),
    tear: () => tear(cpu),
    extended: size => saveArea(cpu, size),
    read: (linear, length) => readGuest(cpu, linear, length),
  }
}

const NOT_RUN = {
  rip: 0n,
  rflags: 0n,
  gpr: Array.from({ length: 16 }, () => 0n),
  cr0: 0n,
  cr2: 0n,
  cr3: 0n,
  cr4: 0n,
  efer: 0n,
  cpl: 0,
  mode: 0,
  instructions: 0,
  tsc: 0n,
  faults: [],
  ve: undefined,
  walk: () => undefined,
  sept: () => undefined,
  tear: () => {},
  extended: (size: number) => new Uint8Array(size),
  read: () => undefined,
}
