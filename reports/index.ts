/** reports: turns events into TAP or a terminal page; nothing else prints. */
export { closing } from './closing.ts'
export * from './events.ts'
export { type Again, againCommand, failureLines } from './failure.ts'
export { progressLine, REPORTS } from './formats.ts'
export { harnessLines, harnessReport } from './harness.ts'
export { jsonlReport, RecordError, readRecord } from './jsonl.ts'
export type { Report, Write } from './report.ts'
export { emptyTally, exitCode, isOk, statusOf, type Tally } from './tally.ts'
