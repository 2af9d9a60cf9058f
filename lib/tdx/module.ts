/** The TDX module: its global state, the objects behind its pages, and the SEAMCALL door. */
import {
  PT_NDA,
  PT_RSVD,
  PT_TDR,
  PT_TDVPR,
  statusName,
  TDH_SYS_LP_SHUTDOWN,
  TDX_OPERAND_INVALID,
  TDX_SYS_NOT_READY,
  TDX_SYS_SHUTDOWN,
} from '#abi'
import { type Hpa, hpa, NotModelled, seen } from '#bits'
import type { CpuOptions, PhysicalMemory } from '#x86'
import { Cpu } from '#x86'
import { type FaultOptions, Faults } from './faults.ts'
import type { TdCpuid } from './guest/cpuid.ts'
import type { LogicalProcessor, TdcallResult } from './leaf.ts'
import { SEAMCALL_NAMES } from './not-modelled.ts'
import { page } from './operand.ts'
import { LEVEL_SIZE, Pamt } from './pamt.ts'
import type { Platform } from './platform.ts'
import { Random } from './random.ts'
import { type SeamcallRegs, WORD } from './registers.ts'
import { notBuilt, SEAMCALLS } from './seamcall/index.ts'
import { about, TdxStatus } from './status.ts'
import type { Td } from './td.ts'
import type { Vcpu } from './vcpu.ts'

/** tdx_global_data.h, sys_state. */
export type ModuleState = 'SYSINIT_PENDING' | 'SYSINIT_DONE' | 'SYSCONFIG_DONE' | 'SYS_READY' | 'SYS_SHUTDOWN'

/** Key ownership table entry. */
export type Key = {
  state: 'HKID_FREE' | 'HKID_ASSIGNED' | 'HKID_FLUSHED' | 'HKID_RESERVED'
  /** Packages whose caches may hold lines of the key. */
  wbinvd: number
}

export type ModuleOptions = {
  readonly memory: PhysicalMemory
  readonly platform: Platform
  /** Of everything random: TD UUIDs, RDRAND in guests. */
  readonly seed: bigint
  /** Logical processors of the machine. */
  readonly processors: number
  /** How a vCPU gets its CPU; default: the emulated one. */
  readonly makeCpu?: (options: CpuOptions) => Cpu
  /** Statuses of a busy machine, injected; default: none. */
  readonly faults?: FaultOptions
}

/** Leaves that tell of an entry of the tree in RCX and RDX, and of none where they did not get that far. */
const ZEROES_ON_FAILURE: readonly number[] = SEAMCALLS.flatMap(call =>
  call !== undefined && SEAMCALL_NAMES.get(call.number)?.startsWith('TDH.MEM.') === true ? [call.number] : [],
)

/** RAX: a leaf's number and version, nothing above. */
const MOST_RAX = 0xff_ffff

export class TdxModule {
  readonly memory: PhysicalMemory
  readonly platform: Platform
  readonly processors: number
  random: Random
  /** Addresses below it have nothing in their key id bits. */
  readonly plainEnd: number
  /** All bits of an address but those of the key id. */
  readonly withoutKeyId: bigint
  readonly makeCpu: (options: CpuOptions) => Cpu
  state: ModuleState = 'SYSINIT_PENDING'
  /** Logical processors whose SYS.LP.INIT is done. */
  readonly initialisedLps = new Set<number>()
  readonly pamt: Pamt
  /** SYS.SHUTDOWN has left what the next module needs to take over. */
  hasHandoff = false
  /** Set to inject statuses, from the next call on. */
  faults: Pick<Faults, 'seamcall' | 'tdcall'> | undefined
  /** Packages whose global key is configured, and the global key id. */
  configuredPackages = 0
  globalHkid = 0
  readonly keys = new Map<number, Key>()
  readonly tds = new Map<Hpa, Td>()
  readonly vcpus = new Map<Hpa, Vcpu>()
  /** TDH.PHYMEM.CACHE.WB that was interrupted, by package: parts done, and the keys that it is for. */
  readonly writeBacks = new Map<number, { done: number; readonly keys: readonly Key[] }>()
  /** CPUID of TDs, by how they are configured. */
  readonly cpuids = new Map<string, TdCpuid>()
  /** Who watches TDCALLs: calls `call` and hands its result on. */
  onTdcall: ((vcpu: Vcpu, cpu: Cpu, call: () => TdcallResult) => TdcallResult) | undefined
  /** Private frames that the host wrote: the next use by their TD is a machine check. */
  readonly poisoned = new Set<Hpa>()

  constructor({ memory, platform, seed, processors, makeCpu, faults }: ModuleOptions) {
    this.memory = memory
    this.platform = platform
    this.processors = processors
    const keyShift = BigInt(platform.physicalAddressBits - platform.keyIdBits)
    this.plainEnd = 2 ** Number(keyShift)
    this.withoutKeyId = ~(((1n << BigInt(platform.keyIdBits)) - 1n) << keyShift)
    this.random = new Random(seed)
    this.makeCpu = makeCpu ?? (options => new Cpu(options))
    this.pamt = new Pamt(memory)
    if (faults !== undefined) this.faults = new Faults(faults)
  }

  /** One SEAMCALL: RAX holds leaf and version, then the completion status. */
  seamcall(lp: LogicalProcessor, regs: SeamcallRegs): void {
    if (seen === undefined) {
      this.#seamcall(lp, regs)
      return
    }
    const leaf = Number(regs.rax & 0xffffn)
    this.#seamcall(lp, regs)
    seen(SEAMCALL_NAMES.get(leaf) ?? `SEAMCALL ${leaf}`, statusName(regs.rax))
  }

  #seamcall(lp: LogicalProcessor, regs: SeamcallRegs): void {
    const rax = regs.words[WORD.RAX]!
    const isPlain = rax <= MOST_RAX && regs.words[WORD.RAX + 1] === 0
    const leaf = isPlain ? rax & 0xffff : 0
    const version = isPlain ? rax >>> 16 : 0
    const call = SEAMCALLS[leaf]
    if (!isPlain || version > (call?.versions ?? 0)) {
      regs.rax = about(TDX_OPERAND_INVALID, 'RAX')
    } else if (this.state === 'SYS_SHUTDOWN' && leaf !== TDH_SYS_LP_SHUTDOWN) {
      regs.rax = TDX_SYS_SHUTDOWN
    } else if (this.state !== 'SYS_READY' && call?.early !== true) {
      regs.rax = TDX_SYS_NOT_READY
    } else if (call === undefined) {
      regs.rax = notBuilt(leaf)
    } else {
      const injected = this.faults?.seamcall(leaf)
      if (injected !== undefined) {
        if (ZEROES_ON_FAILURE.includes(leaf)) {
          regs.rcx = 0n
          regs.rdx = 0n
        }
        regs.rax = injected
        return
      }
      try {
        const status = call.run(this, regs, lp, version)
        if (status !== undefined) regs.rax = status
      } catch (error) {
        if (!(error instanceof TdxStatus)) throw error
        regs.rax = error.code
      }
    }
  }

  /** A page goes back to the host: what was wrong with its lines is over. `level` as in the PAMT. */
  heal(at: Hpa, level: 0 | 1 | 2): void {
    if (this.poisoned.size === 0) return
    if (level === 0) this.poisoned.delete(at)
    else
      for (const frame of this.poisoned) if (frame >= at && frame < at + LEVEL_SIZE[level]) this.poisoned.delete(frame)
  }

  /** The host's INVEPT, all contexts: needed where it changed a shared EPT. Not a SEAMCALL but an instruction. */
  invept(): void {
    for (const vcpu of this.vcpus.values()) vcpu.stage?.invalidate()
  }

  /** The emulator's own debugger, for a TDVPR page; not part of any host ABI. */
  inspect(tdvpr: Hpa): { readonly vcpu: Vcpu; readonly cpu: Cpu | undefined } | undefined {
    const vcpu = this.vcpus.get(tdvpr)
    return vcpu === undefined ? undefined : { vcpu, cpu: vcpu.cpu }
  }

  /** Is the frame a private page or control page of a TD (or the module's)? What the host reads of such is not its content. */
  isPrivate(frame: Hpa): boolean {
    if (this.pamt.holds(frame)) return true
    const entry = this.pamt.find(frame)
    if (entry === 0) return false
    const type = this.pamt.type(entry)
    return type !== PT_NDA && type !== PT_RSVD
  }

  /** Tells the module that the host wrote to a frame; memory integrity makes the TD notice where it was its own. */
  hostWrote(frame: Hpa): void {
    if (!this.isPrivate(frame)) return
    this.poisoned.add(hpa(frame - (frame % 4096)))
    this.invept()
  }

  /**
   * As it was after its boot, with another seed; the PAMT is as the last TDs left it, free. False where that cannot be: a TD
   * lives, or the module is not ready.
   */
  reset(seed: bigint): boolean {
    if (this.state !== 'SYS_READY' || this.tds.size > 0 || this.vcpus.size > 0) return false
    this.random = new Random(seed)
    for (const hkid of this.keys.keys()) if (hkid !== this.globalHkid) this.keys.delete(hkid)
    this.poisoned.clear()
    this.writeBacks.clear()
    this.faults = undefined
    this.onTdcall = undefined
    return true
  }

  /**
   * The SEAM loader has put a module over this one, which is shut down; it starts with SYS.INIT. TDs, keys and PAMTs wait for
   * TDH.SYS.UPDATE. Not a SEAMCALL of the module's. Throws where it runs, or has left no handoff data.
   */
  install(): void {
    if (this.state !== 'SYS_SHUTDOWN') throw new Error(`a module is installed over one that is ${this.state}`)
    if (!this.hasHandoff) throw new NotModelled('installing a module over one that has left no handoff data')
    this.state = 'SYSINIT_PENDING'
    this.initialisedLps.clear()
    this.invept()
  }

  packageOf(lp: LogicalProcessor): number {
    return Math.floor((lp.id * this.platform.packages) / this.processors)
  }

  get allPackages(): number {
    return 2 ** this.platform.packages - 1
  }

  isPrivateHkid(hkid: number): boolean {
    return hkid >= this.platform.firstPrivateHkid && hkid < 2 ** this.platform.keyIdBits
  }

  key(hkid: number): Key {
    let key = this.keys.get(hkid)
    if (key === undefined) {
      key = { state: 'HKID_FREE', wbinvd: 0 }
      this.keys.set(hkid, key)
    }
    return key
  }

  /** The TD that a SEAMCALL named last, and its TDR operand in halves: most name the one that the call before them named. */
  #last: { readonly low: number; readonly high: number; readonly td: Td } | undefined

  /** The TD of a TDR operand. */
  td(tdr: bigint, operand: 'RCX' | 'RDX'): Td {
    return this.tdOf(Number(tdr & 0xffff_ffffn), Number(tdr >> 32n), operand)
  }

  /** The same, with the operand in halves. */
  tdOf(low: number, high: number, operand: 'RCX' | 'RDX'): Td {
    const last = this.#last
    if (last !== undefined && last.low === low && last.high === high) return last.td
    const at = page(this, BigInt(low) | (BigInt(high) << 32n), PT_TDR, operand)
    const td = this.ownerOf(this.pamt.find(at), at)
    this.#last = { low, high, td }
    return td
  }

  /** The TD's root page is no longer one. */
  forget(tdr: Hpa): void {
    this.tds.delete(tdr)
    this.#last = undefined
  }

  /** The vCPU that a SEAMCALL named last, and its TDVPR operand in halves. */
  #lastVcpu: { readonly low: number; readonly high: number; readonly vcpu: Vcpu } | undefined

  /** The vCPU of a TDVPR operand. */
  vcpu(tdvpr: bigint, operand: 'RCX' | 'RDX'): Vcpu {
    return this.vcpuOf(Number(tdvpr & 0xffff_ffffn), Number(tdvpr >> 32n), operand)
  }

  /** The same, with the operand in halves. */
  vcpuOf(low: number, high: number, operand: 'RCX' | 'RDX'): Vcpu {
    const last = this.#lastVcpu
    if (last !== undefined && last.low === low && last.high === high) return last.vcpu
    const at = page(this, BigInt(low) | (BigInt(high) << 32n), PT_TDVPR, operand)
    const vcpu = this.vcpus.get(at)
    if (vcpu === undefined) throw new Error(`a PT_TDVPR page without a vCPU: ${at}`)
    this.#lastVcpu = { low, high, vcpu }
    return vcpu
  }

  /** The page is no vCPU's root any more. */
  forgetVcpu(tdvpr: Hpa): void {
    this.vcpus.get(tdvpr)?.close()
    this.vcpus.delete(tdvpr)
    this.#lastVcpu = undefined
  }

  /** The TD that a PAMT entry names, or that the page itself is the root of. */
  ownerOf(entry: number, at: number): Td {
    const tdr = this.pamt.type(entry) === PT_TDR ? (at as Hpa) : this.pamt.owner(entry)
    const td = this.tds.get(tdr)
    if (td === undefined) throw new Error(`a PAMT entry whose owner ${tdr} is no TD`)
    return td
  }
}
