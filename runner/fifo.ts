/** Named pipes for what executables print: one for standard output and error together, as a shell's `2>&1 |` makes it. */
import { spawnSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs'
import { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A pipe that one process after another writes to. */
export type Opened = {
  /** The writers' end, for a child's standard output and error. Close it once the child has it. */
  readonly writeEnd: number
  readonly reader: Socket
}

/**
 * A directory of named pipes. Node's own pipes are sockets: a child that opens /dev/stdout or /dev/stderr again, as
 * shell scripts do, gets ENXIO from those. And two of them would lose the order of output and errors.
 */
export class Fifos {
  #directory = ''
  readonly #free: string[] = []
  #made = 0

  /** A pipe that nobody writes to. Give it back when it has ended. */
  take(): string {
    if (this.#free.length === 0) this.#make(8)
    return this.#free.pop()!
  }

  /** Takes a pipe back; one that some process may still hold is thrown away. */
  give(path: string, isHeld: boolean): void {
    if (isHeld) rmSync(path, { force: true })
    else this.#free.push(path)
  }

  close(): void {
    if (this.#directory !== '') rmSync(this.#directory, { recursive: true, force: true })
  }

  #make(count: number): void {
    this.#directory ||= mkdtempSync(join(tmpdir(), 'seamless-'))
    const paths = Array.from({ length: count }, () => join(this.#directory, `${this.#made++}`))
    const { status, stderr } = spawnSync('mkfifo', paths, { encoding: 'utf8' })
    if (status !== 0) throw new Error(`mkfifo ${this.#directory}: ${stderr || 'cannot be run'}`)
    this.#free.push(...paths)
  }
}

/** What every pipe is read into: a buffer of its own would cost each test as much as its result. */
const BUFFER = Buffer.allocUnsafeSlow(65536)

/** Opens both ends. `take` is handed bytes that stay as they are until it returns. The reader ends when the last writer has closed. */
export const openFifo = (path: string, take: (bytes: Buffer) => void): Opened => {
  const readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const writeEnd = openSync(path, constants.O_WRONLY)
    const onread = {
      buffer: BUFFER,
      callback: (size: number) => {
        take(BUFFER.subarray(0, size))
        return true
      },
    }
    return { writeEnd, reader: new Socket({ fd: readEnd, readable: true, writable: false, onread }) }
  } catch (error) {
    closeSync(readEnd)
    throw error
  }
}
