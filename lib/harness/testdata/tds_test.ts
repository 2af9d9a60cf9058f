/** For the unit tests: TDs of every shape that the harness makes. */
import { fixture, shared, test, u8, u64 } from '#harness'

test('works_a_little', async t => {
  const td = t.td({
    guest(g) {
      const sum = g.var(0)
      g.repeat(100, i => sum.set(sum.add(i)))
      g.assert.eq(sum, 4950)
      const { rax, rdx } = g.asm('rdtsc', { out: ['rax', 'rdx'], clobbers: [] })
      g.printf('TSC %lx\n', rdx.shl(32).or(rax))
      g.sync(sum)
      g.done()
    },
  })
  const { stage } = await td.vcpu.until('UCALL_SYNC')
  t.assert.eq(stage, 4950n)
  await td.vcpu.until('UCALL_DONE')
  t.assert.gt(td.vcpu.instructions, 100)
})

test('two_tds_side_by_side', async t => {
  const [a, b] = [1, 2].map(n =>
    t.td({
      guest(g) {
        g.sync(n)
        g.sync(n * 2)
        g.done()
      },
    }),
  )
  t.assert.eq((await a?.vcpu.until('UCALL_SYNC'))?.stage, 1n)
  t.assert.eq((await b?.vcpu.until('UCALL_SYNC'))?.stage, 2n)
  t.assert.eq((await a?.vcpu.until('UCALL_SYNC'))?.stage, 2n)
  t.assert.eq((await b?.vcpu.until('UCALL_SYNC'))?.stage, 4n)
})

test('two_vcpus_have_their_own_guests', async t => {
  const td = t.td({
    guest: [
      g => {
        g.sync(10)
        g.done()
      },
      g => {
        g.sync(20, g.tdcall.vpInfo().index)
        g.done()
      },
    ],
  })
  const [first, second] = td.vcpus
  t.assert.eq((await second?.until('UCALL_SYNC'))?.values[1], 1n)
  t.assert.eq((await first?.until('UCALL_SYNC'))?.stage, 10n)
  await first?.until('UCALL_DONE')
  await second?.until('UCALL_DONE')
})

test('private_memory_is_out_of_sight', async t => {
  const td = t.td({
    guest(g) {
      const at = g.memory('secret', 64)
      g.store(at, 8, 0x1234n)
      g.assert.eq(g.load(at, 8), 0x1234n)
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
  const why = (look: () => unknown): string => {
    try {
      look()
      return ''
    } catch (error) {
      if (error instanceof RangeError) return error.message
      throw error
    }
  }
  t.assert.match(
    why(() => td.load('secret')),
    /^TD 0: secret is private memory, which the host cannot see/,
  )
  t.assert.match(
    why(() => td.load({ gpa: td.gpa('secret') })),
    /^TD 0: GPA 0x\w+ is private memory/,
  )
  t.assert.eq(
    why(() => td.load('secrets')),
    'TD 0: the guest has no symbol secrets',
  )
  t.assert.eq(
    why(() => td.load({ gpa: 1n << 40n })),
    'TD 0: no memory of the TD lies at GPA 0x100_0000_0000, 8 bytes',
  )
  t.assert.eq(
    why(() => td.read('ucall_pool', 0x10_0000)),
    "TD 0: ucall_pool has not 1048576 bytes of the guest's memory",
  )
})

const mixed = shared('mixed', { small: u8, large: u64 })

test('shared_memory_by_name_and_by_structure', async t => {
  t.assert.eq(mixed.size, 16)
  t.assert.eq(mixed.offset.large, 8)
  const td = t.td({
    guest(g) {
      const fields = mixed.in(g)
      g.memory('plain', 4096, { shared: true })
      fields.large.set(fields.small.get().as(u64).add(1n))
      g.done()
    },
  })
  mixed.of(td).small = 0xffn
  td.write('plain', Uint8Array.of(1, 2, 3))
  await td.vcpu.until('UCALL_DONE')
  t.assert.eq(mixed.of(td).large, 0x100n)
  t.assert.eq(td.read('plain', 4), Uint8Array.of(1, 2, 3, 0))
  t.assert.eq(td.load({ gpa: td.gpa('plain') }, 2), 0x201n)
})

const says = fixture('says', {
  variants: {
    mmio: { transport: 'mmio' },
    fatal: { transport: 'fatal' },
    port_index: { transport: 'port-index' },
    port_rdi: { transport: 'port-rdi' },
  },
})

says.test('what_it_does', async (t, _, { transport }) => {
  const td = t.td({
    transport,
    guest(g) {
      g.sync(5)
      g.ucallNone()
      g.done()
    },
  })
  t.assert.eq((await td.vcpu.until('UCALL_SYNC')).stage, 5n)
  await td.vcpu.until('UCALL_NONE')
  await td.vcpu.until('UCALL_DONE')
})

test('is_left_before_finalize', async t => {
  const td = t.td({ finalize: false, guest: g => g.done() })
  td.finalize()
  await td.vcpu.until('UCALL_DONE')
})

test('five_levels_of_tables', async t => {
  const td = t.td({ levels: 5, gpaWidth: 52, guest: g => g.done() })
  await td.vcpu.until('UCALL_DONE')
})

test('touches_much_shared_memory', async t => {
  const size = 0x0800_0000n
  const td = t.td({
    guest(g) {
      const at = g.memory('much', Number(size), { shared: true })
      g.repeat(size / 4096n, i => g.store(i.mul(4096n).add(at), 8, i))
      g.done()
    },
  })
  await td.vcpu.until('UCALL_DONE')
})
