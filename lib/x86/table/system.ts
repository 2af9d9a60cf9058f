/** System instructions, VMX, SEAM and extended state. SDM Vol. 2 and Vol. 3C, "VMX Instruction Reference". */
import { type Group, rows } from './row.ts'

export const system: readonly Group[] = [
  rows(
    '',
    `
MOV    | 0F 20 /r | r32, CR32 | i64 mod* :MR
MOV    | 0F 20 /r | r64, CR64 | o64 mod* f64 :MR
MOV    | 0F 22 /r | CR32, r32 | i64 mod* :RM
MOV    | 0F 22 /r | CR64, r64 | o64 mod* f64 :RM
MOV    | 0F 21 /r | r32, DR32 | i64 mod* :MR
MOV    | 0F 21 /r | r64, DR64 | o64 mod* f64 :MR
MOV    | 0F 23 /r | DR32, r32 | i64 mod* :RM
MOV    | 0F 23 /r | DR64, r64 | o64 mod* f64 :RM
SLDT   | o16 0F 00 /0     | r/m16   |
SLDT   | o32 0F 00 /0     | r32/m16 |
SLDT   | REX.W + 0F 00 /0 | r64/m16 |
STR    | o16 0F 00 /1     | r/m16   |
STR    | o32 0F 00 /1     | r32/m16 |
STR    | REX.W + 0F 00 /1 | r64/m16 |
LLDT   | 0F 00 /2 | r/m16  |
LTR    | 0F 00 /3 | r/m16  |
VERR   | 0F 00 /4 | r/m16  |
VERW   | 0F 00 /5 | r/m16  |
SGDT   | 0F 01 /0 | m16&32 | i64
SGDT   | 0F 01 /0 | m16&64 | o64
SIDT   | 0F 01 /1 | m16&32 | i64
SIDT   | 0F 01 /1 | m16&64 | o64
LGDT   | 0F 01 /2 | m16&32 | i64
LGDT   | 0F 01 /2 | m16&64 | o64
LIDT   | 0F 01 /3 | m16&32 | i64
LIDT   | 0F 01 /3 | m16&64 | o64
SMSW   | o16 0F 01 /4     | r/m16   |
SMSW   | o32 0F 01 /4     | r32/m16 |
SMSW   | REX.W + 0F 01 /4 | r64/m16 |
LMSW   | 0F 01 /6 | r/m16  |
INVLPG | 0F 01 /7 | m      |
LAR    | o16 0F 02 /r     | r16, r/m16   |
LAR    | o32 0F 02 /r     | r32, r32/m16 |
LAR    | REX.W + 0F 02 /r | r64, r32/m16 |
LAR    | o32 0F 02 /r     | r32, r/m16   | enc
LSL    | o16 0F 03 /r     | r16, r/m16   |
LSL    | o32 0F 03 /r     | r32, r32/m16 |
LSL    | REX.W + 0F 03 /r | r64, r32/m16 |
LSL    | o32 0F 03 /r     | r32, r/m16   | enc
ARPL   | 63 /r    | r/m16, r16 | i64
CLTS   | 0F 06    | |
INVD   | 0F 08    | |
WBINVD | 0F 09    | |
RDPMC  | 0F 33    | |
RSM    | 0F AA    | |
HLT    | F4       | |
WAIT   | 9B       | |`,
  ),
  rows('TSC', 'RDTSC | 0F 31 | |'),
  rows(
    'MSR',
    `
WRMSR | 0F 30 | |
RDMSR | 0F 32 | |`,
  ),
  rows(
    'SYSCALL',
    `
SYSCALL  | 0F 05         | |
SYSRET   | 0F 07         | |
SYSRETQ  | REX.W + 0F 07 | | =sysret`,
  ),
  rows(
    'SEP',
    `
SYSENTER | 0F 34         | |
SYSEXIT  | 0F 35         | |
SYSEXITQ | REX.W + 0F 35 | | =sysexit`,
  ),
  // Without their features these are WBINVD, whose F3 counts for nothing, and a reserved NOP.
  rows('', 'WBNOINVD | F3 0F 09 | |'),
  rows('', 'CLDEMOTE | NP 0F 1C /0 | m8 |'),
  rows(
    'MONITOR',
    `
MONITOR | NP 0F 01 C8 | m@rAX |
MWAIT   | NP 0F 01 C9 | |`,
  ),
  rows(
    'SMAP',
    `
CLAC | NP 0F 01 CA | |
STAC | NP 0F 01 CB | |`,
  ),
  rows(
    'XSAVE',
    `
XGETBV    | NP 0F 01 D0         | |
XSETBV    | NP 0F 01 D1         | |
XSAVE     | NP 0F AE /4         | m |
XSAVE64   | NP REX.W + 0F AE /4 | m | =xsave
XRSTOR    | NP 0F AE /5         | m |
XRSTOR64  | NP REX.W + 0F AE /5 | m | =xrstor`,
  ),
  rows(
    'XSAVEOPT',
    `
XSAVEOPT   | NP 0F AE /6         | m |
XSAVEOPT64 | NP REX.W + 0F AE /6 | m | =xsaveopt`,
  ),
  rows(
    'XSAVEC',
    `
XSAVEC   | NP 0F C7 /4         | m |
XSAVEC64 | NP REX.W + 0F C7 /4 | m | =xsavec`,
  ),
  rows(
    'XSAVES',
    `
XSAVES    | NP 0F C7 /5         | m |
XSAVES64  | NP REX.W + 0F C7 /5 | m | =xsaves
XRSTORS   | NP 0F C7 /3         | m |
XRSTORS64 | NP REX.W + 0F C7 /3 | m | =xrstors`,
  ),
  rows(
    'FXSR',
    `
FXSAVE    | NP 0F AE /0         | m512byte |
FXSAVE64  | NP REX.W + 0F AE /0 | m512byte | =fxsave
FXRSTOR   | NP 0F AE /1         | m512byte |
FXRSTOR64 | NP REX.W + 0F AE /1 | m512byte | =fxrstor`,
  ),
  rows(
    'FSGSBASE',
    `
RDFSBASE | F3 oY 0F AE /0 | rV | o64
RDGSBASE | F3 oY 0F AE /1 | rV | o64
WRFSBASE | F3 oY 0F AE /2 | rV | o64
WRGSBASE | F3 oY 0F AE /3 | rV | o64`,
  ),
  rows('CLFSH', 'CLFLUSH | NP 0F AE /7 | m8 |'),
  rows('CLFLUSHOPT', 'CLFLUSHOPT | 66 0F AE /7 | m8 |'),
  rows('CLWB', 'CLWB | 66 0F AE /6 | m8 |'),
  rows(
    'WAITPKG',
    `
UMONITOR | F3 a16 0F AE /6 | r16 | i64
UMONITOR | F3 a32 0F AE /6 | r32 |
UMONITOR | F3 a64 0F AE /6 | r64 | o64
UMWAIT   | F2 0F AE /6 | r32 |
TPAUSE   | 66 0F AE /6 | r32 |`,
  ),
  rows(
    'PKU',
    `
RDPKRU | NP 0F 01 EE | |
WRPKRU | NP 0F 01 EF | |`,
  ),
  rows('SERIALIZE', 'SERIALIZE | NP 0F 01 E8 | |'),
  rows('LM', 'SWAPGS | 0F 01 F8 | | o64'),
  rows('RDTSCP', 'RDTSCP | 0F 01 F9 | |'),
  rows(
    'RDPID',
    `
RDPID | F3 0F C7 /7 | r32 | i64
RDPID | F3 0F C7 /7 | r64 | o64 f64`,
  ),
  rows(
    'INVPCID',
    `
INVPCID | 66 0F 38 82 /r | r32, m128 | i64
INVPCID | 66 0F 38 82 /r | r64, m128 | o64 f64`,
  ),
  // It leaves a virtual machine whether or not CPUID has VMX, and is #UD elsewhere.
  rows('', 'VMCALL | NP 0F 01 C1 | |'),
  rows(
    'VMX',
    `
VMLAUNCH | NP 0F 01 C2 | |
VMRESUME | NP 0F 01 C3 | |
VMXOFF   | NP 0F 01 C4 | |
VMFUNC   | NP 0F 01 D4 | |
VMREAD   | NP 0F 78 /r | r/m32, r32 | i64
VMREAD   | NP 0F 78 /r | r/m64, r64 | o64 f64
VMWRITE  | NP 0F 79 /r | r32, r/m32 | i64
VMWRITE  | NP 0F 79 /r | r64, r/m64 | o64 f64
VMPTRLD  | NP 0F C7 /6 | m64 |
VMPTRST  | NP 0F C7 /7 | m64 |
VMCLEAR  | 66 0F C7 /6 | m64 |
VMXON    | F3 0F C7 /6 | m64 |
INVEPT   | 66 0F 38 80 /r | r32, m128 | i64
INVEPT   | 66 0F 38 80 /r | r64, m128 | o64 f64
INVVPID  | 66 0F 38 81 /r | r32, m128 | i64
INVVPID  | 66 0F 38 81 /r | r64, m128 | o64 f64`,
  ),
  // Intel Trust Domain CPU Architectural Extensions, "SEAMCALL", "SEAMOPS", "SEAMRET" and "TDCALL". CPUID has no bit for
  // them: SEAM and what runs below it have them, and elsewhere they are #UD.
  rows(
    '',
    `
TDCALL   | 66 0F 01 CC | |
SEAMRET  | 66 0F 01 CD | | o64
SEAMOPS  | 66 0F 01 CE | | o64
SEAMCALL | 66 0F 01 CF | |`,
  ),
  rows(
    'SGX',
    `
ENCLV | NP 0F 01 C0 | |
ENCLS | NP 0F 01 CF | |
ENCLU | NP 0F 01 D7 | |`,
  ),
  rows('SMX', 'GETSEC | NP 0F 37 | |'),
  rows(
    'KL',
    `
AESENC128KL | F3 0F 38 DC /r | xmm1, m |
AESDEC128KL | F3 0F 38 DD /r | xmm1, m |
AESENC256KL | F3 0F 38 DE /r | xmm1, m |
AESDEC256KL | F3 0F 38 DF /r | xmm1, m |`,
  ),
]
