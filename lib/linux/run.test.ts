import fc from 'fast-check'
import t from 'tap'
import { ElfError } from '#bits'
import { PhysicalMemory } from '#x86'
import { runProgram } from './run.ts'
import { call, DATA, program } from './testdata/program.ts'

const memory = new PhysicalMemory(2 ** 28)
/** Runs a program; what it wrote by file descriptor, and how it ended. */
const run = (file: Uint8Array, args: readonly string[] = [], budget = 1_000_000) => {
  const out: Record<number, string> = { 1: '', 2: '' }
  const { end, stats } = runProgram(
    file,
    { name: 'prog', args, environment: ['A=1'], memory },
    {
      write: (fd, bytes) => {
        out[fd] += Buffer.from(bytes).toString('latin1')
      },
    },
    budget,
  )
  return { end, stats, out: out[1], err: out[2] }
}
const exits = (status: number) => ({ kind: 'exit', status })

t.test('a program writes to both outputs and exits with its status', async t => {
  const text = [call(1, 1, DATA, 5), call(1, 2, DATA + 5n, 4), call(231, 42)].join('\n')
  const { end, out, err, stats } = run(program(text, 'helloerr\n'))
  t.same([end, out, err], [exits(42), 'hello', 'err\n'])
  t.same(stats.calls, { write: 2, exit_group: 1 })
})

t.test('arguments, environment and the auxiliary vector are where the ABI says', async t => {
  // argc, then argv[1]'s two bytes, then the first environment string's.
  const text = `
    mov rbx, rsp
    test rsp, 15
    jne bad
    mov rax, [rbx]
    cmp rax, 3
    jne bad
    mov rsi, [rbx+16]
    ${call(1, 1, 'rsi', 2)}
    mov rsi, [rbx+8*5]
    ${call(1, 1, 'rsi', 3)}
    mov rdi, [rbx+8*7]
    ${call(60, 'rdi')}
    bad: ${call(60, 99)}`
  const { end, out } = run(program(text), ['ab', 'cd'])
  t.equal(out, 'abA=1')
  // The first tag is AT_HWCAP.
  t.same(end, exits(16))
})

t.test('memory: bss is zero, brk and mmap give more, munmap takes it away, mprotect holds', async t => {
  const text = `
    cmp qword ptr [${DATA + 0x800n}], 0
    jne bad
    ${call(12, 0)}
    mov rbx, rax
    lea rdi, [rax+0x3000]
    mov eax, 12
    syscall
    mov [rbx+0x2ff8], rbx
    ${call(9, 0, 0x2000, 3, 0x22, -1, 0)}
    mov [rax+0x1ff8], rax
    mov r12, rax
    ${call(10, 'r12', 0x1000, 1)}
    test rax, rax
    jne bad
    mov r13, [r12]
    ${call(11, 'r12', 0x1000)}
    mov rax, [r12+0x1ff8]
    cmp rax, r12
    jne bad
    mov rax, [r12]
    bad: ${call(60, 99)}`
  t.match(run(program(text)).end, { kind: 'signal', signal: 'SIGSEGV', number: 11, why: /^#PF\(0x4\) at 0x7/ })
})

t.test('what Linux does not have here is an error number', async t => {
  const negative = (number: number, ...args: (number | bigint)[]) => {
    const { end } = run(program(`${call(number, ...args)}\nneg eax\n${call(60, 'rax')}`))
    return end.kind === 'exit' ? end.status : end
  }
  t.equal(negative(2, 0, 0), 38, 'open: ENOSYS')
  t.equal(negative(1, 1, 0x10, 5), 14, 'write from nowhere: EFAULT')
  t.equal(negative(1, 7, DATA, 1), 9, 'write to another file: EBADF')
  t.equal(negative(9, 0, 0x1000, 3, 2, 3, 0), 19, 'mmap of a file: ENODEV')
  t.equal(negative(9, 0, 0, 3, 0x22, -1, 0), 22, 'mmap of nothing: EINVAL')
  t.equal(negative(9, 0, 0x7fff_ffff_f000n, 3, 0x22, -1, 0), 12, 'mmap of everything: ENOMEM')
  t.equal(negative(11, 0x1001, 0x1000), 22, 'munmap of no page: EINVAL')
  t.equal(negative(228, 99, DATA), 22, 'an unknown clock: EINVAL')
})

t.test('time is counted: the same in every run, and it goes on', async t => {
  const text = `
    ${call(228, 1, DATA)}
    ${call(228, 1, DATA + 16n)}
    mov rax, [${DATA + 24n}]
    sub rax, [${DATA + 8n}]
    mov rdi, rax
    ${call(60, 'rdi')}`
  const [first, second] = [run(program(text)), run(program(text))]
  t.same(first.end, second.end)
  t.ok(first.end.kind === 'exit' && first.end.status > 0 && first.end.status < 20)
})

t.test('exceptions are the signals that Linux sends', async t => {
  const signal = (text: string) => {
    const { end } = run(program(text))
    return end.kind === 'signal' ? end.signal : end.kind
  }
  t.equal(signal('ud2'), 'SIGILL')
  t.equal(signal('xor ecx, ecx\ndiv ecx'), 'SIGFPE')
  t.equal(signal('int3'), 'SIGTRAP')
  t.equal(signal('hlt'), 'SIGSEGV')
  t.equal(signal(`mov qword ptr [0x400000], 1`), 'SIGSEGV')
  t.equal(signal(`mov rax, ${DATA}\njmp rax`), 'SIGSEGV')
  t.equal(signal('again: jmp again'), 'budget')
  t.equal(signal('again: sub rsp, 0x800\npush rax\njmp again'), 'SIGSEGV')
})

t.test('a program that takes all memory is killed', async t => {
  const text = `${call(9, 0, 0x4000_0000, 3, 0x22, -1, 0)}\nagain: mov [rax], rax\nadd rax, 0x1000\njmp again`
  const small = new PhysicalMemory(2 ** 26)
  const { end } = runProgram(program(text), { name: 'p', args: [], memory: small }, { write: () => {} })
  t.match(end, { kind: 'signal', signal: 'SIGKILL', why: /out of memory/ })
})

t.test('a broken file is an ElfError or a program, and never an error of ours', async t => {
  const good = program(`${call(1, 1, DATA, 5)}\n${call(231, 0)}`, 'hello')
  const before = memory.used
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }), changes => {
      const file = good.slice()
      for (const [at, byte] of changes) file[at] = byte
      try {
        run(file, [], 2000)
        return true
      } catch (error) {
        return error instanceof ElfError
      }
    }),
    { numRuns: 150 },
  )
  t.equal(memory.used, before, 'every frame came back')
})
