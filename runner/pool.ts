/** Warm worker processes: taken for one order at a time, replaced after a crash or a kill. */
import { type ChildProcess, fork } from 'node:child_process'
import { getCompileCacheDir } from 'node:module'
import { stackOf } from './dump.ts'
import type { Answer, Order } from './protocol.ts'

/** How a worker process ended. */
export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/** Workers share what the launcher's Node has compiled. */
const workerEnvironment = (): NodeJS.ProcessEnv => {
  const cache = getCompileCacheDir()
  return cache === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: cache }
}

/** Beside us: a source, or in an installed tree a bundle. */
const ENTRY = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url)

/** One worker process. It does one order, answers, and waits for the next. */
export class WorkerProcess {
  readonly #child: ChildProcess
  #answer: ((answer: Answer) => void) | undefined
  #output: ((stream: 'stdout' | 'stderr', text: string) => void) | undefined
  #end: ((exit: Exit | undefined) => void) | undefined
  #exit: Exit | undefined
  isUsed = false
  /** Not to be used again: a test left something behind. */
  isSpent = false
  #isDumped = false

  constructor() {
    // A group of its own: what a test leaves behind dies with its worker, and a terminal's ctrl-C reaches only us.
    this.#child = fork(ENTRY, {
      // The port that a dump asks for, should it be needed: any that is free.
      execArgv: ['--inspect-port=0'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
      env: workerEnvironment(),
    })
    this.#child.on('message', (answer: Answer) => {
      if (answer.type === 'done' && answer.spent) this.isSpent = true
      if (answer.type === 'done' || answer.type === 'broken') this.#finish(answer)
      else this.#answer?.(answer)
    })
    for (const stream of ['stdout', 'stderr'] as const)
      this.#child[stream]?.setEncoding('utf8').on('data', (text: string) => {
        // From the moment of a dump on it is the inspector who speaks.
        if (!this.#isDumped) this.#output?.(stream, text)
      })
    this.#child.on('error', error => this.#output?.('stderr', `${error.message}\n`))
    // The channel may still hold what the worker said last, and a child of its own may hold the pipes for ever.
    let gone = (): void => {
      gone = () => this.#gone({ code: this.#child.exitCode, signal: this.#child.signalCode })
    }
    this.#child.on('disconnect', () => gone())
    this.#child.on('exit', () => gone())
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
      if (this.#exit !== undefined) this.#gone(this.#exit)
      else this.#child.send(order)
    })
  }

  /** Lets it begin that has said what it needs. */
  go(): void {
    if (this.#child.connected) this.#child.send({ type: 'go' } satisfies Order)
  }

  /** Where it stands, for one that does not answer; see stackOf. It does not go on. */
  dump(): Promise<string> {
    this.#isDumped = true
    return stackOf(this.#child)
  }

  /** SIGTERM to the worker and its children now, SIGKILL after `grace` milliseconds. */
  kill(grace: number): void {
    this.#signal('SIGTERM')
    const timer = setTimeout(() => this.#signal('SIGKILL'), grace)
    this.#child.once('exit', () => {
      clearTimeout(timer)
      this.#signal('SIGKILL')
    })
  }

  /** Lets an idle worker go. */
  close(): void {
    if (this.#child.connected) this.#child.disconnect()
    this.#child.unref()
    this.#child.stdout?.destroy()
    this.#child.stderr?.destroy()
  }

  #signal(signal: NodeJS.Signals): void {
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, signal)
    } catch {
      // Already gone.
    }
  }

  #finish(answer: Answer): void {
    this.#answer?.(answer)
    const end = this.#end
    this.#end = undefined
    // Pipes and channel are read separately: what a test wrote to its file descriptors may come a turn later.
    setImmediate(() => end?.(undefined))
  }

  #gone(exit: Exit): void {
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

  constructor(size: number) {
    this.size = size
  }

  /** Starts a worker that loads while the run is being prepared. */
  warm(): void {
    if (this.#idle.length + this.#busy.size === 0) this.#idle.push(new WorkerProcess())
  }

  /** A free worker; waits for one if all are busy. A `clean` one has run nothing yet. Give it back. */
  async take(clean = false): Promise<WorkerProcess> {
    const worker = await this.#take()
    if (!clean || !worker.isUsed) return worker
    worker.close()
    this.#busy.delete(worker)
    const fresh = new WorkerProcess()
    this.#busy.add(fresh)
    return fresh
  }

  async #take(): Promise<WorkerProcess> {
    let worker = this.#idle.pop()
    while (worker !== undefined && !worker.alive) worker = this.#idle.pop()
    if (worker === undefined && this.#busy.size < this.size) worker = new WorkerProcess()
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
    const next = worker.alive && !worker.isSpent ? worker : new WorkerProcess()
    this.#busy.add(next)
    waiting(next)
  }

  /** Ends every worker: idle ones at once, busy ones by SIGTERM, then SIGKILL. */
  close(grace: number): void {
    for (const worker of this.#idle.splice(0)) worker.close()
    for (const worker of this.#busy) worker.kill(grace)
  }
}
