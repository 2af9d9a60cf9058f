/** One test over a table: a fixture with variants, and a guest function that is called and calls itself. */
import { fixture, type GuestFunction, u64 } from '#harness'

const factorial = fixture('factorial', {
  variants: {
    of_0: { n: 0n, want: 1n },
    of_1: { n: 1n, want: 1n },
    of_5: { n: 5n, want: 120n },
    of_20: { n: 20n, want: 2432902008176640000n },
  },

  setup(t, { n, want }) {
    return t.td({
      guest(g) {
        const f: GuestFunction<['u64'], 'u64'> = g.function('factorial', [u64], u64, x => {
          g.when(x.le(1n), () => g.return(1n))
          g.return(x.mul(f(x.sub(1n))))
        })
        g.assert.eq(f(n), want)
        g.done()
      },
    })
  },
})

factorial.test('is_right', async (_, td) => {
  await td.vcpu.until('UCALL_DONE')
})
