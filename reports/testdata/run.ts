/** A run with one of everything, as events: what golden texts and parsers are tried on. */
import { EVENTS_VERSION, type Event, type Failure } from '../events.ts'

export const GUEST_FAILURE: Failure = {
  kind: 'assertion',
  side: 'guest',
  site: { file: 'selftests/port_io_test.ts', line: 16, function: 'round_trip' },
  message: '',
  comparison: {
    op: 'eq',
    seen: { source: 'g.in(PORT, size)', value: '0xabcd' },
    want: { source: 'sent + 1n', value: '0xabce' },
  },
  guest: { vcpu: 0, rip: '0x401031', instructions: 214, notes: [] },
  steps: [
    { vcpu: 0, name: 'KVM_EXIT_IO', fields: { direction: 'out', port: '0x32', size: 2, data: '0xabcd' } },
    { vcpu: 0, name: 'KVM_EXIT_IO', fields: { direction: 'in', port: '0x32', size: 2, data: '0xabce' } },
  ],
  host: { site: { file: 'port_io_test.ts', line: 31 }, waiting: 'UCALL_DONE' },
}

const time = 0
const duration = 1.5

/** Two files of ours, one that does not load, and an executable, ending in another order than they are shown in. */
export const RUN: readonly Event[] = [
  {
    type: 'run',
    version: EVENTS_VERSION,
    seed: '0x5eed',
    files: ['selftests/port_io_test.ts', 'selftests/tdx/broken_test.ts', 'selftests/tdx/words_test.ts', 'kvm/smm_test'],
    time,
  },
  ...file('selftests/tdx/broken_test.ts', 'tdx', []),
  {
    type: 'file-end',
    file: 'selftests/tdx/broken_test.ts',
    status: 'error',
    reason: 'does not load: SyntaxError: Unexpected token',
    failure: {
      kind: 'crash',
      side: 'host',
      message: 'does not load: SyntaxError: Unexpected token',
      steps: [],
      stack: 'at selftests/tdx/broken_test.ts:3:1',
    },
    duration,
    time,
  },
  ...file('selftests/port_io_test.ts', 'seamless', ['port_io.byte.round_trip', 'port_io.word.round_trip']),
  ...test('selftests/port_io_test.ts', 'port_io.byte.round_trip', 'pass'),
  { type: 'test', file: 'selftests/port_io_test.ts', test: 'port_io.word.round_trip', time },
  { type: 'failure', file: 'selftests/port_io_test.ts', test: 'port_io.word.round_trip', failure: GUEST_FAILURE },
  {
    type: 'end',
    file: 'selftests/port_io_test.ts',
    test: 'port_io.word.round_trip',
    status: 'fail',
    duration,
    instructions: 214,
  },
  { type: 'file-end', file: 'selftests/port_io_test.ts', status: 'fail', reason: 'exit=1', duration, time },
  { type: 'file', kind: 'executable', file: 'kvm/smm_test', collection: 'kvm', name: 'smm_test', tests: [], time },
  { type: 'output', file: 'kvm/smm_test', stream: 'stdout', text: 'TAP version 13\n1..1\nok 1 in' },
  { type: 'output', file: 'kvm/smm_test', stream: 'stdout', text: 'side\r50%\r100%\n\x1b[31mred\x1b[0m \x00 bin' },
  { type: 'file-end', file: 'kvm/smm_test', status: 'fail', reason: 'exit=139', duration, time },
  ...file('selftests/tdx/words_test.ts', 'tdx', [
    'global.skipped',
    'global.expected_to_fail',
    'global.hangs',
    'global.gap',
    'global.# not ok 1\n%23',
  ]),
  { type: 'test', file: 'selftests/tdx/words_test.ts', test: 'global.skipped', time },
  {
    type: 'output',
    file: 'selftests/tdx/words_test.ts',
    test: 'global.skipped',
    stream: 'guest',
    text: 'ok 1 a lie\nBail out!\n1..7',
  },
  {
    type: 'end',
    file: 'selftests/tdx/words_test.ts',
    test: 'global.skipped',
    status: 'skip',
    reason: 'needs KVM_CAP_VM_TYPES\nbit #5',
    duration,
    instructions: 0,
  },
  ...test('selftests/tdx/words_test.ts', 'global.expected_to_fail', 'xfail'),
  ...test('selftests/tdx/words_test.ts', 'global.hangs', 'timeout', '30 seconds'),
  ...test('selftests/tdx/words_test.ts', 'global.gap', 'error', 'NotModelled: VMREAD'),
  ...test('selftests/tdx/words_test.ts', 'global.# not ok 1\n%23', 'pass'),
  { type: 'file-end', file: 'selftests/tdx/words_test.ts', status: 'fail', reason: 'exit=1', duration, time },
  { type: 'run-end', interrupted: false, duration, time },
]

function file(path: string, collection: string, tests: readonly string[]): Event[] {
  return [{ type: 'file', file: path, collection, name: path.slice(path.lastIndexOf('/') + 1), tests, time }]
}

function test(path: string, name: string, status: Extract<Event, { type: 'end' }>['status'], reason?: string): Event[] {
  return [
    { type: 'test', file: path, test: name, time },
    {
      type: 'end',
      file: path,
      test: name,
      status,
      ...(reason === undefined ? {} : { reason }),
      duration,
      instructions: 0,
    },
  ]
}
