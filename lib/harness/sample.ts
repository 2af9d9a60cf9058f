/** For this room's tests: runs collected tests and keeps what they emit. */
import { fileURLToPath } from 'node:url'
import type { Event, Failure } from '#reports'
import { type CollectedTest, collect, type Outcome } from './collect.ts'

export type Ran = Outcome & { readonly failures: readonly Failure[]; readonly said: readonly string[] }

/** Runs one test. `limit` is in calls of the deadline: a hung guest ends after so many timer ticks, on any machine. */
export const run = async (test: CollectedTest, { seed = 1n, limit = Number.POSITIVE_INFINITY } = {}): Promise<Ran> => {
  const events: Event[] = []
  let asked = 0
  const timeout = test.timeout ?? 1000
  const deadline = () => asked++ > limit
  const outcome = await test.run({ seed, timeout, deadline, emit: event => events.push(event) })
  const failures = events.flatMap(event => (event.type === 'failure' ? [event.failure] : []))
  const said = events.flatMap(event => (event.type === 'output' ? [event.text] : []))
  return { ...outcome, failures, said }
}

/** The tests of a file in testdata/, by name. */
export const collected = async (file: string): Promise<(name: string) => CollectedTest> => {
  const { tests } = await collect(fileURLToPath(new URL(`testdata/${file}`, import.meta.url)))
  return name => {
    const found = tests.find(test => test.name === name)
    if (found === undefined) throw new Error(`${file} has no test ${name}`)
    return found
  }
}
