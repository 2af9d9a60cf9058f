/** Counting: how many tests ended how, what that makes of a file, and of a run. */
import type { Status } from './events.ts'

export type Tally = Record<Status, number>

export const emptyTally = (): Tally => ({ pass: 0, fail: 0, skip: 0, xfail: 0, xpass: 0, timeout: 0, error: 0 })

/** Whether a result line says `ok`. An unexpected pass does, as in kselftest_harness.h. */
export const isOk = (status: Status): boolean =>
  status === 'pass' || status === 'skip' || status === 'xfail' || status === 'xpass'

/** `# Totals:` as ksft_print_cnts words it; a timeout is a failure there. */
export const totals = (tally: Tally): string =>
  `Totals: pass:${tally.pass} fail:${tally.fail + tally.timeout} xfail:${tally.xfail} ` +
  `xpass:${tally.xpass} skip:${tally.skip} error:${tally.error}`

export const count = (tally: Tally): number => Object.values(tally).reduce((sum, n) => sum + n, 0)

export const hasFailed = (tally: Tally): boolean => tally.fail + tally.timeout + tally.error > 0

/** A file of tests: fails if one failed, is skipped if all were. */
export const statusOf = (tally: Tally): Status => {
  if (hasFailed(tally)) return 'fail'
  return tally.skip > 0 && tally.skip === count(tally) ? 'skip' : 'pass'
}

/** kselftest's exit codes for a run: 0 all well, 1 something failed, 4 everything skipped. */
export const exitCode = (tally: Tally): 0 | 1 | 4 => {
  const status = statusOf(tally)
  return status === 'fail' ? 1 : status === 'skip' ? 4 : 0
}
