import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readRecord } from '#reports'
import { environment, START, seamless } from './testdata/cli.ts'
import { fake, inside, PASS, ran } from './testdata/suites.ts'

/** Runs the command, and sends it a signal once it has said `until`. */
const meanwhile = async (cwd: string, args: string[], until: RegExp, signal: NodeJS.Signals) => {
  const child = spawn(START[0], [...START.slice(1), ...args], { cwd, env: environment() })
  let stdout = ''
  let isSent = false
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text
    if (!isSent && until.test(stdout)) isSent = child.kill(signal)
  })
  const code = await new Promise<number | null>(resolve => child.on('close', resolve))
  return { code, stdout }
}

const SLOW = `await new Promise(r => setTimeout(r, 5)); ${PASS}`
const slow = Object.fromEntries(
  Array.from({ length: 3 }, (_, i) => [
    `s${i}_test.ts`,
    fake({ 'global.x': SLOW, 'global.y': SLOW, 'global.z': SLOW }),
  ]),
)

t.test('ctrl-C ends with what ran, and 130', async t => {
  const hangs = { 'a_test.ts': fake({ 'global.quick': PASS, 'global.hangs': 'return new Promise(() => {})' }) }
  const { cwd } = inside(t, hangs)
  const { code, stdout } = await meanwhile(cwd, [], /RUN +global\.hangs /, 'SIGINT')
  t.equal(code, 130)
  t.same(ran(stdout), ['global.quick', 'global.hangs'])
  t.match(stdout, /^Bail out! interrupted$/m)
})

// A few seconds, where the machine is ours.
t.setTimeout(120_000)

const TIMES = 100
const AT_ONCE = 6

/** Kills the command when it has said about so much: what it had said by then, whole lines. */
const killedAt = (cwd: string, record: string, part: number): Promise<string[]> =>
  new Promise(resolve => {
    const args = ['--jobs', '2', '--record', record, '--report', 'jsonl']
    const child = spawn(START[0], [...START.slice(1), ...args], {
      cwd,
      env: environment(),
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    // A whole run says some four thousand characters here; one in ten is killed before the first of them, by the clock.
    const enough = (part - 0.1) * 4000
    const timer = enough < 0 ? setTimeout(() => child.kill('SIGKILL'), part * 1000) : undefined
    let said = ''
    child.stdout.setEncoding('utf8').on('data', text => {
      said += text
      if (said.length > enough) child.kill('SIGKILL')
    })
    child.on('close', () => {
      clearTimeout(timer)
      resolve(said.split('\n').slice(0, -1))
    })
  })

t.test('a run killed at any moment, a hundred times, leaves a record of all that had ended', async t => {
  const { cwd } = inside(t, slow)
  const chance = random(1)
  const ends: number[] = []
  await Promise.all(
    Array.from({ length: AT_ONCE }, async (_, lane) => {
      for (let n = lane; n < TIMES; n += AT_ONCE) {
        const record = `killed${n}.jsonl`
        const said = await killedAt(cwd, record, chance())
        const text = existsSync(join(cwd, record)) ? readFileSync(join(cwd, record), 'utf8') : ''
        const events = text.includes('\n') ? [...readRecord(text)] : []
        const told = new Set(events.map(event => JSON.stringify(event)))
        const lost = said.filter(line => !told.has(line) && !line.includes('the run was cut short'))
        if (lost.length > 0) t.same(lost, [], `run ${n}: what was said is recorded`)
        ends.push(events.filter(event => event.type === 'end').length)
      }
    }),
  )
  t.equal(ends.length, TIMES)
  t.ok(new Set(ends).size > 5, `moments all over the run: ${ends.join(' ')}`)
  const whole = seamless(['replay', `killed${TIMES - 1}.jsonl`, '--report', 'tap'], {}, cwd)
  t.match(whole.stderr + whole.stdout, /^# Totals|holds no event|ENOENT/m)
})

/** Numbers from 0 to 1 that are the same each time: Park and Miller's. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 48271) % 0x7fff_ffff
    return state / 0x7fff_ffff
  }
}
