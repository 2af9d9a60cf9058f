/** A ring of descriptors that guest and host know by one declaration: arrays, nested structures and bit fields. */
import { array, bitFields, nested, shared, struct, test, u16, u32, u64 } from '#harness'

const descriptor = struct('descriptor', {
  address: u64,
  length: u32,
  flags: bitFields(u16, { ready: 0, last: 1, queue: [15, 8] }),
})
const ring = shared('ring', { head: u32, entries: array(nested(descriptor), 4) })

test('the_host_reads_what_the_guest_filled', async t => {
  const td = t.td({
    guest(g) {
      const { head, entries } = ring.in(g)
      g.repeat(4n, i => {
        const entry = entries.at(i)
        entry.address.set(i.shl(12n))
        entry.length.set(i.as(u32).add(100))
        entry.flags.queue.set(i.as(u16).add(7))
        entry.flags.ready.set(1)
        head.set(head.get().add(1))
      })
      entries.at(3).flags.last.set(1)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
  t.assert.eq(ring.of(td).head, 4n)
  for (const [n, entry] of ring.of(td).entries.entries()) {
    t.expect.match(entry, { address: BigInt(n) << 12n, length: 100n + BigInt(n) })
    t.expect.match(entry.flags, { ready: 1n, last: n === 3 ? 1n : 0n, queue: 7n + BigInt(n) })
  }
})
