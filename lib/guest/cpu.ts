/** Instructions of the processor as words: MSRs, CPUID, control and debug registers, time, fences, and safe variants. */
import type { AsmOptions } from './asm.ts'
import type { GuestBuilder } from './builder.ts'
import { fixed, maskOf, type Word } from './calls.ts'
import type { GprName } from './leaves.ts'
import { u32, u64 } from './types.ts'
import { type In, operandIn, Value } from './value.ts'

export type ControlRegister = 0 | 2 | 3 | 4 | 8
export type DebugRegister = 0 | 1 | 2 | 3 | 6 | 7

/** What CPUID answers. */
export type Cpuid = {
  readonly eax: Value<'u32'>
  readonly ebx: Value<'u32'>
  readonly ecx: Value<'u32'>
  readonly edx: Value<'u32'>
}

/** What became of an instruction that may fault: `vector` is 0 where it did not. #DE, vector 0, is not seen. */
export type Outcome = { readonly vector: Word; readonly errorCode: Word }

/** R9 of an instruction whose fault is fixed up, as the KVM selftests have it (include/x86/processor.h, KVM_ASM_SAFE). */
export const FIXUP_MAGIC = 0xa_baca_daban

/** `text`, one instruction, with R9 to R11 saying that a fault of it goes on behind it. */
export const safeText = (text: string): string => `
  mov r9, ${FIXUP_MAGIC}
  lea r10, [rip + instruction]
  lea r11, [rip + behind]
instruction:
  ${text}
  xor r9d, r9d
  xor r10d, r10d
behind:`

export type Cpu = ReturnType<typeof cpuOf>

/** Names of CPUID's results, and where they come. */
const CPUID_OUT = ['rax', 'rbx', 'rcx', 'rdx'] as const satisfies readonly GprName[]

export const cpuOf = (g: GuestBuilder) => {
  const low = (value: Value<'u64'>): Value<'u32'> => value.as(u32)
  const upper = (value: In<'u64'>): In<'u64'> => (value instanceof Value ? value.shr(32n) : BigInt(value) >> 32n)
  const run = <O extends GprName = never>(text: string, options: AsmOptions<O> = {}) =>
    g.asm(text, { clobbers: [], ...options })
  const named = ({ rax, rbx, rcx, rdx }: Record<(typeof CPUID_OUT)[number], Word>): Cpuid => ({
    eax: low(rax),
    ebx: low(rbx),
    ecx: low(rcx),
    edx: low(rdx),
  })

  /** Any one instruction; a fault of it is an outcome. R9, R10 and R11 are not to be had. */
  const safe = <O extends Exclude<GprName, 'r9' | 'r10' | 'r11'> = never>(
    text: string,
    options: AsmOptions<O> = {},
  ): Outcome & { readonly [R in O]: Word } => {
    const ins = (Object.entries(options.in ?? {}) as [GprName, In<'u64'>][]).map(
      ([name, value]) => [name, operandIn(u64, value)] as const,
    )
    const clobbers = maskOf(...(options.clobbers ?? []), 'r9', 'r10', 'r11')
    const out = fixed(g, { text: safeText(text) }, ins, [...(options.out ?? []), 'r9', 'r10'], clobbers)
    const { r9, r10 } = out as Record<'r9' | 'r10', Word>
    return { ...(out as { readonly [R in O]: Word }), vector: r9, errorCode: r10 }
  }

  return {
    /** RDMSR. */
    rdmsr: (index: In<'u64'>): Word =>
      run('rdmsr\nshl rdx, 32\nor rax, rdx', { in: { rcx: index }, out: ['rax'], clobbers: ['rdx'] }).rax,
    /** WRMSR. */
    wrmsr: (index: In<'u64'>, value: In<'u64'>): void => {
      run('wrmsr', { in: { rcx: index, rax: value, rdx: upper(value) } })
    },
    /** CPUID. */
    cpuid: (leaf: In<'u64'>, subleaf: In<'u64'> = 0n): Cpuid =>
      named(run('cpuid', { in: { rax: leaf, rcx: subleaf }, out: CPUID_OUT })),
    /** XGETBV. */
    xgetbv: (index: In<'u64'> = 0n): Word =>
      run('xgetbv\nshl rdx, 32\nor rax, rdx', { in: { rcx: index }, out: ['rax'], clobbers: ['rdx'] }).rax,
    /** XSETBV. */
    xsetbv: (index: In<'u64'>, value: In<'u64'>): void => {
      run('xsetbv', { in: { rcx: index, rax: value, rdx: upper(value) } })
    },
    /** MOV from a control register. */
    readCr: (register: ControlRegister): Word => run(`mov rax, cr${register}`, { out: ['rax'] }).rax,
    /** MOV to a control register. */
    writeCr: (register: ControlRegister, value: In<'u64'>): void => {
      run(`mov cr${register}, rax`, { in: { rax: value } })
    },
    /** MOV from a debug register. */
    readDr: (register: DebugRegister): Word => run(`mov rax, dr${register}`, { out: ['rax'] }).rax,
    /** MOV to a debug register. */
    writeDr: (register: DebugRegister, value: In<'u64'>): void => {
      run(`mov dr${register}, rax`, { in: { rax: value } })
    },
    /** RDTSC. */
    rdtsc: (): Word => run('rdtsc\nshl rdx, 32\nor rax, rdx', { out: ['rax'], clobbers: ['rdx'] }).rax,
    /** RDTSCP. `aux` is IA32_TSC_AUX. */
    rdtscp: (): { readonly tsc: Word; readonly aux: Value<'u32'> } => {
      const text = 'rdtscp\nshl rdx, 32\nor rax, rdx'
      const { rax, rcx } = run(text, { out: ['rax', 'rcx'], clobbers: ['rdx'] })
      return { tsc: rax, aux: low(rcx) }
    },
    /** RFLAGS as they are. */
    rflags: (): Word => run('pushfq\npop rax', { out: ['rax'] }).rax,
    cli: (): void => void run('cli'),
    sti: (): void => void run('sti'),
    hlt: (): void => void run('hlt'),
    pause: (): void => void run('pause'),
    invlpg: (at: In<'u64'>): void => void run('invlpg [rax]', { in: { rax: at } }),
    /** INT n; 3 is INT3. */
    int: (vector: number): void => void run(vector === 3 ? 'int3' : `int ${vector}`),
    ud2: (): void => void run('ud2'),
    mfence: (): void => void run('mfence'),
    lfence: (): void => void run('lfence'),
    sfence: (): void => void run('sfence'),

    safe,
    /** RDMSR; `value` is nothing where it faulted. */
    rdmsrSafe: (index: In<'u64'>): Outcome & { readonly value: Word } => {
      const { vector, errorCode, rax, rdx } = safe('rdmsr', { in: { rcx: index }, out: ['rax', 'rdx'] })
      return { vector, errorCode, value: rdx.shl(32n).or(rax) }
    },
    /** WRMSR. */
    wrmsrSafe: (index: In<'u64'>, value: In<'u64'>): Outcome =>
      safe('wrmsr', { in: { rcx: index, rax: value, rdx: upper(value) } }),
    /** XSETBV. */
    xsetbvSafe: (index: In<'u64'>, value: In<'u64'>): Outcome =>
      safe('xsetbv', { in: { rcx: index, rax: value, rdx: upper(value) } }),
    /** CPUID, which raises #VE (20) in a TD for what the module leaves to the guest. */
    cpuidSafe: (leaf: In<'u64'>, subleaf: In<'u64'> = 0n): Outcome & Cpuid => {
      const out = safe('cpuid', { in: { rax: leaf, rcx: subleaf }, out: CPUID_OUT })
      return { vector: out.vector, errorCode: out.errorCode, ...named(out) }
    },
  }
}
