/** `seamless run-elf`: a static x86-64 Linux program on the emulated CPU. */
import { compileStats, compileWatch, ElfError, runProgram } from '#linux'
import { UsageError } from './errors.ts'
import {
  bytesOf,
  compiledFigures,
  countsOf,
  isSet,
  processorSince,
  showStats,
  speedOf,
  tierOf,
  watchFor,
  whole,
  words,
  writeAll,
} from './parse.ts'

const HELP = `
seamless run-elf [OPTIONS] FILE [ARGS]

Runs a static x86-64 Linux program in ring 3, with its own output and exit status. Time is counted instructions, one
nanosecond each. Options stand before FILE.

  --tier TIER   interpret, cold, compile, auto, lockstep or coldstep [auto]
  --budget N    instructions, at most
  --stats       what was executed, on stderr
  --listing     each compiled region, its reading and its WebAssembly, on stderr

Exit: the program's; 128 and the number of the signal that ended it; 124 the budget was used up; 2 FILE is no such program.
`

const OUT_OF_BUDGET = 124

export const runElf = async (argv: readonly string[]): Promise<number> => {
  // What follows FILE is the program's.
  const takesValue = ['--tier', '--budget']
  let at = 0
  while (at < argv.length && argv[at]!.startsWith('-') && argv[at] !== '--')
    at += takesValue.includes(argv[at]!) ? 2 : 1
  const line = words(
    argv.slice(0, at),
    { tier: { type: 'string' }, budget: { type: 'string' }, stats: { type: 'boolean' }, listing: { type: 'boolean' } },
    HELP,
  )
  if (line === undefined) return 0
  const [file, ...args] = argv.slice(argv[at] === '--' ? at + 1 : at)
  if (file === undefined) throw new UsageError('run-elf: name a program; --help says more')
  const tier = tierOf(line, 'auto')
  const budget = whole(line, 'budget', 1, Number.MAX_SAFE_INTEGER)
  const bytes = bytesOf(file)
  watchFor(line, compileStats, compileWatch)
  const start = performance.now()
  const used = process.cpuUsage()
  try {
    const { end, stats } = runProgram(bytes, { name: file, args, tier }, { write: writeAll }, budget)
    if (isSet(line, 'stats')) {
      const ms = performance.now() - start
      showStats({
        instructions: stats.instructions,
        time: `${ms.toFixed(0)} ms, ${speedOf(stats.instructions, ms)}`,
        processor: processorSince(used),
        'TLB misses': stats.tlbMisses,
        'page faults': stats.pageFaults,
        'system calls': countsOf(stats.calls),
        ...compiledFigures(compileStats, compileWatch, ms),
      })
    }
    switch (end.kind) {
      case 'exit':
        return end.status
      case 'budget':
        process.stderr.write(`seamless: ${file}: ${budget} instructions are used up, RIP 0x${end.rip.toString(16)}\n`)
        return OUT_OF_BUDGET
      case 'signal':
        process.stderr.write(`seamless: ${file}: ${end.signal}: ${end.why}\n`)
        return 128 + end.number
    }
  } catch (error) {
    if (error instanceof ElfError) throw new UsageError(`${file}: ${error.message}`)
    throw error
  }
}
