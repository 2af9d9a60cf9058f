/** Private key IDs, as the kernel hands them to TDs: the lowest free one. */
import { Errno } from './errno.ts'

export class KeyIds {
  readonly #first: number
  /** 1 where the key ID belongs to a TD. */
  readonly #used: Uint8Array
  /** Key IDs that belong to TDs now. */
  used = 0

  /** Key IDs [first, first + count). */
  constructor(first: number, count: number) {
    this.#first = first
    this.#used = new Uint8Array(count)
  }

  /** ENOSPC. */
  allocate(): number {
    const index = this.#used.indexOf(0)
    if (index < 0) {
      throw new Errno('ENOSPC', `KVM_TDX_INIT_VM: all ${this.#used.length} private key IDs belong to living TDs`)
    }
    this.#used[index] = 1
    this.used++
    return this.#first + index
  }

  free(hkid: number): void {
    this.#used[hkid - this.#first] = 0
    this.used--
  }
}
