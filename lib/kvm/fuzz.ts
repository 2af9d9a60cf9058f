/**
 * Random ioctls with random structures: every answer is a number, an Errno or NotModelled, whatever was asked before. Everything
 * follows from the seed. After each batch the TDX module is consistent, and once all is closed every frame has come back.
 */
import * as abi from '#abi'
import { type Hva, hva, NotModelled } from '#bits'
import { invariants } from '#tdx'
import { Errno } from './errno.ts'
import { OrdinarySample } from './ordinary/sample.ts'
import type { Sample } from './sample.ts'
import { ORDINARY_VCPU, ORDINARY_VM, SYSTEM, VCPU, VM } from './table.ts'
import { Vcpu } from './vcpu.ts'
import { Vm } from './vm.ts'

export type Fuzzed = {
  readonly calls: number
  /** How often each answer came: `ok`, an errno, `NotModelled`. */
  readonly answers: ReadonlyMap<string, number>
  /** How many different requests were done at least once. */
  readonly done: ReadonlySet<string>
  /** What was wrong, and in which batch; empty where all is well. */
  readonly wrong: readonly string[]
}

/** Calls to one machine. */
const BATCH = 2000
const MOST_FILES = 24

/** xorshift32: the same sequence everywhere. */
const generator = (seed: number): ((below: number) => number) => {
  let state = seed | 1
  return below => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % below
  }
}

const REQUESTS = [...abi.KVM_IOCTL_NAMES.keys()]
const TDX_COMMANDS = 7

const lists = new Map<ReadonlyMap<number, unknown>, number[]>()
const requests = (table: ReadonlyMap<number, unknown>): readonly number[] => {
  const known = lists.get(table) ?? [...table.keys()]
  lists.set(table, known)
  return known
}

/** Requests that most often change something, asked more often. */
const EAGER = [
  abi.KVM_RUN,
  abi.KVM_RUN,
  abi.KVM_RUN,
  abi.KVM_MEMORY_ENCRYPT_OP,
  abi.KVM_MEMORY_ENCRYPT_OP,
  abi.KVM_SET_MEMORY_ATTRIBUTES,
  abi.KVM_SET_USER_MEMORY_REGION2,
  abi.KVM_SET_USER_MEMORY_REGION,
  abi.KVM_CREATE_GUEST_MEMFD,
  abi.KVM_PRE_FAULT_MEMORY,
  abi.KVM_CREATE_VM,
  abi.KVM_CREATE_VCPU,
  abi.KVM_ENABLE_CAP,
  abi.KVM_SET_CPUID2,
  abi.KVM_SET_SREGS,
  abi.KVM_SET_REGS,
  abi.KVM_IOEVENTFD,
  abi.KVM_IRQFD,
  abi.KVM_IRQ_LINE_STATUS,
  abi.KVM_SET_IRQCHIP,
  abi.KVM_SET_PIT2,
  abi.KVM_RESET_DIRTY_RINGS,
  abi.KVM_SET_GUEST_DEBUG,
]
const CREATES = [abi.KVM_CREATE_VM, abi.KVM_CREATE_VCPU, abi.KVM_CREATE_GUEST_MEMFD, abi.KVM_LINK_GUEST_MEMFD]
const GPAS = [0n, 0x1000n, 0x4000_0000n, 0x4000_1000n, 0xffff_f000n, 1n << 47n, 1n << 51n]
const SMALL = [0n, 0n, 1n, 2n, 3n, 4n, 5n, 8n, 12n, 16n, 24n, 4096n, 8192n, 0x10_0000n]

const DIRTY_RING = { cap: abi.KVM_CAP_DIRTY_LOG_RING, args: [16384n, 0n, 0n, 0n] }

/** One machine: an ordinary VM that can run, a TD that runs, one that is being built, and what comes of the calls. */
class Machine {
  readonly sample: Sample
  readonly #random: (below: number) => number
  readonly #files: number[] = []
  readonly #events: number[] = []
  readonly #structs: Hva
  readonly #pages: Hva

  constructor(random: (below: number) => number) {
    this.#random = random
    const hasChips = random(2) === 0
    const hasRing = random(3) === 0
    const options = { processors: 2, tdx: true, seed: BigInt(random(2 ** 31)) }
    const sample = new OrdinarySample(options, made => {
      const { host, vm } = made
      if (hasChips) host.ioctl(vm, abi.KVM_CREATE_IRQCHIP)
      if (hasChips) host.ioctl(vm, abi.KVM_CREATE_PIT)
      if (hasRing) made.call(vm, abi.KVM_ENABLE_CAP, abi.kvm_enable_cap, DIRTY_RING)
    })
    this.sample = sample
    const { host } = sample
    sample.code(
      'mov ebx, 0xfec00000\nagain: mov [rbx], eax\nmov ecx, [rbx+16]\nmov [rbx+16], eax\nmov eax, [0x3000]\nout 0x43, al\nout 0x40, al\nin al, 0x41\nout 0x20, al\nmov [0x5000], eax\nout 0x80, al\nmov [0x20000000], eax\ncpuid\njmp again',
    )
    const running = sample.build(Uint8Array.of(0xeb, 0xfe))
    const built = sample.createVm()
    sample.splitIrqchip(built)
    sample.initVm(built)
    sample.addSlot(built, 0, 0x4000_0000n, 4)
    const fresh = sample.createVm()
    this.#files.push(sample.kvm, sample.vm, sample.vcpu(), running.vm, running.vcpu, running.memfd, built, fresh)
    this.#files.push(sample.addVcpu(built, 0))
    this.#events.push(host.eventfd(), host.eventfd(1n))
    this.#structs = sample.scratch
    this.#pages = host.mmap(16 * 4096)
    host.signalPending = () => random(3) === 0
    host.quantum = () => 200
    host.onBlock = () => false
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random(from.length)]!
  }

  /** A word of a structure: a number that fits somewhere, an address of the guest's or the host's, a descriptor, rubbish. */
  #word(): bigint {
    const kind = this.#random(16)
    if (kind < 7) return this.#pick(SMALL)
    if (kind < 9) return this.#pick(GPAS)
    if (kind < 11) return this.#pages + BigInt(this.#random(16) * 4096)
    if (kind < 13) return BigInt(this.#pick([...this.#files, ...this.#events]))
    if (kind < 14) return BigInt(this.#random(2 ** 31)) | (BigInt(this.#random(64)) << 32n)
    return kind < 15 ? 1n << BigInt(this.#random(64)) : (1n << 64n) - BigInt(this.#random(3))
  }

  /** Bytes at the structures' place: words of 8 bytes, some of them as two. A command of TDX points behind itself. */
  #fill(request: number): void {
    const { host } = this.sample
    const at = this.#structs
    for (let n = 0; n < 48; n++) {
      const word =
        this.#random(3) === 0 ? (this.#word() & 0xffff_ffffn) | ((this.#word() & 0xffff_ffffn) << 32n) : this.#word()
      host.store(hva(at + BigInt(8 * n)), 8, word)
    }
    if (request !== abi.KVM_MEMORY_ENCRYPT_OP || this.#random(8) === 0) return
    const data = hva(at + 64n)
    host.set(abi.kvm_tdx_cmd, at, {
      id: this.#random(TDX_COMMANDS),
      flags: this.#random(3) === 0 ? 1 : 0,
      data,
      hw_error: 0n,
    })
    if (this.#random(2) === 0)
      host.write(data, abi.kvm_tdx_init_vm.encode({ attributes: this.#random(4) === 0 ? 1n << 28n : 0n }))
    else
      host.write(
        data,
        abi.kvm_tdx_init_mem_region.encode({ source_addr: this.#pages, gpa: this.#pick(GPAS), nr_pages: 1n }),
      )
  }

  /** Mostly one that the file has. */
  #request(fd: number): number {
    const kind = this.#random(24)
    if (kind === 0) return this.#random(2 ** 31)
    if (kind < 3) return this.#pick(REQUESTS)
    const file = this.sample.host.descriptors.get(fd)
    const known =
      file instanceof Vcpu
        ? requests(file.vm.isTd ? VCPU : ORDINARY_VCPU)
        : file instanceof Vm
          ? requests(file.isTd ? VM : ORDINARY_VM)
          : requests(SYSTEM)
    const eager = EAGER.filter(request => known.includes(request) || (request === abi.KVM_RUN && file instanceof Vcpu))
    return kind < 12 && eager.length > 0 ? this.#pick(eager) : this.#pick(known)
  }

  /** Request and answer. */
  call(): { readonly request: number; readonly answer: string } {
    const { host } = this.sample
    const fd = this.#pick(this.#files)
    const request = this.#request(fd)
    const isPointer = this.#random(6) !== 0
    if (isPointer) this.#fill(request)
    const pointer = this.#random(24) === 0 ? this.#pick([0n, 0x1000n, 1n << 63n, (1n << 64n) - 8n]) : this.#structs
    const arg = request === abi.KVM_RUN || !isPointer ? BigInt(this.#random(8)) : pointer
    try {
      const result = host.ioctl(
        fd,
        request,
        CREATES.includes(request) && this.#random(2) === 0 ? BigInt(this.#random(7)) : arg,
      )
      if (!(result >= 0)) throw new Error(`${abi.KVM_IOCTL_NAMES.get(request)} gave ${result}`)
      if (CREATES.includes(request) && this.#files.length < MOST_FILES) this.#files.push(result)
      else if (CREATES.includes(request)) host.close(result)
      return { request, answer: 'ok' }
    } catch (error) {
      if (error instanceof Errno) return { request, answer: error.code }
      if (error instanceof NotModelled) return { request, answer: error.name }
      throw error
    }
  }

  /** Now and then something is closed, unmapped, or signalled. */
  disturb(): void {
    const { host } = this.sample
    const kind = this.#random(60)
    if (kind === 0 && this.#files.length > 10) {
      const at = 9 + this.#random(this.#files.length - 9)
      host.close(this.#files.splice(at, 1)[0]!)
    } else if (kind < 3) {
      try {
        host.signalEventfd(this.#pick(this.#events))
      } catch (error) {
        if (!(error instanceof Errno)) throw error
      }
    } else if (kind < 4)
      host.write(hva(this.#pages + BigInt(this.#random(16) * 4096)), Uint8Array.of(this.#random(256)))
  }
}

export const fuzzIoctls = (seed: number, calls: number): Fuzzed => {
  const answers = new Map<string, number>()
  const done = new Set<string>()
  const wrong: string[] = []
  let made = 0
  for (let batch = 0; made < calls; batch++) {
    const random = generator((seed * 0x9e37_79b9 + batch * 0x85eb_ca6b) >>> 0)
    const machine = new Machine(random)
    const { host } = machine.sample
    let last = ''
    try {
      for (let i = 0; i < BATCH && made < calls; i++, made++) {
        const { request, answer } = machine.call()
        last = `${abi.KVM_IOCTL_NAMES.get(request) ?? request} ${answer}`
        answers.set(answer, (answers.get(answer) ?? 0) + 1)
        if (answer === 'ok') done.add(abi.KVM_IOCTL_NAMES.get(request) ?? `${request}`)
        machine.disturb()
      }
      for (const what of invariants(host.tdx().seam(0).module)) wrong.push(`batch ${batch}: ${what}`)
      host.signalPending = undefined
      host.close()
      if (host.memory.used !== 0) wrong.push(`batch ${batch}: ${host.memory.used} frames did not come back`)
    } catch (error) {
      made++
      wrong.push(`batch ${batch}, call ${made}, after ${last}: ${error instanceof Error ? error.stack : error}`)
    }
  }
  return { calls: made, answers, done, wrong }
}
