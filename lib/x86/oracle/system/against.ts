/** Holds the emulated CPU against virtual machines of KVM, program by program. */
import { NotModelled } from '#bits'
import { type Cpuid, describeCpu, FEATURES as FEATURE_BITS, type Feature } from '../../cpuid.ts'
import { compare } from './compare.ts'
import { explain } from './explained.ts'
import { load, type Outcome, type Program, summary } from './machine.ts'
import type { OurMachine } from './ours.ts'
import type { RealMachine } from './real.ts'

/** The processor that both show: what 64-bit mode needs, and no more, so that any host can have it. */
const FEATURES: readonly Feature[] = [
  ...([
    'FPU',
    'DE',
    'PSE',
    'TSC',
    'MSR',
    'PAE',
    'MCE',
    'CX8',
    'APIC',
    'SEP',
    'PGE',
    'CMOV',
    'PAT',
    'CLFSH',
    'MMX',
  ] as const),
  ...(['FXSR', 'SSE', 'SSE2', 'CX16', 'UMIP', 'SYSCALL', 'NX', 'PDPE1GB', 'RDTSCP', 'LM', 'LAHF'] as const),
]
const processors = new Map<string, Cpuid>()
/** The processor that a program runs on. */
export const processor = ({ needs = [] }: Program): Cpuid => {
  const name = needs.join(' ')
  const made =
    processors.get(name) ??
    describeCpu([...FEATURES, ...needs], { physicalWidth: 48, linearWidth: needs.includes('LA57') ? 57 : 48 })
  processors.set(name, made)
  return made
}

/** The first feature that a program needs and the machine's KVM does not give. */
const lacking = ({ needs = [] }: Program, supported: readonly string[]): Feature | undefined => {
  const leaves = supported.map(line => line.split(':').map(word => Number.parseInt(word, 16)))
  return needs.find(feature => {
    const [leaf, subleaf, register, bit] = FEATURE_BITS[feature]
    const found = leaves.find(([function_, index]) => function_ === leaf && index === subleaf)
    return (((found?.[2 + register] ?? 0) >>> bit) & 1) === 0
  })
}

/** What one program did: `gap NAME` where the CPU names what it does not model. */
export const ourEnd = (ours: OurMachine, program: Program): { end: string; outcome?: Outcome } => {
  try {
    const outcome = ours.run(program)
    return { end: summary(outcome, program, load(program)), outcome }
  } catch (error) {
    if (error instanceof NotModelled) return { end: `gap ${error.message}` }
    throw error
  }
}

export type Verdict = {
  readonly program: Program
  /** `OURS | REAL | FIELDS`; empty where nothing differs. */
  readonly found: string
  /** Why it differs, where that is known. */
  readonly why: string | undefined
}

/** Programs that need what this KVM does not give are not asked: they are explained by that. */
export const against = (ours: OurMachine, real: RealMachine, programs: readonly Program[]): Verdict[] => {
  const groups = Map.groupBy(programs, processor)
  const answers = new Map<Program, Outcome>()
  for (const [cpuid, group] of groups) {
    if (lacking(group[0]!, real.supported) !== undefined) continue
    for (const [n, outcome] of real.ask(group, cpuid).entries()) answers.set(group[n]!, outcome)
  }
  return programs.map(program => {
    const { end, outcome } = ourEnd(ours, program)
    const answer = answers.get(program)
    if (answer === undefined) {
      return { program, found: `${end} | not asked`, why: `this KVM does not give ${lacking(program, real.supported)}` }
    }
    const theirs = summary(answer, program, load(program))
    const fields = outcome === undefined ? ['end'] : compare(outcome, answer)
    if (fields.length === 0) return { program, found: '', why: undefined }
    const found = end === theirs ? `${end} | ${theirs} | ${fields.join('; ')}` : `${end} | ${theirs}`
    return { program, found, why: explain(program.name, found) }
  })
}
