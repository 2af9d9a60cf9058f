/** Fails on purpose, on the guest's side and on the host's: what its reader is shown is held by golden text. */
import { array, bitFields, c, fixture, flat, i8, nested, shared, struct, test, u32, u64 } from '#harness'

const PORT = 0x32
const GDT = 0x50_0000n

const portIo = fixture('port_io', {
  variants: { word: { size: 2, sent: 0xabcdn } },

  setup(t, { size, sent }) {
    return t.td({
      guest(g) {
        g.out(PORT, size, sent)
        g.assert.eq(g.in(PORT, size), sent + 1n)
        g.done()
      },
    })
  },
})

portIo.test('guest_side', async (_, td, { sent }) => {
  await td.vcpu.until('KVM_EXIT_IO')
  const into = await td.vcpu.until('KVM_EXIT_IO')
  into.answer(sent)
  await td.vcpu.until('UCALL_DONE')
})

portIo.test('host_side', async (t, td, { size, sent }) => {
  const out = await td.vcpu.until('KVM_EXIT_IO')
  t.assert.match(out, { port: PORT, direction: 'out', size, data: sent + 1n })
})

test('guest_expects_and_goes_on', async t => {
  const td = t.td({
    guest(g) {
      const sum = g.var(2).add(2)
      g.expect.eq(sum, 5, 'arithmetic')
      g.expect.lt(sum, 4)
      g.printf('sum is %d\n', sum)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('guest_fails', async t => {
  const td = t.td({ guest: g => g.fail('no way on') })
  await td.vcpu.until('UCALL_DONE')
})

test('guest_runs_off_its_end', async t => {
  const td = t.td({ guest: g => g.sync(1) })
  await td.vcpu.until('UCALL_SYNC')
  await td.vcpu.until('UCALL_DONE')
})

test('another_exit_comes', async t => {
  const td = t.td({ guest: g => g.out(PORT, 1, 0x12) })
  await td.vcpu.until('UCALL_DONE')
})

test('done_comes_twice', async t => {
  const td = t.td({ guest: g => g.done() })
  await td.vcpu.until('UCALL_DONE')
  await td.vcpu.until('UCALL_DONE')
})

test('not_awaited', t => {
  const td = t.td({ guest: g => g.fail('nobody waits') })
  td.vcpu.until('UCALL_DONE')
})

test('jumps_into_unmapped_memory', async t => {
  const td = t.td({ guest: g => g.asm('mov rax, 0x7000000\njmp rax') })
  await td.vcpu.until('UCALL_DONE')
})

test('loops_for_ever', { timeout: 200 }, async t => {
  const td = t.td({ guest: g => g.loop(() => {}) })
  await td.vcpu.until('UCALL_DONE')
})

test('triple_faults', async t => {
  // LIDT of a zero limit, then an exception that nothing can deliver.
  const td = t.td({ guest: g => g.asm('push 0\npush 0\nlidt [rsp]\nud2') })
  await td.vcpu.until('UCALL_DONE')
})

test('calls_tdcall_from_32_bit_code', async t => {
  // A 32-bit code segment in the GDT's free part, and a far return into it.
  const td = t.td({
    guest: g =>
      g.asm(`
        mov rax, 0x00cf9b000000ffff
        mov qword ptr [${GDT + 0x100n}], rax
        mov rcx, 0x100
        push rcx
        lea rax, [rip + 3]
        push rax
        retfq
        tdcall`),
  })
  t.assert.eq(td.address('gdt'), GDT)
  await td.vcpu.until('UCALL_DONE')
})

test('sends_a_wild_ucall', async t => {
  const td = t.td({ guest: g => g.mmioWrite(0xfed0_0000n, 8, 0xdead_beefn) })
  await td.vcpu.until('UCALL_DONE')
})

test('finds_the_pool_exhausted', async t => {
  const td = t.td({ guest: g => g.mmioWrite(0xfed0_0000n, 8, 0xffff_ffff_ffff_ffffn) })
  await td.vcpu.until('UCALL_DONE')
})

test('has_too_little_memory', t => {
  t.td({ memory: 0x4000, guest: g => g.done() })
})

test('is_refused_by_kvm', t => {
  t.td({ attributes: 1n, guest: g => g.done() })
})

test('executes_what_is_no_instruction', async t => {
  const td = t.td({ guest: flat(Uint8Array.of(0x0f, 0x0b)) })
  await td.vcpu.until('UCALL_DONE')
})

test('fails_in_c', async t => {
  const td = t.td({
    guest: c`
      #include "seamless.h"
      void guest_code(void)
      {
        volatile int sum = -4;
        GUEST_PRINTF("%s is %d\n", "sum", sum);
        GUEST_ASSERT_GT(sum, 3);
      }`,
  })
  await td.vcpu.until('UCALL_DONE')
})

test('fails_a_condition_in_c', async t => {
  const td = t.td({
    guest: c`
      #include "seamless.h"
      void guest_code(void)
      {
        volatile int sum = -4;
        GUEST_ASSERT(sum == 4);
      }`,
  })
  await td.vcpu.until('UCALL_DONE')
})

test('fails_three_calls_deep', async t => {
  const td = t.td({
    guest(g) {
      const inner = g.function('inner', [u64], n => g.assert.eq(n, 4n))
      const outer = g.function('outer', [u64], n => inner(n.add(1n)))
      outer(2n)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('writes_where_nothing_is_mapped', async t => {
  const td = t.td({
    guest(g) {
      const poke = g.function('poke', [u64], at => g.store(at, u64, 1n))
      poke(0x7654_3210n)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('guest_uses_every_word', async t => {
  const pair = shared('pair', { low: u32, high: u64 })
  const td = t.td({
    guest(g) {
      const page = g.memory('page', Uint8Array.of(1, 2, 3, 4, 5))
      const flags = g.var(u64, 0b1010n)
      const cells = pair.in(g)
      cells.low.set(7)
      g.assert.bits(flags, 0b110n, 0b010n)
      g.assert.inRange(flags, 10n, 10n)
      g.assert.bytes(page, [1, 2, 3, 4, 5])
      g.assert.match(cells, { low: 7, high: 0n })
      g.expect.bits(flags, 0b110n, 0b100n)
      g.expect.inRange(flags, 11n, 12n, 'too low')
      g.expect.inRange(flags, 1n, 9n, 'too high')
      g.expect.bytes(page, [1, 2, 9, 4, 5])
      g.expect.match(cells, { low: 7, high: 1n })
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('halts_by_instruction', async t => {
  const td = t.td({
    guest(g) {
      g.asm('hlt')
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('touches_what_is_not_there', async t => {
  const td = t.td({
    guest(g) {
      g.store(g.memory('hole', 4096, { align: 4096 }), u64, 1n)
      g.done()
    },
  })
  td.setPrivate(td.gpa('hole'), 4096n, false)
  await td.vcpu.until('UCALL_DONE')
})

test('is_wild_in_c', async t => {
  const td = t.td({
    guest: c`
      #include "seamless.h"
      __attribute__((noinline)) static void poke(u64 *at)
      {
        *at = 5;
      }
      void guest_code(void)
      {
        poke((u64 *)0x76543210);
        GUEST_DONE();
      }`,
  })
  await td.vcpu.until('UCALL_DONE')
})

test('counts_to_a_failure', async t => {
  const td = t.td({
    guest(g) {
      const { rax } = g.asm('mov rax, 3\nadd rax, 1\nadd rax, 0x10\nadd rax, 0x100', { out: ['rax'], clobbers: [] })
      g.assert.eq(rax, 0n)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('one_of_two_fails', async t => {
  const td = t.td({
    guest: [
      g => {
        g.repeat(1000, () => g.cpu.pause())
        g.done()
      },
      g => {
        g.asm('mov rcx, 900\nagain: dec rcx\njnz again', { clobbers: ['rcx'] })
        g.fail('counted down')
      },
    ],
  })
  await td.run()
})

test('prints_and_fails', async t => {
  const td = t.td({
    guest(g) {
      g.printf('one\n')
      g.sync(1)
      g.fail('the end')
    },
  })
  await td.vcpu.until('UCALL_SYNC')
  t.log('from the host')
  await td.vcpu.until('UCALL_DONE')
})

let times = 0

test('runs_once', { once: true }, async t => {
  const td = t.td({ guest: g => g.out(++times, 1, 0) })
  await td.vcpu.until('UCALL_DONE')
})

test('fails_another_way_each_time', async t => {
  const port = ++times
  const td = t.td({ guest: g => g.out(port, 1, 0) })
  await td.vcpu.until('UCALL_DONE')
})

const point = struct('point', { x: i8, y: i8 })
const shape = struct('shape', {
  flags: bitFields(u32, { visible: 0, colour: [7, 4] }),
  corners: array(nested(point), 2),
  areas: array(u64, 2),
})

test('guest_compares_a_whole_structure', async t => {
  const td = t.td({
    guest(g) {
      const drawn = g.place('drawn', shape)
      drawn.flags.colour.set(5)
      drawn.corners.at(1).x.set(-3)
      drawn.areas.at(1).set(0x1_0000_0000n)
      const want = { flags: { visible: 0, colour: 5 }, corners: [{}, { x: -3 }], areas: [0n, 0x1_0000_0000n] } as const
      g.assert.match(drawn, want)
      g.assert.match(drawn, { flags: 0x50 })
      g.expect.match(drawn, { ...want, corners: [{ y: 1 }, { x: -3, y: 0 }], areas: [0n] }, 'as drawn')
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('computes_and_fails', async t => {
  const td = t.td({
    guest(g) {
      g.asm('mov rax, 0x3ff8000000000000\nmovq xmm3, rax\nfninit\nfld1\nfldpi', { clobbers: ['rax'] })
      g.fail('look at the registers')
    },
  })
  await td.vcpu.until('UCALL_DONE')
})

test('says_strings_in_c', async t => {
  const td = t.td({
    guest: c`
      #include "seamless.h"
      static char name[16] = "abc";
      void guest_code(void)
      {
        char local[8] = "xy";

        name[0] = 'A';
        GUEST_PRINTF("%s %d %s %s|%5s|%-4s|\n", name, 7, local,
                     "a constant longer than the sixty-four bytes of a string that the guest copies", local, local);
        name[1] = 'B';
        GUEST_PRINTF("%s %s\n", name, (char *)NULL);
        __GUEST_ASSERT(local[0] == 'z', "local is %s, %lu", local, 5ul);
      }`,
  })
  await td.vcpu.until('UCALL_DONE')
})

test('registers_are_others', async t => {
  const td = t.vm({
    guest(g) {
      g.asm('mov r15, 0x1234\nmov rbx, 7', { clobbers: ['r15', 'rbx'] })
      g.in(0x50, 1)
    },
  })
  await td.vcpu.until('KVM_EXIT_IO')
  const { KVM_GET_REGS, kvm_regs } = await import('#harness')
  t.assert.match(td.vcpu.get(KVM_GET_REGS, kvm_regs), { rbx: 8n, r15: 0x1234n, rdx: 0x50n })
})
