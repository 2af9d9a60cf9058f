import fc from 'fast-check'
import t from 'tap'
import { invlpg } from '../system.ts'
import { CODE, longMode, type TestMachine } from '../testdata/machine.ts'
import { EXIT_REASON_EXCEPTION_NMI, EXIT_REASON_HLT, EXIT_REASON_PREEMPTION_TIMER } from '../vmx.ts'
import { stats, type TierName } from './runtime.ts'

const TIERS: readonly TierName[] = ['interpret', 'cold', 'compile', 'auto', 'lockstep', 'coldstep']

const machine = (tier: TierName, text: string): TestMachine => {
  const m = longMode({ tier, onFault: () => 'stop' })
  m.cpu.cr4 |= 0x600n
  m.asm(CODE, text)
  return m
}

/** All that a guest has, in one text. */
const state = ({ cpu, memory, stage }: TestMachine): string => {
  const data = [0x4_0000n, 0x4_1000n, 0x2_f000n].map(at => {
    const host = stage.frame(at as never, 'read')
    return Buffer.from(memory.u8.subarray(host, host + 4096)).toString('base64')
  })
  const vectors = Buffer.from(cpu.vec).toString('base64')
  return [cpu.rip, cpu.rflags, cpu.instructions, cpu.mxcsr, [...cpu.gpr], vectors, data].join()
}

// Random programs: loops, branches, calls, memory, all flags, whatever comes.

const registers = ['rax', 'rcx', 'rdx', 'rbx', 'rsi', 'r8', 'r9', 'r10']
const names: Record<number, readonly string[]> = {
  8: registers,
  4: ['eax', 'ecx', 'edx', 'ebx', 'esi', 'r8d', 'r9d', 'r10d'],
  2: ['ax', 'cx', 'dx', 'bx', 'si', 'r8w', 'r9w', 'r10w'],
  1: ['al', 'cl', 'dl', 'bl', 'sil', 'r8b', 'r9b', 'r10b'],
}
const size = fc.constantFrom(1, 2, 4, 8)
const register = fc.nat(7)
const pointers: Record<number, string> = { 1: 'byte', 2: 'word', 4: 'dword', 8: 'qword' }
/** Two pages of data at rdi, the place between them included. */
const place = fc.integer({ min: 0, max: 0x1ff8 }).map(at => `[rdi+${at}]`)
const value = fc.oneof(fc.integer({ min: -128, max: 127 }), fc.integer({ min: -0x8000_0000, max: 0x7fff_ffff }))
const immediate = (wide: number, n: number): number => (wide === 1 ? n & 0x7f : wide === 2 ? n & 0x7fff : n)
const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g']
const condition = fc.constantFrom(...CONDITIONS)
const two = fc.constantFrom('add', 'sub', 'adc', 'sbb', 'and', 'or', 'xor', 'cmp', 'test', 'mov')
const one = fc.constantFrom('inc', 'dec', 'neg', 'not', 'mul', 'imul')
const shift = fc.constantFrom('shl', 'shr', 'sar', 'rol', 'ror', 'rcl', 'rcr')

const strings = fc.constantFrom('movsb', 'movsw', 'movsd', 'movsq', 'stosb', 'stosw', 'stosd', 'stosq')
const length = fc.oneof(fc.nat(20), fc.nat(140), fc.nat(1200))
const repeated: fc.Arbitrary<string> = fc
  .tuple(strings, length, fc.nat(0x1fff), fc.integer({ min: -0x100, max: 0x100 }), fc.boolean(), fc.boolean())
  .map(
    ([op, count, to, by, high, down]) =>
      `mov ecx, ${count}\nlea rsi, [rdi+${to + by}]\nadd rdi, ${to}\n${high ? 'mov rax, 0x0101010101010101\n' : ''}` +
      `${down ? 'std\n' : ''}rep ${op}\n${down ? 'cld\n' : ''}mov rdi, 0x40000`,
  )

const instruction: fc.Arbitrary<string> = fc.oneof(
  fc.tuple(two, size, register, register).map(([op, s, a, b]) => `${op} ${names[s]![a]}, ${names[s]![b]}`),
  fc.tuple(two, size, register, value).map(([op, s, a, n]) => `${op} ${names[s]![a]}, ${immediate(s, n)}`),
  fc
    .tuple(two, size, register, place)
    .map(([op, s, a, at]) =>
      `${op} ${names[s]![a]}, ${pointers[s]} ptr ${at}`.replace(/^test (.*), (.*)$/, 'test $2, $1'),
    ),
  fc.tuple(two, size, register, place).map(([op, s, a, at]) => `${op} ${pointers[s]} ptr ${at}, ${names[s]![a]}`),
  fc.tuple(one, size, register).map(([op, s, a]) => `${op} ${names[s]![a]}`),
  fc
    .tuple(fc.constantFrom('inc', 'dec', 'neg', 'not'), size, place)
    .map(([op, s, at]) => `${op} ${pointers[s]} ptr ${at}`),
  fc.tuple(shift, size, register, fc.nat(70)).map(([op, s, a, n]) => `${op} ${names[s]![a]}, ${n}`),
  fc.tuple(shift, size, register).map(([op, s, a]) => `${op} ${names[s]![a]}, cl`),
  fc.tuple(condition, register, register).map(([cc, a, b]) => `cmov${cc} ${registers[a]}, ${registers[b]}`),
  fc.tuple(condition, register).map(([cc, a]) => `set${cc} ${names[1]![a]}`),
  fc.tuple(register, register, value).map(([a, b, n]) => `lea ${registers[a]}, [${registers[b]}+rcx*4+${n & 0xffff}]`),
  fc.tuple(register, register).map(([a, b]) => `imul ${registers[a]}, ${registers[b]}`),
  fc
    .tuple(fc.constantFrom('bt', 'bts', 'btr', 'btc'), register, fc.nat(63))
    .map(([op, a, n]) => `${op} ${registers[a]}, ${n}`),
  fc
    .tuple(fc.constantFrom('bsf', 'bsr'), register, register)
    .map(([op, a, b]) => `${op} ${registers[a]}, ${registers[b]}`),
  fc.tuple(register, register).map(([a, b]) => `xchg ${registers[a]}, ${registers[b]}`),
  fc.tuple(register, place).map(([a, at]) => `cmpxchg qword ptr ${at}, ${registers[a]}`),
  fc.tuple(register, register).map(([a, b]) => `push ${registers[a]}\npop ${registers[b]}`),
  fc.tuple(register, place).map(([a, at]) => `xadd qword ptr ${at}, ${registers[a]}`),
  fc.constantFrom(
    'cmc',
    'stc',
    'clc',
    'lahf',
    'sahf',
    'cqo',
    'cdqe',
    'pushfq\npop rbx',
    'cpuid',
    'movsb',
    'nop',
    'call f',
  ),
  fc.tuple(fc.nat(3), place).map(([a, at]) => `movups xmm${a}, ${at}`),
  fc.tuple(fc.nat(3), place).map(([a, at]) => `movups ${at}, xmm${a}`),
  fc
    .tuple(
      fc.constantFrom('paddd', 'pxor', 'punpcklbw', 'pcmpeqw', 'addsd', 'mulsd', 'subpd', 'divsd'),
      fc.nat(3),
      fc.nat(3),
    )
    .map(([op, a, b]) => `${op} xmm${a}, xmm${b}`),
  fc.tuple(fc.nat(3), register).map(([a, b]) => `cvtsi2sd xmm${a}, ${registers[b]}`),
  repeated,
  fc.tuple(fc.nat(3), register).map(([a, b]) => `cvttsd2si ${registers[b]}, xmm${a}`),
)
/** A loop of blocks, each of which may be jumped over. */
const program = fc
  .array(fc.tuple(fc.array(instruction, { minLength: 1, maxLength: 6 }), condition, fc.boolean()), {
    minLength: 1,
    maxLength: 8,
  })
  .map(blocks => {
    const body = blocks.map(([insns, cc, jumps], n) => `${jumps ? `j${cc} b${n}\n` : ''}${insns.join('\n')}\nb${n}:`)
    return `mov rdi, 0x40000\nmov r15, 90\nagain:\n${body.join('\n')}\nmov rdi, 0x40000\nmov rsi, 0x40800\ndec r15\njne again\nhlt\nf: add rax, rdx\nadc rbx, 1\nret`
  })

t.test('random programs end the same in every tier', async t => {
  fc.assert(
    fc.property(program, fc.integer({ min: 1, max: 4000 }), (text, budget) => {
      const ends = TIERS.map(tier => {
        const m = machine(tier, text)
        m.cpu.run(budget)
        const half = state(m)
        const exit = m.cpu.run(200_000)
        const all = `${half} ${exit.reason} ${state(m)}`
        m.cpu.close()
        return all
      })
      for (const [n, end] of ends.entries()) t.equal(end, ends[0], TIERS[n]!)
    }),
    { numRuns: 10 },
  )
})

t.test('the budget is exact in compiled loops, whatever it is', async t => {
  for (const budget of [0, 1, 2, 3, 4, 5, 17, 1000, 1001, 1002]) {
    const m = machine('compile', 'again: inc rax\nadd rbx, rax\njmp again')
    m.cpu.run(9)
    t.equal(m.cpu.run(budget).reason, EXIT_REASON_PREEMPTION_TIMER)
    t.equal(m.cpu.instructions, 9 + budget)
    t.equal(m.cpu.gpr[0], BigInt(Math.ceil((9 + budget) / 3)))
  }
})

t.test('faults are those of the instruction, with the registers before it', async t => {
  for (const tier of TIERS) {
    const m = machine(tier, 'mov rdi, 0x40000\nagain: mov [rdi], rax\nadd rdi, 8\nadd rax, 3\njmp again')
    m.put64(0x4000n + 8n * 0x44n, 0n)
    const exit = m.cpu.run(1_000_000)
    t.equal(exit.reason, EXIT_REASON_EXCEPTION_NMI)
    t.equal(exit.qualification & 0xffn, 14n)
    t.equal(m.cpu.gpr[7], 0x4_4000n)
    t.equal(m.cpu.gpr[0], 3n * 2048n)
    t.equal(m.cpu.instructions, 1 + 4 * 2048)
    t.equal(m.cpu.rip, CODE + 7n)
  }
})

t.test('the last page of all is not known before it is looked up', async t => {
  for (const tier of TIERS) {
    for (const at of ['0xfffffffffffff000', '0xfffffffffffffff8', '0x8000000000000000', '0x7ffffffffffff008']) {
      const m = machine(tier, `mov rdi, ${at}\nmov rax, [rdi]\nhlt`)
      const exit = m.cpu.run(1000)
      t.equal(exit.reason, EXIT_REASON_EXCEPTION_NMI, `${tier} ${at}`)
      t.equal(exit.qualification & 0xffn, at.startsWith('0xf') ? 14n : 13n, `${tier} ${at}`)
    }
  }
})

t.test('accesses end in their page, or are taken apart', async t => {
  const sums = TIERS.map(tier => {
    // Every offset near the end of the page, stored and loaded again, with all sizes.
    const m = machine(
      tier,
      'mov rdi, 0x40fe0\nagain: mov [rdi], rdi\nadd rax, [rdi+1]\nadd eax, [rdi+2]\nadd ax, [rdi+3]\nadd al, [rdi]\n' +
        'inc rdi\ncmp rdi, 0x41008\njb again\nmov rdi, 0x40fe0\ninc rdx\ncmp rdx, 70\njb again\nhlt',
    )
    t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
    return m.cpu.gpr[0]
  })
  t.same(
    sums,
    sums.map(() => sums[0]),
  )
  t.not(sums[0], 0n)
})

t.test('what a block accesses near a place is looked up once, also where it lies in two pages', async t => {
  const ends = TIERS.map(tier => {
    // A structure that goes through the border of two pages, read, written, and read again; pushes and pops likewise.
    const m = machine(
      tier,
      'mov rdi, 0x40fc0\nmov rcx, 500\nagain: mov rax, [rdi]\nadd rax, [rdi+8]\nadd rax, [rdi+24]\nmov [rdi+16], rax\n' +
        'xor eax, [rdi+20]\nmov [rdi+4], eax\nadd rdi, 4\nadd rdi, [rdi-12]\nsub rdi, [rdi-12]\ncmp rdi, 0x41010\n' +
        'jb next\nmov rdi, 0x40fc0\nnext: mov [rdi+8], cl\nlea rsp, [rdi+16]\npush rax\npush rcx\npop rdx\npop rbx\n' +
        'add rbx, rdx\ndec rcx\njne again\nhlt',
    )
    m.cpu.run(1_000_000)
    return state(m)
  })
  for (const [n, end] of ends.entries()) t.equal(end, ends[0], TIERS[n]!)
})

t.test(
  'a table at a fixed address: over two pages, read before it may be written, and by a guest that writes nothing',
  async t => {
    const texts = [
      // Now in one page, now in the other.
      'mov edx, 900\nagain: mov ecx, edx\nand ecx, 31\nmov rax, [rcx*8+0x40f80]\nadd rbx, rax\nadd rax, rdx\n' +
        'mov [rcx*8+0x40f80], rax\nmov sil, [rcx*2+0x40fe0]\nadd rbx, rsi\ndec edx\njne again\nhlt',
      // Nothing but reads: there is no page that is known to be writable.
      'mov edx, 3000\nagain: mov ecx, edx\nand ecx, 15\nadd rbx, [rcx*8+0x2f000]\nadd rbx, rcx\ndec edx\njne again\nhlt',
    ]
    for (const text of texts) {
      const ends = TIERS.map(tier => {
        const m = machine(tier, text)
        t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT, tier)
        return state(m)
      })
      for (const [n, end] of ends.entries()) t.equal(end, ends[0], TIERS[n]!)
    }
  },
)

t.test('a rotation through carry that does nothing leaves the flags of the instruction before it', async t => {
  const text =
    'mov eax, 0x8421\nmov ecx, 1\nmov edx, 3000\nagain: add al, al\nrcr al, cl\nsbb cl, 127\nadc rbx, 0\ndec edx\njne again\nhlt'
  // More than once: what one machine has made is there for the next.
  const ends = [...TIERS, ...TIERS, 'cold', 'cold', 'coldstep'].map(tier => {
    const m = machine(tier as TierName, text)
    t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
    return state(m)
  })
  for (const [n, end] of ends.entries()) t.equal(end, ends[0], `run ${n}`)
})

t.test('code that changes itself, and the page it is in, is seen at once', async t => {
  for (const tier of TIERS) {
    // Where everything is compiled, each change is a module.
    const rounds = tier === 'interpret' || tier === 'auto' ? 300 : 40
    // The third byte of the immediate counts up; every time around the new value is added.
    const m = machine(
      tier,
      `mov rcx, ${rounds}\nagain: add eax, 0x01010101\ninc byte ptr [rip-8]\ndec rcx\njne again\nhlt`,
    )
    t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
    let [sum, immediate] = [0, 0x0101_0101]
    for (let n = 0; n < rounds; n++) {
      sum = (sum + immediate) >>> 0
      immediate = (immediate & ~0xff_0000) | ((immediate + 0x1_0000) & 0xff_0000)
    }
    t.equal(m.cpu.gpr[0], BigInt(sum), tier)
    t.equal(m.cpu.instructions, 1 + 4 * rounds)
  }
})

t.test('code that another page writes, while it is hot', async t => {
  const text =
    'mov rcx, 500\nagain: call f\ncmp rcx, 250\njne over\nmov byte ptr [0x41001], 7\nover: dec rcx\njne again\nhlt'
  for (const tier of TIERS) {
    const m = machine(tier, `${text}\nf: mov rdx, 0x41000\njmp rdx`)
    m.asm(0x4_1000n, 'add al, 1\nret')
    t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
    t.equal(m.cpu.gpr[0], BigInt((251 + 7 * 249) & 0xff), tier)
  }
})

t.test('a translation taken back ends its use', async t => {
  for (const tier of TIERS) {
    const m = machine(tier, 'mov rdi, 0x40000\nmov rcx, 200\nagain: add rax, [rdi]\ndec rcx\njne again\nhlt')
    m.put64(0x4_0000n, 1n)
    m.put64(0x4_1000n, 5n)
    m.cpu.run(2 + 300)
    // The page table maps the other page now.
    m.put64(0x4000n + 8n * 0x40n, 0x4_1007n)
    invlpg(m.cpu, 0x4_0000n)
    t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
    t.equal(m.cpu.gpr[0], 100n + 5n * 100n)
  }
})

t.test('hot code is compiled, cold code is not', async t => {
  const m = machine('auto', 'mov rcx, 100000\nagain: add rax, rcx\ndec rcx\njne again\nhlt')
  const { regions, retired } = stats
  m.cpu.run(1_000_000)
  t.equal(stats.regions, regions + 1)
  t.ok(stats.retired - retired > 290_000)
  t.equal(m.cpu.gpr[0], 5_000_050_000n)
  t.equal(m.cpu.instructions, 1 + 3 * 100_000)
  const cold = machine('auto', 'mov rcx, 10\nagain: add rax, rcx\ndec rcx\njne again\nhlt')
  cold.cpu.run(1000)
  t.equal(stats.regions, regions + 1)
})

t.test('a jump table is followed inside compiled code', async t => {
  const text = [
    'mov rcx, 3000\nlea rbx, [rip+table]\nagain: mov eax, ecx\nand eax, 3\nmovsxd rax, dword ptr [rbx+rax*4]\nadd rax, rbx\njmp rax',
    'a: add r8, 1\njmp next\nb: add r8, 2\njmp next\nc: xor r8, 5\njmp next\nd: sub r8, 1\nnext: dec rcx\njne again\nhlt',
  ].join('\n')
  const results = TIERS.map(tier => {
    const m = longMode({ tier })
    // The table stands where the program does not reach.
    const at = 0x2_0800n
    const labels = m.asm(CODE, text.replace('[rip+table]', '[0x20800]'))
    for (const [n, name] of ['a', 'b', 'c', 'd'].entries())
      m.put32(at + BigInt(4 * n), BigInt.asUintN(32, labels[name]! - at))
    m.cpu.run(1_000_000)
    return `${m.cpu.gpr[8]} ${m.cpu.instructions}`
  })
  t.equal(new Set(results).size, 1)
})

t.test('a loop that begins with what the interpreter has to do is compiled behind it', async t => {
  const m = machine('auto', 'mov ecx, 1000\nagain: rdtsc\nadd rbx, rcx\nadd rsi, rbx\ndec ecx\njne again\nhlt')
  const before = stats.retired
  t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT)
  t.ok(stats.retired - before > 3000, `${stats.retired - before} of 5000`)
  m.cpu.close()
})
