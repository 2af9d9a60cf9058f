/** Programs about everything else: page faults, control registers, MSRs, privilege, traps, double faults. */
import { AT, GDT, PAGES, pageAt } from './image.ts'
import type { Program } from './machine.ts'
import type { ModeName } from './start.ts'

const PAGE_NAMES = Object.keys(PAGES) as (keyof typeof PAGES)[]

/** Reads, writes, fetches and read-modify-writes of each page. */
const ACCESSES: readonly (readonly [string, string])[] = [
  ['read', 'mov al, [ebx]'],
  ['write', 'mov [ebx], al'],
  ['modify', 'lock add dword ptr [ebx], 1'],
  ['compare', 'cmpxchg [ebx], ecx'],
  ['fetch', 'jmp target'],
  ['across', 'mov eax, [ebx-2]'],
]
const access = (
  mode: ModeName,
  page: keyof typeof PAGES,
  what: string,
  code: string,
  more: Partial<Program> = {},
  why = '',
): Program => {
  const wide = mode === 'k64' || mode === 'u64'
  return {
    name: `${mode}: ${what} of ${page}${why}`,
    mode,
    code: `mov ebx, 0x${pageAt(page).toString(16)}\n${(what === 'fetch' ? `jmp ${wide ? 'rbx' : 'ebx'}` : code).replaceAll('[ebx', wide ? '[rbx' : '[ebx')}\nmov ecx, 1`,
    ...(what === 'fetch' && page !== 'absent' ? { memory: { [pageAt(page)]: 0xf4n, ...more.memory } } : {}),
    ...more,
  }
}
const faults: Program[] = [
  ...(['k64', 'u64', 'c32', 'uc32', 'paged32', 'pae'] as const).flatMap(mode =>
    PAGE_NAMES.flatMap(page => ACCESSES.map(([what, code]) => access(mode, page, what, code))),
  ),
  ...(['readOnly', 'supervisorReadOnly'] as const).flatMap(page =>
    ACCESSES.slice(0, 4).map(([what, code]) =>
      access('k64', page, what, code, { set: { cr0: 0x8000_0033n } }, ', WP off'),
    ),
  ),
  ...PAGE_NAMES.slice(1).flatMap(page => [
    access('k64', page, 'fetch', '', { set: { efer: 0x501n } }, ', NXE off'),
    access('k64', page, 'read', 'mov al, [ebx]', { set: { efer: 0x501n } }, ', NXE off'),
  ]),
]

const word = (at: number, value: bigint): Record<number, bigint> => ({ [at]: value })
const read = (
  name: string,
  memory: Record<number, bigint>,
  code = 'mov al, [0x40000123]',
  more: Partial<Program> = {},
): Program => ({
  name: `k64: ${name}`,
  mode: 'k64',
  code,
  memory,
  ...more,
})
/** Entries of the upper levels, for linear addresses from 1 GiB on. */
const tables: Program[] = [
  read('PDPTE absent', {}),
  read('PML4E absent', {}, 'mov al, [0x8000000000 ]'.replace('[0x8000000000 ]', '[rax]'), {
    set: { rax: 0x80_0000_0000n },
  }),
  read('a page of 1 GiB', word(AT.pdpt + 8, 0x87n)),
  read('a page of 1 GiB, reserved bit', word(AT.pdpt + 8, 0x2087n)),
  read('a page of 1 GiB, PAT', word(AT.pdpt + 8, 0x1087n)),
  read('a page of 1 GiB, written', word(AT.pdpt + 8, 0x87n), 'mov [0x40020000], al'),
  read('a page of 1 GiB, read-only', word(AT.pdpt + 8, 0x85n), 'mov [0x40020000], al'),
  read('a page of 2 MiB', word(AT.pd + 8, 0x87n), 'mov al, [0x200123]'),
  read('a page of 2 MiB, written', word(AT.pd + 8, 0x87n), 'mov [0x220123], al'),
  read('a page of 2 MiB, reserved bit', word(AT.pd + 8, 0x2087n), 'mov al, [0x200123]'),
  read('a page of 2 MiB, PAT', word(AT.pd + 8, 0x1087n), 'mov al, [0x200123]'),
  read('a page of 2 MiB, read-only', word(AT.pd + 8, 0x85n), 'mov [0x220123], al'),
  read('PML4E with bit 7', { ...word(AT.pml4 + 8, BigInt(AT.pdpt) | 0x87n) }, 'mov al, [rax]', {
    set: { rax: 0x80_0000_0000n },
  }),
  read('PDPTE beyond the width', word(AT.pdpt + 8, (1n << 51n) | 7n)),
  read('PDE beyond the width', word(AT.pd + 8, (1n << 50n) | 7n), 'mov al, [0x200123]'),
  read('PDE read-only above a writable page', word(AT.pd + 8, BigInt(AT.pt) | 5n), 'mov [0x220123], al'),
  read(
    'PDE no-execute',
    word(AT.pd + 8, BigInt(AT.pt) | 7n | (1n << 63n)),
    'jmp far_away\nfar_away = AT_entry + 0x200000'.split('\n')[0]!.replace('far_away', '0x20d000'),
  ),
  read('not present with reserved bits', word(AT.pd + 8, (1n << 51n) | 6n), 'mov al, [0x200123]'),
  {
    name: 'u64: PDE of the supervisor',
    mode: 'u64',
    code: 'mov al, [0x220123]',
    memory: word(AT.pd + 8, BigInt(AT.pt) | 3n),
  },
  {
    name: 'u64: PDE of the supervisor, not present',
    mode: 'u64',
    code: 'mov al, [0x220123]',
    memory: word(AT.pd + 8, BigInt(AT.pt) | 2n),
  },
  {
    name: 'k64: accessed but not dirty',
    mode: 'k64',
    code: 'mov al, [AT_data]\nlea rbx, [AT_data+0x1000]\nmov [rbx], al',
  },
  { name: 'k64: A and D stay as they are where access is denied', mode: 'k64', code: 'mov [readOnlyPage], al' },
]

const canonical: Program[] = [
  ...[
    'mov al, [rax]',
    'mov [rax], al',
    'push qword ptr [rax]',
    'jmp rax',
    'jmp qword ptr [rax]',
    'call rax',
    'lgdt [rax]',
    'invlpg [rax]',
    'prefetcht0 [rax]',
    'clflush [rax]',
    'lea rbx, [rax]',
    'movaps xmm0, [rax]',
  ].map(code => ({
    name: `k64: ${code}, not canonical`,
    mode: 'k64' as const,
    code,
    set: { rax: 0x8000_0000_0000n },
  })),
  ...[
    'mov al, [rbp]',
    'mov al, [rsp]',
    'push rax',
    'pop rax',
    'call there\nthere:',
    'ret',
    'enter 8, 0',
    'leave',
    'pushfq',
    'iretq',
  ].map(code => ({
    name: `k64: ${code.split('\n')[0]}, stack not canonical`,
    mode: 'k64' as const,
    code,
    set: {
      rsp:
        0x8000_0000_0000n + (code.startsWith('push') || code.startsWith('call') || code.startsWith('enter') ? 8n : 0n),
      rbp: 0x8000_0000_0000n,
      idtLimit: 0x3ff,
    },
    memory: {
      [AT.idt64 + 12 * 16]: (BigInt(AT.handlers + 12 * 16) & 0xffffn) | (8n << 16n) | (1n << 32n) | (0x8en << 40n),
    },
  })),
  { name: 'k64: a word across the edge', mode: 'k64', code: 'mov rax, 0x7fffffffffff\nmov ax, [rax]' },
  { name: 'k64: ret to a place that is not canonical', mode: 'k64', code: 'mov rax, 0x800000000000\npush rax\nret' },
  {
    name: 'k64: FS base and offset',
    mode: 'k64',
    code: 'mov al, fs:[rax]',
    set: { rax: 0x7fff_ffff_ffffn },
    segments: { fs: { base: 0x1000n } },
  },
]

const write = (
  register: string,
  value: bigint,
  mode: ModeName = 'k64',
  more: Partial<Program> = {},
  why = '',
): Program => ({
  name: `${mode}: ${register} = ${value.toString(16)}${why}`,
  mode,
  code:
    mode === 'k64' || mode === 'u64'
      ? `mov rax, 0x${value.toString(16)}\nmov ${register}, rax\nmov ecx, 1`
      : `mov eax, 0x${value.toString(16)}\nmov ${register}, eax\nmov ecx, 1`,
  ...more,
})
const controls: Program[] = [
  ...[
    0x8001_0033n,
    0x8001_0032n,
    0x1_0033n,
    0x33n,
    0x32n,
    0xa001_0033n,
    0xe001_0033n,
    0xc001_0033n,
    0x8005_0033n,
    0x8001_0033n | (1n << 32n),
    0x8001_0033n | (1n << 63n),
    0x8001_ffffn,
    0x8001_003fn,
    0x9001_0033n,
  ].map(value => write('cr0', value)),
  ...[0x33n, 0x32n, 0x8000_0033n, 0x8000_0032n, 0x2000_0033n, 0x6000_0033n, 0x11n, 0x1_0031n].map(value =>
    write('cr0', value, 'k32'),
  ),
  ...[
    0x620n,
    0x600n,
    0x420n,
    0x20n,
    0n,
    0x6a0n,
    0x630n,
    0x6ffn,
    0xe20n,
    0x2620n,
    0x4620n,
    0x8620n,
    0x1_0620n,
    0x2_0620n,
    0x4_0620n,
    0x10_0620n,
    0x20_0620n,
    0x40_0620n,
    0x80_0620n,
    0x100_0620n,
    0x1620n,
    0x620n | (1n << 32n),
    0x620n | (1n << 63n),
  ].map(value => write('cr4', value)),
  ...[0x0n, 0x20n, 0x10n, 0x90n, 0x2_0000n, 0x1000n].map(value => write('cr4', value, 'k32')),
  ...[
    BigInt(AT.pml4),
    BigInt(AT.pml4) | 0x18n,
    BigInt(AT.pml4) | 0xfffn,
    BigInt(AT.pml4) | (1n << 48n),
    BigInt(AT.pml4) | (1n << 52n),
    BigInt(AT.pml4) | (1n << 62n),
    BigInt(AT.pml4) | (1n << 63n),
  ].map(value => write('cr3', value)),
  ...[0n, 15n, 16n, 1n << 32n].map(value => write('cr8', value)),
  write('cr2', 0x8000_0000_0000n),
  ...['cr1', 'cr5', 'cr9'].map(name => ({
    name: `k64: read of ${name}`,
    mode: 'k64' as const,
    code: `.byte ${name === 'cr9' ? '0x44, ' : ''}0x0f, 0x20, 0x${(0xc0 | ((Number(name[2]) & 7) << 3)).toString(16)}`,
  })),
  ...['cr0', 'cr2', 'cr3', 'cr4', 'cr8'].flatMap(name => [
    { name: `u64: read of ${name}`, mode: 'u64' as const, code: `mov rax, ${name}` },
    { name: `u64: write of ${name}`, mode: 'u64' as const, code: `mov ${name}, rax` },
    { name: `k64: read of ${name}`, mode: 'k64' as const, code: `mov rax, ${name}` },
  ]),
  { name: 'k64: lmsw sets', mode: 'k64', code: 'mov eax, 0xf\nlmsw ax' },
  { name: 'k64: lmsw does not clear PE', mode: 'k64', code: 'xor eax, eax\nlmsw ax' },
  { name: 'k64: smsw', mode: 'k64', code: 'mov rax, -1\nsmsw ax\nmov rbx, -1\nsmsw rbx\nmov rcx, -1\nsmsw ecx' },
  { name: 'k64: clts', mode: 'k64', code: 'clts', set: { cr0: 0x8001_003bn } },
  { name: 'real: into protected mode', mode: 'real', code: 'mov eax, 0x11\nmov cr0, eax\nmov ax, data\nmov ds, ax' },
]

const EFER = 0xc000_0080
const msr = (index: number, value: bigint, mode: ModeName = 'k64'): Program => ({
  name: `${mode}: MSR ${index.toString(16)} = ${value.toString(16)}`,
  mode,
  code: `mov ecx, 0x${index.toString(16)}\nmov eax, 0x${(value & 0xffff_ffffn).toString(16)}\nmov edx, 0x${(value >> 32n).toString(16)}\nwrmsr\nrdmsr`,
})
const NOT_CANONICAL = 0x8000_0000_0000n
const msrs: Program[] = [
  ...[
    0xd01n,
    0xd00n,
    0x501n,
    0xc01n,
    0x901n,
    0x101n,
    0x1n,
    0xd03n,
    0xf01n,
    0xd01n | (1n << 16n),
    0xd01n | (1n << 32n),
  ].map(value => msr(EFER, value)),
  ...[0x0n, 0x100n, 0x500n, 0x800n, 0x1n, 0x2n].map(value => msr(EFER, value, 'k32')),
  ...[0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x175, 0x176].flatMap(index => [
    msr(index, NOT_CANONICAL),
    msr(index, 0xffff_8000_0000_0000n),
    msr(index, 0x1234_5678n),
  ]),
  ...[
    0x0007_0406_0007_0406n,
    0x0007_0406_0007_0402n,
    0x0007_0406_0007_0403n,
    0x0107_0406_0007_0406n,
    0x0807_0406_0007_0406n,
    0x1007_0406_0007_0406n,
  ].map(value => msr(0x277, value)),
  ...[0x8n, 0xffff_ffffn, 1n << 32n].map(value => msr(0x174, value)),
  ...[0xffff_ffffn, 1n << 32n].map(value => msr(0xc000_0084, value)),
  msr(0xc000_0103, 0xffff_ffffn),
  msr(0xc000_0103, 1n << 32n),
  msr(0xc000_0081, 0xffff_ffff_ffff_ffffn),
  ...[0x1234_5678, 0x4000_0000 - 1, 0xc001_0fff, 0x3fff].flatMap(index => [
    { name: `k64: rdmsr ${index.toString(16)}`, mode: 'k64' as const, code: `mov ecx, 0x${index.toString(16)}\nrdmsr` },
    { name: `k64: wrmsr ${index.toString(16)}`, mode: 'k64' as const, code: `mov ecx, 0x${index.toString(16)}\nwrmsr` },
  ]),
]

const PRIVILEGED = [
  ...[
    'hlt',
    'cli',
    'sti',
    'clts',
    'invd',
    'wbinvd',
    'lgdt [rsp]',
    'lidt [rsp]',
    'lldt ax',
    'ltr ax',
    'lmsw ax',
    'invlpg [rsp]',
  ],
  ...[
    'mov dr0, rax',
    'mov rax, dr7',
    'in al, 0x80',
    'out 0x80, al',
    'in al, 0x20',
    'out 0x20, al',
    'in ax, 0x2f',
    'insb',
    'outsb',
    'rdpmc',
    'sysexit',
    'sysretq',
  ],
  ...[
    'sgdt [rsp-16]',
    'sidt [rsp-16]',
    'sldt ax',
    'str ax',
    'smsw ax',
    'rdtsc\nxor eax, eax\nxor edx, edx',
    'rdmsr',
    'wrmsr',
    'swapgs',
    'cpuid\nxor eax, eax\nxor ebx, ebx\nxor ecx, ecx\nxor edx, edx',
    'vmcall',
  ],
]
const privileges: Program[] = [
  ...PRIVILEGED.map(code => ({ name: `u64: ${code.split('\n')[0]}`, mode: 'u64' as const, code: `${code}\nint 3` })),
  ...PRIVILEGED.filter(code => !/\[rsp|dr|swapgs|sysretq/.test(code)).map(code => ({
    name: `uc32: ${code.split('\n')[0]}`,
    mode: 'uc32' as const,
    code: `${code}\nint 3`,
  })),
  ...['cli', 'sti', 'in al, 0x80\nmov al, 0'].map(code => ({
    name: `u64: ${code.split('\n')[0]}, IOPL 3`,
    mode: 'u64' as const,
    code: `${code.startsWith('in') ? 'nop' : code}\nint 3`,
    set: { rflags: 0x3002 },
  })),
  ...['sgdt [rsp-16]', 'sidt [rsp-16]', 'sldt ax', 'str ax', 'smsw ax'].map(code => ({
    name: `u64: ${code}, UMIP`,
    mode: 'u64' as const,
    code: `${code}\nint 3`,
    set: { cr4: 0xe20 },
  })),
  { name: 'u64: rdtsc, TSD', mode: 'u64', code: 'rdtsc\nint 3', set: { cr4: 0x624 } },
  { name: 'u64: popf, IOPL 0', mode: 'u64', code: 'push 0x3ed7\npopfq\npushfq\npop rbx\nint 3' },
  {
    name: 'u64: popf, IOPL 3',
    mode: 'u64',
    code: 'push 0xed7\npopfq\npushfq\npop rbx\nint 3',
    set: { rflags: 0x3202 },
  },
  {
    name: 'k64: popf',
    mode: 'k64',
    code: 'push 0x247ed7\npopfq\npushfq\npop rbx',
  },
  { name: 'k64: popf of RF, VM, VIF, VIP', mode: 'k64', code: 'push 0x1b0002\npopfq\npushfq\npop rbx' },
  {
    name: 'k64: popfw',
    mode: 'k64',
    code: 'push word 0x3ed7\npopfw\npushfq\npop rbx',
    set: { rflags: 0x20_0002 },
  },
  { name: 'u32: popf, IOPL 0', mode: 'u32', code: 'push 0x3ed7\npopf\npushf\npop ebx\nint 3' },
]

const UNDEFINED: readonly (readonly [ModeName, string])[] = [
  ...(['k64', 'c32', 'k32', 'real'] as const).flatMap(mode =>
    [
      '0x06',
      '0x0e',
      '0x27',
      '0x37',
      '0x60',
      '0xd4, 0x0a',
      '0xd6',
      '0x82, 0xc0, 0x01',
      '0xc4, 0xc0',
      '0x62, 0xc0',
      '0x0f, 0x05',
      '0x0f, 0x0b',
      '0x0f, 0xff, 0xc0',
      '0xf0, 0x90',
      '0x8e, 0xc8',
      '0x0f, 0x00, 0xf8',
      '0x0f, 0x01, 0xf8',
      '0x63, 0xc0',
      '0x0f, 0x00, 0xc0',
      '0x0f, 0x02, 0xc0',
      '0xfe, 0xf8',
      '0xff, 0xf8',
      '0xc6, 0xc8, 0x00',
      '0x8f, 0xc8',
      '0xf0, 0x0f, 0xb1, 0xc0',
    ].map(bytes => [mode, bytes] as const),
  ),
]
const undefinedOnes: Program[] = UNDEFINED.map(([mode, bytes]) => ({
  name: `${mode}: bytes ${bytes.replaceAll('0x', '').replaceAll(',', '')}`,
  mode,
  code: `.byte ${bytes}`,
  set: { rax: 0, rcx: 0 },
}))

const traps: Program[] = [
  { name: 'k64: single step', mode: 'k64', code: 'mov eax, 1\nmov eax, 2', set: { rflags: 0x102 } },
  { name: 'k64: single step set by POPF', mode: 'k64', code: 'push 0x102\npopfq\nmov eax, 1\nmov eax, 2' },
  {
    name: 'k64: single step over MOV SS',
    mode: 'k64',
    code: 'mov eax, data\nmov ss, ax\nmov ebx, 1\nmov ebx, 2',
    set: { rflags: 0x102 },
    memory: { [AT.idt64 + 16]: 0x0000_8e00_0008_0000n | BigInt(AT.entry + 0x400) },
    more: { [AT.entry + 0x400]: 'cmp ebx, 1\njb on\nhlt\non: iretq' },
  },
  { name: 'u64: single step', mode: 'u64', code: 'nop\nnop', set: { rflags: 0x102 } },
  { name: 'k64: single step into INT', mode: 'k64', code: 'int 0x20', set: { rflags: 0x102 } },
  { name: 'u64: single step over SYSCALL', mode: 'u64', code: 'syscall', set: { rflags: 0x102 } },
  { name: 'k64: single step of REP', mode: 'k64', code: 'rep stosb', set: { rflags: 0x102, rcx: 3, rdi: AT.data } },
  { name: 'k64: single step, fault', mode: 'k64', code: 'ud2', set: { rflags: 0x102 } },
  { name: 'k64: int1', mode: 'k64', code: 'int1' },
  { name: 'u64: int1', mode: 'u64', code: 'int1' },
  { name: 'k64: into', mode: 'c32', code: 'into', set: { rflags: 0x802 } },
  {
    name: 'c32: bound',
    mode: 'c32',
    code: 'mov eax, 9\nmov dword ptr [AT_data], 1\nmov dword ptr [AT_data+4], 8\nbound eax, [AT_data]',
  },
  { name: 'k64: divide by zero', mode: 'k64', code: 'xor ecx, ecx\ndiv ecx', set: { rflags: 0x202 } },
  { name: 'k64: general detect', mode: 'k64', code: 'mov rax, dr0\nmov ecx, 1', set: { dr7: 0x2400 } },
  { name: 'k64: dr4 with DE', mode: 'k64', code: 'mov rax, dr4', set: { cr4: 0x628 } },
  { name: 'k64: dr4 without DE', mode: 'k64', code: 'mov rax, dr4' },
  { name: 'k64: dr5 without DE', mode: 'k64', code: 'mov rax, dr5' },
  ...[0xffff_ffffn, 0x1_0000_0000n, 0n, 0x8000n].map(value => write('dr6', value)),
  ...[0x1_0000_0000n, 0x400n, 0x100n, 0xffff_0000n & 0x3333_0000n].map(value => write('dr7', value)),
  ...[0xffff_ffff_ffff_ffffn, 0x8000_0000_0000n].map(value => write('dr0', value)),
]

/** An access with a breakpoint at AT.data in DR0: `kind` 0 executes, 1 writes, 2 ports, 3 reads or writes. */
const watch = (
  name: string,
  code: string,
  kind: number,
  length: number,
  more: Partial<Program> = {},
  enable = 1,
  at: number = AT.data,
): Program => ({
  name: `k64: breakpoint, ${name}`,
  mode: 'k64',
  code: `${code}\nmov ecx, 1`,
  ...more,
  set: { dr0: at, dr7: 0x400 | enable | (kind << 16) | ((length - 1) << 18), ...more.set },
})
const EIGHT = 3
const breakpoints: Program[] = [
  watch('write of a byte', 'mov [AT_data], al', 1, 1),
  watch('write beside it', 'mov [AT_data+1], al', 1, 1),
  watch('write of a word below', 'mov [AT_data-1], ax', 1, 1),
  watch('write of 8 bytes over it', 'mov [AT_data-4], rax', 1, 1),
  watch('write, 4 bytes', 'mov [AT_data+3], al', 1, 4),
  watch('write, 4 bytes, at an address within', 'mov [AT_data], al', 1, 4, { set: { dr0: AT.data + 2 } }),
  watch('write, 8 bytes', 'mov [AT_data+7], al', 1, EIGHT),
  watch('read does not write', 'mov al, [AT_data]', 1, 1),
  watch('read', 'mov al, [AT_data]', 3, 1),
  watch('global', 'mov al, [AT_data]', 3, 1, {}, 2),
  watch('not enabled', 'mov al, [AT_data]', 3, 1, {}, 4),
  watch('read and write', 'add byte ptr [AT_data], 1', 3, 1),
  watch('write of a read-modify-write', 'add byte ptr [AT_data], 1', 1, 1),
  watch('push', 'push rax', 1, EIGHT, { set: { dr0: AT.stack0 - 8 } }),
  watch('pop', 'pop rax', 3, EIGHT, { set: { dr0: AT.stack0 } }),
  watch('REP STOSB stops after the iteration', 'mov edi, AT_data - 2\nmov ecx, 5\nrep stosb', 1, 1),
  watch('REP MOVSB', 'mov esi, AT_data - 1\nmov edi, AT_data + 0x100\nmov ecx, 4\nrep movsb', 3, 1),
  watch('SSE read', 'movups xmm0, [AT_data - 8]', 3, 1),
  watch('compare and exchange writes even where it does not', 'mov eax, 1\ncmpxchg [AT_data], ecx', 1, 1),
  watch('two at once', 'mov al, [AT_data]', 3, 1, {
    set: { dr1: AT.data, dr7: 0x400 | 1 | 4 | (3 << 16) | (3 << 20) },
  }),
  watch('one that is not enabled is reported', 'mov al, [AT_data]', 3, 1, {
    set: { dr1: AT.data, dr7: 0x400 | 1 | (3 << 16) | (3 << 20) },
  }),
  watch('LEA does not read', 'lea rax, [AT_data]', 3, 1),
  watch('a fault before the access is complete', 'mov rax, [readOnlyPage - 4]', 3, 1, {
    set: { dr0: pageAt('readOnly') - 4, rax: 0 },
  }),
  watch(
    'far call pushes',
    'mov dword ptr [AT_data], AT_entry\nmov word ptr [AT_data+4], code64\ncall far fword ptr [AT_data]',
    1,
    EIGHT,
    { set: { dr0: AT.stack0 - 8 } },
  ),
  watch('the frame of an interrupt counts', 'int 0x20', 1, EIGHT, { set: { dr0: AT.stack0 - 8 } }),
  watch('instruction', 'mov eax, 1', 0, 1, { set: { dr0: AT.code } }),
  watch('instruction further on', 'nop\nnop\nnop', 0, 1, { set: { dr0: AT.code + 2 } }),
  watch('instruction, in its middle', 'mov eax, 1', 0, 1, { set: { dr0: AT.code + 1 } }),
  watch('instruction, RF', 'mov eax, 1', 0, 1, { set: { dr0: AT.code, rflags: 0x1_0002 } }),
  watch(
    'instruction, after IRET with RF',
    'mov rax, data\npush rax\nmov rax, AT_stack0\npush rax\npush 0x10002\nmov rax, code64\npush rax\nlea rax, [rip+there]\npush rax\niretq\nthere: nop\nnop'.replace(
      'lea rax, [rip+there]',
      'mov rax, there',
    ),
    0,
    1,
    { set: { dr0: AT.code + 0 } },
  ),
  watch('instruction that is not there', 'jmp rax', 0, 1, { set: { dr0: pageAt('absent'), rax: pageAt('absent') } }),
  watch('instruction that is invalid', 'ud2', 0, 1, { set: { dr0: AT.code } }),
  watch('instruction after MOV SS', 'mov eax, data\nmov ss, ax\nmov ebx, 1', 0, 1, { set: { dr0: AT.code + 7 } }),
  watch('data of MOV SS waits', 'mov ss, [AT_data]\nmov ebx, 1\nmov ebx, 2', 3, 1, {
    memory: { [AT.data]: BigInt(GDT.data) },
  }),
  watch(
    'set by the program',
    'mov eax, AT_data\nmov dr0, rax\nmov eax, 0x30401\nmov dr7, rax\nmov al, [AT_data]',
    3,
    1,
    { set: { dr0: 0, dr7: 0x400 } },
  ),
  watch('single step at once', 'mov al, [AT_data]', 3, 1, { set: { rflags: 0x102 } }),
  watch('port, DE', 'in al, 0x80', 2, 1, { set: { dr0: 0x80, cr4: 0x628 } }),
]

/** The same in ring 3, which some virtual machines run natively where ring 0 is emulated. */
const userBreakpoints: Program[] = breakpoints
  .filter(({ code, set }) => !/\bss\b|dr7|\bint\b|iretq|far|in al|jmp/.test(code) && set?.['rflags'] === undefined)
  .map(row => ({
    ...row,
    name: row.name.replace('k64', 'u64'),
    mode: 'u64',
    code: `${row.code}\nint 3`,
    set: {
      ...row.set,
      ...(row.set?.['dr0'] === AT.stack0 ? { dr0: AT.stack3 } : {}),
      ...(row.set?.['dr0'] === AT.stack0 - 8 ? { dr0: AT.stack3 - 8 } : {}),
    },
  }))

const doubles: Program[] = [
  {
    name: 'k64: #DF from #GP in #GP',
    mode: 'k64',
    code:
      'mov eax, absentData\nxor ebx, ebx\nmov ebx, [rax + rbx]\nint 0x22\nmov rax, cr9'.split('\n')[0]! +
      '\nmov rax, 0x800000000000\nmov al, [rax]',
    memory: { [AT.idt64 + 13 * 16]: 0n },
  },
  { name: 'k64: #DF from #PF in #PF', mode: 'k64', code: 'mov al, [absentPage]', memory: { [AT.idt64 + 14 * 16]: 0n } },
  {
    name: 'k64: #NP in #UD',
    mode: 'k64',
    code: 'ud2',
    memory: { [AT.idt64 + 6 * 16]: 0x0000_0e00_0008_0000n | BigInt(AT.handlers) },
  },
  { name: 'k64: triple fault', mode: 'k64', code: 'ud2', set: { idtLimit: 0 } },
  {
    name: 'k64: #DF through IST1',
    mode: 'k64',
    code: 'mov al, [absentPage]',
    memory: { [AT.idt64 + 14 * 16]: 0n, [AT.idt64 + 8 * 16]: 0x0000_8e01_0008_0000n | BigInt(AT.handlers + 0x80) },
  },
  { name: 'k64: #PF on a bad stack', mode: 'k64', code: 'mov rsp, absentPage + 0x100\nud2' },
  {
    name: 'k64: #PF on a bad stack, #DF through IST1',
    mode: 'k64',
    code: 'mov rsp, absentPage + 0x100\nud2',
    memory: {
      [AT.idt64 + 8 * 16]: 0x0000_8e01_0008_0000n | BigInt(AT.handlers + 0x80),
      [AT.idt64 + 14 * 16]: 0x0000_8e01_0008_0000n | BigInt(AT.handlers + 0xe0),
    },
  },
  {
    name: 'u64: an absent stack for ring 0',
    mode: 'u64',
    code: 'ud2',
    memory: { [AT.tss64]: BigInt(pageAt('absent') + 0x100) << 32n },
  },
  {
    name: 'u64: a stack for ring 0 that is not canonical',
    mode: 'u64',
    code: 'ud2',
    memory: { [AT.tss64]: 0n, [AT.tss64 + 8]: 0x8000n },
  },
  { name: 'u32: a null stack for ring 0', mode: 'u32', code: 'ud2', memory: { [AT.tss32 + 8]: 0n } },
  { name: 'u32: a short TSS', mode: 'u32', code: 'ud2', segments: { tr: { limit: 5 } } },
  { name: 'u64: a short TSS', mode: 'u64', code: 'ud2', segments: { tr: { limit: 5 } } },
  { name: 'k64: IST beyond the TSS', mode: 'k64', code: 'int 0x24', segments: { tr: { limit: 0x20 } } },
  { name: 'k64: misaligned stack', mode: 'k64', code: 'mov rsp, AT_stack0 - 3\nud2' },
  { name: 'k32: triple fault', mode: 'k32', code: 'ud2', set: { idtLimit: 0 } },
  { name: 'real: triple fault', mode: 'real', code: 'int 3', set: { idtLimit: 3 } },
]

const alignment: Program[] = [
  ...(
    [
      ['u64', 0x8005_0033n, 0x4_0002n],
      ['u64', 0x8001_0033n, 0x4_0002n],
      ['u64', 0x8005_0033n, 2n],
      ['k64', 0x8005_0033n, 0x4_0002n],
    ] as const
  ).flatMap(([mode, cr0, rflags]) =>
    [
      'mov eax, [AT_data+1]',
      'mov ax, [AT_data+1]',
      'mov al, [AT_data+1]',
      'mov rax, [AT_data+4]',
      'mov [AT_data+2], eax',
      'push rax',
      'movups xmm0, [AT_data+1]',
      'movaps xmm0, [AT_data+8]',
      'fld tbyte ptr [AT_data+4]\nfstp st(0)',
    ].map(code => ({
      name: `${mode}: ${code.split('\n')[0]}, CR0 ${cr0.toString(16)}, flags ${rflags.toString(16)}`,
      mode,
      code: `${code}\n${mode === 'u64' ? 'int 3' : 'nop'}`,
      set: { cr0, rflags, rsp: mode === 'u64' ? AT.stack3 - 4 : AT.stack0 },
    })),
  ),
]

const units: Program[] = [
  ...[
    'fld1\nfninit',
    'fwait',
    'movd mm0, eax\nemms',
    'movaps xmm0, xmm1',
    'ldmxcsr [AT_data]',
    'fxsave [AT_data]',
  ].flatMap(code =>
    [0x8001_0033n, 0x8001_0037n, 0x8001_003bn, 0x8001_0039n].map(cr0 => ({
      name: `k64: ${code.split('\n')[0]}, CR0 ${cr0.toString(16)}`,
      mode: 'k64' as const,
      code: code === 'fxsave [AT_data]' ? code.replace('AT_data', 'AT_data+0x200') : code,
      set: { cr0 },
      memory: { [AT.data]: 0x1f80n },
    })),
  ),
  { name: 'k64: movaps without OSFXSR', mode: 'k64', code: 'movaps xmm0, xmm1', set: { cr4: 0x20 } },
  { name: 'k64: ldmxcsr of a reserved bit', mode: 'k64', code: 'mov dword ptr [AT_data], 0x10000\nldmxcsr [AT_data]' },
  { name: 'k64: cmpxchg16b, misaligned', mode: 'k64', code: 'cmpxchg16b [AT_data+8]' },
  { name: 'k64: xgetbv without OSXSAVE', mode: 'k64', code: 'xor ecx, ecx\nxgetbv' },
  { name: 'k64: fxsave, misaligned', mode: 'k64', code: 'fxsave [AT_data+8]' },
  {
    name: 'k64: an instruction of 16 bytes',
    mode: 'k64',
    code: '.byte 0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x66,0x90',
  },
]

export const system: readonly Program[] = [
  ...faults,
  ...tables,
  ...canonical,
  ...controls,
  ...msrs,
  ...privileges,
  ...undefinedOnes,
  ...traps,
  ...breakpoints,
  ...userBreakpoints,
  ...doubles,
  ...alignment,
  ...units,
]
