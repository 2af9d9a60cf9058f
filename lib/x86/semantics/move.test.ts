import t from 'tap'
import { DATA, DATA16, rows } from '../insn-rows.ts'

const { insn, insn16, insn32 } = rows(t)
const ALL = 0xffff_ffff_ffff_ffffn

insn('89 d8', 'mov eax, ebx', { rax: ALL, rbx: ALL }, { rax: 0xffff_ffffn })
insn('66 89 d8', 'mov ax, bx', { rax: ALL, rbx: 0n }, { rax: 0xffff_ffff_ffff_0000n })
insn('88 e0', 'mov al, ah', { rax: 0x1200n }, { rax: 0x1212n })
insn('40 88 f0', 'mov al, sil', { rsi: 0x77n }, { rax: 0x77n })
insn('48 c7 c0 ff ff ff ff', 'mov rax, -1', {}, { rax: ALL })
insn('48 b8 08 07 06 05 04 03 02 01', 'mov rax, 0x102030405060708', {}, { rax: 0x0102_0304_0506_0708n })
insn('48 8b 43 08', 'mov rax, [rbx + 8]', { rbx: DATA, mem: { 8: '0102' } }, { rax: 0x201n })
insn('48 8b 03', 'mov rax, [rbx]', { rbx: 0x8000_0000_0000_0000n }, { fault: 13 })
insn('48 8b 45 00', 'mov rax, [rbp]', { rbp: 0x8000_0000_0000_0000n }, { fault: 12 })
insn('67 8b 03', 'mov eax, [ebx]', { rbx: 0xffff_ffff_0000_0000n + DATA, mem: { 0: '05' } }, { rax: 5n })
insn('8c d8', 'mov eax, ds', { rax: ALL }, { rax: 0x10n })
insn('66 8c d8', 'mov ax, ds', { rax: ALL }, { rax: 0xffff_ffff_ffff_0010n })
insn('0f b6 c3', 'movzx eax, bl', { rax: ALL, rbx: 0xff80n }, { rax: 0x80n })
insn('48 0f be c3', 'movsx rax, bl', { rbx: 0x80n }, { rax: 0xffff_ffff_ffff_ff80n })
insn('66 0f be c7', 'movsx ax, bh', { rax: ALL, rbx: 0x7f00n }, { rax: 0xffff_ffff_ffff_007fn })
insn('48 63 c3', 'movsxd rax, ebx', { rbx: 0x8000_0000n }, { rax: 0xffff_ffff_8000_0000n })
insn('48 8d 44 8b fc', 'lea rax, [rbx + rcx*4 - 4]', { rbx: ALL, rcx: 1n }, { rax: ALL })
insn('66 8d 03', 'lea ax, [rbx]', { rax: ALL, rbx: 0x1_2345n }, { rax: 0xffff_ffff_ffff_2345n })
insn('67 8d 04 1b', 'lea eax, [ebx + ebx]', { rbx: 0x8000_0001n }, { rax: 2n })
insn('48 87 03', 'xchg [rbx], rax', { rax: 1n, rbx: DATA, mem: { 0: '02' } }, { rax: 2n, mem: { 0: '01' } })
insn('86 c4', 'xchg ah, al', { rax: 0x1234n }, { rax: 0x3412n })
insn('90', 'nop', { rax: ALL }, {})
insn('41 90', 'xchg r8d, eax', { rax: ALL, r8: 1n }, { rax: 1n, r8: 0xffff_ffffn })
insn('0f 44 c3', 'cmove eax, ebx', { rax: ALL, rbx: 1n, zf: 1 }, { rax: 1n })
insn('0f 44 c3', 'cmove eax, ebx', { rax: ALL, rbx: 1n }, { rax: 0xffff_ffffn })
insn('0f 44 03', 'cmove eax, [rbx]', { rbx: 1n << 63n }, { fault: 13 })
insn('0f 9c c0', 'setl al', { rax: 0xff00n, sf: 1 }, { rax: 0xff01n })
insn('0f 9f c0', 'setg al', { rax: 0xffn, zf: 1 }, { rax: 0n })
insn('d7', 'xlatb', { rax: 0x1_0002n, rbx: DATA, mem: { 2: '7f' } }, { rax: 0x1_007fn })
insn('9f', 'lahf', { cf: 1, zf: 1, sf: 1 }, { rax: 0xc300n })
insn('9e', 'sahf', { rax: 0xff00n, of: 1 }, { cf: 1, pf: 1, af: 1, zf: 1, sf: 1 })
insn('f5', 'cmc', { cf: 1 }, { cf: 0 })
insn('fd', 'std', {}, { df: 1 })
insn(
  '0f c7 0b',
  'cmpxchg8b qword ptr [rbx]',
  { rbx: DATA, rax: 1n, rdx: 2n, rcx: 4n, mem: { 0: '01000000 02' } },
  { zf: 1, mem: { 0: '00002000 04' } },
)
insn(
  '0f c7 0b',
  'cmpxchg8b qword ptr [rbx]',
  { rbx: DATA, rax: ALL, zf: 1, mem: { 0: '01000000 02' } },
  { zf: 0, rax: 1n, rdx: 2n },
)
insn('48 0f c7 0b', 'cmpxchg16b xmmword ptr [rbx]', { rbx: DATA + 8n }, { fault: 13 })
insn('0f 38 f0 03', 'movbe eax, dword ptr [rbx]', { rbx: DATA, mem: { 0: '01020304' } }, { rax: 0x0102_0304n })
insn('0f c3 03', 'movnti dword ptr [rbx], eax', { rax: 5n, rbx: DATA }, { mem: { 0: '05' } })
insn('0f 38 f9 03', 'movdiri dword ptr [rbx], eax', { rax: 5n, rbx: DATA }, { mem: { 0: '05' } })
insn('48 0f 38 f9 03', 'movdiri qword ptr [rbx], rax', { rax: 5n << 32n, rbx: DATA }, { mem: { 4: '05' } })
insn(
  '66 0f 38 f8 43 08',
  'movdir64b rax, [rbx + 8]',
  { rax: DATA + 64n, rbx: DATA, mem: { 8: '0102', 70: '07', 72: '09' } },
  { mem: { 64: '0102', 70: '00', 72: '00', 126: '07' } },
)
insn('66 0f 38 f8 03', 'movdir64b rax, [rbx]', { rax: DATA + 32n, rbx: DATA }, { fault: 13 })
insn('66 0f 38 f8 03', 'movdir64b rax, [rbx]', { rax: DATA, rbx: 1n << 63n }, { fault: 13 })
insn(
  '67 66 0f 38 f8 03',
  'movdir64b eax, [ebx]',
  { rax: (1n << 32n) + DATA, rbx: DATA + 64n, mem: { 64: '0102' } },
  { mem: { 0: '0102' } },
)
insn32('a1 00 00 20 00', 'mov eax, [0x200000]', { mem: { 0: '01020304' } }, { rax: 0x0403_0201n })
insn32('8b 44 24 04', 'mov eax, [esp + 4]', { mem: { 2052: '09' } }, { rax: 9n })
insn32('d6', 'salc', { cf: 1, rax: 0x100n }, { rax: 0x1ffn })
insn16('8b 07', 'mov ax, [bx]', { rax: 0x1_0000n, rbx: 0xf_0000n + DATA16, mem: { 0: '3412' } }, { rax: 0x1_1234n })
insn16('8b 02', 'mov ax, [bp + si]', { rbp: DATA16, rsi: 4n, mem: { 4: '3412' } }, { rax: 0x1234n })
insn16('8b 07', 'mov ax, [bx]', { rbx: 0xffffn }, { fault: 13 })
insn16('67 8b 03', 'mov ax, [ebx]', { rbx: 0x1_0000n }, { fault: 13 })
insn16('67 8b 45 00', 'mov ax, [ebp]', { rbp: 0x1_0000n }, { fault: 12 })
