/** Warm worker processes: taken for one order at a time, replaced after a crash or a kill. */
import type { ChildProcess } from 'node:child_process'
import { type Standing, standingOf } from './dump.ts'
import { type Image, imageOf, renew, withOriginals } from './image.ts'
import { signal } from './processes.ts'
import type { Answer, Order } from './protocol.ts'
import { early, start } from './start.ts'

/** How a worker process ended. */
export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/** One worker process. It does one order, answers, and waits for the next. */
export class WorkerProcess {
  #child: ChildProcess
  /** What it began with; undefined once it has loaded the sources, or shown that the image works. */
  #image: Image | undefined
  #answer: ((answer: Answer) => void) | undefined
  #output: ((stream: 'stdout' | 'stderr', text: string) => void) | undefined
  #end: ((exit: Exit | undefined) => void) | undefined
  #exit: Exit | undefined
  #order: Order | undefined
  isUsed = false
  /** Not to be used again: a test left something behind. */
  isSpent = false
  #isDumped = false
  #isEnded = false

  /** `child` is a process started before, from the image. */
  constructor(image?: Image, child = start(image)) {
    this.#image = image
    this.#child = this.#listen(child)
  }

  #listen(child: ChildProcess): ChildProcess {
    child.on('message', (answer: Answer) => {
      if (answer.type === 'sources') {
        this.#again()
        return
      }
      this.#image = undefined
      if (answer.type === 'done' && answer.spent) this.isSpent = true
      if (answer.type === 'done' || answer.type === 'broken') this.#finish(answer)
      else this.#answer?.(answer)
    })
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream]?.setEncoding('utf8').on('data', (text: string) => {
        // From the moment of a dump on it is the inspector who speaks.
        if (!this.#isDumped) this.#output?.(stream, text)
      })
    child.on('error', error => this.#output?.('stderr', `${error.message}\n`))
    // The channel may still hold what the worker said last, and a child of its own may hold the pipes for ever.
    let gone = (): void => {
      gone = () => this.#gone(child, { code: child.exitCode, signal: child.signalCode })
    }
    child.on('disconnect', () => gone())
    child.on('exit', () => gone())
    return child
  }

  /** Begins anew, from the sources. */
  #again(): void {
    const { pid } = this.#child
    this.close()
    if (pid !== undefined) signal(-pid, 'SIGKILL')
    this.#image = undefined
    this.#child = this.#listen(start(undefined))
    if (this.#order !== undefined) this.#child.send(this.#order)
  }

  get alive(): boolean {
    return this.#exit === undefined
  }

  /** Does `order`. Resolves when the worker is ready for the next one, or with how it ended. */
  do(
    order: Order,
    answer: (answer: Answer) => void,
    output: (stream: 'stdout' | 'stderr', text: string) => void,
  ): Promise<Exit | undefined> {
    this.isUsed = true
    this.#answer = answer
    this.#output = output
    return new Promise(resolve => {
      this.#end = resolve
      if (this.#exit !== undefined) {
        this.#gone(this.#child, this.#exit)
        return
      }
      // Seen while the worker starts, and before it does anything.
      if (this.#image?.isCurrent() === false) this.#again()
      this.#order = order
      if (this.#child.connected) this.#child.send(order)
    })
  }

  /** Lets it begin that has said what it needs. */
  go(): void {
    if (this.#child.connected) this.#child.send({ type: 'go' } satisfies Order)
  }

  /** Where it stands, for one that does not answer; see standingOf. It does not go on. */
  async dump(): Promise<Standing> {
    this.#isDumped = true
    const standing = await standingOf(this.#child)
    return { ...standing, stack: withOriginals(standing.stack) }
  }

  /** SIGTERM to the worker and its children now, SIGKILL after `grace` milliseconds. */
  kill(grace: number): void {
    const { pid } = this.#child
    this.#isEnded = true
    if (pid === undefined) return
    signal(-pid, 'SIGTERM')
    const timer = setTimeout(() => signal(-pid, 'SIGKILL'), grace)
    this.#child.once('exit', () => {
      clearTimeout(timer)
      signal(-pid, 'SIGKILL')
    })
  }

  /** Lets an idle worker go. */
  close(): void {
    if (this.#child.connected) this.#child.disconnect()
    this.#child.unref()
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
  }

  #finish(answer: Answer): void {
    this.#answer?.(answer)
    const end = this.#end
    this.#end = undefined
    // Pipes and channel are read separately: what a test wrote to its file descriptors may come a turn later.
    setImmediate(() => end?.(undefined))
  }

  #gone(child: ChildProcess, exit: Exit): void {
    if (child !== this.#child) return
    // An image that this Node does not take, or that is there no more: it has not said a word.
    if (this.#image !== undefined && !this.#isEnded) {
      this.#again()
      return
    }
    this.#exit = exit
    const end = this.#end
    this.#end = undefined
    setImmediate(() => {
      this.close()
      end?.(exit)
    })
  }
}

/** At most `size` workers, started when there is work for them. */
export class Pool {
  readonly size: number
  readonly #idle: WorkerProcess[] = []
  readonly #busy = new Set<WorkerProcess>()
  readonly #queue: ((worker: WorkerProcess) => void)[] = []

  #image: Image | undefined | 'unasked' = 'unasked'

  constructor(size: number) {
    this.size = size
  }

  #new(): WorkerProcess {
    if (this.#image === 'unasked') {
      const first = early()
      this.#image = first === undefined ? imageOf() : first.image
      if (first !== undefined) return new WorkerProcess(first.image, first.child)
    }
    return new WorkerProcess(this.#image)
  }

  /** Starts a worker that loads while the run is being prepared. */
  warm(): void {
    if (this.#idle.length + this.#busy.size === 0) this.#idle.push(this.#new())
  }

  /** A free worker; waits for one if all are busy. A `clean` one has run nothing yet. Give it back. */
  async take(clean = false): Promise<WorkerProcess> {
    const worker = await this.#take()
    if (!clean || !worker.isUsed) return worker
    worker.close()
    this.#busy.delete(worker)
    const fresh = this.#new()
    this.#busy.add(fresh)
    return fresh
  }

  async #take(): Promise<WorkerProcess> {
    let worker = this.#idle.pop()
    while (worker !== undefined && !worker.alive) worker = this.#idle.pop()
    if (worker === undefined && this.#busy.size < this.size) worker = this.#new()
    if (worker === undefined) return new Promise(resolve => this.#queue.push(resolve))
    this.#busy.add(worker)
    return worker
  }

  give(worker: WorkerProcess): void {
    this.#busy.delete(worker)
    const waiting = this.#queue.shift()
    if (waiting === undefined) {
      if (worker.alive && !worker.isSpent) this.#idle.push(worker)
      else if (worker.alive) worker.close()
      return
    }
    if (worker.alive && worker.isSpent) worker.close()
    const next = worker.alive && !worker.isSpent ? worker : this.#new()
    this.#busy.add(next)
    waiting(next)
  }

  /** Ends every worker: idle ones at once, busy ones by SIGTERM, then SIGKILL. */
  close(grace: number): void {
    for (const worker of this.#idle.splice(0)) worker.close()
    for (const worker of this.#busy) worker.kill(grace)
    if (this.#image !== 'unasked' && this.#image?.isCurrent() !== true) renew()
  }
}
