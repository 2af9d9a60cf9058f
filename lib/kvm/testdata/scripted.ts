/** A TD whose VP.ENTER a test scripts. */
import * as abi from '#abi'
import type { Hva } from '#bits'
import { type RegisterValues, SeamcallRegs } from '#tdx'
import { Sample } from '../sample.ts'

export const SHARED = 1n << 51n
const HALT_LOOP = Uint8Array.of(0xeb, 0xfe)

/** A TD whose VP.ENTER runs the next function of `enter` instead of the guest: what the guest left in its registers. */
export type Scripted = {
  readonly sample: Sample
  readonly vm: number
  readonly vcpu: number
  readonly run: Hva
  readonly enter: ((regs: SeamcallRegs) => void)[]
}

/** `prepare`: what is done with the VM before it has vCPUs. */
export const scripted = (prepare: (sample: Sample) => (vm: number) => void = () => () => {}): Scripted => {
  const sample = new Sample({ processors: 2 })
  const { vm, vcpu } = sample.build(HALT_LOOP, prepare(sample))
  const { module } = sample.host.tdx()
  const seamcall = module.seamcall.bind(module)
  const enter: Scripted['enter'] = []
  module.seamcall = (lp, regs) => {
    if (regs.rax !== 0n) {
      seamcall(lp, regs)
      return
    }
    const next = enter.shift()
    if (next === undefined) throw new Error('the test scripts no further VP.ENTER')
    next(regs)
  }
  return { sample, vm, vcpu, run: sample.mapRun(vcpu), enter }
}

/** The guest makes a TDVMCALL with these registers; the ones not named are 0. */
export const vmcall =
  (values: Partial<RegisterValues>) =>
  (regs: SeamcallRegs): void => {
    const { rbp } = regs
    Object.assign(regs, { ...new SeamcallRegs().values(), rbp, rax: 77n, rcx: 0xfc00n, ...values })
  }

/** Keeps what the host passes to VP.ENTER, then leaves with ReportFatalError. */
export const capture = (into: Partial<RegisterValues>) => (regs: SeamcallRegs) => {
  Object.assign(into, regs.values())
  vmcall({ r11: 0x10003n })(regs)
}

export const INVALID_OPERAND = abi.TDVMCALL_STATUS_INVALID_OPERAND

/** A TDVMCALL that KVM answers itself. */
export const answered = (td: Scripted, values: Partial<RegisterValues>): Partial<RegisterValues> => {
  const seen: Partial<RegisterValues> = {}
  td.enter.push(vmcall(values), capture(seen))
  const { result, reason } = td.sample.run(td.vcpu, td.run)
  if (result !== 0 || reason !== abi.KVM_EXIT_SYSTEM_EVENT) throw new Error(`exit reason ${reason} (${result})`)
  return seen
}

/** Goes on after an exit: what the guest gets. */
export const resumed = (td: Scripted): Partial<RegisterValues> => {
  const seen: Partial<RegisterValues> = {}
  td.enter.push(capture(seen))
  const { reason } = td.sample.run(td.vcpu, td.run)
  if (reason !== abi.KVM_EXIT_SYSTEM_EVENT) throw new Error(`exit reason ${reason}`)
  return seen
}

export const end = (t: Pick<typeof import('tap').default, 'equal'>, { sample }: Scripted): void => {
  sample.host.close()
  t.equal(sample.host.memory.used, 0, 'every frame came back')
}
