/** What must hold between any two SEAMCALLs, whatever host and guest have done. For tests. */
import * as abi from '#abi'
import type { TdxModule } from './module.ts'
import { LEVEL_SIZE } from './pamt.ts'
import { addressOf, isLeaf, stateOfEntry, withoutCounter } from './sept.ts'
import type { Td } from './td.ts'

/** Pages of a TD's Secure EPT: address to type and level. Says what is wrong with the tree in `wrong`. */
const treePages = (module: TdxModule, td: Td, wrong: string[]): Map<number, { type: number; level: number }> => {
  const pages = new Map<number, { type: number; level: number }>()
  const { sept } = td
  if (sept === undefined) return pages
  const visit = (table: number, level: number): void => {
    for (let i = 0; i < 512; i++) {
      const entry = module.memory.read(table + 8 * i, 8)
      const state = stateOfEntry(entry)
      if (state === abi.SEPT_FREE) continue
      const at = addressOf(withoutCounter(entry, level))
      const where = `TD ${td.tdr}, level ${level} entry ${i}`
      if (pages.has(at)) wrong.push(`${where}: page ${at} is mapped twice`)
      if (isLeaf(entry)) {
        pages.set(at, { type: abi.PT_REG, level })
      } else if (level === 0) {
        wrong.push(`${where}: a table under the last level`)
      } else {
        pages.set(at, { type: abi.PT_EPT, level: 0 })
        visit(at, level - 1)
      }
    }
  }
  visit(sept.root, sept.top)
  return pages
}

/** Everything that is inconsistent; empty means all is well. Reads every PAMT entry that is in use. */
export const invariants = (module: TdxModule): string[] => {
  const wrong: string[] = []
  const { pamt } = module
  const expected = new Map<number, { type: number; owner: number; level: number }>()
  const expect = (at: number, type: number, owner: number, level = 0) => {
    if (expected.has(at)) wrong.push(`page ${at} has two uses`)
    expected.set(at, { type, owner, level })
  }
  for (const [tdr, td] of module.tds) {
    let children = td.tdcx.length
    expect(tdr, abi.PT_TDR, 0)
    // Of a TD in teardown any page may be the host's again: what is left is what the PAMT says.
    const isTorn = td.lifecycle === abi.TD_TEARDOWN
    for (const page of isTorn ? [] : td.tdcx) expect(page, abi.PT_TDCX, tdr)
    for (const [at, { type, level }] of isTorn ? [] : treePages(module, td, wrong)) {
      expect(at, type, tdr, level)
      children += 512 ** level
    }
    let associated = 0
    for (const vcpu of module.vcpus.values()) {
      if (vcpu.td !== td || isTorn) continue
      children += vcpu.pages.length
      if (vcpu.assocLp >= 0) associated++
      for (const [i, page] of vcpu.pages.entries()) expect(page, i === 0 ? abi.PT_TDVPR : abi.PT_TDCX, tdr)
    }
    if (!isTorn && children !== td.childCount) wrong.push(`TD ${tdr}: CHLDCNT ${td.childCount}, but ${children} pages`)
    if (!isTorn && associated !== td.numAssocVcpus)
      wrong.push(`TD ${tdr}: NUM_ASSOC_VCPUS ${td.numAssocVcpus}, but ${associated} vCPUs`)
    if (td.refcount[0] !== 0 || td.refcount[1] !== 0) wrong.push(`TD ${tdr}: vCPUs counted as running: ${td.refcount}`)
    const key = module.keys.get(td.hkid)
    const states = isTorn ? ['HKID_FREE', 'HKID_ASSIGNED', 'HKID_FLUSHED'] : ['HKID_ASSIGNED', 'HKID_FLUSHED']
    if (key === undefined || !states.includes(key.state)) wrong.push(`TD ${tdr}: key id ${td.hkid} is ${key?.state}`)
  }
  for (const [at, { type, owner, level }] of expected) {
    const entry = pamt.find(at)
    const torn = module.tds.get(owner as never)?.lifecycle === abi.TD_TEARDOWN
    if (torn) continue
    if (entry === 0 || pamt.type(entry) !== type || pamt.level !== level || pamt.owner(entry) !== owner)
      wrong.push(`page ${at}: PAMT says type ${entry === 0 ? '-' : pamt.type(entry)}, expected ${type} of ${owner}`)
  }
  for (const tdmr of pamt.tdmrs) {
    for (const level of [0, 1, 2] as const) {
      const count = (tdmr.initialised - tdmr.base) / LEVEL_SIZE[level]
      for (let i = 0; i < count; i++) {
        const type = module.memory.view.getUint8(tdmr.pamt[level] + i * abi.PAMT_ENTRY_SIZE + 2)
        if (type === abi.PT_NDA || type === abi.PT_RSVD) continue
        const at = tdmr.base + i * LEVEL_SIZE[level]
        const owner = pamt.owner(tdmr.pamt[level] + i * abi.PAMT_ENTRY_SIZE)
        const torn = module.tds.get(owner)?.lifecycle === abi.TD_TEARDOWN
        if (!expected.has(at) && !torn) wrong.push(`page ${at}: PAMT type ${type}, but nothing uses it`)
      }
    }
  }
  return wrong
}
