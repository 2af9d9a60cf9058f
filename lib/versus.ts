/** `make versus`: docs/versus-upstream.md, upstream's TDX tests and ours side by side, by lines of test code. */
import { readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const PAGE = join(root, 'docs/versus-upstream.md')

type Pair = { readonly n: string; readonly name: string; readonly lines: number; readonly ours: readonly string[] }

/**
 * Upstream's lines: what the patch of "TDX KVM selftests" v8 (linux-kselftest, 2025-08-08) that brings a test adds to
 * tdx_vm_test.c, by its diffstat, less the lines that register it in main(): 3 for each test of a patch of one, 5 for the
 * patch of two. Of the first patch, which makes the file, the two functions themselves.
 */
const PAIRS: readonly Pair[] = [
  { n: '1', name: 'lifecycle', lines: 23, ours: ['verify_td_lifecycle'] },
  { n: '2', name: 'report_fatal_error', lines: 50 - 3, ours: ['verify_report_fatal_error'] },
  { n: '3', name: 'ioexit', lines: 75 - 3, ours: ['verify_td_ioexit'] },
  { n: '4', name: 'cpuid (native)', lines: 97 - 3, ours: ['verify_td_cpuid'] },
  { n: '5', name: 'get_td_vmcall_info', lines: 71 - 3, ours: ['verify_get_td_vmcall_info'] },
  { n: '6', name: 'io writes', lines: 78 - 3, ours: ['verify_guest_writes'] },
  { n: '7', name: 'io reads', lines: 75 - 3, ours: ['verify_guest_reads'] },
  {
    n: '8, 9',
    name: 'msr reads, msr writes',
    lines: 192 - 5,
    ours: ['verify_guest_msr_reads', 'verify_guest_msr_writes'],
  },
  { n: '10', name: 'hlt', lines: 80 - 3, ours: ['verify_guest_hlt'] },
  { n: '11', name: 'mmio reads', lines: 88 - 3, ours: ['verify_mmio_reads'] },
  { n: '12', name: 'mmio writes', lines: 84 - 3, ours: ['verify_mmio_writes'] },
  { n: '13', name: 'cpuid tdcall', lines: 77 - 3, ours: ['verify_td_cpuid_tdcall'] },
  {
    n: '14',
    name: 'host reading private memory',
    lines: 82 - 3,
    ours: ['verify_host_reading_private_mem'],
  },
]

const lines = readFileSync(join(root, 'selftests/tdx_vm_test.ts'), 'utf8').trimEnd().split('\n')

/** Lines of our test of that name, from `test('name'` to its end, blank ones too. RangeError where there is none. */
export const linesOf = (name: string): number => {
  const from = lines.findIndex(line => line.startsWith(`test('${name}'`))
  const to = lines.indexOf('})', from)
  if (from < 0 || to < 0) throw new RangeError(`selftests/tdx_vm_test.ts has no test ${name}`)
  return to - from + 1
}

/** Lines of our file that stand outside of any test: imports, constants, functions that tests share, blank lines. */
export const outside = (): number => {
  const names = lines.flatMap(line => /^test\('(\w+)'/.exec(line)?.[1] ?? [])
  return lines.length - names.reduce((sum, name) => sum + linesOf(name), 0)
}

/** The table's text. */
export const table = (): string => {
  const rows = PAIRS.map(({ n, name, lines, ours }) => {
    const own = ours.reduce((sum, where) => sum + linesOf(where), 0)
    return { cells: [n, name, String(lines), String(own), `${Math.round((100 * own) / lines)} %`], lines, own }
  })
  const [theirs, own] = rows.reduce(([a, b], row) => [a + row.lines, b + row.own], [0, 0])
  const all = [
    ['', 'test', 'upstream, lines', 'here, lines', ''],
    ['---', '---', '---', '---', '---'],
    ...rows.map(r => r.cells),
    ['', 'all', String(theirs), String(own), `${Math.round((100 * own) / theirs)} %`],
  ]
  return all.map(cells => `| ${cells.join(' | ')} |`).join('\n')
}

const page = (): string => `# Next to upstream

Upstream's tests 1 to 14 of \`tdx_vm_test.c\`, and their twins of the same names in
\`selftests/tdx_vm_test.ts\`. Made by \`make versus\`, which counts our lines; a test keeps them right.

${table()}

How it was counted. Upstream: lines that the patch of "TDX KVM selftests" v8 (linux-kselftest, 2025-08-08, the last posting with all
tests) adds to \`tdx_vm_test.c\` by its diffstat, blank lines and comments included, less those that register the test in
\`main()\`. What the same patches add to the library (\`tdx.c\`, \`test_util.c\`, \`tdcall.S\`, headers) is left out; so is our harness. Here:
lines from \`test(\` to its closing bracket, blank ones included; another ${outside()} lines of the file are imports, constants,
functions that tests share and the blank lines between tests.

What differs: upstream reports a value to the host by port writes of 4 bytes; here the guest asserts, or sends it by
GUEST_SYNC. Upstream's HLT test waits for a real second and SIGALRM; here the signal comes after a number of instructions, at once for a vCPU that has
halted.

## A guest assertion fails

Upstream, v8: the guest passes an error code to ReportFatalError, and the host's test process ends with the code, which is the status
of some TDVMCALL or the value of an expression; nothing says of which line. From v9 on, with ucalls, it is
the text of the KVM selftests (\`lib/assert.c\`, REPORT_GUEST_ASSERT):

\`\`\`
==== Test Assertion Failure ====
  x86/tdx_vm_test.c:42: value == 42
  pid=1501 tid=1501 errno=4 - Interrupted system call
     1	0x000000000040273c: assert_on_unhandled_exception at processor.c:640
     ...
  0x29 != 0x2a (value != 42)
\`\`\`

(form as lib/assert.c and GUEST_ASSERT_EQ print it; the numbers are made up, the addresses are the host process's.) Here:

\`\`\`ts fails
import { test } from '#harness'

test('the_answer', async t => {
  const td = t.td({
    guest(g) {
      const value = g.in(0x50, 1)
      g.assert.eq(value.mul(7), 42, 'seven times what the host answered')
      g.done()
    },
  })

  const io = await td.vcpu.until('KVM_EXIT_IO')
  io.answer(5n)
  await td.vcpu.until('UCALL_DONE')
})
\`\`\`

\`\`\`text
the_answer:Expected 42 (0x2a) == value.mul(7) (0x23)
#   seven times what the host answered
#   guest  vCPU 0, RIP 0x
imul ecx, ecx, 0x7  ; rcx 0x5
cmp ecx, 0x2a       ; rcx 0x23
#          KVM_EXIT_IO  in  port 0x50  1 byte  0x5
#   host
#   again  seamless
\`\`\`
`

/** What there is now; empty where there is none. */
export const written = (): string => {
  try {
    return readFileSync(PAGE, 'utf8')
  } catch {
    return ''
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(PAGE, page())
