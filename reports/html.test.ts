import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { Event } from './events.ts'
import { REPORTS } from './formats.ts'
import { lanesOf } from './html/timeline.ts'
import type { FileResult } from './results.ts'
import { RUN } from './testdata/run.ts'

const render = async (events: readonly Event[]): Promise<string> => {
  let text = ''
  const report = await REPORTS['html']!(more => {
    text += more
  })
  for (const event of events) report.event(event)
  return text
}

/** A file of `count` tests, each with this name, reason and output; every tenth fails. */
const manyTests = (count: number, word: string): Event[] => {
  const file = 'a_test.ts'
  const tests = Array.from({ length: count }, (_, n): Event[] => {
    const test = `${word}.${n}`
    const status = n % 10 === 9 ? 'fail' : 'pass'
    return [
      { type: 'test', file, test, time: 0 },
      { type: 'output', file, test, stream: 'stdout', text: word },
      { type: 'end', file, test, status, reason: word, duration: 1, instructions: n },
    ]
  }).flat()
  return [
    { type: 'run', version: 1, seed: '0x1', files: [file], time: 0 },
    { type: 'file', file, collection: word, name: word, tests: [], time: 0 },
    ...tests,
    { type: 'file-end', file, status: 'fail', reason: word, duration: 1, time: 0 },
    { type: 'run-end', interrupted: false, duration: 1, time: 0 },
  ]
}

/** As many programs, of which one fails: though all it printed is well. */
const manyPrograms = (count: number): Event[] => {
  const files = Array.from({ length: count }, (_, n) => `c/p${n}`)
  const programs = files.map((file, n): Event[] => [
    { type: 'file', kind: 'executable', file, collection: 'c', name: `p${n}`, tests: [], time: n },
    { type: 'output', file, stream: 'stdout', text: 'said\n' },
    { type: 'file-end', file, status: n === 9 ? 'fail' : 'pass', duration: 1, time: n + 1 },
  ])
  return [
    { type: 'run', version: 1, seed: '0x1', files, time: 0 },
    ...programs.flat(),
    { type: 'run-end', interrupted: false, duration: count, time: count },
  ]
}

const part = (path: readonly string[], status: 'pass' | 'fail', reason?: string): Event => ({
  type: 'subtest',
  file: 'a_test.ts',
  test: 'x.0',
  path,
  number: 1,
  status,
  ...(reason !== undefined && { reason }),
})
const withParts = manyTests(1, 'x').flatMap(event =>
  event.type === 'end' ? [part(['outer', 'inner'], 'pass'), part(['outer'], 'fail', 'why'), event] : [event],
)

t.test('programs count as the tests they are, and parts of a test stand with it', async t => {
  const page = await render(manyPrograms(20))
  t.match(page, /<title>failed: 19 passed, 1 failed<\/title>/)
  t.match(page, /<article id="failure-0"[^>]* data-words="c p9 fail">/)
  t.match(await render(withParts), /"parts":\[\[2,"pass","inner"\],\[1,"fail","outer {2}why"\]\]/)
})

t.test('the page stands alone and says what came of the run', async t => {
  const page = await render(RUN)
  t.notMatch(page, /(?:src|href)="(?!#)/, 'nothing is fetched')
  t.match(page, /Content-Security-Policy" content="default-src 'none'/)
  t.match(page, /Expected sent \+ 1n \(0xabce\) == g\.in\(PORT, size\) \(0xabcd\)/)
  t.match(page, /KVM_EXIT_IO {2}out {2}port 0x32/)
  t.match(page, /<code>seamless selftests\/port_io_test\.ts -r port_io\.word\.round_trip --seed 0x5eed<\/code>/)
  t.match(page, /role="img" aria-label="Timeline of 4 files/)
})

const WILD = '</script><script>document.title="owned"</script><!--<img src=x onerror=alert(1)>"\'&\u2028\x1b[31m\x00'

t.test('names, reasons and output are text, whatever they hold', async t => {
  const page = await render(manyTests(10, WILD))
  t.equal(page.match(/<script/g)?.length, 2, 'the two elements of the page')
  t.equal(page.match(/<\/script/g)?.length, 2)
  for (const raw of ['<img', '<!--', '\x00', '\x1b']) t.notOk(page.includes(raw), JSON.stringify(raw))
})

t.test('files that ran at once stand in lanes of their own', async t => {
  const file = (time: number, duration: number) => ({ time, duration }) as FileResult
  const bars = lanesOf([file(100, 50), file(100, 10), file(120, 5), file(150, 1)], 100)
  t.same(
    bars.map(bar => [bar.start, bar.lane]),
    [
      [0, 0],
      [0, 1],
      [20, 1],
      [50, 0],
    ],
  )
})

const BROWSER = ['chromium', 'chromium-browser', 'google-chrome'].find(
  name => spawnSync(name, ['--version']).status === 0,
)
const QUIET =
  '--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync'

t.test('a real browser', { skip: BROWSER === undefined && 'no Chromium is installed' }, async t => {
  const place = mkdtempSync(join(tmpdir(), 'seamless-html-'))
  t.teardown(() => rmSync(place, { recursive: true, maxRetries: 5, force: true }))
  /** The page as it is after its script ran. */
  const open = (page: string, hash = ''): string => {
    const file = join(place, 'report.html')
    writeFileSync(file, page)
    const args = [
      ...QUIET.split(' '),
      `--user-data-dir=${join(place, 'profile')}`,
      '--dump-dom',
      `file://${file}${hash}`,
    ]
    return spawnSync(BROWSER!, args, { encoding: 'utf8', maxBuffer: 2 ** 28 }).stdout
  }

  t.match(open(await render(RUN)), /<output id="shown"[^>]*>9 of 9 tests</)
  const found = open(await render(RUN), '#q=round_trip+byte&open')
  t.match(found, /<output id="shown"[^>]*>1 of 9 tests</)
  t.match(
    found,
    /<ul class="tests"><li><div class="row"><span class="status pass">pass<\/span><span class="name">port_io\.byte\.round_trip/,
  )
  const wild = open(await render(manyTests(20, WILD)), '#q=&open')
  t.match(wild, /<title>failed: 18 passed, 2 failed<\/title>/)
  t.match(wild, />20 of 20 tests</)
  const steps = open(await render(withParts), '#q=&open')
  t.match(
    steps,
    /<ul class="parts"><li style="margin-left: 2rem;"><span class="status pass">pass<\/span><span class="name">inner/,
  )
  t.match(steps, /<li style="margin-left: 1rem;"><span class="status fail">fail<\/span><span class="name">outer {2}why/)

  // However many there are, the page holds a few hundred of them: what is in view, and what is asked for.
  for (const [events, most] of [
    [manyTests(10_000, 'many'), 10_000],
    [manyPrograms(10_000), 5_000],
  ] as const) {
    const page = open(await render(events))
    t.match(page, />10000 of 10000 tests</)
    const elements = page.match(/<\w/g)?.length ?? 0
    t.ok(elements < most, `${elements} elements`)
  }
  t.match(open(await render(manyTests(10_000, 'many')), '#q=many.9999&open'), />1 of 10000 tests</)
})
