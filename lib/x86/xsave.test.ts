import t from 'tap'
import { assemble } from './assemble.ts'
import { Cpu } from './cpu.ts'
import { PhysicalMemory } from './memory.ts'

const CODE = 0x10_0000
const AREA = 0x20_0000n
const memory = new PhysicalMemory(2 ** 26)
const run = (cpu: Cpu, text: string): void => {
  memory.set(CODE, assemble(`${text}\nhlt`, { mode: 64, at: CODE }).bytes)
  cpu.rip = BigInt(CODE)
  cpu.run(100)
}
const prepared = (): Cpu => {
  const cpu = new Cpu({ memory, start: 'flat64' })
  memory.fill(Number(AREA), 4096, 0)
  cpu.cr4 |= (1n << 9n) | (1n << 18n)
  cpu.xcr0 = 7n
  cpu.gpr[0] = 7n
  cpu.gpr[2] = 0n
  cpu.gpr[3] = AREA
  return cpu
}

t.test('XRSTOR brings back what XSAVE put there, and resets what was not in use', async t => {
  const cpu = prepared()
  cpu.vec.set([1, 2, 3], 0)
  cpu.vec.set([4, 5, 6], 16)
  run(cpu, 'xsave [rbx]')
  t.equal(memory.read(Number(AREA) + 512, 8), 6n, 'XSTATE_BV: SSE and AVX, the x87 unit is in its initial state')
  cpu.vec.fill(0xff)
  cpu.x87.ftw = 0xff
  run(cpu, 'xrstor [rbx]')
  t.same([...cpu.vec.subarray(0, 32)], [1, 2, 3, ...Array(13).fill(0), 4, 5, 6, ...Array(13).fill(0)])
  t.equal(cpu.x87.ftw, 0)
  cpu.close()
})

t.test('only what EDX:EAX asks for is touched', async t => {
  const cpu = prepared()
  cpu.gpr[0] = 4n
  cpu.vec.fill(0x11)
  run(cpu, 'xsave [rbx]')
  t.equal(memory.read(Number(AREA) + 512, 8), 4n)
  t.equal(memory.read(Number(AREA) + 160, 8), 0n, 'XMM0')
  t.equal(memory.read(Number(AREA) + 576, 8), 0x1111_1111_1111_1111n, 'the upper half of YMM0')
  cpu.close()
})
