/**
 * Statistics of a VM or a vCPU as a file: a header, a name, descriptions, and the numbers as they are when they are read.
 * Linux virt/kvm/binary_stats.c; names and kinds as arch/x86/kvm/x86.c, kvm_vcpu_stats_desc.
 * Not modelled: statistics of what a KVM does and this one does not (shadow pages, polling, lazy FPU state and others), which
 * have no descriptions here.
 */
import {
  KVM_STATS_NAME_SIZE,
  KVM_STATS_TYPE_CUMULATIVE,
  KVM_STATS_TYPE_INSTANT,
  KVM_STATS_UNIT_BOOLEAN,
  KVM_STATS_UNIT_NONE,
  kvm_stats_desc,
  kvm_stats_header,
} from '#abi'
import { drop, type OpenFile } from './file.ts'

/** How often something has been with a vCPU. */
export class Counts {
  exits = 0
  io_exits = 0
  mmio_exits = 0
  signal_exits = 0
  halt_exits = 0
  hypercalls = 0
}

type Statistic = { readonly name: string; readonly isState: boolean; readonly value: () => number }

export const counted = <T extends object>(counts: T, names: readonly (keyof T & string)[]): Statistic[] =>
  names.map(name => ({ name, isState: false, value: () => Number(counts[name]) }))

/** Something that is so or not at the moment. */
export const state = (name: string, is: () => boolean): Statistic => ({
  name,
  isState: true,
  value: () => (is() ? 1 : 0),
})

const text = new TextEncoder()
const DESCRIPTION = kvm_stats_desc.size + KVM_STATS_NAME_SIZE
const VALUE = 8

export class StatsFile implements OpenFile {
  readonly kind = 'stats'
  references = 0
  readonly #of: OpenFile
  readonly #name: string
  readonly #statistics: readonly Statistic[]

  /** Keeps what it tells of. */
  constructor(of: OpenFile, name: string, statistics: readonly Statistic[]) {
    of.references++
    this.#of = of
    this.#name = name
    this.#statistics = statistics
  }

  get #bytes(): Uint8Array {
    const count = this.#statistics.length
    const id_offset = kvm_stats_header.size
    const desc_offset = id_offset + KVM_STATS_NAME_SIZE
    const data_offset = desc_offset + count * DESCRIPTION
    const bytes = new Uint8Array(data_offset + count * VALUE)
    const view = new DataView(bytes.buffer)
    kvm_stats_header.write(view, 0, {
      flags: 0,
      name_size: KVM_STATS_NAME_SIZE,
      num_desc: count,
      id_offset,
      desc_offset,
      data_offset,
    })
    bytes.set(text.encode(this.#name), id_offset)
    for (const [n, { name, isState, value }] of this.#statistics.entries()) {
      const at = desc_offset + n * DESCRIPTION
      const flags = isState
        ? KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BOOLEAN
        : KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE
      kvm_stats_desc.write(view, at, { flags, exponent: 0, size: 1, offset: n * VALUE, bucket_size: 0 })
      bytes.set(text.encode(name), at + kvm_stats_desc.size)
      view.setBigUint64(data_offset + n * VALUE, BigInt(value()), true)
    }
    return bytes
  }

  /** As much of it as there is. */
  read(offset: number, length: number): Uint8Array {
    return this.#bytes.slice(offset, offset + length)
  }

  release(): void {
    drop(this.#of)
  }
}
