/** The registers as operands, each made once, with their names. */
import type { Reg, RegFile } from './insn.ts'

const NAMES8 = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil']
const NAMES16 = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di']
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs']
const high = ['ah', 'ch', 'dh', 'bh']

const numbers = Array.from({ length: 16 }, (_, n) => n)
const made = new Map<string, Reg>()
const make = (name: string, file: RegFile, index: number, size: number): Reg => {
  const reg: Reg = { kind: 'reg', file, index, size }
  made.set(name, reg)
  return reg
}

/** Bytes of a control or debug register follow the mode, so they come in two sizes. */
const wide = (file: 'cr' | 'dr', size: number): Reg[] =>
  numbers.map(n => (size === 8 ? make(`${file}${n}`, file, n, 8) : { kind: 'reg', file, index: n, size }))

const gpr = {
  1: numbers.map(n => make(NAMES8[n] ?? `r${n}b`, 'gpr', n, 1)),
  2: numbers.map(n => make(NAMES16[n] ?? `r${n}w`, 'gpr', n, 2)),
  4: numbers.map(n => make(n < 8 ? `e${NAMES16[n]}` : `r${n}d`, 'gpr', n, 4)),
  8: numbers.map(n => make(n < 8 ? `r${NAMES16[n]}` : `r${n}`, 'gpr', n, 8)),
}
const vec = {
  16: numbers.map(n => make(`xmm${n}`, 'vec', n, 16)),
  32: numbers.map(n => make(`ymm${n}`, 'vec', n, 32)),
}
const highs = high.map((name, n) => make(name, 'high', n, 1))
const seg = SEGMENTS.map((name, n) => make(name, 'seg', n, 2))
const mm = numbers.slice(0, 8).map(n => make(`mm${n}`, 'mm', n, 8))
const st = numbers.slice(0, 8).map(n => make(`st${n}`, 'st', n, 10))
const [cr8, cr4, dr8, dr4] = [wide('cr', 8), wide('cr', 4), wide('dr', 8), wide('dr', 4)]

/** The registers of a file that are `size` bytes wide; `size` matters for `gpr`, `vec`, `cr` and `dr`. */
export const registers = (file: RegFile, size: number): readonly Reg[] => {
  switch (file) {
    case 'gpr':
      return size === 8 ? gpr[8] : size === 4 ? gpr[4] : size === 2 ? gpr[2] : gpr[1]
    case 'high':
      return highs
    case 'seg':
      return seg
    case 'cr':
      return size === 8 ? cr8 : cr4
    case 'dr':
      return size === 8 ? dr8 : dr4
    case 'st':
      return st
    case 'mm':
      return mm
    case 'vec':
      return size === 32 ? vec[32] : vec[16]
  }
}

/** A register by its lower-case name; `st` and `st(0)` are `st0`. */
export const registerNamed = (name: string): Reg | undefined =>
  made.get(name) ?? (name === 'st' ? st[0] : made.get(name.replace(/^st\(([0-7])\)$/, 'st$1')))

const names = new Map([...made].map(([name, reg]) => [reg, name]))

/** The lower-case name of a register. */
export const nameOf = (reg: Reg): string =>
  names.get(reg) ??
  names.get(registers(reg.file, reg.file === 'cr' || reg.file === 'dr' ? 8 : reg.size)[reg.index] as Reg) ??
  '?'
