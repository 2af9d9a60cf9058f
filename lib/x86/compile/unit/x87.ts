/**
 * The x87 unit as functions of a WebAssembly module, on the registers in the state frame. They do what numbers do that are
 * zero or normal, come to such, and meet no exception but an inexact result while all are masked; a function returns 0 then.
 * It returns 1, and has changed nothing, for all else: the interpreter takes the instruction (x87.ts and its neighbours,
 * which these functions must agree with to the last bit). SDM Vol. 1, "Programming with the x87 FPU".
 */
import { Module } from '#wasm'
import { writeAdd, writeDivide, writeMultiply, writeRound } from './x87cores.ts'
import { writeMoves } from './x87moves.ts'
import { writeArithmetic, writeCompare, writeLoad, writeStore } from './x87operands.ts'
import { writeRoundToInteger, writeSquareRoot } from './x87root.ts'
import { KINDS } from './x87unit.ts'

/** The module; its exports are the names of its functions: kinds of operands stand behind a dot. The memory is shared or is not. */
export const x87Module = (shared: boolean): Uint8Array<ArrayBuffer> => {
  const module = new Module()
  module.importMemory('env', 'memory', 1, 65536, shared)
  const round = writeRound(module)
  const cores = {
    add: writeAdd(module, round),
    mul: writeMultiply(module, round),
    div: writeDivide(module, round),
  }
  for (const kind of KINDS) {
    module.export(`ld.${kind}`, writeLoad(module, kind))
    if (kind !== 'ST') module.export(`st.${kind}`, writeStore(module, kind))
    if (kind === 'M80') continue
    for (const [name, core] of Object.entries(cores))
      module.export(`${name}.${kind}`, writeArithmetic(module, kind, core))
    module.export(`com.${kind}`, writeCompare(module, kind))
  }
  module.export('fsqrt', writeSquareRoot(module, round))
  module.export('frndint', writeRoundToInteger(module))
  for (const [name, index] of Object.entries(writeMoves(module))) module.export(name, index)
  return module.finish()
}
