/** The part of the WebAssembly JavaScript Interface that the house uses; Node's types leave it to the browser's. */
declare namespace WebAssembly {
  type ExportValue = ((...args: (number | bigint)[]) => number | bigint | undefined) | Memory | Table
  type Imports = Record<string, Record<string, ((...args: never[]) => unknown) | Memory | Table>>

  /** Sizes in pages of 64 KiB. */
  class Memory {
    constructor(descriptor: { initial: number; maximum?: number; shared?: boolean })
    readonly buffer: ArrayBuffer
  }

  class Table {
    constructor(descriptor: { element: 'anyfunc'; initial: number; maximum?: number }, value?: unknown)
    readonly length: number
    get(index: number): ((...args: (number | bigint)[]) => number | bigint | undefined) | null
    set(index: number, value: unknown): void
    grow(delta: number): number
  }

  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>)
  }

  class Instance {
    constructor(module: Module, imports?: Imports)
    readonly exports: Record<string, ExportValue>
  }

  function validate(bytes: Uint8Array<ArrayBuffer>): boolean
}
