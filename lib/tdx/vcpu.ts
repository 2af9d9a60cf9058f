/** A TD's virtual CPU (TDVPS), attached to its TDVPR page. intel/tdx-module, tdx_tdvps.h. */
import {
  MIN_TDVPS_PAGES,
  TDX_TDCX_NUM_INCORRECT,
  TDX_VCPU_ASSOCIATED,
  TDX_VCPU_STATE_INCORRECT,
  VCPU_DISABLED,
  VCPU_READY,
  VCPU_UNINITIALIZED,
} from '#abi'
import { type Hpa, hpa } from '#bits'
import type { Cpu, VmExit } from '#x86'
import type { TdStage } from './guest/stage.ts'
import { VirtualApic } from './guest/vapic.ts'
import { ZeroStep } from './guest/zerostep.ts'
import { check } from './status.ts'
import type { Td } from './td.ts'

/** ASSOC_LPID of a vCPU that no logical processor holds. */
export const NOT_ASSOCIATED = -1

const PROCESS_POSTED = 0x80n

/** VE_INFO: what TDG.VP.VEINFO.GET tells of the last #VE. */
export type VeInfo = {
  /** 0xffff_ffff until the guest has read it. */
  valid: number
  exitReason: number
  exitQualification: bigint
  gla: bigint
  gpa: bigint
  eptpIndex: number
  instructionLength: number
  instructionInfo: number
}

/** How the vCPU last left. `trap`: after the instruction, which the next VP.ENTER completes. */
export type LastExit = 'none' | 'fault' | 'trap' | 'tdvmcall'

export class Vcpu {
  readonly td: Td
  /** TDVPR, then TDCX pages in the order of VP.ADDCX. */
  readonly pages: Hpa[]
  state = VCPU_UNINITIALIZED
  index = 0
  /** From VP.INIT version 1; else the index. */
  x2apicId = 0
  initialRcx = 0n
  assocLp = NOT_ASSOCIATED
  epoch = 0n
  lastExit: LastExit = 'none'
  /** RCX of the TDG.VP.VMCALL that the host is answering. */
  vmcallMask = 0
  /** Its sub-function; -1 where R10 makes it something else. Kept only while coverage is recorded. */
  asked = -1n
  /** While it runs: does an event of the host's wait for its processor? */
  interrupted: (() => boolean) | undefined
  pendNmi = false
  readonly zeroStep = new ZeroStep()
  /** The last VM exit, whether the TD's host heard of it or not. */
  vmExit: VmExit | undefined
  /** A debugger has written guest state: the next VP.ENTER looks whether a CPU would take it. */
  hostWroteState = false
  /** The processor's TSC when the vCPU last left it, where that processor has one of its own. */
  lastExitTsc = 0n
  cpuidSupervisorVe = false
  cpuidUserVe = false
  /** L2_CTLS, L2_DEBUG_CTLS and TSC_DEADLINE of VM 0 to 3, kept for whoever wrote them. */
  readonly l2Controls = new Map<string, bigint>()
  /** CPUID_CONTROL: #VE for one leaf, by row of CPUID_LOOKUP; bit 0 at CPL 0, bit 1 above. */
  cpuidControl: Uint8Array | undefined
  readonly ve: VeInfo = {
    valid: 0,
    exitReason: 0,
    exitQualification: 0n,
    gla: 0n,
    gpa: 0n,
    eptpIndex: 0,
    instructionLength: 0,
    instructionInfo: 0,
  }
  // TD VMCS fields that the host writes
  sharedEptp = 0n
  /** Posted-interrupt descriptor; bit 63 set until the host gives one. */
  #pidAddress = 0xffff_ffff_ffff_ffffn
  descriptor: Hpa = hpa(0)
  notificationVector = 0xffff
  #pinbasedControls = 0n
  /** PINBASED_EXEC_CONTROLS: process posted interrupts. */
  processesPosted = false
  secondaryControls = 0n
  instructionTimeout = 0n
  readonly vapic = new VirtualApic()
  /** Guest MSRs that the CPU does not hold itself. */
  readonly msrs = new Map<number, bigint>()
  xss = 0n
  /** VP.ENTER has let it run. */
  hasRun = false
  cpu: Cpu | undefined
  stage: TdStage | undefined

  constructor(td: Td, tdvpr: Hpa) {
    this.td = td
    this.pages = [tdvpr]
  }

  get pidAddress(): bigint {
    return this.#pidAddress
  }
  set pidAddress(value: bigint) {
    this.#pidAddress = value
    this.descriptor = hpa(Number(value))
  }

  get pinbasedControls(): bigint {
    return this.#pinbasedControls
  }
  set pinbasedControls(value: bigint) {
    this.#pinbasedControls = value
    this.processesPosted = (value & PROCESS_POSTED) !== 0n
  }

  get tdvpr(): Hpa {
    return this.pages[0] as Hpa
  }

  /** The TDVPS can be mapped: all its pages are there. */
  checkPages(): void {
    check(this.pages.length >= MIN_TDVPS_PAGES, TDX_TDCX_NUM_INCORRECT)
  }

  /** Binds the vCPU to the logical processor that works on it. helpers.c, check_and_associate_vcpu. */
  associate(lp: number, disabledToo = false): void {
    check(this.state === VCPU_READY || (disabledToo && this.state === VCPU_DISABLED), TDX_VCPU_STATE_INCORRECT)
    if (this.assocLp === lp) return
    check(this.assocLp === NOT_ASSOCIATED, TDX_VCPU_ASSOCIATED)
    this.assocLp = lp
    this.td.numAssocVcpus++
  }

  /** The emulated CPU goes; the architectural state has gone with the TDVPS pages. */
  close(): void {
    this.cpu?.close()
    this.cpu = undefined
  }
}
