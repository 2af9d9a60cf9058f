/** GitHub's job summary: the run in Markdown, failures unfolded. GitHub Docs, "Adding a job summary". */
import { againCommand, failureLines } from './failure.ts'
import type { Report, Write } from './report.ts'
import { type FileResult, gather, isFlaky, type RunResult, testsOf } from './results.ts'
import { emptyTally, isOk, totals } from './tally.ts'
import { lines } from './text.ts'

/** Text inside a table or a heading: nothing in it may be taken for Markdown or HTML. */
const text = (value: string): string =>
  lines(value)
    .join(' ')
    .replace(/[\\`*_{}[\]()#+!|~<>&-]/g, c => (c === '<' ? '&lt;' : c === '&' ? '&amp;' : `\\${c}`))

/** A fenced block that what is in it cannot close. */
const fenced = (content: readonly string[]): string => {
  const body = content.flatMap(lines).join('\n')
  const longest = Math.max(0, ...(body.match(/`+/g) ?? []).map(run => run.length))
  const fence = '`'.repeat(Math.max(3, longest + 1))
  return `${fence}\n${body}\n${fence}`
}

const failuresOf = (file: FileResult, run: RunResult): string[] => {
  const out: string[] = []
  for (const test of file.tests) {
    if (isOk(test.status)) continue
    const again = { file: file.file, test: test.name, site: test.site, ...run }
    const said = test.failures.flatMap(failure => failureLines(failure, again))
    out.push(
      `### ${text(test.name)} (${test.status})`,
      fenced(said.length > 0 ? said : [test.reason || test.status, `  again  ${againCommand(again)}`]),
    )
  }
  if (file.failure !== undefined || (!isOk(file.status) && out.length === 0)) {
    const again = { file: file.file, ...run }
    const said = file.failure === undefined ? [file.reason || file.status] : failureLines(file.failure, again)
    out.push(`### ${text(file.name)} (${file.status})`, fenced(said))
  }
  return out
}

export const summaryReport = (write: Write): Report => {
  const tally = emptyTally()
  const rows: string[] = []
  const failures: string[] = []
  const flaky: string[] = []
  return {
    event: gather(
      (file, run) => {
        const tests = testsOf(file)
        for (const test of tests) tally[test.status]++
        flaky.push(...tests.filter(isFlaky).map(test => `- ${text(test.name)} (${text(file.name)})`))
        const bad = tests.filter(test => !isOk(test.status)).length
        const name = text(`${file.collection}: ${file.name}`)
        rows.push(`| ${name} | ${file.status} | ${tests.length} | ${bad} | ${Math.round(file.duration)} |`)
        failures.push(...failuresOf(file, run))
      },
      (run, end) => {
        const out = [`# Selftests: ${totals(tally).replace('Totals: ', '')}`, '']
        if (end.interrupted) out.push(`Cut short: ${text(end.reason ?? 'interrupted')}.`, '')
        if (failures.length > 0) out.push('## Failures', '', ...failures.flatMap(part => [part, '']))
        if (flaky.length > 0) out.push('## Passed only when run again', '', ...flaky, '')
        out.push(
          '## Files',
          '',
          '| file | status | tests | not ok | ms |',
          '| --- | --- | ---: | ---: | ---: |',
          ...rows,
          '',
        )
        out.push(`Seed \`${run.seed.replaceAll('`', '')}\`.`)
        write(`${out.join('\n')}\n`)
      },
    ),
  }
}
