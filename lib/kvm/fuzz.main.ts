/** `make fuzz-kvm`: so many random ioctls. Arguments: calls, seed. */
import { fuzzIoctls } from './fuzz.ts'

const { calls, answers, done, wrong } = fuzzIoctls(Number(process.argv[3] || 1), Number(process.argv[2] || 1_000_000))
const lines = [...answers].sort(([, a], [, b]) => b - a).map(([name, count]) => `  ${`${count}`.padStart(8)}  ${name}`)
process.stdout.write(
  `${calls} ioctls, ${done.size} different ones done\n${lines.join('\n')}\n${wrong.map(line => `${line}\n`).join('')}`,
)
process.exitCode = wrong.length === 0 ? 0 : 1
