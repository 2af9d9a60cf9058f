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
