/**
 * Whole programs: the compute kernels as they run natively, under QEMU, compiled to WebAssembly, and here. Their sources
 * are no part of the project: `SEAMLESS_KERNELS` says where they are, or they lie beside the repository.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { digits, median } from './measure.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const folder = process.env['SEAMLESS_KERNELS'] ?? join(root, '../shared/bench-kernels')
const command = join(root, 'runner/seamless.js')

/** Rounds of the work that take a quarter to half a second natively. */
const SCALES = {
  sieve: 400,
  sha256: 4600,
  matmul: 400,
  qsort: 100,
  crc32: 1800,
  memrep: 36000,
  memloop: 10400,
  nbody: 50000,
  bytecode: 1800,
  fib: 4800,
  muldiv: 12000,
} as const
type Kernel = keyof typeof SCALES
const KERNELS = Object.keys(SCALES) as readonly Kernel[]
/** The program that does nothing: what a peer takes for it is taken off. */
const NOTHING = 'hello'
/** A short guest: so much less than the whole, about 6 ms natively. */
const SHORT = 50

/** One way to run a program. `divide`: kernels of which it runs only a part. */
type Peer = {
  readonly name: string
  /** Why it is not here, or undefined. */
  readonly missing?: string | undefined
  readonly run: (name: string, scale: string) => readonly string[]
  readonly divide: (kernel: Kernel) => number
}

const has = (program: string): boolean => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0
const without = (...programs: string[]): string | undefined => {
  const absent = programs.filter(program => !has(program))
  return absent.length === 0 ? undefined : `no ${absent.join(', no ')}`
}
const whole = (): number => 1

/** QEMU calls a function for each floating-point operation and each element of a REP string: a part of those will do. */
const slowInQemu = (kernel: Kernel): number => (kernel === 'memrep' || kernel === 'nbody' ? 4 : 1)

const peersOf = (place: string): readonly Peer[] => {
  const elf = (name: string): string => join(place, 'linux64', name)
  const bare = (name: string): string => join(place, 'bare64', `${name}.bin`)
  const emulated = (tier: string) => ({
    run: (name: string, scale: string) => [process.execPath, command, 'run-elf', '--tier', tier, elf(name), scale],
  })
  return [
    { name: 'native', run: (name, scale) => [elf(name), scale], divide: whole },
    {
      name: 'WebAssembly',
      missing: without('clang-14', 'wasm-ld-14'),
      run: (name, scale) => [
        process.execPath,
        '--no-liftoff',
        join(folder, 'drivers/wasm.mjs'),
        join(place, 'wasm', `${name}.wasm`),
        scale,
      ],
      divide: whole,
    },
    {
      name: 'qemu-user',
      missing: without('qemu-x86_64'),
      run: (name, scale) => ['qemu-x86_64', elf(name), scale],
      divide: slowInQemu,
    },
    {
      name: 'qemu-system',
      missing: without('qemu-system-x86_64'),
      run: (name, scale) => [
        ...'qemu-system-x86_64 -accel tcg -m 256 -nodefaults -no-user-config -display none -no-reboot'.split(' '),
        ...'-serial stdio -device isa-debug-exit,iobase=0xf4'.split(' '),
        ...['-kernel', bare(name), '-append', scale],
      ],
      divide: slowInQemu,
    },
    { name: 'ours', ...emulated('auto'), divide: whole },
    {
      name: 'ours, bare',
      run: (name, scale) => [process.execPath, command, 'run-multiboot', bare(name), '--append', scale],
      divide: whole,
    },
    { name: 'ours, cold', ...emulated('cold'), divide: () => 8 },
  ]
}

type Run = { readonly ms: number; readonly sum: string }

/** Processor time of a whole process, all its threads, and the checksum it said. */
const timed = (words: readonly string[]): Run => {
  const script = 'TIMEFORMAT="%U %S"; time "$@"'
  const { stdout, stderr } = spawnSync('bash', ['-c', script, '_', ...words], { encoding: 'utf8' })
  const [user = Number.NaN, system = Number.NaN] = (stderr.trim().split('\n').at(-1) ?? '').split(' ').map(Number)
  const sum = stdout.trim().split('\n').at(-1)?.split(' ')[1] ?? ''
  if (!Number.isFinite(user) || sum === '') throw new Error(`${words.join(' ')}: ${stderr}`)
  return { ms: (user + system) * 1000, sum }
}

/** What `run-elf --stats` says: milliseconds of all threads from the first instruction to the last, and what was compiled for them. */
type Stats = { readonly ms: number; readonly instructions: number; readonly bytes: number; readonly compiling: number }
const statsOf = (path: string, scale: number, keeps: boolean): Stats => {
  const words = [command, 'run-elf', '--stats', path, String(scale)]
  // What was compiled once is kept, with the image, for the next time; or not.
  const env = { ...process.env, ...(keeps ? {} : { SEAMLESS_TRANSLATIONS: 'none' }) }
  const { stderr } = spawnSync(process.execPath, words, { encoding: 'utf8', env })
  const number = (pattern: RegExp): number => Number(pattern.exec(stderr)?.[1]?.replaceAll(' ', '') ?? Number.NaN)
  return {
    ms: number(/^ *processor +([\d .]+) ms/m),
    instructions: number(/([\d ]+) instructions?, [\d ]+ bytes of WebAssembly/),
    bytes: number(/([\d ]+) bytes of WebAssembly/),
    compiling: number(/bytes of WebAssembly in ([\d.]+) ms/),
  }
}

const geometric = (figures: readonly number[]): number =>
  Math.exp(figures.reduce((sum, figure) => sum + Math.log(figure), 0) / figures.length)

/** Times of one peer by program, one for each round. */
type Times = Map<string, number[]>

const measure = (peers: readonly Peer[], rounds: number, kernels: readonly Kernel[]): Map<Peer, Times> => {
  const found = new Map<Peer, Times>(peers.map(peer => [peer, new Map()]))
  const sums = new Map<string, string>()
  for (let round = 0; round < rounds; round++)
    for (const name of [NOTHING, ...kernels])
      for (const peer of peers) {
        const divide = name === NOTHING ? 1 : peer.divide(name as Kernel)
        const scale = String(Math.max(1, Math.round((name === NOTHING ? 1 : SCALES[name as Kernel]) / divide)))
        const { ms, sum } = timed(peer.run(name, scale))
        const want = sums.get(`${name} ${scale}`) ?? sum
        sums.set(`${name} ${scale}`, want)
        if (sum !== want) throw new Error(`${name} ${scale}: ${peer.name} says ${sum}, another ${want}`)
        const times = found.get(peer)!
        times.set(name, [...(times.get(name) ?? []), ms])
      }
  return found
}

/** The section of docs/benchmarks.md; of some kernels by name, or all. */
export const kernelSection = (rounds: number, only: readonly string[] = []): string => {
  const kernels = KERNELS.filter(kernel => only.length === 0 || only.includes(kernel))
  if (kernels.length === 0) return `no kernel ${only.join(', ')}; there are ${KERNELS.join(', ')}\n`
  const head = '## Compute kernels\n\n'
  if (!existsSync(join(folder, 'kernels.mk')))
    return `${head}Not measured: no kernels (\`SEAMLESS_KERNELS\` says where they are).\n`
  const absent = without('make', 'gcc', 'bash')
  if (absent !== undefined) return `${head}Not measured: ${absent}.\n`
  const place = mkdtempSync(join(tmpdir(), 'seamless-kernels-'))
  try {
    const all = peersOf(place)
    const kinds = ['linux64', 'bare64', ...(all.some(p => p.name === 'WebAssembly' && !p.missing) ? ['wasm'] : [])]
    const made = spawnSync('make', ['-s', '-C', folder, `B=${place}`, ...kinds], { encoding: 'utf8' })
    if (made.status !== 0) return `${head}Not measured: the kernels cannot be built: ${made.stderr.trim()}\n`
    return head + tableOf(place, all, rounds, kernels)
  } finally {
    rmSync(place, { recursive: true })
  }
}

const tableOf = (place: string, all: readonly Peer[], rounds: number, kernels: readonly Kernel[]): string => {
  const peers = all.filter(peer => peer.missing === undefined)
  const times = measure(peers, rounds, kernels)
  /** Milliseconds of the whole work. */
  const time = (peer: Peer, kernel: Kernel): number => {
    const of = times.get(peer)!
    return Math.max(0.1, (median(of.get(kernel)!) - median(of.get(NOTHING)!)) * peer.divide(kernel))
  }
  const named = (name: string): Peer | undefined => peers.find(peer => peer.name === name)
  const [native, ...others] = peers as [Peer, ...Peer[]]
  const against = (mine: string, theirs: string) => {
    const [a, b] = [named(mine), named(theirs)]
    return a === undefined || b === undefined ? undefined : (kernel: Kernel) => time(a, kernel) / time(b, kernel)
  }
  const ratios: { readonly title: string; readonly of: ((kernel: Kernel) => number) | undefined }[] = [
    ...others.map(peer => ({ title: peer.name, of: (kernel: Kernel) => time(peer, kernel) / time(native, kernel) })),
    { title: 'ours / qemu-user', of: against('ours', 'qemu-user') },
    { title: 'ours, bare / qemu-system', of: against('ours, bare', 'qemu-system') },
  ]
  const stats = (kernel: Kernel, divide: number, keeps: boolean): Stats =>
    statsOf(join(place, 'linux64', kernel), Math.round(SCALES[kernel] / divide), keeps)
  const compiled = new Map(kernels.map(kernel => [kernel, stats(kernel, 1, false)]))
  const short = (keeps: boolean): ReadonlyMap<Kernel, number> =>
    new Map(
      kernels.map(kernel => {
        if (keeps) stats(kernel, SHORT, true)
        const times = Array.from({ length: rounds }, () => stats(kernel, SHORT, keeps).ms)
        return [kernel, (median(times) * SHORT) / time(native, kernel)]
      }),
    )
  const [first, again] = [short(false), short(true)]
  ratios.push({ title: 'ours, short', of: kernel => first.get(kernel)! })
  ratios.push({ title: 'ours, short, again', of: kernel => again.get(kernel)! })
  const cell = (figure: number | undefined): string =>
    figure === undefined || Number.isNaN(figure) ? '–' : digits(figure)
  const lines = [
    `| kernel | native, ms | ${ratios.map(({ title }) => title).join(' | ')} | compiled, instructions | KiB | us each |`,
    `| --- | ${'---: | '.repeat(ratios.length + 4).trim()}`,
    ...kernels.map(kernel => {
      const { instructions, bytes, compiling } = compiled.get(kernel)!
      const figures = ratios.map(({ of }) => cell(of?.(kernel)))
      const cost = [instructions, bytes / 1024, (compiling * 1000) / instructions]
      return `| ${kernel} | ${[digits(time(native, kernel)), ...figures, ...cost.map(cell)].join(' | ')} |`
    }),
    `| geometric mean | | ${ratios.map(({ of }) => cell(of && geometric(kernels.map(of)))).join(' | ')} | | | |`,
  ]
  const start = peers.map(peer => `${peer.name} ${digits(median(times.get(peer)!.get(NOTHING)!))}`)
  const missing = all.filter(peer => peer.missing !== undefined).map(peer => `${peer.name}: ${peer.missing}`)
  return `Processor time of whole processes as multiples of native, less the same peer's time for a program that does nothing;
medians of ${rounds} rounds in which each peer takes its turn. Less is better. "bare" is the multiboot form of the same code,
"cold" the tier before the compiler alone, on an eighth. "short" is a fiftieth of the work, all threads from the guest's first
instruction to its last; "again" the same when it ran before, so that what was compiled is kept. The last three columns say
what was compiled: x86 instructions, the size of their WebAssembly, and microseconds of our compiler for each.

${lines.join('\n')}

A program that does nothing takes, in ms: ${start.join(', ')}.
${missing.length === 0 ? '' : `\nNot here: ${missing.join('; ')}.\n`}`
}
