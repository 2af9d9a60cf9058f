/**
 * The local APIC of a guest's vCPU in x2APIC mode, which a TD's is from the start. SDM Vol. 3A, "Extended XAPIC (x2APIC)".
 * In a TD the module virtualizes some of its MSRs; the others are asked of the host by TDVMCALL.
 */
import type { GuestBuilder } from './builder.ts'
import type { Word } from './calls.ts'
import type { Says } from './says.ts'
import { placeOf } from './site.ts'
import { type In, Value } from './value.ts'

/** Registers by their MSR. SDM Vol. 3A, "x2APIC Register Address Space". */
export const X2APIC = {
  ID: 0x802,
  VERSION: 0x803,
  TPR: 0x808,
  PPR: 0x80a,
  EOI: 0x80b,
  LDR: 0x80d,
  SVR: 0x80f,
  ISR: 0x810,
  TMR: 0x818,
  IRR: 0x820,
  ESR: 0x828,
  ICR: 0x830,
  LVT_TIMER: 0x832,
  LVT_LINT0: 0x835,
  LVT_LINT1: 0x836,
  LVT_ERROR: 0x837,
  INITIAL_COUNT: 0x838,
  CURRENT_COUNT: 0x839,
  DIVIDE: 0x83e,
  SELF_IPI: 0x83f,
} as const
export type X2apicRegister = keyof typeof X2APIC

/** Those that the TDX module leaves to the processor. Intel TDX module, "MSR Virtualization". */
const NATIVE = new Set<X2apicRegister>(['TPR', 'PPR', 'EOI', 'ISR', 'TMR', 'IRR', 'SELF_IPI'])

/** Destination shorthands of an ICR write. */
const SHORTHAND = { none: 0n, self: 1n, all: 2n, others: 3n } as const
const DELIVERY = { fixed: 0n, nmi: 4n, init: 5n, startup: 6n } as const

export type Ipi = {
  readonly vector: number
  /** x2APIC ID of the destination; not with a shorthand. */
  readonly to?: In<'u64'>
  readonly shorthand?: keyof typeof SHORTHAND
  readonly delivery?: keyof typeof DELIVERY
}

/** Bit patterns of the divide configuration register. SDM Vol. 3A, "Divide Configuration Register". */
const DIVIDE = { 1: 0xbn, 2: 0n, 4: 1n, 8: 2n, 16: 3n, 32: 8n, 64: 9n, 128: 0xan } as const
const TIMER = { once: 0n, periodic: 1n, deadline: 2n } as const

export type Timer =
  | { readonly vector: number; readonly mode: 'deadline' }
  | {
      readonly vector: number
      readonly mode: 'once' | 'periodic'
      readonly count: In<'u64'>
      readonly divide?: keyof typeof DIVIDE
    }

const IA32_APIC_BASE = 0x1bn
const IA32_TSC_DEADLINE = 0x6e0n
/** IA32_APIC_BASE: enabled, x2APIC mode. */
const X2APIC_MODE = 0xc00n

export type Apic = ReturnType<typeof apicOf>

export const apicOf = (g: GuestBuilder, says: Says, isTd: boolean) => {
  const isNative = (register: X2apicRegister) => !isTd || NATIVE.has(register)
  /** A register; `index` counts on in ISR, TMR and IRR. */
  const read = (register: X2apicRegister, index = 0): Word => {
    const msr = BigInt(X2APIC[register] + index)
    if (isNative(register)) return g.cpu.rdmsr(msr)
    const { status, value } = g.vmcall.rdmsr({ index: msr })
    says.check('assert', 'eq', status, 0n, placeOf(read), `TDVMCALL Instruction.RDMSR of x2APIC ${register}: status`)
    return value
  }
  const write = (register: X2apicRegister, value: In<'u64'>): void => {
    const msr = BigInt(X2APIC[register])
    if (isNative(register)) {
      g.cpu.wrmsr(msr, value)
      return
    }
    const { status } = g.vmcall.wrmsr({ index: msr, value })
    says.check('assert', 'eq', status, 0n, placeOf(write), `TDVMCALL Instruction.WRMSR of x2APIC ${register}: status`)
  }
  const apic = {
    read,
    write,
    /** x2APIC ID. */
    id: (): Word => read('ID'),
    /** End of interrupt. */
    eoi: (): void => write('EOI', 0n),
    selfIpi: (vector: number): void => write('SELF_IPI', BigInt(vector)),
    /** Software-enables the APIC with this spurious vector: before that it takes no interrupt that others send. In an ordinary VM it goes into x2APIC mode first. */
    enable: (spurious = 0xff): void => {
      if (!isTd) g.cpu.wrmsr(IA32_APIC_BASE, g.cpu.rdmsr(IA32_APIC_BASE).or(X2APIC_MODE))
      write('SVR', BigInt(0x100 | spurious))
    },
    /**
     * Sets the timer up. `deadline`: it fires when the TSC is what `deadline` says. `once`, `periodic`: after `count` times
     * `divide` cycles of the APIC's bus (1 ns each, unless KVM_CAP_X86_APIC_BUS_CYCLES_NS says otherwise), from now on; a count of 0
     * stops it. SDM Vol. 3A, "APIC Timer".
     */
    timer: (timer: Timer): void => {
      const mode = TIMER[timer.mode]
      if (timer.mode !== 'deadline') write('DIVIDE', DIVIDE[timer.divide ?? 1])
      write('LVT_TIMER', BigInt(timer.vector) | (mode << 17n))
      if (timer.mode !== 'deadline') write('INITIAL_COUNT', timer.count)
    },
    /** IA32_TSC_DEADLINE: when the timer fires, in ticks of the TSC; 0 disarms it. */
    deadline: (tsc: In<'u64'>): void => {
      if (!isTd) {
        g.cpu.wrmsr(IA32_TSC_DEADLINE, tsc)
        return
      }
      const { status } = g.vmcall.wrmsr({ index: IA32_TSC_DEADLINE, value: tsc })
      says.check(
        'assert',
        'eq',
        status,
        0n,
        placeOf(apic.deadline),
        'TDVMCALL Instruction.WRMSR of IA32_TSC_DEADLINE: status',
      )
    },
    /** Sends an interrupt by the ICR. SDM Vol. 3A, "ICR Operation in x2APIC Mode". */
    send: ({ vector, to = 0n, shorthand = 'none', delivery = 'fixed' }: Ipi): void => {
      const asserted = 1n << 14n
      const command = BigInt(vector) | (DELIVERY[delivery] << 8n) | asserted | (SHORTHAND[shorthand] << 18n)
      write('ICR', to instanceof Value ? to.shl(32n).or(command) : (BigInt(to) << 32n) | command)
    },
  }
  return apic
}
