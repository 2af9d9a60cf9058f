/** Compiled code at the borders of pages and of what the TLB holds, and code that changes where it was compiled. */
import t, { type Test } from 'tap'
import { Cpu } from '../cpu.ts'
import { CODE, longMode, type TestMachine } from '../testdata/machine.ts'
import { EXIT_REASON_HLT, EXIT_REASON_TDCALL, type VmxControls } from '../vmx.ts'
import type { TierName } from './runtime.ts'

const TIERS: readonly TierName[] = ['interpret', 'cold', 'compile', 'auto', 'lockstep', 'coldstep']

/** The second gigabyte is the first one once more: its pages are in the same places of TLBs of any size. */
const twice = (tier: TierName, text: string): TestMachine => {
  const m = longMode({ tier, onFault: () => 'stop' })
  m.put64(0x2008n, 0x3007n)
  m.asm(CODE, text)
  return m
}

const ALIASES: Readonly<Record<string, string>> = {
  'PUSH from memory': 'mov rbx, 0x40040000\nmov rsp, 0x40ff8\nagain: push qword ptr [rbx]\npop rax',
  'CALL through memory':
    'mov rsp, 0x40ff8\nmov rbx, 0x40040010\nmov qword ptr [rbx], 0x20100\nagain: call qword ptr [rbx]',
  MOVS: 'again: mov rsi, 0x40000\nmov rdi, 0x40040100\nmovsq',
  CMPS: 'again: mov rsi, 0x40000\nmov rdi, 0x40040100\ncmpsq',
  'REP MOVS': 'mov rdx, 300\nagain: mov rsi, 0x40000\nmov rdi, 0x40040100\nmov rcx, rdx\nrep movsb\nmov ecx, ebp',
  'REPE CMPS': 'mov rdx, 30\nagain: mov rsi, 0x40000\nmov rdi, 0x40040000\nmov rcx, rdx\nrepe cmpsb\nmov ecx, ebp',
}
for (const [name, text] of Object.entries(ALIASES))
  t.test(`${name}: two pages that share a place of the TLB do not hold each other up`, async t => {
    for (const tier of TIERS) {
      const m = twice(tier, `mov ebp, 400\n${text}\ndec ebp\njne again\nhlt`)
      m.asm(0x2_0100n, 'ret')
      m.put64(0x4_0000n, 0x1122_3344_5566_7788n)
      t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT, tier)
      t.equal(m.cpu.gpr[5], 0n)
      m.cpu.close()
    }
  })

/** The entry of page 0x60 in `longMode`'s page table. */
const ENTRY = 0x4300n

t.test('code in a page table sees the accessed bit that its own access sets', async t => {
  // The immediate is the entry of page 0x60; round 300 is the first to read that page.
  const before = 'mov ecx, 600\nagain: cmp ecx, 300\njne over\nmov rax, [0x60000]\nover: '
  // Lockstep does not take the bit back before it runs the code once more.
  const tiers = TIERS.filter(tier => tier !== 'lockstep' && tier !== 'coldstep')
  const results = tiers.map(tier => {
    const m = longMode({ tier, onFault: () => 'stop' })
    const behind = 'add rbx, r8\ndec ecx\njne again\nhlt'
    // MOV R8, imm64 has two bytes before its immediate.
    const plain = 'nop\n'.repeat(64)
    const labels = m.asm(0x4200n, `${before}jmp entry\n${plain}${plain}entry: nop`)
    t.ok(labels['entry']! < ENTRY - 2n, 'the program fits before the entry')
    const from = ENTRY - 2n
    m.asm(0x4200n, `${before}jmp ${from}`)
    m.put(from, '49b8')
    m.put64(ENTRY, 0x6_0007n)
    m.asm(ENTRY + 8n, behind.replace('again', `${labels['again']}`))
    m.cpu.rip = 0x4200n
    t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT, tier)
    const end = `${m.cpu.gpr[3]} ${m.cpu.instructions}`
    m.cpu.close()
    return end
  })
  // 300 rounds of the entry as it was, 300 with the accessed bit.
  t.equal(results[0]!.split(' ')[0], `${300n * 0x6_0007n + 300n * 0x6_0027n}`)
  t.equal(new Set(results).size, 1, results.join(', '))
})

/** What every tier makes of a program, which is the same. */
const same = (t: Test, run: (tier: TierName) => string): string => {
  const results = TIERS.map(run)
  for (const [n, result] of results.entries()) t.equal(result, results[0], TIERS[n]!)
  return results[0]!
}

t.test('an instruction in two pages, of which the second changes', async t => {
  const seen = same(t, tier => {
    const m = longMode({ tier, onFault: () => 'stop' })
    // ADD RAX, imm32 begins three bytes before the border; its immediate counts up in every round.
    m.asm(CODE, 'mov ecx, 120\njmp 0x21ff0')
    m.asm(0x2_1ff0n, 'nop\n'.repeat(13))
    m.put(0x2_1ffdn, '4805 01')
    m.put(0x2_2000n, '000000')
    m.asm(0x2_2003n, 'inc byte ptr [0x22000]\ndec ecx\njne 0x21ff0\nhlt')
    t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT, tier)
    return `${m.cpu.gpr[0]} ${m.cpu.instructions}`
  })
  let sum = 0n
  for (let n = 0; n < 120; n++) sum += BigInt((n & 0xff) * 256 + 1)
  t.equal(seen.split(' ')[0], `${sum}`)
})

t.test('code that is left over a border into a page that changes', async t => {
  same(t, tier => {
    const m = longMode({ tier, onFault: () => 'stop' })
    m.asm(CODE, 'mov ecx, 120\njmp 0x21ff0')
    m.asm(0x2_1ff0n, `${'nop\n'.repeat(12)}add rbx, 5`)
    m.asm(0x2_2000n, 'add rax, 1\ninc byte ptr [0x22003]\ndec ecx\njne 0x21ff0\nhlt')
    t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT, tier)
    return `${m.cpu.gpr[0]} ${m.cpu.gpr[3]} ${m.cpu.instructions}`
  })
})

t.test('code that is written at another linear address, or by a store that begins in the page before', async t => {
  for (const store of ['mov byte ptr [0x40021003], 7', 'mov [0x20ffc], rdx', 'inc byte ptr [rbx]']) {
    const seen = same(t, tier => {
      const m = twice(
        tier,
        `mov ecx, 800\nmov ebx, 0x40021003\nmov rdx, 0x07c0834800000000\nagain: call 0x21000\ncmp ecx, 400\njne over\n${store}\nover: dec ecx\njne again\nhlt`,
      )
      m.asm(0x2_1000n, 'add rax, 1\nret')
      t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT, `${tier}: ${store}`)
      return `${m.cpu.gpr[0]} ${m.cpu.instructions}`
    })
    const after = store.startsWith('inc') ? 2n : 7n
    t.equal(seen.split(' ')[0], `${401n + 399n * after}`, store)
  }
})

t.test('a store whose second page is not there changes nothing, and is where it was', async t => {
  for (const store of ['mov [rbx], rax', 'add [rbx], rax', 'push rax', 'movups [rbx], xmm0', 'lock xadd [rbx], rax']) {
    const seen = same(t, tier => {
      const m = longMode({ tier, onFault: () => 'stop' })
      m.put64(0x4000n + 8n * 0x42n, 0n)
      m.asm(
        CODE,
        `mov ecx, 300\nmov ebx, 0x41000\nmov rax, -1\nmov esp, 0x41800\nagain: mov rdx, rbx\n${store}\ncmp ecx, 20\njne over\nmov ebx, 0x41ffc\nmov esp, 0x42004\nover: dec ecx\njne again\nhlt`,
      )
      const { reason } = m.cpu.run(100_000)
      return `${reason} ${m.cpu.rip} ${m.cpu.instructions} ${m.cpu.gpr[4]} ${m.get64(0x4_1ff8n)}`
    })
    t.match(seen, /^0 .* 0$/, store)
  }
})

t.test('code under another translation, after INVLPG', async t => {
  const seen = same(t, tier => {
    const m = twice(
      tier,
      'mov ecx, 900\nagain: call 0x30000\ncmp ecx, 450\njne over\nmov qword ptr [0x4180], 0x32007\ninvlpg [0x30000]\nover: dec ecx\njne again\nhlt',
    )
    m.cpu.gpr[4] = 0x5_0000n
    m.asm(0x3_0000n, 'add rax, 1\nret')
    m.asm(0x3_2000n, 'add rax, 100\nret')
    t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT, tier)
    return `${m.cpu.gpr[0]} ${m.cpu.instructions}`
  })
  t.equal(seen.split(' ')[0], `${451 + 449 * 100}`)
})

t.test('code that one vCPU changes under another, both of them hot', async t => {
  const seen = same(t, tier => {
    const m = longMode({ tier, onFault: () => 'stop' })
    const { cpu, memory, stage } = m
    const other = new Cpu({ memory, stage, start: 'flat64', tier, onFault: () => 'stop' })
    other.cr3 = cpu.cr3
    other.cr4 = cpu.cr4
    other.efer = cpu.efer
    other.cr0 = cpu.cr0
    other.rip = 0x2_8000n
    m.asm(CODE, 'mov ecx, 20000\nagain: add rax, 1\nimul rdx, rax, 3\nadd rbx, rdx\ndec ecx\njne again\nhlt')
    // Writes the immediates of both instructions, the second at the first's border.
    m.asm(0x2_8000n, 'again: inc r8\ntest r8, 63\njne again\nmov [0x20008], r8b\nadd byte ptr [0x2000c], 1\njmp again')
    const lines: string[] = []
    for (let n = 0; n < 60; n++) {
      cpu.run(997 + n)
      other.run(331 + 7 * n)
      lines.push(`${cpu.rip} ${cpu.gpr[0]} ${cpu.gpr[3]} ${other.gpr[8]} ${other.rip}`)
    }
    other.close()
    return lines.join()
  })
  t.ok(new Set(seen.split(',').map(line => line.split(' ')[2])).size > 50)
})

t.test('a page that was written too often to be kept runs on, and what other pages keep is theirs', async t => {
  same(t, tier => {
    const m = longMode({ tier, onFault: () => 'stop' })
    m.asm(
      CODE,
      `mov ebp, 300\nagain: mov byte ptr [0x21003], bpl\ncall 0x21000\nmov ecx, 3\ninner: add rbx, rax\ndec ecx\njne inner\ndec ebp\njne again\nhlt`,
    )
    m.asm(0x2_1000n, 'add rax, 1\nret')
    t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT, tier)
    return `${m.cpu.gpr[0]} ${m.cpu.gpr[3]} ${m.cpu.instructions}`
  })
})

t.test('ENTER over a border reads the frames that were there before it began', async t => {
  const seen = same(t, tier => {
    const m = longMode({ tier, onFault: () => 'stop' })
    // The display that is copied lies where the copy goes, and the page below is unknown in every round.
    m.asm(
      CODE,
      'mov ecx, 200\nagain: mov esp, 0x41020\nmov ebp, 0x41010\nmov qword ptr [0x41008], 7\nmov qword ptr [0x41000], 9\ninvlpg [0x40000]\nenter 16, 4\nadd rbx, [rbp-8]\nadd rdx, [rbp-16]\nadd rdx, [rbp-24]\ndec ecx\njne again\nhlt',
    )
    t.equal(m.cpu.run(100_000).reason, EXIT_REASON_HLT, tier)
    return `${m.cpu.gpr[3]} ${m.cpu.gpr[2]} ${m.cpu.gpr[4]} ${m.cpu.gpr[5]} ${m.cpu.instructions}`
  })
  t.match(seen, / 2201$/)
})

/** Whatever can leave leaves. */
const controls: VmxControls = {
  io: true,
  hlt: true,
  monitorMwait: true,
  wbinvd: true,
  rdpmc: true,
  msr: () => true,
  cr0Mask: 0n,
  cr0Shadow: 0n,
  cr4Mask: 0n,
  cr4Shadow: 0n,
}

t.test('a TDCALL that has left often, and then is another instruction or may not leave', async t => {
  const seen = same(t, tier => {
    const m = longMode({ tier, controls, onFault: () => 'stop' })
    const { cpu } = m
    m.put64(0x2008n, 0x3007n)
    const lines: string[] = []
    const runs = (what: string, from: bigint, count = 1): void => {
      for (let n = 0; n < count; n++) {
        cpu.rip = from
        const { reason, instructionLength } = cpu.run(100)
        lines.push(`${what} ${reason} ${instructionLength} ${cpu.rip} ${cpu.gpr[0]} ${cpu.instructions}`)
        if (reason === EXIT_REASON_TDCALL) cpu.advance(instructionLength)
      }
    }
    m.asm(0x2_1000n, 'inc rax\ntdcall\nhlt')
    m.asm(0x2_2000n, 'add rax, 5\nhlt')
    m.asm(CODE, 'mov dword ptr [0x21003], 0x90909090\nhlt')
    m.asm(0x2_0100n, 'mov qword ptr [0x4108], 0x22007\ninvlpg [0x21000]\nhlt')
    runs('hot', 0x2_1000n, 150)
    cpu.rflags |= 0x100n
    runs('trapped', 0x2_1003n)
    cpu.rflags &= ~0x100n
    cpu.pending.length = 0
    cpu.cpl = 3
    runs('ring 3', 0x2_1003n)
    cpu.cpl = 0
    runs('ring 0', 0x2_1000n, 2)
    runs('writes', CODE)
    runs('written over', 0x2_1000n, 2)
    m.asm(0x2_1003n, 'tdcall')
    runs('restored', 0x2_1000n, 150)
    runs('maps', 0x2_0100n)
    runs('another page', 0x2_1000n, 2)
    m.put(0x2_3ffen, '660f')
    m.put(0x2_4000n, '01cc f4')
    runs('two pages', 0x2_3ffen, 150)
    m.put(0x2_4001n, 'f9')
    runs('its second changed', 0x2_3ffen)
    cpu.close()
    return lines.join('\n')
  })
  t.equal(seen.split('\n').filter(line => / 77 4 /.test(line)).length, 150 + 1 + 2 + 150 + 150)
  t.match(seen, /^another page (?!77)/m)
})
