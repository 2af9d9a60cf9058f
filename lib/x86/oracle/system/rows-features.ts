/** Programs about features that not every KVM can give: SMEP, SMAP, protection keys, XCR0, PCIDs, FS and GS bases. */
import type { Feature } from '../../cpuid.ts'
import { AT, MEMORY, pageAt } from './image.ts'
import type { Program } from './machine.ts'

const [SMEP, SMAP, PKE, OSXSAVE, FSGSBASE] = [1 << 20, 1 << 21, 1 << 22, 1 << 18, 1 << 16]
const CR4 = 0x620

/** Everything but the data and the pages with rights of their own is the supervisor's. */
const guarded: Record<number, bigint> = {}
for (let at = 0; at < MEMORY; at += 0x1000)
  if (at < AT.data || at >= AT.pages + 0x6000) guarded[AT.pt + (at >> 12) * 8] = BigInt(at) | 3n

const row = (
  name: string,
  needs: readonly Feature[],
  code: string,
  cr4: number,
  more: Partial<Program> = {},
): Program => ({
  name: `k64: ${name}`,
  mode: 'k64',
  code: `${code}\nmov ecx, 1`,
  needs,
  ...more,
  set: { cr4: CR4 | cr4, ...more.set },
  memory: { ...guarded, ...more.memory },
})

const supervisor: Program[] = [
  row('SMEP, fetch of a user page', ['SMEP'], 'mov ebx, AT_data\njmp rbx', SMEP),
  row('SMEP, fetch of a user page that NX denies too', ['SMEP'], 'mov ebx, noExecutePage\njmp rbx', SMEP),
  row('SMEP, read of a user page', ['SMEP'], 'mov al, [AT_data]', SMEP),
  row('SMEP without NXE, fetch of a user page', ['SMEP'], 'mov ebx, AT_data\njmp rbx', SMEP, { set: { efer: 0x501 } }),
  row('without SMEP, fetch of a user page', [], 'mov ebx, AT_data\njmp rbx', 0, { memory: { [AT.data]: 0xf4n } }),
  ...[
    'mov al, [AT_data]',
    'mov [AT_data], al',
    'lock inc byte ptr [AT_data]',
    'lgdt [AT_data]',
    'mov ebx, AT_data\njmp rbx',
    'prefetcht0 [AT_data]',
    'clflush [AT_data]',
  ].flatMap(code => [
    row(`SMAP, ${code.split('\n').at(-1)}`, ['SMAP'], code, SMAP, { memory: { [AT.data]: 0xf4n } }),
    row(`SMAP and AC, ${code.split('\n').at(-1)}`, ['SMAP'], code, SMAP, {
      set: { rflags: 0x4_0002 },
      memory: { [AT.data]: 0xf4n },
    }),
  ]),
  row('SMAP, STAC, read and CLAC, read', ['SMAP'], 'stac\nmov al, [AT_data]\nclac\nmov al, [AT_data]', SMAP),
  row('SMAP, GDT in a user page, AC set', ['SMAP'], 'mov eax, data\nmov ds, ax', SMAP, {
    set: { gdtBase: AT.data, rflags: 0x4_0002 },
  }),
  row('SMAP, read-only user page written', ['SMAP'], 'mov [readOnlyPage], al', SMAP),
  { name: 'u64: stac', mode: 'u64', code: 'stac', needs: ['SMAP'] },
  row('STAC on a processor without SMAP', [], 'stac', 0),
]

/** The page that has key 3, of user and supervisor. */
const keyed = (rights: bigint): Record<number, bigint> => ({
  [AT.pt + (pageAt('readOnly') >> 12) * 8]: BigInt(pageAt('readOnly')) | rights | (3n << 59n),
})
const keys: Program[] = [
  ...[0, 0x40, 0x80, 0xc0].flatMap(pkru =>
    ['mov al, [readOnlyPage]', 'mov [readOnlyPage], al', 'mov ebx, readOnlyPage\njmp rbx'].flatMap(code =>
      ([7n, 5n, 3n] as const).map(rights =>
        row(
          `PKRU ${pkru.toString(16)}, ${code.split('\n').at(-1)}, entry ${rights}`,
          ['PKU'],
          `mov eax, ${pkru}\nxor ecx, ecx\nxor edx, edx\nwrpkru\n${code}`,
          PKE,
          { memory: { ...keyed(rights), [pageAt('readOnly')]: 0xf4n } },
        ),
      ),
    ),
  ),
  row(
    'PKRU 80, write, WP off',
    ['PKU'],
    'mov eax, 0x80\nxor ecx, ecx\nxor edx, edx\nwrpkru\nmov [readOnlyPage], al',
    PKE,
    {
      memory: keyed(7n),
      set: { cr0: 0x8000_0033n },
    },
  ),
  row('WRPKRU without PKE', ['PKU'], 'xor ecx, ecx\nxor edx, edx\nwrpkru', 0),
  row('WRPKRU, ECX 1', ['PKU'], 'mov ecx, 1\nxor edx, edx\nwrpkru', PKE),
  row('RDPKRU, ECX 1', ['PKU'], 'mov ecx, 1\nrdpkru', PKE),
  row('WRPKRU, EDX 1', ['PKU'], 'xor ecx, ecx\nmov edx, 1\nwrpkru', PKE),
]

const extended: Program[] = [
  ...[0, 1, 2, 3, 4, 5, 6, 7, 9, 0x1f].map(value =>
    row(
      `XCR0 = ${value.toString(16)}`,
      ['XSAVE', 'AVX'],
      `mov eax, ${value}\nxor edx, edx\nxor ecx, ecx\nxsetbv\nxgetbv`,
      OSXSAVE,
    ),
  ),
  row('XCR0, bit 63', ['XSAVE'], 'mov eax, 1\nmov edx, 0x80000000\nxor ecx, ecx\nxsetbv', OSXSAVE),
  row('XCR1 = 1', ['XSAVE'], 'mov eax, 1\nxor edx, edx\nmov ecx, 1\nxsetbv', OSXSAVE),
  row('XSETBV without OSXSAVE', ['XSAVE'], 'mov eax, 1\nxor edx, edx\nxor ecx, ecx\nxsetbv', 0),
  row('XGETBV of 2', ['XSAVE'], 'mov ecx, 2\nxgetbv', OSXSAVE),
  row('AVX without XCR0', ['XSAVE', 'AVX'], 'vaddps ymm0, ymm0, ymm0', OSXSAVE),
  row('AVX without OSXSAVE', ['XSAVE', 'AVX'], 'vaddps ymm0, ymm0, ymm0', 0, { set: { xcr0: 7 } }),
  row('AVX, TS set', ['XSAVE', 'AVX'], 'vaddps ymm0, ymm0, ymm0', OSXSAVE, { set: { xcr0: 7, cr0: 0x8001_003bn } }),
  row('XSAVE, misaligned', ['XSAVE'], 'mov eax, 1\nxor edx, edx\nxsave [AT_stack0 - 0x1000 + 8]', OSXSAVE),
  {
    name: 'u64: xsetbv',
    mode: 'u64',
    code: 'mov eax, 1\nxor edx, edx\nxor ecx, ecx\nxsetbv',
    needs: ['XSAVE'],
    set: { cr4: CR4 | OSXSAVE },
  },
]

const others: Program[] = [
  ...['rdfsbase rax', 'wrfsbase rax', 'rdgsbase eax', 'wrgsbase rax'].flatMap(code => [
    row(code, ['FSGSBASE'], code, FSGSBASE, { set: { rax: 0x1234_5678 } }),
    row(`${code}, CR4 off`, ['FSGSBASE'], code, 0),
    row(`${code}, not canonical`, ['FSGSBASE'], code, FSGSBASE, { set: { rax: 0x8000_0000_0000n } }),
  ]),
  row('PCIDE with bits in CR3', ['PCID'], 'mov eax, 0x20620\nmov cr4, rax', 0, { set: { cr3: AT.pml4 | 0x18 } }),
  row('PCIDE', ['PCID'], 'mov eax, 0x20620\nmov cr4, rax', 0),
  row('PG off with PCIDE', ['PCID'], 'mov rax, cr0\nbtr eax, 31\nmov cr0, rax', 1 << 17),
  row('LA57 in 64-bit mode', ['LA57'], 'mov eax, 0x1620\nmov cr4, rax', 0),
  ...[0, 1, 2, 3, 4].map(type =>
    row(
      `INVPCID of type ${type}`,
      ['INVPCID'],
      `mov eax, ${type}\nmov qword ptr [AT_data], 0\nmov qword ptr [AT_data+8], 0\ninvpcid rax, [AT_data]`,
      0,
    ),
  ),
  row(
    'INVPCID, PCID 1 without PCIDE',
    ['INVPCID', 'PCID'],
    'xor eax, eax\nmov qword ptr [AT_data], 1\nmov qword ptr [AT_data+8], 0\ninvpcid rax, [AT_data]',
    0,
  ),
  row('INVPCID, reserved bits', ['INVPCID'], 'mov eax, 2\nmov qword ptr [AT_data], 0x1000\ninvpcid rax, [AT_data]', 0),
]

export const features: readonly Program[] = [...supervisor, ...keys, ...extended, ...others]
