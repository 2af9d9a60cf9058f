/** Runs programs of the system's kind in virtual machines of this machine's KVM: builds real-vm.c, asks it. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Cpuid } from '../../cpuid.ts'
import { MEMORY } from './image.ts'
import { load, type Outcome, type Program } from './machine.ts'
import { AFTER_SEGMENTS, BEFORE_SEGMENTS, SEGMENTS, type State } from './start.ts'

const WORDS = BEFORE_SEGMENTS.length + SEGMENTS.length * 4 + AFTER_SEGMENTS.length
const QUESTION = WORDS * 8 + MEMORY
const ANSWER = 24 + WORDS * 8
/** Programs asked at once. */
const BATCH = 64
const LEAVES = [0, 1, 2, 4, 5, 6, 7, 0xd, 0x15, 0x16]
const EXTENDED = [0, 1, 2, 3, 4, 6, 7, 8].map(n => 0x8000_0000 + n)

/** KVM's exit reasons. include/uapi/linux/kvm.h. */
const ENDS: Readonly<Record<number, string>> = { 5: 'hlt', 8: 'shutdown', 256: 'time' }

export type RealMachine = {
  /** Outcomes in the order of the programs. */
  ask(programs: readonly Program[], cpuid: Cpuid): Outcome[]
  /** Leaves that KVM can give: `LEAF:SUBLEAF:EAX:EBX:ECX:EDX`, hexadecimal. */
  readonly supported: readonly string[]
  close(): void
}

/** The machine, or why there is none here. */
export const openMachine = (): RealMachine | string => {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'not an x86-64 Linux host'
  const folder = mkdtempSync(join(tmpdir(), 'seamless-system-'))
  const program = join(folder, 'real-vm')
  const close = () => rmSync(folder, { recursive: true, force: true })
  const source = join(import.meta.dirname, '..', 'real-vm.c')
  const built = spawnSync('cc', ['-O2', '-o', program, source], { encoding: 'utf8' })
  if (built.status !== 0) {
    close()
    return `cc does not build it: ${built.error?.message ?? built.stderr.split('\n')[0]}`
  }
  const first = spawnSync(program, { encoding: 'utf8' })
  if (first.status !== 0) {
    close()
    return first.stderr.trim()
  }
  return {
    supported: first.stdout.trim().split('\n'),
    close,
    ask: (programs, cpuid) => {
      const outcomes: Outcome[] = []
      for (let n = 0; n < programs.length; n += BATCH)
        outcomes.push(...batch(program, programs.slice(n, n + BATCH), cpuid))
      return outcomes
    },
  }
}

const leaves = (cpuid: Cpuid): string[] =>
  [...LEAVES, ...EXTENDED].flatMap(leaf =>
    [0, ...(leaf === 0xd ? [1, 2] : [])].map(subleaf =>
      [leaf, subleaf, ...cpuid(leaf, subleaf)].map(value => (value >>> 0).toString(16)).join(':'),
    ),
  )

const batch = (program: string, programs: readonly Program[], cpuid: Cpuid): Outcome[] => {
  const input = Buffer.alloc(programs.length * QUESTION)
  for (const [n, asked] of programs.entries()) {
    const { state, memory } = load(asked)
    const question = input.subarray(n * QUESTION, (n + 1) * QUESTION)
    put(question, state)
    question.set(memory, WORDS * 8)
  }
  const ran = spawnSync(program, leaves(cpuid), { input, maxBuffer: programs.length * (ANSWER + MEMORY * 2) })
  if (ran.status !== 0) throw new Error(`real-vm: ${ran.signal ?? ran.status} ${ran.stderr}`)
  let at = 0
  return programs.map(() => {
    const { outcome, length } = get(ran.stdout.subarray(at))
    at += length
    return outcome
  })
}

const put = (out: Buffer, { numbers, segments }: State): void => {
  let at = 0
  const word = (value: bigint) => {
    at = out.writeBigUInt64LE(value, at)
  }
  for (const name of BEFORE_SEGMENTS) word(numbers[name]!)
  for (const name of SEGMENTS) {
    const { selector, base, limit, rights } = segments[name]!
    for (const value of [BigInt(selector), base, BigInt(limit), BigInt(rights)]) word(value)
  }
  for (const name of AFTER_SEGMENTS) word(numbers[name]!)
}

const get = (from: Buffer): { outcome: Outcome; length: number } => {
  let at = 0
  const word = (): bigint => {
    const value = from.readBigUInt64LE(at)
    at += 8
    return value
  }
  const reason = Number(word())
  const detail = word()
  const count = Number(word())
  const numbers: Record<string, bigint> = {}
  const segments: State['segments'] = {}
  for (const name of BEFORE_SEGMENTS) numbers[name] = word()
  for (const name of SEGMENTS) {
    segments[name] = { selector: Number(word()), base: word(), limit: Number(word()), rights: Number(word()) }
  }
  for (const name of AFTER_SEGMENTS) numbers[name] = word()
  const changed = new Map<number, bigint>()
  for (let n = 0; n < count; n++) changed.set(Number(word()), word())
  const end = reason === 2 ? `io ${(detail >> 16n).toString(16)}` : (ENDS[reason] ?? `kvm exit ${reason}, ${detail}`)
  return { outcome: { end, state: { numbers, segments }, changed }, length: at }
}
