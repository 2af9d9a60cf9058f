import t from 'tap'
import { DATA, rows } from '../insn-rows.ts'

const { insn } = rows(t)

// FXSAVE of a reset unit: FCW and MXCSR as they are, XMM0 at byte 160.
insn(
  '0f ae 03',
  'fxsave [rbx]',
  { rbx: DATA, xmm0: '000102030405060708090a0b0c0d0e0f' },
  { mem: { 0: '7f03', 24: '801f0000ffff0000', 160: '000102030405060708090a0b0c0d0e0f' } },
)
insn('0f ae 03', 'fxsave [rbx]', { rbx: DATA + 8n }, { fault: 13 })
insn(
  '0f ae 0b',
  'fxrstor [rbx]',
  { rbx: DATA, mem: { 0: '7f03', 24: '801f', 160: '11' } },
  { xmm0: '11000000000000000000000000000000' },
)
insn('0f ae 0b', 'fxrstor [rbx]', { rbx: DATA, mem: { 0: '7f03', 26: '01' } }, { fault: 13 })
// XSAVE is #UD until CR4.OSXSAVE says that an operating system knows it.
insn('0f ae 23', 'xsave [rbx]', { rbx: DATA, cr4: 0x200n }, { fault: 6 })
