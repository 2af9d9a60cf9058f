/**
 * TDCALL leaves and TDVMCALL sub-functions as the builder offers them: which register is which argument and result.
 * Intel TDX module ABI, "TDCALL Instruction (Guest-Side) Interfaces"; GHCI (348552), "TDG.VP.VMCALL Interface".
 */
import {
  TDVMCALL_CPUID,
  TDVMCALL_GET_QUOTE,
  TDVMCALL_GET_TD_VM_CALL_INFO,
  TDVMCALL_HLT,
  TDVMCALL_IO,
  TDVMCALL_MAP_GPA,
  TDVMCALL_MIGTD,
  TDVMCALL_MMIO,
  TDVMCALL_PCONFIG,
  TDVMCALL_RDMSR,
  TDVMCALL_REPORT_FATAL_ERROR,
  TDVMCALL_SERVICE,
  TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT,
  TDVMCALL_WRMSR,
} from '#abi'

/** GPR numbers by name, without RSP. */
export const GPR = {
  rax: 0,
  rcx: 1,
  rdx: 2,
  rbx: 3,
  rbp: 5,
  rsi: 6,
  rdi: 7,
  r8: 8,
  r9: 9,
  r10: 10,
  r11: 11,
  r12: 12,
  r13: 13,
  r14: 14,
  r15: 15,
} as const
export type GprName = keyof typeof GPR

/** `in`: argument to register; `out`: result to register. RAX (TDCALL) or R10 (TDVMCALL) is always `status`. */
export type Leaf = {
  readonly number: number
  readonly in: Readonly<Record<string, GprName>>
  readonly out: Readonly<Record<string, GprName>>
}
const leaf = <const I extends Record<string, GprName>, const O extends Record<string, GprName>>(
  number: number,
  input: I,
  out: O,
) => ({ number, in: input, out })

/** What `g.tdcall` has: leaf number, arguments by name and register, results by name and register; `status` is RAX. */
export const TDCALLS = {
  /** TDG.VP.INFO. `vcpus`: NUM_VCPUS in the low half, MAX_VCPUS in the high one. */
  vpInfo: leaf(1, {}, { gpaw: 'rcx', attributes: 'rdx', vcpus: 'r8', index: 'r9', flags: 'r10', reserved: 'r11' }),
  /** TDG.MR.RTMR.EXTEND. */
  mrRtmrExtend: leaf(2, { gpa: 'rcx', index: 'rdx' }, {}),
  /** TDG.VP.VEINFO.GET. `length`: instruction length in the low half, instruction information in the high one. */
  vpVeinfoGet: leaf(3, {}, { reason: 'rcx', qualification: 'rdx', gla: 'r8', gpa: 'r9', length: 'r10' }),
  /** TDG.MR.REPORT. */
  mrReport: leaf(4, { report: 'rcx', data: 'rdx', type: 'r8' }, {}),
  /** TDG.VP.CPUIDVE.SET. */
  vpCpuidveSet: leaf(5, { flags: 'rcx' }, {}),
  /** TDG.MEM.PAGE.ACCEPT: the level is in the low bits of the GPA. */
  memPageAccept: leaf(6, { gpa: 'rcx' }, {}),
  /** TDG.VM.RD. */
  vmRd: leaf(7, { td: 'rcx', field: 'rdx' }, { value: 'r8' }),
  /** TDG.VM.WR; `value` comes back as what was there. */
  vmWr: leaf(8, { td: 'rcx', field: 'rdx', value: 'r8', mask: 'r9' }, { old: 'r8' }),
  /** TDG.VP.RD. */
  vpRd: leaf(9, { field: 'rdx' }, { value: 'r8' }),
  /** TDG.VP.WR. */
  vpWr: leaf(10, { field: 'rdx', value: 'r8', mask: 'r9' }, { old: 'r8' }),
  /** TDG.SYS.RD. */
  sysRd: leaf(11, { field: 'rdx' }, { next: 'rdx', value: 'r8' }),
  /** TDG.SYS.RDALL: metadata from `first` on into a page. */
  sysRdall: leaf(12, { buffer: 'rdx', first: 'r8' }, { next: 'r8' }),
  /** TDG.SERVTD.RD. `uuid0` to `uuid3` are the target TD's. */
  servtdRd: leaf(
    18,
    { handle: 'rcx', field: 'rdx', uuid0: 'r10', uuid1: 'r11', uuid2: 'r12', uuid3: 'r13' },
    { value: 'r8' },
  ),
  /** TDG.SERVTD.WR. */
  servtdWr: leaf(
    20,
    {
      handle: 'rcx',
      field: 'rdx',
      value: 'r8',
      mask: 'r9',
      uuid0: 'r10',
      uuid1: 'r11',
      uuid2: 'r12',
      uuid3: 'r13',
    },
    { old: 'r8' },
  ),
  /** TDG.MR.VERIFYREPORT. */
  mrVerifyreport: leaf(22, { report: 'rcx' }, {}),
  /** TDG.MEM.PAGE.ATTR.RD. */
  memPageAttrRd: leaf(23, { gpa: 'rcx' }, { mapping: 'rcx', attributes: 'rdx' }),
  /** TDG.MEM.PAGE.ATTR.WR. */
  memPageAttrWr: leaf(24, { mapping: 'rcx', attributes: 'rdx', flags: 'r8' }, { old: 'rdx' }),
  /** TDG.VP.ENTER, of TD partitioning: `flags` with the VM's index, `state` of L2 in memory. */
  vpEnter: leaf(25, { flags: 'rcx', state: 'rdx' }, { qualification: 'rcx', gla: 'rdx', gpa: 'r8' }),
  /** TDG.VP.INVEPT. */
  vpInvept: leaf(26, { vms: 'rcx' }, {}),
  /** TDG.VP.INVVPID. */
  vpInvvpid: leaf(27, { flags: 'rcx', gla: 'rdx' }, { gla: 'rdx' }),
} as const satisfies Record<string, Leaf>

/** What `g.vmcall` has, in the same form; `status` is R10. */
export const VMCALLS = {
  cpuid: leaf(TDVMCALL_CPUID, { leaf: 'r12', subleaf: 'r13' }, { eax: 'r12', ebx: 'r13', ecx: 'r14', edx: 'r15' }),
  hlt: leaf(TDVMCALL_HLT, { interruptsBlocked: 'r12' }, {}),
  /** Direction: 0 read, 1 write. */
  io: leaf(TDVMCALL_IO, { size: 'r12', direction: 'r13', port: 'r14', data: 'r15' }, { data: 'r11' }),
  rdmsr: leaf(TDVMCALL_RDMSR, { index: 'r12' }, { value: 'r11' }),
  wrmsr: leaf(TDVMCALL_WRMSR, { index: 'r12', value: 'r13' }, {}),
  /** The GPA carries the shared bit. */
  mmio: leaf(TDVMCALL_MMIO, { size: 'r12', direction: 'r13', gpa: 'r14', data: 'r15' }, { data: 'r11' }),
  getTdVmCallInfo: leaf(
    TDVMCALL_GET_TD_VM_CALL_INFO,
    { leaf: 'r12' },
    { r11: 'r11', r12: 'r12', r13: 'r13', r14: 'r14' },
  ),
  /** The shared bit of the GPA says which way. */
  mapGpa: leaf(TDVMCALL_MAP_GPA, { gpa: 'r12', size: 'r13' }, { next: 'r11' }),
  getQuote: leaf(TDVMCALL_GET_QUOTE, { gpa: 'r12', size: 'r13' }, {}),
  reportFatalError: leaf(TDVMCALL_REPORT_FATAL_ERROR, { code: 'r12', gpa: 'r13' }, {}),
  /** Instruction.PCONFIG; the GHCI names no arguments that an implementation uses. */
  pconfig: leaf(TDVMCALL_PCONFIG, {}, {}),
  /** Service: command and response are shared pages; `vector` 0 waits, at most `wait`. */
  service: leaf(TDVMCALL_SERVICE, { command: 'r12', response: 'r13', vector: 'r14', wait: 'r15' }, {}),
  /** MigTD: `leaf` has the function in its low 16 bits; arguments and results are the function's. */
  migtd: leaf(
    TDVMCALL_MIGTD,
    { leaf: 'r12', r13: 'r13', r14: 'r14', r15: 'r15' },
    { r11: 'r11', r12: 'r12', r13: 'r13', r14: 'r14', r15: 'r15' },
  ),
  setupEventNotifyInterrupt: leaf(TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT, { vector: 'r12' }, {}),
} as const satisfies Record<string, Leaf>
