/** `--trace`: what happens while a test runs, a readable line each. What is not traced costs nothing. */
import * as abi from '#abi'
import { gva, hex } from '#bits'
import { disassemble, nameOfAddress } from '#guest'
import { Errno } from '#kvm'
import { type Exit, exitText, type Ucall } from './exits.ts'
import { valuesOf } from './inspect.ts'
import type { Machine } from './machine.ts'
import { accessesOf, type Range } from './operand.ts'
import type { Vcpu } from './vcpu.ts'

/** By number, the names of an ABI's constants that begin with `prefix`. */
const named = (prefix: string): ReadonlyMap<number, string> =>
  new Map(
    Object.entries(abi).flatMap(([name, value]) =>
      name.startsWith(prefix) && !name.includes('STATUS') && typeof value === 'number' ? [[value, name] as const] : [],
    ),
  )

let tables: Record<'TDH_' | 'TDG_' | 'TDVMCALL_', ReadonlyMap<number, string>> | undefined
const nameOf = (prefix: 'TDH_' | 'TDG_' | 'TDVMCALL_', value: bigint): string => {
  tables ??= { TDH_: named('TDH_'), TDG_: named('TDG_'), TDVMCALL_: named('TDVMCALL_') }
  const name = tables[prefix].get(Number(value))
  if (name === undefined) return `${prefix}${hex(value)}`
  // The specifications write leaves with dots: TDH.VP.ENTER.
  return prefix === 'TDVMCALL_' ? name : name.replaceAll('_', '.')
}

/** What leaves take and give, besides RAX. */
const OPERANDS = ['rcx', 'rdx', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'] as const

type Values = Readonly<Record<string, bigint>>

const texts = (values: Values, wanted: (name: string, value: bigint) => boolean): string =>
  Object.entries(values)
    .filter(([name, value]) => wanted(name, value))
    .map(([name, value]) => `  ${name.toUpperCase()} ${hex(value)}`)
    .join('')

const given = (values: Values): string => texts(values, (_, value) => value !== 0n)
const changed = (before: Values, after: Values): string => texts(after, (name, value) => value !== before[name])

/** What is traced of a test. */
export class Trace {
  readonly #say: (line: string) => void
  readonly #kinds: ReadonlySet<string>
  /** Guest memory that is watched: symbols are looked up in the guest that runs. */
  readonly #watched: readonly string[]
  /** The last instruction, and what the watched memory that it touches held before it. */
  #before:
    | { readonly vcpu: Vcpu; readonly text: string; readonly ranges: readonly Range[]; readonly old: readonly string[] }
    | undefined

  constructor(kinds: readonly string[], say: (line: string) => void) {
    this.#say = say
    this.#kinds = new Set(kinds.filter(kind => !kind.startsWith('memory=')))
    this.#watched = kinds.flatMap(kind => (kind.startsWith('memory=') ? [kind.slice('memory='.length)] : []))
  }

  /** Do guests have to run one instruction at a time? */
  get isStepping(): boolean {
    return this.#kinds.has('instructions') || this.#watched.length > 0
  }

  /** An exit of a vCPU, or a ucall. */
  exit({ index, instructions }: Vcpu, outcome: Exit | Ucall): void {
    if (this.#kinds.has('exits'))
      this.#say(`exit  vCPU ${index}  ${exitText(outcome)}  after ${instructions} instructions`)
  }

  /** Watches a machine that was just made. */
  attach(machine: Machine): void {
    if (this.#kinds.has('ioctls')) this.#ioctls(machine)
    if (this.#kinds.has('seamcalls')) this.#seamcalls(machine)
    if (this.#kinds.has('tdcalls')) this.#tdcalls(machine)
  }

  #ioctls({ host }: Machine): void {
    const ioctl = host.ioctl.bind(host)
    host.ioctl = (fd, request, arg = 0) => {
      const name = abi.KVM_IOCTL_NAMES.get(request) ?? hex(request)
      const call = `ioctl  ${name}  fd ${fd}  ${hex(BigInt(arg))}`
      try {
        const result = ioctl(fd, request, arg)
        this.#say(`${call}  = ${result}`)
        return result
      } catch (error) {
        if (error instanceof Errno) this.#say(`${call}  = -1 ${error.message}`)
        throw error
      }
    }
  }

  #seamcalls({ host }: Machine): void {
    const { module } = host.tdx()
    const seamcall = module.seamcall.bind(module)
    module.seamcall = (lp, regs) => {
      const leaf = regs.rax & 0xffffn
      const before = Object.fromEntries(OPERANDS.map(name => [name, regs[name]]))
      seamcall(lp, regs)
      const after = Object.fromEntries(OPERANDS.map(name => [name, regs[name]]))
      const status = Number(leaf) === abi.TDH_VP_ENTER ? enterStatus(regs.rax) : abi.statusName(regs.rax)
      this.#say(`seamcall  LP ${lp.id}  ${nameOf('TDH_', leaf)}${given(before)}  = ${status}${changed(before, after)}`)
    }
  }

  #tdcalls({ host }: Machine): void {
    host.tdx().module.onTdcall = (vcpu, cpu, call) => {
      const read = (): Values => Object.fromEntries(abi.GPR_NAMES.map((name, n) => [name, cpu.gpr[n] ?? 0n]))
      const before = read()
      const leaf = (before['rax'] ?? 0n) & 0xffffn
      const isVmcall = Number(leaf) === abi.TDG_VP_VMCALL
      const inputs = Object.fromEntries(OPERANDS.map(name => [name, before[name] ?? 0n]))
      const sub =
        before['r10'] === 0n ? nameOf('TDVMCALL_', before['r11'] ?? 0n) : `hypercall ${hex(before['r11'] ?? 0n)}`
      const start = `tdcall  vCPU ${vcpu.index}  ${nameOf('TDG_', leaf)}${isVmcall ? ` ${sub}` : ''}${given(inputs)}`
      const result = call()
      const answer = typeof result === 'bigint' ? abi.statusName(result) : result === 'vmcall' ? 'to the host' : result
      this.#say(`${start}  = ${answer}${changed(before, read())}`)
      return result
    }
  }

  /** A vCPU is about to execute its next instruction. */
  step(machine: Machine, vcpu: Vcpu): void {
    const seen = machine.host.inspect(vcpu.fd)
    this.settle(machine)
    const bytes = seen.read(gva(seen.rip), 15) ?? seen.read(gva(seen.rip), 1)
    const { symbols } = vcpu.td.image
    const line = bytes && disassemble(bytes, seen.rip, seen.rip, 1)[0]
    const where = nameOfAddress(symbols, seen.rip) ?? ''
    const text = `vCPU ${vcpu.index}  ${seen.instructions}  ${hex(seen.rip)}  ${where}  ${line?.text ?? 'nothing is mapped here'}`
    if (this.#kinds.has('instructions')) this.#say(`insn  ${text}${valuesOf(line?.text ?? '', seen)}`)
    if (this.#watched.length === 0 || line === undefined) return
    const ranges = accessesOf(line, seen).filter(access => this.#watches(vcpu, access))
    if (ranges.length > 0)
      this.#before = { vcpu, text, ranges, old: ranges.map(range => contentOf(machine, vcpu, range)) }
  }

  /** The instruction before is over: what did it do to the watched memory? */
  settle(machine: Machine): void {
    if (this.#before === undefined) return
    const { vcpu, text, ranges, old } = this.#before
    this.#before = undefined
    for (const [at, range] of ranges.entries()) {
      const now = contentOf(machine, vcpu, range)
      const how = now === old[at] ? now : `${old[at]} -> ${now}`
      const place = `${hex(range.at)} ${nameOfAddress(vcpu.td.image.symbols, range.at) ?? ''}`.trimEnd()
      this.#say(`memory  ${text}  ${place}  ${range.size} byte${range.size === 1 ? '' : 's'}  ${how}`)
    }
  }

  #watches({ td }: Vcpu, { at, size }: Range): boolean {
    return this.#watched.some(text => {
      const [from = '', to] = text.split('-')
      const symbol = td.image.symbols.find(({ name }) => name === from)
      if (to === undefined && symbol === undefined) return false
      const first = symbol?.gva ?? BigInt(from)
      const last = to === undefined ? first + BigInt(Math.max(1, symbol?.size ?? 1)) : BigInt(to)
      return at < last && at + BigInt(size) > first
    })
  }
}

/** RAX of VP.ENTER: a status, and the VMX exit reason where the TD ran. */
const enterStatus = (rax: bigint): string => {
  const reason = REASONS[Number(rax & 0xffffn)]
  return rax >> 32n === 0n && reason !== undefined ? `TD exit, ${reason}` : abi.statusName(rax)
}

/** SDM Vol. 3D, "VMX Basic Exit Reasons": those that leave a TD. */
const REASONS: Readonly<Record<number, string>> = {
  0: 'EXCEPTION_NMI',
  1: 'EXTERNAL_INTERRUPT',
  2: 'TRIPLE_FAULT',
  48: 'EPT_VIOLATION',
  49: 'EPT_MISCONFIG',
  77: 'TDCALL',
}

const contentOf = (machine: Machine, { fd }: Vcpu, { at, size }: Range): string => {
  const bytes = machine.host.inspect(fd).read(gva(at), size)
  if (bytes === undefined) return 'not mapped'
  return `0x${[...bytes]
    .reverse()
    .map(b => b.toString(16).padStart(2, '0'))
    .join('')}`
}
