/** A vCPU as a test sees it: runs until something happens, and fails the test where something else does. */
import { KVM_RUN, kvm_run } from '#abi'
import { gva, hva, type Layout, PAGE_SIZE, type struct, type Values } from '#bits'
import { type GuestImage, lineOf } from '#guest'
import { Errno } from '#kvm'
import type { Failure as FailureData } from '#reports'
import { abortFailure, unhandledText } from './abort.ts'
import { dumpCore } from './core.ts'
import { type Exit, exitText, type Outcomes, type Reason, type RunPage, readExit, type Ucall } from './exits.ts'
import { guestState, type Wanted } from './inspect.ts'
import { call } from './ioctl.ts'
import type { Sliced } from './schedule.ts'
import { seconds } from './show.ts'
import type { Td } from './td.ts'
import { describe } from './thrown.ts'
import type { Trial } from './trial.ts'
import { type Payload, payloadOf, readUcall } from './ucall.ts'
import type { VcpuFile } from './vm.ts'
import { caller, callerIn, siteOf } from './where.ts'

type Shape = Parameters<typeof struct>[1]

const IMMEDIATE_EXIT = kvm_run.offset.immediate_exit

export class Vcpu {
  /** KVM's number of the vCPU, the guest's index too. */
  readonly index: number
  /** The vCPU's descriptor, for ioctls. */
  fd: number
  readonly td: Td
  readonly #trial: Trial
  #page: RunPage
  /** Has the guest said UCALL_DONE? */
  #isDone = false
  /** What the test waits for, and where it said so. */
  #waiting: { readonly reason: Reason; readonly from: Called | undefined } = { reason: 'UCALL_DONE', from: undefined }
  /** The count of instructions at which a signal comes. */
  #signalAt: number | undefined
  /** The time at which `advance` is over. */
  #wakeAt: bigint | undefined

  constructor(td: Td, trial: Trial, index: number, { fd, run }: VcpuFile) {
    this.index = index
    this.fd = fd
    this.td = td
    this.#trial = trial
    this.#page = pageOf(trial, run)
  }

  /** The TD has moved: it goes on as another VM's vCPU. */
  goOn({ fd, run }: VcpuFile): void {
    this.fd = fd
    this.#page = pageOf(this.#trial, run)
  }

  /** Guest instructions that this vCPU has run. */
  get instructions(): number {
    return this.#trial.machine.host.instructions(this.fd)
  }

  /** An ioctl of the vCPU. Errno. */
  ioctl(request: number, arg: bigint | number = 0): number {
    return this.#trial.machine.host.ioctl(this.fd, request, arg)
  }

  /** An ioctl of the vCPU with a structure: `values` are set, the rest is zero. Errno. */
  call<S extends Shape>(request: number, layout: Layout<S>, values: Partial<Values<S>>): number {
    return call(this.#trial.machine, this.fd, request, layout, values)
  }

  /** An ioctl of the vCPU with bytes: a structure that a list follows. Returns its result and the bytes as it left them. Errno. */
  callBytes(request: number, bytes: Uint8Array): { readonly result: number; readonly bytes: Uint8Array } {
    const { host, scratch } = this.#trial.machine
    host.write(scratch, bytes)
    const result = host.ioctl(this.fd, request, scratch)
    return { result, bytes: host.read(scratch, bytes.length) }
  }

  /** A structure that an ioctl of the vCPU gives. Errno. */
  get<S extends Shape>(request: number, layout: Layout<S>): Values<S> {
    const { host, scratch } = this.#trial.machine
    host.ioctl(this.fd, request, scratch)
    return host.get(layout, scratch)
  }

  /**
   * Runs the guest to the next exit or ucall and returns it. Where that is not `reason`, or the guest's own assertion
   * failed, the test fails. What the guest prints goes to the output on the way.
   */
  until<R extends Reason>(reason: R): Promise<Outcomes[R]> {
    // A stack costs a microsecond, and is looked at only where something fails.
    if (this.td.vcpus.length > 1) {
      const from: Called = {}
      Error.captureStackTrace(from, this.until)
      return this.#trial.schedule.add(slice => this.#sliced(reason, slice, from))
    }
    try {
      const outcome = this.#until(reason, undefined, undefined)
      if (outcome === undefined) throw new Error('a vCPU that runs alone was interrupted')
      return Promise.resolve(outcome)
    } catch (thrown) {
      // Noted now: a test that forgets to await does not pass.
      this.#trial.caught(thrown)
      const failed: Promise<Outcomes[R]> = Promise.reject(thrown)
      failed.catch(() => {})
      return failed
    }
  }

  /** A signal for the thread that runs the vCPU: its KVM_RUN ends with EINTR after `instructions` more, as KVM_EXIT_INTR. */
  signal({ instructions = 0 }: { readonly instructions?: number } = {}): void {
    this.#signalAt = this.instructions + instructions
  }

  /**
   * The vCPU's time: what its guest reads by RDTSC. One tick goes by with each instruction; while the guest is halted, all
   * those until its timer fires go by at once. 0 before it first ran.
   * Not modelled: one time for all vCPUs of a machine; each has a TSC of its own.
   */
  get clock(): bigint {
    return this.#trial.machine.host.inspect(this.fd).tsc
  }

  /**
   * Lets `ticks` of the vCPU's time go by: its guest runs, sleeps and is woken by its timers as it has set them. What it says to
   * the host meanwhile was not waited for, and fails the test. A halted guest that nothing wakes sleeps on when they are over.
   */
  async advance(ticks: bigint | number): Promise<void> {
    // A vCPU that has not run yet has no time to count from.
    if (this.instructions === 0) {
      this.signal({ instructions: 1 })
      await this.until('KVM_EXIT_INTR')
    }
    this.#wakeAt = this.clock + BigInt(ticks)
    try {
      await this.until('KVM_EXIT_INTR')
    } finally {
      this.#wakeAt = undefined
    }
  }

  /** For the machine: ticks that `advance` leaves to the guest; undefined where nobody counts. */
  get sleepLimit(): number | undefined {
    if (this.#wakeAt === undefined) return undefined
    return Math.max(0, Number(this.#wakeAt - this.clock))
  }

  /** kvm_run.immediate_exit: KVM_RUN completes the last exit and ends with EINTR (KVM_EXIT_INTR) before it enters the guest. */
  get immediateExit(): boolean {
    return this.#page.view.getUint8(this.#page.at + IMMEDIATE_EXIT) !== 0
  }
  set immediateExit(value: boolean) {
    this.#page.view.setUint8(this.#page.at + IMMEDIATE_EXIT, value ? 1 : 0)
  }

  #sliced<R extends Reason>(reason: R, slice: number | undefined, from: Called): Sliced<Outcomes[R]> {
    const { machine } = this.#trial
    machine.slice = slice
    try {
      const outcome = this.#until(reason, slice, from)
      if (outcome !== undefined) return { outcome }
      if (machine.slice !== 0) return 'halted'
      // What another vCPU may come between is not left whole.
      machine.host.inspect(this.fd).tear()
      return 'preempted'
    } catch (thrown) {
      this.#trial.caught(thrown)
      throw thrown
    } finally {
      machine.slice = undefined
    }
  }

  /** Undefined where the slice was over before. */
  #until<R extends Reason>(reason: R, slice: number | undefined, from: Called | undefined): Outcomes[R] | undefined {
    this.#waiting = { reason, from }
    if (this.#isDone)
      this.#fail('unexpected-exit', `vCPU ${this.index} has said UCALL_DONE: it has nothing more to run`)
    this.#trial.steps = this.td.steps
    for (;;) {
      const outcome = this.#run(slice)
      if (outcome === undefined && slice === undefined) continue
      if (outcome === undefined) return undefined
      this.#trial.trace?.exit(this, outcome)
      if (is(outcome, reason)) {
        this.td.steps.push(this.index, outcome)
        if (outcome.name === 'UCALL_DONE') this.#isDone = true
        return outcome
      }
      if (outcome.name === 'UCALL_PRINTF') {
        this.#trial.say('guest', outcome.text)
      } else if (outcome.name === 'UCALL_ABORT') {
        const failure = this.#picture(
          abortFailure(this.td.image, outcome, (at, length) =>
            this.#trial.machine.host.inspect(this.fd).read(gva(at), length),
          ),
        )
        if (!this.#goesOn(outcome)) this.#trial.fail(failure)
        this.#trial.note(failure)
        continue
      } else {
        const message = unexpected(outcome, this.td.image)
        // An exception's RIP is where the guest was; by now it stands in its runtime.
        const [, , at, , rsp] = outcome.name === 'UCALL_UNHANDLED' ? outcome.args : []
        const isTriple = outcome.name === 'KVM_EXIT_SHUTDOWN'
        const gpa = outcome.name === 'KVM_EXIT_MEMORY_FAULT' ? outcome.gpa : undefined
        this.#trial.fail(this.#picture({ kind: 'unexpected-exit', side: 'guest', message }, { at, rsp, gpa, isTriple }))
      }
      this.td.steps.push(this.index, outcome)
    }
  }

  /** Was it an `expect`, after which the guest goes on? */
  #goesOn({ args }: Ucall): boolean {
    const { image } = this.td
    return image.convention === 'sites' && image.sites[Number(args[0])]?.kind === 'expect'
  }

  /** One KVM_RUN: the exit, or the ucall in it with its I/O completed. Undefined where the slice was over before. */
  #run(slice: number | undefined): Exit | Ucall | undefined {
    const { machine } = this.#trial
    let payload: Payload | undefined
    const signalIn = this.#signalAt === undefined ? this.sleepLimit : this.#signalAt - this.instructions
    if (signalIn !== undefined && machine.slice !== 0)
      machine.slice = Math.max(0, Math.min(signalIn, slice ?? signalIn))
    machine.running = this
    try {
      machine.host.ioctl(this.fd, KVM_RUN, 0)
      payload = payloadOf(machine, this.fd, this.#page, this.td.pool)
    } catch (error) {
      if (!(error instanceof Errno)) this.#trial.fail(this.#picture({ ...describe(error), side: 'guest' }))
      // KVM_RUN fails with EFAULT where the exit is a memory fault: kvm_run says which.
      const exit = error.code === 'EFAULT' ? readExit(this.#page) : undefined
      if (exit?.name === 'KVM_EXIT_MEMORY_FAULT') return exit
      if (error.code !== 'EINTR') this.#fail('unexpected-exit', error.message)
      return this.#interrupted(slice, error, machine.slice === 0)
    } finally {
      if (machine.trace !== undefined || machine.recorder !== undefined) machine.endRun()
      if (slice === undefined) machine.slice = undefined
    }
    if (payload === undefined) return readExit(this.#page)
    const found = readUcall(machine, this.td.image, this.td.pool, payload)
    this.#complete()
    if (typeof found === 'string') this.#fail('unexpected-exit', found)
    return found
  }

  /** KVM_RUN was interrupted: by a signal, by immediate_exit, by a limit, or because the slice is over. */
  #interrupted(slice: number | undefined, error: Errno, hasRun: boolean): Exit | undefined {
    const { machine, options, limit } = this.#trial
    // For a vCPU that has halted time passes at once.
    if (this.#signalAt !== undefined && (!hasRun || this.instructions >= this.#signalAt)) {
      this.#signalAt = undefined
      return { name: 'KVM_EXIT_INTR' }
    }
    if (this.sleepLimit === 0) return { name: 'KVM_EXIT_INTR' }
    if (this.immediateExit) return { name: 'KVM_EXIT_INTR' }
    const { reason } = this.#waiting
    if (machine.isSpent) this.#fail('timeout', `the guest did not reach ${reason} within ${limit} instructions`)
    if (options.deadline()) this.#fail('timeout', tooLate(reason, options.timeout, machine.instructions()))
    // A vCPU that has halted with nothing to wake it: others that run may.
    if (slice === undefined && this.#signalAt === undefined && this.#wakeAt === undefined)
      this.#fail('unexpected-exit', error.message)
    return undefined
  }

  /** Lets the I/O of an exit take effect without running the guest: vcpu_run_complete_io of the KVM selftests. */
  #complete(): void {
    const { view, at } = this.#page
    const before = view.getUint8(at + IMMEDIATE_EXIT)
    view.setUint8(at + IMMEDIATE_EXIT, 1)
    try {
      const result = this.#trial.machine.host.attemptRun(this.fd)
      if (typeof result !== 'number') return
    } catch (error) {
      if (error instanceof Errno && error.code === 'EINTR') return
      throw error
    } finally {
      view.setUint8(at + IMMEDIATE_EXIT, before)
    }
    this.#fail('unexpected-exit', 'KVM_RUN with immediate_exit did not fail with EINTR')
  }

  #fail(kind: FailureData['kind'], message: string): never {
    return this.#trial.fail(this.#picture({ kind, side: 'guest', message }))
  }

  #dump(): void {
    const { job, machine, options } = this.#trial
    if (options.dump === undefined || machine.host.inspect(this.fd).instructions === 0) return
    const path = dumpCore(options.dump, job.name, machine, this.td, this.index)
    this.#trial.say('log', `the guest's memory and registers: ${path}`)
  }

  /** The whole of a failure: where the guest and the host stand, and what led there. */
  #picture(what: Omit<FailureData, 'steps'>, known: Omit<Wanted, 'isWild'> = {}): FailureData {
    const { reason: waiting, from } = this.#waiting
    const place = from === undefined ? caller() : callerIn(from)
    this.#dump()
    const { machine } = this.#trial
    const guest = guestState(machine, this.td, this, { isWild: what.kind !== 'assertion', ...known })
    if (guest !== undefined)
      this.#trial.moments.push({ td: this.td.name, vcpu: this.index, instructions: guest.instructions })
    // A wild guest has no assertion to point at: where the instruction was written is next best.
    const line =
      what.site === undefined &&
      guest !== undefined &&
      lineOf(this.td.image.lines ?? [], BigInt(guest.rip.replaceAll('_', '')))
    return {
      ...what,
      ...(line ? { site: siteOf({ path: line.file, line: line.line, column: 0 }) } : {}),
      ...(guest === undefined ? {} : { guest }),
      steps: this.td.steps.list(),
      host: { waiting, ...(place === undefined ? {} : { site: siteOf(place) }) },
    }
  }
}

/** Where kvm_run and the port I/O data of a vCPU are. */
const pageOf = ({ machine: { host } }: Trial, run: VcpuFile['run']): RunPage => {
  const [at = 0, pio = 0] = [0, 1].map(page => host.hpa(hva(run + BigInt(page * PAGE_SIZE))))
  return { view: host.memory.view, at, pio }
}

/** Where something was called; its stack is made into text only when looked at. */
type Called = { stack?: string }

const is = <R extends Reason>(outcome: Exit | Ucall, reason: R): outcome is Outcomes[R] & (Exit | Ucall) =>
  outcome.name === reason

/** Where the clock stops a guest is another place in every run: an instruction limit is the same in each. */
const tooLate = (reason: Reason, timeout: number, instructions: number): string =>
  `the guest did not reach ${reason} within ${seconds(timeout)}: by the clock, so that another run stops elsewhere; ` +
  `--instructions ${instructions} stops it here, where the clock lets it get so far`

/** The message for an exit that nobody waited for. */
const unexpected = (outcome: Exit | Ucall, image: GuestImage): string => {
  switch (outcome.name) {
    case 'KVM_EXIT_SHUTDOWN':
      return 'the guest shut down: a triple fault (KVM_EXIT_SHUTDOWN)'
    case 'UCALL_UNHANDLED':
      return unhandledText(image, outcome)
    case 'UCALL_DONE':
      return 'the guest was done too early (UCALL_DONE)'
    default:
      return `unexpected ${exitText(outcome)}`
  }
}
