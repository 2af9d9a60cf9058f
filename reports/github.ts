/** Annotations of GitHub Actions: workflow commands that put each failure at its line of the source. */
import { failureLines } from './failure.ts'
import type { Report, Write } from './report.ts'
import { gather } from './results.ts'
import { isOk } from './tally.ts'

/** GitHub Docs, "Workflow commands for GitHub Actions": data escapes %, CR and LF; properties also : and ,. */
const data = (text: string): string => text.replace(/[%\r\n]/g, encodeURIComponent)
const property = (text: string): string => text.replace(/[%\r\n:,]/g, encodeURIComponent)

export const githubReport = (write: Write): Report => {
  const annotate = (file: string, line: number | undefined, title: string, message: string) => {
    const at = line === undefined ? '' : `,line=${line}`
    write(`::error file=${property(file)}${at},title=${property(title)}::${data(message)}\n`)
  }
  return {
    event: gather((file, run) => {
      for (const test of file.tests) {
        if (isOk(test.status)) continue
        const again = { file: file.file, test: test.name, ...run }
        for (const failure of test.failures) {
          const site = failure.site ?? failure.host?.site ?? test.site
          annotate(site?.file ?? file.file, site?.line, test.name, failureLines(failure, again).join('\n'))
        }
        if (test.failures.length === 0)
          annotate(test.site?.file ?? file.file, test.site?.line, test.name, test.reason || test.status)
      }
      const { failure } = file
      if (failure !== undefined)
        annotate(
          file.file,
          failure.site?.line,
          file.name,
          failureLines(failure, { file: file.file, ...run }).join('\n'),
        )
      else if (!isOk(file.status) && file.tests.every(test => isOk(test.status)))
        annotate(file.file, undefined, file.name, file.reason || file.status)
    }),
  }
}
