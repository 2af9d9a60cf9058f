/** What a worker process does: loads one test file at a time, runs its tests, and sends events. It never prints. */
import { flushCompileCache } from 'node:module'
import { relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Event } from '#reports'
import { STANDING } from './dump.ts'
import { explored } from './explore.ts'
import { type Held, held, leftBehind, nothingHeld } from './leaks.ts'
import { MARK } from './processes.ts'
import type { Answer, Listed, Order } from './protocol.ts'
import { needOf } from './resources.ts'

type Harness = Pick<typeof import('#harness'), 'collect'> & Partial<Pick<typeof import('#harness'), 'standing'>>
type Collected = Awaited<ReturnType<Harness['collect']>>['tests'][number]

const send = (answer: Answer): void => {
  process.send?.(answer)
}

/** Events wait here until the next test starts: what the parent knows is always what is running. */
let pending: Event[] = []
const emit = (event: Event): void => {
  pending.push(event)
  if (pending.length >= 200) flush()
}
const flush = (): void => {
  if (pending.length > 0) send({ type: 'events', events: pending })
  pending = []
}

let current: { file: string; test?: string } | undefined

/** Resolves when the runner has what the tests need. */
let go: (() => void) | undefined

const whenThereIs = (tags: readonly string[]): Promise<void> =>
  new Promise(resolve => {
    go = resolve
    send({ type: 'needs', tags })
  })

/** Does what the runner says, in this process, until it goes. */
export const serve = (harness: Promise<Harness>): { needsSources(url: string): void } => {
  // Who loads a file hears that the harness did not. Who ends this process asks where its guest stands.
  harness.then(
    ({ standing }) => Object.assign(globalThis, { [Symbol.for(STANDING)]: () => JSON.stringify(standing?.()) }),
    () => {},
  )
  process.env[MARK] = mark()
  for (const stream of ['stdout', 'stderr'] as const)
    process[stream].write = (chunk: string | Uint8Array, ...rest: unknown[]): boolean => {
      const text = typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString()
      if (current !== undefined) emit({ type: 'output', ...current, stream, text })
      const done = rest.find(argument => typeof argument === 'function')
      if (done !== undefined) process.nextTick(done)
      return true
    }

  process.on('uncaughtException', error => {
    flush()
    send({ type: 'uncaught', message: `${error.name}: ${error.message}`, stack: trace(error) })
    process.disconnect()
    process.exit(1)
  })

  // The runner is gone: nobody is left to tell.
  process.on('disconnect', () => process.exit(1))

  process.on('message', async (order: Order) => {
    if (order.type === 'go') return go?.()
    current = { file: order.file }
    const tests = await load(harness, order)
    if (tests !== undefined && order.type === 'run') {
      const tags = tests.flatMap(test => test.tags)
      if (needOf(tags) !== undefined) await whenThereIs(tags)
      state = held()
      let turned = performance.now()
      for (const test of tests) {
        await run(order, test)
        // Tests that never wait would keep all they said in this process, and it alive for ever.
        if (performance.now() - turned < TURN) continue
        await new Promise(setImmediate)
        turned = performance.now()
      }
      flush()
    }
    current = undefined
    if (tests !== undefined) send({ type: 'done', ...(isSpent && { spent: true }) })
    if (!isCached) {
      // A worker that is killed later has compiled for the others all the same.
      isCached = true
      flushCompileCache()
    }
  })
  return {
    needsSources(url) {
      // Once tests run it is too late: what one imports then is a copy.
      if (!isLoading) return
      inside = url
      throw new Error(`${url} is inside the image`)
    },
  }
}

/** The file loaded last: a listing is followed by a run. */
let loaded: { path: string; tests: readonly Collected[] } | undefined

let isCached = false

/** A test left something behind. */
let isSpent = false

/** What was there when the last test ended. */
let state: Held = nothingHeld

/** Who we are, to those that a test starts. */
const mark = (): string => `worker ${process.pid} `

/** Milliseconds after which the event loop has its turn. */
const TURN = 2

/** A file of tests is being imported. */
let isLoading = false

/** A module of ours that it imports by itself. */
let inside: string | undefined

const load = async (
  harness: Promise<Harness>,
  order: Exclude<Order, { type: 'go' }>,
): Promise<readonly Collected[] | undefined> => {
  try {
    const { collect } = await harness
    isLoading = true
    if (loaded?.path !== order.path) loaded = { path: order.path, tests: (await collect(order.path)).tests }
    isLoading = false
    const { tests } = loaded
    const listed = tests.map(describe)
    flush()
    send({ type: 'listed', tests: listed })
    if (order.type === 'list' || order.tests === undefined) return tests
    const byName = new Map(tests.map(test => [test.name, test]))
    return order.tests.map(name => byName.get(name)).filter(test => test !== undefined)
  } catch (thrown) {
    isLoading = false
    if (inside !== undefined) {
      pending = []
      send({ type: 'sources' })
      return undefined
    }
    const error = thrown instanceof Error ? thrown : new Error(String(thrown))
    flush()
    send({ type: 'broken', message: `${error.name}: ${error.message}`, stack: trace(error) })
    return undefined
  }
}

const describe = ({ name, fixture, variant, test, tags, timeout, site }: Collected): Listed => ({
  name,
  fixture,
  test,
  tags,
  line: site.line,
  ...(variant === undefined ? {} : { variant }),
  ...(timeout === undefined ? {} : { timeout }),
})

const run = async (order: Extract<Order, { type: 'run' }>, test: Collected): Promise<void> => {
  const { file } = order
  const { name } = test
  current = { file, test: name }
  emit({ type: 'test', file, test: name, site: test.site, time: Date.now() })
  flush()
  const timeout = test.timeout ?? order.timeout
  const began = performance.now()
  // Names are the run's: the harness sees the file from where it was imported.
  const said = (event: Event): void => emit('file' in event ? { ...event, file } : event)
  const duration = () => Math.round((performance.now() - began) * 1000) / 1000
  try {
    const result = await explored(test, { seed: order.seed, timeout, extra: order.extra ?? {}, emit: said })
    const took = duration()
    await lookAround()
    emit({ type: 'end', file, test: name, ...result, duration: took })
  } catch (thrown) {
    // The harness turns everything a test may throw into a result: this is a fault of ours.
    const error = thrown instanceof Error ? thrown : new Error(String(thrown))
    const message = `${error.name}: ${error.message}`
    emit({
      type: 'failure',
      file,
      test: name,
      failure: { kind: 'crash', side: 'host', message, steps: [], stack: trace(error) },
    })
    await lookAround()
    emit({ type: 'end', file, test: name, status: 'error', reason: message, duration: duration(), instructions: 0 })
  }
  current = { file }
}

/** Says what the current test has left behind. */
const lookAround = async (): Promise<void> => {
  const { lines, now } = await leftBehind(state, mark())
  state = now
  for (const line of lines) {
    isSpent = true
    emit({ type: 'output', file: '', ...current, stream: 'log', text: `seamless: ${line}\n` })
  }
}

/** The stack of an error without its message and Node's own frames, paths as the run names them. */
const trace = (error: Error): string =>
  (error.stack ?? '')
    .split('\n')
    .filter(line => /^\s+at /.test(line) && !line.includes('node:') && !line.includes('/node_modules/'))
    .map(line => line.trim().replaceAll(pathToFileURL(`${process.cwd()}/`).href, ''))
    .map(line => line.replace(/\((file:\/\/|\/)[^)]*\)/, place => `(${relative(process.cwd(), place.slice(1, -1))})`))
    .join('\n')
