import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { RecordError, readRecord } from '#reports'
import { COMMAND, environment, seamless } from './testdata/cli.ts'
import { fake, inside, PASS, ran } from './testdata/suites.ts'

/** Runs the command, and does something to it after a while. */
const meanwhile = async (cwd: string, args: string[], ms: number, signal: NodeJS.Signals) => {
  const child = spawn(process.execPath, [COMMAND, ...args], { cwd, env: environment() })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    stdout += text
  })
  const timer = setTimeout(() => child.kill(signal), ms)
  const code = await new Promise<number | null>(resolve => child.on('close', resolve))
  clearTimeout(timer)
  return { code, stdout }
}

const SLOW = `await new Promise(r => setTimeout(r, 30)); ${PASS}`
const slow = Object.fromEntries(
  Array.from({ length: 3 }, (_, i) => [
    `s${i}_test.ts`,
    fake({ 'global.x': SLOW, 'global.y': SLOW, 'global.z': SLOW }),
  ]),
)

t.test('ctrl-C ends with what ran, and 130', async t => {
  const hangs = { 'a_test.ts': fake({ 'global.quick': PASS, 'global.hangs': 'return new Promise(() => {})' }) }
  const { cwd } = inside(t, hangs)
  const { code, stdout } = await meanwhile(cwd, [], 1500, 'SIGINT')
  t.equal(code, 130)
  t.same(ran(stdout), ['global.quick', 'global.hangs'])
  t.match(stdout, /^Bail out! interrupted$/m)
})

t.test('a run killed at any moment leaves a record of all that had ended', async t => {
  const { cwd } = inside(t, slow)
  for (let ms = 120; ms < 420; ms += 60) {
    const { stdout } = await meanwhile(cwd, ['--jobs', '2', '--record', 'killed.jsonl'], ms, 'SIGKILL')
    if (!existsSync(join(cwd, 'killed.jsonl'))) continue
    const text = readFileSync(join(cwd, 'killed.jsonl'), 'utf8')
    if (text === '') continue
    t.doesNotThrow(() => [...readRecord(text)], RecordError)
    const ended = [...readRecord(text)].filter(event => event.type === 'end').length
    t.ok(ended >= ran(stdout).length, `${ms} ms: ${ended} ended, ${ran(stdout).length} shown`)
    t.equal(seamless(['replay', 'killed.jsonl'], {}, cwd).stdout.match(/^# Totals/gm)?.length, 1)
  }
})
