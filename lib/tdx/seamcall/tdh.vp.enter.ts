import { TDH_VP_ENTER, TDX_OPERAND_INVALID, VCPU_ACTIVE, VCPU_READY } from '#abi'
import { hpa } from '#bits'
import { EPT_QUALIFICATION } from '#x86'
import { asyncExit, eptViolationExit, vmcallReturn } from '../guest/exit.ts'
import { cpuOf } from '../guest/make.ts'
import { runVcpu } from '../guest/run.ts'
import { checkCpuidLimit, checkEntryMsrs } from '../hostmsr.ts'
import { seamcall } from '../leaf.ts'
import { isEnterable } from '../metadata/vmcs.ts'
import { check } from '../status.ts'
import { RUN } from './op-states.ts'

/** SDM Vol. 3C, "Basic VM-Exit Information": VM entry failed, due to invalid guest state. */
const ENTRY_FAILURE = 0x8000_0000
const EXIT_REASON_INVALID_STATE = 33

const ADDRESS = 0xf_ffff_ffff_f000n
const HOST_RECOVERABILITY_HINT = 1n << 52n
const RESUME_L1 = 1n << 53n
const RESERVED = ~(ADDRESS | HOST_RECOVERABILITY_HINT | RESUME_L1)
/** PINBASED_EXEC_CONTROLS: process posted interrupts. */
const PROCESS_POSTED = 0x80n

/** TDH.VP.ENTER: run a vCPU until a TD exit. tdh_vp_enter.c. */
export const vpEnter = seamcall(TDH_VP_ENTER, (module, regs, lp) => {
  const { rcx } = regs
  const { msrs } = lp
  if (msrs !== undefined) checkCpuidLimit(msrs)
  const isPlain = rcx <= ADDRESS
  check(isPlain || (rcx & RESERVED) === 0n, TDX_OPERAND_INVALID, 'RCX')
  const vcpu = module.vcpu(isPlain ? rcx : rcx & ADDRESS, 'RCX')
  const { td } = vcpu
  td.checkState(RUN)
  vcpu.checkPages()
  const wasAssociated = vcpu.assocLp === lp.id
  vcpu.associate(lp.id)
  check(isPlain || (rcx & HOST_RECOVERABILITY_HINT) === 0n || vcpu.lastExit === 'trap', TDX_OPERAND_INVALID, 'RCX')
  check(isPlain || (rcx & RESUME_L1) === 0n, TDX_OPERAND_INVALID, 'RCX')
  if (msrs !== undefined) checkEntryMsrs(vcpu, msrs)

  const cpu = cpuOf(module, vcpu)
  const slot = Number(td.epoch & 1n) as 0 | 1
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
      return regs.rax
    }
    zeroStep.notify(vcpu, cpu)
  }
  if ((vcpu.pinbasedControls & PROCESS_POSTED) !== 0n) {
    const descriptor = hpa(Number(vcpu.pidAddress))
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
      return regs.rax
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
  return regs.rax
})
