/** One instruction executed again and again in a TD, with registers of the test's choice: tables are tested by executing them. */
import type { Cpu } from '#x86'
import type { Vcpu } from '../vcpu.ts'
import { type Guest, guest, TDVMCALL } from './guest.ts'

type Options = NonNullable<Parameters<typeof guest>[1]>

/** What became of it: `done`, or the exception, #VE by its exit reason. */
export type Outcome = 'done' | '#GP' | '#UD' | '#PF' | '#DF' | `#VE ${number}` | `exit ${bigint}`

export type Stub = {
  readonly guest: Guest
  readonly cpu: Cpu
  readonly vcpu: Vcpu
  /** Executes it with these registers by number, after `change`. Afterwards the CPU has what it left, where it was done. */
  run(registers?: Readonly<Record<number, bigint>>, change?: (cpu: Cpu) => void): Outcome
}

const NAMES: Readonly<Record<number, Outcome>> = { 6: '#UD', 8: '#DF', 13: '#GP', 14: '#PF' }
const [RCX, R13, R14, R15] = [1, 13, 14, 15]

/** `code`: the instruction. RAX, RCX, RDX and RBX as it left them are in R8, R9, R10 and R11 after it. */
export const stub = (code: string, options: Options = {}): Stub => {
  const g = guest(
    `mov ecx, 0xfc00
    xor eax, eax
    tdcall
    ${code}
    mov r8, rax
    mov r9, rcx
    mov r10, rdx
    mov r11, rbx
    xor r15d, r15d
    mov ecx, 0xff00
    xor eax, eax
    tdcall
    hlt`,
    options,
  )
  if (g.enter() !== TDVMCALL) throw new Error('the guest does not get to its code')
  const { cpu, vcpu } = g
  // The TDCALL is complete with the next entry; the instruction is right behind it.
  const rip = cpu.rip
  const state = { rsp: cpu.gpr[4]!, rflags: cpu.rflags, cr0: cpu.cr0, cr4: cpu.cr4, efer: cpu.efer, xcr0: cpu.xcr0 }
  return {
    guest: g,
    cpu,
    vcpu,
    run(registers = {}, change = () => {}) {
      vcpu.ve.valid = 0
      vcpu.lastExit = 'fault'
      cpu.pending.length = 0
      cpu.rip = rip
      cpu.rflags = state.rflags
      cpu.cr0 = state.cr0
      cpu.cr4 = state.cr4
      cpu.efer = state.efer
      cpu.xcr0 = state.xcr0
      cpu.gpr[4] = state.rsp
      for (const n of [0, RCX, 2, 3, R13, R14, R15]) cpu.gpr[n] = 0n
      for (const [n, value] of Object.entries(registers)) cpu.gpr[Number(n)] = value
      change(cpu)
      const exit = g.enter()
      if (exit !== TDVMCALL) return `exit ${exit}`
      const vector = Number(g.host.regs.r15)
      if (vector === 0) return 'done'
      return vector === 20 ? `#VE ${vcpu.ve.exitReason}` : (NAMES[vector] ?? `exit ${exit}`)
    },
  }
}
