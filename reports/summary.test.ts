import t from 'tap'
import type { Event } from './events.ts'
import { summaryReport } from './summary.ts'
import { golden } from './testdata/golden.ts'
import { RUN } from './testdata/run.ts'

const render = (events: readonly Event[]): string => {
  let text = ''
  const report = summaryReport(more => {
    text += more
  })
  for (const event of events) report.event(event)
  return text
}

t.test('the run as Markdown', async t => {
  t.equal(render(RUN), golden('run.md', render(RUN)))
})

t.test('nothing that a test says is taken for Markdown', async t => {
  const file = 'a|b_test.ts'
  const said = render([
    { type: 'run', version: 1, seed: '0x1', files: [file], time: 0 },
    { type: 'file', file, collection: '<script>', name: '`|x', tests: ['# a'], time: 0 },
    { type: 'test', file, test: '# a *b*', time: 0 },
    { type: 'end', file, test: '# a *b*', status: 'fail', reason: 'x\n```\n# no', duration: 0, instructions: 0 },
    { type: 'file-end', file, status: 'fail', duration: 0, time: 0 },
    { type: 'run-end', interrupted: false, duration: 0, time: 0 },
  ])
  const outside = said.replace(/^(`{3,})\n[\s\S]*?\n\1$/gm, '')
  t.notMatch(outside, /<script>|[^\\]\*b/)
  t.match(said, /### \\# a \\\*b\\\* \(fail\)/)
  t.match(said, /````\nx\n```\n# no/)
  t.match(said, /\| &lt;script\\>: \\`\\\|x \|/)
})
