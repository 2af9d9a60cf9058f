/** Private key IDs, as the kernel hands them to TDs: the lowest free one. */
import { Errno } from './errno.ts'

export class KeyIds {
  readonly #first: number
  readonly #used: boolean[]

  /** Key IDs [first, first + count). */
  constructor(first: number, count: number) {
    this.#first = first
    this.#used = Array.from({ length: count }, () => false)
  }

  /** ENOSPC. */
  allocate(): number {
    const index = this.#used.indexOf(false)
    if (index < 0) {
      throw new Errno('ENOSPC', `KVM_TDX_INIT_VM: all ${this.#used.length} private key IDs belong to living TDs`)
    }
    this.#used[index] = true
    return this.#first + index
  }

  free(hkid: number): void {
    this.#used[hkid - this.#first] = false
  }

  /** Key IDs that belong to TDs now. */
  get used(): number {
    return this.#used.filter(used => used).length
  }
}
