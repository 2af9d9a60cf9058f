/** A WebAssembly module as it is put together. Core Specification, "Binary Format: Modules". */
import { Bytes } from './bytes.ts'
import { Code } from './code.ts'
import { FUNCREF, type ValueType } from './opcodes.ts'

export type FuncType = { readonly params: readonly ValueType[]; readonly results: readonly ValueType[] }

/** A function of the module that is being written; its number is what `call` takes. */
export type Func = { readonly index: number; readonly code: Code }

const SECTION = {
  type: 1,
  import: 2,
  func: 3,
  table: 4,
  memory: 5,
  global: 6,
  export: 7,
  element: 9,
  code: 10,
} as const
const KIND = { func: 0, table: 1, memory: 2, global: 3 } as const

/** Imports come first: a module numbers imported functions before its own. */
export class Module {
  readonly #types: FuncType[] = []
  readonly #imports: ((out: Bytes) => void)[] = []
  readonly #funcs: { type: number; code: Code }[] = []
  readonly #exports: { name: string; kind: number; index: number }[] = []
  #importedFuncs = 0
  #elements: { at: number; functions: readonly number[] } | undefined
  #table: { size: number; elements: number[] } | undefined

  /** The number of a function type; equal types share one. */
  type(params: readonly ValueType[], results: readonly ValueType[]): number {
    const same = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((x, i) => x === b[i])
    const found = this.#types.findIndex(type => same(type.params, params) && same(type.results, results))
    return found >= 0 ? found : this.#types.push({ params, results }) - 1
  }

  importFunc(module: string, name: string, type: number): number {
    if (this.#funcs.length > 0) throw new Error(`import of ${module}.${name} after the first own function`)
    this.#import(module, name, out => {
      out.byte(KIND.func)
      out.u32(type)
    })
    return this.#importedFuncs++
  }

  /** Sizes in pages of 64 KiB; they must lie within those of the memory that is given, which is shared or is not. */
  importMemory(module: string, name: string, minimum: number, maximum: number, shared = false): void {
    this.#import(module, name, out => {
      out.byte(KIND.memory)
      out.byte(shared ? 3 : 1)
      out.u32(minimum)
      out.u32(maximum)
    })
  }

  /** Table 0 from outside. */
  importTable(module: string, name: string, minimum: number): void {
    this.#import(module, name, out => {
      out.byte(KIND.table)
      out.byte(FUNCREF)
      out.byte(0)
      out.u32(minimum)
    })
  }

  /** A table 0 of the module's own, filled with these functions. */
  table(elements: readonly number[]): void {
    this.#table = { size: elements.length, elements: [...elements] }
  }

  /** Puts functions into table 0, an imported one, from entry `at` on. */
  elements(at: number, functions: readonly number[]): void {
    this.#elements = { at, functions }
  }

  func(type: number): Func {
    const code = new Code(this.#types[type]!.params.length)
    this.#funcs.push({ type, code })
    return { index: this.#importedFuncs + this.#funcs.length - 1, code }
  }

  export(name: string, func: number): void {
    this.#exports.push({ name, kind: KIND.func, index: func })
  }

  exportTable(name: string): void {
    this.#exports.push({ name, kind: KIND.table, index: 0 })
  }

  /** The module's bytes. */
  finish(): Uint8Array<ArrayBuffer> {
    const out = new Bytes(4096)
    out.raw(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0))
    const section = (id: number, count: number, write: (out: Bytes) => void) => {
      if (count === 0) return
      const body = new Bytes()
      body.u32(count)
      write(body)
      out.byte(id)
      out.sized(body.view())
    }
    section(SECTION.type, this.#types.length, to => {
      for (const { params, results } of this.#types) {
        to.byte(0x60)
        to.sized(Uint8Array.from(params))
        to.sized(Uint8Array.from(results))
      }
    })
    section(SECTION.import, this.#imports.length, to => {
      for (const write of this.#imports) write(to)
    })
    section(SECTION.func, this.#funcs.length, to => {
      for (const { type } of this.#funcs) to.u32(type)
    })
    const table = this.#table
    section(SECTION.table, table ? 1 : 0, to => {
      to.byte(FUNCREF)
      to.byte(0)
      to.u32(table?.size ?? 0)
    })
    section(SECTION.export, this.#exports.length, to => {
      for (const { name, kind, index } of this.#exports) {
        to.name(name)
        to.byte(kind)
        to.u32(index)
      }
    })
    const filled = table === undefined ? this.#elements : { at: 0, functions: table.elements }
    section(SECTION.element, filled === undefined ? 0 : 1, to => {
      to.u32(0)
      to.byte(0x41)
      to.s32(filled?.at ?? 0)
      to.byte(0x0b)
      to.u32(filled?.functions.length ?? 0)
      for (const func of filled?.functions ?? []) to.u32(func)
    })
    section(SECTION.code, this.#funcs.length, to => {
      for (const { code } of this.#funcs) to.sized(code.finish())
    })
    return out.view().slice()
  }

  #import(module: string, name: string, write: (out: Bytes) => void): void {
    this.#imports.push(out => {
      out.name(module)
      out.name(name)
      write(out)
    })
  }
}
