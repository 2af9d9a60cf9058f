import { createHash } from 'node:crypto'
import t from 'tap'
import * as abi from '#abi'
import { SAPPHIRE_RAPIDS } from './platform.ts'
import { verifyReport } from './report.ts'
import { DATA_PAGE, guest, TDVMCALL } from './testdata/guest.ts'

const sha384 = (bytes: Uint8Array) => createHash('sha384').update(bytes).digest('hex')

t.test('a report that a guest asks for, field by field', async t => {
  const mrConfigId = Uint8Array.from({ length: 48 }, (_, i) => i)
  const g = guest(
    `mov rax, 0x1122334455667788
    mov ecx, ${DATA_PAGE}
    mov [rcx+1024], rax
    mov ecx, ${DATA_PAGE}
    mov edx, 1
    mov eax, ${abi.TDG_MR_RTMR_EXTEND}
    tdcall
    mov ecx, ${DATA_PAGE}
    mov edx, ${DATA_PAGE + 1024n}
    xor r8d, r8d
    mov eax, ${abi.TDG_MR_REPORT}
    tdcall
    mov r12, rax
    mov ecx, 0xfc00
    xor eax, eax
    tdcall
    hlt`,
    { attributes: abi.TDX_ATTR_SEPT_VE_DISABLE, mrConfigId },
  )
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r12, abi.TDX_SUCCESS)
  const at = g.vcpu.stage!.frame(DATA_PAGE as never, 'read')
  const report = g.host.memory.u8.slice(at, at + 1024)
  const { td } = g.vcpu
  t.equal(abi.digits(report.subarray(0, 16)), '81000000000000000000000000000000')
  t.equal(abi.digits(report.subarray(16, 32)), abi.digits(SAPPHIRE_RAPIDS.report.cpusvn))
  t.equal(abi.digits(report.subarray(32, 80)), sha384(report.subarray(256, 512)), 'hash of TEE_TCB_INFO')
  t.equal(abi.digits(report.subarray(80, 128)), sha384(report.subarray(512)), 'hash of TDINFO')
  t.equal(abi.digits(report.subarray(128, 136)), '8877665544332211', 'REPORTDATA')
  const view = new DataView(report.buffer)
  t.equal(view.getBigUint64(512, true), abi.TDX_ATTR_SEPT_VE_DISABLE)
  t.equal(view.getBigUint64(520, true), 3n)
  t.equal(abi.digits(report.subarray(528, 576)), abi.digits(td.mrtd))
  t.equal(abi.digits(report.subarray(576, 624)), abi.digits(mrConfigId))
  t.equal(abi.digits(report.subarray(720, 768)), '00'.repeat(48), 'RTMR0')
  t.equal(abi.digits(report.subarray(768, 816)), sha384(new Uint8Array(96)), 'RTMR1 was extended by zeroes')
  t.ok(verifyReport(SAPPHIRE_RAPIDS, report))
  const other = { ...SAPPHIRE_RAPIDS, report: { ...SAPPHIRE_RAPIDS.report, key: new Uint8Array(32) } }
  t.notOk(verifyReport(other, report), 'another platform has another key')
  for (const [what, offset] of [
    ['the type', 0],
    ['what is reserved', 200],
    ['REPORTDATA', 130],
    ['the MAC', 230],
    ['MRSEAM', 300],
    ['MRTD', 530],
    ['RTMR3', 870],
  ] as const) {
    const changed = report.slice()
    changed[offset]! ^= 1
    t.notOk(verifyReport(SAPPHIRE_RAPIDS, changed), `${what} is changed`)
  }
  t.notOk(verifyReport(SAPPHIRE_RAPIDS, report.subarray(0, 1000)), 'cut short')

  const words = new Map(abi.reportInWords(report))
  t.equal(words.get('type'), '0x81  TDX, sub-type 0, version 0')
  t.equal(words.get('ATTRIBUTES'), '0x1000_0000  SEPT_VE_DISABLE')
  t.equal(words.get('XFAM'), '0x3  x87, SSE')
  t.equal(words.get('MRTD'), abi.digits(td.mrtd))
  t.throws(() => abi.reportInWords(report.subarray(1)), { name: 'RangeError' })
})

t.test('what a TD is, in words', async t => {
  t.same(abi.attributesInWords(abi.TDX_ATTR_DEBUG | abi.TDX_ATTR_PERFMON | 8n), ['DEBUG', 'PERFMON', 'bit 3'])
  t.same(abi.attributesInWords(0n), [])
  t.same(abi.xfamInWords(0x6_0207n), ['x87', 'SSE', 'AVX', 'PKRU', 'AMX tile configuration', 'AMX tile data'])
  t.same(abi.xfamInWords(1n << 13n), ['bit 13'])
})

t.test('the 512 zero bytes of an empty TDINFO', async t => {
  t.equal(
    sha384(new Uint8Array(512)),
    'd83d9a38c238ef3b7bc207bbea3287a8b37b37e731480a8d240d2a6953086c5ecbdf7ee4c72fec3a3e9d4a87f4f9b4fe',
  )
})
