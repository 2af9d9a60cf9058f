/** reports: turns events into TAP or a terminal page; nothing else prints. */
export * from './events.ts'
export { type Again, againCommand, failureLines } from './failure.ts'
export { progressLine, REPORTS } from './formats.ts'
export { harnessLines, harnessReport } from './harness.ts'
export { RecordError, readRecord } from './jsonl.ts'
export type { Report, Write } from './report.ts'
export { emptyTally, exitCode, isOk, statusOf, type Tally } from './tally.ts'
