import t from 'tap'
import { DATA, rows } from '../insn-rows.ts'

const { insn } = rows(t)

insn('0f a3 c3', 'bt ebx, eax', { rax: 33n, rbx: 2n }, { cf: 1 })
insn('48 0f ab 03', 'bts qword ptr [rbx], rax', { rax: 65n, rbx: DATA }, { mem: { 8: '02' } })
insn(
  '0f b3 03',
  'btr dword ptr [rbx], eax',
  { rax: 0xffff_ffffn, rbx: DATA + 4n, mem: { 0: '000000ff' } },
  { cf: 1, mem: { 0: '0000007f' } },
)
insn('0f bc c3', 'bsf eax, ebx', { rax: 9n, rbx: 0n }, { zf: 1 })
insn('0f bd c3', 'bsr eax, ebx', { rax: 9n, rbx: 0x10n }, { rax: 4n })
insn('f3 0f b8 c3', 'popcnt eax, ebx', { rbx: 0xf0fn, cf: 1, of: 1 }, { rax: 8n, cf: 0, of: 0 })
insn('f3 0f bd c3', 'lzcnt eax, ebx', { rbx: 0n }, { rax: 32n, cf: 1 })
insn('48 0f c8', 'bswap rax', { rax: 0x0102_0304_0506_0708n }, { rax: 0x0807_0605_0403_0201n })
insn('f2 0f 38 f1 c3', 'crc32 eax, ebx', { rbx: 1n }, { rax: 0xdd45_aab8n })
insn('c4 e2 fa f5 c3', 'pext rax, rax, rbx', { rax: 0xabcdn, rbx: 0xf0f0n }, { rax: 0xacn })
insn('c4 e2 fb f5 c3', 'pdep rax, rax, rbx', { rax: 0xacn, rbx: 0xf0f0n }, { rax: 0xa0c0n })
