import { TDH_VP_ENTER, TDX_OPERAND_INVALID, VCPU_ACTIVE, VCPU_READY } from '#abi'
import { EPT_QUALIFICATION } from '#x86'
import { asyncExit, eptViolationExit, vmcallReturn } from '../guest/exit.ts'
import { cpuOf } from '../guest/make.ts'
import { runVcpu } from '../guest/run.ts'
import { checkCpuidLimit, checkEntryMsrs } from '../hostmsr.ts'
import { seamcall } from '../leaf.ts'
import { isEnterable } from '../metadata/vmcs.ts'
import { WORD } from '../registers.ts'
import { check } from '../status.ts'
import { RUN } from './op-states.ts'

/** SDM Vol. 3C, "Basic VM-Exit Information": VM entry failed, due to invalid guest state. */
const ENTRY_FAILURE = 0x8000_0000
const EXIT_REASON_INVALID_STATE = 33

/** RCX in halves: the low one, and in the high one the rest of the address and two flags. */
const ADDRESS_LOW = 0xffff_f000
const ADDRESS_HIGH = 0xf_ffff
const HOST_RECOVERABILITY_HINT = 1 << 20
const RESUME_L1 = 1 << 21
const RESERVED_HIGH = ~(ADDRESS_HIGH | HOST_RECOVERABILITY_HINT | RESUME_L1)

/** TDH.VP.ENTER: run a vCPU until a TD exit. tdh_vp_enter.c. */
export const vpEnter = seamcall(TDH_VP_ENTER, (module, regs, lp) => {
  const low = regs.words[WORD.RCX]!
  const high = regs.words[WORD.RCX + 1]!
  const { msrs } = lp
  if (msrs !== undefined) checkCpuidLimit(msrs)
  check((low & ~ADDRESS_LOW) === 0 && (high & RESERVED_HIGH) === 0, TDX_OPERAND_INVALID, 'RCX')
  const vcpu = module.vcpuOf(low, high & ADDRESS_HIGH, 'RCX')
  const { td } = vcpu
  td.checkState(RUN)
  vcpu.checkPages()
  const wasAssociated = vcpu.assocLp === lp.id
  vcpu.associate(lp.id)
  check((high & HOST_RECOVERABILITY_HINT) === 0 || vcpu.lastExit === 'trap', TDX_OPERAND_INVALID, 'RCX')
  check((high & RESUME_L1) === 0, TDX_OPERAND_INVALID, 'RCX')
  if (msrs !== undefined) checkEntryMsrs(vcpu, msrs)

  const cpu = cpuOf(module, vcpu)
  const slot = td.parity
  td.refcount[slot]++
  if (vcpu.epoch !== td.epoch || !wasAssociated) vcpu.stage?.invalidate()
  vcpu.epoch = td.epoch
  const { zeroStep } = vcpu
  zeroStep.entered(cpu)
  if (zeroStep.gpas.length > 0) {
    const blocked = zeroStep.blocked(vcpu)
    if (blocked !== undefined) {
      td.refcount[slot]--
      eptViolationExit(vcpu, regs, blocked, EPT_QUALIFICATION.WRITE)
      return undefined
    }
    zeroStep.notify(vcpu, cpu)
  }
  if (vcpu.processesPosted) {
    const { descriptor } = vcpu
    if (vcpu.vapic.isPosted(module.memory, descriptor) && !module.isPrivate(descriptor))
      vcpu.vapic.takePosted(module.memory, descriptor)
  }
  if (vcpu.lastExit === 'tdvmcall') vmcallReturn(vcpu, cpu, regs)
  if (vcpu.hostWroteState) {
    vcpu.hostWroteState = false
    if (!isEnterable(module.platform, cpu)) {
      td.refcount[slot]--
      asyncExit(vcpu, regs, ENTRY_FAILURE + EXIT_REASON_INVALID_STATE)
      vcpu.hostWroteState = true
      return undefined
    }
  }
  vcpu.state = VCPU_ACTIVE
  vcpu.hasRun = true
  vcpu.interrupted = lp.interrupted
  try {
    runVcpu(module, vcpu, cpu, regs, lp.quantum)
  } finally {
    // Also where what is not modelled ends the run: the TD can be torn down then.
    td.refcount[slot]--
    if (vcpu.state === VCPU_ACTIVE) vcpu.state = VCPU_READY
    if (msrs?.tsc !== undefined) vcpu.lastExitTsc = msrs.tsc
  }
  return undefined
})
