/** Tests with parts, tables of variants and suites, for the unit tests: some fail on purpose. */
import { fixture, oneVcpuSuite, product, shapes, test, transports, vcpus } from '#harness'

test('has_parts', async t => {
  for (const n of [1, 2, 3])
    await t.step(`part_${n}`, async () => {
      if (n === 2) await t.step('inner', () => t.assert.eq(n, 3))
      t.require(n < 3, 'three is too many')
      t.log(`part ${n} goes on`)
    })
  t.log('the test goes on')
})

test('has_a_part_that_throws', async t => {
  await t.step('throws', () => {
    throw new TypeError('a fault of the part')
  })
})

const every = fixture('every', {
  variants: product(shapes, transports, vcpus(1, 2)),
  setup: (t, shape) => t.td({ ...shape, guest: g => g.done() }),
})

every.test('runs', async (t, td, { vcpus }) => {
  t.assert.eq(td.vcpus.length, vcpus)
  for (const vcpu of td.vcpus) await vcpu.until('UCALL_DONE')
})

const suite = oneVcpuSuite('one_vcpu')
suite.test('is_done', g => g.done())

suite.test(
  'syncs',
  { tags: ['fast'] },
  g => {
    g.sync(7)
    g.done()
  },
  async (t, vcpu) => {
    t.assert.eq((await vcpu.until('UCALL_SYNC')).stage, 7n)
    await vcpu.until('UCALL_DONE')
  },
)
