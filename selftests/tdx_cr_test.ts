/**
 * Control registers in a TD: what the module fixes, what it refuses, and what is the guest's. TDX module ABI, "CR Handling";
 * the cases are LKVS's (BM/tdx-compliance, control registers), with those that the module's own order decides.
 */
import { fixture, product, test } from '#harness'

const [VE, GP, CR_ACCESS] = [20n, 13n, 28n]
const bit = (n: number): bigint => 1n << BigInt(n)
const U64 = 0xffff_ffff_ffff_ffffn

test('bits_that_are_fixed_read_so', async t => {
  const td = t.td({
    guest(g) {
      g.assert.bits(g.cpu.readCr(0), bit(0) | bit(5), bit(0) | bit(5), 'PE and NE')
      g.assert.bits(g.cpu.readCr(0), bit(29) | bit(30), 0n, 'NW and CD')
      g.assert.bits(g.cpu.readCr(4), bit(6), bit(6), 'MCE')
      g.assert.bits(g.cpu.readCr(4), bit(13) | bit(14), 0n, 'VMXE and SMXE')
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

type Case = { readonly cr: 0 | 4; readonly set?: bigint; readonly clear?: bigint; readonly vector: bigint }
const writes = fixture('a_write', {
  variants: {
    cr0_as_it_is: { cr: 0, vector: 0n },
    cr0_pe_cleared: { cr: 0, clear: bit(0), vector: GP },
    cr0_ne_cleared: { cr: 0, clear: bit(5), vector: GP },
    cr0_pe_and_pg_cleared: { cr: 0, clear: bit(0) | bit(31), vector: VE },
    cr0_bit_32: { cr: 0, set: bit(32), vector: GP },
    cr0_nw: { cr: 0, set: bit(29), vector: VE },
    cr0_cd: { cr: 0, set: bit(30), vector: VE },
    cr0_nw_and_cd: { cr: 0, set: bit(29) | bit(30), vector: VE },
    cr0_wp: { cr: 0, set: bit(16), vector: 0n },
    cr0_ts: { cr: 0, set: bit(3), vector: 0n },
    cr4_as_it_is: { cr: 4, vector: 0n },
    cr4_vmxe: { cr: 4, set: bit(13), vector: VE },
    cr4_smxe: { cr: 4, set: bit(14), vector: VE },
    cr4_mce_cleared: { cr: 4, clear: bit(6), vector: VE },
    cr4_kl: { cr: 4, set: bit(19), vector: GP },
    cr4_pke_without_xfam: { cr: 4, set: bit(22), vector: GP },
    cr4_cet_without_xfam: { cr: 4, set: bit(23), vector: GP },
    cr4_pks_without_attribute: { cr: 4, set: bit(24), vector: GP },
    cr4_uintr_without_xfam: { cr: 4, set: bit(25), vector: GP },
    cr4_bit_15: { cr: 4, set: bit(15), vector: GP },
    cr4_bit_26: { cr: 4, set: bit(26), vector: GP },
    cr4_bit_63: { cr: 4, set: bit(63), vector: GP },
    cr4_pae_cleared: { cr: 4, clear: bit(5), vector: GP },
    cr4_la57_with_paging: { cr: 4, set: bit(12), vector: GP },
    cr4_pge: { cr: 4, set: bit(7), vector: 0n },
    cr4_smep: { cr: 4, set: bit(20), vector: 0n },
    cr4_pce: { cr: 4, set: bit(8), vector: 0n },
  } as const satisfies Record<string, Case>,
})

writes.test('is_done_or_refused', async (t, _, { cr, vector, ...change }) => {
  const { set = 0n, clear = 0n }: { set?: bigint; clear?: bigint } = change
  const td = t.td({
    guest(g) {
      const before = g.cpu.readCr(cr)
      const value = before.or(set).and(~clear & U64)
      const { vector: seen, errorCode } = g.cpu.safe(`mov cr${cr}, rax`, { in: { rax: value } })
      const after = g.cpu.readCr(cr)
      g.assert.eq(seen, vector)
      if (vector === GP) g.assert.eq(errorCode, 0n)
      g.assert.eq(after, vector === 0n ? value : before, 'what was refused has changed nothing')
      const info = g.tdcall.vpVeinfoGet()
      if (vector === VE) {
        g.assert.eq(info.status, 0n)
        g.assert.eq(info.reason, CR_ACCESS)
        // MOV to the register, from RAX. SDM Vol. 3C, "Exit Qualification for Control-Register Accesses".
        g.assert.eq(info.qualification, BigInt(cr))
        g.assert.eq(info.length.and(0xffff_ffffn), 3n)
      } else g.assert.ne(info.status, 0n)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('bits_of_cr0_that_nobody_has_keep_their_value', async t => {
  const td = t.td({
    guest(g) {
      const before = g.cpu.readCr(0)
      g.cpu.writeCr(0, before.or(bit(6) | bit(17) | bit(19) | bit(28)))
      g.assert.eq(g.cpu.readCr(0), before)
      // LMSW can set PE, MP, EM and TS only; CLTS is the guest's own.
      g.asm('lmsw ax', { in: { rax: 0xfn }, clobbers: [] })
      g.assert.bits(g.cpu.readCr(0), 0xfn, 0xfn)
      g.asm('clts', { clobbers: [] })
      g.assert.bits(g.cpu.readCr(0), 0xfn, 0x7n)
      g.asm('lmsw ax', { in: { rax: 1n }, clobbers: [] })
      g.assert.bits(g.cpu.readCr(0), 0xfn, 0x1n)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

const xcr = fixture('xsetbv', {
  variants: product(
    { xcr0: { index: 0n }, xcr1: { index: 1n } },
    {
      x87: { value: 1n },
      sse: { value: 3n },
      none: { value: 0n },
      sse_alone: { value: 2n },
      avx_without_sse: { value: 5n },
      beyond_xfam: { value: bit(9) | 1n },
      bit_63: { value: bit(63) | 1n },
    },
  ),
})

xcr.test('takes_what_xfam_and_the_combinations_allow', async (t, _, { index, value }) => {
  const isLegal = index === 0n && (value === 1n || value === 3n)
  const td = t.td({
    xfam: 3n,
    guest(g) {
      const before = g.cpu.xgetbv()
      g.assert.eq(g.cpu.xsetbvSafe(index, value).vector, isLegal ? 0n : GP)
      if (isLegal) g.assert.eq(g.cpu.xgetbv(), value)
      else g.assert.eq(g.cpu.xgetbv(), before)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})
