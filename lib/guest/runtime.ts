/**
 * The code that every guest of ours has beside its own: ucall, its ways to the host, and the exception handlers.
 * One page at a fixed address, so that builder, C and assembly all find its entries.
 */
import {
  EXCEPTIONS,
  KERNEL_CS,
  KERNEL_DS,
  KERNEL_TSS,
  RFLAGS_DF,
  RFLAGS_NT,
  RFLAGS_TF,
  TDVMCALL_EXPOSE_R10_R15,
  TDVMCALL_IO,
  TDVMCALL_MMIO,
  TDVMCALL_REPORT_FATAL_ERROR,
  TDVMCALL_WRITE,
  UCALL_FATAL_MAGIC,
  UCALL_MAX_ARGS,
  UCALL_MMIO_GPA,
  UCALL_PIO_PORT,
  UCALL_UNHANDLED,
  ucall,
  ucallPool,
} from '#abi'
import { type Gva, gva, PAGE_SIZE, struct, u64 } from '#bits'
import { assemble } from '#x86'
import { FIXUP_MAGIC } from './cpu.ts'
import { encodeIdt, tssSelector } from './descriptors.ts'
import type { Sym, Transport } from './image.ts'

/** The last page of the 2 MiB that the rest lies in, out of the way of programs linked at the usual 0x40_0000. */
export const RUNTIME_GVA = gva(0x5f_f000n)
/** Entries, 16 bytes apart. They are ABI between this room's parts. */
export const RUNTIME = {
  /** On the stack: command | count << 8, then `count` arguments. Keeps every register and the stack; not the flags. */
  ucall: gva(RUNTIME_GVA),
  /** The address of the table of exception handlers, for C. */
  handlers: gva(RUNTIME_GVA + 8n),
  /** A ucall without a structure (GUEST_UCALL_NONE). Keeps every register. */
  bare: gva(RUNTIME_GVA + 0x10n),
  /** System V: void (u64 command | count << 8, const u64 *arguments). */
  call: gva(RUNTIME_GVA + 0x20n),
} as const

/** 256 stubs of 9 bytes fill the end of the page. */
const STUB = 9
const STUBS = PAGE_SIZE - 256 * STUB

export type RuntimeOptions = {
  readonly transport: Transport
  readonly sharedBit: bigint
  readonly pool: Gva
  readonly capacity: number
  /** 256 pointers to System V functions of the saved registers; 0 for none. */
  readonly handlers: Gva
  /** `FAULT_RECORD`s of the vCPUs, found by the task register, where the guest expects faults. */
  readonly records?: Gva | undefined
  /** Ring 3 has a gate to come back by, and its ucalls go through it. */
  readonly user?: boolean
}

/** A fault that a guest waits for: where to go on and with which stack, for which vector (-1 for any), and what came. */
export const FAULT_RECORD = struct('fault_record', {
  resume: u64,
  rsp: u64,
  wanted: u64,
  vector: u64,
  errorCode: u64,
  cr2: u64,
  rip: u64,
  reserved: u64,
})
const R = FAULT_RECORD.offset

/** The gate that ring 3 may use. RAX says what for: a ucall (RDI and RSI as for `call`), or to go on in ring 0. */
export const USER_GATE = 0xf0
export const USER_GATE_UCALL = 0
export const USER_GATE_RETURN = 1
const FIRST_INTERRUPT = 32

/** TDG.VP.VMCALL with R10 to R15, sub-function in R11. A ucall that the VMM refuses is fatal. */
const vmcall = (subFunction: number, mask = TDVMCALL_EXPOSE_R10_R15): string => `
  mov r11d, ${subFunction}
  xor r10d, r10d
  mov ecx, ${mask}
  xor eax, eax
  tdcall
  or rax, r10
  jnz fatal
  ret`

/**
 * The guest's half of each transport: R15 is the payload, EAX the structure's index (-1 for none, -2 for no memory). May use every register that
 * a System V call may, and R12 to R15. The host's half is the harness's.
 * Seed of the project: reply to "[PATCH v13 00/22] TDX KVM selftests", the options that were weighed.
 */
const TRANSPORTS: Readonly<Record<Transport, (o: RuntimeOptions) => string>> = {
  /** An 8-byte #VE.RequestMMIO write of the payload. */
  mmio: o => `
  mov r12d, ${ucall.fields.hva.size}
  mov r13d, ${TDVMCALL_WRITE}
  mov r14, ${UCALL_MMIO_GPA | o.sharedBit}
  ${vmcall(TDVMCALL_MMIO)}`,
  /** ReportFatalError with the magic number. */
  fatal: () => `
  mov r12, ${UCALL_FATAL_MAGIC}
  mov r13, r15
  ${vmcall(TDVMCALL_REPORT_FATAL_ERROR)}`,
  /** Port I/O with RDI shown as well: the mask's bit 7. */
  'port-rdi': () => `
  mov rdi, r15
  mov r12d, 1
  mov r13d, ${TDVMCALL_WRITE}
  mov r14d, ${UCALL_PIO_PORT}
  ${vmcall(TDVMCALL_IO, TDVMCALL_EXPOSE_R10_R15 | 0x80n)}`,
  /** Port I/O of 4 bytes: the structure's index in the pool. */
  'port-index': () => `
  mov r15d, eax
  mov r12d, 4
  mov r13d, ${TDVMCALL_WRITE}
  mov r14d, ${UCALL_PIO_PORT}
  ${vmcall(TDVMCALL_IO)}`,
  /** An ordinary VM's: IN with RDI in sight of KVM_GET_REGS. */
  pio: () => `
  mov rdi, r15
  mov edx, ${UCALL_PIO_PORT}
  in al, dx
  ret`,
}

const SAVED = ['rax', 'rcx', 'rdx', 'rbx', 'rbp', 'rsi', 'rdi', ...[8, 9, 10, 11, 12, 13, 14, 15].map(n => `r${n}`)]
const push = SAVED.map(r => `push ${r}`).join('\n')
const pop = SAVED.toReversed()
  .map(r => `pop ${r}`)
  .join('\n')
const FRAME_REGISTERS = 8 * SAVED.length

/** Offsets in what an exception handler is given: SAVED, pushed in this order, below vector and frame. */
export const FRAME = {
  r15: 0n,
  r14: 8n,
  r13: 16n,
  r12: 24n,
  r11: 32n,
  r10: 40n,
  r9: 48n,
  r8: 56n,
  rdi: 64n,
  rsi: 72n,
  rbp: 80n,
  rbx: 88n,
  rdx: 96n,
  rcx: 104n,
  rax: 112n,
  vector: 120n,
  errorCode: 128n,
  rip: 136n,
  cs: 144n,
  rflags: 152n,
  rsp: 160n,
  ss: 168n,
} as const
export type FrameField = keyof typeof FRAME

/** A ring 3 that reports does so through its gate. */
const reportFromAnyRing = `
  mov eax, cs
  test al, 3
  jnz from_user
  call report
  jmp reported
from_user:
  xor eax, eax
  int ${USER_GATE}
reported:`

/** At the gate: the saved RAX says what is wanted. */
const userGate = `
  cmp eax, ${USER_GATE}
  jne no_gate
  cmp qword ptr [rsp + ${FRAME.rax}], ${USER_GATE_UCALL}
  jne leave_user
  mov rdi, qword ptr [rsp + ${FRAME.rdi}]
  mov rsi, qword ptr [rsp + ${FRAME.rsi}]
  cld
  call report
  jmp back
leave_user:
  mov qword ptr [rsp + ${FRAME.cs}], ${KERNEL_CS}
  mov qword ptr [rsp + ${FRAME.ss}], ${KERNEL_DS}
  jmp back
no_gate:`

/** Is it the fault that this vCPU waits for? RAX is its vector. It goes on in ring 0, whichever ring it came from. */
const expected = (records: Gva): string => `
  str ecx
  sub ecx, ${KERNEL_TSS}
  shl ecx, ${Math.log2(FAULT_RECORD.size / TSS_SELECTORS)}
  add ecx, ${records}
  mov rdx, qword ptr [rcx + ${R.resume}]
  test rdx, rdx
  jz unexpected
  cmp rax, qword ptr [rcx + ${R.wanted}]
  je take
  cmp qword ptr [rcx + ${R.wanted}], -1
  jne unexpected
  cmp eax, ${FIRST_INTERRUPT}
  jae unexpected
take:
  mov qword ptr [rcx + ${R.resume}], 0
  mov qword ptr [rcx + ${R.vector}], rax
  mov rax, qword ptr [rsp + ${FRAME.errorCode}]
  mov qword ptr [rcx + ${R.errorCode}], rax
  mov rax, cr2
  mov qword ptr [rcx + ${R.cr2}], rax
  mov rax, qword ptr [rsp + ${FRAME.rip}]
  mov qword ptr [rcx + ${R.rip}], rax
  mov qword ptr [rsp + ${FRAME.rip}], rdx
  mov rdx, qword ptr [rcx + ${R.rsp}]
  mov qword ptr [rsp + ${FRAME.rsp}], rdx
  mov qword ptr [rsp + ${FRAME.cs}], ${KERNEL_CS}
  mov qword ptr [rsp + ${FRAME.ss}], ${KERNEL_DS}
  and qword ptr [rsp + ${FRAME.rflags}], ~${RFLAGS_TF | RFLAGS_DF | RFLAGS_NT}
  jmp back
unexpected:`
/** From one vCPU's selector to the next. */
const TSS_SELECTORS = tssSelector(1) - tssSelector(0)

const text = (o: RuntimeOptions): string => `
  jmp ucall
.align 8
  .quad ${o.handlers}
.align 16
  jmp bare
.align 16
report:
  push r12
  push r13
  push r14
  push r15
  xor eax, eax
find:
  lock bts qword ptr [${o.pool}], rax
  jnc found
  inc eax
  cmp eax, ${o.capacity}
  jb find
  mov r15, -1
  mov eax, -2
  call transport
  jmp finish
found:
  imul rdx, rax, ${ucall.size}
  add rdx, ${o.pool + BigInt(ucallPool(o.capacity).ucalls)}
  movzx ecx, dil
  mov qword ptr [rdx + ${ucall.offset.cmd}], rcx
  shr edi, 8
  xor ecx, ecx
fill:
  xor r8d, r8d
  cmp ecx, edi
  jae none
  mov r8, qword ptr [rsi + rcx*8]
none:
  mov qword ptr [rdx + rcx*8 + ${ucall.offset.args}], r8
  inc ecx
  cmp ecx, ${UCALL_MAX_ARGS}
  jb fill
  cmp ecx, edi
  jb fill
  mov r15, qword ptr [rdx + ${ucall.offset.hva}]
  push rax
  call transport
  pop rax
  lock btr qword ptr [${o.pool}], rax
finish:
  pop r15
  pop r14
  pop r13
  pop r12
  ret
ucall:
  ${push}
  mov rdi, qword ptr [rsp + ${FRAME_REGISTERS + 8}]
  lea rsi, [rsp + ${FRAME_REGISTERS + 16}]
  ${o.user ? reportFromAnyRing : 'call report'}
  ${pop}
  ret
bare:
  ${push}
  xor r15d, r15d
  mov eax, -1
  call transport
  ${pop}
  ret
transport:
  ${TRANSPORTS[o.transport](o)}
fatal:
  mov r12d, 1
  mov r13, rax
  xor r10d, r10d
  mov r11d, ${TDVMCALL_REPORT_FATAL_ERROR}
  mov ecx, ${TDVMCALL_EXPOSE_R10_R15}
  xor eax, eax
  tdcall
  jmp fatal
exception:
  ${push}
  movzx eax, byte ptr [rsp + ${FRAME_REGISTERS}]
  mov qword ptr [rsp + ${FRAME_REGISTERS}], rax
  mov rdx, ${FIXUP_MAGIC}
  cmp rdx, qword ptr [rsp + ${FRAME.r9}]
  je fixup
not_fixed:
  ${o.user ? userGate : ''}
  ${o.records === undefined ? '' : expected(o.records)}
  mov rdx, qword ptr [rax*8 + ${o.handlers}]
  test rdx, rdx
  jz unhandled
  mov rdi, rsp
  cld
  call rdx
back:
  ${pop}
  add rsp, 16
  iretq
fixup:
  mov rdx, qword ptr [rsp + ${FRAME.rip}]
  cmp rdx, qword ptr [rsp + ${FRAME.r10}]
  jne not_fixed
  mov qword ptr [rsp + ${FRAME.r9}], rax
  mov rcx, qword ptr [rsp + ${FRAME.errorCode}]
  mov qword ptr [rsp + ${FRAME.r10}], rcx
  mov rcx, qword ptr [rsp + ${FRAME.r11}]
  mov qword ptr [rsp + ${FRAME.rip}], rcx
  jmp back
unhandled:
  push qword ptr [rsp + ${FRAME_REGISTERS + 32}]
  push qword ptr [rsp + ${FRAME_REGISTERS + 48}]
  mov rax, cr2
  push rax
  push qword ptr [rsp + ${FRAME_REGISTERS + 40}]
  push qword ptr [rsp + ${FRAME_REGISTERS + 40}]
  push qword ptr [rsp + ${FRAME_REGISTERS + 40}]
  push ${UCALL_UNHANDLED | (6 << 8)}
again:
  call ucall
  jmp again
`

export type Runtime = {
  readonly bytes: Uint8Array
  /** An IDT whose gates lead to the page's stubs. */
  readonly idt: Uint8Array
  readonly symbols: readonly Sym[]
}

const made = new Map<string, Runtime>()

/**
 * The runtime's page, the IDT that leads to it, and its names. An exception nobody handles is
 * UCALL_UNHANDLED(vector, error code, RIP, CR2, RSP, RFLAGS).
 */
export const runtime = (o: RuntimeOptions): Runtime => {
  const key = [o.transport, o.sharedBit, o.pool, o.capacity, o.handlers, o.records, o.user].join()
  const known = made.get(key)
  if (known !== undefined) return known
  const { bytes: code, labels } = assemble(text(o), { mode: 64, at: RUNTIME_GVA })
  if (code.length > STUBS) throw new RangeError(`runtime of ${code.length} bytes: ${STUBS} fit before its stubs`)
  const bytes = new Uint8Array(PAGE_SIZE)
  bytes.set(code)
  const view = new DataView(bytes.buffer)
  const exception = Number(labels['exception']! - RUNTIME_GVA)
  const handlers: Gva[] = []
  for (let vector = 0; vector < 256; vector++) {
    let at = STUBS + vector * STUB
    handlers.push(gva(RUNTIME_GVA + BigInt(at)))
    // PUSH 0 where the processor pushes no error code; PUSH vector; JMP exception.
    if (EXCEPTIONS[vector]?.errorCode !== true) {
      bytes.set([0x6a, 0], at)
      at += 2
    }
    bytes.set([0x6a, vector, 0xe9], at)
    view.setInt32(at + 3, exception - (at + 7), true)
  }
  const symbols = Object.entries(labels)
    .filter(([name]) => ['report', 'ucall', 'bare', 'transport', 'fatal', 'exception', 'unhandled'].includes(name))
    .map(([name, address]) => ({ name: `seamless_${name}`, gva: gva(address), size: 0 }))
    .sort((a, b) => Number(a.gva - b.gva))
  const ends = [...symbols.slice(1).map(s => s.gva), gva(RUNTIME_GVA + BigInt(code.length))]
  const result = {
    bytes,
    idt: encodeIdt(handlers, o.user === true ? [USER_GATE] : []),
    symbols: symbols.map((s, i) => ({ ...s, size: Number(ends[i]! - s.gva) })),
  }
  made.set(key, result)
  return result
}
