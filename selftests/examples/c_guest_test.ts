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

test('a_ve_handler_in_c', async t => {
  const td = t.td({
    guest: c`
      #include "seamless.h"

      static struct tdx_ve_info ve;

      static void on_ve(struct ex_regs *regs)
      {
        GUEST_ASSERT_EQ(tdg_vp_veinfo_get(&ve), 0ul);
        regs->rip += ve.length;
        if (ve.exit_reason == TDVMCALL_IO)
          tdvmcall_io_read(ve.qualification >> 16, 1 + (ve.qualification & 7), &regs->rax);
      }

      void guest_code(void)
      {
        u8 value;
        u64 msr;

        install_exception_handler(20, on_ve);
        __asm__ volatile("in $0x32, %0" : "=a"(value));
        GUEST_ASSERT_EQ(value, 7);
        GUEST_ASSERT_EQ(ve.exit_reason, 30ul);
        GUEST_ASSERT_EQ(rdmsr_safe(0x829, &msr), 13);
        GUEST_ASSERT_EQ(tdvmcall_io_write(0x33, 4, 0x1234), 0ul);
        GUEST_DONE();
      }`,
  })

  const read = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.match(read, { port: 0x32, direction: 'in', size: 1 })
  read.answer(7n)
  const write = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.match(write, { port: 0x33, direction: 'out', size: 4, data: 0x1234n })
  await td.vcpu.until('UCALL_DONE')
})
