/** One test for each bug that random programs found: what the processor did is the expected value. */
import t from 'tap'
import type { Insn } from '../insn.ts'
import { DATA, type Program, STACK } from './generate.ts'
import { Ours, type Outcome } from './ours.ts'

const ours = new Ours('interpret')
const compiled = new Ours('compile')
const RBX = 3
const RSP = 4
const FLAGS_AC = 0x4_0202n

type Given = {
  readonly mode?: 64 | 32
  readonly rflags?: bigint
  readonly rax?: bigint
  readonly rbx?: bigint
  readonly rsp?: bigint
  readonly xmm?: readonly [string, string]
  readonly fsw?: number
  readonly fcw?: number
  readonly st0?: string
}
const run = (
  hex: string,
  { mode = 64, rflags = 0x202n, rax = 0n, rbx, rsp, xmm, fsw, fcw = 0x37f, st0 }: Given = {},
  machine = ours,
): Outcome => {
  const gpr = new BigUint64Array(16)
  gpr[0] = rax
  gpr[RBX] = rbx ?? BigInt(DATA.at)
  gpr[RSP] = rsp ?? BigInt(STACK.at + 0x800)
  const fxsave = new Uint8Array(512)
  const view = new DataView(fxsave.buffer)
  view.setUint16(0, fcw, true)
  if (st0 !== undefined) {
    fxsave.set(Buffer.from(st0, 'hex'), 32)
    fxsave[4] = 1
  }
  view.setUint16(2, fsw ?? 0, true)
  view.setUint32(24, 0x1f80, true)
  for (const [n, bytes] of (xmm ?? []).entries()) fxsave.set(Buffer.from(bytes, 'hex'), 160 + n * 16)
  const asked: Program = {
    mode,
    ip: 0,
    bytes: Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex')),
    insns: [] as readonly Insn[],
    seed: 1n,
    before: { gpr, rflags, fxsave, upper: new Uint8Array(256) },
  }
  return machine.run(asked)
}
const xmm = ({ after }: Outcome, n: number): string =>
  Buffer.from(after.fxsave.subarray(160 + n * 16, 176 + n * 16)).toString('hex')
const [GP, AC] = [13, 17]

t.test('predicates of legacy comparisons have three bits, those with VEX five', async t => {
  const one = '0000803f'.repeat(4)
  const nan = '0000c07f'.repeat(4)
  // CMPPS xmm0, xmm1: predicate FFh is 7, ordered; 11h is 1, less.
  t.equal(xmm(run('0f c2 c1 ff', { xmm: [one, nan] }), 0), '0'.repeat(32))
  t.equal(xmm(run('0f c2 c1 11', { xmm: [one, one] }), 0), '0'.repeat(32))
  // VCMPPS xmm0, xmm0, xmm1: C1h is 1, less, signaling.
  const signaled = run('c5 f8 c2 c1 c1', { xmm: [one, nan] })
  t.equal(signaled.after.fxsave[24]! & 1, 1)
})

t.test('a store that unmasked underflow stops is not inexact', async t => {
  // FST dword [rbx] of a number too small for it, underflow not masked: UE, ES and B, no PE.
  const { after } = run('d9 13', { fcw: 0x36f, st0: '000000000000ffa00130' })
  t.equal((after.fxsave[2] ?? 0) & 0xb0, 0x90)
})

t.test('EMMS leaves TOP at 0', async t => {
  const { after } = run('0f 77', { fsw: 0x1000 })
  t.equal(after.fxsave[3]! & 0x38, 0)
})

t.test('of 32 bytes, the alignment of 16 is checked', async t => {
  // VMOVDQU ymm0, [rbx].
  const at = (offset: number) => run('c5 fe 6f 03', { rflags: FLAGS_AC, rbx: BigInt(DATA.at + offset) }).trap
  t.same([0, 16, 8, 1].map(at), [GP, GP, AC, AC])
})

t.test('PUSHA checks the alignment of one register', async t => {
  const at = (offset: number) => run('60', { mode: 32, rflags: FLAGS_AC, rsp: BigInt(STACK.at + 0x800 + offset) }).trap
  t.same([0, 4, 2].map(at), [GP, GP, AC])
})

t.test('LMSW of a process is #GP before its operand is read', async t => {
  const { trap, error } = run('0f 01 33', { rbx: 0x1234n })
  t.same([trap, error], [GP, 0])
})

t.test('DAS and DAA after an instruction whose flags nobody has looked at', async t => {
  // XOR EBP, EBP and DAS, or DAA; AL is FFh.
  for (const machine of [ours, compiled])
    t.same(
      ['31 ed 2f', '31 ed 27'].map(code => run(code, { mode: 32, rax: 0xffn }, machine).after.rflags & 0x8d5n),
      [0x95n, 0x15n],
    )
})
