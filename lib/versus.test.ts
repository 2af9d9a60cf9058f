import t from 'tap'
import { linesOf, outside, table, written } from './versus.ts'

t.test('docs/versus-upstream.md counts what is there', async t => {
  t.ok(written().includes(table()), 'run `make versus`')
  t.ok(written().includes(`another ${outside()} lines`), 'run `make versus`')
  t.throws(() => linesOf('no_such'), { message: 'selftests/tdx_vm_test.ts has no test no_such' })
})
