/** What happens from a place of a region on until it may be left again: how many instructions, and who looks at which flags. */
import { type Block, killsOf, readsOf, visibleBefore } from './region.ts'
import { ALL_FLAGS } from './unit.ts'

export class Foresight {
  readonly #root: Block
  readonly #needs = new Map<Block, number>()
  readonly #seen = new Map<Block, number>()

  constructor(root: Block) {
    this.#root = root
  }

  /** Instructions on the longest way from the head of a block to where `left` is looked at again. */
  need(block: Block): number {
    const known = this.#needs.get(block)
    if (known !== undefined) return known
    let most = 0
    for (const to of block.successors) if (this.goesInto(block, to)) most = Math.max(most, this.need(to))
    const need = block.units.length + most
    this.#needs.set(block, need)
    return need
  }

  /** Does execution go on in `to` without `left` being looked at? */
  goesInto(from: Block, to: Block): boolean {
    return !to.isChecked && !from.throughRoot.has(to)
  }

  /** Flags that may be seen from outside before they are set, from the head of a block behind its check. */
  visible(block: Block): number {
    const known = this.#seen.get(block)
    if (known !== undefined) return known
    let visible = this.visibleAfter(block)
    for (let k = block.units.length - 1; k >= 0; k--) {
      visible = visibleBefore(block.units[k]!, visible)
    }
    this.#seen.set(block, visible)
    return visible
  }

  visibleAfter(block: Block): number {
    let visible = 0
    for (const to of [block.taken, block.next]) {
      if (to === undefined) continue
      visible |= to.block !== undefined && this.goesInto(block, to.block) ? this.visible(to.block) : ALL_FLAGS
    }
    if (block.jumps.length > 0 || block.isDynamic) visible = ALL_FLAGS
    return block.taken === undefined && block.next === undefined ? ALL_FLAGS : visible
  }

  /** After each unit: the flags that code reads before they are set again, and those that may be seen at an exit. */
  wanted(block: Block): { live: number; visible: number }[] {
    const wanted: { live: number; visible: number }[] = []
    let live = 0
    for (const to of block.successors) live |= to.live
    if (block.isDynamic) live |= this.#root.live
    let visible = this.visibleAfter(block)
    for (let k = block.units.length - 1; k >= 0; k--) {
      const unit = block.units[k]!
      wanted[k] = { live, visible }
      live = (live & ~killsOf(unit)) | readsOf(unit, live | visible)
      visible = visibleBefore(unit, visible)
    }
    return wanted
  }

  /** A loop that never looks at the flags from before it: its check comes where it is known what they are. */
  isQuiet(block: Block): boolean {
    return block.isLoop && block !== this.#root && (this.visible(block) | block.live) === 0
  }
}
