import t from 'tap'
import type { Failure } from './events.ts'
import { againCommand, failureLines } from './failure.ts'
import { GUEST_FAILURE } from './testdata/run.ts'

const again = { file: 'selftests/port_io_test.ts', test: 'port_io.word.round_trip', seed: '0x5eed' }
const host = (more: Partial<Failure>): Failure => ({ kind: 'assertion', side: 'host', message: '', steps: [], ...more })

t.test('a failed guest assertion: what, where, values, what led there, how to see it again', async t => {
  t.same(failureLines(GUEST_FAILURE, again), [
    'selftests/port_io_test.ts:16:round_trip:Expected sent + 1n (0xabce) == g.in(PORT, size) (0xabcd)',
    '  guest  vCPU 0, RIP 0x401031, 214 instructions in',
    '         KVM_EXIT_IO  out  port 0x32  2 bytes  0xabcd',
    '         KVM_EXIT_IO  in   port 0x32  2 bytes  0xabce',
    '  host   port_io_test.ts:31, waiting for UCALL_DONE',
    '  again  seamless selftests/port_io_test.ts -r port_io.word.round_trip --seed 0x5eed',
  ])
})

t.test('an ordering reads as it was asserted, a literal is not said twice', async t => {
  const comparison = { op: 'lt', seen: { source: 'count', value: '12' }, want: { source: '10', value: '10' } }
  const site = { file: 'a_test.ts', line: 3 }
  const said = failureLines(host({ site, comparison, message: 'too many exits' }), again)
  t.same(said.slice(0, 2), ['a_test.ts:3:round_trip:Expected count (12) < 10', '  too many exits'])
})

t.test('values of several lines are shown as a difference', async t => {
  const comparison = {
    op: 'eq',
    seen: { source: 'log', value: 'boot\nran\ndone' },
    want: { source: 'expected', value: 'boot\nrun\ndone' },
  }
  const site = { file: 'a_test.ts', line: 3, function: 'says' }
  t.same(failureLines(host({ site, comparison }), again).slice(0, -1), [
    'a_test.ts:3:says:Expected expected == log',
    '  - expected',
    '  + log',
    '    boot',
    '  - run',
    '  + ran',
    '    done',
  ])
})

t.test('what differs in a line is marked, in colour where there is one', async t => {
  const comparison = {
    op: 'bytes',
    seen: { source: 'page', value: '0000  00 01\n0010  10 ff 12\n' },
    want: { source: 'expected', value: '0000  00 01\n0010  10 11 12\n' },
  }
  t.same(failureLines(host({ comparison }), again).slice(1, -1), [
    '  - expected',
    '  + page',
    '    0000  00 01',
    '  - 0010  10 11 12',
    '  + 0010  10 ff 12',
    '             ^^'.padStart(15),
  ])
  const colored = failureLines(host({ comparison }), again, (style, text) => `<${style}>${text}</>`)
  t.same(colored.slice(4, -1), ['<red>  - 0010  10 <inverse>11</> 12</>', '<green>  + 0010  10 <inverse>ff</> 12</>'])
})

t.test('exits of several vCPUs say whose they are', async t => {
  const steps = [
    { vcpu: 0, name: 'UCALL_SYNC', fields: { stage: 1 } },
    { vcpu: 11, name: 'KVM_EXIT_HLT', fields: {} },
  ]
  t.same(failureLines(host({ message: 'stuck', steps }), again).slice(1, 4), [
    '  guest',
    '         vCPU 0   UCALL_SYNC    stage 1',
    '         vCPU 11  KVM_EXIT_HLT',
  ])
})

t.test('the command that repeats a test is quoted for a shell', async t => {
  const command = againCommand({ file: "it's a_test.ts", test: 'a.b', seed: '0x1', options: ['--timeout', '5'] })
  t.equal(command, "seamless 'it'\\''s a_test.ts' -r a.b --seed 0x1 --timeout 5")
})
