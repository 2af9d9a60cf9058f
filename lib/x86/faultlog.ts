/** The last exceptions of a CPU, in chains: one raised while another was being delivered belongs to it. For debuggers. */

/** An exception as it was raised. */
export type RaisedFault = {
  /** Number of its chain: all that came of one exception. */
  readonly chain: number
  readonly vector: number
  readonly errorCode: number | undefined
  /** Address of a page fault. */
  readonly cr2: bigint | undefined
  readonly rip: bigint
  readonly rsp: bigint
  /** Instructions retired before it. */
  readonly instructions: number
}

const LENGTH = 12

export class FaultLog {
  #ring: RaisedFault[] = []
  #chain = 0

  /** A new chain begins. */
  begin(): void {
    this.#chain++
  }

  push(fault: Omit<RaisedFault, 'chain'>): void {
    if (this.#ring.length === LENGTH) this.#ring.shift()
    this.#ring.push({ ...fault, chain: this.#chain })
  }

  /** Oldest first. */
  list(): readonly RaisedFault[] {
    return [...this.#ring]
  }
}
