/** KVM_TDX_INIT_VM: checks what the user wants and makes the TD. Linux arch/x86/kvm/vmx/tdx.c, tdx_td_init and setup_tdparams. */

import {
  KVM_MAX_CPUID_ENTRIES,
  kvm_tdx_init_vm,
  TD_PARAMS,
  TDX_CONFIG_FLAGS_GPAW,
  TDX_CONFIG_FLAGS_NO_RBP_MOD,
} from '#abi'
import { hex, hva } from '#bits'
import { type CpuidEntry, findCpuid, readCpuid } from '../cpuid.ts'
import { Errno } from '../errno.ts'
import type { Tdx } from '../module.ts'
import type { Vm } from '../vm.ts'
import type { Command } from './command.ts'
import { configurableCpuid, supportedAttributes, supportedXfam, TSX, WAITPKG } from './kvm_tdx_capabilities.ts'

const WIDTHS = 0x8000_0008
/** EPTP: write-back; the page-walk length less one stands in bits 5:3. */
const EPTP_WB = 6n
const KHZ_PER_UNIT = 25_000

const invalid = (why: string): Errno => new Errno('EINVAL', `KVM_TDX_INIT_VM: ${why}`)

/** Guest physical address bits, which choose GPAW and the levels of the Secure EPT. */
const gpaWidth = (tdx: Tdx, entries: readonly CpuidEntry[]): 48 | 52 => {
  const entry = findCpuid(entries, WIDTHS, 0)
  if (entry === undefined)
    throw invalid(`CPUID has no leaf ${hex(WIDTHS)}, whose EAX[23:16] is the guest physical width`)
  const width = (entry.eax >>> 16) & 0xff
  if (width !== 48 && width !== 52) throw invalid(`CPUID ${hex(WIDTHS)} EAX[23:16] is ${width}; want 48 or 52`)
  if (width === 52 && !tdx.platform.ept5) {
    throw invalid(`CPUID ${hex(WIDTHS)} EAX[23:16] is 52, but the processor has no 5-level EPT; want 48`)
  }
  return width
}

/** What the last list came to: of the same module the same list comes to the same. */
const lasts = new WeakMap<Tdx, { readonly entries: readonly CpuidEntry[]; readonly values: Uint8Array }>()

const cpuidValues = (tdx: Tdx, entries: readonly CpuidEntry[]): Uint8Array => {
  const last = lasts.get(tdx)
  if (last?.entries === entries) return last.values
  const values = computeValues(tdx, entries)
  lasts.set(tdx, { entries, values })
  return values
}

/** The values of TD_PARAMS.CPUID_CONFIG, in the module's order. Every entry the user gives must be configurable. */
const computeValues = (tdx: Tdx, entries: readonly CpuidEntry[]): Uint8Array => {
  const out = new Uint8Array(TD_PARAMS.fields.cpuid_config.size)
  const view = new DataView(out.buffer)
  let copied = 0
  for (const [i, row] of configurableCpuid(tdx).entries()) {
    const entry = findCpuid(entries, row.function, row.index)
    if (entry === undefined) continue
    if (entry.function === 7 && entry.index === 0 && ((entry.ebx & TSX) !== 0 || (entry.ecx & WAITPKG) !== 0)) {
      throw invalid('CPUID 7.0 has HLE, RTM or WAITPKG, which KVM gives no TD')
    }
    copied++
    // The guest physical width is KVM's own: the module wants zero there.
    const eax = row.function === WIDTHS ? entry.eax & ~0xff_0000 : entry.eax
    for (const [j, value] of [eax, entry.ebx, entry.ecx, entry.edx].entries()) {
      view.setUint32(i * 16 + j * 4, value >>> 0, true)
    }
  }
  if (copied !== entries.length) {
    throw invalid(
      `${entries.length} CPUID entries, of which ${copied} are configurable; want only leaves of KVM_TDX_CAPABILITIES, once each`,
    )
  }
  return out
}

/** EINVAL, E2BIG, EBUSY: vCPUs exist; ENOSPC: no key ID; EAGAIN: no entropy; EIO: the module refuses otherwise. */
export const initVm = (vm: Vm, { flags, data }: Command): void => {
  const { td } = vm
  const { space } = vm.host
  if (td.state !== 'uninitialized') throw invalid(`the TD is ${td.state} already`)
  if (flags !== 0) throw invalid(`flags ${flags}; want 0`)
  const nent = Number(space.load(hva(data + BigInt(kvm_tdx_init_vm.offset.nent)), 4))
  if (nent > KVM_MAX_CPUID_ENTRIES) {
    throw new Errno('E2BIG', `KVM_TDX_INIT_VM: ${nent} CPUID entries; at most ${KVM_MAX_CPUID_ENTRIES}`)
  }
  const init = space.get(kvm_tdx_init_vm, hva(data))
  const entries = readCpuid(space, hva(data + BigInt(kvm_tdx_init_vm.size)), nent)
  if (init.reserved.some(byte => byte !== 0)) throw invalid('reserved is not all zero')
  if (init.padding !== 0) throw invalid(`cpuid.padding ${init.padding}; want 0`)
  if (vm.vcpus.size > 0) throw new Errno('EBUSY', `KVM_TDX_INIT_VM: the VM has ${vm.vcpus.size} vCPUs already`)
  const attributes = supportedAttributes(td.tdx)
  if ((init.attributes & ~attributes) !== 0n) {
    throw invalid(`attributes ${hex(init.attributes)} not in supported_attrs ${hex(attributes)}`)
  }
  const xfam = supportedXfam(td.tdx)
  if ((init.xfam & ~xfam) !== 0n) throw invalid(`xfam ${hex(init.xfam)} not in supported_xfam ${hex(xfam)}`)
  const width = gpaWidth(td.tdx, entries)
  const { info } = td.tdx
  const wanted = { attributes: init.attributes | info.attributesFixed1, xfam: init.xfam | info.xfamFixed1 }
  const bytes = TD_PARAMS.encode({
    ...wanted,
    max_vcpus: vm.maxVcpus,
    eptp_controls: EPTP_WB | ((width === 52 ? 4n : 3n) << 3n),
    config_flags: TDX_CONFIG_FLAGS_NO_RBP_MOD | (width === 52 ? TDX_CONFIG_FLAGS_GPAW : 0n),
    tsc_frequency: Math.floor(vm.tscKhz / KHZ_PER_UNIT) & 0xffff,
    mr_config_id: init.mrconfigid,
    mr_owner: init.mrowner,
    mr_owner_config: init.mrownerconfig,
    cpuid_config: cpuidValues(td.tdx, entries),
  })
  td.init({ bytes, gpaWidth: width, ...wanted })
}
