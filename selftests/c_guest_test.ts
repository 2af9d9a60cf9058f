/** A guest in C, in the words of the KVM selftests; skipped where there is no compiler. */
import { c, test } from '#harness'

test('a_c_guest_talks_as_in_the_kvm_selftests', async t => {
  const td = t.td({
    guest: c`
      #include "seamless.h"

      static u64 fibonacci(u64 n)
      {
        return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
      }

      void guest_code(void)
      {
        for (u64 n = 0; n < 10; n++)
          GUEST_SYNC_ARGS(n, fibonacci(n));
        GUEST_PRINTF("fibonacci(%lu) is %lu\n", 20ul, fibonacci(20));
        GUEST_ASSERT_EQ(fibonacci(20), 6765ul);
        GUEST_DONE();
      }`,
  })

  let [previous, last] = [1n, 0n]
  for (let n = 0n; n < 10n; n++) {
    const { stage, values } = await td.vcpu.until('UCALL_SYNC')
    t.assert.eq(stage, n)
    t.assert.eq(values[1], last)
    ;[previous, last] = [last, previous + last]
  }

  await td.vcpu.until('UCALL_DONE')
})
