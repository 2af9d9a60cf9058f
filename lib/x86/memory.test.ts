import t from 'tap'
import { PAGE_SIZE } from '#bits'
import { OutOfMemory, PhysicalMemory } from './memory.ts'

t.test(
  'a run that is given back is zeroed, is the next run of its length, and is broken up when memory is short',
  async t => {
    const memory = new PhysicalMemory(2 ** 26)
    const first = memory.allocateRun(100)
    memory.write(first + 5 * PAGE_SIZE, 8, 7n)
    memory.freeRun(first, 100)
    t.equal(memory.used, 0)
    t.equal(memory.allocateRun(100), first)
    t.equal(memory.read(first + 5 * PAGE_SIZE, 8), 0n)
    memory.freeRun(first, 100)
    const frames = new Set<number>()
    for (let i = 1; i < memory.frames; i++) frames.add(memory.allocate())
    t.equal(frames.size, memory.frames - 1, 'every frame but 0, each once')
    t.throws(() => memory.allocate(), OutOfMemory)
  },
)
