/**
 * The emulated CPU of a vCPU, made when it first runs.
 * Not modelled: features that the TD's CPUID hides and that the CPU would execute all the same (UMIP, SHA and others): here
 * they raise what a CPU without them raises.
 */
import type { Cpu, Cpuid, VmxControls } from '#x86'
import type { TdxModule } from '../module.ts'
import { nativeCpuid } from '../platform.ts'
import type { Vcpu } from '../vcpu.ts'
import type { TdCpuid } from './cpuid.ts'
import { CR0_MASK, CR0_SHADOW, CR4_SHADOW, cr4Mask } from './cr.ts'
import { initialState } from './initial.ts'
import { msrExits } from './msr.ts'
import { rdpmcExits } from './run.ts'
import { TdStage } from './stage.ts'

const natives = new WeakMap<TdxModule, Cpuid>()
const virtuals = new WeakMap<TdCpuid, Cpuid>()

/** CPUID as the CPU of a TD knows its features. TDs that are configured alike share the answer. */
const cpuidOf = (module: TdxModule, virtual: TdCpuid | undefined): Cpuid => {
  const native: Cpuid = natives.get(module) ?? ((leaf, subleaf) => nativeCpuid(module.platform, leaf, subleaf))
  natives.set(module, native)
  if (virtual === undefined) return native
  const answer: Cpuid =
    virtuals.get(virtual) ?? ((leaf, subleaf) => virtual.lookup(leaf, subleaf) ?? native(leaf, subleaf))
  virtuals.set(virtual, answer)
  return answer
}

export const cpuOf = (module: TdxModule, vcpu: Vcpu): Cpu => {
  if (vcpu.cpu !== undefined) return vcpu.cpu
  const { td } = vcpu
  const stage = new TdStage(module, vcpu)
  const controls: VmxControls = {
    io: true,
    hlt: true,
    monitorMwait: true,
    wbinvd: true,
    rdpmc: rdpmcExits(td.attributes),
    msr: (index, write) => msrExits(td, index, write),
    cr0Mask: CR0_MASK,
    cr0Shadow: CR0_SHADOW,
    cr4Mask: cr4Mask(td),
    cr4Shadow: CR4_SHADOW,
  }
  const cpu = module.makeCpu({
    memory: module.memory,
    stage,
    controls,
    cpuid: cpuidOf(module, td.cpuid),
    seed: module.random.next(),
  })
  vcpu.stage = stage
  vcpu.cpu = cpu
  initialState(module.platform, vcpu, cpu)
  return cpu
}
