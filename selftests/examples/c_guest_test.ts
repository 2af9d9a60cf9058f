/** A guest in C, in the words of the KVM selftests; skipped where there is no compiler. */
import { c, test } from '#harness'

test('a_checksum_in_c', async t => {
  const td = t.td({
    guest: c`
      #include "seamless.h"

      static u32 adler32(const u8 *at, u64 n)
      {
        u32 a = 1, b = 0;

        for (u64 i = 0; i < n; i++) {
          a = (a + at[i]) % 65521;
          b = (b + a) % 65521;
        }
        return b << 16 | a;
      }

      void guest_code(void)
      {
        static const u8 text[] = "Wikipedia";
        struct tdx_vp_info info;

        GUEST_ASSERT_EQ(adler32(text, 9), 0x11e60398u);
        GUEST_ASSERT_EQ(tdg_vp_info(&info), 0ul);
        GUEST_PRINTF("%u vCPU, GPAs of %lu bits\n", info.num_vcpus, info.gpa_width);
        GUEST_SYNC_ARGS(1, info.gpa_width);
        GUEST_DONE();
      }`,
  })

  const { values } = await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(values[1], 48n)
  await td.vcpu.until('UCALL_DONE')
})
