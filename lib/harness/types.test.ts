import t from 'tap'
import { type Context, fixture, type GuestBuilder, shared, test, u32, u64 } from './index.ts'

/** Never called: what has to be a type error is one where the compiler says so, and only there. */
export const mistakes = async (t: Context, g: GuestBuilder) => {
  const td = t.td({ guest: g => g.done() })

  // @ts-expect-error there is no such exit
  await td.vcpu.until('KVM_EXIT_NOTHING')
  // @ts-expect-error ucalls are spelled as upstream spells them
  await td.vcpu.until('done')

  const out = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.match(out, { port: 0x32 })
  // @ts-expect-error an I/O exit has no GPA
  t.assert.match(out, { gpa: 0n })
  // @ts-expect-error data is a bigint
  t.assert.match(out, { data: 1 })
  // @ts-expect-error a value is answered as a bigint
  out.answer(1)

  const value = g.u64(1)
  // @ts-expect-error a guest's value is not known on the host
  t.assert.eq(value, 1n)
  // @ts-expect-error a host's assertion cannot want a guest's value
  t.assert.eq(1n, value)
  // @ts-expect-error a guest asserts about its own values
  g.assert.eq(1n, 1n)
  // @ts-expect-error a number is not a bigint
  t.assert.eq(1n, 1)
  // @ts-expect-error text has no order
  t.assert.lt('a', 'b')

  const mailbox = shared('mailbox', { letter: u64, stamp: u32 })
  mailbox.of(td).letter = 1n
  // @ts-expect-error there is no such field
  mailbox.of(td).lettre = 1n
  // @ts-expect-error fields are bigints on the host
  mailbox.of(td).stamp = 1
  // @ts-expect-error a u64 does not go into a u32 field by itself
  mailbox.in(g).stamp.set(value)

  // @ts-expect-error a TD needs a guest
  t.td({ vcpus: 1 })
  // @ts-expect-error GPAs are 48 or 52 bits wide
  t.td({ gpaWidth: 50, guest: g => g.done() })

  // @ts-expect-error an ordinary VM's transport is none of a TD's
  t.td({ transport: 'pio', guest: g => g.done() })
  // @ts-expect-error Linux has no such error
  t.assert.errno(() => td.ioctl(0), 'ENOPE')

  const sizes = fixture('sizes', {
    variants: { byte: { size: 1 }, word: { size: 2 } },
    setup: (_, { size }) => ({ twice: size * 2 }),
  })
  sizes.test('typed', (t, { twice }, { size }) => t.assert.eq(twice, size * 2))
  // @ts-expect-error setup made no such thing
  sizes.test('untyped', (t, { thrice }) => t.assert.eq(thrice, 1))
  // @ts-expect-error a timeout is milliseconds
  test('late', { timeout: '1s' }, () => {})
}

t.test('the mistakes above are type errors: `make types` checks them', async t => {
  t.type(mistakes, 'function')
})
