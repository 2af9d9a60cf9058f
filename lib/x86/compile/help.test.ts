import t from 'tap'
import { STATE } from '../state.ts'
import { CODE, longMode } from '../testdata/machine.ts'
import { EXIT_REASON_HLT } from '../vmx.ts'
import { helps } from './help.ts'
import { stats, type TierName } from './runtime.ts'

const TIERS: readonly TierName[] = ['interpret', 'compile', 'auto', 'lockstep']
const DATA = 0x4_0000n

/** All that is left of a program: registers of every kind, flags, instructions, a page of data. */
const outcome = (tier: TierName, text: string): string => {
  const m = longMode({ tier, onFault: () => 'stop' })
  const { cpu } = m
  cpu.cr4 |= 0x5_0600n
  cpu.xcr0 = 7n
  m.asm(CODE, text)
  for (let at = 0n; at < 0x1000n; at += 8n) m.put64(DATA + at, (at * 0x9e37_79b9_7f4a_7c15n) & 0x3fff_ffff_ffff_ffffn)
  const exit = cpu.run(2_000_000)
  const host = m.stage.frame(DATA as never, 'read')
  // The flags are worked out by then.
  const { rflags } = cpu
  const state = Buffer.from(cpu.memory.u8.subarray(cpu.frame + STATE.MXCSR, cpu.frame + STATE.VEC + 512)).toString(
    'hex',
  )
  const data = Buffer.from(cpu.memory.u8.subarray(host, host + 4096)).toString('hex')
  const seen = [exit.reason, exit.qualification, cpu.rip, rflags, cpu.instructions, ...cpu.gpr].join(' ')
  cpu.close()
  return `${seen}\n${state}\n${data}`
}

const loop = (body: string, times = 300): string =>
  `mov edi, ${DATA}\nmov r15d, ${times}\nagain:\n${body}\ndec r15d\njne again\nhlt`
const same = (name: string, body: string, tiers = TIERS): void => {
  t.test(name, async t => {
    const wanted = outcome('interpret', loop(body))
    for (const tier of tiers.slice(1)) {
      const before = helps.count
      t.equal(outcome(tier, loop(body)), wanted, tier)
      if (tier !== 'lockstep') t.ok(helps.count - before >= 200, `${tier}: ${helps.count - before} done in place`)
    }
  })
}
const NOT_TAKEN_BACK: readonly TierName[] = ['interpret', 'compile', 'auto']

same('the time is that of the instruction', 'add rbx, 3\nrdtsc\nadd r8, rax\nrdtscp\nxor r9, rax\nadd r9, rcx')
same(
  'CPUID gives four registers, between others',
  'mov eax, 1\nxor ecx, ecx\ncpuid\nadd r8, rax\nadd r9, rbx\nxor r10, rcx\nadd r11, rdx',
)
same(
  'flags go in and come out',
  'cmp r15d, 100\npushfq\nadd rax, rbx\npopfq\nadc r8, 1\nsetb r9b\nadd r10, r9',
  NOT_TAKEN_BACK,
)
same(
  'what is stored is seen',
  'fild dword [rdi+64]\nfxsave [rdi+512]\nfninit\nmov rax, [rdi+544]\nadd r8, rax',
  NOT_TAKEN_BACK,
)
same(
  'state of all units comes and goes',
  'mov eax, 7\nxor edx, edx\npaddd xmm1, xmm2\npsubd xmm2, [rdi]\nxsave [rdi+4096]\npaddd xmm1, xmm3\nxrstor [rdi+4096]',
  NOT_TAKEN_BACK,
)
same('functions of the x87', 'fild dword [rdi+8]\nfsin\nfld st0\nfcos\nfpatan\nfstp qword [rdi+16]')
same(
  'strings in vectors',
  'movdqu xmm1, [rdi]\npcmpistri xmm1, [rdi+16], 0xc\nadc r8, rcx\npcmpistrm xmm1, [rdi+16], 0x40\npaddb xmm4, xmm0',
)
same(
  'rounding that the compiler does not do',
  'mov dword [rdi+32], 0x7f80\nldmxcsr [rdi+32]\ncvtsi2sd xmm1, r15d\ndivsd xmm1, xmm2\naddsd xmm3, xmm1',
)
same('numbers that are used up', 'rdrand rax\nadc r8, rax\nrdseed rbx\nadc r9, rbx', NOT_TAKEN_BACK)

t.test('a fault in place is that of the instruction, with the registers before it', async t => {
  const text = loop('add r8, 1\nadd r9, r8\nrcpps xmm1, [rdi]\nadd rdi, 16\nadd r10, r9')
  const wanted = outcome('interpret', text.replace('hlt', 'mov edi, 0x40001\njmp again\nhlt'))
  for (const tier of TIERS.slice(1))
    t.equal(outcome(tier, text.replace('hlt', 'mov edi, 0x40001\njmp again\nhlt')), wanted, tier)
})

t.test('the budget is exact, wherever it ends', async t => {
  for (let budget = 700; budget < 720; budget++) {
    const seen = (['interpret', 'auto'] as const).map(tier => {
      const m = longMode({ tier })
      m.asm(CODE, loop('rdtsc\nadd r8, rax\ncpuid\nadd r9, rbx'))
      m.cpu.run(budget)
      return [m.cpu.rip, m.cpu.instructions, ...m.cpu.gpr].join(' ')
    })
    t.equal(seen[0], seen[1])
  }
})

t.test('a loop with such an instruction stays inside', async t => {
  const m = longMode({ tier: 'auto' })
  m.asm(CODE, loop('rdtsc\nadd r8, rax', 20_000))
  const [before, entered] = [stats.retired, stats.entered]
  t.equal(m.cpu.run(1_000_000).reason, EXIT_REASON_HLT)
  t.ok(stats.retired - before > 75_000, `${stats.retired - before} of 80000`)
  t.ok(stats.entered - entered < 100, `entered ${stats.entered - entered} times`)
})
