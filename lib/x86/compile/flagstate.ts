/** Flags that compiled code left as a recipe, worked out when somebody looks. */
import type { Size } from '#bits'
import type { Cpu } from '../cpu.ts'
import * as rules from '../flags.ts'
import { evaluate } from '../interpret.ts'
import { STATE } from '../state.ts'
import { inputs, type Recipe, recipeOf } from './recipe.ts'
import { SCRATCH } from './sites.ts'
import { FLAGS } from './unit.ts'

const EVEN = Uint8Array.from({ length: 256 }, (_, n) => {
  let ones = 0
  for (let rest = n; rest !== 0; rest >>= 1) ones += rest & 1
  return (ones & 1) ^ 1
})

const RULE = STATE.RULE / 4

/** Works out the flags that STATE.RULE says are yet to be, so that all are in the state frame. */
export const settle = (cpu: Cpu): void => {
  const encoded = cpu.words[RULE]!
  const lazy = encoded & 63
  cpu.words[RULE] = 0
  if (lazy === 0) return
  const recipe = recipeOf(encoded >>> 6)
  if (lazy === 63 && quick(cpu, recipe)) return
  const { words } = cpu
  const places = (n: 0 | 1 | 2): bigint => {
    const at = (SCRATCH.FLAG_A + n * 8) / 4
    return BigInt(words[at]!) | (BigInt(words[at + 1]!) << 32n)
  }
  const { a, b, r } = inputs<bigint, boolean>(evaluate(cpu), recipe, places)
  for (const [f, flag] of FLAGS.entries())
    if ((lazy & (1 << f)) !== 0) cpu[flag] = recipe.rule[flag]!<bigint, boolean>(evaluate(cpu), recipe.size, a, b, r)
}

/** The commonest rules without bigints: ADD, SUB and the logical ones. */
const quick = (cpu: Cpu, recipe: Recipe): boolean => {
  const { rule, size } = recipe
  const { words } = cpu
  const A = SCRATCH.FLAG_A / 4
  let al = 0
  let ah = 0
  let bl = 0
  let bh = 0
  let rl: number
  let rh: number
  if (rule === rules.logic) {
    rl = recipe.r === undefined ? words[A + 4]! : Number(recipe.r & 0xffff_ffffn)
    rh = recipe.r === undefined ? words[A + 5]! : Number(recipe.r >> 32n)
  } else if (rule === rules.sub || rule === rules.add) {
    al = recipe.a === undefined ? words[A]! : Number(recipe.a & 0xffff_ffffn)
    ah = recipe.a === undefined ? words[A + 1]! : Number(recipe.a >> 32n)
    bl = recipe.b === undefined ? words[A + 2]! : Number(recipe.b & 0xffff_ffffn)
    bh = recipe.b === undefined ? words[A + 3]! : Number(recipe.b >> 32n)
    if (recipe.form === 'second') {
      rl = words[A + 4]!
      rh = words[A + 5]!
      if (rule === rules.sub) {
        al = (rl + bl) >>> 0
        ah = (rh + bh + (rl + bl > 0xffff_ffff ? 1 : 0)) >>> 0
      } else {
        al = (rl - bl) >>> 0
        ah = (rh - bh - (rl < bl ? 1 : 0)) >>> 0
      }
      if (size !== 8) ah = 0
    } else if (rule === rules.sub) {
      rl = (al - bl) >>> 0
      rh = (ah - bh - (al < bl ? 1 : 0)) >>> 0
    } else {
      rl = (al + bl) >>> 0
      rh = (ah + bh + (al + bl > 0xffff_ffff ? 1 : 0)) >>> 0
    }
    if (size !== 8) rh = 0
    if (size < 4) rl &= size === 1 ? 0xff : 0xffff
  } else return false
  write(cpu, rule === rules.logic ? 0 : rule === rules.sub ? 1 : 2, size, al, ah, bl, bh, rl, rh)
  return true
}

const write = (
  cpu: Cpu,
  kind: 0 | 1 | 2,
  size: Size,
  al: number,
  ah: number,
  bl: number,
  bh: number,
  rl: number,
  rh: number,
): void => {
  const { u8 } = cpu.memory
  const { frame } = cpu
  const top = size === 8 ? 31 : size * 8 - 1
  const isWide = size === 8
  const a = isWide ? ah : al
  const b = isWide ? bh : bl
  const r = isWide ? rh : rl
  u8[frame + STATE.PF] = EVEN[rl & 0xff]!
  u8[frame + STATE.ZF] = (rl | rh) === 0 ? 1 : 0
  u8[frame + STATE.SF] = (r >>> top) & 1
  if (kind === 0) {
    u8[frame + STATE.CF] = 0
    u8[frame + STATE.AF] = 0
    u8[frame + STATE.OF] = 0
    return
  }
  u8[frame + STATE.AF] = ((al ^ bl ^ rl) >>> 4) & 1
  if (kind === 1) {
    u8[frame + STATE.CF] = ah < bh || (ah === bh && al < bl) ? 1 : 0
    u8[frame + STATE.OF] = (((a ^ b) & (a ^ r)) >>> top) & 1
  } else {
    u8[frame + STATE.CF] = rh < ah || (rh === ah && rl < al) ? 1 : 0
    u8[frame + STATE.OF] = (((a ^ r) & (b ^ r)) >>> top) & 1
  }
}
