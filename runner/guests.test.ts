import t from 'tap'
import { data, seamless } from './testdata/cli.ts'
import { objections } from './testdata/readers.ts'

t.test('a guest that goes wrong is named with its place, and the rest of the suite runs', async t => {
  const { stdout, status } = seamless([data('bad_guests'), 'selftests/tdx_vm_test.ts'], { SEAMLESS_HARNESS: undefined })
  t.equal(status, 1)
  t.same([...stdout.matchAll(/^# ((?:not )?ok \d .*)$/gm)].map(match => match[1]).slice(0, 4), [
    'not ok 1 global.endless_loop # TIMEOUT 0.2 seconds',
    'not ok 2 global.jumps_into_nothing',
    'not ok 3 global.invalid_opcode',
    'ok 4 global.done',
  ])
  t.match(stdout, /endless_loop:the guest did not reach UCALL_DONE within 0\.2 seconds$/m)
  t.match(stdout, /jumps_into_nothing:.*#PF.*0x7fff_0000_0000/)
  t.match(stdout, /invalid_opcode:.*#UD/)
  t.match(stdout, /again {2}seamless runner\/testdata\/bad_guests_test\.ts -r global\.invalid_opcode --seed 0x5eed$/m)
  t.match(stdout, /^not ok 1 selftests: testdata: bad_guests_test\.ts # exit=1$/m)
  t.match(stdout, /^ok 2 selftests: seamless: tdx_vm_test\.ts$/m)
  t.same(objections(stdout), [])
})
