/** Different instructions, each once, in the first guest of a worker: the bytes of file DISTINCT, or none. */
import { readFileSync } from 'node:fs'
import { flat, test } from '#harness'

const PORT = 0x10
const PAGE = 4096
const from = process.env['DISTINCT'] ?? ''
const code = from === '' ? new Uint8Array(0) : readFileSync(from)

/** LEA RBX, data; the code; OUT PORT, AL; a page of data that RBX is in the middle of. */
const bytes = new Uint8Array((Math.ceil((code.length + 9) / PAGE) + 1) * PAGE)
bytes.set([0x48, 0x8d, 0x1d])
new DataView(bytes.buffer).setInt32(3, bytes.length - PAGE / 2 - 7, true)
bytes.set(code, 7)
bytes.set([0xe6, PORT], 7 + code.length)

test('distinct', async t => {
  const vm = t.vm({ guest: flat(bytes) })
  const before = process.threadCpuUsage()
  await vm.vcpu.until('KVM_EXIT_IO')
  const { user, system } = process.threadCpuUsage(before)
  t.log(`distinct: thread ${((user + system) / 1000).toFixed(2)} ms`)
})
