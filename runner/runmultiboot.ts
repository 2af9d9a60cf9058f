/** `seamless run-multiboot`: an image that boots by itself, on a bare machine. */
import { basename } from 'node:path'
import { BARE_FEATURES, BadImage, BareMachine, compileStats, compileWatch, type Feature, featureNamed } from '#bare'
import { UsageError } from './errors.ts'
import {
  bytesOf,
  compiledFigures,
  countsOf,
  decimal,
  hexNumber,
  isSet,
  processorSince,
  showStats,
  speedOf,
  textOf,
  theFile,
  tierOf,
  watchFor,
  whole,
  words,
  writeAll,
} from './parse.ts'

const HELP = `
seamless run-multiboot IMAGE [OPTIONS]

Boots a Multiboot image (32-bit ELF, or any file with address fields in its header): serial port 3f8 is stdout.

  --append TEXT      command line, after the image's name
  --initrd FILE      a module
  --mem MB           memory [128]
  --cpus N           CPUs, each with a local APIC [1]
  --cpu +F,-F        features to add or leave out, by their names in the SDM, e.g. +la57,-avx
  --exit-port PORT   hexadecimal; a write of V ends the run with status (V << 1) | 1, as QEMU's isa-debug-exit does [f4]
  --timeout SECONDS  give up after that long
  --tier TIER        interpret, cold, compile, auto, lockstep or coldstep [auto]
  --stats            what was executed, on stderr
  --listing          each compiled region, its reading and its WebAssembly, on stderr

Exit: what the exit port says, always odd; 124 the time was up; 134 triple fault, or every CPU is halted for good;
2 IMAGE cannot be booted.
`

const [TIME_UP, STOPPED] = [124, 134]
const MiB = 2 ** 20

/** The features of `--cpu +a,-b`. Throws `UsageError`. */
export const featuresOf = (text: string): readonly Feature[] => {
  const features = new Set(BARE_FEATURES)
  for (const word of text.split(',')) {
    const name = featureNamed(word.slice(1))
    if (!/^[+-]/.test(word) || name === undefined)
      throw new UsageError(`--cpu ${word}: not + or - and a feature, such as +la57`)
    if (word.startsWith('+')) features.add(name)
    else features.delete(name)
  }
  return [...features]
}

export const runMultiboot = async (argv: readonly string[]): Promise<number> => {
  const line = words(
    argv,
    {
      append: { type: 'string' },
      initrd: { type: 'string' },
      mem: { type: 'string' },
      cpus: { type: 'string' },
      cpu: { type: 'string' },
      'exit-port': { type: 'string' },
      timeout: { type: 'string' },
      tier: { type: 'string' },
      stats: { type: 'boolean' },
      listing: { type: 'boolean' },
    },
    HELP,
  )
  if (line === undefined) return 0
  const file = theFile(line, 'run-multiboot')
  const tier = tierOf(line, 'auto')
  const initrd = textOf(line, 'initrd')
  const cpu = textOf(line, 'cpu')
  const exitPort = Number(hexNumber('exit-port', textOf(line, 'exit-port') ?? 'f4'))
  if (exitPort > 0xffff) throw new UsageError(`--exit-port ${exitPort.toString(16)}: ports go up to ffff`)
  const memory = (whole(line, 'mem', 2, 3072) ?? 128) * MiB
  const cpus = whole(line, 'cpus', 1, 255) ?? 1
  const timeout = decimal(line, 'timeout', 0, 1e6)
  watchFor(line, compileStats, compileWatch)
  const start = performance.now()
  const used = process.cpuUsage()
  try {
    const machine = new BareMachine(bytesOf(file), {
      name: basename(file),
      append: textOf(line, 'append') ?? '',
      ...(initrd === undefined ? {} : { initrd: { name: basename(initrd), bytes: bytesOf(initrd) } }),
      memory,
      cpus,
      ...(cpu === undefined ? {} : { features: featuresOf(cpu) }),
      exitPort,
      tier,
      write: bytes => writeAll(1, bytes),
    })
    const isOver = () => timeout !== undefined && performance.now() - start > timeout * 1000
    const end = machine.run(isOver)
    if (isSet(line, 'stats')) {
      const { instructions, tlbMisses, exits } = machine.stats
      const ms = performance.now() - start
      showStats({
        instructions,
        time: `${ms.toFixed(0)} ms, ${speedOf(instructions, ms)}`,
        processor: processorSince(used),
        'TLB misses': tlbMisses,
        exits: countsOf(exits),
        ...compiledFigures(compileStats, compileWatch, ms),
      })
    }
    switch (end.kind) {
      case 'exit':
        return ((end.value << 1) | 1) & 0xff
      case 'time':
        process.stderr.write(`seamless: ${file}: ${timeout} seconds are over, RIP 0x${machine.rip.toString(16)}\n`)
        return TIME_UP
      case 'stopped':
        process.stderr.write(`seamless: ${file}: ${end.why}\n`)
        return STOPPED
    }
  } catch (error) {
    if (error instanceof BadImage) throw new UsageError(`${file}: ${error.message}`)
    throw error
  }
}
