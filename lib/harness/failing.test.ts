import t from 'tap'
import { whyNoC } from '#guest'
import { collected, run } from './sample.ts'

const named = await collected('failing_test.ts')
const FILE = /testdata\/failing_test\.ts$/

t.test("a guest's failed assertion: both sides, where, and what led there", async t => {
  const { status, failures, instructions } = await run(named('port_io.word.guest_side'))
  t.equal(status, 'fail')
  t.equal(failures.length, 1)
  t.match(failures[0], {
    kind: 'assertion',
    side: 'guest',
    message: '',
    site: { file: FILE, line: 14 },
    comparison: {
      op: 'eq',
      seen: { source: 'g.in(PORT, size)', value: '0xabcd' },
      want: { source: 'sent + 1n', value: '0xabce' },
    },
    guest: { vcpu: 0, rip: /^0x401/ },
    steps: [
      { vcpu: 0, name: 'KVM_EXIT_IO', fields: { direction: 'out', port: '0x32', size: 2, data: '0xabcd' } },
      { vcpu: 0, name: 'KVM_EXIT_IO', fields: { direction: 'in', port: '0x32', size: 2, data: '0xabcd' } },
    ],
    host: { site: { file: FILE, line: 25 }, waiting: 'UCALL_DONE' },
  })
  t.equal(failures[0]?.guest?.instructions, instructions)
})

t.test("a host's failed assertion", async t => {
  const { status, failures } = await run(named('port_io.word.host_side'))
  t.equal(status, 'fail')
  t.match(failures, [
    {
      side: 'host',
      site: { file: FILE, line: 30 },
      steps: [{ name: 'KVM_EXIT_IO', fields: { direction: 'out', data: '0xabcd' } }],
      comparison: {
        op: 'match',
        seen: { source: 'out', value: /data: +0xabcd$/m },
        want: { source: "{ port: PORT, direction: 'out', size, data: sent + 1n }", value: /data: +0xabce$/m },
      },
    },
  ])
})

t.test("a guest's expect goes on, and what it prints is heard", async t => {
  const { status, failures, said } = await run(named('global.guest_expects_and_goes_on'))
  t.equal(status, 'fail')
  t.same(said, ['sum is 4\n'])
  t.match(failures, [
    {
      message: 'arithmetic',
      comparison: { op: 'eq', seen: { source: 'sum', value: '0x4' }, want: { source: '5', value: '0x5' } },
    },
    { comparison: { op: 'lt', seen: { source: 'sum' }, want: { source: '4', value: '0x4' } } },
  ])
})

t.test('every word of a guest, with the sides as its source has them', async t => {
  const { status, failures } = await run(named('global.guest_uses_every_word'))
  t.equal(status, 'fail')
  t.match(
    failures.map(({ comparison }) => comparison),
    [
      {
        op: 'eq',
        seen: { source: 'flags & 0b110n', value: '0x2' },
        want: { source: '0b100n', value: '0x4' },
      },
      { op: 'ge', seen: { source: 'flags', value: '0xa' }, want: { source: '11n', value: '0xb' } },
      { op: 'le', seen: { source: 'flags', value: '0xa' }, want: { source: '9n', value: '0x9' } },
      {
        op: 'bytes',
        seen: { source: 'page', value: '0000  01 02 03 04 05\n' },
        want: { source: '[1, 2, 9, 4, 5]', value: '0000  01 02 09 04 05\n' },
      },
      {
        op: 'match',
        seen: { source: 'cells', value: '{\n  low:  0x7\n  high: 0x0\n}' },
        want: { source: '{ low: 7, high: 1n }', value: '{\n  low:  0x7\n  high: 0x1\n}' },
      },
    ],
  )
  t.equal(failures.length, 5)
})

t.test('a set of registers is compared as a whole', async t => {
  const { failures } = await run(named('global.registers_are_others'))
  t.match(failures[0]?.comparison, {
    seen: { value: '{\n  rbx: 0x7\n  r15: 0x1234\n  rdx: 0x50\n}' },
    want: { value: '{\n  rbx: 0x8\n  r15: 0x1234\n  rdx: 0x50\n}' },
  })
})

t.test('a structure of the guest is compared as a whole, and shown so', async t => {
  const { failures } = await run(named('global.guest_compares_a_whole_structure'))
  t.equal(failures.length, 1)
  const rows = (y: string) =>
    [
      'flags.visible: 0x0',
      'flags.colour:  0x5',
      `corners[0].y:  ${y}`,
      'corners[1].x:  -3',
      'corners[1].y:  0',
      'areas[0]:      0x0',
    ]
      .map(row => `  ${row}\n`)
      .join('')
  t.match(failures[0], {
    message: 'as drawn',
    comparison: {
      op: 'match',
      seen: { source: 'drawn', value: `{\n${rows('0')}}` },
      want: { value: `{\n${rows('1')}}` },
    },
  })
})

/** Test, kind of its failure, message. */
const rows: readonly (readonly [string, string, RegExp | string])[] = [
  ['guest_fails', 'assertion', 'no way on'],
  ['guest_runs_off_its_end', 'assertion', 'the guest ran off its end: it never said g.done()'],
  ['another_exit_comes', 'unexpected-exit', 'unexpected KVM_EXIT_IO out port 0x32 size 1 data 0x12'],
  ['done_comes_twice', 'unexpected-exit', 'vCPU 0 has said UCALL_DONE: it has nothing more to run'],
  ['not_awaited', 'assertion', 'nobody waits'],
  [
    'jumps_into_unmapped_memory',
    'unexpected-exit',
    /^the guest does not handle #PF \(Page Fault\) at RIP 0x700_?0000.*not mapped: fetch from 0x700_?0000$/,
  ],
  ['triple_faults', 'unexpected-exit', 'the guest shut down: a triple fault (KVM_EXIT_SHUTDOWN)'],
  ['calls_tdcall_from_32_bit_code', 'unexpected-exit', /^the guest does not handle #(GP|UD)/],
  [
    'sends_a_wild_ucall',
    'unexpected-exit',
    /^wild ucall: the payload 0xdead_beef is no structure of the pool \(\d+, from 0x7/,
  ],
  [
    'finds_the_pool_exhausted',
    'unexpected-exit',
    /^the guest found no free ucall structure: all \d+ of the pool are in use/,
  ],
  ['has_too_little_memory', 'assertion', /^t\.td: memory is 0x4000 bytes, the guest needs 0x/],
  ['is_refused_by_kvm', 'assertion', /^KVM_TDX_INIT_VM: attributes 0x1 .*\(EINVAL\)$/],
  [
    'executes_what_is_no_instruction',
    'unexpected-exit',
    /^the guest does not handle #UD \(Invalid Opcode\) at RIP 0x401000/,
  ],
]

for (const [name, kind, message] of rows)
  t.test(`${name}: one clear failure`, async t => {
    const { status, failures } = await run(named(`global.${name}`))
    t.equal(status, 'fail')
    t.equal(failures.length, 1)
    t.match(failures[0], { kind, message, steps: [] })
  })

t.test('a guest that never ends is stopped by the deadline, and shows where it is', async t => {
  const { status, reason, failures } = await run(named('global.loops_for_ever'), { limit: 20 })
  t.equal(status, 'timeout')
  t.equal(reason, '0.2 seconds')
  t.match(failures, [
    {
      kind: 'timeout',
      message:
        /^the guest did not reach UCALL_DONE within 0.2 seconds: .* --instructions \d+ stops it here, where the clock lets it get so far$/,
      guest: { rip: '0x401000' },
    },
  ])
})

t.test('a triple fault shows the registers that it left', async t => {
  const { failures } = await run(named('global.triple_faults'))
  const notes = failures[0]?.guest?.notes.join('\n') ?? ''
  t.match(notes, /ud2/)
  t.match(notes, /CR0 0x8000_0031|CR0 0x8000_0021/)
})

t.test('a triple fault tells how it came about', async t => {
  const { failures } = await run(named('global.triple_faults'))
  const notes = failures[0]?.guest?.notes ?? []
  const faults = notes
    .slice(notes.indexOf('faults:') + 1)
    .filter(note => note.startsWith('  ') && !note.startsWith('  0x'))
  t.same(
    faults.map(note => note.replace(/, at RIP.*/, '')),
    [
      '  #UD (Invalid Opcode)',
      '  while delivering #UD: #GP (General Protection), error code 0x33',
      '  while delivering #GP: #GP (General Protection), error code 0x6b',
      '  which makes #DF (Double Fault)',
      '  while delivering #DF: #GP (General Protection), error code 0x43',
      '  which makes a triple fault',
    ],
  )
})

t.test('a page fault shows its walk, level by level, and who called', async t => {
  const { failures } = await run(named('global.writes_where_nothing_is_mapped'))
  t.match(failures[0]?.site, { file: FILE, line: 172 }, 'the line of the store')
  t.match(failures[0]?.guest?.notes.slice(2), [
    /^ {2}0x401\w+ {2}guest\+\w+ {2}call \w+$/,
    /^> 0x401\w+ {2}poke {7}mov qword ptr \[rdi\], 0x1 {2}; rdi 0x7654_3210 {2}\S*failing_test.ts:172$/,
    /^called from 0x4010\w+ {2}guest\+\w+ {2}\S*failing_test.ts:173$/,
    'faults:',
    /#PF \(Page Fault\), error code 0x2, not mapped: write to 0x7654_3210, at RIP 0x401\w+ poke/,
    /^ {4}PML4E at GPA 0x\w+: 0x\w+ {2}P RW A$/,
    /^ {4}PDPTE at GPA 0x\w+: 0x0 {2}not present$/,
  ])
})

t.test('a #VE tells what it was about, a memory fault what the Secure EPT has', async t => {
  const halts = await run(named('global.halts_by_instruction'))
  t.match(halts.failures[0]?.guest?.notes.join('\n'), /#VE .*\n {4}VE_INFO: exit reason 12, an instruction of 1 bytes$/)
  const { failures } = await run(named('global.touches_what_is_not_there'))
  t.match(failures, [{ kind: 'unexpected-exit', message: /^unexpected KVM_EXIT_MEMORY_FAULT private gpa 0x/ }])
  t.match(failures[0]?.guest?.notes.join('\n'), /^GPA 0x\w+: SEPT_FREE at level 0, Secure EPT entry 0x/m)
})

t.test('an assertion within calls names the callers', async t => {
  const { failures } = await run(named('global.fails_three_calls_deep'))
  t.match(failures[0]?.guest?.notes.slice(-2), [
    /called from 0x4010\w+ {2}outer\+\w+ {2}\S*failing_test.ts:161$/,
    /called from 0x4010\w+ {2}guest\+\w+ {2}\S*failing_test.ts:162$/,
  ])
})

t.test('the last instructions have the values that their registers had at each', async t => {
  const { failures } = await run(named('global.counts_to_a_failure'))
  const rows = failures[0]?.guest?.notes.filter(note => / (add|test) rax/.test(note)) ?? []
  t.match(rows, [
    /add rax, 0x1 +; rax 0x3\b/,
    /add rax, 0x10 +; rax 0x4\b/,
    /add rax, 0x100 +; rax 0x14\b/,
    /test rax, rax +; rax 0x114\b/,
  ])
  t.equal(failures[0]?.guest?.notes.filter(note => note.startsWith('> ')).length, 1, 'one is marked')
})

t.test('of several vCPUs too, interleaved as they were', async t => {
  for (const seed of [1n, 2n, 3n, 4n]) {
    const { failures } = await run(named('global.one_of_two_fails'), { seed })
    t.equal(failures.length, 1)
    const { vcpu, notes = [] } = failures[0]?.guest ?? {}
    t.equal(vcpu, 1)
    t.match(notes.join('\n'), /dec rcx +; rcx 0x1\n/)
  }
})

t.test('a test that fails runs twice, and is heard once', async t => {
  const { failures, said } = await run(named('global.prints_and_fails'))
  t.same(said, ['one\n', 'from the host'])
  t.match(failures, [{ message: 'the end' }])
  const once = await run(named('global.runs_once'))
  t.match(once.failures, [{ message: /^unexpected KVM_EXIT_IO out port 0x1 /, guest: { rip: /^0x/ } }])
  const state = await run(named('global.fails_another_way_each_time'))
  t.match(state.failures, [{ message: /^unexpected KVM_EXIT_IO out port 0x2 / }], 'what was seen first is what is said')
})

t.test('C guests fail as those of the builder do', { skip: whyNoC() ?? false }, async t => {
  const compared = await run(named('global.fails_in_c'))
  t.same(compared.said, ['sum is -4\n'])
  t.match(compared.failures, [
    {
      side: 'guest',
      site: { file: FILE },
      comparison: { op: 'gt', seen: { source: 'sum', value: '-4' }, want: { source: '3', value: '3' } },
    },
  ])
  const condition = await run(named('global.fails_a_condition_in_c'))
  t.match(condition.failures, [
    { comparison: { op: 'eq', seen: { source: 'sum == 4', value: 'false' }, want: { source: 'true', value: 'true' } } },
  ])
  t.match(
    compared.failures[0]?.guest?.notes.join('\n'),
    /failing_test.ts:138\n[\s\S]*cmp \w+, 0x3 +; \w+ 0xffff_fffc/,
    'the line of the source',
  )
  const strings = await run(named('global.says_strings_in_c'))
  t.same(strings.said, [
    'Abc 7 xy a constant longer than the sixty-four bytes of a string that the guest copies|   xy|xy  |\n',
    'ABc \n',
  ])
  t.match(strings.failures, [{ message: 'local is xy, 5', comparison: { seen: { source: "local[0] == 'z'" } } }])
  const wild = await run(named('global.is_wild_in_c'))
  t.match(wild.failures, [{ kind: 'unexpected-exit', site: { file: FILE, line: 230 } }])
  t.match(
    wild.failures[0]?.guest?.notes.join('\n'),
    /^called from 0x\w+ {2}guest_code\+\w+ {2}\S*failing_test.ts:234$/m,
  )
})
