import t from 'tap'
import { rows } from '../insn-rows.ts'

const { insn } = rows(t)

insn('d1 e0', 'shl eax, 1', { rax: 0xc000_0000n }, { rax: 0x8000_0000n, cf: 1, pf: 1, sf: 1 })
insn('48 c1 e0 3f', 'shl rax, 63', { rax: 3n }, { rax: 1n << 63n, cf: 1, pf: 1, sf: 1, of: '?' })
insn('d3 e8', 'shr eax, cl', { rax: 5n, rcx: 32n, cf: 1, of: 1 }, {})
insn('d1 f8', 'sar eax, 1', { rax: 0x8000_0001n }, { rax: 0xc000_0000n, cf: 1, pf: 1, sf: 1 })
insn('d0 c0', 'rol al, 1', { rax: 0x81n }, { rax: 3n, cf: 1, of: 1 })
insn('c0 c8 08', 'ror al, 8', { rax: 0x81n }, { cf: 1, of: '?' })
insn('d0 d0', 'rcl al, 1', { rax: 0x80n, cf: 1 }, { rax: 1n, cf: 1, of: 1 })
insn('c0 d0 09', 'rcl al, 9', { rax: 0x80n, cf: 1, of: 1 }, {})
insn('48 d1 d8', 'rcr rax, 1', { rax: 1n, cf: 1 }, { rax: 1n << 63n, cf: 1, of: 1 })
insn('0f a4 d8 08', 'shld eax, ebx, 8', { rax: 0x1234_5678n, rbx: 0xab00_0000n }, { rax: 0x3456_78abn, of: '?' })
insn('0f ad d8', 'shrd eax, ebx, cl', { rax: 1n, rbx: 1n, rcx: 1n }, { rax: 0x8000_0000n, cf: 1, pf: 1, sf: 1, of: 1 })
insn('c4 e2 79 f7 c3', 'shlx eax, ebx, eax', { rax: 33n, rbx: 1n }, { rax: 2n })
insn('c4 e2 78 f7 c3', 'bextr eax, ebx, eax', { rax: 0x0404n, rbx: 0xabcdn }, { rax: 0xcn, pf: '?', sf: '?', af: '?' })
