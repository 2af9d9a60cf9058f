import t from 'tap'
import { I32, I64, Module, textOf } from './index.ts'

t.test('a module is read back as it was written', async t => {
  const module = new Module()
  module.importMemory('env', 'memory', 1, 1)
  const { code } = module.func(module.type([I32], [I64]))
  const kept = code.local(I64)
  code.block(done => {
    code.loop(again => {
      code.get(0).op('i32.eqz').brIf(done)
      code.get(0).memory('i64.load', 300).set(kept)
      code.get(kept).i64(-5n).op('i64.lt_s')
      code.if(
        () => code.get(0).vectorMemory('load', 16).simd(0x1b, [3]).set(0),
        () => code.get(0).i32(-129).op('i32.add').tee(0).brTable([again], done),
      )
      code.br(again)
    })
  })
  code.get(kept)
  t.same(textOf(module.finish()), [
    [
      '(local 1 x i64)',
      'block',
      '  loop',
      '    local.get 0',
      '    i32.eqz',
      '    br_if 1',
      '    local.get 0',
      '    i64.load offset=300',
      '    local.set 1',
      '    local.get 1',
      '    i64.const -5',
      '    i64.lt_s',
      '    if',
      '      local.get 0',
      '      v128.load offset=16',
      '      v128 0x1b lane 3',
      '      local.set 0',
      '    else',
      '      local.get 0',
      '      i32.const -129',
      '      i32.add',
      '      local.tee 0',
      '      br_table 1 2',
      '    end',
      '    br 0',
      '  end',
      'end',
      'local.get 1',
      'end',
    ],
  ])
})
