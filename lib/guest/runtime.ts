/**
 * The code that every guest of ours has beside its own: ucall, its ways to the host, and the exception handlers.
 * One page at a fixed address, so that builder, C and assembly all find its entries.
 */
import {
  EXCEPTIONS,
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
import { type Gva, gva, PAGE_SIZE } from '#bits'
import { assemble } from '#x86'
import { encodeIdt } from './descriptors.ts'
import type { Sym, Transport } from './image.ts'

/** The last page of the 2 MiB that the rest lies in, out of the way of programs linked at the usual 0x40_0000. */
export const RUNTIME_GVA = gva(0x5f_f000n)
/** Entries, 16 bytes apart. They are ABI between this room's parts. */
export const RUNTIME = {
  /** On the stack: command | count << 8, then `count` arguments. Keeps every register and the stack; not the flags. */
  ucall: gva(RUNTIME_GVA),
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
}

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

const text = (o: RuntimeOptions): string => `
  jmp ucall
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
  call report
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
  mov rdx, qword ptr [rax*8 + ${o.handlers}]
  test rdx, rdx
  jz unhandled
  mov rdi, rsp
  cld
  call rdx
  ${pop}
  add rsp, 16
  iretq
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
  const key = [o.transport, o.sharedBit, o.pool, o.capacity, o.handlers].join()
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
    idt: encodeIdt(handlers),
    symbols: symbols.map((s, i) => ({ ...s, size: Number(ends[i]! - s.gva) })),
  }
  made.set(key, result)
  return result
}
