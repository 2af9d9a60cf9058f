import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { START } from './testdata/cli.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

const seamless = (...args: string[]) => {
  const { stdout, stderr, status } = spawnSync(START[0], [...START.slice(1), 'mrtd', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  return { stdout, stderr, status }
}

/** What depends on the guest's code, and with it on our assembler, is left out. */
const shown = (text: string): string =>
  text
    .replace(/\b[0-9a-f]{96}\b/g, digits =>
      digits.startsWith('00010203') || digits.startsWith('2f2e2d') ? digits : '<MRTD>',
    )
    .replace(/( EXTEND {2})(?!zeroes|7e2a)[0-9a-f]{12}/g, '$1<content>   ')

const GOLDEN = `runner/testdata/mrtd_test.ts  global.owned, TD 0

MRTD           <MRTD>
               the same, computed from the pages below
ATTRIBUTES     0x0
XFAM           0x3  x87, SSE
MRCONFIGID     000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f
MROWNER        2f2e2d2c2b2a292827262524232221201f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100
MROWNERCONFIG  zero
RTMR0 to 3     zero: the guest extends them when it runs

  GPA           measured          content       what it is
  0x2000        ADD, 16 x EXTEND  <content>     guest runtime (rx)
  0x3000        ADD, 16 x EXTEND  <content>     guest code (rx): entry of vCPU 0, entry of vCPU 1
  0x4000        ADD, 16 x EXTEND  <content>     guest data (rw): GDT
  0x5000        ADD, 16 x EXTEND  <content>     guest data (rw): IDT
  0x6000        ADD, 16 x EXTEND  zeroes        guest stack0 (rw)
  0x7000        ADD, 16 x EXTEND  zeroes        guest stack0 (rw): stack of vCPU 0
  0x8000        ADD, 16 x EXTEND  zeroes        guest stack1 (rw)
  0x9000        ADD, 16 x EXTEND  zeroes        guest stack1 (rw): stack of vCPU 1
  0xa000        ADD, 16 x EXTEND  <content>     page table, the root
  0xb000        ADD, 16 x EXTEND  <content>     page table
  0xc000        ADD, 16 x EXTEND  <content>     page table
  0xd000        ADD, 16 x EXTEND  <content>     page table
  0xe000        ADD, 16 x EXTEND  <content>     page table
  0xf000        ADD, 16 x EXTEND  <content>     page table
  0x40000000    ADD, 16 x EXTEND  <content>     the test's memory
  0x40001000    ADD, 16 x EXTEND  <content>     the test's memory
  0xfffff000    ADD, 16 x EXTEND  <content>     boot code, reset vector
  0xffff0000    ADD, 16 x EXTEND  <content>     boot parameters

`

t.test('a test’s TD, page by page', async t => {
  const { stdout, status } = seamless('runner/testdata/mrtd_test.ts:owned')
  t.equal(shown(stdout), GOLDEN)
  t.equal(status, 0)
  const again = seamless('runner/testdata/mrtd_test.ts:global.owned').stdout
  t.equal(again, stdout, 'the same TD is measured the same')
})

t.test('pages that the test adds itself, extended or not', async t => {
  const { stdout, status } = seamless('runner/testdata/mrtd_test.ts:adds_its_own')
  t.equal(status, 0, 'MRTD is what the pages give')
  t.match(stdout, /^ {2}0x40000000 {4}ADD, 16 x EXTEND {2}[0-9a-f]{12} {2}added by the test's own ioctl$/m)
  t.match(stdout, /^ {2}0x40001000 {4}ADD {15}[0-9a-f]{12} {2}added by the test's own ioctl$/m)
})

t.test('what is wrong with the words is said in one line', async t => {
  for (const [word, message] of [
    [
      'runner/testdata/mrtd_test.ts:nobody',
      /no test nobody; there are global\.owned, global\.adds_its_own, global\.none/,
    ],
    ['runner/testdata/nothing_test.ts:x', /nothing_test\.ts: no such file/],
  ] as const) {
    const { stderr, stdout, status } = seamless(word)
    t.match(stderr, message)
    t.equal(stdout, '')
    t.equal(status, 2)
  }
  const { stderr, status } = seamless('runner/testdata/mrtd_test.ts:none')
  t.match(stderr, /no TD was finalized/)
  t.equal(status, 0)
  t.match(seamless('--help').stdout, /seamless mrtd FILE\.ts:TEST/)
  t.equal(seamless().status, 2)
})
