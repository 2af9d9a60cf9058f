import t from 'tap'
import type { Event, Status } from './events.ts'
import { type Level, withLevels } from './levels.ts'

const file = 'a_test.ts'
const test = (name: string, status: Status): Event[] => [
  { type: 'test', file, test: name, time: 0 },
  { type: 'output', file, test: name, stream: 'stdout', text: `${name} out` },
  { type: 'output', file, test: name, stream: 'stderr', text: `${name} err` },
  { type: 'end', file, test: name, status, duration: 0, instructions: 0 },
]
const EVENTS: Event[] = [
  ...test('good', 'pass'),
  ...test('bad', 'fail'),
  ...test('slow', 'timeout'),
  ...test('absent', 'skip'),
  { type: 'output', file, stream: 'stdout', text: 'file out' },
  { type: 'file-end', file, status: 'fail', duration: 0, time: 0 },
]

const shown = (passed: Level, failed: Level, skipped: Level): string[] => {
  const seen: string[] = []
  const report = withLevels(
    { event: event => seen.push(event.type === 'output' ? event.text : event.type) },
    { passed, failed, skipped },
  )
  for (const event of EVENTS) report.event(event)
  return seen.filter(text => text.includes(' '))
}

t.test('each status has its level, and output stays before the end of its test', async t => {
  t.same(shown('none', 'stderr', 'none'), ['bad err', 'slow err'])
  t.same(shown('stdout', 'none', 'full'), ['good out', 'absent out', 'absent err'])
  t.equal(shown('full', 'full', 'full').length, 9)
  t.same(shown('none', 'full', 'none'), ['bad out', 'bad err', 'slow out', 'slow err', 'file out'])
})

t.test('what else happens is told as it happens', async t => {
  const seen: string[] = []
  const report = withLevels(
    { event: event => seen.push(event.type) },
    { passed: 'none', failed: 'none', skipped: 'none' },
  )
  for (const event of EVENTS) report.event(event)
  t.same(
    seen,
    EVENTS.flatMap(event => (event.type === 'output' ? [] : [event.type])),
  )
})
