/** Tables of variants, and their products: a test once for each VM shape, vCPU count, ucall transport. */
import type { TdOptions } from './options.ts'
import type { Variants } from './test.ts'

type Both<A extends Variants, B extends Variants> = {
  readonly [K in `${keyof A & string}_${keyof B & string}`]: A[keyof A] & B[keyof B]
}

/** Every variant of one table with every one of the next: `{ small_mmio: { ...small, ...mmio }, ... }`. */
export function product<A extends Variants, B extends Variants>(a: A, b: B): Both<A, B>
export function product<A extends Variants, B extends Variants, C extends Variants>(
  a: A,
  b: B,
  c: C,
): Both<Both<A, B>, C>
export function product(...tables: readonly Variants[]): Variants {
  return tables.reduce((all, table) =>
    Object.fromEntries(
      Object.entries(all).flatMap(([name, value]) =>
        Object.entries(table).map(([more, other]) => [`${name}_${more}`, { ...value, ...other }]),
      ),
    ),
  )
}

type Shape = Pick<TdOptions, 'gpaWidth' | 'levels' | 'transport' | 'vcpus'>

export type Kind = 'td' | 'vm'

/** What a test may run in, for `t.make`: a TD, or an ordinary VM. */
export const kinds = { td: { kind: 'td' }, vm: { kind: 'vm' } } as const satisfies Record<Kind, { kind: Kind }>

/** How a TD may be laid out: guest physical address width, levels of its own page tables. */
export const shapes = {
  gpa48: { gpaWidth: 48 },
  gpa52: { gpaWidth: 52 },
  gpa52_la57: { gpaWidth: 52, levels: 5 },
} as const satisfies Record<string, Shape>

/** Ways in which a TD's ucall reaches the host that work. */
export const transports = {
  mmio: { transport: 'mmio' },
  fatal: { transport: 'fatal' },
  port_index: { transport: 'port-index' },
} as const satisfies Record<string, Shape>

/** `vcpus(1, 2)`: `{ vcpus1: { vcpus: 1 }, vcpus2: { vcpus: 2 } }`. */
export const vcpus = <const N extends number>(...counts: readonly N[]): Readonly<Record<`vcpus${N}`, { vcpus: N }>> =>
  Object.fromEntries(counts.map(count => [`vcpus${count}`, { vcpus: count }])) as Record<`vcpus${N}`, { vcpus: N }>
