/** Reads the words of the commands that run code outside of a test: their options, and what is wrong with them. */
import { readFileSync, writeSync } from 'node:fs'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { EXIT_INTERNAL, messageOf, UsageError } from './errors.ts'

type Options = NonNullable<ParseArgsConfig['options']>
export type Words = {
  readonly values: Readonly<Record<string, string | boolean | (string | boolean)[] | undefined>>
  readonly positionals: readonly string[]
}

/** Takes a command's words apart; undefined if they ask for help, which is then printed. Throws `UsageError`. */
export const words = (argv: readonly string[], options: Options, help: string): Words | undefined => {
  let parsed: Words
  try {
    parsed = parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: { ...options, help: { type: 'boolean', short: 'h' } },
    })
  } catch (error) {
    // Node's message goes on with advice about words that begin with a dash.
    throw new UsageError(messageOf(error).split('. ')[0]!.replace(/^U/, 'u'))
  }
  if (parsed.values['help'] !== true) return parsed
  process.stdout.write(`${help.trim()}\n`)
  return undefined
}

export const textOf = ({ values }: Words, name: string): string | undefined => {
  const value = values[name]
  return typeof value === 'string' ? value : undefined
}
export const textsOf = ({ values }: Words, name: string): readonly string[] => {
  const value = values[name]
  return Array.isArray(value) ? value.filter(item => typeof item === 'string') : []
}
export const isSet = ({ values }: Words, name: string): boolean => values[name] === true

/** A hexadecimal number, with or without 0x. Throws `UsageError`. */
export const hexNumber = (name: string, text: string): bigint => {
  if (!/^(0x)?[0-9a-f_]{1,20}$/i.test(text)) throw new UsageError(`--${name} ${text}: not a hexadecimal number`)
  return BigInt(`0x${text.replace(/^0x/i, '').replaceAll('_', '')}`)
}

/** A decimal number of at least `least` and at most `most`. Throws `UsageError`. */
export const decimal = (line: Words, name: string, least: number, most: number): number | undefined => {
  const text = textOf(line, name)
  if (text === undefined) return undefined
  const value = Number(text)
  if (!/^\d+(\.\d+)?$/.test(text) || value < least || value > most)
    throw new UsageError(`--${name} ${text}: not a number from ${least} to ${most}`)
  return value
}
export const whole = (line: Words, name: string, least: number, most: number): number | undefined => {
  const value = decimal(line, name, least, most)
  if (value !== undefined && !Number.isInteger(value)) throw new UsageError(`--${name} ${value}: not a whole number`)
  return value
}

/** The tiers instructions can be executed in. */
export const TIERS = ['interpret', 'cold', 'compile', 'auto', 'lockstep', 'coldstep'] as const
export type TierWord = (typeof TIERS)[number]
export const tierOf = (line: Words, usual: TierWord): TierWord => {
  const text = textOf(line, 'tier') ?? usual
  const tier = TIERS.find(name => name === text)
  if (tier === undefined) throw new UsageError(`--tier ${text}: there are ${TIERS.join(', ')}`)
  return tier
}

/** Runs a command whose guest may reach what is not modelled: one line, and the status of a fault of ours. */
export const sayingGaps = async (file: string, run: () => Promise<number>): Promise<number> => {
  try {
    return await run()
  } catch (error) {
    if (!(error instanceof Error) || error.name !== 'NotModelled') throw error
    process.stderr.write(`seamless: ${file}: not modelled: ${error.message}\n`)
    return EXIT_INTERNAL
  }
}

/** The one file a command is for. Throws `UsageError`. */
export const theFile = ({ positionals }: Words, command: string): string => {
  const [file, ...more] = positionals
  if (file === undefined) throw new UsageError(`${command}: name a file; --help says more`)
  if (more.length > 0) throw new UsageError(`${command}: one file, and ${more[0]} is one more`)
  return file
}

/** A file's bytes. Throws `UsageError` where it cannot be read. */
export const bytesOf = (file: string): Uint8Array => {
  try {
    return readFileSync(file)
  } catch (error) {
    throw new UsageError(`${file}: ${messageOf(error).replace(/^E[A-Z]+: /, '')}`)
  }
}

/** Writes all of the bytes to a file descriptor before it returns, waiting where a reader is slow. */
export const writeAll = (fd: number, bytes: Uint8Array): void => {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'EAGAIN') throw error
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
    }
  }
}

/** Lines of `--stats`, on stderr: names and figures. */
export const showStats = (figures: Readonly<Record<string, string | number>>): void => {
  const width = Math.max(...Object.keys(figures).map(name => name.length))
  for (const [name, figure] of Object.entries(figures)) {
    const text = typeof figure === 'number' ? figure.toLocaleString('en-US').replaceAll(',', ' ') : figure
    process.stderr.write(`  ${name.padEnd(width)}  ${text}\n`)
  }
}
/** Counts by name in one line, most first. */
export const countsOf = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .sort(([, a], [, b]) => b - a)
    .map(([name, count]) => `${count} ${name}`)
    .join(', ') || 'none'
/** What the compiler and the cold tier did, for `showStats`; nothing where they did nothing. */
export const compiledFigures = (stats: Compiled, watch: Watch, ms: number): Readonly<Record<string, string>> => {
  const { cold } = stats
  if (stats.regions + stats.shared + cold.blocks === 0) return {}
  const whole = (figure: number): string => figure.toFixed(0)
  const { compiledMs = 0, coldMs = 0 } = watch
  const rest = ms - compiledMs - stats.ms - coldMs - cold.ms
  return {
    'time by tier': `${whole(compiledMs)} ms compiled code, ${whole(stats.ms)} ms compiling, ${whole(coldMs)} ms handlers, ${whole(cold.ms)} ms writing them, ${whole(rest)} ms interpreter and all else`,
    compiled: `${stats.regions} regions, ${stats.instructions} instructions, ${stats.bytes} bytes of WebAssembly in ${whole(stats.ms)} ms`,
    'run compiled': `${stats.retired} instructions in ${stats.entered} calls`,
    'left compiled code': countsOf(stats.exits),
    'done in place':
      stats.helps.count === 0 ? 'none' : `${stats.helps.count} instructions: ${most(stats.helps.byName)}`,
    'made for handlers': `${cold.blocks} blocks, ${cold.records} records; ${cold.handlers} handlers, ${cold.bytes} bytes of WebAssembly`,
    'run by handlers': `${cold.retired} instructions in ${cold.entered} calls`,
    interpreted: most(watch.interpreted),
  }
}

/** The largest counts. */
const most = (counts: ReadonlyMap<string, number> = new Map()): string =>
  countsOf(Object.fromEntries([...counts].sort(([, a], [, b]) => b - a).slice(0, 12)))

type Watch = {
  compiledMs: number | undefined
  coldMs: number | undefined
  interpreted: Map<string, number> | undefined
  listing: ((text: string) => void) | undefined
}
/** Asks the compiler for what `--stats` and `--listing` show. */
export const watchFor = (line: Words, stats: Compiled, watch: Watch): void => {
  if (isSet(line, 'stats')) {
    stats.helps.byName = new Map()
    watch.compiledMs = 0
    watch.coldMs = 0
    watch.interpreted = new Map()
  }
  if (isSet(line, 'listing')) watch.listing = text => process.stderr.write(text)
}

type Compiled = Readonly<
  Record<'regions' | 'shared' | 'instructions' | 'bytes' | 'ms' | 'entered' | 'retired', number>
> & {
  readonly exits: Readonly<Record<string, number>>
  readonly helps: { readonly count: number; byName: Map<string, number> | undefined }
  readonly cold: Readonly<Record<'blocks' | 'records' | 'handlers' | 'bytes' | 'ms' | 'entered' | 'retired', number>>
}

/** Speed in millions of instructions a second. */
export const speedOf = (instructions: number, milliseconds: number): string =>
  `${(instructions / Math.max(milliseconds, 0.001) / 1000).toFixed(1)} million/s`

/** Processor time since, of all threads: V8 compiles beside us. */
export const processorSince = (used: NodeJS.CpuUsage): string => {
  const { user, system } = process.cpuUsage(used)
  return `${((user + system) / 1000).toFixed(0)} ms of all threads`
}
