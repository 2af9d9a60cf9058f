/** The functions that compiled code calls beside its own: which there are, and for each memory the instances they live in. */
import { F32, F64, I32, I64, type Module, V128, type ValueType } from '#wasm'
import type { PhysicalMemory } from '../memory.ts'
import type { Node } from './node.ts'
import { cryptoModule } from './unit/crypto.ts'
import { fuseModule } from './unit/fuse.ts'
import { x87Module } from './unit/x87.ts'
import type { Effect } from './unit.ts'

const TYPES: Record<string, ValueType> = { 32: I32, 64: I64, 128: V128, f32: F32, f64: F64 }
const typeOf = ({ width }: Node): ValueType => TYPES[width]!

type Functions = Record<string, (...args: never[]) => unknown>

/** Declares the functions that effects call: their numbers, by name. */
export const importUnits = (module: Module, effects: Iterable<Effect>): Map<string, number> => {
  const numbers = new Map<string, number>()
  for (const effect of effects) {
    if (effect.kind !== 'unit' || numbers.has(effect.name)) continue
    const { name, args, fails, to } = effect
    const params = args.map(typeOf)
    const type = module.type(fails ? [I32, ...params] : params, to === undefined ? [I32] : [typeOf(to)])
    numbers.set(name, module.importFunc('unit', name, type))
  }
  return numbers
}

/** For memory that is shared, and for other. */
const x87 = new Map<boolean, WebAssembly.Module>()

/** What needs no memory. */
let pure: Functions | undefined

const instance = (bytes: Uint8Array<ArrayBuffer>): Functions =>
  new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as Functions

const made = new WeakMap<PhysicalMemory, Functions>()
/** All of them, on this memory. */
export const unitsOf = (memory: PhysicalMemory): Functions => {
  const known = made.get(memory)
  if (known !== undefined) return known
  const module = x87.get(memory.isShared) ?? new WebAssembly.Module(x87Module(memory.isShared))
  x87.set(memory.isShared, module)
  const { exports } = new WebAssembly.Instance(module, { env: { memory: memory.memory } })
  pure ??= { ...instance(cryptoModule()), ...instance(fuseModule()) }
  const all = { ...pure, ...exports } as Functions
  made.set(memory, all)
  return all
}
