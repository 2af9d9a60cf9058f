import fc from 'fast-check'
import t from 'tap'
import { assemble, type Mode } from '#x86'
import { BadImage } from './bad.ts'
import { type FlatOptions, type Range, runFlat } from './flat.ts'

const AT = 0x20_0000n
const code = (text: string, mode: Mode = 64, at = AT): Uint8Array => assemble(text, { mode, at }).bytes
const range = (at: bigint, length = 0x1000n, rights = 'rwx'): Range => ({
  at,
  length,
  read: rights.includes('r'),
  write: rights.includes('w'),
  execute: rights.includes('x'),
})
const run = (text: string, options: Partial<FlatOptions> = {}) => {
  const { mode = 64, at = AT } = options
  return runFlat(code(text, mode, at), { mode, at, ...options })
}

t.test('code runs to HLT, from zeroed registers, and its state is what it left', async t => {
  const end = run('mov rax, 5\nadd rax, rbx\ncvtsi2sd xmm1, rax\nfld1\nhlt')
  t.same(end.stop, { kind: 'hlt' })
  t.same([end.gpr[0], end.gpr[4], end.rip, end.instructions], [5n, 0n, AT + 17n, 4])
  t.equal(Buffer.from(end.vec.subarray(32, 40)).toString('hex'), '0000000000001440')
  t.equal(Buffer.from(end.x87.subarray(70)).toString('hex'), '0000000000000080ff3f', 'R7 in physical order')
  t.same([end.ftw, end.fcw, end.mxcsr, end.rflags & 0xffn], [0x80, 0x37f, 0x1f80, 6n])
})

t.test('each mode has its own addresses', async t => {
  t.equal(
    run('mov [0x301000], eax\nmov eax, [0x301000]\nhlt', { mode: 32, maps: [range(0x30_1000n)] }).stop.kind,
    'hlt',
  )
  const real = run('mov ax, cs\nmov [0x500], ax\nhlt', { mode: 16, at: 0x7c00n, maps: [range(0n)] })
  t.same([real.stop.kind, real.gpr[0], real.rip], ['hlt', 0n, 0x7c05n])
  t.equal(run('hlt', { mode: 16, at: 0xf_0000n }).stop.kind, 'hlt')
})

t.test('what a range does not allow is a fault; what is not there too', async t => {
  const fault = (text: string, maps: readonly Range[]) => {
    const { stop } = run(text, { maps })
    return stop.kind === 'exception' ? [stop.vector, stop.error, stop.cr2] : stop
  }
  const there = 0x30_0000n
  t.same(fault('mov [0x300000], eax', [range(there, 0x1000n, 'r')]), [14, 3, there])
  t.same(fault('mov eax, 0x300000\njmp rax', [range(there, 0x1000n, 'rw')]), [14, 0x11, there])
  t.same(fault('mov eax, [0x300000]', []), [14, 0, there])
  t.same(fault('push rax', []), [14, 2, 0xffff_ffff_ffff_fff8n])
  t.same(fault('ud2', []), [6, undefined, undefined])
  t.match(run('mov al, [0x500]\nhlt', { mode: 16, at: 0x7c00n }).stop, { kind: 'exit', why: 'no memory at 0x500' })
})

t.test('the budget ends what does not end', async t => {
  t.same(run('again: jmp again', { budget: 1000 }).stop, { kind: 'budget' })
})

t.test('ranges that cannot be are refused', async t => {
  const refused = (maps: readonly Range[], mode: Mode = 64) => t.throws(() => run('hlt', { mode, maps }), BadImage)
  refused([range(0n, 0n)])
  refused([range(0xffff_f000n, 0x2000n)], 32)
  refused([range(0x11_0000n)], 16)
  refused([range(0x7fff_ffff_f000n, 0x2000n)])
  refused([range(0x1_0000_0000_0000n)])
  refused([range(0n, 1n << 40n)])
  t.throws(() => runFlat(new Uint8Array(0), { mode: 64, at: AT }), BadImage)
})

t.test('any bytes anywhere end, in any mode', async t => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 1, maxLength: 40 }),
      fc.constantFrom<Mode>(64, 32, 16),
      fc.bigInt(0n, 0xf_fff0n),
      (bytes, mode, at) => {
        const { stop } = runFlat(bytes, { mode, at, budget: 100 })
        return ['hlt', 'budget', 'exception', 'exit'].includes(stop.kind)
      },
    ),
    { numRuns: 40 },
  )
  t.pass()
})
