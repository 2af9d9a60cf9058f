/** For `seamless mrtd`: a TD with registers of its owner's, memory of the test's, and two vCPUs. */
import { test } from '#harness'

const FILL = Uint8Array.from({ length: 48 }, (_, i) => i)

test('owned', async t => {
  const td = t.td({
    mrconfigid: FILL,
    mrowner: FILL.toReversed(),
    vcpus: 2,
    slots: [{ slot: 3, gpa: 0x4000_0000n, size: 0x2000, isPrivate: true, fill: 0xab }],
    guest: g => g.done(),
  })
  await td.run()
})

test('none', async () => {})
