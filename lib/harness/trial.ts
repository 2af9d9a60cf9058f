/** One test being run: setup, body, teardown, and what becomes of everything that any of them throws. */
import { ranBy } from '#bits'
import { Errno } from '#kvm'
import type { Event, Failure as FailureData, Status } from '#reports'
import type { Outcome, RunOptions } from './collect.ts'
import { type Context, contextOf } from './context.ts'
import { Failure, Skip } from './failure.ts'
import { guestState } from './inspect.ts'
import { giveMachine, type Machine, takeMachine } from './machine.ts'
import { type Moment, Recorder } from './recorder.ts'
import { Schedule } from './schedule.ts'
import type { Steps } from './steps.ts'
import type { Declared, Group } from './test.ts'
import { describe } from './thrown.ts'
import { Trace } from './trace.ts'

type Job = {
  readonly file: string
  readonly name: string
  readonly group: Group
  readonly test: Declared
  readonly variant: unknown
  readonly xfail: string | undefined
}

/** What a running test has come to so far. A failure once noted stays, whether or not the test catches what was thrown. */
export class Trial {
  readonly job: Job
  readonly options: RunOptions
  /** Why the test is expected to fail, if it is. */
  xfail: string | undefined
  skipped: string | undefined
  /** The exits of the TD that ran last: what led to a failure on the host's side. */
  steps: Steps | undefined
  /** Where several vCPUs run at once. */
  readonly schedule: Schedule
  /** Guest instructions that the test may run. */
  readonly limit: number
  trace: Trace | undefined
  /** Where guests stood when something failed, of a test that has failed before: it runs to tell how that came about. */
  readonly #recorded: readonly Moment[] | undefined
  /** Where guests stood when something failed. */
  readonly moments: Moment[] = []
  /** What was said from a guest's first failure on, until it is known how that came about. */
  #held: Event[] | undefined
  #machine: Machine | undefined
  /** The innermost part that runs; the test as a whole where none does. */
  #part: Part = { path: [], parts: 0, status: 'pass', reason: undefined }

  constructor(job: Job, options: RunOptions, recorded?: readonly Moment[]) {
    this.#recorded = recorded
    this.job = job
    this.options = options
    this.xfail = job.xfail
    this.schedule = new Schedule(options.seed)
    this.limit = job.test.options.instructions ?? options.instructions ?? Number.POSITIVE_INFINITY
  }

  /** The machine that the test's TDs run on, made when the first one asks. */
  get machine(): Machine {
    if (this.#machine === undefined) {
      ranBy(this.job.file)
      this.#machine = takeMachine(this.options.seed, this.options.deadline)
      this.#machine.limit = this.limit
      if (this.#recorded !== undefined) this.#machine.recorder = new Recorder(this.#recorded)
      const { trace = [] } = this.options
      if (trace.length > 0) {
        this.trace = new Trace(trace, line => this.say('trace', line))
        this.#machine.trace = this.trace
        this.trace.attach(this.#machine)
      }
    }
    return this.#machine
  }

  /** Where its guest stands, and the exits that led there, should anybody ask while it runs. */
  standing(): Pick<FailureData, 'guest' | 'steps'> {
    const machine = this.#machine
    const vcpu = machine?.running
    const guest = machine && vcpu && guestState(machine, vcpu.td, vcpu, { isWild: true })
    return { steps: this.steps?.list() ?? [], ...(guest !== undefined && { guest }) }
  }

  /** Does the test run once more, to tell how it failed? */
  get isRecorded(): boolean {
    return this.#recorded !== undefined
  }

  say(stream: 'guest' | 'log' | 'trace', text: string): void {
    const { file, name: test } = this.job
    this.#emit({ type: 'output', file, test, stream, text })
  }

  #emit(event: Event): void {
    if (this.#held === undefined) this.options.emit(event)
    else this.#held.push(event)
  }

  /** What was held back is said. `told`: the same failures in the same order, with more about each. */
  release(told: readonly FailureData[] = []): void {
    const held = this.#held ?? []
    this.#held = undefined
    let number = 0
    for (const event of held)
      this.options.emit(event.type === 'failure' ? { ...event, failure: fuller(event.failure, told[number++]) } : event)
  }

  /** Is there something held back that another run of the test would tell more about? */
  isWorthTelling({ instructions }: Outcome): boolean {
    return this.#held !== undefined && instructions <= MOST_REPEATED && !this.options.deadline()
  }

  /** Notes a failure; the test goes on. */
  note(noted: FailureData): void {
    const { file, name: test } = this.job
    const led = noted.side === 'host' && noted.steps.length === 0 ? this.steps?.list() : undefined
    const failure = led === undefined ? noted : { ...noted, steps: led }
    // Where the clock decided, the next run stops elsewhere; where everything is traced, everything is told.
    const isRepeatable = failure.guest !== undefined && (failure.kind !== 'timeout' || this.#machine?.isSpent === true)
    const isTraced = (this.options.trace ?? []).length > 0
    if (isRepeatable && !this.isRecorded && !isTraced && this.job.test.options.once !== true) this.#held ??= []
    this.#emit({ type: 'failure', file, test, failure })
    if (failure.kind === 'not-modelled' || failure.kind === 'crash') worsen(this.#part, 'error', failure.message)
    else if (failure.kind === 'timeout')
      worsen(this.#part, 'timeout', failure.message.replace(/^.* within ([^:]*).*$/, '$1'))
    else worsen(this.#part, 'fail')
  }

  /** Notes a failure and stops the test. */
  fail(failure: FailureData): never {
    this.note(failure)
    throw new Failure(failure)
  }

  /** What the test threw. */
  caught(thrown: unknown): void {
    // A Failure has been noted when it was made.
    if (thrown instanceof Failure) return
    if (thrown instanceof Skip) this.skipped ??= thrown.message
    else if (thrown instanceof Errno && thrown.code === 'EINTR' && this.options.deadline())
      this.note({ ...describe(thrown), kind: 'timeout' })
    else this.note(describe(thrown))
  }

  /** Runs a part of the test. Never throws for what the part does. */
  async step(name: string, body: () => void | Promise<void>): Promise<void> {
    const outer = this.#part
    const part: Part = { path: [...outer.path, name], parts: 0, status: 'pass', reason: undefined }
    const number = ++outer.parts
    this.#part = part
    try {
      await body()
    } catch (thrown) {
      if (thrown instanceof Skip) {
        if (part.status === 'pass') part.status = 'skip'
        part.reason ??= thrown.message
      } else this.caught(thrown)
    } finally {
      this.#part = outer
    }
    const { file, name: test } = this.job
    const { path, status, reason } = part
    this.#emit({
      type: 'subtest',
      file,
      test,
      path,
      number,
      status,
      ...(reason === undefined ? {} : { reason }),
    })
    if (status !== 'skip') worsen(outer, status, reason)
  }

  /** Takes down what the test made. Returns how it ended. */
  end(): Outcome {
    let instructions = 0
    if (this.#machine !== undefined) {
      try {
        instructions = this.#machine.instructions()
        giveMachine(this.#machine)
      } catch (thrown) {
        this.caught(thrown)
      }
    }
    const { isInterleaved } = this.schedule
    const outcome = (result: Status, why?: string): Outcome => ({
      status: result,
      ...(why === undefined ? {} : { reason: why }),
      instructions,
      ...(isInterleaved ? { isInterleaved } : {}),
    })
    const { status, reason } = this.#part
    if (status === 'pass' && this.skipped !== undefined) return outcome('skip', this.skipped)
    if (this.xfail !== undefined && status === 'fail') return outcome('xfail', this.xfail)
    if (this.xfail !== undefined && status === 'pass') return outcome('xpass', this.xfail)
    return outcome(status, reason)
  }
}

/** A part of a test, or all of it. `status` is the worst so far. */
type Part = { readonly path: readonly string[]; parts: number; status: Status; reason: string | undefined }

const RANK: readonly Status[] = ['skip', 'pass', 'fail', 'timeout', 'error']

const worsen = (part: Part, status: Status, reason?: string): void => {
  if (RANK.indexOf(status) <= RANK.indexOf(part.status)) return
  part.status = status
  part.reason = reason
}

/** Guest instructions of a failed test that are run once more to tell how it failed. */
const MOST_REPEATED = 50_000_000

/** `failure` with what `told` knows more, where that is the same failure. */
const fuller = (failure: FailureData, told: FailureData | undefined): FailureData => {
  const isSame =
    told !== undefined &&
    told.kind === failure.kind &&
    told.message === failure.message &&
    told.guest?.rip === failure.guest?.rip &&
    told.guest?.instructions === failure.guest?.instructions
  return isSame ? told : failure
}

let running: Trial | undefined

/** Where the guest of the test stands that runs now, for who stops it from outside; undefined while none does. */
export const standing = (): Pick<FailureData, 'guest' | 'steps'> | undefined => running?.standing()

/** Runs one test: setup, body, teardown. Never throws for what a test does. */
export const runTest = async (job: Job, options: RunOptions): Promise<Outcome> => {
  const trial = new Trial(job, options)
  running = trial
  await perform(trial)
  const outcome = trial.end()
  trial.release(trial.isWorthTelling(outcome) ? await retell(trial) : [])
  running = undefined
  return outcome
}

/** The failures of a test that has failed, from a second run: the same, and the last instructions before each were seen. */
const retell = async ({ job, options, moments }: Trial): Promise<readonly FailureData[]> => {
  const told: FailureData[] = []
  const { seed, timeout, deadline, instructions } = options
  const again = new Trial(
    job,
    {
      seed,
      timeout,
      deadline,
      ...(instructions === undefined ? {} : { instructions }),
      emit: event => {
        if (event.type === 'failure') told.push(event.failure)
      },
    },
    moments,
  )
  // What the test prints by itself has been heard the first time.
  const { write } = process.stdout
  process.stdout.write = () => true
  try {
    await perform(again)
    again.end()
  } finally {
    process.stdout.write = write
  }
  return told
}

const perform = async (trial: Trial): Promise<void> => {
  const t: Context = contextOf(trial)
  const { group, test, variant } = trial.job
  try {
    const self = await group.setup?.(t, variant)
    let isOver = false
    try {
      await test.body(t, self, variant)
    } catch (thrown) {
      isOver = true
      trial.caught(thrown)
    }
    await trial.schedule.settle(isOver)
    await group.teardown?.(t, self, variant)
  } catch (thrown) {
    trial.caught(thrown)
  }
  await trial.schedule.settle(true)
}
