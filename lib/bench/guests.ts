/** Whole lives of TDs and ucall round trips, through everything a selftest goes through; and the same on /dev/kvm. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { collect } from '#harness'
import type { Row } from './measure.ts'

const LIVES = 100
/** V8 compiles for good what it has called 3000 times, and goes on with a life's functions until some 6500 lives were lived. */
const WARM = 7000
/** The path of a ucall is compiled for good after some 40 000 round trips: one function after the other, in the background. */
const WARM_TRIPS = 10

/** Microseconds on a real /dev/kvm: an ordinary VM's whole life and one port exit; or why there are none. */
type Real = { readonly life: readonly number[]; readonly exit: readonly number[] } | { readonly skip: string }

const realKvm = (count: number): Real => {
  const place = mkdtempSync(join(tmpdir(), 'seamless-bench-'))
  try {
    const program = join(place, 'kvm')
    const source = fileURLToPath(new URL('kvm.c', import.meta.url))
    const compiled = spawnSync('cc', ['-O2', '-o', program, source], { encoding: 'utf8' })
    if (compiled.status !== 0) return { skip: 'no C compiler for the twin on /dev/kvm' }
    const { stdout } = spawnSync(program, ['100', '10000', String(count)], { encoding: 'utf8' })
    const said = JSON.parse(stdout.slice(stdout.lastIndexOf('{"'))) as { skip?: string; life: number[]; exit: number[] }
    if (said.skip !== undefined) return { skip: said.skip }
    return { life: said.life.map(ns => ns / 1000), exit: said.exit.map(ns => ns / 1000) }
  } finally {
    rmSync(place, { recursive: true })
  }
}

export const guestRows = async (count: number): Promise<Row[]> => {
  const { tests } = await collect(fileURLToPath(new URL('testdata/guests_test.ts', import.meta.url)))
  /** Runs a test; what it says by `t.log` is the result. */
  const run = async (name: string): Promise<string> => {
    const said: string[] = []
    const test = tests.find(each => each.test === name)!
    const outcome = await test.run({
      seed: 1n,
      timeout: 0,
      deadline: () => false,
      emit: event => event.type === 'output' && said.push(event.text),
    })
    if (outcome.status !== 'pass') throw new Error(`${name}: ${outcome.status} ${outcome.reason ?? ''}`)
    return said.join('')
  }
  const microseconds = async (name: string): Promise<number> => {
    const start = performance.now()
    for (let n = 0; n < LIVES; n++) await run(name)
    return ((performance.now() - start) * 1000) / LIVES
  }
  // First of all: what this process holds already is not theirs.
  const many = Number(await run('many'))
  for (let n = 0; n < WARM; n++) await run('life')
  for (let n = 0; n < WARM_TRIPS; n++) await run('round_trips')
  const empty: number[] = []
  const whole: number[] = []
  const trips: number[] = []
  for (let round = 0; round <= count; round++) {
    const nothing = await microseconds('nothing')
    const life = await microseconds('life')
    const trip = Number(await run('round_trips'))
    // The first round warms up.
    if (round === 0) continue
    empty.push(nothing)
    whole.push(life - nothing)
    trips.push(trip)
  }
  const real = realKvm(count)
  const peer = (name: string, figures: 'life' | 'exit'): Pick<Row, 'peer'> =>
    'skip' in real ? {} : { peer: { name, figures: real[figures] } }
  const note = 'skip' in real ? { note: real.skip } : {}
  return [
    {
      what: 'TD from nothing to GUEST_DONE and gone',
      unit: 'us',
      ours: whole,
      ...peer('life of an ordinary VM on /dev/kvm', 'life'),
      ...note,
    },
    { what: 'TDs', unit: 'lives/s', ours: whole.map(us => 1e6 / us), higher: true },
    { what: 'ucall round trip', unit: 'us', ours: trips, ...peer('port exit on /dev/kvm', 'exit'), ...note },
    { what: 'ucalls', unit: 'round trips/s', ours: trips.map(us => 1e6 / us), higher: true },
    { what: '1000 TDs alive at once, each in its guest', unit: 'MiB', ours: [many], note: 'bar: 512' },
    { what: 'test that does nothing', unit: 'us', ours: empty },
  ]
}
