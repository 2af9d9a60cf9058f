/** `seamless run-flat`: code from a file, by itself, and the state it leaves. */
import { BadImage, compileStats, compileWatch, type FlatEnd, GPR_NAMES, type Range, runFlat, sayException } from '#bare'
import { UsageError } from './errors.ts'
import {
  bytesOf,
  compiledFigures,
  hexNumber,
  isSet,
  showStats,
  speedOf,
  textOf,
  textsOf,
  theFile,
  tierOf,
  watchFor,
  whole,
  words,
} from './parse.ts'

const HELP = `
seamless run-flat FILE --mode 64|32|16 --at ADDR [OPTIONS]

Puts the bytes of FILE at ADDR and runs them in ring 0, registers zero, until HLT; then prints the registers.
Numbers are hexadecimal, with or without 0x, but for --budget.

  --map ADDR:LEN[:rwx]  memory that is there besides the code's pages, with what it allows [rwx]; may be repeated.
                        In 64-bit and 32-bit mode through page tables, in 16-bit (real) mode as physical memory
  --dump json           as one JSON object, its fields named as in the test vectors' README
  --budget N            instructions, at most, decimal [100000000]
  --tier TIER           interpret, cold, compile, auto, lockstep or coldstep [interpret]
  --stats               what was executed, on stderr
  --listing             each compiled region, its reading and its WebAssembly, on stderr

RIP is that of the instruction that ended the run: HLT is not passed. Exit: 0 HLT, 1 anything else, 2 wrong usage.
`

const range = (text: string): Range => {
  const match = /^([^:]+):([^:]+)(?::([rwx-]*))?$/.exec(text)
  if (match === null) throw new UsageError(`--map ${text}: not ADDR:LEN or ADDR:LEN:rwx`)
  const rights = match[3] ?? 'rwx'
  return {
    at: hexNumber('map', match[1]!),
    length: hexNumber('map', match[2]!),
    read: rights.includes('r'),
    write: rights.includes('w'),
    execute: rights.includes('x'),
  }
}

const MODES = { 16: 16, 32: 32, 64: 64 } as const
const rows = (bytes: Uint8Array, size: number): string[] =>
  Array.from({ length: bytes.length / size }, (_, n) =>
    Buffer.from(bytes.subarray(n * size, n * size + size)).toString('hex'),
  )

/** Fields as the test vectors have them. */
const json = (end: FlatEnd): string => {
  const { stop } = end
  return JSON.stringify({
    stop: stop.kind,
    ...(stop.kind === 'exception'
      ? {
          exc: [
            stop.vector,
            (stop.error ?? 0).toString(16),
            ...(stop.cr2 === undefined ? [] : [stop.cr2.toString(16)]),
          ],
        }
      : {}),
    ...(stop.kind === 'exit' ? { reason: stop.reason, why: stop.why } : {}),
    ip: end.rip.toString(16),
    r: Object.fromEntries(GPR_NAMES.map((name, n) => [name, end.gpr[n]!.toString(16)])),
    f: end.rflags.toString(16),
    x: rows(end.vec, 32),
    fp: rows(end.x87, 10),
    fcw: end.fcw.toString(16),
    fsw: end.fsw.toString(16),
    ftw: end.ftw.toString(16),
    mxcsr: end.mxcsr.toString(16),
    instructions: end.instructions,
  })
}

const reason = ({ stop }: FlatEnd): string => {
  switch (stop.kind) {
    case 'hlt':
      return 'HLT'
    case 'budget':
      return 'its instructions are used up'
    case 'exception':
      return sayException(stop)
    case 'exit':
      return stop.why
  }
}

const text = (end: FlatEnd): string => {
  const word = (value: bigint) => value.toString(16).padStart(16, '0')
  const registers = GPR_NAMES.map((name, n) => `${name.padEnd(3)} ${word(end.gpr[n]!)}`)
  return [
    `stopped by ${reason(end)} after ${end.instructions} instructions`,
    `rip ${word(end.rip)}  rflags ${end.rflags.toString(16).padStart(8, '0')}`,
    ...[0, 4, 8, 12].map(n => registers.slice(n, n + 4).join('  ')),
    ...rows(end.vec, 32).map((bytes, n) => `ymm${String(n).padEnd(2)} ${bytes}`),
    ...rows(end.x87, 10).map((bytes, n) => `fpr${n}  ${bytes}`),
    `fcw ${end.fcw.toString(16)}  fsw ${end.fsw.toString(16)}  ftw ${end.ftw.toString(16)}  mxcsr ${end.mxcsr.toString(16)}`,
  ].join('\n')
}

export const flat = async (argv: readonly string[]): Promise<number> => {
  const line = words(
    argv,
    {
      mode: { type: 'string' },
      at: { type: 'string' },
      map: { type: 'string', multiple: true },
      dump: { type: 'string' },
      budget: { type: 'string' },
      tier: { type: 'string' },
      stats: { type: 'boolean' },
      listing: { type: 'boolean' },
    },
    HELP,
  )
  if (line === undefined) return 0
  const file = theFile(line, 'run-flat')
  const [modeText = '', at] = [textOf(line, 'mode'), textOf(line, 'at')]
  const mode = Object.entries(MODES).find(([name]) => name === modeText)?.[1]
  if (mode === undefined) throw new UsageError(`--mode ${modeText}: 64, 32 or 16`)
  if (at === undefined) throw new UsageError('run-flat: --at says where the code goes')
  const dump = textOf(line, 'dump') ?? 'text'
  if (dump !== 'json' && dump !== 'text') throw new UsageError(`--dump ${dump}: json or text`)
  const budget = whole(line, 'budget', 1, Number.MAX_SAFE_INTEGER)
  watchFor(line, compileStats, compileWatch)
  const start = performance.now()
  try {
    const end = runFlat(bytesOf(file), {
      mode,
      at: hexNumber('at', at),
      maps: textsOf(line, 'map').map(range),
      tier: tierOf(line, 'interpret'),
      ...(budget === undefined ? {} : { budget }),
    })
    process.stdout.write(`${dump === 'json' ? json(end) : text(end)}\n`)
    if (isSet(line, 'stats')) {
      const ms = performance.now() - start
      showStats({
        instructions: end.instructions,
        time: `${ms.toFixed(0)} ms, ${speedOf(end.instructions, ms)}`,
        'TLB misses': end.tlbMisses,
        ...compiledFigures(compileStats, compileWatch, ms),
      })
    }
    return end.stop.kind === 'hlt' ? 0 : 1
  } catch (error) {
    if (error instanceof BadImage) throw new UsageError(`${file}: ${error.message}`)
    throw error
  }
}
