import t from 'tap'
import { RFLAGS_RF, RFLAGS_TF } from '#abi'
import { assemble } from './assemble.ts'
import type { TierName } from './compile/runtime.ts'
import { Cpu } from './cpu.ts'
import { PhysicalMemory } from './memory.ts'
import { EXIT_REASON_HLT } from './vmx.ts'

const CODE = 0x1000
const DATA = 0x2000

/** Runs `code` with breakpoints; where each #DB stopped it, and what DR6 was told. */
const stops = (
  code: string,
  dr7: number,
  { dr0 = DATA, dr1 = 0, rflags = 2n, tier = 'interpret' as TierName, prepare = (_cpu: Cpu): void => {} } = {},
): string[] => {
  const memory = new PhysicalMemory(2 ** 26)
  const seen: string[] = []
  const cpu = new Cpu({
    memory,
    start: 'flat64',
    tier,
    ports: { in: () => 0n, out: () => {} },
    stage: { width: 46, generation: 0, frame: at => (memory.frames > 0 ? ((Number(at) + 0x10_0000) as never) : -1) },
    onFault: fault => {
      if (fault.vector !== 1) return 'stop'
      seen.push(`${(cpu.rip - BigInt(CODE)).toString(16)}:${fault.dr6.toString(16)}${fault.isTrap ? '' : ' RF'}`)
      return 'stop'
    },
  })
  memory.set(0x10_0000 + CODE, assemble(`${code}\nhlt`, { mode: 64, at: BigInt(CODE) }).bytes)
  cpu.gpr[4] = 0x8000n
  cpu.rip = BigInt(CODE)
  cpu.rflags = rflags
  cpu.dr[0] = BigInt(dr0)
  cpu.dr[1] = BigInt(dr1)
  cpu.dr[7] = BigInt(dr7 | 0x400)
  prepare(cpu)
  for (let n = 0; n < 20; n++) {
    const { reason } = cpu.run(100_000)
    if (reason === EXIT_REASON_HLT) return seen
    // As a debugger goes on: RF lets the instruction run.
    cpu.rflags |= RFLAGS_RF
  }
  return [...seen, 'and so on']
}

/** DR7 for DR0: enabled locally, R/W and LEN. */
const on = (kind: number, length = 0): number => 1 | (kind << 16) | (length << 18)
const [EXECUTE, WRITE, PORT, ACCESS] = [0, 1, 2, 3]

t.test('data: the trap comes behind the instruction', async t => {
  const write = 'mov byte ptr [0x2000], 1'
  t.same(stops(write, on(WRITE)), ['8:1'])
  t.same(stops(write, on(ACCESS)), ['8:1'])
  t.same(stops('mov al, [0x2000]', on(WRITE)), [])
  t.same(stops('mov al, [0x2000]', on(ACCESS)), ['7:1'])
  t.same(stops('mov rax, [0x1ff9]', on(ACCESS)), ['8:1'], 'the last of eight bytes')
  t.same(stops('mov rax, [0x1ff8]', on(ACCESS)), [])
  t.same(stops('add byte ptr [0x2000], 1', on(WRITE)), ['8:1'])
  t.same(stops('push rax\npop rax', on(ACCESS, 2), { dr0: 0x7ff8 }), ['1:1', '2:1'])
  t.same(stops(write, 0), [], 'nothing is enabled')
  t.same(stops(write, 2 | (WRITE << 16)), ['8:1'], 'enabled globally')
  t.same(stops(write, on(WRITE) | 4 | (ACCESS << 20), { dr1: DATA }), ['8:3'], 'two at once')
})

t.test('lengths align what the register holds', async t => {
  t.same(stops('mov byte ptr [0x2003], 1', on(WRITE, 3), { dr0: DATA + 1 }), ['8:1'])
  t.same(stops('mov byte ptr [0x2004], 1', on(WRITE, 3), { dr0: DATA + 1 }), [])
  t.same(stops('mov byte ptr [0x2007], 1', on(WRITE, 2)), ['8:1'])
  t.same(stops('mov byte ptr [0x2002], 1', on(WRITE, 1)), [])
})

t.test('instructions: the fault comes before, and RF holds it off', async t => {
  t.same(stops('nop\nnop', on(EXECUTE), { dr0: CODE + 1 }), ['1:1'])
  t.same(stops('nop', on(EXECUTE), { dr0: CODE, rflags: RFLAGS_RF | 2n }), [])
  t.same(stops('mov ecx, 2\ntop: dec ecx\njnz top', on(EXECUTE), { dr0: CODE + 5 }), ['5:1', '5:1'])
  t.same(stops('mov eax, 1', on(EXECUTE), { dr0: CODE + 1 }), [], 'not at its beginning')
  const afterSs = 'mov eax, ss\nmov ss, eax\nnop'
  t.same(stops(afterSs, on(EXECUTE), { dr0: CODE + 4, prepare: flatSs }), [], 'nor behind a load of SS')
})

/** SS as a null selector, which needs no descriptor. */
const flatSs = (cpu: Cpu): void => cpu.segments[2]!.set(0, 0n, 0, 0x1_0000)

t.test('a load of SS holds the trap off', async t => {
  t.same(stops('mov ss, [0x2000]\nnop\nnop', on(ACCESS), { prepare: flatSs }), ['8:1'])
})

t.test('a #DB says which breakpoints it met, and no earlier ones', async t => {
  const memory = new PhysicalMemory(2 ** 26)
  const cpu = new Cpu({ memory, start: 'flat64' })
  // A gate of ring 0 for #DB, to a HLT; behind it the code.
  memory.write(0x3010, 8, 0x0000_8e00_0008_4000n)
  memory.write(0x4000, 1, 0xf4n)
  memory.write(0x5008, 8, 0x00af_9b00_0000_ffffn)
  cpu.idtr.base = 0x3000n
  cpu.gdtr.base = 0x5000n
  const run = (code: string): bigint => {
    memory.set(CODE, assemble(`${code}\nhlt`, { mode: 64, at: BigInt(CODE) }).bytes)
    cpu.gpr[4] = 0x8000n
    cpu.rip = BigInt(CODE)
    cpu.rflags = 2n
    t.equal(cpu.run(100).reason, EXIT_REASON_HLT)
    t.equal(cpu.rip, 0x4000n, 'the handler')
    return cpu.dr[6]!
  }
  cpu.dr[0] = BigInt(DATA)
  cpu.dr[1] = BigInt(DATA + 8)
  cpu.dr[7] = BigInt(0x400 | on(WRITE) | 4 | (WRITE << 20))
  t.equal(run('mov byte ptr [0x2000], 1'), 0xffff_0ff1n)
  cpu.dr[6] = cpu.dr[6]! | 0x4000n
  t.equal(run('mov byte ptr [0x2008], 1'), 0xffff_4ff2n, 'BS stays until software clears it')
})

t.test('repeated instructions stop after the iteration, with RF to be pushed', async t => {
  const rep = 'mov edi, 0x1fff\nmov ecx, 3\nrep stosb'
  t.same(stops(rep, on(WRITE)), ['a:1 RF'])
  t.same(stops(rep, on(WRITE), { dr0: DATA + 1 }), ['c:1'], 'the last one')
})

t.test('ports, with CR4.DE', async t => {
  const prepare = (cpu: Cpu): void => {
    cpu.cr4 |= 8n
  }
  t.same(stops('in al, 0x80\nout 0x81, al', on(PORT), { dr0: 0x80, prepare }), ['2:1'])
  t.same(stops('in al, 0x80\nout 0x81, al', on(PORT, 1), { dr0: 0x80, prepare }), ['2:1', '4:1'])
  t.same(stops('in al, 0x80', on(PORT), { dr0: 0x80 }), [], 'without it there are none')
})

t.test('with a single step, one #DB says both', async t => {
  t.same(stops('mov al, [0x2000]', on(ACCESS), { rflags: RFLAGS_TF | 2n })[0], '7:4001')
})

t.test('code that is compiled is left while one is enabled, and entered again', async t => {
  const code = `
    mov ecx, 5000
  top: add qword ptr [0x2000], 1
    dec ecx
    jnz top
    mov eax, 0x2000
    mov dr0, rax
    mov eax, 0x10401
    mov dr7, rax
    mov ecx, 3
  again: add qword ptr [0x2000], 1
    dec ecx
    jnz again
    mov eax, 0x400
    mov dr7, rax
    add qword ptr [0x2000], 1`
  for (const tier of ['interpret', 'compile', 'auto'] as const) t.equal(stops(code, 0, { tier }).length, 3, tier)
})

/**
 * Measured in ring 3 of an AMD processor (family 25), a debugger having set DR0, DR1 and DR7 through ptrace: where RIP
 * was at the SIGTRAP, what DR6 said, and ECX. SDM Vol. 3B agrees, but for RF in the middle of a repeated instruction,
 * which is Intel's.
 */
const MEASURED: readonly (readonly [code: string, dr7: number, stop: string, ecx?: bigint])[] = [
  ['mov [0x2000], al', on(WRITE), '7:1'],
  ['mov [0x1fff], ax', on(WRITE), '8:1'],
  ['mov [0x1ffc], rax', on(WRITE), '8:1'],
  ['mov al, [0x2000]', on(ACCESS), '7:1'],
  ['add byte ptr [0x2000], 1', on(WRITE), '8:1'],
  ['mov eax, 1\ncmpxchg [0x2000], ecx', on(WRITE), 'd:1'],
  ['mov edi, 0x1ffe\nmov ecx, 5\nrep stosb', on(WRITE), 'a:1 RF', 2n],
  ['mov esi, 0x1fff\nmov edi, 0x2100\nmov ecx, 4\nrep movsb', on(ACCESS), 'f:1 RF', 2n],
  ['movups xmm0, [0x1ff8]', on(ACCESS), '8:1'],
  ['clflush [0x2000]', on(ACCESS), '8:1'],
]

t.test('as a processor does', async t => {
  for (const [code, dr7, stop, ecx] of MEASURED) {
    const counts: bigint[] = []
    const prepare = (cpu: Cpu): void => {
      const asked = cpu.onFault
      cpu.onFault = fault => {
        counts.push(cpu.gpr[1]!)
        return asked!(fault)
      }
    }
    t.equal(stops(code, dr7, { prepare })[0], stop, code)
    if (ecx !== undefined) t.equal(counts[0], ecx, code)
  }
  t.same(stops('mov [0x2001], al', on(WRITE)), [])
  t.same(stops('prefetcht0 [0x2000]', on(ACCESS)), [])
  t.same(stops('mov al, [0x2000]', on(WRITE)), [])
})
