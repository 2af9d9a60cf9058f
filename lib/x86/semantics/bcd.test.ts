import t from 'tap'
import { rows } from '../insn-rows.ts'

const { insn32 } = rows(t)

insn32('27', 'daa', { rax: 0x9an }, { rax: 0n, cf: 1, af: 1, zf: 1, pf: 1 })
insn32('2f', 'das', { rax: 0x0fn, af: 1 }, { rax: 0x09n, af: 1, pf: 1 })
insn32('37', 'aaa', { rax: 0x0fn }, { rax: 0x105n, af: 1, cf: 1 })
insn32('3f', 'aas', { rax: 0x10fn }, { rax: 0x9n, af: 1, cf: 1 })
insn32('d4 0a', 'aam 10', { rax: 47n }, { rax: 0x407n })
insn32('d4 00', 'aam 0', { rax: 47n }, { fault: 0 })
insn32('d5 0a', 'aad 10', { rax: 0x407n }, { rax: 47n })
