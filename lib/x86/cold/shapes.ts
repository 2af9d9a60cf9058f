/**
 * From an instruction to its handler. Instructions share one where nothing differs but register numbers, displacements and
 * immediates; and, for what looks at flags, where these are found in the same way.
 */

import type { Code } from '#wasm'
import { Builder } from '../compile/build.ts'
import type { Context } from '../compile/context.ts'
import type { Effect, Unit } from '../compile/unit.ts'
import type { Insn } from '../insn.ts'
import { asksForFlags, type FlagsAt, flagsAfter, writeHandler } from './handler.ts'
import { type CountClass, countClass, Slots } from './slots.ts'

/** How a handler goes on: at the next record, there or elsewhere, or elsewhere only. */
export type Ends = 'follows' | 'may branch' | 'ends'

export class Handler {
  /** Entry of the table; -1 until it is written. */
  index = -1
  /** Flags must be in the frame before it, where it is not known how they follow. */
  readonly asksForFlags: boolean
  readonly ends: Ends
  #unit: Unit | undefined
  readonly #before: FlagsAt
  readonly #slots: Slots
  readonly #context: Context
  readonly #builder: Builder
  readonly #after: (before: FlagsAt) => FlagsAt

  constructor(unit: Unit, slots: Slots, before: FlagsAt, context: Context, builder: Builder) {
    this.#unit = unit
    this.#slots = slots
    this.#before = before
    this.#context = context
    this.#builder = builder
    this.asksForFlags = asksForFlags(unit)
    const { control } = unit
    this.ends = control === undefined ? 'follows' : control.condition === undefined ? 'ends' : 'may branch'
    this.#after = at => flagsAfter(unit, at)
  }

  flagsAfter(before: FlagsAt): FlagsAt {
    return this.#after(before)
  }

  write(code: Code): void {
    if (this.#unit === undefined) throw new Error('a handler is written twice')
    writeHandler(code, this.#unit, this.#slots, this.#before, this.#context, this.#builder)
    this.#unit = undefined
  }
}

/** Accesses of one instruction: what has more, as ENTER may, is the interpreter's. */
const MOST_EFFECTS = 12

/** What is known of the instructions of one row that look alike. */
class Form {
  /** The semantics look behind an immediate or a displacement. */
  literal = false
  /** What of the context they ask for, as bits of `held`. */
  asks = 0
  asksForFlags = false
  readonly handlers = new Map<number | string, Handler | null>()
}

/** Rows whose last immediate is a shift count. */
const SHIFTS = new Set('shl sal shr sar rol ror rcl rcr shld shrd rorx bt bts btr btc'.split(' '))

const countOf = (insn: Insn): 0 | CountClass => {
  const last = insn.operands.at(-1)
  return last?.kind === 'imm' && SHIFTS.has(insn.row.semantics) ? countClass(last.value, insn.operandSize) : 0
}

/** All of an instruction that tells its handler from others of the row, but for literals. */
const keyOf = (insn: Insn, offset: number): number => {
  const { operands } = insn
  let key = (insn.operandSize >> 2) | ((insn.addressSize >> 2) << 2) | (insn.cc << 4) | ((insn.vectorLength >> 4) << 8)
  if (insn.rep !== '') key |= insn.rep === 'rep' ? 0x400 : 0x800
  for (const operand of operands) {
    if (operand.kind === 'mem') key |= ((operand.index >= 0 ? 2 : 1) << 12) | (operand.seg << 14)
    else if (operand.kind === 'rel') {
      const to = offset + insn.length + Number(operand.disp)
      if (to < 0 || to > 4095) key |= 1 << 17
    }
  }
  // A register that is named twice is one register.
  for (let k = 1; k < operands.length; k++)
    if (operands[k]!.kind === 'reg') key |= (operands.indexOf(operands[k]!) & 3) << (16 + 2 * k)
  return key | (countOf(insn) << 24)
}

/** The handlers of all contexts in which memory is reached in the same way. */
class Family {
  readonly #forms: (Map<number, Form> | undefined)[] = []

  form(insn: Insn, offset: number): Form {
    const { number } = insn.row
    const forms = this.#forms[number] ?? new Map<number, Form>()
    this.#forms[number] = forms
    const key = keyOf(insn, offset)
    let form = forms.get(key)
    if (form === undefined) {
      form = new Form()
      forms.set(key, form)
    }
    return form
  }
}
const families = new Map<string, Family>()

/** Forgets all handlers. */
export const forgetShapes = (): void => families.clear()

/** Immediates and displacements as the semantics may see them. */
const literals = (insn: Insn): string => {
  let text = ''
  for (const operand of insn.operands) {
    if (operand.kind === 'imm') text += ` ${operand.value}`
    else if (operand.kind === 'reg') text += ` r${operand.index}`
    else if (operand.kind === 'mem') text += ` ${operand.base} ${operand.index} ${operand.scale} ${operand.disp}`
  }
  return text
}

/** The handlers of one context. */
export class Shapes {
  readonly #context: Context
  readonly #family: Family
  #asked = 0

  constructor(context: Context) {
    const { mode, stackSize, logs } = context
    const name = `${mode} ${stackSize} ${logs}`
    this.#family = families.get(name) ?? new Family()
    families.set(name, this.#family)
    // Notices what is asked for.
    const asked = (bit: number): void => {
      this.#asked |= bit
    }
    this.#context = {
      ...context,
      get sse() {
        asked(1)
        return context.sse
      },
      get avx() {
        asked(2)
        return context.avx
      },
      get float() {
        asked(12)
        return context.float
      },
    }
    this.#held = held(context)
  }
  readonly #held: number

  /** The handler of an instruction at `offset` of its page, the flags being at `before`; null: the interpreter takes it. */
  find(insn: Insn, offset: number, before: FlagsAt): Handler | null {
    const { feature } = insn.row
    if (feature !== '' && !this.#context.features.has(feature)) return null
    const form = this.#family.form(insn, offset)
    const known = form.handlers.get(this.#name(form, insn, before))
    if (known !== undefined) return known
    const made = this.#make(form, insn, offset, before)
    form.handlers.set(this.#name(form, insn, before), made)
    return made
  }

  #name(form: Form, insn: Insn, before: FlagsAt): number | string {
    const number = (this.#held & form.asks) + 16 * (form.asksForFlags ? before : 0)
    return form.literal ? `${number}${literals(insn)}` : number
  }

  #make(form: Form, insn: Insn, offset: number, before: FlagsAt): Handler | null {
    const slots = new Slots(insn, countOf(insn))
    const builder = new Builder(this.#context, slots.insn, slots)
    this.#asked = 0
    const unit = isGather(insn) ? undefined : builder.build(slots.insn, offset)
    form.asks |= this.#asked
    if (slots.literal) form.literal = true
    if (unit === undefined || unit.effects.length > MOST_EFFECTS || unit.effects.some(isScan)) return null
    if (asksForFlags(unit)) form.asksForFlags = true
    return new Handler(unit, slots, form.asksForFlags ? before : 0, this.#context, builder)
  }
}

/** REP CMPS and REP SCAS are left to the interpreter. */
const isScan = ({ kind }: Effect): boolean => kind === 'scan'

/** What a context holds of what handlers may ask for: SSE, AVX, floating point of some kind or of any. */
const held = ({ sse, avx, float }: Context): number =>
  (sse ? 1 : 0) | (avx ? 2 : 0) | (float === 'none' ? 0 : float === 'exact' ? 4 : 8)

const isGather = (insn: Insn): boolean => insn.row.forms.some(form => form.vsib !== 0)
