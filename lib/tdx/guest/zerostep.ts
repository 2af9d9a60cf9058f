/**
 * The module's filter against zero-stepping: a host that makes one instruction of a TD fault again and again, to watch what it
 * touches. intel/tdx-module, src/td_transitions/td_exit_stepping.c.
 * Not modelled: its filter against single-stepping, which goes on for up to 32 instructions where the host's interrupt comes
 * within 4096 cycles of the entry. A host's interrupts come here when whoever runs the vCPU says (`LogicalProcessor.quantum`),
 * to the instruction, and a debugger steps a TD by them.
 */
import { type Cpu, EXIT_REASON_EPT_VIOLATION, STATE, vmExit } from '#x86'
import type { Vcpu } from '../vcpu.ts'
import { injectVe } from './ve.ts'

/** EPT violations of one instruction that are nothing to worry about. STEPPING_EPF_THRESHOLD. */
const THRESHOLD = 6
/** EPF_GPA_LIST_SIZE. */
const MOST = 32
const RIP = STATE.RIP / 4
const RWX = 7
/** NOTIFY_ENABLES. */
const NOTIFY_EPT_FAULTS = 1n

/** What a vCPU's filter has seen of the instruction it stands at. */
export class ZeroStep {
  /** RIP at the last VP.ENTER, in halves. */
  #low = 0
  #high = 0
  /** POSSIBLY_EPF_STEPPING. */
  count = 0
  /** LAST_EPF_GPA_LIST: what it must be able to touch before the TD goes on. */
  readonly gpas: bigint[] = []
  /** The last VM exit, where it was an EPT violation of a private address. */
  #last: { readonly qualification: bigint; readonly gpa: bigint } | undefined

  entered({ words }: Cpu): void {
    this.#low = words[RIP]!
    this.#high = words[RIP + 1]!
  }

  /** A VM exit, of any kind. An instruction that is not the one the TD was entered at is progress. */
  left({ words }: Cpu): void {
    this.#last = undefined
    if (words[RIP] === this.#low && words[RIP + 1] === this.#high) return
    this.count = 0
    this.gpas.length = 0
  }

  /** The TD leaves because of a private address that it cannot touch. td_exit_epf_stepping_log. */
  violated(cpu: Cpu, qualification: bigint, gpa: bigint): void {
    this.left(cpu)
    this.#last = { qualification, gpa }
    if (this.count < THRESHOLD) this.count++
    else if (this.gpas.length < MOST && !this.gpas.includes(gpa)) this.gpas.push(gpa)
  }

  /** An address that would make the TD leave at once, which saves entering it. td_entry_stepping_filter. */
  blocked({ td }: Vcpu): bigint | undefined {
    return this.gpas.find(gpa => td.tree.frame(Number(gpa), RWX) === -1)
  }

  /** The TD has asked to be told: #VE, unless it is where none can be. */
  notify(vcpu: Vcpu, cpu: Cpu): void {
    const last = this.#last
    if (this.gpas.length === 0 || last === undefined || (vcpu.td.notifyEnables & NOTIFY_EPT_FAULTS) === 0n) return
    if (cpu.nmiBlocked || cpu.pending.length > 0 || vcpu.ve.valid !== 0) return
    injectVe(vcpu, cpu, vmExit(EXIT_REASON_EPT_VIOLATION), last.qualification, 0n, last.gpa)
  }
}
