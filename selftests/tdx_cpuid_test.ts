/**
 * CPUID in a TD: every leaf that the TDX module knows, against the module's table and against what KVM says of the TD.
 * TDX module ABI, "CPUID Virtualization"; LKVS, BM/tdx-compliance (which leaves raise #VE, which bits are fixed).
 */
import {
  type Context,
  CPUID_LOOKUP,
  CPUID_SUBLEAF_NA,
  type CpuidRow,
  readCpuid,
  type Td,
  test,
  u32,
  u64,
} from '#harness'

const [VE, CPUID_EXIT] = [20n, 10n]
const REGISTERS = ['eax', 'ebx', 'ecx', 'edx'] as const
type Seen = { readonly vector: bigint; readonly reason: bigint; readonly values: readonly number[] }

/** Leaf and sub-leaf of each question: 16 bytes in, 64 bytes out (vector, exit reason, the registers). */
const ask = async (
  t: Context,
  questions: readonly (readonly [leaf: number, subleaf: number])[],
): Promise<{ readonly td: Td; readonly seen: readonly Seen[] }> => {
  const table = new Uint8Array(new BigUint64Array(questions.flat().map(BigInt)).buffer)
  const td = t.td({
    guest(g) {
      const from = g.memory('questions', table)
      const to = g.memory('answers', 64 * questions.length, { shared: true })
      g.repeat(BigInt(questions.length), i => {
        const at = i.shl(4n).add(from)
        const out = i.shl(6n).add(to).copy()
        const answer = g.cpu.cpuidSafe(g.load(at, u64), g.load(at.add(8n), u64))
        g.store(out, u64, answer.vector)
        for (const [n, name] of REGISTERS.entries()) g.store(out.add(16n + 8n * BigInt(n)), u32, answer[name])
        g.when(answer.vector.eq(VE), () => {
          g.store(out.add(8n), u64, g.tdcall.vpVeinfoGet().reason)
        })
      })
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
  const bytes = td.read('answers', 64 * questions.length)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const seen = questions.map((_, i) => ({
    vector: view.getBigUint64(64 * i, true),
    reason: view.getBigUint64(64 * i + 8, true),
    values: REGISTERS.map((_, r) => view.getUint32(64 * i + 16 + 8 * r, true)),
  }))
  return { td, seen }
}

const name = (leaf: number, subleaf: number): string => `CPUID 0x${leaf.toString(16)}.0x${subleaf.toString(16)}`
const subleafOf = ({ subleaf }: CpuidRow): number => (subleaf === CPUID_SUBLEAF_NA ? 0 : subleaf)

/** Bits that the module computes: from the vCPU, the TD's XFAM and attributes, its clock, or its control registers. */
const COMPUTED: Readonly<Record<string, readonly [number, number, number, number]>> = {
  '1.0': [0xffff_ffff, 0xffff_0000, 0x1800_1000, 0x1000_0000],
  '7.0': [0, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff],
  'd.0': [0xffff_ffff, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff],
  'd.1': [0x1f, 0xffff_ffff, 0xffff_ffff, 0],
  '15.0': [0, 0xffff_ffff, 0, 0],
  '80000001.0': [0, 0, 0, 0x800],
  '80000008.0': [0xff00, 0, 0, 0],
}

test('every_row_of_the_table_holds', async t => {
  const { td, seen } = await ask(
    t,
    CPUID_LOOKUP.map(row => [row.leaf, subleafOf(row)] as const),
  )
  for (const [i, row] of CPUID_LOOKUP.entries()) {
    const subleaf = subleafOf(row)
    const what = name(row.leaf, subleaf)
    const { vector, reason, values } = seen[i]!
    if (row.faulting) {
      t.expect.eq(vector, VE, what)
      t.expect.eq(reason, CPUID_EXIT, what)
      continue
    }
    t.expect.eq(vector, 0n, what)
    const computed = COMPUTED[`${row.leaf.toString(16)}.${subleaf.toString(16)}`] ?? [0, 0, 0, 0]
    for (const r of [0, 1, 2, 3] as const) {
      const value = values[r]!
      const where = `${what} ${REGISTERS[r]}`
      t.expect.eq((value & row.fixed1[r]) >>> 0, row.fixed1[r] >>> 0, `${where}: bits that are 1`)
      const zeroes = row.fixed0OrDynamic[r] & ~row.fixed1[r] & ~computed[r]
      t.expect.eq((value & zeroes) >>> 0, 0, `${where}: bits that are 0`)
    }
  }
  // The same leaves as KVM tells them to userspace: KVM_TDX_GET_CPUID, handed to KVM_SET_CPUID2.
  for (const [leaf, subleaf, masks] of [
    [0, 0, [~0, ~0, ~0, ~0]],
    [1, 0, [~0, 0xff00, ~(1 << 27), ~0]],
    [7, 0, [~0, ~0, ~(1 << 4), ~0]],
    [0xd, 0, [~0, 0, ~0, ~0]],
    [0x15, 0, [~0, ~0, ~0, ~0]],
    [0x8000_0001, 0, [~0, ~0, ~0, ~(1 << 11)]],
  ] as const) {
    const kvm = readCpuid(td.vcpu, leaf, subleaf)
    const i = CPUID_LOOKUP.findIndex(row => row.leaf === leaf && subleafOf(row) === subleaf)
    for (const [r, register] of REGISTERS.entries()) {
      const mask = masks[r]!
      const where = `${name(leaf, subleaf)} ${register}, as KVM has it`
      t.expect.eq((seen[i]!.values[r]! & mask) >>> 0, (Number(kvm[register]) & mask) >>> 0, where)
    }
  }
})

test('what_no_row_has_is_a_ve_or_the_highest_leaf', async t => {
  const questions = [
    ...[0x2, 0x9, 0xb, 0x16, 0x18, 0x1a, 0x1b, 0x4000_0000, 0x4fff_ffff, 0x8000_0002].map(leaf => [leaf, 0] as const),
    [7, 3] as const,
    [0xd, 0x13] as const,
    ...[0x23, 0x24, 0x3fff_ffff, 0x5000_0000, 0x8000_0009, 0xffff_ffff].map(leaf => [leaf, 0] as const),
  ]
  const { seen } = await ask(t, questions)
  const highest = seen[questions.findIndex(([leaf]) => leaf === 0x23)]!
  for (const [i, [leaf, subleaf]] of questions.entries()) {
    const isBeyond =
      leaf === 0x23 || (leaf > 0x23 && leaf < 0x4000_0000) || (leaf >= 0x5000_0000 && leaf !== 0x8000_0002)
    t.expect.eq(seen[i]!.vector, isBeyond ? 0n : VE, name(leaf, subleaf))
    if (isBeyond) t.expect.match([...seen[i]!.values], [...highest.values], name(leaf, subleaf))
  }
})

test('the_vcpus_own_bits_follow_it', async t => {
  const td = t.td({
    vcpus: 3,
    guest(g) {
      const one = g.cpu.cpuid(1)
      g.assert.eq(one.ebx.shr(24n), g.vcpuIndex().as(u32))
      const [OSXSAVE, CR4_OSXSAVE] = [1n << 27n, 1n << 18n]
      g.assert.bits(one.ecx, OSXSAVE, OSXSAVE)
      g.cpu.writeCr(4, g.cpu.readCr(4).and(~CR4_OSXSAVE & 0xffff_ffffn))
      g.assert.bits(g.cpu.cpuid(1).ecx, OSXSAVE, 0n)
      g.cpu.writeCr(4, g.cpu.readCr(4).or(CR4_OSXSAVE))
      const before = g.cpu.cpuid(0xdn).ebx
      g.cpu.xsetbv(0n, 1n)
      g.assert.le(g.cpu.cpuid(0xdn).ebx, before)
      g.assert.eq(g.cpu.cpuid(0xdn).ebx, 576n, 'legacy area and header')
      g.done()
    },
  })
  for (const vcpu of td.vcpus) await vcpu.until('UCALL_DONE')
})

test('a_td_may_turn_cpuid_into_ves', async t => {
  const td = t.td({
    guest(g) {
      g.assert.eq(g.cpu.cpuidSafe(0n).vector, 0n)
      g.assert.eq(g.tdcall.vpCpuidveSet({ flags: 1n }).status, 0n)
      g.assert.eq(g.cpu.cpuidSafe(0n).vector, VE)
      const info = g.tdcall.vpVeinfoGet()
      g.assert.eq(info.reason, CPUID_EXIT)
      g.assert.eq(info.length.and(0xffff_ffffn), 2n)
      g.assert.eq(g.tdcall.vpCpuidveSet({ flags: 0n }).status, 0n)
      g.assert.eq(g.cpu.cpuidSafe(0n).vector, 0n)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})
