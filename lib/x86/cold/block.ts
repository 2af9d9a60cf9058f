/** Blocks as records: what the code of one page is to the cold tier, and how a block gets into machine memory. */
import type { Insn } from '../insn.ts'
import type { PhysicalMemory } from '../memory.ts'
import { print } from '../print.ts'
import { STATE } from '../state.ts'
import type { Machine } from './machine.ts'
import { ENTRY, HEAD, RECORD, RECORD_BYTES } from './record.ts'
import type { Handler, Shapes } from './shapes.ts'

export const CODE_FRAME = 4096

/** Of all pages that have no block. */
const NO_HEADS: Readonly<Int32Array> = new Int32Array(CODE_FRAME)

/** The blocks of one page in one context. */
export class ColdPage {
  shapes: Shapes | undefined
  generation = -1
  /** Head of the block that begins at an offset; 0: none yet. Most pages are seldom executed, and never have one. */
  heads = NO_HEADS
  #own: Int32Array | undefined
  /** How often the interpreter came by an offset. */
  readonly visits = new Uint8Array(CODE_FRAME)
  /** Branches that wait for a block: the places of their links, by its offset. */
  readonly waiting = new Map<number, number[]>()

  setHead(offset: number, head: number): void {
    this.#own ??= new Int32Array(CODE_FRAME)
    this.#own[offset] = head
    this.heads = this.#own
  }

  restart(generation: number): void {
    this.generation = generation
    this.shapes = undefined
    this.#own = undefined
    this.heads = NO_HEADS
    this.waiting.clear()
  }
}
/** An instruction of a block that is being made. */
export type Step = {
  readonly insn: Insn
  readonly offset: number
  readonly handler: Handler
  readonly settles: boolean
}

/** Where blocks go, and what all of them have: the entries that make one hot, and the most instructions. */
export type Into = {
  readonly memory: PhysicalMemory
  readonly machine: Machine
  readonly heat: number
  readonly most: number
}

const wordsByMemory = new WeakMap<PhysicalMemory, Uint32Array>()
const wordsOf = (memory: PhysicalMemory): Uint32Array => {
  const known = wordsByMemory.get(memory) ?? new Uint32Array(memory.memory.buffer)
  wordsByMemory.set(memory, known)
  return known
}

/** Writes the block into records. */
export const layBlock = (into: Into, code: ColdPage, start: number, steps: readonly Step[]): number => {
  const { machine, heat } = into
  const words = wordsOf(into.memory)
  const last = steps.at(-1)!
  const settling = steps.reduce((sum, step) => sum + (step.settles ? 1 : 0), 0)
  const isOpen = last.handler.ends !== 'ends'
  const head = machine.room(1 + steps.length + settling + (isOpen ? 1 : 0))
  if (code.generation !== machine.generation) code.restart(machine.generation)
  words[(head + HEAD.NEED) / 4] = steps.length
  words[(head + HEAD.HEAT) / 4] = heat
  let at = head + RECORD_BYTES
  const begin = (handler: number, offset: number, refund: number): void => {
    words.fill(0, at / 4, (at + RECORD_BYTES) / 4)
    words[at / 4] = handler
    words[at / 4 + 1] = offset | (refund << 16)
  }
  for (const [k, step] of steps.entries()) {
    if (step.settles) {
      begin(ENTRY.SETTLE, step.offset, steps.length - k)
      at += RECORD_BYTES
    }
    begin(step.handler.index, step.offset, steps.length - k)
    operandsOf(into, code, at, step)
    at += RECORD_BYTES
  }
  if (isOpen) open(into, code, at, last.offset + last.insn.length, steps.length, begin)
  code.setHead(start, head)
  for (const link of code.waiting.get(start) ?? []) words[link / 4] = head
  code.waiting.delete(start)
  return head
}

/** Behind a block that no jump ends: another follows, or the interpreter has to take what is there. */
const open = (
  into: Into,
  code: ColdPage,
  at: number,
  offset: number,
  length: number,
  begin: (handler: number, offset: number, refund: number) => void,
): void => {
  const goes = length === into.most || offset === CODE_FRAME
  begin(goes ? ENTRY.GO : ENTRY.LEAVE, offset, 0)
  if (!goes) return
  into.memory.view.setInt32(at + RECORD.TARGET_OFFSET, offset, true)
  link(into, code, at + RECORD.TARGET, offset)
}

const operandsOf = (into: Into, code: ColdPage, at: number, { insn, offset }: Step): void => {
  const { u8, view } = into.memory
  const next = BigInt(offset + insn.length)
  let registers = 0
  let immediates = 0
  let hasTarget = false
  const { operands } = insn
  for (const [k, operand] of operands.entries()) {
    // A register that is named twice is one operand.
    if (operands.indexOf(operand) < k) continue
    switch (operand.kind) {
      case 'reg': {
        const place = placeOf(operand.file, operand.index)
        if (place < 0) break
        if (registers === 0) view.setUint16(at + RECORD.FIRST, place, true)
        else if (registers === 1) view.setUint16(at + RECORD.SECOND, place, true)
        else if (registers === 2) view.setUint16(at + RECORD.THIRD, place, true)
        registers++
        break
      }
      case 'mem': {
        if (insn.row.forms[k]?.place === 'implied') break
        // There is always a base: the page, or zero.
        const base = operand.ripRelative ? STATE.RIP : operand.base >= 0 ? operand.base * 8 : STATE.NEXT
        u8[at + RECORD.BASE] = base
        u8[at + RECORD.INDEX] = operand.index >= 0 ? operand.index * 8 : STATE.NEXT
        u8[at + RECORD.SCALE] = 31 - Math.clz32(operand.scale)
        view.setBigInt64(at + RECORD.DISPLACEMENT, operand.ripRelative ? operand.disp + next : operand.disp, true)
        break
      }
      case 'imm':
        if (immediates++ === 0) view.setBigUint64(at + RECORD.IMMEDIATE, operand.value, true)
        break
      case 'rel': {
        const target = offset + insn.length + Number(operand.disp)
        hasTarget = true
        view.setInt32(at + RECORD.TARGET_OFFSET, target, true)
        link(into, code, at + RECORD.TARGET, target)
        break
      }
      case 'far':
    }
  }
  if (hasTarget) view.setBigInt64(at + RECORD.DISPLACEMENT, next, true)
  else if (insn.row.semantics === 'call' && immediates === 0) view.setBigInt64(at + RECORD.IMMEDIATE, next, true)
}

const link = (into: Into, code: ColdPage, place: number, target: number): void => {
  const head = target >= 0 && target < CODE_FRAME ? code.heads[target]! : 0
  wordsOf(into.memory)[place / 4] = head > 0 ? head : into.machine.nowhere
  if (head > 0 || target < 0 || target >= CODE_FRAME) return
  const waiting = code.waiting.get(target)
  if (waiting === undefined) code.waiting.set(target, [place])
  else waiting.push(place)
}

/** Offset in the state frame of a register that handlers know. */
const placeOf = (file: string, index: number): number => {
  if (file === 'gpr') return STATE.GPR + index * 8
  if (file === 'high') return STATE.GPR + index * 8 + 1
  return file === 'vec' ? STATE.VEC + index * 32 : -1
}

/** For `--listing`: the instructions of a block, and the handlers they have; `page` is the linear address of its page. */
export const listBlock = (steps: readonly Step[], page: bigint): string => {
  const lines = steps.map(({ insn, offset, handler, settles }) => {
    const at = page + BigInt(offset)
    return `  ${at.toString(16)}  ${print(insn, at).padEnd(40)}  handler ${handler.index}${settles ? ', flags worked out' : ''}`
  })
  return `block at ${(page + BigInt(steps[0]!.offset)).toString(16)}: ${steps.length} records\n${lines.join('\n')}\n\n`
}
