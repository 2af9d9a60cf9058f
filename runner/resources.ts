/** What tests need for themselves while they run: nothing beside them, or shares of memory, processors and /dev/kvm. */
import { totalmem } from 'node:os'

export type Need = {
  readonly exclusive: boolean
  /** Bytes. */
  readonly memory: number
  readonly vcpus: number
  readonly kvm: boolean
}

/** What a file takes that asks for nothing. */
export const PLAIN: Need = { exclusive: false, memory: 0, vcpus: 1, kvm: false }

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 }

/**
 * The need that tags speak of, `exclusive`, `kvm`, `vcpus=4`, `memory=512M`; of several the largest. Undefined if none
 * does.
 */
export const needOf = (tags: Iterable<string>): Need | undefined => {
  let need: Need | undefined
  for (const tag of tags) {
    const now: Need = need ?? PLAIN
    const [, vcpus] = /^vcpus=(\d+)$/.exec(tag) ?? []
    const [, memory, unit = ''] = /^memory=(\d+)([kmg]?)$/i.exec(tag) ?? []
    if (tag === 'exclusive') need = { ...now, exclusive: true }
    else if (tag === 'kvm') need = { ...now, kvm: true }
    else if (vcpus !== undefined) need = { ...now, vcpus: Math.max(now.vcpus, Number(vcpus)) }
    else if (memory !== undefined)
      need = { ...now, memory: Math.max(now.memory, Number(memory) * UNITS[unit.toLowerCase()]!) }
  }
  return need
}

/** Hands out what there is, in the order asked: nobody who needs much waits for ever behind those who need little. */
export class Resources {
  readonly #vcpus: number
  readonly #memory: number
  #used = { files: 0, memory: 0, vcpus: 0, kvm: false, exclusive: false }
  readonly #waiting: { readonly need: Need; readonly start: () => void }[] = []

  constructor(vcpus: number, memory = totalmem()) {
    this.#vcpus = vcpus
    this.#memory = memory
  }

  /** Resolves when `need` is there, with what gives it back. More than there is at all is everything. */
  take(asked: Need): Promise<() => void> {
    const need = {
      ...asked,
      vcpus: Math.min(asked.vcpus, this.#vcpus),
      memory: Math.min(asked.memory, this.#memory),
    }
    return new Promise(resolve => {
      this.#waiting.push({ need, start: () => resolve(this.#hold(need)) })
      this.#next()
    })
  }

  #hold(need: Need): () => void {
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      this.#count(need, -1)
      this.#next()
    }
  }

  #count(need: Need, sign: 1 | -1): void {
    const { files, memory, vcpus, kvm, exclusive } = this.#used
    this.#used = {
      files: files + sign,
      memory: memory + sign * need.memory,
      vcpus: vcpus + sign * need.vcpus,
      kvm: need.kvm ? sign > 0 : kvm,
      exclusive: need.exclusive ? sign > 0 : exclusive,
    }
  }

  #fits(need: Need): boolean {
    const { files, memory, vcpus, kvm, exclusive } = this.#used
    if (exclusive || (need.exclusive && files > 0) || (need.kvm && kvm)) return false
    return vcpus + need.vcpus <= this.#vcpus && memory + need.memory <= this.#memory
  }

  #next(): void {
    for (let first = this.#waiting[0]; first !== undefined && this.#fits(first.need); first = this.#waiting[0]) {
      this.#waiting.shift()
      this.#count(first.need, 1)
      first.start()
    }
  }
}
