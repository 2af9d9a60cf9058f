import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { UsageError } from './errors.ts'
import { runElf } from './runelf.ts'
import { flat as flatCommand } from './runflat.ts'
import { runMultiboot } from './runmultiboot.ts'
import { seamless } from './testdata/cli.ts'
import { vectors } from './vectors.ts'

const folder = mkdtempSync(join(tmpdir(), 'seamless-commands-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const file = (name: string, content: Uint8Array | string): string => {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}
const bytes = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
/** One line that says why, of a command that is refused: exit status 2. */
const complaint = async ([command = '', ...argv]: readonly string[]): Promise<string> => {
  try {
    const status = await COMMANDS[command]?.(argv)
    return `taken: ${status}`
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    return /\n/.test(error.message) || error.code !== 2 ? `${error.code} ${error.message}` : error.message
  }
}
const COMMANDS: Readonly<Record<string, (argv: readonly string[]) => Promise<number>>> = {
  vectors,
  'run-flat': flatCommand,
  'run-elf': runElf,
  'run-multiboot': runMultiboot,
}

t.test('a refusal is exit status 2 and one line on stderr', async t => {
  const { status, stdout, stderr } = seamless(['run-elf', '/nowhere'])
  t.same([status, stdout, stderr], [2, '', "seamless: /nowhere: no such file or directory, open '/nowhere'\n"])
})

// mov eax, 5; hlt
const flat = file('flat.bin', bytes('b8 05 00 00 00 f4'))

t.test('run-flat prints the state, as text and as JSON', async t => {
  const text = seamless(['run-flat', flat, '--mode', '64', '--at', '200000'])
  t.equal(text.status, 0)
  t.match(
    text.stdout,
    /^stopped by HLT after 1 instructions\nrip 0000000000200005 {2}rflags 00000002\nrax 0000000000000005/,
  )
  const json = seamless(['run-flat', flat, '--mode', '32', '--at', '0x200000', '--dump', 'json', '--stats'])
  const state = JSON.parse(json.stdout)
  t.match(state, { stop: 'hlt', ip: '200005', f: '2', fcw: '37f', mxcsr: '1f80', instructions: 1, r: { rax: '5' } })
  t.same([state.x.length, state.fp.length], [16, 8])
  t.match(json.stderr, /instructions +1\n/)
  const fault = seamless(['run-flat', file('ud.bin', bytes('0f0b')), '--mode', '64', '--at', '1000', '--dump', 'json'])
  t.equal(fault.status, 1)
  t.match(JSON.parse(fault.stdout), { stop: 'exception', exc: [6, '0'] })
})

t.test('--stats tells what the interpreter did in place for compiled code, by instruction', async t => {
  // mov esi, 10000; again: xor eax, eax; cpuid; dec esi; jne again; hlt
  const loop = file('cpuid.bin', bytes('be 10 27 00 00 31 c0 0f a2 ff ce 75 f8 f4'))
  const words = ['run-flat', loop, '--mode', '64', '--at', '200000', '--stats', '--tier']
  const compiled = seamless([...words, 'compile']).stderr
  t.match(compiled, /^ *done in place +10000 instructions: 10000 cpuid$/m)
  t.match(compiled, /^ *interpreted +1 hlt$/m)
  t.notMatch(seamless([...words, 'interpret']).stderr, /done in place/)
})

t.test('run-flat: what is wrong', async t => {
  const at = ['--mode', '64', '--at', '1000']
  t.equal(await complaint(['run-flat', flat, '--at', '1000']), '--mode : 64, 32 or 16')
  t.equal(await complaint(['run-flat', flat, '--mode', '8', '--at', '1000']), '--mode 8: 64, 32 or 16')
  t.equal(await complaint(['run-flat', flat, '--mode', '64', '--at', 'here']), '--at here: not a hexadecimal number')
  t.equal(await complaint(['run-flat', flat, ...at, '--map', '5']), '--map 5: not ADDR:LEN or ADDR:LEN:rwx')
  t.equal(await complaint(['run-flat', flat, ...at, '--dump', 'xml']), '--dump xml: json or text')
  t.match(await complaint(['run-flat', flat, ...at, '--budget', '0']), /^--budget 0: not a number from 1 to/)
  t.match(await complaint(['run-flat', '/nowhere', ...at]), /^\/nowhere: no such file or directory/)
  t.match(await complaint(['run-flat', file('empty', ''), ...at]), /: the file is empty$/)
  t.equal(await complaint(['run-flat', ...at]), 'run-flat: name a file; --help says more')
  t.equal(await complaint(['run-flat', flat, flat, ...at]), `run-flat: one file, and ${flat} is one more`)
  t.match(await complaint(['run-flat', flat, ...at, '--frobnicate']), /^unknown option '--frobnicate'/)
})

t.test('run-elf and run-multiboot: what is wrong with a file, in one line', async t => {
  const text = file('text', 'no program at all'.repeat(10))
  t.match(await complaint(['run-elf', text]), /: begins with 0x6e6f_2070, not with 7f 'ELF'$/)
  t.match(await complaint(['run-elf', file('short', 'x')]), /: the file has 1 bytes, an ELF header has 64$/)
  t.equal(await complaint(['run-elf']), 'run-elf: name a program; --help says more')
  t.equal(
    await complaint(['run-elf', '--tier', 'fast', text]),
    '--tier fast: there are interpret, cold, compile, auto, lockstep, coldstep',
  )
  t.match(await complaint(['run-multiboot', text]), /: no Multiboot header \(0x1bad_b002\) in the first 8192 bytes$/)
  t.match(
    await complaint(['run-multiboot', text, '--cpu', '+nonsense']),
    /^--cpu \+nonsense: not \+ or - and a feature, such as \+la57$/,
  )
  t.match(await complaint(['run-multiboot', text, '--mem', '1']), /^--mem 1: not a number from 2 to 3072$/)
  t.match(await complaint(['run-multiboot', text, '--exit-port', '12345']), /^--exit-port 12345: ports go up to ffff$/)
  t.match(await complaint(['run-multiboot', text, '--initrd', '/nowhere']), /^\/nowhere: no such file or directory/)
})

t.test('each command says what it can', async t => {
  for (const command of ['vectors', 'run-flat', 'run-elf', 'run-multiboot']) {
    const { status, stdout } = seamless([command, '--help'])
    t.equal(status, 0)
    t.match(stdout, new RegExp(`^seamless ${command} `))
  }
})

/** One case: MOV EAX, 5 at the start of the code region. */
const vectorFile = (rax: string): string => {
  const header = {
    format: 'x86-vectors/1',
    file: 'test',
    mode: 64,
    count: 1,
    regions: [{ name: 'code', addr: '200000', len: '2000', prot: 'rx', fill: 'f4' }],
    bases: [{ r: {}, f: '202', x: [], fp: [], fcw: '37f', fsw: '0', ftw: '0', mxcsr: '1f80' }],
  }
  const c = { id: 'Mov_r32_imm32#1', b: 'b805000000', ip: '200000', s: 0, o: { ip: '200005', r: { rax } } }
  return `${JSON.stringify(header)}\n${JSON.stringify(c)}\n`
}

t.test('vectors: passed and failed per file, the fields that differ, exit status', async t => {
  const good = file('good.jsonl.gz', gzipSync(vectorFile('5')))
  const bad = file('bad.jsonl', vectorFile('6'))
  const ran = seamless(['vectors', good, bad])
  t.equal(ran.status, 1)
  t.equal(
    ran.stdout,
    `${good}: 1 passed, 0 failed, of 1\n${bad}: 0 passed, 1 failed, of 1\n  Mov_r32_imm32#1  b805000000\n    rax: 5, should be 6\n`,
  )
  for (const tier of ['cold', 'compile', 'lockstep', 'coldstep'])
    t.equal(seamless(['vectors', good, '--tier', tier]).status, 0, tier)
  const json = JSON.parse(seamless(['vectors', bad, '--json']).stdout)
  t.match(json, {
    tier: 'interpret',
    files: [{ passed: 0, failed: 1, failures: [{ differences: [{ field: 'rax' }] }] }],
  })
  t.equal(seamless(['vectors', bad, '--filter', '^Add']).status, 0)
})

t.test('vectors: what is wrong', async t => {
  t.match(await complaint(['vectors', file('none', '')]), /: is empty$/)
  t.match(await complaint(['vectors', file('json', '{]')]), /: line 1 is no JSON$/)
  t.match(await complaint(['vectors', file('format', '{"format":"x"}')]), /: the header's format is "x", not /)
  t.match(await complaint(['vectors', file('gz', Uint8Array.of(0x1f, 0x8b, 1))]), /: cannot be read: /)
  t.match(await complaint(['vectors', file('case', `${vectorFile('5')}{"b":1}`)]), /: line 3 has no id or no bytes$/)
  t.match(await complaint(['vectors', file('good2', vectorFile('5')), '--filter', '(']), /^--filter \(: /)
  t.equal(await complaint(['vectors']), 'vectors: name a file; --help says more')
})

const cc = spawnSync('cc', ['--version']).status === 0 && process.arch === 'x64' && process.platform === 'linux'

t.test(
  'a C program does the same natively and in every tier',
  { skip: cc ? false : 'no cc for x86-64 Linux' },
  async t => {
    const source = file('sum.c', C)
    const program = join(folder, 'sum')
    const flags = [
      '-O2',
      '-static',
      '-nostdlib',
      '-ffreestanding',
      '-fno-pie',
      '-no-pie',
      '-fno-stack-protector',
      '-fcf-protection=none',
    ]
    const built = spawnSync('cc', [...flags, '-o', program, source], { encoding: 'utf8' })
    t.equal(built.status, 0, built.stderr)
    const native = spawnSync(program, ['abc'], { encoding: 'utf8' })
    t.equal(native.status, 3)
    for (const tier of ['interpret', 'auto']) {
      const { status, stdout } = seamless(['run-elf', '--tier', tier, program, 'abc'])
      t.same([status, stdout], [native.status, native.stdout], tier)
    }
    t.match(
      seamless(['run-elf', '--stats', program, 'x']).stderr,
      /system calls +1 exit_group, 1 write|system calls +1 write, 1 exit_group/,
    )
    const cold = seamless(['run-elf', '--stats', '--tier', 'cold', program, 'x']).stderr
    t.match(cold, /^ *run by handlers +[1-9]\d* instructions in [1-9]\d* calls$/m)
    t.match(cold, /^ *time by tier .* ms handlers, \d+ ms writing them, /m)
  },
)

/** Sums, prints a checksum, exits with the length of its argument. */
const C = `
typedef unsigned long u64;
static long sys(long n, long a, long b, long c)
{
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "0"(n), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}
static u64 table[512];
static double weights[64];
__attribute__((used)) void start_c(long *sp)
{
	const char *arg = (const char *)sp[2];
	long length = 0;
	u64 h = 1;
	char line[17];
	while (arg[length])
		length++;
	for (u64 n = 0; n < 20000; n++) {
		table[n % 512] += h ^ (h >> 13);
		h = h * 6364136223846793005u + table[(h >> 9) % 512];
		weights[n % 64] = weights[n % 64] * 0.5 + (double)(h & 0xffff) / 3.0;
	}
	for (int n = 0; n < 64; n++)
		h ^= (u64)(weights[n] * 1024.0) << (n % 32);
	for (int n = 0; n < 16; n++)
		line[n] = "0123456789abcdef"[(h >> (60 - 4 * n)) & 15];
	line[16] = 10;
	sys(1, 1, (long)line, 17);
	for (;;)
		sys(231, length, 0, 0);
}
__asm__(".globl _start\\n_start:\\n\\txor %ebp, %ebp\\n\\tmov %rsp, %rdi\\n\\tand $-16, %rsp\\n\\tcall start_c\\n\\thlt\\n");
`
