/** Programs about far transfers: JMP, CALL, RET and IRET to every kind of descriptor, gates, system calls, INT n. */
import { AT, GDT, IDT } from './image.ts'
import type { Program } from './machine.ts'
import type { ModeName } from './start.ts'

const TARGETS = [
  ...['code64', 'data', 'code32', 'code16', 'code32User', 'code64User', 'tss64', 'tss32', 'ldt', 'absentData'],
  ...['executeOnly', 'conforming', 'conformingUser', 'absentCode', 'bothLD', 'gate64', 'gate32', 'gate16', 'taskGate'],
  ...['busyTss', 'gateKernel', 'gateAbsent', 'gateToData', 'gateUpper', 'gateFar', 'gateToAbsent', 'gateConforming'],
  ...['gateParameters', 'freshCode', 'smallCode', 'conforming64', 'reservedType', 'beyond'],
] as const
const selector = (name: string): number => (GDT as Record<string, number>)[name]!

/** JMP and CALL through memory, which every mode has. */
const jumps: Program[] = (['k64', 'c32', 'uc32', 'k32', 'u32'] as const).flatMap(mode =>
  (['jmp', 'call'] as const).flatMap(how =>
    [...TARGETS, 'null'].map(name => ({
      name: `${mode}: ${how} ${name}`,
      mode,
      code: `mov dword ptr [AT_data], AT_entry + 0x300\nmov word ptr [AT_data + 4], 0x${(name === 'null' ? 0 : selector(name) | (mode.startsWith('u') ? 3 : 0)).toString(16)}\n${how} far fword ptr [AT_data]`,
    })),
  ),
)

const push = (mode: ModeName, ...values: readonly (string | number)[]): string =>
  values.map(value => (mode === 'k64' ? `mov rax, ${value}\npush rax` : `push ${value}`)).join('\n')

/** What RET and IRET pop, from the deepest: SS and the stack pointer where they go out, flags for IRET, CS, RIP. */
const back = (mode: ModeName, how: string, name: string, frame: readonly (string | number)[], code = ''): Program => ({
  name: `${mode}: ${how} ${name}`,
  mode,
  code: `${code}\n${push(mode, ...frame)}\n${how}`,
})

const TO = AT.entry + 0x300
const far = (cs: string, rip: number | string = TO): (string | number)[] => [cs, rip]
const returns: Program[] = [
  ...(['k64', 'c32', 'k32'] as const).flatMap(mode => {
    const how = mode === 'k64' ? 'retfq' : 'retf'
    return [
      ...['0', 'code64', 'code32', 'data', 'code32User', 'code32User+1', 'absentCode', 'bothLD', 'conforming'].map(cs =>
        back(mode, how, `to ${cs}`, far(cs)),
      ),
      back(mode, how, 'to beyond', far('beyond')),
      back(mode, how, 'out, 32-bit', ['dataUser+3', 'AT_stack3', 'code32User+3', TO]),
      back(mode, how, 'out, SS of ring 0', ['data', 'AT_stack3', 'code32User+3', TO]),
      back(mode, how, 'out, null SS', ['0', 'AT_stack3', 'code32User+3', TO]),
      back(mode, how, 'out, SS read-only', ['readOnly+3', 'AT_stack3', 'code32User+3', TO]),
      back(mode, how, 'out, conforming', ['dataUser+3', 'AT_stack3', 'conforming+3', TO]),
      back(mode, `${how} 8`, 'out, with parameters', ['dataUser+3', 'AT_stack3', 1, 2, 'code32User+3', TO]),
      back(mode, how, 'to the limit', far('smallCode', '0x100')),
    ]
  }),
  back('k64', 'retfq', 'out, 64-bit', ['dataUser+3', 'AT_stack3', 'code64User+3', TO]),
  back('k64', 'retfq', 'out, 64-bit, null SS', ['3', 'AT_stack3', 'code64User+3', TO]),
  back('k64', 'retfq', 'to a place that is not canonical', far('code64', '0x800000000000')),
  back('k64', 'retfq', 'to 32-bit code above 4 GiB', far('code32', '0x10000d300')),
  ...(['k64', 'c32', 'k32'] as const).flatMap(mode => {
    const how = mode === 'k64' ? 'iretq' : 'iret'
    const rest = mode === 'k64' ? ['data', 'AT_stack0'] : []
    return [
      ...['0', 'code64', 'code32', 'data', 'code32User', 'absentCode', 'bothLD', 'conforming', 'beyond', 'tss32'].map(
        cs => back(mode, how, `to ${cs}`, [...rest, 2, ...far(cs)]),
      ),
      ...['0x3ed7', '0x3000', '0x10002', '0x40002', '0x200002', '0x180002', '0x8002'].map(flags =>
        back(mode, how, `flags ${flags}`, [...rest, flags, ...far(mode === 'k64' ? 'code64' : 'code32')]),
      ),
      back(mode, how, 'out, 32-bit', ['dataUser+3', 'AT_stack3', 0x202, 'code32User+3', TO]),
      back(mode, how, 'out, SS of ring 0', ['data', 'AT_stack3', 2, 'code32User+3', TO]),
      back(mode, how, 'out, null SS', ['0', 'AT_stack3', 2, 'code32User+3', TO]),
      back(mode, how, 'out, SS absent', ['absentData+3', 'AT_stack3', 2, 'code32User+3', TO]),
      back(mode, how, 'out, SS beyond', ['beyond+3', 'AT_stack3', 2, 'code32User+3', TO]),
      back(mode, how, 'out, IOPL 3', ['dataUser+3', 'AT_stack3', 0x3002, 'code32User+3', TO]),
    ]
  }),
  back('k64', 'iretq', 'out, 64-bit', ['dataUser+3', 'AT_stack3', 2, 'code64User+3', TO]),
  back('k64', 'iretq', 'out, 64-bit, null SS', ['3', 'AT_stack3', 2, 'code64User+3', TO]),
  back('k64', 'iretq', 'null SS', ['0', 'AT_stack0', 2, 'code64', TO]),
  back('k64', 'iretq', 'null SS to 32-bit code', ['0', 'AT_stack0', 2, 'code32', TO]),
  back('k64', 'iretq', 'to a place that is not canonical', ['data', 'AT_stack0', 2, 'code64', '0x800000000000']),
  back('k64', 'iretq', 'RSP that is not canonical', ['data', '0x800000000000', 2, 'code64', TO]),
  {
    name: 'k64: iretq with NT',
    mode: 'k64',
    code: `${push('k64', 'data', 'AT_stack0', 2, 'code64', TO)}\niretq`,
    set: { rflags: 0x4002 },
  },
  {
    name: 'k64: iretd',
    mode: 'k64',
    code: 'sub rsp, 20\nmov dword ptr [rsp], AT_entry+0x300\nmov dword ptr [rsp+4], code64\nmov dword ptr [rsp+8], 2\nmov dword ptr [rsp+12], AT_stack0\nmov dword ptr [rsp+16], data\niretd',
  },
  {
    name: 'u64: iretq within the ring',
    mode: 'u64',
    code: `${push('k64', 'dataUser+3', 'AT_stack3', 2, 'code64User+3', 'there')}\niretq\nthere: int 3`,
  },
  { name: 'u64: iretq inwards', mode: 'u64', code: `${push('k64', 'data', 'AT_stack0', 2, 'code64', TO)}\niretq` },
  { name: 'uc32: iret inwards', mode: 'uc32', code: `${push('c32', 2, 'code32', TO)}\niret` },
  {
    name: 'u32: iret within the ring',
    mode: 'u32',
    code: `${push('c32', '0x3202', 'code32User+3', 'there')}\niret\nthere: int 3`,
  },
  { name: 'real: iret', mode: 'real', code: 'push 0x0ad7\npush cs\npush there\niret\nthere:' },
  {
    name: 'real: iretd',
    mode: 'real',
    code: 'push dword 0x240ad7\npush dword 0x1000\npush dword there\niretd\nthere:',
  },
  { name: 'real: far call and back', mode: 'real', code: 'call 0x1000:sub\njmp out\nsub: retf\nout:' },
  { name: 'real: far jump beyond the limit', mode: 'real', code: 'jmp dword 0x1000:0x10000' },
  { name: 'real: int 0x20', mode: 'real', code: 'int 0x20', set: { rflags: 0x4_0202 } },
  { name: 'real: interrupt table too short', mode: 'real', code: 'int 0x20', set: { idtLimit: 0x7f } },
]

/** Into virtual-8086 mode, by the flags that IRET pops; 64-bit code cannot. */
const older: Program[] = [
  back('k32', 'iret', 'to virtual-8086 mode', [0, 0, 0, 0, 'data', 'AT_stack0', '0x20002', 'code32', TO]),
  back('k64', 'iretq', 'flags 0x20002', ['data', 'AT_stack0', '0x20002', 'code64', TO]),
  { name: 'k32: iret with NT', mode: 'k32', code: 'iret', set: { rflags: 0x4002 } },
]

const interrupts: Program[] = (['k64', 'u64', 'c32', 'uc32', 'k32', 'u32'] as const).flatMap(mode =>
  [...Object.entries(IDT), ['beyond', 0x40] as const, ['breakpoint', 3] as const, ['divide', 0] as const].map(
    ([name, vector]) => ({
      name: `${mode}: int ${name}`,
      mode,
      code: `int 0x${vector.toString(16)}`,
      set: { rflags: 0x202 },
    }),
  ),
)

const calls: Program[] = [
  { name: 'k64: syscall', mode: 'k64', code: 'syscall', set: { rflags: 0x4_0ad7 } },
  { name: 'u64: syscall', mode: 'u64', code: 'syscall', set: { rflags: 0xad7 } },
  { name: 'u64: syscall, everything masked', mode: 'u64', code: 'syscall', set: { rflags: 0xad7, fmask: 0xffff_ffff } },
  { name: 'k64: syscall without SCE', mode: 'k64', code: 'syscall', set: { efer: 0xd00 } },
  { name: 'u64: syscall without SCE', mode: 'u64', code: 'syscall', set: { efer: 0xd00 } },
  { name: 'c32: syscall', mode: 'c32', code: 'syscall' },
  { name: 'k32: syscall', mode: 'k32', code: 'syscall' },
  { name: 'k64: sysretq', mode: 'k64', code: 'mov rcx, AT_entry\nmov r11, 0x3ed7\nsysretq' },
  { name: 'k64: sysretq, all flags', mode: 'k64', code: 'mov rcx, AT_entry\nmov r11, 0x3bfed7\nsysretq' },
  { name: 'k64: sysretd', mode: 'k64', code: 'mov rcx, 0x10000d300\nmov r11, 2\n.byte 0x0f, 0x07' },
  { name: 'k64: sysretq to a place that is not canonical', mode: 'k64', code: 'mov rcx, 0x800000000000\nsysretq' },
  { name: 'k64: sysretq without SCE', mode: 'k64', code: 'sysretq', set: { efer: 0xd00 } },
  { name: 'c32: sysretd', mode: 'c32', code: '.byte 0x0f, 0x07' },
  { name: 'k64: sysenter', mode: 'k64', code: 'sysenter', set: { rflags: 0x2_0202 & 0x202 } },
  { name: 'k64: sysenter, CS 0', mode: 'k64', code: 'sysenter', set: { sysenterCs: 0 } },
  { name: 'k64: sysenter, CS 3', mode: 'k64', code: 'sysenter', set: { sysenterCs: 3 } },
  { name: 'u64: sysenter', mode: 'u64', code: 'sysenter' },
  { name: 'uc32: sysenter', mode: 'uc32', code: 'sysenter' },
  { name: 'k32: sysenter', mode: 'k32', code: 'sysenter', set: { sysenterCs: GDT.code32 } },
  { name: 'u32: sysenter', mode: 'u32', code: 'sysenter', set: { sysenterCs: GDT.code32 } },
  { name: 'real: sysenter', mode: 'real', code: 'sysenter' },
  { name: 'k64: sysexitq', mode: 'k64', code: 'mov rdx, AT_entry\nmov rcx, AT_stack3\nsysexitq' },
  { name: 'k64: sysexitd', mode: 'k64', code: 'mov rdx, AT_entry\nmov rcx, AT_stack3\nsysexit' },
  {
    name: 'k64: sysexitq to a place that is not canonical',
    mode: 'k64',
    code: 'mov rdx, 0x800000000000\nmov rcx, 0\nsysexitq',
  },
  { name: 'k64: sysexit, CS 0', mode: 'k64', code: 'sysexit', set: { sysenterCs: 0 } },
  {
    name: 'k32: sysexit',
    mode: 'k32',
    code: 'mov edx, AT_entry\nmov ecx, AT_stack3\nsysexit',
    set: { sysenterCs: GDT.code32 },
  },
  { name: 'k64: swapgs', mode: 'k64', code: 'swapgs', set: { kernelGsBase: 0x1234_5678n } },
  { name: 'c32: swapgs', mode: 'c32', code: '.byte 0x0f, 0x01, 0xf8' },
]

export const transfers: readonly Program[] = [...jumps, ...returns, ...older, ...interrupts, ...calls]
