import t from 'tap'
import { NotModelled } from '#bits'
import { Cpu } from './cpu.ts'
import { describeCpu, FEATURES, type Feature } from './cpuid.ts'
import { decode } from './decode.ts'
import type { Mode } from './insn.ts'
import { PhysicalMemory } from './memory.ts'
import { table } from './table.ts'
import { bytesOf, randomFrom } from './testdata/rowbytes.ts'
import type { SecondStage } from './vmx.ts'

const memory = new PhysicalMemory(2 ** 26)
const WINDOW = 0x10_0000
const base = memory.allocateRun(WINDOW / 4096)
/** Every page is there, the same mebibyte over and over, but for one in eight that leaves the guest. */
const stage: SecondStage = {
  width: 46,
  generation: 0,
  frame: gpa => (((gpa >> 20n) & 7n) === 7n ? -1 : ((base + (Number(gpa) & (WINDOW - 1))) as typeof base)),
}
const cpuid = describeCpu(Object.keys(FEATURES) as Feature[])
const AT = 0x8000n
/** Encodings of each row in each mode. */
const TRIES = 3
const random = randomFrom(0x5ea)
const random64 = (): bigint => (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32))

const fill = (cpu: Cpu, mode: Mode): void => {
  for (let n = 0; n < 16; n++) cpu.gpr[n] = random(2) === 0 ? BigInt(random(0x10_0000)) : random64()
  cpu.gpr[1] = random(4) === 0 ? random64() : BigInt(random(16))
  if (mode !== 64) for (let n = 0; n < 16; n++) cpu.gpr[n]! &= 0xffff_ffffn
  for (let n = 0; n < 512; n++) cpu.vec[n] = random(256)
  for (let n = 0; n < 80; n++) cpu.x87.regs[n] = random(256)
  cpu.x87.fcw = random(2) === 0 ? 0x37f : random(0x10000) & 0xf3f
  cpu.x87.fsw = random(8) << 11
  cpu.x87.ftw = random(256)
  cpu.mxcsr = random(2) === 0 ? 0x1f80 : random(0x10000)
  cpu.rflags = 2n | BigInt(random(0x1000) & 0xcd5)
  cpu.cr0 |= 0x20n
  cpu.cr4 = random(8) === 0 ? 0n : 0x5_0600n
  cpu.xcr0 = 0x7n
}

for (const mode of [64, 32, 16] as const)
  t.test(`every row in ${mode}-bit mode: an effect, a fault or an exit, and no error of ours`, async t => {
    const errors: string[] = []
    const never: string[] = []
    let seen = 0
    for (const row of table) {
      if (row.encodeOnly || !(mode === 64 ? row.valid64 : row.valid32)) continue
      let found = 0
      for (let n = 0; n < TRIES * 4 && found < TRIES; n++) {
        const bytes = bytesOf(row, mode, random)
        const insn = decode(bytes, 0, mode)
        if (typeof insn === 'string' || insn.row !== row) continue
        found++
        const cpu = new Cpu({
          memory,
          stage,
          cpuid,
          start: mode === 64 ? 'flat64' : mode === 32 ? 'flat32' : 'reset',
          onFault: () => 'stop',
        })
        if (mode === 16) for (const s of cpu.segments) s.set(0, 0n, 0xffff, s.rights)
        fill(cpu, mode)
        memory.set(base + Number(AT), bytes)
        cpu.rip = AT
        try {
          cpu.step()
        } catch (error) {
          // A gap with a name is no error.
          if (error instanceof NotModelled) continue
          errors.push(
            `${row.mnemonic} ${row.operands}, ${Buffer.from(bytes).toString('hex')}: ${(error as Error).stack?.split('\n').slice(0, 4).join(' ')}`,
          )
        } finally {
          cpu.close()
        }
      }
      seen += found
      if (found === 0) never.push(`${row.mnemonic} ${row.opcode} ${row.operands}`)
    }
    t.same(errors, [])
    t.same(never, [], 'rows that no random bytes were')
    t.ok(seen > 3000, `${seen} instructions`)
  })
