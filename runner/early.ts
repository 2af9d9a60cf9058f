/** The command's first step: it goes on as an image of itself, or a worker starts while the rest of the command loads. */
import { becomeGuests } from './guests.ts'
import { startEarly } from './start.ts'

const argv = process.argv.slice(2)
becomeGuests(argv)
startEarly(argv)
await import('./seamless.ts')
