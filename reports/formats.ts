/** The reports there are, by the name a user asks for. Each is loaded when it is asked for. */
import type { Report, Write } from './report.ts'

export const REPORTS: Readonly<Record<string, (write: Write) => Promise<Report>>> = {
  tap: async write => (await import('./tap.ts')).tapReport(write),
  harness: async write => (await import('./harness.ts')).harnessReport(write),
  ktap: async write => (await import('./nested.ts')).ktapReport(write),
  tap14: async write => (await import('./nested.ts')).tap14Report(write),
  junit: async write => (await import('./junit.ts')).junitReport(write),
  'junit-ant': async write => (await import('./junit.ts')).junitReport(write, true),
  html: async write => (await import('./html.ts')).htmlReport(write),
  github: async write => (await import('./github.ts')).githubReport(write),
  summary: async write => (await import('./summary.ts')).summaryReport(write),
  terminal: async () => (await import('./terminal.ts')).terminalPage(false),
  jsonl: async write => (await import('./jsonl.ts')).jsonlReport(write),
}

/** The line that shows progress while results go elsewhere. */
export const progressLine = async (): Promise<Report> => (await import('./terminal.ts')).terminalPage(true)
