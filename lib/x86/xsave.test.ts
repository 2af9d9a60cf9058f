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

const header = (n: number): bigint => memory.read(Number(AREA) + 512 + n * 8, 8)

t.test('XSAVEOPT leaves alone what is in its initial state', async t => {
  const cpu = prepared()
  memory.fill(Number(AREA), 4096, 0xaa)
  memory.fill(Number(AREA) + 512, 64, 0)
  cpu.vec.set([9], 16)
  run(cpu, 'xsaveopt [rbx]')
  t.equal(header(0), 4n, 'XSTATE_BV: AVX only')
  t.equal(memory.read(Number(AREA), 2), 0xaaaan, 'the x87 part')
  t.equal(memory.read(Number(AREA) + 160, 8), 0xaaaa_aaaa_aaaa_aaaan, 'XMM0')
  t.equal(memory.read(Number(AREA) + 24, 4), 0x1f80n, 'MXCSR')
  t.equal(memory.read(Number(AREA) + 576, 8), 9n)
  cpu.close()
})

t.test('compacted: PKRU follows AVX, or the header where AVX is not asked for; XRSTOR and XRSTORS read it', async t => {
  for (const [save, restore] of [
    ['xsavec [rbx]', 'xrstor [rbx]'],
    ['xsaves64 [rbx]', 'xrstors64 [rbx]'],
  ] as const) {
    const cpu = prepared()
    cpu.cr4 |= 1n << 22n
    cpu.xcr0 = 0x207n
    cpu.gpr[0] = 0x207n
    cpu.pkru = 0x55
    cpu.mxcsr = 0x1fa0
    cpu.vec.set([7], 16)
    run(cpu, save)
    t.same([header(0), header(1)], [0x206n, 0x8000_0000_0000_0207n], save)
    t.equal(memory.read(Number(AREA) + 576 + 256, 8), 0x55n)
    cpu.gpr[0] = 0x203n
    run(cpu, save)
    t.same([header(0), header(1)], [0x202n, 0x8000_0000_0000_0203n])
    t.equal(memory.read(Number(AREA) + 576, 8), 0x55n)
    cpu.pkru = 0
    cpu.mxcsr = 0x1f80
    cpu.vec.fill(0xff)
    cpu.gpr[0] = 0x207n
    run(cpu, restore)
    t.same([cpu.pkru, cpu.mxcsr], [0x55, 0x1fa0], restore)
    t.ok(
      cpu.vec.every(byte => byte === 0),
      'what the area does not have gets its initial state',
    )
    cpu.close()
  }
})

t.test('headers that are refused, and XINUSE', async t => {
  const cpu = prepared()
  const faults: number[] = []
  cpu.onFault = ({ vector }) => {
    faults.push(vector)
    return 'stop'
  }
  const refuses = (text: string, bv: bigint, format: bigint, reserved = 0n): boolean => {
    faults.length = 0
    for (const [n, value] of [bv, format, reserved].entries()) memory.write(Number(AREA) + 512 + n * 8, 8, value)
    run(cpu, text)
    return faults[0] === 13
  }
  t.ok(refuses('xrstor [rbx]', 8n, 0n), 'a component that XCR0 has not')
  t.ok(refuses('xrstor [rbx]', 1n, 1n), 'no format')
  t.ok(refuses('xrstor [rbx]', 1n, 0n, 1n), 'reserved bytes')
  t.ok(refuses('xrstor [rbx]', 2n, (1n << 63n) | 1n), 'a component that the area has no room for')
  t.ok(refuses('xrstor [rbx]', 0n, (1n << 63n) | 8n), 'room for what XCR0 has not')
  t.ok(refuses('xrstors [rbx]', 0n, 0n), 'XRSTORS of the standard format')
  t.notOk(refuses('xrstors [rbx]', 0n, 1n << 63n))
  cpu.cpl = 3
  t.ok(refuses('xsaves [rbx]', 0n, 0n), 'XSAVES in ring 3')
  cpu.cpl = 0
  cpu.gpr[1] = 1n
  cpu.vec.fill(0)
  cpu.vec[0] = 1
  run(cpu, 'xgetbv')
  t.equal(cpu.gpr[0]! & 6n, 2n, 'XGETBV 1')
  cpu.close()
})
