/** The kinds of addresses there are, as types that cannot be mixed up. */

declare const space: unique symbol
type Address<Space extends string> = bigint & { readonly [space]: Space }

/** Guest virtual (linear) address: only the MMU turns one into a `Gpa`. */
export type Gva = Address<'gva'>
/** Guest physical address, with the shared bit where the guest set it. */
export type Gpa = Address<'gpa'>
/** Host virtual address: an address in the host process, as `userspace_addr` has it. */
export type Hva = Address<'hva'>
/** Host physical address: an offset into the machine's memory, so a number rather than a bigint. */
export type Hpa = number & { readonly [space]: 'hpa' }

export const gva = (value: bigint): Gva => BigInt.asUintN(64, value) as Gva
export const gpa = (value: bigint): Gpa => BigInt.asUintN(64, value) as Gpa
export const hva = (value: bigint): Hva => BigInt.asUintN(64, value) as Hva
export const hpa = (value: number): Hpa => value as Hpa

export const PAGE_SIZE = 4096
export const PAGE_SHIFT = 12
/** Offset inside a 4 KiB page. */
export const pageOffset = (address: bigint): number => Number(address & 0xfffn)
/** The 4 KiB page an address lies in. */
export const pageOf = <A extends bigint>(address: A): A => (address & ~0xfffn) as A
