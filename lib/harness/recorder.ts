/**
 * The last instructions before a failure, with the registers that each saw. A run is the same every time, so that nothing is
 * kept while a test runs: where it fails, it runs once more, and one instruction at a time when it comes near.
 */
import { gva, hex, PAGE_SIZE } from '#bits'
import { bootCode, disassemble, type GuestImage, lineOf, nameOfAddress, RUNTIME_GVA } from '#guest'
import type { Inspection } from '#kvm'
import { isRuntime } from './backtrace.ts'
import { valuesOf } from './inspect.ts'
import type { Machine } from './machine.ts'
import type { Vcpu } from './vcpu.ts'
import { placeText } from './where.ts'

/** A moment of a test: which vCPU of which TD, after how many of its instructions. */
export type Moment = { readonly td: string; readonly vcpu: number; readonly instructions: number }

/** Instructions before a failure that are looked at: those of the runtime, which says it to the host, are among them. */
const WINDOW = 1024
/** Of the guest's own code, how many are kept. */
const KEPT = 8
/** The longest instruction. SDM Vol. 2A, "Instruction Format". */
const LONGEST = 15

type Seen = Pick<Inspection, 'rip' | 'gpr' | 'mode'> & { readonly bytes: Uint8Array }

export class Recorder {
  /** By vCPU, where failures are, in order. */
  readonly #moments = new Map<string, number[]>()
  readonly #seen = new Map<string, Seen[]>()

  constructor(moments: readonly Moment[]) {
    for (const { td, vcpu, instructions } of moments) {
      const key = `${td} ${vcpu}`
      this.#moments.set(
        key,
        [...(this.#moments.get(key) ?? []), instructions].sort((a, b) => a - b),
      )
    }
  }

  /** Instructions that the vCPU may run before it is looked at again; undefined where nothing is to come. */
  until(vcpu: Vcpu): number | undefined {
    const { instructions } = vcpu
    const next = this.#moments.get(keyOf(vcpu))?.find(moment => moment >= instructions)
    if (next === undefined) return undefined
    return Math.max(1, next - WINDOW - instructions)
  }

  /** The vCPU is about to execute its next instruction, if it is near. */
  step(machine: Machine, vcpu: Vcpu): void {
    const { instructions, td } = vcpu
    const isNear = this.#moments.get(keyOf(vcpu))?.some(at => at >= instructions && at - instructions <= WINDOW)
    if (isNear !== true) return
    const seen = machine.host.inspect(vcpu.fd)
    if (isOurs(td.image, seen.rip) || lineOf(td.image.lines ?? [], seen.rip)?.isReport === true) return
    const bytes = seen.read(gva(seen.rip), LONGEST) ?? seen.read(gva(seen.rip), 1)
    if (bytes === undefined) return
    const ring = this.#seen.get(keyOf(vcpu)) ?? []
    const last = ring.at(-1)
    // Entered again at the same instruction: nothing has happened since.
    if (last?.rip === seen.rip && last.gpr.every((value, n) => value === seen.gpr[n])) ring.pop()
    ring.push({ rip: seen.rip, gpr: seen.gpr, mode: seen.mode, bytes })
    if (ring.length > KEPT) ring.shift()
    this.#seen.set(keyOf(vcpu), ring)
  }

  /** Lines for a failure: address, name, text, the registers that it names as they were, where it was written if that is new. */
  notes(vcpu: Vcpu, rip: bigint): string[] {
    const { symbols, lines = [] } = vcpu.td.image
    const ring = this.#seen.get(keyOf(vcpu)) ?? []
    // RIP may stand behind the call that handed the failure over. Where that is not among them, the last one led to it.
    const isReport = lineOf(lines, rip - 1n)?.isReport === true
    const at = isReport
      ? ring.length - 1
      : ring.findLastIndex(({ rip: at }) => at <= rip && rip - at <= BigInt(LONGEST))
    const rows = ring.map(({ rip: address, bytes, gpr, mode }, n) => {
      const text = disassemble(bytes, address, address, 1, [], mode === 32 || mode === 16 ? mode : 64)[0]?.text ?? ''
      const line = lineOf(lines, address)
      return [
        `${n === at ? '>' : ' '} ${hex(address)}`,
        nameOfAddress(symbols, address) ?? '',
        text,
        valuesOf(text, { gpr }).trimStart(),
        line === undefined ? '' : placeText(line),
      ]
    })
    for (const [n, row] of [...rows.entries()].reverse()) if (row[4] === rows[n - 1]?.[4]) row[4] = ''
    const widths = [0, 1, 2, 3].map(n => Math.max(...rows.map(row => row[n]?.length ?? 0)))
    return rows.map(row =>
      row
        .map((text, n) => text.padEnd(widths[n] ?? 0))
        .filter(text => text !== '')
        .join('  ')
        .trimEnd(),
    )
  }
}

/** Is it what leads to the guest's code, or what says its words? */
const isOurs = (image: GuestImage, rip: bigint): boolean =>
  isRuntime(image, rip) ||
  (rip >= RUNTIME_GVA && rip < RUNTIME_GVA + BigInt(PAGE_SIZE)) ||
  (rip >= bootCode().gpa && rip < 1n << 32n)

const keyOf = ({ td, index }: Vcpu): string => `${td.name} ${index}`
