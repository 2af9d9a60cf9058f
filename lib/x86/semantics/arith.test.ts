import t from 'tap'
import { rows } from '../insn-rows.ts'

const { insn, insn16, insn32 } = rows(t)

const ALL = 0xffff_ffff_ffff_ffffn

insn('48 01 d8', 'add rax, rbx', { rax: 1n, rbx: 2n }, { rax: 3n, pf: 1 })
insn('01 d8', 'add eax, ebx', { rax: ALL, rbx: 1n }, { rax: 0n, cf: 1, pf: 1, af: 1, zf: 1 })
insn('66 01 d8', 'add ax, bx', { rax: 0x1_7fffn, rbx: 1n }, { rax: 0x1_8000n, pf: 1, af: 1, sf: 1, of: 1 })
insn('00 e0', 'add al, ah', { rax: 0xff01n }, { rax: 0xff00n, cf: 1, pf: 1, af: 1, zf: 1 })
insn('48 11 d8', 'adc rax, rbx', { rax: ALL, rbx: 0n, cf: 1 }, { rax: 0n, cf: 1, pf: 1, af: 1, zf: 1 })
insn('48 29 d8', 'sub rax, rbx', { rax: 0n, rbx: 1n }, { rax: ALL, cf: 1, pf: 1, af: 1, sf: 1 })
insn('48 19 d8', 'sbb rax, rbx', { rax: 5n, rbx: 5n, cf: 1 }, { rax: ALL, cf: 1, pf: 1, af: 1, sf: 1 })
insn('39 d8', 'cmp eax, ebx', { rax: 0x8000_0000n, rbx: 1n }, { pf: 1, af: 1, of: 1 })
insn('48 ff c0', 'inc rax', { rax: 0x7fff_ffff_ffff_ffffn, cf: 1 }, { rax: 1n << 63n, pf: 1, af: 1, sf: 1, of: 1 })
insn('fe c8', 'dec al', { rax: 0x100n }, { rax: 0x1ffn, pf: 1, af: 1, sf: 1 })
insn('f7 d8', 'neg eax', { rax: 0n }, { rax: 0n, pf: 1, zf: 1 })
insn(
  '48 f7 e3',
  'mul rbx',
  { rax: ALL, rbx: 2n },
  { rax: ALL - 1n, rdx: 1n, cf: 1, of: 1, sf: '?', zf: '?', af: '?', pf: '?' },
)
insn('f6 eb', 'imul bl', { rax: 0x80n, rbx: 2n }, { rax: 0xff00n, cf: 1, of: 1, sf: '?', zf: '?', af: '?', pf: '?' })
insn('48 f7 f3', 'div rbx', { rax: 7n, rbx: 2n }, { rax: 3n, rdx: 1n })
insn('48 f7 f3', 'div rbx', { rax: 7n, rbx: 0n }, { fault: 0 })
insn('48 f7 f3', 'div rbx', { rdx: 2n, rbx: 2n }, { fault: 0 })
insn('48 f7 fb', 'idiv rbx', { rax: ALL - 6n, rdx: ALL, rbx: 2n }, { rax: ALL - 2n, rdx: ALL })
insn('f7 fb', 'idiv ebx', { rax: 0x8000_0000n, rdx: 0xffff_ffffn, rbx: 0xffff_ffffn }, { fault: 0 })
insn('0f b1 cb', 'cmpxchg ebx, ecx', { rax: ALL, rbx: 0xffff_ffffn, rcx: 7n }, { rbx: 7n, pf: 1, zf: 1 })
insn('0f b1 cb', 'cmpxchg ebx, ecx', { rax: 1n, rbx: 0x1_0000_0002n }, { rax: 2n, cf: 1, pf: 1, af: 1, sf: 1 })
insn('48 0f c1 d8', 'xadd rax, rbx', { rax: 1n, rbx: 2n }, { rax: 3n, rbx: 1n, pf: 1 })
insn('48 98', 'cdqe', { rax: 0x8000_0000n }, { rax: 0xffff_ffff_8000_0000n })
insn('48 99', 'cqo', { rax: 1n << 63n }, { rdx: ALL })
insn('99', 'cdq', { rax: 1n, rdx: ALL }, { rdx: 0n })
insn('c4 e2 f3 f6 c3', 'mulx rax, rcx, rbx', { rdx: ALL, rbx: ALL }, { rax: ALL - 1n, rcx: 1n })
insn32('40', 'inc eax', { rax: 0xffff_ffffn }, { rax: 0n, pf: 1, af: 1, zf: 1 })
insn16('01 d8', 'add ax, bx', { rax: 0x1_ffffn, rbx: 1n }, { rax: 0x1_0000n, cf: 1, pf: 1, af: 1, zf: 1 })
