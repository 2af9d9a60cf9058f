/** Runs random programs on the processor of this machine: builds real-cpu.c, asks it, reads its answers. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CODE, DATA, type Program, STACK } from './generate.ts'
import type { Outcome } from './ours.ts'

/** Sizes of the structures in real-cpu.c. */
const REGISTERS = 18 * 8 + 512 + 256
const MAX_BYTES = 1024
const QUESTION = 16 + 8 + REGISTERS + MAX_BYTES
const MEMORY = DATA.size + STACK.size
const ANSWER = 24 + REGISTERS + MEMORY
const [GPRS, RIP, RFLAGS, FXSAVE, UPPER] = [0, 128, 136, 144, 656]

export type Real = {
  ask(programs: readonly Program[]): Outcome[]
  close(): void
}

/** The oracle, or why there is none here. */
export const openReal = (): Real | string => {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'not an x86-64 Linux host'
  const folder = mkdtempSync(join(tmpdir(), 'seamless-oracle-'))
  const program = join(folder, 'real-cpu')
  const close = () => rmSync(folder, { recursive: true, force: true })
  const built = spawnSync('cc', ['-O2', '-o', program, join(import.meta.dirname, 'real-cpu.c')], { encoding: 'utf8' })
  if (built.status !== 0) {
    close()
    return `cc does not build it: ${built.error?.message ?? built.stderr.split('\n')[0]}`
  }
  return {
    close,
    ask: programs => {
      const input = Buffer.alloc(programs.length * QUESTION)
      for (const [n, asked] of programs.entries()) put(input.subarray(n * QUESTION, (n + 1) * QUESTION), asked)
      const ran = spawnSync(program, { input, maxBuffer: programs.length * ANSWER + 1024 })
      if (ran.status !== 0 || ran.stdout.length !== programs.length * ANSWER)
        throw new Error(
          `real-cpu ended with ${ran.signal ?? ran.status} after ${ran.stdout.length / ANSWER} of ${programs.length} answers ${ran.stderr}`,
        )
      return programs.map((_, n) => get(ran.stdout.subarray(n * ANSWER, (n + 1) * ANSWER)))
    },
  }
}

const put = (out: Buffer, { mode, ip, bytes, seed, before }: Program): void => {
  out.writeUInt32LE(ip, 0)
  out.writeUInt32LE(bytes.length, 4)
  out.writeUInt32LE(mode, 8)
  out.writeBigUInt64LE(seed, 16)
  const registers = out.subarray(24)
  for (const [n, value] of before.gpr.entries()) registers.writeBigUInt64LE(value, GPRS + n * 8)
  registers.writeBigUInt64LE(BigInt(CODE.at + ip), RIP)
  registers.writeBigUInt64LE(before.rflags, RFLAGS)
  registers.set(before.fxsave, FXSAVE)
  registers.set(before.upper, UPPER)
  registers.set(bytes, REGISTERS)
}

const get = (answer: Buffer): Outcome => {
  const registers = answer.subarray(24)
  const gpr = BigUint64Array.from({ length: 16 }, (_, n) => registers.readBigUInt64LE(GPRS + n * 8))
  return {
    trap: Number(answer.readBigUInt64LE(0)),
    error: Number(answer.readBigUInt64LE(8)),
    cr2: answer.readBigUInt64LE(16),
    rip: registers.readBigUInt64LE(RIP),
    after: {
      gpr,
      rflags: registers.readBigUInt64LE(RFLAGS),
      fxsave: registers.subarray(FXSAVE, FXSAVE + 512),
      upper: registers.subarray(UPPER, UPPER + 256),
    },
    memory: answer.subarray(24 + REGISTERS),
  }
}
