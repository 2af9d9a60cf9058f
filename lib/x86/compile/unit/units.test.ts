import t from 'tap'
import { Lanes } from '../../packed.ts'
import { fusedFloat } from '../../packedfloat.ts'
import { NEAREST } from '../../softfloat.ts'
import { STATE } from '../../state.ts'
import { CODE, longMode } from '../../testdata/machine.ts'
import { helps } from '../help.ts'
import { stats, type TierName } from '../runtime.ts'
import { unitsOf } from '../units.ts'

const TIERS: readonly TierName[] = ['interpret', 'auto', 'lockstep']
const DATA = 0x4_0000n
const TIMES = 400

/** What a loop leaves in all registers; its vectors and its data begin as one likes. */
const outcome = (tier: TierName, body: string, seed: bigint): string => {
  const m = longMode({ tier, onFault: () => 'stop' })
  const { cpu } = m
  cpu.cr4 |= 0x5_0600n
  cpu.xcr0 = 7n
  // What is inexact has been so before.
  cpu.mxcsr = 0x1fa0
  m.asm(CODE, `mov edi, ${DATA}\nmov r15d, ${TIMES}\nagain:\n${body}\nadd rdi, 4\ndec r15d\njne again\nhlt`)
  let next = seed
  const word = (): bigint => {
    next = BigInt.asUintN(64, next * 0x5851_f42d_4c95_7f2dn + 0x1405_7b7e_f767_814fn)
    return next ^ (next >> 29n)
  }
  for (let at = 0n; at < 0x1000n; at += 8n) m.put64(DATA + at, BigInt.asUintN(64, word()))
  const vectors = new DataView(cpu.vec.buffer, cpu.vec.byteOffset)
  for (let n = 0; n < 64; n++) vectors.setBigUint64(n * 8, BigInt.asUintN(64, word()), true)
  for (let n = 0; n < 80; n++) cpu.x87.regs[n] = Number(word() & 0xffn)
  const exit = cpu.run(1_000_000)
  const { rflags } = cpu
  const state = Buffer.from(cpu.memory.u8.subarray(cpu.frame + STATE.MXCSR, cpu.frame + STATE.VEC + 512)).toString(
    'hex',
  )
  const seen = [exit.reason, exit.qualification, cpu.rip, rflags, cpu.instructions, ...cpu.gpr].join(' ')
  cpu.close()
  return `${seen}\n${state}`
}
/** The loop ends the same in every tier, and is hardly ever left for its instructions. */
const same = (name: string, body: string): void => {
  t.test(name, async t => {
    for (const seed of [1n, 0x1234_5678n]) {
      const wanted = outcome('interpret', body, seed)
      for (const tier of TIERS.slice(1)) {
        const [helped, left] = [helps.count, stats.exits.case]
        t.equal(outcome(tier, body, seed), wanted, tier)
        if (tier === 'auto') t.ok(helps.count - helped + stats.exits.case - left < 60, 'compiled')
      }
    }
  })
}

same(
  'AES',
  'aesenc xmm1, xmm2\naesdec xmm2, [rdi+0x10-0x10]\n'.replace('[rdi+0x10-0x10]', 'xmm3') +
    'aesenclast xmm3, xmm1\naesdeclast xmm4, xmm3\naesimc xmm5, xmm4\naeskeygenassist xmm2, xmm5, 0x1b\nvaesenc xmm6, xmm5, xmm3\npxor xmm1, xmm6',
)
same(
  'products without carries',
  [0, 1, 0x10, 0x11].map(k => `pclmulqdq xmm1, xmm2, ${k}\npxor xmm2, xmm1\npaddq xmm1, xmm3`).join('\n'),
)
same(
  'SHA',
  'sha1rnds4 xmm1, xmm2, 0\nsha1rnds4 xmm2, xmm1, 1\nsha1rnds4 xmm1, xmm3, 2\nsha1rnds4 xmm3, xmm2, 3\nsha1nexte xmm2, xmm1\nsha1msg1 xmm3, xmm2\nsha1msg2 xmm1, xmm3\nsha256rnds2 xmm4, xmm1\nsha256msg1 xmm0, xmm4\nsha256msg2 xmm1, xmm0\nsha256rnds2 xmm1, xmm4',
)
same(
  'PEXT and PDEP',
  'mov rax, [rdi]\nmov rbx, [rdi+8]\npext rcx, rax, rbx\npdep rdx, rax, rcx\nadd r8, rdx\npext r9d, eax, ecx\nadd r10, r9',
)
const two =
  'paddb psubusw pmullw pmulhw pmaddwd pcmpgtb punpckhbw punpckldq packsswb packuswb packssdw pavgb psadbw pmuludq pshufb phaddw phsubd phaddsw pmaddubsw psignw pmulhrsw pabsb psllw psrad psrlq pandn'
same(
  'MMX',
  [
    'movq mm0, [rdi]\nmovq mm1, [rdi+24]',
    ...two.split(' ').map((name, k) => `${name} mm${k % 6}, mm${(k + 1) % 6}\npxor mm${(k + 2) % 6}, mm${k % 6}`),
    'palignr mm1, mm2, 3\npalignr mm3, mm1, 11\npshufw mm4, mm3, 0x1b\npsrlw mm5, 3\npinsrw mm0, eax, 2\npextrw ebx, mm0, 1\npmovmskb ecx, mm4',
    'movq2dq xmm1, mm2\nmovdq2q mm3, xmm1\nmovd edx, mm5\nadd r8, rdx\nadd r9, rbx\nadd r10, rcx\nmovq [rdi+512], mm1',
  ].join('\n'),
)
same(
  'gathers and masked loads',
  'vpxor ymm5, ymm5, ymm5\nvpsubd ymm4, ymm6, ymm5\nvpsrld ymm5, ymm5, 25\nvpand ymm3, ymm6, ymm9\nvpsrld ymm3, ymm3, 24\nvmovdqa ymm5, ymm4\nvpgatherdd ymm1, [rdi+ymm3*4], ymm5\nvpaddd ymm6, ymm6, ymm1\n' +
    'vmovdqa ymm5, ymm4\nvpsrlq ymm2, ymm3, 33\nvpgatherqd xmm7, [rdi+ymm2*2+4], xmm5\nvmovdqa ymm5, ymm6\nvgatherdpd ymm8, [rdi+xmm3*8], ymm5\nvpaddd ymm6, ymm6, ymm8\nvpmaskmovd ymm1, ymm6, [rdi+64]\nvpaddd ymm6, ymm6, ymm1',
)
same(
  'halves',
  'vcvtph2ps xmm1, [rdi]\nvpand xmm2, xmm1, xmm3\nvpaddd xmm4, xmm4, xmm1'.replace('[rdi]', 'xmm5') +
    '\nvpsllw xmm5, xmm5, 2\nvpsrlw xmm5, xmm5, 3',
)

t.test('FMA is as interpreted, wherever it is done', async t => {
  const m = longMode({ tier: 'interpret' })
  const units = unitsOf(m.memory) as Record<string, (a: number, b: number, d: number) => number>
  let [a, b] = [0x1234_5678_9abc_def0n, 0x0fed_cba9_8765_4321n]
  const random = (): bigint => {
    let x = a
    a = b
    x ^= BigInt.asUintN(64, x << 23n)
    b = x ^ b ^ (x >> 17n) ^ (b >> 26n)
    return BigInt.asUintN(64, a + b)
  }
  const below = (n: number): number => Number(random() % BigInt(n))
  for (const size of [8, 4] as const) {
    const [bits, bias, count] = size === 8 ? [52, 1023, 12_000] : [23, 127, 12_000]
    const view = new DataView(new ArrayBuffer(8))
    const made = (exponent: number): number => {
      const kept = 1n << BigInt(below(bits))
      const fraction = BigInt.asUintN(bits, [random(), kept, -kept, 0n, kept | 1n, random() & -kept][below(6)]!)
      const word = (BigInt(below(2)) << BigInt(size * 8 - 1)) | (BigInt(exponent + bias) << BigInt(bits)) | fraction
      if (size === 8) view.setBigUint64(0, word)
      else view.setUint32(0, Number(word))
      return size === 8 ? view.getFloat64(0) : view.getFloat32(0)
    }
    const [x, y, z, d] = [0, 1, 2, 3].map(() => new Lanes())
    const put = (to: { u32: Uint32Array; u64: BigUint64Array }, value: number): void => {
      if (size === 8) {
        view.setFloat64(0, value)
        to.u64[0] = view.getBigUint64(0)
      } else {
        view.setFloat32(0, value)
        to.u32[0] = view.getUint32(0)
      }
    }
    let done = 0
    let failed = ''
    for (let n = 0; n < count && failed === ''; n++) {
      const [p, q] = [made(below(60) - 30), made(below(60) - 30)]
      // Near the product, far from it, or its opposite, so that what rounding took is all there is left.
      const near = Math.log2(Math.abs(p * q)) | 0
      const w = [made(near + below(7) - 3), made(near + below(2 * bits + 12) - bits - 6), -p * q, 0][below(4)]!
      const r = size === 8 ? w : Math.fround(w)
      const seen = units[size === 8 ? 'fma.sd' : 'fma.ss']!(p, q, r)
      if (Number.isNaN(seen)) continue
      put(x!, p)
      put(y!, q)
      put(z!, r)
      const control = {
        ...{ rounding: NEAREST as 0, masks: 63, flushToZero: false, denormalsAreZero: false },
        ...{ precision: 0, raised: 0, roundedUp: false },
      }
      fusedFloat[size === 8 ? 'fmaddsd' : 'fmaddss']!(d!, x!, y!, 0, 16, control, z!)
      put(x!, seen)
      done++
      if (size === 8 ? x!.u64[0] !== d!.u64[0] : x!.u32[0] !== d!.u32[0]) failed = `${p} * ${q} + ${r} is ${seen}`
    }
    t.equal(failed, '')
    t.ok(done > count * 0.9, `${done} of ${count}`)
  }
})
