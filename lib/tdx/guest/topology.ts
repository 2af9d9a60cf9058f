/**
 * Topology enumeration (TDX_FEATURES0 bit 20), which modules newer than 1.5.01 have and KVM requires.
 *
 * How we know: Linux reads TOPOLOGY_ENUM_CONFIGURED and, where it is set, sets TD_CTLS.ENUM_TOPOLOGY
 * (arch/x86/coco/tdx/tdx.c); from then on CPUID leaves 0xB and 0x1F and the x2APIC id MSR are answered by the module instead
 * of a #VE (commit "x86/tdx: Enable CPU topology enumeration"); KVM gives each vCPU its x2APIC id by VP.INIT version 1.
 * Unconfirmed, for want of a source: that "configured" means every vCPU has an id of its own, the status of switching it on
 * without, and the levels of the leaves.
 * Not modelled: a topology that TD_PARAMS gives (newer modules have leaf 0x1F among the configurable ones). What a TD sees is
 * one package of single-thread cores.
 */
import type { Registers4 } from '../platform.ts'
import type { Td } from '../td.ts'
import type { Vcpu } from '../vcpu.ts'

export const isTopologyConfigured = (td: Td): boolean =>
  td.x2apicIds.length > 0 && !td.x2apicIds.includes(-1) && new Set(td.x2apicIds).size === td.x2apicIds.length

/** Level types in ECX[15:8]. SDM Vol. 2A, "CPUID", leaf 1FH. */
const [SMT, CORE] = [1, 2]

/** CPUID leaf 0xB or 0x1F: one thread a core, then all cores of the package. */
export const topologyOf = (vcpu: Vcpu, subleaf: number): Registers4 => {
  const id = vcpu.x2apicId >>> 0
  const { td } = vcpu
  const level = subleaf & 0xff
  if (level === 0) return [0, 1, SMT << 8, id]
  if (level > 1) return [0, 0, level, id]
  const highest = Math.max(td.maxVcpus - 1, ...td.x2apicIds)
  return [32 - Math.clz32(highest), td.numVcpus, (CORE << 8) | level, id]
}
