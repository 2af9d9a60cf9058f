import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Event } from '#reports'
import { collected } from './sample.ts'

const failing = await collected('failing_test.ts')
const vcpus = await collected('vcpus_test.ts')

/** Runs a test with a trace: its lines, and how it ended. */
const traced = async (named: typeof failing, name: string, trace: readonly string[], seed = 1n) => {
  const events: Event[] = []
  const emit = (event: Event) => events.push(event)
  const outcome = await named(name).run({ seed, timeout: 0, deadline: () => false, trace, emit })
  const lines = events.flatMap(event => (event.type === 'output' && event.stream === 'trace' ? [event.text] : []))
  return { outcome, lines, text: lines.join('\n') }
}

t.test('exits and ioctls, with names for what they are and say', async t => {
  const { lines, text } = await traced(failing, 'port_io.word.guest_side', ['exits', 'ioctls'])
  t.match(text, /^exit {2}vCPU 0 {2}KVM_EXIT_IO out port 0x32 size 2 data 0xabcd {2}after \d+ instructions$/m)
  t.match(text, /^exit {2}vCPU 0 {2}UCALL_ABORT/m)
  t.match(text, /^ioctl {2}KVM_CREATE_VM {2}fd \d+ {2}0x5 {2}= \d+$/m)
  t.match(text, /^ioctl {2}KVM_RUN {2}fd \d+ {2}0x0 {2}= -1 .*immediate_exit is set.*\(EINTR\)/m)
  t.ok(lines.length > 20)
})

t.test('SEAMCALLs and TDCALLs, with leaves, registers and statuses by name', async t => {
  const { text } = await traced(failing, 'port_io.word.guest_side', ['seamcalls', 'tdcalls'])
  t.match(text, /^seamcall {2}LP 0 {2}TDH\.MNG\.CREATE {2}RCX 0x\w+ {2}RDX 0x\w+ {2}= TDX_SUCCESS$/m)
  t.match(text, /^seamcall {2}LP 0 {2}TDH\.VP\.ENTER {2}RCX 0x\w+.* = TD exit, TDCALL/m)
  t.match(
    text,
    /^tdcall {2}vCPU 0 {2}TDG\.VP\.VMCALL TDVMCALL_IO {2}RCX 0x\w+ {2}R11 0x1e {2}R12 0x2 {2}R13 0x1 {2}R14 0x32 {2}R15 0xabcd {2}= to the host/m,
  )
})

t.test('instructions, with the registers they name', async t => {
  const { lines, outcome } = await traced(failing, 'global.writes_where_nothing_is_mapped', ['instructions'])
  const plain = await traced(failing, 'global.writes_where_nothing_is_mapped', [])
  t.equal(outcome.instructions, plain.outcome.instructions, 'a trace changes nothing')
  t.match(
    lines.find(line => line.includes('poke')),
    /^insn {2}vCPU 0 {2}\d+ {2}0x401\w+ {2}poke {2}mov qword ptr \[rdi\], 0x1 {2}; rdi 0x7654_3210$/,
  )
})

t.test('accesses to a range, and what they changed', async t => {
  const { text, outcome } = await traced(vcpus, 'global.loses_none', ['memory=common'])
  t.equal(outcome.status, 'pass')
  t.match(
    text,
    /^memory {2}vCPU [01] {2}\d+ {2}0x\w+ {2}guest\S* {2}lock .* {2}0x\w+ common {2}8 bytes {2}0x0+ -> 0x0+1$/m,
  )
  t.match(text, / 0x0+1 -> 0x0+2$/m)
})

t.test('tracing leaves interleavings as they are', async t => {
  for (const seed of [1n, 2n, 3n, 4n, 5n]) {
    const plain = await traced(vcpus, 'global.loses_an_update', [], seed)
    const full = await traced(vcpus, 'global.loses_an_update', ['instructions', 'tdcalls'], seed)
    t.same(full.outcome, plain.outcome)
  }
})

const has = (tool: string): boolean => spawnSync(tool, ['--version']).status === 0

t.test('a core file of a failing guest is read by readelf and gdb', async t => {
  const dump = mkdtempSync(join(tmpdir(), 'seamless-'))
  t.teardown(() => rmSync(dump, { recursive: true }))
  const emit = () => {}
  await failing('global.fails_three_calls_deep').run({ seed: 1n, timeout: 0, deadline: () => false, dump, emit })
  const [name = ''] = readdirSync(dump)
  t.equal(name, 'global.fails_three_calls_deep.TD0.core')
  const core = join(dump, name)
  t.test('readelf', { skip: !has('readelf') && 'no readelf here' }, async t => {
    const { stdout, stderr } = spawnSync('readelf', ['--wide', '-h', '-l', '-n', core], { encoding: 'utf8' })
    t.equal(stderr, '')
    t.match(stdout, /Type: +CORE/)
    t.match(stdout, /LOAD +0x\w+ 0x0{10}401000 .* R ?E/)
    t.match(stdout, /CORE +0x00000150\s+NT_PRSTATUS/)
  })
  t.test('gdb', { skip: !has('gdb') && 'no gdb here' }, async t => {
    const commands = ['info registers rip', 'x/1i 0x401000'].flatMap(command => ['-ex', command])
    const { stdout } = spawnSync('gdb', ['-nx', '-batch', '-core', core, ...commands], { encoding: 'utf8' })
    t.match(stdout, /^rip +0x[0-9a-f]+/m)
    t.match(stdout, /0x401000:\s+\w+/)
  })
})

t.test('floating-point and vector registers are in it', async t => {
  const dump = mkdtempSync(join(tmpdir(), 'seamless-'))
  t.teardown(() => rmSync(dump, { recursive: true }))
  const emit = () => {}
  await failing('global.computes_and_fails').run({ seed: 1n, timeout: 0, deadline: () => false, dump, emit })
  const core = join(dump, readdirSync(dump)[0] ?? '')
  t.test('readelf', { skip: !has('readelf') && 'no readelf here' }, async t => {
    const { stdout, stderr } = spawnSync('readelf', ['--wide', '-n', core], { encoding: 'utf8' })
    t.equal(stderr, '')
    t.match(stdout, /CORE +0x00000200\s+NT_FPREGSET/)
    t.match(stdout, /LINUX +0x00000340\s+NT_X86_XSTATE/)
  })
  t.test('gdb', { skip: !has('gdb') && 'no gdb here' }, async t => {
    const commands = ['p $xmm3.v2_double', 'p $ymm3.v4_double', 'p $st0', 'p $st1', 'p/x $mxcsr', 'p/x $fctrl']
    const args = ['-nx', '-batch', '-core', core, ...commands.flatMap(command => ['-ex', command])]
    const { stdout } = spawnSync('gdb', args, { encoding: 'utf8' })
    for (const said of [
      '$1 = {1.5, 0}',
      '$2 = {1.5, 0, 0, 0}',
      '$3 = 3.1415926535897932385',
      '$4 = 1',
      '$5 = 0x1f80',
      '$6 = 0x37f',
    ])
      t.ok(stdout.includes(said), said, { stdout })
  })
})
