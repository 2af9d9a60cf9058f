/** An eventfd of the host process: a counter that a write adds to, and that whoever listens hears of. eventfd(2). */
import { Errno } from './errno.ts'
import type { OpenFile } from './file.ts'

const MOST = 0xffff_ffff_ffff_fffen

export class EventFd implements OpenFile {
  readonly kind = 'eventfd'
  references = 0
  #count: bigint
  /** Told of every write; what they take from the counter is theirs. */
  readonly listeners = new Set<() => void>()

  constructor(count: bigint) {
    this.#count = count
  }

  /** write(2) of 8 bytes. EINVAL: all ones; EAGAIN: the counter would overflow. */
  write(value: bigint): void {
    if (value > MOST) throw new Errno('EINVAL', `write: an eventfd takes no ${value}`)
    if (this.#count + value > MOST) throw new Errno('EAGAIN', `write: an eventfd's counter cannot take ${value} more`)
    this.#count += value
    for (const listener of this.listeners) listener()
  }

  /** read(2) of one that is not a semaphore. EAGAIN: it is 0. */
  read(): bigint {
    if (this.#count === 0n) throw new Errno('EAGAIN', 'read: the eventfd has not been signalled')
    return this.take()
  }

  /** The counter, which is 0 afterwards. */
  take(): bigint {
    const count = this.#count
    this.#count = 0n
    return count
  }

  release(): void {
    this.listeners.clear()
  }
}
