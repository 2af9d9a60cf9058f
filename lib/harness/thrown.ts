/** What a test threw that is no Failure, as one. */
import { NotModelled } from '#bits'
import { CompileError, ElfError, GuestValueError } from '#guest'
import { Errno } from '#kvm'
import type { Failure as FailureData } from '#reports'
import { Misuse } from './failure.ts'
import { siteOf, thrower } from './where.ts'

/** What a test can bring about by itself. */
const THE_TESTS = [Errno, Misuse, GuestValueError, CompileError, ElfError] as const

/** An error that is no Failure, as one. An `Errno` nobody caught is the test's; anything unknown is a fault of ours. */
export const describe = (thrown: unknown): FailureData => {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown))
  const place = thrower(error)
  const where = place === undefined ? {} : { site: siteOf(place) }
  const base = { side: 'host', steps: [], ...where } as const
  if (error instanceof NotModelled) return { ...base, kind: 'not-modelled', message: `not modelled: ${error.message}` }
  if (THE_TESTS.some(kind => error instanceof kind) || error.name === 'OutOfMemory')
    return { ...base, kind: 'assertion', message: error.message }
  return { ...base, kind: 'crash', message: `${error.name}: ${error.message}`, stack: stackOf(error) }
}

const stackOf = (error: Error): string =>
  (error.stack ?? '')
    .split('\n')
    .filter(line => /^\s+at /.test(line) && !line.includes('node:internal'))
    .map(line => line.trim().replaceAll(`${process.cwd()}/`, '').replaceAll('file://', ''))
    .join('\n')
