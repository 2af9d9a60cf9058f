/**
 * MSRs in a TD: RDMSR and WRMSR of every MSR that the TDX module knows, and of some that it does not.
 * TDX module ABI, "MSR Virtualization"; LKVS, BM/tdx-compliance.
 */
import { type Context, MSR_LOOKUP, type MsrAction, shared, test, u64 } from '#harness'

const [VE, GP] = [20n, 13n]
const [RDMSR_EXIT, WRMSR_EXIT, APIC_WRITE_EXIT] = [31n, 32n, 56n]
const seen = shared('seen', { count: u64, rip: u64 })
/** vector and exit reason of reading, of writing back what was read (0 where it was not), and the value. */
const RESULT = 40n

const run = async (
  t: Context,
  indices: readonly number[],
): Promise<readonly { readonly read: bigint[]; readonly write: bigint[] }[]> => {
  const td = t.td({
    guest(g) {
      const from = g.memory('indices', new Uint8Array(new BigUint64Array(indices.map(BigInt)).buffer))
      const to = g.memory('answers', Number(RESULT) * indices.length, { shared: true })
      const reason = (at: Parameters<typeof g.load>[0], vector: ReturnType<typeof g.u64>) => {
        g.when(vector.eq(VE), () => g.store(at, u64, g.tdcall.vpVeinfoGet().reason))
      }
      g.repeat(BigInt(indices.length), i => {
        const index = g.load(i.shl(3n).add(from), u64)
        const out = i.mul(RESULT).add(to).copy()
        const read = g.cpu.rdmsrSafe(index)
        const value = g.var(u64, 0n)
        g.when(read.vector.eq(0n), () => value.set(read.value))
        g.store(out, u64, read.vector)
        g.store(out.add(32n), u64, value)
        reason(out.add(8n), read.vector)
        const write = g.cpu.wrmsrSafe(g.load(i.shl(3n).add(from), u64), value)
        g.store(out.add(16n), u64, write.vector)
        reason(out.add(24n), write.vector)
      })
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
  const bytes = td.read('answers', Number(RESULT) * indices.length)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const word = (i: number, n: number) => view.getBigUint64(Number(RESULT) * i + 8 * n, true)
  return indices.map((_, i) => ({ read: [word(i, 0), word(i, 1)], write: [word(i, 2), word(i, 3)] }))
}

/**
 * Native MSRs that only take commands, or only answer. Of x2APIC registers the virtual APIC page answers every read; only
 * TPR, EOI and SELF IPI can be written. SDM Vol. 3C, "Virtualizing MSR-Based APIC Accesses".
 */
const REFUSES = {
  read: new Set([0x49, 0x10b]),
  write: new Set([0xbd, 0x10a, 0x809, 0x80a, 0x80c, 0x80e, ...Array.from({ length: 0x18 }, (_, n) => 0x810 + n)]),
}
/** What the emulated module answers to these is for L2 VMs, which there are not. */
const isOfL2 = (index: number): boolean => index >= 0x480 && index <= 0x492
/** Vector 0, which is what it reads as, is none that may be sent: a test of its own. */
const SELF_IPI = 0x83f

/** The vectors that an access may have in a TD without any of the features that open MSRs. */
const wanted = (action: MsrAction, refuses: boolean): readonly bigint[] => {
  switch (action) {
    case 'native':
      return refuses ? [GP] : [0n]
    case 've':
      return [VE]
    case 'gp':
      return [GP]
    case 'gp-or-ve':
      return [GP, VE]
    case 'module':
      return [0n, GP, VE]
    default:
      return action.else === 'gp' ? [GP] : [0n, GP, VE]
  }
}

test('every_row_of_the_table_holds', async t => {
  const cases = MSR_LOOKUP.flatMap(row => [...new Set([row.first, row.last])].map(index => ({ row, index }))).filter(
    ({ index }) => !isOfL2(index) && index !== SELF_IPI,
  )
  const seen = await run(
    t,
    cases.map(({ index }) => index),
  )
  for (const [i, { row, index }] of cases.entries()) {
    const { read, write } = seen[i]!
    const what = `0x${index.toString(16)} ${row.name}`
    const reads = wanted(row.read, REFUSES.read.has(index))
    const writes = wanted(row.write, REFUSES.write.has(index))
    t.expect.eq(reads.includes(read[0]!), true, `RDMSR ${what}: vector ${read[0]}, want ${reads.join(' or ')}`)
    t.expect.eq(writes.includes(write[0]!), true, `WRMSR ${what}: vector ${write[0]}, want ${writes.join(' or ')}`)
    if (read[0] === VE) t.expect.eq(read[1], RDMSR_EXIT, what)
    if (write[0] === VE) t.expect.eq(write[1], WRMSR_EXIT, what)
  }
})

test('what_no_row_has_is_a_ve', async t => {
  const indices = [0x1b, 0x3a, 0x8b, 0x1fff, 0x2000, 0x4000_0000, 0x4b56_4d00, 0xbfff_ffff, 0xc000_2000]
  const x2apic = [0x802, 0x803, 0x80d, 0x80f, 0x828, 0x830, 0x832, 0x83e]
  const seen = await run(t, [...indices, ...x2apic])
  for (const [i, index] of [...indices, ...x2apic].entries()) {
    const what = `0x${index.toString(16)}`
    t.expect.match(seen[i]!.read, [VE, RDMSR_EXIT], `RDMSR ${what}`)
    t.expect.match(seen[i]!.write, [VE, WRMSR_EXIT], `WRMSR ${what}`)
  }
})

test('a_self_ipi_with_a_vector_below_16_is_a_ve_after_the_instruction', async t => {
  const td = t.td({
    guest(g) {
      const { count, rip } = seen.in(g)
      g.onException(Number(VE), frame => {
        const info = g.tdcall.vpVeinfoGet()
        g.assert.eq(info.reason, APIC_WRITE_EXIT)
        g.assert.eq(info.qualification, 0x3f0n)
        rip.set(frame.get('rip'))
        count.set(count.get().add(1))
      })
      for (const [sent, vector] of [0n, 1n, 15n].entries()) {
        // RBX is the address behind WRMSR: the handler has nothing to skip.
        const { rbx } = g.asm('lea rbx, [rip+2]\nwrmsr', {
          in: { rcx: BigInt(SELF_IPI), rax: vector, rdx: 0n },
          out: ['rbx'],
          clobbers: [],
        })
        g.assert.eq(rip.get(), rbx)
        g.assert.eq(count.get(), sent + 1)
      }
      g.assert.eq(g.cpu.wrmsrSafe(BigInt(SELF_IPI), 0x110n).vector, GP, 'reserved bits')
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('values_stay_where_they_belong', async t => {
  const [STAR, SPEC_CTRL, EFER, SCE, NXE] = [0xc000_0081n, 0x48n, 0xc000_0080n, 1n, 1n << 11n]
  const td = t.td({
    vcpus: 2,
    guest(g) {
      const mine = g.vcpuIndex().add(0x1234n)
      g.cpu.wrmsr(STAR, mine)
      g.cpu.wrmsr(SPEC_CTRL, 1n)
      g.sync(1)
      g.assert.eq(g.cpu.rdmsr(STAR), mine)
      g.assert.eq(g.cpu.rdmsr(SPEC_CTRL), 1n)
      // Of IA32_EFER a TD may change SCE; the rest is the module's.
      const efer = g.cpu.rdmsr(EFER)
      g.assert.eq(g.cpu.wrmsrSafe(EFER, efer.xor(SCE)).vector, 0n)
      g.assert.eq(g.cpu.rdmsr(EFER), efer.xor(SCE))
      g.assert.eq(g.cpu.wrmsrSafe(EFER, efer.xor(NXE)).vector, VE)
      g.assert.eq(g.tdcall.vpVeinfoGet().reason, WRMSR_EXIT)
      g.assert.eq(g.cpu.wrmsrSafe(EFER, efer.or(1n << 63n)).vector, VE, 'reserved bits too')
      g.assert.eq(g.tdcall.vpVeinfoGet().status, 0n)
      // Components beyond XFAM; legacy mode of the local APIC is off for good.
      g.assert.eq(g.cpu.wrmsrSafe(0xda0n, 1n << 40n).vector, GP)
      g.assert.bits(g.cpu.rdmsr(0xbdn), 1n, 1n)
      g.done()
    },
  })
  for (const vcpu of td.vcpus) await vcpu.until('UCALL_SYNC')
  for (const vcpu of td.vcpus) await vcpu.until('UCALL_DONE')
})
