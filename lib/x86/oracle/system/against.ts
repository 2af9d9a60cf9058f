/** Holds the emulated CPU against virtual machines of KVM, program by program. */
import { NotModelled } from '#bits'
import { type Cpuid, describeCpu, type Feature } from '../../cpuid.ts'
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
export const processor: Cpuid = describeCpu(FEATURES, { physicalWidth: 48, linearWidth: 48 })

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

export const against = (ours: OurMachine, real: RealMachine, programs: readonly Program[]): Verdict[] => {
  const answers = real.ask(programs, processor)
  return programs.map((program, n) => {
    const { end, outcome } = ourEnd(ours, program)
    const answer = answers[n]!
    const theirs = summary(answer, program, load(program))
    const fields = outcome === undefined ? ['end'] : compare(outcome, answer)
    if (fields.length === 0) return { program, found: '', why: undefined }
    const found = end === theirs ? `${end} | ${theirs} | ${fields.join('; ')}` : `${end} | ${theirs}`
    return { program, found, why: explain(program.name, found) }
  })
}
