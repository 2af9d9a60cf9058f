/** The workers' image: used where it is of these very sources, and nobody can tell but by the clock. */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
/** A copy of the project, whose sources may be changed. */
const copy = mkdtempSync(join(tmpdir(), 'seamless-image-'))
t.teardown(() => rmSync(copy, { recursive: true }))
const isSource = (path: string): boolean => !/\.test\.ts$|\/(testdata|oracle|bench|linux)$/.test(path)
for (const name of ['lib', 'runner', 'reports'])
  cpSync(join(ROOT, name), join(copy, name), { recursive: true, filter: isSource })
cpSync(join(ROOT, 'lib/linux'), join(copy, 'lib/linux'), { recursive: true })
cpSync(join(ROOT, 'package.json'), join(copy, 'package.json'))
symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'))

const TESTS = `import { fork } from 'node:child_process'
import { test } from '#harness'
const isImage = () => globalThis[Symbol.for('seamless:harness')] !== undefined
test('tells', t => t.log(isImage() ? 'from the image' : 'from the sources'))
test('boots', async t => { await t.td({ guest: g => g.done() }).vcpu.until('UCALL_DONE') })
test('throws', () => { null.x })
test('is_refused', t => { t.td({ guest: g => g.done(), attributes: 1n }) })
test('has_its_environment', t => t.log('tunables: ' + process.env['GLIBC_TUNABLES']))
test('forks', async t => {
  const child = fork(import.meta.dirname + '/../child.mjs')
  t.assert.eq(await new Promise(resolve => child.on('message', resolve)), 'hello')
})
`
const INSIDE = "import { hex } from '#bits'\nimport { test } from '#harness'\ntest('inside', t => t.log(hex(1n)))\n"

const tests = join(copy, 'selftests')
cpSync(join(ROOT, 'selftests/port_io_test.ts'), join(tests, 'port_io_test.ts'))
writeFileSync(join(tests, 'a_test.ts'), TESTS)
writeFileSync(join(tests, 'inside_test.ts'), INSIDE)
writeFileSync(join(copy, 'child.mjs'), "process.send('hello')\n")

// A run that missed the image makes none here: the test does, when it wants one.
const env: NodeJS.ProcessEnv = { ...process.env, CI: '1', SEAMLESS_STATE: join(copy, 'state') }
for (const name of ['SEAMLESS_HARNESS', 'SEAMLESS_IMAGE', 'NODE_V8_COVERAGE']) delete env[name]
// tap gives every process that is started from here options of its own, with which no image is used: `env` takes them away.
const node = (...args: string[]) =>
  spawnSync('env', ['-u', 'NODE_OPTIONS', process.execPath, ...args], { cwd: copy, encoding: 'utf8', env })
const make = () => node('runner/image.main.ts').stderr
const seamless = (...args: string[]) => node('runner/seamless.js', ...args).stdout
const directory = () => join(copy, '.seamless/image', readdirSync(join(copy, '.seamless/image'))[0] ?? '')
const named = (file: string): Record<string, string> => JSON.parse(readFileSync(join(directory(), file), 'utf8'))
const blob = () => join(directory(), named('manifest.json')['blob'] ?? '')

// An image takes a second to make, on a busy machine more.
t.setTimeout(120_000)

t.test('a run without an image, with one, and with one of other sources', async t => {
  const without = seamless('selftests/a_test.ts')
  t.match(without, /^# # from the sources$/m)
  t.match(make(), /^image: made in /)
  t.equal(make(), '', 'there is nothing to do')

  const withImage = seamless('selftests/a_test.ts')
  t.equal(withImage, without.replace('from the sources', 'from the image'), 'every other byte is the same')
  t.match(withImage, /stack {2}at perform \(lib\/harness\/trial\.ts:\d+:\d+\)/, 'a stack names the sources')
  t.match(withImage, /^# # tunables: undefined$/m, 'what its process was started with is not for the tests')
  t.match(withImage, /^# ok 6 global\.forks$/m)

  const source = join(copy, 'lib/harness/thrown.ts')
  writeFileSync(source, readFileSync(source, 'utf8').replace(/\$\{error\.name\}: \$\{error\.message\}/g, 'CHANGED'))
  const run = () => seamless('selftests/a_test.ts', '-t', 'tells', '-t', 'throws')
  const changed = run()
  t.match(changed, /^# # from the sources\n[\s\S]*CHANGED/m, 'a change counts at once')
  t.match(make(), /^image: \S+\/thrown\.ts has changed\nimage: made in /)
  t.equal(run(), changed.replace('from the sources', 'from the image'))
})

t.test('a file that looks inside the rooms is run from the sources', async t => {
  t.match(seamless('selftests/inside_test.ts'), /^# # 0x1\n[\s\S]*^ok 1 /m)
})

t.test('guests run in an image of their own, which begins with what guests before had compiled', async t => {
  // mov ecx, 5000; again: add rax, rcx; loop again; hlt
  writeFileSync(join(copy, 'loop.bin'), Buffer.from('b988130000 4801c8 e2fb f4'.replaceAll(' ', ''), 'hex'))
  const words = ['run-flat', 'loop.bin', '--mode', '64', '--at', '100000', '--tier', 'auto', '--stats']
  const run = (...set: string[]) => {
    const command = ['-u', 'NODE_OPTIONS', ...set, process.execPath, 'runner/seamless.js', ...words]
    const { stdout, stderr } = spawnSync('env', command, { cwd: copy, encoding: 'utf8', env })
    return { stdout, regions: Number(/^ *compiled +(\d+) regions/m.exec(stderr)?.[1] ?? Number.NaN) }
  }
  const kept = () => readdirSync(directory()).find(name => name.endsWith('.code'))
  const sources = run('SEAMLESS_IMAGE=none')
  t.match(sources.stdout, /bec5e4/i, 'the sum')
  t.ok(sources.regions > 0)
  t.equal(kept(), undefined, 'without an image nothing is kept')
  t.same(run(), sources)
  const directoryOfCode = join(directory(), kept()!)
  const files = readdirSync(directoryOfCode)
  t.ok(files.length > 0)
  t.same(run(), { ...sources, regions: 0 })
  t.same(run('SEAMLESS_TRANSLATIONS=none'), sources)
  // Half a file, a file of something else, and bytes that were changed are none.
  for (const change of [(bytes: Buffer) => bytes.subarray(0, 100), () => Buffer.from('what?'), flipped]) {
    for (const name of files) {
      const path = join(directoryOfCode, name)
      writeFileSync(path, change(readFileSync(path)))
    }
    t.same(run(), sources)
    t.same(run(), { ...sources, regions: 0 }, 'and written again')
  }
})

const flipped = (bytes: Buffer): Buffer => {
  const changed = Buffer.from(bytes)
  changed[changed.length - 1]! ^= 1
  return changed
}

t.test('the command is of the image too, as long as its sources are what they were', async t => {
  const version = () => node('runner/seamless.js', '--version')
  t.match(version(), { status: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
  writeFileSync(join(directory(), named('command.json')['main'] ?? ''), 'process.exit(42)\n')
  t.equal(version().status, 42, 'it is what runs')
  const source = join(copy, 'reports/tap.ts')
  writeFileSync(source, readFileSync(source))
  t.match(version(), { status: 0, stdout: /^\d+\.\d+\.\d+\n$/ })
})

t.test('an image that this Node does not take is none', async t => {
  writeFileSync(blob(), 'no snapshot')
  t.match(seamless('selftests/a_test.ts', '-t', 'tells'), /^# # from the sources$/m)
  rmSync(blob())
  t.match(seamless('selftests/a_test.ts', '-t', 'tells'), /^# # from the sources$/m)
})

t.test('a manifest of another form is none', async t => {
  const manifest = join(directory(), 'manifest.json')
  const { guests: _, ...older } = named('manifest.json')
  writeFileSync(manifest, JSON.stringify(older))
  t.match(seamless('selftests/a_test.ts', '-t', 'tells'), /^# # from the sources$/m)
  t.match(make(), /^image: made in /)
})
