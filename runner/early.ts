/** The command's first step: a worker starts while the rest of the command loads. */
import { startEarly } from './start.ts'

startEarly(process.argv.slice(2))
await import('./seamless.ts')
