/**
 * Accesses of a guest that userspace answers: MMIO and port I/O. The first time the instruction asks, the CPU leaves with
 * nothing done; once there is an answer the instruction runs again, and finds what it asked before answered already.
 */
import { KVM_EXIT_IO_IN, KVM_EXIT_IO_OUT } from '#abi'
import type { Size } from '#bits'
import {
  type Apic,
  EXIT_REASON_EPT_VIOLATION,
  EXIT_REASON_IO_INSTRUCTION,
  Leave,
  type Outside,
  type Ports,
  vmExit,
} from '#x86'
import type { Irqchip } from './irqchip.ts'

export type Asked = {
  readonly kind: 'mmio' | 'port'
  readonly isWrite: boolean
  /** Guest physical address, or port. */
  readonly at: number
  /** Bytes; of MMIO also those between 1, 2, 4 and 8, where an access crosses into a page of memory. */
  readonly size: number
  /** What the guest writes, or what it was answered. */
  value: bigint
}

const MMIO = new Leave(vmExit(EXIT_REASON_EPT_VIOLATION))
const PORT = new Leave(vmExit(EXIT_REASON_IO_INSTRUCTION))

/** What one vCPU's CPU has for `outside` and for `ports`. */
export class Replay implements Outside, Ports {
  /** What the instruction at RIP has asked so far, answered, in order. */
  readonly answered: Asked[] = []
  /** The access that made the CPU leave; whoever handles it takes it away. */
  asked: Asked | undefined
  /** Its page is answered here. */
  apic: Apic | undefined
  /** So are the PICs' ports and the I/O APIC's registers. */
  chips: Irqchip | undefined
  #next = 0

  /** Before the instruction runs again. */
  rewind(): void {
    this.#next = 0
  }

  /** The instruction is over. */
  clear(): void {
    this.answered.length = 0
    this.#next = 0
    this.asked = undefined
  }

  #ask(kind: Asked['kind'], isWrite: boolean, at: number, size: number, value: bigint): bigint {
    const known = this.answered[this.#next]
    if (known !== undefined) {
      this.#next++
      return known.value
    }
    this.asked = { kind, isWrite, at, size, value }
    throw kind === 'mmio' ? MMIO : PORT
  }

  #isApic(gpa: number): boolean {
    const page = this.apic?.page
    return page !== undefined && gpa - (gpa % 4096) === Number(page)
  }

  read(gpa: number, size: number): bigint {
    if (this.#isApic(gpa)) return BigInt(this.apic?.readPage(gpa & 0xfff) ?? 0)
    if (this.chips?.has('mmio', gpa, size) === true) return this.chips.read('mmio', gpa, size)
    return this.#ask('mmio', false, gpa, size, 0n)
  }
  write(gpa: number, size: number, value: bigint): void {
    if (this.#isApic(gpa)) this.apic?.writePage(gpa & 0xfff, Number(value & 0xffff_ffffn))
    else if (this.chips?.has('mmio', gpa, size) === true) this.chips.write('mmio', gpa, size, value)
    else this.#ask('mmio', true, gpa, size, value)
  }
  in(port: number, size: Size): bigint {
    if (this.chips?.has('port', port, size) === true) return this.chips.read('port', port, size)
    return this.#ask('port', false, port, size, 0n)
  }
  out(port: number, size: Size, value: bigint): void {
    if (this.chips?.has('port', port, size) === true) this.chips.write('port', port, size, value)
    else this.#ask('port', true, port, size, value)
  }
}

/** kvm_run.io.direction. */
export const directionOf = ({ isWrite }: Asked): number => (isWrite ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN)
