/** Port I/O and MMIO of a guest: instructions in an ordinary VM, TDVMCALLs in a TD, whose status is asserted. */
import type { Size } from '#bits'
import type { GuestBuilder } from './builder.ts'
import type { Says } from './says.ts'
import type { Place } from './site.ts'
import { type NameOf, type TypeName, typeOf, u64 } from './types.ts'
import { type In, operandIn, Value } from './value.ts'

/** Part of RAX that IN and OUT of `size` bytes move. */
const portRegister = (size: Size): string => {
  const found = { 1: 'al', 2: 'ax', 4: 'eax', 8: undefined }[size]
  if (found === undefined) throw new RangeError(`port I/O of ${size} bytes: there is 1, 2 and 4`)
  return found
}

export type Io = {
  out(port: In<'u64'>, size: Size, value: In<TypeName>, place: Place): void
  in<S extends Size>(port: In<'u64'>, size: S, place: Place): Value<NameOf<S>>
  mmioRead<S extends Size>(gpa: In<'u64'>, size: S, place: Place): Value<NameOf<S>>
  mmioWrite(gpa: In<'u64'>, size: Size, value: In<TypeName>, place: Place): void
  halt(place: Place): void
}

export const ioOf = (g: GuestBuilder, says: Says, isTd: boolean, sharedBit: bigint): Io => {
  const succeeded = (status: Value<'u64'>, place: Place, what: string) =>
    says.check('assert', 'eq', status, 0n, place, `${what}: status`)
  const shared = (gpa: In<'u64'>): In<'u64'> => (gpa instanceof Value ? gpa.or(sharedBit) : BigInt(gpa) | sharedBit)
  const wide = (size: Size, value: In<TypeName>): Value<'u64'> => {
    const t = typeOf(size)
    return new Value(g, t, operandIn(t, value as In<'u64'>)).as(u64)
  }
  return {
    out(port, size, value, place) {
      const data = wide(size, value)
      if (!isTd) {
        g.asm(`out dx, ${portRegister(size)}`, { in: { rax: data, rdx: port }, clobbers: [] })
        return
      }
      const { status } = g.vmcall.io({ size: BigInt(size), direction: 1n, port, data })
      succeeded(status, place, 'TDVMCALL Instruction.IO (write)')
    },
    in(port, size, place) {
      const t = typeOf(size)
      if (!isTd) {
        const text = `in ${portRegister(size)}, dx`
        return g.asm(text, { in: { rdx: port, rax: 0n }, out: ['rax'], clobbers: [] }).rax.as(t)
      }
      const { status, data } = g.vmcall.io({ size: BigInt(size), direction: 0n, port })
      succeeded(status, place, 'TDVMCALL Instruction.IO (read)')
      return data.as(t)
    },
    mmioRead(gpa, size, place) {
      const { status, data } = g.vmcall.mmio({ size: BigInt(size), direction: 0n, gpa: shared(gpa) })
      succeeded(status, place, 'TDVMCALL #VE.RequestMMIO (read)')
      return data.as(typeOf(size))
    },
    mmioWrite(gpa, size, value, place) {
      const data = wide(size, value)
      const { status } = g.vmcall.mmio({ size: BigInt(size), direction: 1n, gpa: shared(gpa), data })
      succeeded(status, place, 'TDVMCALL #VE.RequestMMIO (write)')
    },
    halt(place) {
      if (isTd) succeeded(g.vmcall.hlt({ interruptsBlocked: 0n }).status, place, 'TDVMCALL Instruction.HLT')
      else g.cpu.hlt()
    },
  }
}
