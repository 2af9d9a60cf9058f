/** What a user sees of tests that fail, through the real command, the real harness and real guests. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { START } from './testdata/cli.ts'
import { golden } from './testdata/golden.ts'
import { objections } from './testdata/readers.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const FAILING = 'lib/harness/testdata/failing_test.ts'

const seamless = (...args: string[]) =>
  spawnSync(START[0], [...START.slice(1), ...args], { cwd: ROOT, encoding: 'utf8' })

t.test('an assertion of the guest and one of the host, as golden text', async t => {
  const { stdout, status } = seamless(FAILING, '-t', 'guest_side', '-t', 'host_side')
  t.equal(stdout, golden('failing.tap', stdout))
  t.equal(status, 1)
  for (const said of [
    /failing_test\.ts:14:guest_side:Expected sent \+ 1n \(0xabce\) == g\.in\(PORT, size\) \(0xabcd\)/,
    /KVM_EXIT_IO +out +port 0x32 +2 bytes +0xabcd/,
    /host +\S+failing_test\.ts:25, waiting for UCALL_DONE/,
    /again +seamless \S+failing_test\.ts -r port_io\.word\.guest_side --seed 0x5eed/,
    /failing_test\.ts:30:host_side:/,
    /- +data: +0xabce\n.*\+ +data: +0xabcd/,
  ])
    t.match(stdout, said)
})

const FINE = 'selftests/tdx_vm_test.ts'
/** Each guest that goes wrong, and the one line that says so. */
const WRONG: Record<string, RegExp> = {
  jumps_into_unmapped_memory: /does not handle #PF \(Page Fault\) at RIP 0x7000000, .*not mapped: fetch from 0x7000000/,
  loops_for_ever: /did not reach UCALL_DONE within 0\.2 seconds[\s\S]*RIP 0x401000[\s\S]*TIMEOUT 0\.2 seconds/,
  triple_faults: /shut down: a triple fault \(KVM_EXIT_SHUTDOWN\)/,
  calls_tdcall_from_32_bit_code: /does not handle #GP \(General Protection\) at RIP 0x401028[\s\S]*tdcall/,
  sends_a_wild_ucall: /wild ucall: the payload 0xdead_beef is no structure of the pool/,
  finds_the_pool_exhausted: /no free ucall structure: all \d+ of the pool are in use/,
  has_too_little_memory: /memory is 0x4000 bytes, the guest needs 0x/,
  is_refused_by_kvm: /KVM_TDX_INIT_VM: attributes 0x1 not in supported_attrs 0x1000_0000 \(EINVAL\)/,
}

t.test('a guest that goes wrong is named with its value, and the rest of the suite still runs', async t => {
  const filters = Object.keys(WRONG).flatMap(name => ['-t', name])
  const { stdout, status } = seamless(FAILING, FINE, ...filters, '-t', 'verify_td_lifecycle')
  t.equal(status, 1)
  for (const [name, message] of Object.entries(WRONG)) {
    const told = stdout.slice(stdout.indexOf(`RUN           global.${name} `))
    t.match(told.slice(0, told.indexOf('\n# not ok ') + 80), message, name)
  }
  t.match(stdout, /^not ok \d selftests: \S+ failing_test\.ts # exit=1$/m)
  t.match(stdout, /^ok \d selftests: seamless: tdx_vm_test\.ts$/m)
  t.same(objections(stdout), [], 'prove and tap-parser read it')
})

const HANGS = `import { test } from '${new URL('../lib/harness/index.ts', import.meta.url).pathname}'
test('waits', async t => {
  const td = t.td({ guest: g => { g.sync(7); g.done() } })
  await td.vcpu.until('UCALL_SYNC')
  await new Promise(() => {})
})
`

t.test('a test that is killed from outside tells where its guest stood, and what it had said', async t => {
  const cwd = t.testdir({ 'hangs_test.ts': HANGS })
  const { stdout } = spawnSync(
    START[0],
    [...START.slice(1), './hangs_test.ts', '--timeout', '1.5', '--record', 'none'],
    {
      cwd,
      encoding: 'utf8',
    },
  )
  t.match(stdout, /did not end within 1\.5 seconds, and did not listen: killed$/m)
  t.match(stdout, /^# # {3}guest {2}vCPU 0, RIP 0x40\w+, \d+ instructions in$/m)
  t.match(stdout, /^# # {10}UCALL_SYNC {2}values 0x7$/m)
  t.match(stdout, /^# not ok 1 global\.waits # TIMEOUT 1\.5 seconds$/m)
})
