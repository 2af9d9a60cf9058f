/** Exceptions of a guest as words: handlers, faults that are expected, interrupts, and code that runs in ring 3. */
import { EXCEPTIONS, KERNEL_TSS } from '#abi'
import type { GuestBuilder } from './builder.ts'
import { ALL_GPRS, type Word } from './calls.ts'
import type { Operand } from './ir.ts'
import { FAULT_RECORD, USER_GATE, USER_GATE_RETURN } from './runtime.ts'
import type { Says } from './says.ts'
import type { Place } from './site.ts'
import { u64 } from './types.ts'
import { GuestValueError, operandIn, Value } from './value.ts'
import type { Workshop } from './workshop.ts'

/** An exception by its mnemonic, as the manual writes it. */
export type FaultName =
  | '#DE'
  | '#DB'
  | '#BP'
  | '#OF'
  | '#BR'
  | '#UD'
  | '#NM'
  | '#TS'
  | '#NP'
  | '#SS'
  | '#GP'
  | '#PF'
  | '#MF'
  | '#AC'
  | '#XM'
  | '#VE'
  | '#CP'

/** A fault as the guest saw it. `cr2` is a page fault's address; `rip` stands at what faulted, or behind a trap. */
export type Fault = { readonly vector: Word; readonly errorCode: Word; readonly cr2: Word; readonly rip: Word }

/** `vector` of a `Fault` that did not happen. */
export const NO_FAULT = 0x100n
const ANY = 0xffff_ffff_ffff_ffffn

/** The vector of an exception. RangeError where there is none of that name. */
export const vectorOf = (name: FaultName): number => {
  const found = Object.entries(EXCEPTIONS).find(([, e]) => e.mnemonic === name)
  if (found === undefined) throw new RangeError(`there is no exception ${name}`)
  return Number(found[0])
}

const R = FAULT_RECORD.offset
/** From a vCPU's selector to its record. */
const RECORD = `
  str ecx
  sub ecx, ${KERNEL_TSS}
  shl ecx, 2
  add ecx, edx`

/** Everything that lives across this lies on the stack: the code before may be left at any instruction. */
const settle = (g: GuestBuilder): void =>
  g.scope.emit({ op: 'fixed', code: { bytes: new Uint8Array(0) }, ins: [], outs: [], clobbers: ALL_GPRS })

/** The first fault of `body`, or the first with this vector; the guest goes on behind `body`. */
export const catchFault = (g: GuestBuilder, shop: Workshop, wanted: bigint | undefined, body: () => void): Fault => {
  const records: Operand = operandIn(u64, shop.records())
  const resume = g.scope.label()
  const where = g.scope.vreg()
  g.scope.emit({ op: 'where', dst: where, label: resume })
  // A fault that is expected further out waits until this one is settled.
  const { rax, rsi, rdi } = g.asm(
    `${RECORD}
    mov r8, rax
    mov rax, qword ptr [rcx + ${R.resume}]
    mov rsi, qword ptr [rcx + ${R.rsp}]
    mov r9, qword ptr [rcx + ${R.wanted}]
    mov qword ptr [rcx + ${R.rsp}], rsp
    mov qword ptr [rcx + ${R.wanted}], rdi
    mov rdi, r9
    mov qword ptr [rcx + ${R.resume}], r8`,
    {
      in: { rax: new Value(g, u64, where), rdx: new Value(g, u64, records), rdi: wanted ?? ANY },
      out: ['rax', 'rsi', 'rdi'],
      clobbers: ['rcx', 'r8', 'r9'],
    },
  )
  settle(g)
  const { scope } = g
  const depth = scope.loops.length
  body()
  if (g.scope !== scope || scope.loops.length !== depth)
    throw new GuestValueError('an expected fault ends in the function and the loop that it began in')
  g.asm(`${RECORD}\n    mov qword ptr [rcx + ${R.vector}], ${NO_FAULT}`, {
    in: { rdx: new Value(g, u64, records) },
    clobbers: ['rcx'],
  })
  scope.emit({ op: 'label', label: resume })
  const out = g.asm(
    `${RECORD}
    mov qword ptr [rcx + ${R.resume}], rax
    mov qword ptr [rcx + ${R.rsp}], rsi
    mov qword ptr [rcx + ${R.wanted}], rdi
    mov rax, qword ptr [rcx + ${R.vector}]
    mov rdx, qword ptr [rcx + ${R.errorCode}]
    mov rsi, qword ptr [rcx + ${R.cr2}]
    mov rdi, qword ptr [rcx + ${R.rip}]`,
    {
      in: { rax, rsi, rdi, rdx: new Value(g, u64, records) },
      out: ['rax', 'rdx', 'rsi', 'rdi'],
      clobbers: ['rcx'],
    },
  )
  return { vector: out.rax, errorCode: out.rdx, cr2: out.rsi, rip: out.rdi }
}

/** As `catchFault`, and the test fails where there was none. */
export const expectFault = (
  g: GuestBuilder,
  shop: Workshop,
  says: Says,
  name: FaultName,
  body: () => void,
  place: Place,
): Fault => {
  const vector = BigInt(vectorOf(name))
  const fault = catchFault(g, shop, vector, body)
  says.check('assert', 'eq', fault.vector, vector, place, `${name} was expected and did not come`)
  return fault
}

/** `body` in ring 3, on the same stack. Its words to the host go through a gate; TDCALLs of its own are #GP. */
export const user = (g: GuestBuilder, shop: Workshop, body: () => void): void => {
  const code = shop.userCode()
  g.asm(
    `
    mov rax, rsp
    push ${code + 8}
    push rax
    pushfq
    push ${code}
    lea rax, [rip + in_user]
    push rax
    iretq
  in_user:`,
    { clobbers: ['rax'] },
  )
  body()
  g.asm(`int ${USER_GATE}`, { in: { rax: BigInt(USER_GATE_RETURN) }, clobbers: [] })
}

/** The number of the vCPU that runs this, by its task register. */
export const vcpuIndex = (g: GuestBuilder, shop: Workshop): Word => {
  shop.records()
  return g.asm(`str eax\nsub eax, ${KERNEL_TSS}\nshr eax, 4`, { out: ['rax'], clobbers: [] }).rax
}
