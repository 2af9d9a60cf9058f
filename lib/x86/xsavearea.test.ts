import t from 'tap'
import { Cpu } from './cpu.ts'
import { PhysicalMemory } from './memory.ts'
import { loadArea, saveArea } from './xsavearea.ts'

const memory = new PhysicalMemory(2 ** 26)

t.test('areas as a VMM has them: all registers in any mode, refused whole or not at all', async t => {
  const cpu = new Cpu({ memory, start: 'flat32' })
  const pattern = Uint8Array.from({ length: 512 }, (_, n) => n)
  cpu.vec.set(pattern)
  cpu.mxcsr = 0x1fa0
  cpu.pkru = 3
  cpu.x87.fip = 0x1234_5678_9abcn
  const [area, legacy] = [saveArea(cpu, 4096), saveArea(cpu, 512)]
  t.same(area.slice(0, 512), legacy)
  t.equal(new DataView(area.buffer).getBigUint64(512, true), 0x207n)
  const broken = Uint8Array.from(area)
  broken[512] = 0xff
  cpu.vec.fill(0)
  cpu.mxcsr = 0x1f80
  t.notOk(loadArea(cpu, broken), 'XSTATE_BV')
  broken.set(area)
  broken[26] = 1
  t.notOk(loadArea(cpu, broken), 'MXCSR')
  t.same([cpu.mxcsr, cpu.vec[1]], [0x1f80, 0])
  t.ok(loadArea(cpu, area))
  t.same([cpu.mxcsr, cpu.pkru, cpu.x87.fip], [0x1fa0, 3, 0x1234_5678_9abcn])
  t.same([...cpu.vec], [...pattern])
  cpu.close()
})
