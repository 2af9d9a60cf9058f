import { PT_NDA, PT_TDVPR, TDH_VP_CREATE, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { page } from '../operand.ts'
import { Vcpu } from '../vcpu.ts'
import { VP_BUILD } from './op-states.ts'

/** TDH.VP.CREATE: turn a free page into a vCPU's root. tdh_vp_create.c. */
export const vpCreate = seamcall(TDH_VP_CREATE, (module, { rcx, rdx }) => {
  const td = module.td(rdx, 'RDX')
  td.checkState(VP_BUILD)
  const tdvpr = page(module, rcx, PT_NDA, 'RCX')

  module.memory.fill(tdvpr, 4096, 0)
  module.pamt.assign(module.pamt.at(tdvpr, 0), PT_TDVPR, td.tdr)
  td.childCount++
  module.vcpus.set(tdvpr, new Vcpu(td, tdvpr))
  return TDX_SUCCESS
})
