/** Programs about segments: loads of every register from every kind of descriptor, limits, what LAR and its like see. */
import { GDT } from './image.ts'
import type { Program } from './machine.ts'
import type { ModeName } from './start.ts'

const hex = (value: number): string => value.toString(16)

/** Selectors by name: the whole GDT and some that are in no table. */
const SELECTORS: readonly (readonly [string, number])[] = [
  ...Object.entries(GDT),
  ['null', 0],
  ['null3', 3],
  ['inLdt', 0x0c],
]
/** Those that data segment registers meet. */
const LOADED = [
  ...['null', 'null3', 'inLdt', 'code64', 'data', 'code32', 'data16', 'code32User', 'dataUser', 'tss64', 'absentData'],
  ...[
    'readOnly',
    'executeOnly',
    'conforming',
    'conformingUser',
    'data1',
    'expandDown',
    'small',
    'absentCode',
    'gate64',
  ],
  ...['fresh', 'reservedType', 'beyond'],
]
const numberOf = (name: string): number => SELECTORS.find(([known]) => known === name)![1]

const loads: Program[] = (['k64', 'c32', 'uc32', 'k32', 'u32', 'p16'] as const).flatMap(mode =>
  (['ds', 'ss', 'fs'] as const)
    .filter(seg => seg !== 'fs' || mode === 'k64')
    .flatMap(seg =>
      LOADED.flatMap(name => {
        const rpls =
          name === 'data' || name === 'dataUser' || name === 'data1' ? [0, 1, 3] : [mode.startsWith('u') ? 3 : 0]
        return rpls.map(rpl => ({
          name: `${mode}: ${seg} = ${name}${rpls.length > 1 ? `+${rpl}` : ''}`,
          mode,
          code: `mov eax, 0x${hex(numberOf(name) | rpl)}\nmov ${seg}, ax\nmov ecx, 1`,
        }))
      }),
    ),
)

const systemLoads: Program[] = (['k64', 'c32', 'k32'] as const).flatMap(mode =>
  (
    [
      ['ltr', ['null', 'inLdt', 'data', 'tss64', 'tss32', 'tss16', 'ldt', 'busyTss', 'absentTss', 'farTss', 'beyond']],
      ['lldt', ['null', 'inLdt', 'data', 'tss64', 'ldt', 'absentLdt', 'gate64', 'reservedType', 'beyond']],
    ] as const
  ).flatMap(([what, names]) =>
    names.map(name => ({
      name: `${mode}: ${what} ${name}`,
      mode,
      code: `mov eax, 0x${hex(numberOf(name))}\n${what} ax`,
    })),
  ),
)

const looks: Program[] = (['k64', 'c32', 'u32'] as const).flatMap(mode =>
  ['lar', 'lsl', 'verr', 'verw'].flatMap(what =>
    [
      ...['null', 'code64', 'data', 'code32User', 'dataUser', 'tss64', 'tss16', 'ldt', 'readOnly', 'executeOnly'],
      ...['conforming', 'gate64', 'gate16', 'taskGate', 'absentData', 'expandDown', 'reservedType', 'beyond'],
    ].map(name => ({
      name: `${mode}: ${what} ${name}`,
      mode,
      code: `mov eax, 0x${hex(numberOf(name) | (mode === 'u32' ? 3 : 0))}\nmov ebx, 0x1234\n${what.startsWith('l') ? `${what} ebx, eax` : `${what} ax`}\n${mode === 'u32' ? 'setz cl\nmov [AT_data], ebx\nmov [AT_data+8], cl\nint 3' : 'setz cl'}`,
    })),
  ),
)

/** Accesses at the edge of what a segment allows. */
const limit = (mode: ModeName, name: string, rpl: number, access: string, ...places: readonly number[]): Program[] =>
  places.map(at => ({
    name: `${mode}: ${name} ${access} ${hex(at)}`,
    mode,
    code: `mov eax, 0x${hex(numberOf(name) | rpl)}\nmov es, ax\nmov ebx, 0x${hex(at)}\n${access}\nmov ecx, 1`,
  }))
const limits: Program[] = [
  ...(['c32', 'k32'] as const).flatMap(mode => [
    ...limit(mode, 'small', 0, 'mov al, es:[ebx]', 0, 0xff, 0x100),
    ...limit(mode, 'small', 0, 'mov ax, es:[ebx]', 0xfe, 0xff),
    ...limit(mode, 'small', 0, 'mov es:[ebx], eax', 0xfc, 0xfd, 0xffff_fffd),
    ...limit(mode, 'readOnly', 0, 'mov al, es:[ebx]', 0x2_0000),
    ...limit(mode, 'readOnly', 0, 'mov es:[ebx], al', 0x2_0000),
    ...limit(mode, 'conforming', 0, 'mov al, es:[ebx]', 0x2_0000),
    ...limit(mode, 'conforming', 0, 'mov es:[ebx], al', 0x2_0000),
    ...limit(mode, 'null', 0, 'mov al, es:[ebx]', 0x2_0000),
    ...limit(mode, 'expandDownRest', 0, 'mov al, es:[ebx]', 0x2_0fff, 0x2_1000, 0x3_ffff),
    ...limit(mode, 'expandDownRest', 0, 'mov eax, es:[ebx]', 0x2_0ffe, 0x2_1000),
    ...limit(mode, 'expandDown16', 0, 'mov al, es:[ebx]', 0xfff, 0x1000, 0xffff, 0x1_0000),
    ...limit(mode, 'data16', 0, 'mov al, es:[ebx]', 0xffff, 0x1_0000),
  ]),
  ...limit('k64', 'small', 0, 'mov al, es:[rbx]', 0x2_0000),
  ...limit('k64', 'null', 0, 'mov al, es:[rbx]', 0x2_0000),
  ...limit('k64', 'readOnly', 0, 'mov es:[rbx], al', 0x2_0000),
  {
    name: 'c32: write through CS',
    mode: 'c32',
    code: 'mov cs:[AT_data], eax',
  },
  {
    name: 'c32: read through execute-only CS',
    mode: 'c32',
    code: 'jmp executeOnly:there\nthere: mov eax, cs:[AT_data]',
  },
  {
    name: 'c32: push beyond the limit of SS',
    mode: 'c32',
    code: 'mov eax, small\nmov ss, ax\nmov esp, 0x104\npush eax',
  },
  {
    name: 'c32: push at the limit of SS',
    mode: 'c32',
    code: 'mov eax, small\nmov ss, ax\nmov esp, 0x100\npush eax',
  },
  {
    name: 'c32: EBP beyond the limit of SS',
    mode: 'c32',
    code: 'mov eax, small\nmov ss, ax\nmov ebp, 0x100\nmov al, [ebp]',
  },
  {
    name: 'c32: jump to the end of a code segment',
    mode: 'c32',
    code: 'jmp smallCode:there - AT_code\n.zero 8\nthere: jmp there + 0xf0',
  },
  {
    name: 'c32: an instruction across the end of its segment',
    mode: 'c32',
    code: 'jmp smallCode:0xfe\n.zero 0xf7\nmov eax, 0x12345678',
  },
  {
    name: 'real: a word at ffff',
    mode: 'real',
    code: 'mov bx, 0xffff\nmov ax, [bx]',
  },
  {
    name: 'real: a word at ffff of the stack',
    mode: 'real',
    code: 'mov bp, 0xffff\nmov ax, [bp]',
  },
  {
    name: 'real: an address of 32 bits beyond ffff',
    mode: 'real',
    code: 'mov ebx, 0x10000\nmov al, [ebx]',
  },
  {
    name: 'real: push at 1',
    mode: 'real',
    code: 'mov sp, 1\npush ax',
  },
  {
    name: 'real: push at 0 wraps',
    mode: 'real',
    code: 'xor sp, sp\npush ax',
  },
  {
    name: 'real: a segment is loaded with sixteen times its selector',
    mode: 'real',
    code: 'mov ax, 0x1234\nmov ds, ax\nmov bx, [0x10]',
  },
  {
    name: 'p16: 16-bit expand-down, above',
    mode: 'p16',
    code: 'mov ax, expandDown16\nmov es, ax\nmov bx, 0x1000\nmov al, es:[bx]',
  },
  {
    name: 'p16: 16-bit expand-down, below',
    mode: 'p16',
    code: 'mov ax, expandDown16\nmov es, ax\nmov bx, 0xfff\nmov al, es:[bx]',
  },
]

export const segments: readonly Program[] = [...loads, ...systemLoads, ...looks, ...limits]
