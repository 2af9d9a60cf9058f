/**
 * Random bytes as code that gets hot: one image holds many fragments, and a loop of the guest's that gives its registers
 * new values and jumps into the next; what a fragment raises comes back to the loop. What compiles meets them compiled,
 * whole pages of them in a region, and code that writes over itself.
 */
import { hex, NotModelled } from '#bits'
import { assemble } from '../assemble.ts'
import type { TierName } from '../compile/runtime.ts'
import type { Mode } from '../insn.ts'
import { Chance } from './chance.ts'
import { anyBytes, anyNumber, anySetup, CODE, Machine, type Setup } from './machine.ts'

/** Prime to the number of register sets, so that each fragment meets many. */
const FRAGMENTS = 97
/** Of those, how many lie in the page of the loop; the others follow in the next. */
const NEAR = 61
/** Bytes for each, of which the last lead back. */
const [PITCH, LENGTH] = [32, 24]
const SETS = 16
/** The host puts control registers and tables right again after so many instructions, and after each exit. */
const SLICE = 2000
/** Slices of an image, and instructions after which there is no other. */
const SLICES = 100
const ENOUGH = 20_000
/** Slices that begin with the loop's page compiled as it is then: fragments write over it. */
const PREPARED = 3

/** In the page behind the code: counters, what IRET pops, register sets, addresses of the fragments. */
const VARS = CODE + 0x2000
const [COUNT, SET, TARGET, FRAME, VALUES, ADDRESSES] = [0, 4, 8, 0x20, 0x100, 0x900]
const STACK = CODE + 0x4000
const INNER = CODE + 0x6000
/** Real mode has its stack in the first 64 KiB. */
const REAL_STACK = 0xbf00
const FIRST = 0x300
const TARGETS = Array.from({ length: NEAR }, (_, n) => FIRST + n * PITCH)
const VM = 1n << 17n

const NAMES = {
  64: 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' '),
  32: 'eax ecx edx ebx esp ebp esi edi'.split(' '),
} as const

const origin = (mode: Mode): number => (mode === 16 ? 0 : CODE)
const offsetOf = (n: number): number => (n < NEAR ? FIRST + n * PITCH : 0x1000 + (n - NEAR) * PITCH)

/** The loop, and where exceptions go. Nothing of it needs a register to be anything. */
const loop = (mode: Mode, ring: 0 | 3): { bytes: Uint8Array; handler: number } => {
  const base = origin(mode) + VARS - CODE
  const seg = mode === 16 ? 'cs:' : ''
  const at = (offset: number, index = '') => `${seg}[${index}0x${(base + offset).toString(16)}]`
  const names = NAMES[mode === 64 ? 64 : 32]
  const size = mode === 64 ? 'qword' : 'dword'
  const pointer = mode === 64 ? 'rbx+' : mode === 32 ? 'ebx+' : 'bx+'
  const load = (n: number) => `mov ${names[n]}, ${at(VALUES + n * 8, pointer)}`
  const others = names.map((_, n) => n).filter(n => n !== 3)
  const sp = mode === 64 ? 'rsp' : mode === 32 ? 'esp' : 'sp'
  const selector = (mode === 64 ? 0x10 : mode === 32 ? 0x10 : 0) | ring
  const text = `
    again: mov ebx, ${at(COUNT)}
    inc ebx
    cmp ebx, ${FRAGMENTS}
    jb counted
    xor ebx, ebx
    counted: mov ${at(COUNT)}, ebx
    shl ebx, 2
    mov eax, ${at(ADDRESSES, pointer)}
    mov ${at(TARGET)}, eax
    mov ebx, ${at(SET)}
    add ebx, 128
    and ebx, ${SETS * 128 - 1}
    mov ${at(SET)}, ebx
    mov ${sp}, ${mode === 16 ? REAL_STACK : STACK}
    push ${size} ptr ${at(VALUES + 24, pointer)}
    ${mode === 64 ? 'popfq' : 'popfd'}
    movups xmm0, ${at(VALUES + 8, pointer)}
    movups xmm1, ${at(VALUES + 40, pointer)}
    ${others.map(load).join('\n')}
    mov ebx, eax
    jmp ${mode === 64 ? 'qword' : mode === 32 ? 'dword' : 'word'} ptr ${at(TARGET)}
    handler:
    ${mode === 64 ? '' : `mov eax, ${selector}\nmov ds, ax\nmov es, ax`}
    ${mode === 16 ? 'mov ss, ax\njmp again' : `mov ${sp}, ${base + FRAME}\n${mode === 64 ? 'iretq' : 'iretd'}`}`
  const { bytes, labels } = assemble(text, { mode, at: origin(mode) })
  if (bytes.length > FIRST) throw new Error(`the loop has ${bytes.length} bytes`)
  return { bytes, handler: Number(labels['handler']!) - origin(mode) + CODE }
}

/** Two pages of code: the loop, and fragments that lead back to it. */
const codeOf = (chance: Chance, mode: Mode, start: Uint8Array): Uint8Array => {
  const code = new Uint8Array(0x2000).fill(0xf4)
  code.set(start)
  for (let n = 0; n < FRAGMENTS; n++) {
    const at = offsetOf(n)
    code.fill(0x90, at, at + PITCH)
    code.set(anyBytes(chance, 1 + chance.below(LENGTH)), at)
    code.set(assemble('jmp again', { mode, at: at + LENGTH + 1, labels: { again: 0n } }).bytes, at + LENGTH + 1)
  }
  return code
}

/** What the loop reads, but for the counters. */
const valuesOf = (chance: Chance, mode: Mode, ring: 0 | 3): Uint8Array => {
  const bytes = new Uint8Array(0x1000)
  const view = new DataView(bytes.buffer)
  const word = mode === 64 ? 8 : 4
  const frame = [origin(mode), (mode === 64 ? 8 : 0x18) | ring, 2, STACK, 0x10 | ring]
  for (const [n, value] of frame.entries()) view.setUint32(FRAME + n * word, value, true)
  for (let n = 0; n < FRAGMENTS; n++) view.setUint32(ADDRESSES + n * 4, origin(mode) + offsetOf(n), true)
  for (let set = 0; set < SETS; set++) {
    const at = VALUES + set * 128
    for (let n = 0; n < 16; n++) view.setBigUint64(at + n * 8, anyNumber(chance), true)
    if (!chance.once(8))
      view.setBigUint64(at + 32, BigInt(mode === 16 ? REAL_STACK : STACK - chance.below(64) * 8), true)
    // RBX has what RAX has; its place is that of the flags. TF, NT and AC now and then.
    view.setBigUint64(at + 24, 2n | (chance.word() & (chance.once(8) ? 0x4_4dd5n : 0xcd5n)), true)
  }
  return bytes
}

/** How a slice ends: the reason of the exit, or what is not modelled. */
const end = ({ cpu }: Machine): string => {
  try {
    return String(cpu.run(SLICE).reason)
  } catch (error) {
    if (error instanceof NotModelled) return `gap ${error.message}`
    throw error
  }
}

/** What is compared between two tiers. */
const outcome = ({ cpu }: Machine): Record<string, string> => ({
  rip: hex(cpu.rip),
  rflags: hex(cpu.rflags),
  instructions: String(cpu.instructions),
  gpr: [...cpu.gpr].map(hex).join(' '),
  vec: Buffer.from(cpu.vec).toString('hex'),
  x87: `${Buffer.from(cpu.x87.regs).toString('hex')} ${hex(cpu.x87.fsw)} ${hex(cpu.x87.ftw)}`,
  mxcsr: hex(cpu.mxcsr),
})

export class Loops {
  readonly #machines: readonly Machine[]
  readonly #loops = new Map<string, ReturnType<typeof loop>>()

  /** With `against`, every slice is run in that tier too, and both must end the same. */
  constructor(tier: TierName, against?: TierName) {
    this.#machines = [tier, ...(against === undefined ? [] : [against])].map(name => new Machine(name))
  }

  get instructions(): number {
    return this.#machines[0]!.cpu.instructions
  }

  /** One image: its code, and how its slices end. */
  run(seed: bigint, number: number): { setup: Setup; bytes: Uint8Array; go: () => string[] } {
    const chance = new Chance((seed << 40n) + BigInt(number))
    const setup = { ...anySetup(chance), delivers: !chance.once(8) }
    const { mode, ring } = setup
    const name = `${mode} ${ring}`
    const start = this.#loops.get(name) ?? loop(mode, ring)
    this.#loops.set(name, start)
    const bytes = codeOf(chance, mode, start.bytes)
    return { setup, bytes, go: () => this.#go(chance.word(), setup, bytes, start.handler) }
  }

  #go(seed: bigint, setup: Setup, code: Uint8Array, handler: number): string[] {
    const ends: string[] = []
    const from = this.instructions
    for (const machine of this.#machines) {
      machine.restore(CODE, machine.memory.length)
      machine.set(CODE, code)
    }
    for (let slice = 0; slice < SLICES && this.instructions - from < ENOUGH; slice++) {
      const values = valuesOf(new Chance(~seed - BigInt(slice)), setup.mode, setup.ring)
      new DataView(values.buffer).setUint32(COUNT, (slice * 41) % FRAGMENTS, true)
      const reasons = this.#machines.map(machine => {
        machine.start(new Chance(seed + BigInt(slice)), setup)
        machine.cpu.rflags &= ~VM
        machine.gates(setup.mode, () => handler)
        machine.stack(setup.mode, INNER)
        machine.set(VARS, values)
        if (slice < PREPARED) machine.prepare(TARGETS)
        return end(machine)
      })
      ends.push(reasons[0]!)
      const [one, other] = this.#machines
      if (other !== undefined) same(one!, other, slice, reasons)
    }
    return ends
  }
}

/** Throws where two machines differ. */
const same = (one: Machine, other: Machine, slice: number, reasons: readonly string[]): void => {
  const found = reasons[0] === reasons[1] ? [] : [`exit ${reasons.join(', other ')}`]
  const [seen, wanted] = [outcome(one), outcome(other)]
  for (const [name, value] of Object.entries(seen))
    if (value !== wanted[name]) found.push(`${name} ${value}, other ${wanted[name]}`)
  if (Buffer.compare(one.memory, other.memory) !== 0) {
    const at = one.memory.findIndex((byte, n) => byte !== other.memory[n])
    found.push(`memory ${hex(at)}: ${one.memory[at]}, other ${other.memory[at]}`)
  }
  if (found.length > 0) throw new Error(`the tiers differ after slice ${slice}: ${found.join('; ')}`)
}
