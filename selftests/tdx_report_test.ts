/**
 * What a TD was measured as, and the report that says so: MRTD, RTMRs, TDG.MR.REPORT and TDG.MR.VERIFYREPORT.
 * TDX module ABI, "TDREPORT_STRUCT"; the rules of MRTD once more in `recompute`, with no code of the module.
 */
import { createHash } from 'node:crypto'
import {
  fixture,
  type GuestBuilder,
  type Measured,
  onMeasured,
  REPORTMACSTRUCT,
  recompute,
  TDINFO_STRUCT,
  TDREPORT_SIZE,
  TDX_INVALID_CPUSVN,
  TDX_INVALID_REPORTMACSTRUCT,
  TDX_OPERAND_INVALID,
  type Td,
  TEE_TCB_INFO,
  test,
  u8,
  u64,
} from '#harness'

/** A private page for TDCALLs, which want GPAs, and a shared one that the host reads. */
const [WORK, OUT] = [0x9000_0000n, 0x9010_0000n]
const [WORK_GPA, OUT_GPA] = [0x1_0000_0000n, 0x2_0000_0000n]
const DATA = 2048n
const PLACES = {
  slots: [
    { slot: 3, gpa: WORK_GPA, size: 4096, isPrivate: true },
    { slot: 4, gpa: OUT_GPA, size: 4096 },
  ],
  map: [
    { gva: WORK, gpa: WORK_GPA, size: 4096 },
    { gva: OUT, gpa: OUT_GPA, size: 4096, shared: true },
  ],
}
const CLASS = 0xffff_ffff_0000_0000n

const sha384 = (...parts: readonly Uint8Array[]): string => {
  const sum = createHash('sha384')
  for (const part of parts) sum.update(part)
  return sum.digest('hex')
}
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

/** A report over 64 bytes, each 0x5a, for the host to see. */
const report = (g: GuestBuilder): void => {
  g.memset(WORK + DATA, 0x5a, 64)
  g.assert.eq(g.tdcall.mrReport({ report: WORK_GPA, data: WORK_GPA + DATA, type: 0n }).status, 0n)
  g.memcpy(OUT, WORK, BigInt(TDREPORT_SIZE))
}

const readReport = (td: Td) => {
  const bytes = td.hostRead({ gpa: OUT_GPA }, TDREPORT_SIZE)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const [tcb, info] = [REPORTMACSTRUCT.size, REPORTMACSTRUCT.size + TEE_TCB_INFO.size]
  return { bytes, tcb, info, mac: REPORTMACSTRUCT.read(view, 0), td: TDINFO_STRUCT.read(view, info) }
}

/** What the host knows of every TD that `make` makes. */
const measuring = (make: () => Td): { readonly td: Td; readonly measured: Measured } => {
  const seen: Measured[] = []
  onMeasured(measured => seen.push(measured))
  try {
    const td = make()
    return { td, measured: seen[0]! }
  } finally {
    onMeasured(undefined)
  }
}

test('the_rule_of_mrtd_has_its_vectors', t => {
  const zero = new Uint8Array(4096)
  // Computed by hashlib from the words of the specification; the first is the SHA-384 of nothing.
  t.expect.eq(
    hex(recompute([])),
    '38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b',
  )
  t.expect.eq(
    hex(recompute([{ gpa: 0xffff_f000n, content: zero }])),
    '07f08f558c5e2593b33452cf00c12a165c07b027a36424ecfa15ebf39b5415e0ed62418458e4bfd77f16fec0f1568dc9',
  )
})

test('a_td_reports_the_mrtd_of_its_pages', async t => {
  const build = (fill: number, order: readonly number[] = [3, 4]) =>
    measuring(() =>
      t.td({
        ...PLACES,
        slots: order.map(
          slot => PLACES.slots.map(s => (s.slot === 3 ? { ...s, fill } : s)).find(s => s.slot === slot)!,
        ),
        guest(g) {
          report(g)
          g.done()
        },
      }),
    )

  const { td, measured } = build(0x11)
  await td.vcpu.until('UCALL_DONE')
  const { mrtd } = readReport(td).td
  t.assert.eq(hex(mrtd), hex(recompute(measured.pages)))
  t.expect.eq(hex(mrtd), hex(measured.mrtd), 'as TDH.MNG.RD tells the host')

  // One byte more or less, and it is another TD; the same again is the same one.
  const other = build(0x12)
  await other.td.vcpu.until('UCALL_DONE')
  t.expect.ne(hex(readReport(other.td).td.mrtd), hex(mrtd))
  t.expect.eq(hex(readReport(other.td).td.mrtd), hex(recompute(other.measured.pages)))
  const again = build(0x11)
  await again.td.vcpu.until('UCALL_DONE')
  t.expect.eq(hex(readReport(again.td).td.mrtd), hex(mrtd))
})

test('a_report_says_what_the_td_is', async t => {
  const mrconfigid = Uint8Array.from({ length: 48 }, (_, n) => n)
  const mrowner = new Uint8Array(48).fill(0xa1)
  const mrownerconfig = new Uint8Array(48).fill(0xb2)
  const td = t.td({
    ...PLACES,
    attributes: 1n << 28n,
    mrconfigid,
    mrowner,
    mrownerconfig,
    guest(g) {
      report(g)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')

  const { bytes, tcb, info, mac, td: seen } = readReport(td)
  t.expect.match(mac, { type: 0x81, subtype: 0, version: 0 })
  t.expect.eq(hex(mac.reportdata), '5a'.repeat(64))
  t.expect.eq(hex(mac.tee_tcb_info_hash), sha384(bytes.subarray(tcb, info)))
  t.expect.eq(hex(mac.tee_info_hash), sha384(bytes.subarray(info)))
  t.expect.eq(seen.attributes, 1n << 28n)
  t.expect.eq(seen.xfam & 3n, 3n, 'x87 and SSE')
  t.expect.eq(hex(seen.mrconfigid), hex(mrconfigid))
  t.expect.eq(hex(seen.mrowner), hex(mrowner))
  t.expect.eq(hex(seen.mrownerconfig), hex(mrownerconfig))
  for (const rtmr of [seen.rtmr_0, seen.rtmr_1, seen.rtmr_2, seen.rtmr_3]) t.expect.eq(hex(rtmr), '00'.repeat(48))
})

test('registers_are_extended_one_by_one', async t => {
  const td = t.td({
    ...PLACES,
    guest(g) {
      const extend = (index: bigint, gpa = WORK_GPA) => g.tdcall.mrRtmrExtend({ gpa, index }).status
      g.memset(WORK, 0x33, 48)
      g.assert.eq(extend(0n), 0n)
      g.assert.eq(extend(2n), 0n)
      g.memset(WORK, 0x44, 48)
      g.assert.eq(extend(2n), 0n)
      g.assert.eq(extend(4n).and(CLASS), TDX_OPERAND_INVALID, 'there are four')
      g.assert.eq(extend(1n, WORK_GPA + 32n).and(CLASS), TDX_OPERAND_INVALID, '64 bytes each')
      g.assert.eq(extend(1n, g.sharedGpa(OUT_GPA)).and(CLASS), TDX_OPERAND_INVALID, 'shared')
      report(g)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')

  const { td: seen } = readReport(td)
  const [first, second] = [new Uint8Array(48).fill(0x33), new Uint8Array(48).fill(0x44)]
  const once = sha384(new Uint8Array(48), first)
  t.expect.eq(hex(seen.rtmr_0), once)
  t.expect.eq(hex(seen.rtmr_1), '00'.repeat(48))
  t.expect.eq(hex(seen.rtmr_2), sha384(Buffer.from(once, 'hex'), second))
  t.expect.eq(hex(seen.rtmr_3), '00'.repeat(48))
})

const tampered = fixture('a_tampered_report', {
  variants: {
    untouched: { at: -1, status: 0n },
    type: { at: 0, status: TDX_INVALID_REPORTMACSTRUCT },
    subtype: { at: 1, status: TDX_INVALID_REPORTMACSTRUCT },
    reserved: { at: 5, status: TDX_INVALID_REPORTMACSTRUCT },
    cpusvn: { at: 16, status: TDX_INVALID_CPUSVN },
    tcb_hash: { at: 40, status: TDX_INVALID_REPORTMACSTRUCT },
    info_hash: { at: 100, status: TDX_INVALID_REPORTMACSTRUCT },
    reportdata: { at: 191, status: TDX_INVALID_REPORTMACSTRUCT },
    mac: { at: 255, status: TDX_INVALID_REPORTMACSTRUCT },
  },
})

tampered.test('is_found_out', async (t, _, { at, status }) => {
  const td = t.td({
    ...PLACES,
    guest(g) {
      report(g)
      const verify = () => g.tdcall.mrVerifyreport({ report: WORK_GPA }).status.and(CLASS)
      g.assert.eq(verify(), 0n)
      if (at >= 0) {
        const place = WORK + BigInt(at)
        g.store(place, u8, g.load(place, u8).xor(0x10))
      }
      g.assert.eq(verify(), status)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('one_td_verifies_what_another_reports', async t => {
  const asked = t.td({
    ...PLACES,
    guest(g) {
      report(g)
      g.done()
    },
  })
  await asked.vcpu.until('UCALL_DONE')
  const { bytes } = readReport(asked)

  const verify = async (struct: Uint8Array): Promise<bigint> => {
    const td = t.td({
      ...PLACES,
      guest(g) {
        g.memcpy(WORK, OUT, 256n)
        g.sync(g.tdcall.mrVerifyreport({ report: WORK_GPA }).status)
        g.done()
      },
    })
    td.hostWrite({ gpa: OUT_GPA }, struct)
    const { values } = await td.vcpu.until('UCALL_SYNC')
    return values[0]!
  }
  t.assert.eq(await verify(bytes.subarray(0, 256)), 0n)
  const forged = bytes.slice(0, 256)
  forged[150]! ^= 1
  t.assert.eq(await verify(forged), TDX_INVALID_REPORTMACSTRUCT)
})

test('addresses_that_no_report_goes_to', async t => {
  const td = t.td({
    ...PLACES,
    guest(g) {
      const refused = (args: { report?: bigint; data?: bigint; type?: bigint }, message: string) => {
        const { status } = g.tdcall.mrReport({ report: WORK_GPA, data: WORK_GPA + DATA, type: 0n, ...args })
        g.assert.eq(status.and(CLASS), TDX_OPERAND_INVALID, message)
      }
      refused({ report: WORK_GPA + 512n }, '1024 bytes each')
      refused({ report: g.sharedGpa(WORK_GPA) << 1n }, 'beyond the width')
      refused({ data: WORK_GPA + DATA + 8n }, '64 bytes each')
      refused({ type: 1n }, 'a sub-type')
      g.assert.eq(g.load(WORK, u64), 0n, 'nothing was written')
      // Where they lie is the guest's choice: the module writes to shared memory as well.
      g.assert.eq(g.tdcall.mrReport({ report: g.sharedGpa(OUT_GPA), data: WORK_GPA + DATA, type: 0n }).status, 0n)
      g.assert.eq(g.load(OUT, u8), 0x81)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})
