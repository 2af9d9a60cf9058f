import t from 'tap'
import { DATA, DATA16, rows } from '../insn-rows.ts'

const { insn, insn16 } = rows(t)

insn(
  'f3 a4',
  'rep movsb',
  { rcx: 3n, rsi: DATA, rdi: DATA + 0x10n, mem: { 0: '010203' } },
  { rcx: 0n, rsi: DATA + 3n, rdi: DATA + 0x13n, mem: { 16: '010203' } },
)
insn('f3 a4', 'rep movsb', { rsi: 1n << 63n, rdi: 1n << 63n }, {})
insn('f3 a4', 'rep movsb', { rcx: 1n, rsi: 1n << 63n, rdi: DATA }, { fault: 13 })
insn('48 ab', 'stosq', { rax: 0x0102n, rdi: DATA + 8n, df: 1 }, { rdi: DATA, mem: { 8: '0201' } })
insn('66 ad', 'lodsw', { rax: 0x1_0000n, rsi: DATA, mem: { 0: '3412' } }, { rax: 0x1_1234n, rsi: DATA + 2n })
insn(
  'f2 ae',
  'repne scasb',
  { rax: 3n, rcx: 9n, rdi: DATA, mem: { 0: '010203' } },
  { rcx: 6n, rdi: DATA + 3n, zf: 1, pf: 1 },
)
insn(
  'f3 a6',
  'repe cmpsb',
  { rcx: 2n, rsi: DATA, rdi: DATA + 8n, mem: { 0: '0102', 8: '0101' } },
  { rcx: 0n, rsi: DATA + 2n, rdi: DATA + 10n },
)
insn16('f3 aa', 'rep stosb', { rax: 7n, rcx: 2n, rdi: DATA16 }, { rcx: 0n, rdi: DATA16 + 2n, mem: { 0: '0707' } })
