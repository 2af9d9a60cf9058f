import t from 'tap'
import { type Clock, HEARTBEAT, heartbeat } from './heartbeat.ts'
import { RUN } from './testdata/run.ts'

t.test('a beat says what is done, what failed and what runs, until the run is over', async t => {
  let now = 0
  let tick: (() => void) | undefined
  const clock: Clock = {
    now: () => now,
    every(ms, beat) {
      t.equal(ms, HEARTBEAT)
      tick = beat
      return () => {
        tick = undefined
      }
    },
  }
  const said: string[] = []
  const report = heartbeat(text => said.push(text), clock)
  for (const event of RUN) {
    report.event(event)
    if (event.type !== 'test' || !event.test.startsWith('port_io.word')) continue
    now += 31_000
    tick?.()
  }
  t.same(said, ['# 1 of 4 files done, tests: 0 failed, 0 skipped; running port_io.word.round_trip (31 s)\n'])
  t.equal(tick, undefined, 'the timer is gone')
})
