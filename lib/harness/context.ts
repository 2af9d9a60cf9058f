/** `t`: what a test does things with. */
import { type Words, words } from './assert.ts'
import { Skip } from './failure.ts'
import type { AnyOptions, TdOptions, VmOptions } from './options.ts'
import { Td } from './td.ts'
import type { Trial } from './trial.ts'
import type { Kind } from './variants.ts'

export type Context = {
  /** kselftest's name of the test: `fixture.variant.test`. */
  readonly name: string
  /** The test's own seed: the same in every run with the same seed of the run. */
  readonly seed: bigint
  /** Stops the test where it does not hold. */
  readonly assert: Words
  /** Notes what does not hold and goes on; the test fails at its end. */
  readonly expect: Words
  /** A TD with `guest` in it, finalized and ready to run. It goes with the test. */
  td(options: TdOptions): Td
  /** An ordinary VM with `guest` in it: the same words, with nothing encrypted and nothing private. It goes with the test. */
  vm(options: VmOptions): Td
  /** A TD or an ordinary VM, as `kind` says: for tests that hold in both, see `kinds`. */
  make(options: AnyOptions & { readonly kind: Kind }): Td
  /**
   * A part of the test, in the reports under its own name. What fails in it ends it and fails the test, which goes on
   * with what follows; `skip` in it skips no more than the part. Parts may have parts.
   */
  step(name: string, body: () => void | Promise<void>): Promise<void>
  /** Ends the test: it cannot be run here, for the reason given. */
  skip(why: string): never
  /** Skips the test where `condition` is false. */
  require(condition: boolean, why: string): void
  /** From here on the test is known to fail. */
  xfail(why: string): void
  log(text: string): void
}

export const contextOf = (trial: Trial): Context => {
  const { job, options } = trial
  let tds = 0
  let vms = 0
  return {
    name: job.name,
    seed: options.seed,
    assert: words(failure => trial.fail(failure)),
    expect: words(failure => trial.note(failure)),
    td(tdOptions) {
      return new Td(trial, `TD ${tds++}`, tdOptions)
    },
    vm(vmOptions) {
      return new Td(trial, `VM ${vms++}`, { ...vmOptions, shape: 'vm' })
    },
    make({ kind, ...anyOptions }) {
      return kind === 'td' ? this.td(anyOptions) : this.vm(anyOptions)
    },
    step(name, body) {
      return trial.step(name, body)
    },
    skip(why) {
      throw new Skip(why)
    },
    require(condition, why) {
      if (!condition) throw new Skip(why)
    },
    xfail(why) {
      trial.xfail = why
    },
    log(text) {
      trial.say('log', text)
    },
  }
}
