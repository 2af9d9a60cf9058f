/** CRC32 bit by bit. SDM Vol. 2A, "CRC32". */
import type { Emitter } from './emit.ts'
import type { Node } from './node.ts'

export type Crc = { readonly crc: Node; readonly data: Node; readonly bytes: number; readonly to: Node }

/** 11EDC6F41H, its bits turned round and the highest left out. */
const POLYNOMIAL = 0x82f6_3b78n

export const emitCrc = (emit: Emitter, { crc, data, bytes, to }: Crc): void => {
  const { code } = emit
  const [rest, left] = [emit.temp(64), emit.temp(32)]
  to.temp = emit.temp(32)
  emit.put(crc)
  emit.put(data)
  code.op('i64.xor').set(rest).i32(bytes).set(left)
  code.loop(next => {
    for (let bit = 0; bit < 8; bit++) {
      code.get(rest).i64(1n).op('i64.shr_u')
      code.i64(0n).get(rest).i64(1n).op('i64.and').op('i64.sub').i64(POLYNOMIAL).op('i64.and')
      code.op('i64.xor').set(rest)
    }
    code.get(left).i32(1).op('i32.sub').tee(left).brIf(next)
  })
  code.get(rest).op('i32.wrap_i64').set(to.temp)
}
