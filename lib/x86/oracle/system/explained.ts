/**
 * Where a virtual machine of KVM does otherwise than the emulated CPU, and why: the one list. It was made on a KVM whose
 * backend is kvm_pvm: ring 3 runs natively, on an AMD processor, ring 0 is read by KVM's instruction emulator, and what
 * comes of an exception is KVM's work too. So most of it is about that emulator. The vendor given in CPUID is Intel.
 */

export type Explanation = {
  /** Of the program's name. */
  readonly rows: RegExp
  /** Of `OURS | REAL | FIELDS`, the ends and the fields that differ where the ends do not. */
  readonly found: RegExp
  readonly why: string
}

const EMULATOR = 'arch/x86/kvm/emulate.c'

export const EXPLAINED: readonly Explanation[] = [
  {
    rows: /./,
    found: /\| kvm exit 17, 1/,
    why: `KVM_INTERNAL_ERROR_EMULATION: ${EMULATOR} does not have the instruction, or not this form of it (gates, far returns outwards, INT n in protected mode, LAR and its like, x87)`,
  },
  {
    rows: /^(u32|uc32|u64): (jmp|call|lar|lsl|verr|verw|sldt|str|smsw|rdtsc|cpuid|iret|popf|int|bytes)|^[uc]+\d+: a short TSS|^u64: sysenter/,
    found: /\| #UD/,
    why: `the same in ring 3, where KVM answers #UD for what ${EMULATOR} does not have`,
  },
  {
    rows: /^(paged32|pae|k32: cr0 = 80000033)/,
    found: /\| (shutdown|#GP\(0\))/,
    why: 'kvm_pvm has no legacy paging: a machine that turns it on is shut down',
  },
  {
    rows: /^[kc]\d+: (ltr inLdt|ltr tss16)/,
    found: /^#GP\((c|60)\)/,
    why: `LTR: #GP has the selector (SDM Vol. 2A, "LTR"), and 16-bit TSSs are none in IA-32e mode (Vol. 3A, "System-Segment and Gate-Descriptor Types"); ${EMULATOR} leaves the selector out and takes the TSS`,
  },
  {
    rows: /^k64: ss = null$/,
    found: / ss: 0 unusable/,
    why: 'a null SS is shown as KVM keeps it: kvm_pvm puts a segment of its own in its place',
  },
  {
    rows: /^(k64|c32): iret/,
    found: /./,
    why: `${EMULATOR} has IRET of real mode only, kvm_pvm a reading of its own of IRETQ: it checks neither type nor L and D of CS, leaves the data segments of an inner ring, hides IOPL, lets bit 15 through, and #GPs 32-bit IRET`,
  },
  {
    rows: /^uc32: iret inwards/,
    found: /\| #GP\(0\)/,
    why: "kvm_pvm's reading of IRET in ring 3: #GP(0) where the selector belongs",
  },
  {
    rows: /^k64: sysret|^c32: sysretd/,
    found: /./,
    why: 'SYSRET is done by kvm_pvm: it hides IOPL, goes on at a 64-bit address where the SDM truncates to ECX, asks neither for EFER.SCE nor for 64-bit mode, and lets an address that is not canonical through to ring 3, as AMD processors do',
  },
  {
    rows: /^u64: (syscall|single step over SYSCALL|vmcall)|^uc32: vmcall/,
    found: /\| #GP\(0\)/,
    why: 'SYSCALL and VMCALL of ring 3 are ways into kvm_pvm itself, which answers #GP where the guest has not told it what to do',
  },
  {
    rows: /^(c32|k32): (swapgs|bytes 0f 01 f8)/,
    found: /\| done/,
    why: 'SWAPGS outside 64-bit mode is #UD (SDM Vol. 2B, "SWAPGS"); kvm_pvm does it in any mode',
  },
  {
    rows: /: (modify|compare) of (readOnly|supervisorReadOnly)$/,
    found: /\[41[89]8\]: -, /,
    why: `${EMULATOR} reads before it asks whether it may write, so A is set; a processor translates once, for the write`,
  },
  {
    rows: /^k64: a page of 1 GiB/,
    found: /\| #PF\([9b]\)/,
    why: 'shadow paging of kvm_pvm takes no pages of 1 GiB and calls them reserved',
  },
  {
    rows: /^k64: a word across the edge/,
    found: /\| #PF\(0\)/,
    why: `the last byte of an access must be canonical as well (SDM Vol. 1, "Canonical Addressing"); ${EMULATOR} looks at the first`,
  },
  {
    rows: /^k64: cr0 = (180010033|8000000080010033)/,
    found: /\| done/,
    why: 'CR0[63:32] are reserved (SDM Vol. 3A, "Control Registers"); kvm_pvm ignores them',
  },
  {
    rows: /^k64: cr4 = /,
    found: /^#GP\(0\) \| (done|shutdown)/,
    why: 'bits of CR4 that CPUID does not show are reserved; kvm_pvm does not look at them',
  },
  {
    rows: /^k64: MSR (174|175|176|c0000084) = /,
    found: /^#GP\(0\) \| done/,
    why: 'AMD: the upper half of SYSENTER_CS and FMASK is ignored, and SYSENTER_ESP and _EIP take what is not canonical; KVM truncates for the sake of either vendor (arch/x86/kvm/x86.c, __kvm_set_msr)',
  },
  {
    rows: /^k64: MSR 277 = /,
    found: /^#GP\(0\) \| done/,
    why: 'memory types 2, 3 and 8 and up are reserved in IA32_PAT (SDM Vol. 3A, "IA32_PAT MSR"); kvm_pvm takes them: measured',
  },
  {
    rows: /^k64: MSR c0000103 = ffffffff/,
    found: /\| #GP\(0\)/,
    why: 'KVM here has no RDTSCP to give, and without it no IA32_TSC_AUX',
  },
  {
    rows: /popf/,
    found: /rflags: |rbx: /,
    why: 'kvm_pvm runs ring 3 with its own IF and IOPL, which PUSHF shows, and clears AC as it delivers an event',
  },
  {
    rows: /IOPL 3/,
    found: /\| #GP\(0\)|rflags: 3002, 2/,
    why: 'IOPL of the guest is never in force under kvm_pvm',
  },
  {
    rows: /flags 40002$/,
    found: /rflags: 40002, 2/,
    why: 'kvm_pvm clears AC as it delivers an event; the SDM leaves it (Vol. 3A, "Flag Usage By Exception- or Interrupt-Handler Procedure")',
  },
  {
    rows: /^u64: .*CR0 80010033, flags 40002$/,
    found: /^#BP \| #AC\(0\)/,
    why: "ring 3 runs natively, so CR0.AM is the host's",
  },
  {
    rows: /^k64: fxsave \[AT_data\]/,
    found: /\[20218\]: ffff00001f80, 2ffff00001f80/,
    why: "MXCSR_MASK has AMD's bit 17 (misaligned SSE), and the bytes from 416 on, which FXSAVE leaves, are written",
  },
  {
    rows: /^k64: fxsave, misaligned/,
    found: /^#GP\(0\) \| done/,
    why: `FXSAVE wants 16 bytes (SDM Vol. 2A, "FXSAVE"); ${EMULATOR} does not look`,
  },
  {
    rows: /^k64: single step of REP/,
    found: /rcx: 2, 0/,
    why: `${EMULATOR} does all iterations before it looks at TF; a processor traps after each`,
  },
  {
    rows: /^k64: (single step of REP|breakpoint)/,
    found: /^#DB dr6=\w+ \| (done|entry\+0|#DB dr6=ffff4ff0)/,
    why: `${EMULATOR} knows breakpoints on instructions only. Those on data were measured in ring 3, natively: breakpoint.test.ts`,
  },
  {
    rows: /^u64: breakpoint/,
    found: /\| (#BP|#UD)/,
    why: 'kvm_pvm does not put the debug registers in force in ring 3 unless the guest is debugged from outside',
  },
  {
    rows: /^k64: (#DF from|#DF through|triple)|^(k32|real|u64|u32): .*(fault|stack for ring 0|push at 1)/,
    found: /rflags: 2, 10002|\[3[8e]fe8\]: 2, 10002|cr2: /,
    why: 'KVM sets RF for the first exception and keeps it for the one that comes of delivering it; whether it is in the flags of an abort is not said in the SDM',
  },
  {
    rows: /^k64: #NP in #UD|^k64: #PF on a bad stack/,
    found: /\| (#DF\(0\)|shutdown)/,
    why: 'a second exception while a benign one is delivered is delivered in its turn (SDM Vol. 3A, "Interrupt 8", table "Conditions for Generating a Double Fault"); kvm_pvm makes a double fault of any',
  },
  {
    rows: /^k64: general detect/,
    found: /\[38fe8\]: 10002, 2/,
    why: 'the flags that a fault pushes have RF set, general detect being one (SDM Vol. 3B, "General-Detect Exception Condition"); KVM takes every #DB for a trap (arch/x86/kvm/x86.c, exception_type)',
  },
  {
    rows: /^u64: int1/,
    found: /\[3cfd8\]: 10001, 10000/,
    why: 'INT1 is a trap and pushes the following instruction (SDM Vol. 2A, "INT n/INTO/INT3/INT1"); kvm_pvm pushes itself',
  },
  {
    rows: /^u64: rdtsc, TSD/,
    found: /\| #BP/,
    why: 'ring 3 runs natively with CR4.TSD of the host',
  },
  {
    rows: /^real: (interrupt table too short|triple fault)/,
    found: /\| (vector 20|#BP)/,
    why: `the limit of the interrupt table holds in real mode too (SDM Vol. 3B, "Interrupt and Exception Handling" of real-address mode); ${EMULATOR} does not look`,
  },
]

/** Why a difference is none of the CPU's. `found` as `Explanation` has it. */
export const explain = (name: string, found: string): string | undefined =>
  EXPLAINED.find(({ rows, found: what }) => rows.test(name) && what.test(found))?.why
