/** Random ioctls with random arguments: every answer is a number, an Errno or NotModelled, and every frame comes back. */
import t from 'tap'
import * as abi from '#abi'
import { hva, NotModelled } from '#bits'
import { Errno } from './errno.ts'
import { Sample } from './sample.ts'

const ROUNDS = 6
const CALLS = 400

/** xorshift32: the same sequence everywhere. */
const generator = (seed: number): ((below: number) => number) => {
  let state = seed
  return below => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

t.test('random ioctls leave the machine consistent', async t => {
  const requests = [...abi.KVM_IOCTL_NAMES.keys()]
  const seen = new Map<string, number>()
  for (let round = 1; round <= ROUNDS; round++) {
    const random = generator(round * 0x9e37_79b9)
    const sample = new Sample({ processors: 2 })
    const { host } = sample
    const { vm, vcpu, memfd } = sample.build(Uint8Array.of(0xeb, 0xfe))
    const open = [sample.kvm, vm, vm, vcpu, vcpu, memfd]
    host.signalPending = () => random(2) === 0
    const pointers = [sample.scratch, sample.data, 0n, 0x1000n, 2n ** 63n, 2n ** 64n - 8n]
    const words = [
      0n,
      1n,
      2n,
      3n,
      4n,
      5n,
      8n,
      0x1000n,
      0x4000n,
      0xffff_f000n,
      1n << 47n,
      1n << 51n,
      2n ** 64n - 1n,
      sample.data,
    ]
    for (let i = 0; i < CALLS; i++) {
      for (let word = 0; word < 40; word++) {
        const value = random(3) === 0 ? BigInt(random(2 ** 31)) : words[random(words.length)]!
        host.store(hva(sample.scratch + BigInt(8 * word)), 8, value)
      }
      const fd = open[random(open.length)]!
      const request = random(20) === 0 ? random(2 ** 31) : requests[random(requests.length)]!
      const arg = random(4) === 0 ? BigInt(random(64)) : pointers[random(pointers.length)]!
      try {
        const result = host.ioctl(fd, request, arg)
        if (!(result >= 0)) t.fail(`ioctl ${request} gave ${result}`)
        seen.set('ok', (seen.get('ok') ?? 0) + 1)
      } catch (error) {
        if (!(error instanceof Errno) && !(error instanceof NotModelled)) throw error
        const name = error instanceof Errno ? error.code : error.name
        seen.set(name, (seen.get(name) ?? 0) + 1)
      }
    }
    host.close()
    t.equal(host.memory.used, 0, `round ${round}: every frame came back`)
  }
  for (const name of ['ok', 'EINVAL', 'EFAULT', 'ENOTTY', 'NotModelled']) t.ok(seen.get(name), name)
})
