/** Where two runs of a random program differ, in what the architecture defines. */
import { GPR_NAMES } from '#abi'
import type { Insn } from '../insn.ts'
import type { Difference } from '../vectormachine.ts'
import { CODE, DATA, type Program, STACK } from './generate.ts'
import type { Outcome } from './ours.ts'
import { ARITHMETIC, PARTIAL, undefinedFlags } from './undefined.ts'

/** The flags of a program: arithmetic, TF, DF, NT, AC, ID. IF and IOPL are the kernel's, RF is not part of it. */
const FLAGS = BigInt(ARITHMETIC) | 0x100n | 0x400n | 0x4000n | 0x4_0000n | 0x20_0000n
const [DB, GP, PF, AC, TIME_UP] = [1, 13, 14, 17, 256]
/** Linux lets a process have less than half of 48 bits by a page. */
const PROCESS_END = 0x7fff_ffff_f000n
/** C0, C2 and C3, which most x87 instructions leave undefined. */
const CONDITION = 0x4500
const C1 = 0x200
const DEFINES_CONDITION = /^f(u?com|n?stsw|xam|tst|n?init|n?clex)/

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

const insnAt = ({ insns }: Program, offset: number): Insn | undefined => {
  let at = 0
  return insns.find(insn => {
    at += insn.length
    return at - insn.length === offset
  })
}

/** Compares what ours gave with what the processor gave. Empty: the same. */
export const compare = (program: Program, ours: Outcome, real: Outcome): Difference[] => {
  const found: Difference[] = []
  // A loop without an end: how far it came is a matter of time.
  if (real.trap === TIME_UP || ours.trap === TIME_UP) {
    return real.trap === ours.trap ? [] : [{ field: 'trap', seen: String(ours.trap), want: String(real.trap) }]
  }
  const differ = (field: string, seen: bigint | number, want: bigint | number) => {
    if (seen !== want) found.push({ field, seen: seen.toString(16), want: want.toString(16) })
  }
  const narrow = program.mode === 32
  const offset = Number(real.rip) - CODE.at - program.ip
  const isFault = real.trap !== GP || (offset >= 0 && offset < program.bytes.length)
  const isAligned = ours.trap !== AC || real.trap === AC
  if ((isFault || !isAligned) && program.insns.some(({ row }) => PARTIAL.test(row.semantics))) return []
  // A near CALL to where no code can be, and no stack to push to: the SDM's order is #GP first (Vol. 2A, "CALL"), that of
  // AMD's processors the push (measured, family 25).
  if (
    ours.trap === GP &&
    real.trap === PF &&
    ours.rip === real.rip &&
    insnAt(program, offset)?.row.semantics === 'call'
  )
    return []
  const width = (value: bigint) => (narrow ? value & 0xffff_ffffn : value)
  differ('trap', ours.trap, real.trap)
  // Of addresses in the kernel's half Linux says no more than that they may not be touched.
  const isKernels = real.trap === PF && real.cr2 >= PROCESS_END
  if (!isKernels) differ('error', ours.error, real.error)
  if (real.trap === PF) differ('cr2', ours.cr2, real.cr2)
  differ('rip', width(ours.rip), width(real.rip))
  for (let n = 0; n < (narrow ? 8 : 16); n++)
    differ(GPR_NAMES[n]!, width(ours.after.gpr[n]!), width(real.after.gpr[n]!))
  const last = program.insns.at(-1)!
  const undefinedBits =
    real.trap === DB ? program.insns.reduce((all, insn) => all | undefinedFlags(insn), 0) : undefinedFlags(last)
  // FCOMI with an invalid operand that is not masked: flags stay (SDM Vol. 2A, "FCOMI/FCOMIP/FUCOMI/FUCOMIP"), and so they
  // do here; processors of AMD set ZF, PF and CF all the same (measured, family 25). Explained: makers differ.
  const isPending =
    (real.after.fxsave[2]! & 0x80) !== 0 && program.insns.some(({ row }) => /^fu?comi/.test(row.semantics))
  const flags = FLAGS & ~BigInt(isPending ? ARITHMETIC : undefinedBits)
  differ('rflags', ours.after.rflags & flags, real.after.rflags & flags)

  const [own, other] = [ours.after.fxsave, real.after.fxsave]
  const word = (bytes: Uint8Array, at: number) => bytes[at]! | (bytes[at + 1]! << 8)
  differ('fcw', word(own, 0), word(other, 0))
  const x87 = program.insns.filter(({ row }) => row.feature === 'FPU' || row.mnemonic.startsWith('F')).at(-1)
  // An unmasked exception leaves them to each maker, FFREE does with C1 too.
  const isOwn = (other[2]! & 0x80) !== 0 || x87?.row.semantics.startsWith('ffree') === true
  const isDefined = x87 === undefined || DEFINES_CONDITION.test(x87.row.semantics)
  const status = isOwn ? ~(CONDITION | C1) : isDefined ? ~0 : ~CONDITION
  differ('fsw', word(own, 2) & status, word(other, 2) & status)
  differ('ftw', own[4]!, other[4]!)
  differ('mxcsr', word(own, 24), word(other, 24))
  const bytes = (field: string, seen: Uint8Array, want: Uint8Array) => {
    if (Buffer.compare(seen, want) !== 0) found.push({ field, seen: hex(seen), want: hex(want) })
  }
  for (let n = 0; n < 8; n++)
    bytes(`st${n}`, own.subarray(32 + n * 16, 42 + n * 16), other.subarray(32 + n * 16, 42 + n * 16))
  for (let n = 0; n < (narrow ? 8 : 16); n++) {
    bytes(`xmm${n}`, own.subarray(160 + n * 16, 176 + n * 16), other.subarray(160 + n * 16, 176 + n * 16))
    bytes(`upper${n}`, ours.after.upper.subarray(n * 16, n * 16 + 16), real.after.upper.subarray(n * 16, n * 16 + 16))
  }
  if (Buffer.compare(ours.memory, real.memory) !== 0) {
    const at = ours.memory.findIndex((byte, n) => byte !== real.memory[n])
    const linear = at < DATA.size ? DATA.at + at : STACK.at + at - DATA.size
    bytes(`memory ${linear.toString(16)}`, ours.memory.subarray(at, at + 32), real.memory.subarray(at, at + 32))
  }
  return found
}
