import t from 'tap'
import { DATA, rows } from '../insn-rows.ts'

const { insn, insn16, insn32 } = rows(t)
const ALL = 0xffff_ffff_ffff_ffffn

insn(
  '48 21 d8',
  'and rax, rbx',
  { rax: ALL, rbx: 1n << 63n, cf: 1, of: 1 },
  { rax: 1n << 63n, sf: 1, pf: 1, cf: 0, of: 0 },
)
insn('21 d8', 'and eax, ebx', { rax: ALL, rbx: 0xf0n }, { rax: 0xf0n, pf: 1 })
insn('66 25 00 80', 'and ax, 0x8000', { rax: ALL }, { rax: 0xffff_ffff_ffff_8000n, sf: 1, pf: 1 })
insn('83 e0 f0', 'and eax, -16', { rax: ALL }, { rax: 0xffff_fff0n, sf: 1, pf: 1 })
insn('48 09 d8', 'or rax, rbx', { rax: 1n, rbx: 2n, cf: 1 }, { rax: 3n, pf: 1, cf: 0 })
insn('80 cc 01', 'or ah, 1', { rax: 0x80n }, { rax: 0x180n })
insn('31 c0', 'xor eax, eax', { rax: ALL, cf: 1, of: 1, sf: 1 }, { rax: 0n, zf: 1, pf: 1, cf: 0, of: 0, sf: 0 })
insn('48 35 00 00 00 80', 'xor rax, -0x80000000', { rax: 0n }, { rax: 0xffff_ffff_8000_0000n, sf: 1, pf: 1 })
insn('f6 d0', 'not al', { rax: 0x1_000fn, cf: 1 }, { rax: 0x1_00f0n })
insn('f7 13', 'not dword ptr [rbx]', { rbx: DATA }, { mem: { 0: 'ffffffff' } })
insn('f0 21 03', 'lock and dword ptr [rbx], eax', { rbx: DATA, mem: { 0: 'ff' } }, { mem: { 0: '00' }, zf: 1, pf: 1 })
insn('f0 21 03', 'lock and dword ptr [rbx], eax', { rbx: 1n << 63n }, { fault: 13 })
insn('85 c0', 'test eax, eax', { rax: 0x8000_0000n }, { sf: 1, pf: 1 })
insn('a8 01', 'test al, 1', { rax: 2n }, { zf: 1, pf: 1 })
insn('48 f7 c0 00 00 00 80', 'test rax, -0x80000000', { rax: ALL }, { sf: 1, pf: 1 })
insn(
  'c4 e2 60 f2 c1',
  'andn eax, ebx, ecx',
  { rbx: 0xf0n, rcx: 0xffn, cf: 1, of: 1 },
  { rax: 0x0fn, cf: 0, of: 0, pf: '?', af: '?' },
)
insn('c4 e2 78 f3 cb', 'blsr eax, ebx', { rbx: 0x58n }, { rax: 0x50n, pf: '?', af: '?' })
insn('c4 e2 78 f3 cb', 'blsr eax, ebx', { rbx: 0n }, { rax: 0n, zf: 1, cf: 1, pf: '?', af: '?' })
insn('c4 e2 78 f3 d3', 'blsmsk eax, ebx', { rbx: 0x58n }, { rax: 0xfn, pf: '?', af: '?' })
insn('c4 e2 f8 f3 db', 'blsi rax, rbx', { rbx: 1n << 63n }, { rax: 1n << 63n, sf: 1, cf: 1, pf: '?', af: '?' })
insn32('81 f1 ff 00 00 00', 'xor ecx, 0xff', { rcx: 0xffn }, { rcx: 0n, zf: 1, pf: 1 })
insn16('21 d8', 'and ax, bx', { rax: 0x1_ff0fn, rbx: 0xfff0n }, { rax: 0x1_ff00n, sf: 1, pf: 1 })
insn16('66 21 d8', 'and eax, ebx', { rax: 0x1_ff0fn, rbx: 0x1_fff0n }, { rax: 0x1_ff00n, pf: 1 })
