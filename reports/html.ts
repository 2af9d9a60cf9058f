/**
 * One HTML file that needs nothing else: what came of the run, a filter, when what ran, each failure with what led to it,
 * every test with its output. Works without a network and, but for filter and lists, without scripts.
 */
import { againCommand, failureLines } from './failure.ts'
import { SCRIPT } from './html/script.ts'
import { STYLE } from './html/style.ts'
import { lanesOf, timeline } from './html/timeline.ts'
import type { Report, Write } from './report.ts'
import { type FileResult, gather, isFlaky, type RunResult, restOf, type TestResult, testsOf } from './results.ts'
import { emptyTally, isOk } from './tally.ts'
import { lines } from './text.ts'

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}
const html = (text: string): string =>
  lines(text)
    .join('\n')
    .replace(/[&<>"']/g, c => ESCAPES[c]!)
/** JSON that may stand inside a script element: no `<` in it, so no tag and no comment can begin. */
const json = (value: unknown): string =>
  JSON.stringify(value)
    .replaceAll('<', '\\u003c')
    .replace(/[\u2028\u2029]/g, '')

type Again = Parameters<typeof failureLines>[1]
/** One article: a test that failed, or a file that failed as a whole. */
type Fault = {
  readonly name: string
  readonly file: string
  readonly status: string
  readonly blocks: readonly string[][]
  readonly again: Again
}

const againOf = (file: FileResult, test: TestResult | undefined, run: RunResult): Again => ({
  file: file.file,
  ...(test && { test: test.name, site: test.site }),
  seed: run.seed,
  options: run.options,
})

/** The last line of a failure is the command; the page has it in a place of its own. */
const block = (failure: Parameters<typeof failureLines>[0], again: Again): string[] =>
  failureLines(failure, again).slice(0, -1)

const faultsOf = (file: FileResult, run: RunResult): Fault[] => {
  const tests = file.tests.filter(test => !isOk(test.status))
  const faults = tests.map((test): Fault => {
    const again = againOf(file, test, run)
    const blocks = test.failures.map(failure => block(failure, again))
    return {
      name: test.name,
      file: file.name,
      status: test.status,
      blocks: blocks.length > 0 ? blocks : [[test.reason || test.status]],
      again,
    }
  })
  if (file.failure !== undefined || (!isOk(file.status) && faults.length === 0)) {
    const again = againOf(file, undefined, run)
    const said =
      file.failure === undefined ? [file.reason || file.status, ...lines(file.output)] : block(file.failure, again)
    faults.push({ name: file.name, file: file.collection, status: file.status, blocks: [said], again })
  }
  return faults
}

/** Lines of a difference are marked as such, for the eye and for the ear. */
const marked = (line: string): string => {
  const sign = /^ {2}([-+]) /.exec(line)?.[1]
  if (sign === '-') return `<del>${html(line)}</del>`
  return sign === '+' ? `<ins>${html(line)}</ins>` : html(line)
}

const article = ({ name, file, status, blocks, again }: Fault, number: number): string => `
<article id="failure-${number}" tabindex="-1" aria-labelledby="title-${number}" data-words="${html(`${file} ${name} ${status}`.toLowerCase())}">
<h3 id="title-${number}"><span class="${status}">${status}</span> ${html(name)} <span class="muted">${html(file)}</span></h3>
${blocks.map(text => `<pre>${text.map(marked).join('\n')}</pre>`).join('\n')}
<div class="again"><span>again</span><code>${html(againCommand(again))}</code><button type="button" class="copy">copy</button></div>
</article>`

const SHOWN = [
  ['fail', 'failed'],
  ['flaky', 'flaky'],
  ['skip', 'skipped'],
  ['pass', 'passed'],
] as const

const oneLine = (text: string): string => lines(text).join(' ')

/** A test as the list shows it. */
const shown = (test: TestResult) => {
  const { name, status, reason, duration, instructions, output, parts = [] } = test
  return {
    name: oneLine(name),
    status,
    ...(reason && { reason: oneLine(reason) }),
    duration,
    instructions,
    ...(output !== '' && { output: lines(output).join('\n') }),
    ...(isFlaky(test) && { flaky: true }),
    // Depth, status, words.
    ...(parts.length > 0 && {
      parts: parts.map(({ path, status, reason = '' }) => [
        path.length,
        status,
        oneLine(`${path.at(-1)}${reason && `  ${reason}`}`),
      ]),
    }),
  }
}

export const htmlReport = (write: Write): Report => {
  const files: FileResult[] = []
  const event = gather(
    file => files.push(file),
    (run, end) => write(page(files, run, end.duration, end.interrupted ? (end.reason ?? 'interrupted') : '')),
  )
  return { event }
}

const page = (files: readonly FileResult[], run: RunResult, duration: number, cut: string): string => {
  const faults: Fault[] = []
  let flaky = 0
  const tally = emptyTally()
  const bars = new Map(lanesOf(files, run.time).map(bar => [bar.file, bar]))
  const data = files.map(file => {
    let next = faults.length
    const own = faultsOf(file, run)
    faults.push(...own)
    const tests = testsOf(file)
    const said = restOf(file, tests)
    return {
      title: oneLine(`${file.collection}: ${file.name}`),
      status: file.status,
      duration: file.duration,
      start: bars.get(file)?.start ?? 0,
      lane: (bars.get(file)?.lane ?? 0) + 1,
      tests: tests.map(test => {
        tally[test.status]++
        if (isFlaky(test)) flaky++
        return { ...shown(test), ...(isOk(test.status) ? {} : { failure: next++ }) }
      }),
      ...(said !== '' && { output: lines(said).join('\n') }),
    }
  })
  const bad = tally.fail + tally.timeout + tally.error
  const verdict = cut !== '' ? `cut short: ${cut}` : faults.length > 0 ? 'failed' : 'passed'
  const counts: [string, number, string][] = [
    ['passed', tally.pass, 'pass'],
    ['failed', bad, 'fail'],
    ['flaky', flaky, 'flaky'],
    ['skipped', tally.skip, 'skip'],
    ['failed as expected', tally.xfail, 'xfail'],
    ['passed unexpectedly', tally.xpass, 'xpass'],
  ]
  const told = counts.filter(([name, count]) => count > 0 || name === 'passed' || name === 'failed')
  const begin = new Date(run.time).toISOString().replace(/\.\d+Z$/, 'Z')
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<title>${html(verdict)}: ${tally.pass} passed, ${bad} failed</title>
<style>${STYLE}</style>
</head>
<body>
<a class="skip-link" href="#failures">to the failures</a>
<header>
<h1>Selftests: <span class="${faults.length > 0 || cut !== '' ? 'fail' : 'pass'}">${html(verdict)}</span></h1>
<ul class="verdict">${told.map(([name, count, kind]) => `<li class="${kind}"><b>${count}</b> ${name}</li>`).join('')}<li class="muted">${files.length} files in ${(duration / 1000).toFixed(2)} s, ${begin}, seed ${html(run.seed)}</li></ul>
</header>
<main>
<form id="filter" role="search" aria-label="Filter tests">
<label for="words">Filter</label><input type="search" id="words" placeholder="words of file, test or status ( / )" autocomplete="off">
${SHOWN.map(([value, name]) => `<label><input type="checkbox" name="status" value="${value}" checked> ${name}</label>`).join('\n')}
<output id="shown" aria-live="polite"></output>
</form>
<section aria-labelledby="failures"><h2 id="failures">${faults.length === 0 ? 'No failures' : `Failures (${faults.length})`}</h2>${faults.length > 1 ? '<p class="muted">n and p go from one to the next.</p>' : ''}
${faults.map(article).join('\n')}
</section>
<section aria-labelledby="timeline"><h2 id="timeline">Timeline</h2>
${timeline([...bars.values()], html)}
</section>
<section aria-labelledby="tests"><h2 id="tests">Tests</h2>
<div id="files"><noscript>The list of tests needs scripts.</noscript></div>
</section>
</main>
<script type="application/json" id="data">${json(data)}</script>
<script>${SCRIPT}</script>
</body>
</html>
`
}
