import t from 'tap'
import { CODE, DATA, DATA16, rows, STACK } from '../insn-rows.ts'

const { insn, insn16, insn32 } = rows(t)

insn('50', 'push rax', { rax: 0x1122n }, { rsp: STACK - 8n, mem: { 2040: '2211' } })
insn('54', 'push rsp', {}, { rsp: STACK - 8n, mem: { 2040: '000820' } })
insn('6a ff', 'push -1', {}, { rsp: STACK - 8n, mem: { 2040: 'ffffffffffffffff' } })
insn('66 50', 'push ax', { rax: 0x1122n }, { rsp: STACK - 2n, mem: { 2046: '2211' } })
insn('58', 'pop rax', { mem: { 2048: '34' } }, { rax: 0x34n, rsp: STACK + 8n })
insn('5c', 'pop rsp', { mem: { 2048: '34' } }, { rsp: 0x34n })
insn('8f 04 24', 'pop qword ptr [rsp]', { mem: { 2048: '34' } }, { rsp: STACK + 8n, mem: { 2056: '34' } })
insn('c9', 'leave', { rbp: DATA, mem: { 0: '55' } }, { rbp: 0x55n, rsp: DATA + 8n })
insn('c8 10 00 00', 'enter 16, 0', { rbp: 9n }, { rbp: STACK - 8n, rsp: STACK - 0x18n, mem: { 2040: '09' } })
insn(
  'c8 00 00 02',
  'enter 0, 2',
  { rbp: DATA + 0x108n, mem: { 256: '77' } },
  { rbp: STACK - 8n, rsp: STACK - 0x18n, mem: { 2040: '080120', 2032: '77', 2024: 'f80720' } },
)
insn('e8 10 00 00 00', 'call 0x100015', {}, { rsp: STACK - 8n, jump: CODE + 0x15n, mem: { 2040: '050010' } })
insn('c3', 'ret', { mem: { 2048: '3412' } }, { rsp: STACK + 8n, jump: 0x1234n })
insn('c2 08 00', 'ret 8', { mem: { 2048: '3412' } }, { rsp: STACK + 16n, jump: 0x1234n })
insn('ff d0', 'call rax', { rax: 1n << 63n }, { fault: 13 })
insn32('60', 'pushad', { rax: 1n, rdi: 8n }, { rsp: STACK - 32n, mem: { 2044: '01', 2028: '000820', 2016: '08' } })
insn32('61', 'popad', { mem: { 2048: '08', 2076: '01' } }, { rdi: 8n, rax: 1n, rsp: STACK + 32n })
insn16('50', 'push ax', { rax: 0x1122n }, { rsp: DATA16 + 0x7fen, mem: { 2046: '2211' } })
