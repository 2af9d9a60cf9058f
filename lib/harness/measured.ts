/** What a TD was measured as: the pages it began with, in order, and what the module made of them. */
import { createHash } from 'node:crypto'
import { TD_BOOT_CODE_SLOT, TD_BOOT_PARAMETERS_SLOT, TD_FIELDS, TDH_MNG_RD } from '#abi'
import { PAGE_SIZE } from '#bits'
import type { Host } from '#kvm'
import type { Td } from './td.ts'

/** A page that the TD began with, as KVM_TDX_INIT_MEM_REGION gave it. */
export type MeasuredPage = {
  readonly gpa: bigint
  readonly what: string
  readonly content: Uint8Array
  /** Its 16 chunks were extended (KVM_TDX_MEASURE_MEMORY_REGION), or only its place. */
  readonly isExtended: boolean
}

export type Measured = {
  /** `TD 0`. */
  readonly name: string
  readonly pages: readonly MeasuredPage[]
  /** As TDH.MNG.RD tells it. */
  readonly mrtd: Uint8Array
  readonly attributes: bigint
  readonly xfam: bigint
  readonly mrconfigid: Uint8Array
  readonly mrowner: Uint8Array
  readonly mrownerconfig: Uint8Array
  /** As the TD begins: what the guest extends comes later. */
  readonly rtmrs: readonly Uint8Array[]
}

let listener: ((measured: Measured) => void) | undefined

/** Every TD that is finalized from now on is told; `undefined` ends it. */
export const onMeasured = (told: ((measured: Measured) => void) | undefined): void => {
  listener = told
}

/** The TD's KVM_TDX_FINALIZE_VM is done. Costs nothing where nobody listens. */
export const finalized = (td: Td): void => {
  if (listener !== undefined && td.vm.isTd) listener(measure(td))
}

/** What the page at `gpa` is, as far as the guest's own image says. */
const labelOf = ({ image, layout }: Td, gpa: bigint): string => {
  const level = layout.tables.pages.findIndex(page => page.gpa === gpa)
  if (level >= 0) return gpa === layout.tables.root ? 'page table, the root' : 'page table'
  const segment = layout.segments.find(s => gpa >= s.gpa && gpa < s.gpa + BigInt(s.size))
  if (segment === undefined) return "the test's memory"
  const at = segment.gva + (gpa - segment.gpa)
  const isHere = (where: bigint) => where >= at && where < at + BigInt(PAGE_SIZE)
  const parts = [
    ...(isHere(image.gdt.base) ? ['GDT'] : []),
    ...(isHere(image.idt.base) ? ['IDT'] : []),
    ...image.stacks.flatMap((stack, n) => (isHere(stack) ? [`stack of vCPU ${n}`] : [])),
    ...image.entries.flatMap((entry, n) => (isHere(entry) ? [`entry of vCPU ${n}`] : [])),
  ]
  const rights = `${segment.writable ? 'rw' : 'r'}${segment.executable ? 'x' : ''}`
  return `guest ${segment.name} (${rights})${parts.length === 0 ? '' : `: ${parts.join(', ')}`}`
}

type Added = Pick<MeasuredPage, 'gpa' | 'content' | 'isExtended'>
type KvmVm = Parameters<NonNullable<Host['onPageAdded']>>[0]
const added = new WeakMap<KvmVm, Added[]>()

/** Before a TD gets its memory: every page that is added is noted, whoever adds it. Costs nothing where nobody listens. */
export const watchPages = (host: Host): void => {
  if (listener === undefined) return
  host.onPageAdded = (vm, gpa, content, isExtended) => {
    const pages = added.get(vm) ?? []
    added.set(vm, pages)
    pages.push({ gpa, content, isExtended })
  }
}

const whatOf = (td: Td, at: bigint): string => {
  const slot = td.vm.slots.find(({ gpa, size }) => at >= gpa && at < gpa + BigInt(size))
  if (slot?.id === TD_BOOT_CODE_SLOT) return 'boot code, reset vector'
  if (slot?.id === TD_BOOT_PARAMETERS_SLOT) return 'boot parameters'
  const isRun = slot?.runs.some(
    ({ offset, size }) => at >= slot.gpa + BigInt(offset) && at < slot.gpa + BigInt(offset + size),
  )
  return isRun === true ? labelOf(td, at) : "added by the test's own ioctl"
}

const measure = (td: Td): Measured => {
  const { host } = td.vm.machine
  const file = host.descriptors.get(td.vm.fd)
  const vm = [...host.vms].find(candidate => candidate === file)
  if (vm === undefined) throw new Error('a TD whose descriptor is no VM')
  const seam = host.tdx().seam(0)
  const field = (name: string): Uint8Array => {
    const { id, elements } = TD_FIELDS.find(row => row.name === name)!
    const view = new DataView(new ArrayBuffer(8 * elements))
    for (let i = 0; i < elements; i++) {
      seam.must('TDH.MNG.RD', TDH_MNG_RD, BigInt(vm.td.tdr), id + BigInt(i))
      view.setBigUint64(8 * i, seam.regs.r8, true)
    }
    return new Uint8Array(view.buffer)
  }
  return {
    name: td.name,
    pages: (added.get(vm) ?? []).map(page => ({ ...page, what: whatOf(td, page.gpa) })),
    mrtd: field('MRTD'),
    attributes: new DataView(field('ATTRIBUTES').buffer).getBigUint64(0, true),
    xfam: new DataView(field('XFAM').buffer).getBigUint64(0, true),
    mrconfigid: field('MRCONFIGID'),
    mrowner: field('MROWNER'),
    mrownerconfig: field('MROWNERCONFIG'),
    // Of a production TD no SEAMCALL tells them.
    rtmrs:
      host
        .tdx()
        .module.tds.get(vm.td.tdr)
        ?.rtmr.map(value => value.slice()) ?? [],
  }
}

const BLOCK = 128
const CHUNK = 256

/**
 * MRTD of these pages by the rule alone, with no code of the module: for each page a block that says MEM.PAGE.ADD and its
 * GPA, then, where it was extended, for each of its 16 chunks one that says MR.EXTEND and the chunk's, and the chunk.
 */
export const recompute = (
  pages: readonly (Pick<MeasuredPage, 'gpa' | 'content'> & Partial<Pick<MeasuredPage, 'isExtended'>>)[],
): Uint8Array => {
  const sha = createHash('sha384')
  const block = (name: string, gpa: bigint) => {
    const bytes = Buffer.alloc(BLOCK)
    bytes.write(name, 'ascii')
    bytes.writeBigUInt64LE(gpa, 16)
    sha.update(bytes)
  }
  for (const { gpa, content, isExtended = true } of pages) {
    block('MEM.PAGE.ADD', gpa)
    if (!isExtended) continue
    for (let at = 0; at < PAGE_SIZE; at += CHUNK) {
      block('MR.EXTEND', gpa + BigInt(at))
      sha.update(content.subarray(at, at + CHUNK))
    }
  }
  return new Uint8Array(sha.digest())
}
