import t from 'tap'
import { terminalReport } from './terminal.ts'
import { golden } from './testdata/golden.ts'
import { RUN } from './testdata/run.ts'

t.test(
  'the page: failures as they come, a line per file, a summary that names each failure and how to repeat it',
  async t => {
    let text = ''
    const report = terminalReport(
      more => {
        text += more
      },
      { color: false, now: () => 0 },
    )
    for (const event of RUN) report.event(event)
    t.equal(text, golden('run.page', text))
    t.match(text, /seamless selftests\/tdx\/words_test.ts -r global.hangs --seed 0x5eed/)
    t.notOk(text.includes('\x1b'))
  },
)

t.test('the line at the bottom says how far, what came of it, and what runs now and for how long', async t => {
  const sticky = { text: '', stop: () => {}, start: () => {} }
  let now = 0
  const seen: string[] = []
  const report = terminalReport(() => t.fail('only the line at the bottom'), {
    color: false,
    progressOnly: true,
    sticky,
    now: () => now,
  })
  for (const event of RUN) {
    report.event(event)
    now += 3000
    seen.push(sticky.text)
  }
  t.equal(seen[0], '0/4')
  t.ok(seen.includes('1/4  1 passed  1 broken  port_io.word.round_trip'))
  t.ok(seen.includes('1/4  1 passed  1 broken  port_io.word.round_trip (3 s)'))
})

t.test('a program that fails is named with what it printed, though the results in that are all well', async t => {
  let text = ''
  const report = terminalReport(
    more => {
      text += more
    },
    { color: false },
  )
  const file = 'a/y'
  for (const event of [
    { type: 'run', version: 1, seed: '0x1', files: [file], time: 0 },
    { type: 'file', kind: 'executable', file, collection: 'a', name: 'y', tests: [], time: 0 },
    { type: 'output', file, stream: 'stdout', text: 'wh' },
    { type: 'test', file, test: 'part', time: 0 },
    { type: 'end', file, test: 'part', status: 'pass', duration: 1, instructions: 0 },
    { type: 'output', file, stream: 'stdout', text: 'y\n' },
    { type: 'file-end', file, status: 'fail', reason: 'exit=3', duration: 2, time: 0 },
    { type: 'run-end', interrupted: false, duration: 2, time: 0 },
  ] as const)
    report.event(event)
  t.match(text, /^ {2}why\n✖ a\/y {2}1 passed {2}1 failed/m)
  t.match(text, /^failed {2}a\/y \(exit=3\)\n {8}seamless a\/y --seed 0x1$/m)
})
