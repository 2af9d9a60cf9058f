/**
 * `--dump`: an ELF core file of a guest, for readelf and gdb: its memory by guest virtual address, and the registers of
 * each vCPU in NT_PRSTATUS, NT_PRFPREG and NT_X86_XSTATE notes. System V ABI, "ELF Header", "Program Header"; Linux include/uapi/linux/elfcore.h.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { XCR0_AVX, XCR0_SSE, XCR0_X87 } from '#abi'
import { gva, PAGE_SIZE, struct, u16, u32, u64 } from '#bits'
import type { Inspection } from '#kvm'
import type { Machine } from './machine.ts'
import type { Td } from './td.ts'

const [ET_CORE, EM_X86_64] = [4, 62]
const [PT_LOAD, PT_NOTE] = [1, 4]
const [NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE] = [1, 2, 0x202]
const [PF_X, PF_W, PF_R] = [1, 2, 4]

const header = struct('Elf64_Ehdr', {
  magic: u32,
  class: u32,
  padding: u64,
  type: u16,
  machine: u16,
  version: u32,
  entry: u64,
  phoff: u64,
  shoff: u64,
  flags: u32,
  ehsize: u16,
  phentsize: u16,
  phnum: u16,
  shentsize: u16,
  shnum: u16,
  shstrndx: u16,
})
const programHeader = struct('Elf64_Phdr', {
  type: u32,
  flags: u32,
  offset: u64,
  vaddr: u64,
  paddr: u64,
  filesz: u64,
  memsz: u64,
  align: u64,
})

/** struct elf_prstatus of x86-64: pr_pid, pr_reg; what follows pr_reg is pr_fpvalid. */
const PRSTATUS = { size: 336, signal: 12, pid: 32, registers: 112 } as const
/** struct user_regs_struct, as general register numbers where they are some. Linux arch/x86/include/asm/user_64.h. */
const ORDER = [15, 14, 13, 12, 5, 3, 11, 10, 9, 8, 0, 1, 2, 6, 7] as const
const SIGTRAP = 5

/** A note: header, name, content. Name and content are padded to 4 bytes. */
const noteOf = (name: string, type: number, content: Uint8Array): Uint8Array => {
  const at = 12 + 4 * Math.ceil((name.length + 1) / 4)
  const note = new Uint8Array(at + 4 * Math.ceil(content.length / 4))
  const view = new DataView(note.buffer)
  view.setUint32(0, name.length + 1, true)
  view.setUint32(4, content.length, true)
  view.setUint32(8, type, true)
  note.set(new TextEncoder().encode(name), 12)
  note.set(content, at)
  return note
}

/** One vCPU's general registers. */
const statusOf = (index: number, seen: Inspection): Uint8Array => {
  const status = new Uint8Array(PRSTATUS.size)
  const view = new DataView(status.buffer)
  view.setUint16(PRSTATUS.signal, SIGTRAP, true)
  view.setUint32(PRSTATUS.pid, index + 1, true)
  const { gpr, rip, rflags } = seen
  const [cs, ss] = [0x10n | BigInt(seen.cpl), 0x18n | BigInt(seen.cpl)]
  // orig_rax says that the thread is in no system call; segments have no place in an Inspection, their bases are 0.
  const registers = [...ORDER.map(n => gpr[n] ?? 0n), 0xffff_ffff_ffff_ffffn, rip, cs, rflags, gpr[4] ?? 0n, ss]
  for (const [n, value] of registers.entries()) view.setBigUint64(PRSTATUS.registers + 8 * n, value, true)
  return noteOf('CORE', NT_PRSTATUS, status)
}

/** Its x87, SSE and AVX registers: what FXSAVE gives, and an XSAVE area whose reserved bytes have XCR0, as debuggers look for it. */
const extendedOf = (seen: Inspection): Uint8Array => {
  const area = seen.extended(XSAVE.size)
  new DataView(area.buffer).setBigUint64(XSAVE.xcr0, XCR0_X87 | XCR0_SSE | XCR0_AVX, true)
  return joined([noteOf('CORE', NT_PRFPREG, area.slice(0, XSAVE.legacy)), noteOf('LINUX', NT_X86_XSTATE, area)])
}
/** The legacy region, the header and 16 upper halves of YMM; XCR0's place is Linux's own (arch/x86/include/uapi/asm/sigcontext.h). */
const XSAVE = { legacy: 512, xcr0: 464, size: 832 } as const

type Load = { readonly gva: bigint; readonly gpa: bigint; readonly bytes: Uint8Array; readonly flags: number }

/** The guest's memory as it sees it, where it can; pages that it could not read now are left out. */
const loadsOf = (td: Td, seen: Inspection): Load[] => {
  const loads: Load[] = []
  for (const { gva: start, gpa, size, writable, executable } of td.layout.segments) {
    const flags = PF_R | (writable ? PF_W : 0) | (executable ? PF_X : 0)
    for (let offset = 0; offset < size; offset += PAGE_SIZE) {
      const at = start + BigInt(offset)
      const bytes = seen.read(gva(at), PAGE_SIZE)
      if (bytes === undefined) continue
      const last = loads.at(-1)
      if (last !== undefined && last.flags === flags && last.gva + BigInt(last.bytes.length) === at)
        loads[loads.length - 1] = { ...last, bytes: joined([last.bytes, bytes]) }
      else loads.push({ gva: at, gpa: gpa + BigInt(offset), bytes, flags })
    }
  }
  return loads
}

const joined = (parts: readonly Uint8Array[]): Uint8Array => {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/** The file. `first` is the number of the vCPU that a debugger shows first; its page tables are those memory is read by. */
export const coreOf = (machine: Machine, td: Td, first: number): Uint8Array => {
  const order = [...td.vcpus].sort((a, b) => Number(b.index === first) - Number(a.index === first))
  const states = order.map(vcpu => ({ index: vcpu.index, seen: machine.host.inspect(vcpu.fd) }))
  const notes = joined(states.flatMap(({ index, seen }) => [statusOf(index, seen), extendedOf(seen)]))
  const loads = states[0] === undefined ? [] : loadsOf(td, states[0].seen)
  const start = header.size + (loads.length + 1) * programHeader.size
  let offset = Math.ceil((start + notes.length) / PAGE_SIZE) * PAGE_SIZE
  const headers = [
    programHeader.encode({ type: PT_NOTE, offset: BigInt(start), filesz: BigInt(notes.length), align: 4n }),
  ]
  const body: Uint8Array[] = []
  for (const { gva: vaddr, gpa: paddr, bytes, flags } of loads) {
    const size = BigInt(bytes.length)
    const at = { offset: BigInt(offset), vaddr, paddr, filesz: size, memsz: size, align: BigInt(PAGE_SIZE) }
    headers.push(programHeader.encode({ type: PT_LOAD, flags, ...at }))
    body.push(bytes)
    offset += bytes.length
  }
  const file = header.encode({
    magic: 0x464c_457f,
    // 64-bit, little endian, version 1.
    class: 0x0001_0102,
    type: ET_CORE,
    machine: EM_X86_64,
    version: 1,
    phoff: BigInt(header.size),
    ehsize: header.size,
    phentsize: programHeader.size,
    phnum: headers.length,
  })
  const head = joined([file, ...headers, notes])
  return joined([head, new Uint8Array(Math.ceil(head.length / PAGE_SIZE) * PAGE_SIZE - head.length), ...body])
}

/** Writes the core file of a guest into `directory`, and says where. */
export const dumpCore = (directory: string, name: string, machine: Machine, td: Td, first: number): string => {
  mkdirSync(directory, { recursive: true })
  const path = join(directory, `${name}.${td.name.replaceAll(' ', '')}.core`)
  writeFileSync(path, coreOf(machine, td, first))
  return path
}
