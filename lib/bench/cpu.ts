/** The speed of the processor alone: loops on a bare CPU, per tier. */
import { assemble, Cpu, PhysicalMemory } from '#x86'
import { type Row, rounds } from './measure.ts'

const CODE = 0x1000
const INSTRUCTIONS = 1_000_000

/** Small loops of what guests are made of. Each runs until its budget is used up. */
const LOOPS = {
  'arithmetic in registers':
    'again: add rax, rbx\nxor rbx, rcx\nlea rcx, [rcx+rax*2+1]\nimul rdx, rcx\nsub rsi, 1\njne again\njmp again',
  'loads and stores':
    'again: mov rax, [rdi]\nadd rax, 3\nmov [rdi+8], rax\nmov ecx, [rdi+8]\nmov [rdi], rcx\njmp again',
  'calls and pushes': 'again: call f\njmp again\nf: push rbx\nmov rbx, rax\nadd rax, 1\npop rbx\nret',
} as const

/** The plain reading, and what runs unless one says otherwise. */
const TIERS = ['interpret', 'auto'] as const

export const cpuRows = async (count: number): Promise<Row[]> => {
  const rows: Row[] = []
  const cases = TIERS.flatMap(tier => Object.entries(LOOPS).map(([name, text]) => [tier, name, text] as const))
  for (const [tier, name, text] of cases) {
    const memory = new PhysicalMemory(2 ** 26)
    memory.allocateRun(16)
    const cpu = new Cpu({ memory, start: 'flat64', tier })
    memory.set(CODE, assemble(text, { mode: 64, at: BigInt(CODE) }).bytes)
    cpu.rip = BigInt(CODE)
    cpu.gpr[4] = 0x8000n
    cpu.gpr[7] = 0x9000n
    cpu.run(INSTRUCTIONS)
    const times = await rounds(count, () => void cpu.run(INSTRUCTIONS))
    const speeds = times.map(ms => INSTRUCTIONS / ms / 1000)
    rows.push({ what: `guest code, ${tier}: ${name}`, unit: 'million instructions/s', ours: speeds, higher: true })
    cpu.close()
  }
  return rows
}
