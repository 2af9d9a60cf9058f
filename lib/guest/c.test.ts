import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import {
  buildGuest,
  COPY_WORDS,
  CompileError,
  c,
  compile,
  ElfError,
  elf,
  format,
  loadElf,
  sourceOf,
  whyNoC,
} from './index.ts'
import { Machine, run } from './testdata/machine.ts'

const skip = whyNoC() ?? false
const options = { vcpus: 1, sharedBit: 1n << 47n }

// What is compiled here is kept apart from what the user's tests keep.
const folder = mkdtempSync(join(tmpdir(), 'seamless-test-'))
const home = process.cwd()
process.chdir(folder)
t.teardown(() => {
  process.chdir(home)
  rmSync(folder, { recursive: true })
})

t.test('SHA-256 over a page, compiled by the C compiler, gives the digest through a ucall', { skip }, async t => {
  const machine = new Machine(c(fileURLToPath(new URL('testdata/sha256.c', import.meta.url))))
  t.teardown(() => machine.close())
  const [said, sync, done] = machine.all()
  const printed = machine.image.sites[Number(said?.args[0])]
  t.match(printed, { kind: 'printf', format: '%d bytes\n' })
  t.equal(format(printed?.format ?? '', said?.args.slice(1) ?? []), '4096 bytes\n')
  const page = Uint8Array.from({ length: 4096 }, (_, i) => i * 7 + (i >> 8))
  const digest = createHash('sha256').update(page).digest('hex')
  const words = sync?.args.slice(2, 6) ?? []
  t.equal(words.map(w => w.toString(16).padStart(16, '0')).join(''), digest)
  t.equal(sync?.args[1], 1n)
  t.equal(done?.name, 'UCALL_DONE')
})

t.test('a failed assertion of C names file, line, both texts and both values', { skip }, async t => {
  const machine = new Machine(c`
#include "seamless.h"
static int seen = -3;
void guest_code(void)
{
	GUEST_ASSERT(seen < 0);
	GUEST_ASSERT_EQ(*(volatile int *)&seen, 0x10 + 1);
}
`)
  t.teardown(() => machine.close())
  const [abort] = machine.all()
  const site = machine.image.sites[Number(abort?.args[0])]!
  t.match(site, {
    kind: 'assert',
    relation: 'eq',
    file: fileURLToPath(import.meta.url),
    line: 56,
    types: ['i32', 'i32'],
  })
  t.same(sourceOf(site), { seen: '*(volatile int *)&seen', want: '0x10 + 1' })
  t.same(abort?.args.slice(1, 3), [0xffff_ffff_ffff_fffdn, 17n])
  t.equal(machine.image.convention, 'sites')
})

t.test('the words of the KVM selftests, with values and formats', { skip }, async t => {
  const machine = new Machine(c`
#include "seamless.h"
static void on_ud(struct ex_regs *regs)
{
	regs->rip += 2;
	regs->rax = regs->vector + 100;
}
void guest_code(void)
{
	u64 value = 1, eight[8];
	u32 index = 0xdeadbeef;

	GUEST_SYNC6(1, 2, 3, 4, 5, 6);
	GUEST_SYNC_ARGS(1, 2, 3, 4, 5, 6, 7, 8, 9);
	GUEST_PRINTF("%d %d %d %d %d %d %d %s\n", 1, 2, 3, 4, 5, 6, 7, "constant");
	GUEST_ASSERT_EQ(rdmsr_safe(index, &value), 13);
	GUEST_ASSERT_EQ(wrmsr_safe(0xc0000101, 0x123456789abcul), 0);
	GUEST_ASSERT_EQ(rdmsr_safe(0xc0000101, &value), 0);
	GUEST_ASSERT_EQ(value, 0x123456789abcul);
	GUEST_ASSERT_EQ(xsetbv_safe(0, 0), 6);
	install_exception_handler(6, on_ud);
	__asm__ volatile("ud2" : "=a"(value));
	GUEST_ASSERT_EQ(value, 106ul);
	GUEST_ASSERT_NE(read_cr3(), 0ul);
	GUEST_ASSERT_LT(-1, 0);
	GUEST_ASSERT_GE(read_cr0(), 1ul << 31);
	memset(eight, 0x11, sizeof(eight));
	GUEST_UCALL_NONE();
	__GUEST_ASSERT(eight[3] == 0, "MSR 0x%x: eight[%d] is %#lx, %s", index, 3, eight[3], "not zero");
}
`)
  t.teardown(() => machine.close())
  const siteOf = (args: readonly bigint[] | undefined) => machine.image.sites[Number(args?.[0])]!
  const six = machine.next()
  t.same(six.args.slice(1), [1n, 2n, 3n, 4n, 5n, 6n])
  t.equal(siteOf(six.args).types?.length, 6)
  t.equal(siteOf(machine.next().args).types?.length, 9)
  const printed = machine.next()
  t.equal(siteOf(printed.args).types?.length, 8 + COPY_WORDS, 'a string brings a copy')
  t.same(siteOf(printed.args).copies, [7])
  t.equal(machine.next().name, 'bare')
  const abort = machine.next()
  const site = siteOf(abort.args)
  t.equal(abort.name, 'UCALL_ABORT')
  t.same(sourceOf(site), { seen: 'eight[3] == 0', want: 'true' })
  t.equal(
    format(site.format!, abort.args.slice(3), () => 'not zero').slice(0, 42),
    'MSR 0xdeadbeef: eight[3] is 0x111111111111',
  )
  t.equal(site.types?.length, 6 + COPY_WORDS)
  t.same(site.copies, [3])
})

t.test("the compiler's own words, and what is missing", { skip }, async t => {
  t.throws(() => buildGuest(c`void guest_code(void) { nonsense; }`, options), {
    name: 'CompileError',
    message: /^c\.test\.ts:\d+: \S+ refused it\n.*c\.test\.ts:\d+:\d+: error: 'nonsense' undeclared/s,
  })
  t.throws(() => buildGuest(c`void other(void) { for (;;); }`, options), {
    name: 'CompileError',
    message: /^c\.test\.ts:\d+: has no guest_code\(void\)$/,
  })
  t.throws(() => buildGuest(c('no/such.c'), options), CompileError)
})

t.test('compiled once for each content', { skip }, async t => {
  const guest = c`#include "seamless.h"
void guest_code(void) { GUEST_DONE(); }`
  const first = compile(guest)
  const cc = process.env['CC']
  t.same(compile(guest), first)
  t.teardown(() => {
    if (cc === undefined) delete process.env['CC']
    else process.env['CC'] = cc
  })
  process.env['CC'] = '/no/such/compiler'
  t.match(whyNoC(), /no C compiler: \/no\/such\/compiler not found/)
})

t.test('a broken ELF is refused by name and value', { skip }, async t => {
  const good = compile(c`#include "seamless.h"
void guest_code(void) { GUEST_DONE(); }`)
  const broken = (change: (view: DataView) => void): Uint8Array => {
    const copy = Uint8Array.from(good)
    change(new DataView(copy.buffer))
    return copy
  }
  const refused = (bytes: Uint8Array, message: RegExp) =>
    t.throws(() => loadElf(bytes, 'x'), { name: 'ElfError', message })
  refused(new Uint8Array(10), /x: 10 bytes, an ELF header has 64/)
  refused(
    broken(v => v.setUint8(0, 0)),
    /not with 7f 'ELF'/,
  )
  refused(
    broken(v => v.setUint8(4, 1)),
    /not 64-bit/,
  )
  refused(
    broken(v => v.setUint16(16, 3, true)),
    /type 3, not 2 \(ET_EXEC\)/,
  )
  refused(
    broken(v => v.setUint16(18, 40, true)),
    /machine 40, not 62/,
  )
  refused(
    broken(v => v.setBigUint64(24, 0n, true)),
    /entry 0x0 lies in no executable segment/,
  )
  refused(good.subarray(0, 200), /program headers|segment|section/)
  t.same(
    run(elf(good, 'good')).map(s => s.name),
    ['UCALL_DONE'],
  )
  t.throws(() => loadElf(good.subarray(0, 70), 'x'), ElfError)
})
