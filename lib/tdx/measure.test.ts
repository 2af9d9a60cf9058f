import { createHash } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { PhysicalMemory } from '#x86'
import { Measurement } from './measure.ts'
import { Host } from './testdata/host.ts'

/** Vectors that an independent script computed from the rules of the module's source. */
const VECTORS: [name: string, build: (host: Host, tdr: bigint) => void, mrtd: string][] = [
  [
    'no page at all',
    () => {},
    '38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b',
  ],
  [
    'PAGE.ADD 0xfffff000 only',
    (host, tdr) => host.page(tdr, 0xffff_f000n),
    '8d411e4377a0da03b249acbe9a7939b44b4483b5a6c81341f00d60c1f417257f9a5c1c03f2f223c59f010f4933f238b8',
  ],
  [
    'PAGE.ADD 0xfffff000 and 16 EXTENDs, zero page',
    (host, tdr) => host.page(tdr, 0xffff_f000n, new Uint8Array(0), true),
    '07f08f558c5e2593b33452cf00c12a165c07b027a36424ecfa15ebf39b5415e0ed62418458e4bfd77f16fec0f1568dc9',
  ],
  [
    'PAGE.ADD 0x1000 and 16 EXTENDs, then PAGE.ADD 0x2000',
    (host, tdr) => {
      host.page(
        tdr,
        0x1000n,
        Uint8Array.from({ length: 4096 }, (_, i) => i & 255),
        true,
      )
      host.page(tdr, 0x2000n)
    },
    '56336d1d218f604f4b8c80a1be4e7769fb04165eb1840fe4416cadf9b9032fc8614beb9378156e1678023abcef1285ee',
  ],
]

t.test('MRTD is the SHA-384 of how the TD was built', async t => {
  for (const [name, build, mrtd] of VECTORS) {
    const host = new Host().boot()
    const tdr = host.td()
    host.vcpu(tdr)
    build(host, tdr)
    host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
    const td = host.module.tds.get(Number(tdr) as Hpa)!
    t.equal(Buffer.from(td.mrtd).toString('hex'), mrtd, name)
    host.must(abi.TDH_MNG_RD, { rcx: tdr, rdx: 0x1310_0003_0000_0000n })
    t.equal(host.regs.r8, Buffer.from(mrtd, 'hex').readBigUInt64LE(0), 'as metadata')
  }
})

t.test('what is mapped otherwise is not measured', async t => {
  const host = new Host().boot()
  const tdr = host.td()
  host.vcpu(tdr)
  host.tables(tdr, 0x1000n)
  host.must(abi.TDH_MEM_PAGE_AUG, { rcx: 0x1000n, rdx: tdr, r8: host.frame() })
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  t.equal(Buffer.from(host.module.tds.get(Number(tdr) as Hpa)!.mrtd).toString('hex'), VECTORS[0]![2])
})

t.test('builds that begin alike and go on differently have the digests of what they are', async t => {
  const memory = new PhysicalMemory(2 ** 26)
  const chunk = (byte: number): number => {
    memory.fill(4096 + 256 * byte, 256, byte)
    return 4096 + 256 * byte
  }
  const header = (name: string, gpa: number): Buffer => {
    const bytes = Buffer.alloc(128)
    bytes.write(name)
    bytes.writeBigUInt64LE(BigInt(gpa), 16)
    return bytes
  }
  // Few pages and few contents, so that many builds are prefixes of others, or leave them in the middle of a page.
  const step = fc.record({
    gpa: fc.constantFrom(0x1000, 0x2000, 2 ** 32),
    chunks: fc.constantFrom(0, 1, 15, 16, 17),
    byte: fc.nat(2),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 90 }), fc.nat(2), (steps, last) => {
      const ours = new Measurement()
      const plain = createHash('sha384')
      for (const [n, { gpa, chunks, byte }] of steps.entries()) {
        ours.pageAdd(gpa)
        plain.update(header('MEM.PAGE.ADD', gpa))
        for (let i = 0; i < chunks; i++) {
          const content = n === steps.length - 1 && i === chunks - 1 ? last : byte
          ours.extend(gpa + 256 * i, memory, chunk(content))
          plain.update(header('MR.EXTEND', gpa + 256 * i)).update(Buffer.alloc(256, content))
        }
      }
      t.equal(Buffer.from(ours.finish()).toString('hex'), plain.digest('hex'))
    }),
    { seed: 4, numRuns: 400 },
  )
})
