/** The guest's memory before it runs: its image, its page tables, and a TD's boot code. */
import { TD_BOOT_CODE_SLOT, TD_BOOT_PARAMETERS_GPA, TD_BOOT_PARAMETERS_SLOT } from '#abi'
import { gpa, hva, PAGE_SIZE } from '#bits'
import { type BootParameters, bootCode, encodeBootParameters, type Layout } from '#guest'
import type { Host } from '#kvm'
import type { Slot, Vm } from './vm.ts'

type Run = { readonly offset: number; size: number }

/** A layout's private pages, in runs. */
const runs = new WeakMap<Layout, readonly Run[]>()

/** What is shared is not among the TD's private pages. */
const runsOf = (layout: Layout): readonly Run[] => {
  const known = runs.get(layout)
  if (known !== undefined) return known
  const isPrivate: [bigint, number][] = []
  for (const { gpa, size, shared } of layout.segments) if (!shared) isPrivate.push([gpa, size])
  for (const page of layout.tables.pages) isPrivate.push([page.gpa, PAGE_SIZE])
  isPrivate.sort(([a], [b]) => Number(a - b))
  const found: Run[] = []
  for (const [at, size] of isPrivate) {
    const last = found.at(-1)
    if (last !== undefined && last.offset + last.size === Number(at)) last.size += size
    else found.push({ offset: Number(at), size })
  }
  runs.set(layout, found)
  return found
}

/** The image and its page tables, into slot 0. */
export const loadImage = (host: Host, slot: Slot, layout: Layout): void => {
  for (const { gpa, bytes } of layout.segments) if (bytes.length > 0) host.write(hva(slot.at + gpa), bytes)
  for (const { gpa, bytes } of layout.tables.pages) host.write(hva(slot.at + gpa), bytes)
  for (const { offset, size } of runsOf(layout)) slot.runs.push({ offset, size })
}

/** A TD's boot code and its parameters, in slots of their own. */
export const loadBoot = (vm: Vm, boot: BootParameters): void => {
  const fill = (id: number, at: bigint, bytes: Uint8Array) => {
    const slot = vm.addSlot(id, gpa(at), bytes.length)
    vm.machine.host.write(slot.at, bytes)
    slot.runs.push({ offset: 0, size: bytes.length })
  }
  const code = bootCode()
  fill(TD_BOOT_CODE_SLOT, code.gpa, code.bytes)
  fill(TD_BOOT_PARAMETERS_SLOT, TD_BOOT_PARAMETERS_GPA, encodeBootParameters(boot))
}
