import { PT_NDA, PT_TDR, TDH_MNG_CREATE, TDX_HKID_NOT_FREE, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { seamcall } from '../leaf.ts'
import { page } from '../operand.ts'
import { check } from '../status.ts'
import { Td } from '../td.ts'

/** TDH.MNG.CREATE: turn a free page into a TD's root and give the TD its key id. tdh_mng_create.c. */
export const mngCreate = seamcall(TDH_MNG_CREATE, (module, { rcx, rdx }) => {
  const hkid = Number(rdx & 0xffffn)
  check(rdx >> 16n === 0n && module.isPrivateHkid(hkid), TDX_OPERAND_INVALID, 'RDX')
  const tdr = page(module, rcx, PT_NDA, 'RCX')
  const key = module.key(hkid)
  check(key.state === 'HKID_FREE', TDX_HKID_NOT_FREE)

  key.state = 'HKID_ASSIGNED'
  module.pamt.assign(module.pamt.at(tdr, 0), PT_TDR, 0)
  module.tds.set(tdr, new Td(tdr, hkid, module.random.next256()))
  return TDX_SUCCESS
})
