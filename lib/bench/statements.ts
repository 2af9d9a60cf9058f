/** Builds guests in a process of its own, and prints how long each took in milliseconds: for `build.ts`. */
import { buildGuest, c, compile, type GuestBuilder, u64 } from '#guest'

const STATEMENTS = 10_000

/** A guest of so many statements of the builder's language: arithmetic, memory, assertions, branches. */
const statements = (count: number) => (g: GuestBuilder) => {
  const at = g.memory('at', 4096)
  const x = g.var(u64, 1n)
  for (let i = 0; i < count; i += 6) {
    const cell = at + BigInt((i * 8) % 4096)
    x.set(x.add(BigInt(i)))
    g.store(cell, 8, x)
    const seen = g.load(cell, 8)
    g.assert.eq(seen, x)
    g.when(x.gt(10n), () => x.set(x.xor(3n)))
  }
  g.done()
}

const timed = (work: () => unknown): number => {
  const start = performance.now()
  work()
  return performance.now() - start
}

/** Of processor time: what else the machine does at the moment is not the builder's. */
const build = (count: number): number => {
  const start = process.threadCpuUsage()
  buildGuest(statements(count), { vcpus: 1, sharedBit: 1n << 47n })
  const { user, system } = process.threadCpuUsage(start)
  return (user + system) / 1000
}

/** The first guest of a process, the next one, and one when the process is warm. */
const builder = (): number[] => {
  const first = build(STATEMENTS)
  const second = build(STATEMENTS)
  for (let i = 0; i < 8; i++) build(STATEMENTS)
  return [first, second, build(STATEMENTS)]
}

/** `file` compiled for the first time, and again. */
const compiled = (file: string): number[] => [timed(() => compile(c(file))), timed(() => compile(c(file)))]

const [what, file = ''] = process.argv.slice(2)
console.log(JSON.stringify(what === 'builder' ? builder() : compiled(file)))
