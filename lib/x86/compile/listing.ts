/** A compiled region for people: each instruction, its reading, and the WebAssembly that was made of all. */
import { textOf } from '#wasm'
import { print } from '../print.ts'
import { nameOf, registers } from '../register.ts'
import type { Node } from './node.ts'
import type { Region } from './region.ts'
import { type Effect, FIRST_VEC, FLAGS, LOCAL, type Unit } from './unit.ts'

const register = (n: number): string => nameOf(registers('gpr', 8)[n]!)

/** What is read in effects has a name: t0, t1, ... */
type Names = Map<Node, string>

const text = (node: Node, names: Names): string => {
  const named = names.get(node)
  if (named !== undefined) return named
  switch (node.op) {
    case 'const':
      return node.value < 10n ? String(node.value) : `0x${node.value.toString(16)}`
    case 'local':
      if (node.n === LOCAL.BASE) return 'page'
      if (node.n >= LOCAL.GPR && node.n < LOCAL.GPR + 16) return register(node.n - LOCAL.GPR)
      return node.n >= FIRST_VEC ? `vec${node.n - FIRST_VEC}` : `local${node.n}`
    case 'flag':
      return FLAGS[node.n] ?? `flag${node.n}`
    case 'cc':
      return `cc${node.n}`
    case 'frame':
      return `frame[0x${node.n.toString(16)}]`
    default: {
      const parts = [node.a, node.b, node.c].filter(part => part !== undefined).map(part => text(part, names))
      return `${node.op}${node.op === 'simd' ? `.0x${node.n.toString(16)}` : ''}(${parts.join(', ')})`
    }
  }
}

const effectText = (effect: Effect, names: Names): string => {
  const found = (node: Node): string => {
    const name = `t${names.size}`
    names.set(node, name)
    return name
  }
  const of = (node: Node): string => text(node, names)
  switch (effect.kind) {
    case 'load': {
      const at = of(effect.at)
      return `${found(effect.to)} = load${effect.size * 8} [${at}]`
    }
    case 'loadIf': {
      const parts = `load${effect.size * 8} [${of(effect.at)}] if ${of(effect.condition)}`
      return `${found(effect.to)} = ${parts}`
    }
    case 'store':
      return `store${effect.size * 8} [${of(effect.at)}] = ${of(effect.value)}`
    case 'probe': {
      const at = of(effect.at)
      return `${found(effect.to)} = where to write ${effect.size * 8} bits of [${at}]`
    }
    case 'loadHost': {
      const host = of(effect.host)
      return `${found(effect.to)} = load${effect.size * 8} at ${host}`
    }
    case 'storeHost':
      return `store${effect.size * 8} at ${of(effect.host)} = ${of(effect.value)}`
    case 'crc': {
      const parts = `${of(effect.crc)}, ${of(effect.data)}`
      return `${found(effect.to)} = crc of ${parts}`
    }
    case 'divide': {
      const parts = `${of(effect.high)}:${of(effect.low)} / ${of(effect.by)}`
      return `${found(effect.to)} = ${parts}`
    }
    case 'help':
      return 'the interpreter does it'
    case 'frame':
      return `frame[0x${effect.at.toString(16)}] = ${of(effect.value)}`
    case 'unit': {
      const made = `${effect.name}(${effect.args.map(of).join(', ')})`
      return effect.to === undefined ? `${made}, or leave` : `${found(effect.to)} = ${made}`
    }
    case 'leaveIf':
      return `leave if ${of(effect.condition)}`
    case 'repeat':
      return `repeat ${effect.moves ? 'movs' : 'stos'}${effect.size * 8}`
    case 'scan': {
      const [a, b, ran, again] = [effect.a, effect.b, effect.ran, effect.again].map(found)
      return `${ran}, ${a}, ${b}, ${again} = repeat ${effect.compares ? 'cmps' : 'scas'}${effect.size * 8}`
    }
    case 'check':
      return 'leave unless the numbers are plain'
  }
}

const reading = (unit: Unit): string[] => {
  const names: Names = new Map()
  const lines = unit.effects.map(effect => effectText(effect, names))
  const of = (node: Node): string => text(node, names)
  for (const [r, node] of unit.registers) lines.push(`${register(r)} = ${of(node)}`)
  for (const [r, node] of unit.vectors) lines.push(`vec${r} = ${of(node)}`)
  const { flags, control } = unit
  if (flags !== undefined) {
    const where = flags.condition === undefined ? '' : ` if ${of(flags.condition)}`
    const parts = [flags.a, flags.b, flags.r].map(of).join(', ')
    lines.push(`${Object.keys(flags.rule).join(' ')} of ${flags.size * 8} bits: ${parts}${where}`)
  }
  for (const [flag, node] of unit.single) lines.push(`${flag} = ${of(node)}`)
  if (control !== undefined) {
    const to = control.kind === 'goto' ? `+0x${(control.offset & 0xffff_ffff).toString(16)}` : of(control.target)
    lines.push(`go to ${to}${control.condition === undefined ? '' : ` if ${of(control.condition)}`}`)
  }
  return lines
}

/** `page`: linear address of the page that the region was met in. */
export const listRegion = (region: Region, page: bigint, module: Uint8Array): string => {
  const lines: string[] = []
  for (const block of [...region.blocks].sort((a, b) => a.start - b.start)) {
    const kinds = [block.isLoop ? 'loop' : '', region.entries.includes(block) ? 'entry' : '']
    lines.push(`block 0x${(page + BigInt(block.start)).toString(16)} ${kinds.join(' ')}`.trimEnd())
    for (const unit of block.units) {
      const at = page + BigInt(unit.offset)
      lines.push(`  ${at.toString(16)}  ${print(unit.insn, at)}`)
      for (const line of reading(unit)) lines.push(`      ${line}`)
    }
  }
  for (const body of textOf(module)) lines.push('webassembly', ...body.map(line => `  ${line}`))
  return `${lines.join('\n')}\n`
}
