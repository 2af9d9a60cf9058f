/** What a file descriptor of the host process stands for. */
import { Errno } from './errno.ts'

/**
 * An open file. Descriptors and mappings each hold a reference; the last one to go releases it.
 * A file may itself hold references, as a vCPU's file and a guest_memfd hold their VM.
 */
export type OpenFile = {
  readonly kind: 'kvm' | 'vm' | 'vcpu' | 'guest_memfd' | 'eventfd' | 'stats'
  references: number
  /** Called once, when the last reference has gone. */
  release(): void
}

/** Drops one reference. */
export const drop = (file: OpenFile): void => {
  if (--file.references === 0) file.release()
}

/** The descriptors of one process: the lowest free number is the next one, as POSIX has it. */
export class Descriptors {
  // 0, 1 and 2 are taken, as in any process.
  readonly #files: (OpenFile | undefined)[] = [undefined, undefined, undefined]

  /** Gives the file a descriptor, which holds a reference. */
  open(file: OpenFile): number {
    file.references++
    for (let fd = 3; fd < this.#files.length; fd++) {
      if (this.#files[fd] === undefined) {
        this.#files[fd] = file
        return fd
      }
    }
    return this.#files.push(file) - 1
  }

  /** The file behind a descriptor. EBADF. */
  get(fd: number): OpenFile {
    const file = this.#files[fd]
    if (file === undefined) throw new Errno('EBADF', `file descriptor ${fd} is not open`)
    return file
  }

  close(fd: number): void {
    const file = this.get(fd)
    this.#files[fd] = undefined
    drop(file)
  }

  /** Closes all, in descriptor order, as a process that ends does. */
  closeAll(): void {
    for (let fd = 3; fd < this.#files.length; fd++) if (this.#files[fd] !== undefined) this.close(fd)
    this.#files.length = 3
  }

  /** Every open file, in descriptor order. */
  *[Symbol.iterator](): Generator<[fd: number, file: OpenFile]> {
    for (const [fd, file] of this.#files.entries()) if (file !== undefined) yield [fd, file]
  }
}
