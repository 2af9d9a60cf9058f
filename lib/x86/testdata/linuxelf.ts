/** A static x86-64 Linux program on a bare CPU in ring 3: write, exit_group and clock_gettime, and nothing else. */
import { Cpu } from '../cpu.ts'
import type { CpuOptions } from '../cpuoptions.ts'
import { PhysicalMemory } from '../memory.ts'
import { EXIT_REASON_PREEMPTION_TIMER } from '../vmx.ts'
import { descriptor } from './machine.ts'

const PAGE = 4096
const STACK_TOP = 0x7fff_0000_0000n
const STACK_PAGES = 64

export type Outcome = { readonly output: string; readonly instructions: number; readonly cpu: Cpu }

/** Loads `elf` with arguments and runs it to its end. Pages are 4 KiB, each in a frame of its own. */
export const runElf = (elf: Uint8Array, args: readonly string[], options: Partial<CpuOptions> = {}): Outcome => {
  const memory = new PhysicalMemory(2 ** 28)
  const cpu = new Cpu({ memory, start: 'flat64', ...options })
  const root = memory.allocate()
  const map = (linear: bigint): number => {
    let table: number = root
    for (const shift of [39n, 30n, 21n]) {
      const at = table + Number((linear >> shift) & 0x1ffn) * 8
      if (memory.read(at, 8) === 0n) memory.write(at, 8, BigInt(memory.allocate()) | 7n)
      table = Number(memory.read(at, 8) & ~0xfffn)
    }
    const at = table + Number((linear >> 12n) & 0x1ffn) * 8
    if (memory.read(at, 8) === 0n) memory.write(at, 8, BigInt(memory.allocate()) | 7n)
    return Number(memory.read(at, 8) & ~0xfffn)
  }
  const put = (linear: bigint, bytes: Uint8Array): void => {
    for (const [n, byte] of bytes.entries()) {
      const at = linear + BigInt(n)
      memory.u8[map(at) + Number(at & 0xfffn)] = byte
    }
  }
  const view = new DataView(elf.buffer, elf.byteOffset, elf.byteLength)
  const headers = Number(view.getBigUint64(32, true))
  for (let n = 0; n < view.getUint16(56, true); n++) {
    const at = headers + n * 56
    if (view.getUint32(at, true) !== 1) continue
    const [offset, linear] = [Number(view.getBigUint64(at + 8, true)), view.getBigUint64(at + 16, true)]
    const [inFile, inMemory] = [Number(view.getBigUint64(at + 32, true)), view.getBigUint64(at + 40, true)]
    for (let page = linear & ~0xfffn; page < linear + inMemory; page += BigInt(PAGE)) map(page)
    put(linear, elf.subarray(offset, offset + inFile))
  }
  for (let n = 1; n <= STACK_PAGES; n++) map(STACK_TOP - BigInt(n * PAGE))
  // The strings of the arguments, then argc, argv, an empty environment.
  let top = STACK_TOP
  const pointers = args.map(text => {
    const bytes = new TextEncoder().encode(`${text}\0`)
    top -= BigInt(bytes.length)
    put(top, bytes)
    return top
  })
  top = (top & ~0xfn) - BigInt(16 * Math.ceil((pointers.length + 3) / 2))
  const words = new BigUint64Array([BigInt(pointers.length), ...pointers, 0n, 0n])
  put(top, new Uint8Array(words.buffer))

  const gdt = memory.allocate()
  memory.write(gdt + 0x28, 8, descriptor(0xfb, 0xa))
  memory.write(gdt + 0x20, 8, descriptor(0xf3, 0xc))
  cpu.cr3 = BigInt(root)
  cpu.cr4 = 0x6a0n
  // Without SCE: SYSCALL is #UD, which is ours.
  cpu.efer = 0xd00n
  cpu.cr0 = 0x8001_0031n
  cpu.segments[1]!.set(0x2b, 0n, 0xffff_ffff, 0xa0fb)
  for (const seg of [0, 2, 3]) cpu.segments[seg]!.set(0x23, 0n, 0xffff_ffff, 0xc0f3)
  cpu.refresh()
  cpu.rip = view.getBigUint64(24, true)
  cpu.gpr[4] = top
  cpu.onFault = () => 'stop'

  let output = ''
  for (;;) {
    const exit = cpu.run(10_000_000)
    if (exit.reason === EXIT_REASON_PREEMPTION_TIMER) continue
    if ((exit.qualification & 0xffn) !== 6n || cpu.read(cpu.rip, 2) !== 0x050fn)
      throw new Error(`the program ends with exception ${exit.qualification & 0xffn} at 0x${cpu.rip.toString(16)}`)
    const [number, , rdi, rsi, rdx] = [cpu.gpr[0]!, 0, cpu.gpr[7]!, cpu.gpr[6]!, cpu.gpr[2]!]
    if (number === 231n) return { output, instructions: cpu.instructions, cpu }
    if (number === 1n) output += new TextDecoder().decode(cpu.readBytes(rsi, Number(rdx)))
    else if (number === 228n) {
      // Processor time: other work on the machine does not count.
      const { user, system } = process.cpuUsage()
      const now = BigInt(user + system) * 1000n
      cpu.write(rsi, 8, now / 1_000_000_000n)
      cpu.write(rsi + 8n, 8, now % 1_000_000_000n)
    } else throw new Error(`system call ${number} (${rdi})`)
    cpu.gpr[0] = number === 1n ? rdx : 0n
    cpu.advance(2)
  }
}
