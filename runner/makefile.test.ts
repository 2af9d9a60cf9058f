/** The Makefile as a kselftest directory, and what it installs, by the real make. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { objections } from './testdata/readers.ts'

// Installing takes its time on a busy machine.
t.setTimeout(120_000)

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const scratch = mkdtempSync(join(tmpdir(), 'seamless-make-'))
t.teardown(() => rmSync(scratch, { recursive: true }))

const { MAKEFLAGS: _flags, MAKELEVEL: _level, MFLAGS: _mflags, ...env } = process.env
const make = (...args: string[]) => spawnSync('make', args, { cwd: ROOT, encoding: 'utf8', env, timeout: 60_000 })
const which = (name: string) => spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim()
const sorted = (directory: string) => readdirSync(directory).sort()

t.test('emit_tests lists the selftests, TARGETS and SKIP_TARGETS choose', async t => {
  const all = make('emit_tests').stdout
  t.match(all, /^seamless:tdx_vm_test\.js$/m)
  t.equal(make('emit_tests', 'TARGETS=seamless').stdout, all.replace(/^(?!seamless:).*\n/gm, ''))
  t.match(make('emit_tests', 'TARGETS=seamles').stderr, /no such target 'seamles' \(did you mean seamless\?\)/)
  t.match(make('emit_tests', 'TARGETS=seamless', 'SKIP_TARGETS=seamless').stderr, /no target left/)
})

t.test('run_tests runs them, TAP and nothing else on standard output', async t => {
  const { stdout, status } = make(
    'run_tests',
    'TARGETS=seamless',
    'TESTS=-r global.verify_td_lifecycle',
    `O=${scratch}/o`,
  )
  t.equal(status, 0)
  t.same(objections(stdout), [])
  t.match(stdout, /^ok 1 selftests: seamless: tdx_vm_test\.ts$/m)
  t.same(sorted(join(scratch, 'o/kselftest')), ['.seamless'], 'the record is where the output goes')
  t.equal(make('-n', 'kselftest-install', 'O=o').stdout, make('-n', 'install', 'O=o').stdout)
  t.match(
    make('-n', 'run_tests', 'SKIP_TARGETS=a b', 'quicktest=1').stdout,
    /-E 'all\(\) - suite\(a\) - suite\(b\) - tag\(slow\)'/,
  )
})

t.test('what is installed runs by itself, wherever it is and whoever calls', async t => {
  const tree = join(scratch, 'an install')
  const installed = make('install', `INSTALL_PATH=${join(scratch, 'install')}`, 'RUNTIME=1')
  t.equal(installed.status, 0, installed.stderr)
  t.equal(installed.stdout, '')
  spawnSync('mv', [join(scratch, 'install'), tree])
  const there = sorted(tree)
  for (const name of ['kselftest-list.txt', 'package.json', 'run_kselftest.sh', 'runtime', 'seamless'])
    t.ok(there.includes(name), name)
  // Not even Node: what the scripts call, and no more.
  const bare = t.testdir({})
  for (const name of ['sh', 'dirname', 'readlink', 'mkfifo']) symlinkSync(which(name), join(bare, name))
  const carried = spawnSync(join(tree, 'run_kselftest.sh'), ['-t', 'seamless:port_io_test.js'], {
    encoding: 'utf8',
    env: { PATH: bare },
  })
  t.match(carried.stdout, /^ok 1 selftests: seamless: port_io_test\.js$/m, carried.stderr)
  rmSync(join(tree, 'runtime/node'))
  // Only Node: no sources, no packages, no command of ours.
  const path = `${dirname(process.execPath)}:/usr/bin:/bin`
  const run = (command: string, ...args: string[]) =>
    spawnSync(command, args, { cwd: '/', encoding: 'utf8', env: { PATH: path }, timeout: 60_000 })
  const whole = run(join(tree, 'run_kselftest.sh'), '-t', 'seamless:tdx_vm_test.js', '-t', 'seamless:port_io_test.js')
  t.equal(whole.status, 0, whole.stderr)
  t.match(whole.stdout, /^# ok 2 port_io\.word\.round_trip$/m)
  t.match(whole.stdout, /^ok 2 selftests: seamless: tdx_vm_test\.js$|^ok 1 selftests: seamless: tdx_vm_test\.js$/m)
  t.same(objections(whole.stdout), [])
  const program = run(join(tree, 'seamless/port_io_test.js'), '-v', 'word')
  t.match(program.stdout, /^1\.\.1\n/m)
  t.match(program.stdout, /^ok 1 port_io\.word\.round_trip$/m)
  t.match(run(join(tree, 'runtime/seamless'), '--help').stdout, /^seamless \[run\]/)
  t.equal(
    run(join(tree, 'runtime/seamless'), '--version').stdout.trim(),
    JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version,
  )
  t.notMatch(readFileSync(join(tree, 'runtime/lib/main.js'), 'utf8'), ROOT, 'no path of where it was made')
})

t.test('summary=1 puts the output of each test into a file in /tmp, as upstream does', async t => {
  const log = '/tmp/hello_test.js'
  rmSync(log, { force: true })
  const { stdout, status, stderr } = make(
    'run_tests',
    'summary=1',
    'TARGETS=examples',
    'TESTS=-t examples:hello_test.js',
    `INSTALL_PATH=${join(scratch, 'summary')}`,
  )
  t.equal(status, 0, stderr)
  t.match(stdout, /^ok 1 selftests: examples: hello_test\.js$/m)
  t.notMatch(stdout, /^# ok /m)
  t.match(readFileSync(log, 'utf8'), /^# ok 1 global\./m)
  rmSync(log)
})

t.test('the names of a kernel’s Makefile are all there', async t => {
  for (const name of ['all', 'install', 'clean', 'gen_tar', 'emit_tests', 'run_tests'])
    t.equal(make('-n', `kselftest-${name}`).status, 0, name)
  for (const name of ['kselftest-merge', 'hotplug', 'run_hotplug', 'clean_hotplug', 'run_pstore_crash', 'headers']) {
    const { status, stdout } = make(name)
    t.same([status, stdout], [0, ''], name)
  }
})

t.test('gen_tar packs what is installed', async t => {
  const target = join(scratch, 'packed')
  t.equal(make('gen_tar', `INSTALL_PATH=${target}`, 'FORMAT=.xz').status, 0)
  const tar = join(target, 'kselftest-packages/kselftest.tar.xz')
  t.ok(existsSync(tar))
  const { stdout } = spawnSync('tar', ['tf', tar], { encoding: 'utf8' })
  t.match(stdout, /^\.\/seamless\/tdx_vm_test\.js$/m)
  t.notMatch(stdout, /kselftest-packages\/kselftest/)
  const unpacked = t.testdir({})
  spawnSync('tar', ['xf', tar, '-C', unpacked])
  const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` }
  const ran = spawnSync('./run_kselftest.sh', ['-t', 'seamless:port_io_test.js'], {
    cwd: unpacked,
    encoding: 'utf8',
    env,
  })
  t.match(ran.stdout, /^ok 1 selftests: seamless: port_io_test\.js$/m, ran.stderr)
})
