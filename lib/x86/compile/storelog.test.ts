import t from 'tap'
import { PhysicalMemory } from '../memory.ts'
import { clearLog, logStore, stored } from './storelog.ts'

const memory = new PhysicalMemory(2 ** 26)
const write = (host: number, ...bytes: number[]): void => {
  logStore(memory, host, bytes.length)
  memory.u8.set(bytes, host)
}
const seen = () => stored(memory).map(({ host, old, seen }) => [host, [...old], [...seen]])

t.test('each byte is kept as it was before the first store, in runs', async t => {
  clearLog()
  write(0x5000, 1, 2, 3, 4)
  clearLog()
  t.same(seen(), [])
  write(0x5002, 5, 6, 7)
  write(0x5001, 8, 9)
  write(0x5008, 1)
  t.same(seen(), [
    [0x5001, [2, 3, 4, 0], [8, 9, 6, 7]],
    [0x5008, [0], [1]],
  ])
})

t.test('stores across the end of a page, and over many', async t => {
  clearLog()
  write(0x6ffe, 1, 2, 3)
  t.same(seen(), [
    [0x6ffe, [0, 0], [1, 2]],
    [0x7000, [0], [3]],
  ])
  clearLog()
  logStore(memory, 0x8000, 0x3000)
  t.same(
    stored(memory).map(({ host, old }) => [host, old.length]),
    [0x8000, 0x9000, 0xa000].map(host => [host, 4096]),
  )
})

t.test('however often a run stores, the log stays as it is', async t => {
  clearLog()
  for (let n = 0; n < 100_000; n++) write(0x5000 + (n & 15), n & 255)
  t.equal(stored(memory).length, 1)
})
