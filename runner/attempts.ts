/** When a test runs again: after a failure, to be repeated, or because there is time left. */
import { isOk, type Status } from '#reports'

export type Repetition = {
  /** How often a failed test is run again. */
  readonly retries: number
  /** How often a test has to pass. */
  readonly repeat: number
  /** Until when, by performance.now(), a test that passes is run again all the same. */
  readonly until?: number
}

export type Tried = { passed: number; failed: number }

/** Counts an attempt that ended with `status`; whether another one is due. */
export const again = (status: Status, tried: Tried, { retries, repeat, until = 0 }: Repetition): boolean => {
  if (!isOk(status)) return ++tried.failed <= retries
  tried.passed++
  return status === 'pass' && (tried.passed < repeat || performance.now() < until)
}
