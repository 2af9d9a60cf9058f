import fc from 'fast-check'
import t from 'tap'
import { I32, I64, Module } from './index.ts'

const instance = (m: Module, imports: WebAssembly.Imports = {}) =>
  new WebAssembly.Instance(new WebAssembly.Module(m.finish()), imports).exports
type F = (...args: (number | bigint)[]) => number | bigint

t.test('constants of every length come back', async t => {
  fc.assert(
    fc.property(fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n), fc.integer(), (wide, narrow) => {
      const m = new Module()
      const a = m.func(m.type([], [I64]))
      a.code.i64(wide)
      const b = m.func(m.type([], [I32]))
      b.code.i32(narrow)
      m.export('a', a.index)
      m.export('b', b.index)
      const exports = instance(m)
      t.equal((exports['a'] as F)(), BigInt.asIntN(64, wide))
      t.equal((exports['b'] as F)(), narrow)
    }),
    { numRuns: 100 },
  )
  for (const edge of [-64n, 63n, 64n, -65n, 0x3fff_ffffn, 0x4000_0000n, -0x4000_0000n, -0x4000_0001n]) {
    const m = new Module()
    const f = m.func(m.type([], [I64]))
    f.code.i64(edge)
    m.export('f', f.index)
    t.equal((instance(m)['f'] as F)(), edge)
  }
})

t.test('loops, blocks, branches and memory: the sum of an array', async t => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 })
  const m = new Module()
  m.importMemory('env', 'memory', 1, 1)
  const { code, index } = m.func(m.type([I32, I32], [I64]))
  const sum = code.local(I64)
  code.block(done => {
    code.loop(again => {
      code.get(1).op('i32.eqz').brIf(done)
      code.get(sum).get(0).memory('i64.load32_u', 4).op('i64.add').set(sum)
      code.get(0).i32(4).op('i32.add').set(0)
      code.get(1).i32(1).op('i32.sub').set(1)
      code.br(again)
    })
  })
  code.get(sum)
  m.export('sum', index)
  new Uint32Array(memory.buffer).set([99, 1, 2, 0xffff_ffff])
  t.equal((instance(m, { env: { memory } })['sum'] as F)(0, 3), 0x1_0000_0002n)
})

t.test('br_table, if and calls through a table', async t => {
  const m = new Module()
  const type = m.type([I32], [I32])
  const host = m.importFunc('env', 'host', type)
  t.equal(m.type([I32], [I32]), type, 'equal types share a number')
  const { code, index } = m.func(type)
  code.block(otherwise => {
    code.block(one => {
      code.block(zero => code.get(0).brTable([zero, one], otherwise))
      code.i32(100).op('return')
    })
    code.get(0).call(host).op('return')
  })
  code
    .get(0)
    .i32(7)
    .op('i32.eq')
    .if(
      () => code.i32(70),
      () => code.i32(-1),
      I32,
    )
  const through = m.func(type)
  through.code.get(0).i32(0).tailCallIndirect(type)
  m.table([index])
  m.export('f', through.index)
  const f = instance(m, { env: { host: (x: number) => x + 41 } })['f'] as F
  t.same(
    [0, 1, 7, 8].map(x => f(x)),
    [100, 42, 70, -1],
  )
  t.throws(() => m.importFunc('env', 'late', type), /after the first own function/)
})
