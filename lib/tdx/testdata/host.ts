/** A host for tests: boots the module and builds TDs by SEAMCALLs, from frames of the machine's memory. */
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { PhysicalMemory } from '#x86'
import type { LogicalProcessor } from '../leaf.ts'
import { type ModuleOptions, TdxModule } from '../module.ts'
import { type Platform, SAPPHIRE_RAPIDS } from '../platform.ts'
import { type RegisterValues, SeamcallRegs } from '../registers.ts'

type Inputs = Partial<Omit<RegisterValues, 'rax' | 'xmm'>> & { version?: number }

const GIB = 2 ** 30
export const SEPT_LEVELS = { five: 0x26n, four: 0x1en } as const

/** Options of a test TD; the defaults are what KVM would ask for. */
export type TdOptions = {
  attributes?: bigint
  xfam?: bigint
  maxVcpus?: number
  eptp?: bigint
  configFlags?: bigint
  tscFrequency?: number
  /** MRCONFIGID, 48 bytes. */
  mrConfigId?: Uint8Array
  /** Sees the bytes of TD_PARAMS before they are given. */
  edit?: (view: DataView) => void
}

export class Host {
  readonly module: TdxModule
  readonly memory: PhysicalMemory
  readonly lp: LogicalProcessor = { id: 0, quantum: 100_000 }
  /** Registers of the last call. */
  regs = new SeamcallRegs()
  #hkid: number

  constructor(
    options: { bytes?: number; processors?: number; platform?: Platform; more?: Partial<ModuleOptions> } = {},
  ) {
    const platform = options.platform ?? SAPPHIRE_RAPIDS
    this.memory = new PhysicalMemory(options.bytes ?? 2 ** 26)
    this.module = new TdxModule({
      memory: this.memory,
      platform,
      seed: 1n,
      processors: options.processors ?? 1,
      ...options.more,
    })
    this.#hkid = platform.firstPrivateHkid + 1
  }

  /** One SEAMCALL on `lp`; returns the status. */
  call(leaf: number, inputs: Inputs = {}, lp: LogicalProcessor = this.lp): bigint {
    const { version = 0, ...rest } = inputs
    this.regs = new SeamcallRegs({ ...rest, rax: BigInt(leaf) | (BigInt(version) << 16n) })
    this.module.seamcall(lp, this.regs)
    return this.regs.rax
  }

  /** A call that must succeed. */
  must(leaf: number, inputs: Inputs = {}, lp: LogicalProcessor = this.lp): SeamcallRegs {
    const status = this.call(leaf, inputs, lp)
    if (status !== abi.TDX_SUCCESS) throw new Error(`leaf ${leaf}: ${abi.statusName(status)}`)
    return this.regs
  }

  frame(): bigint {
    return BigInt(this.memory.allocate())
  }

  /** From power-on to ready. */
  boot(): this {
    this.must(abi.TDH_SYS_INIT)
    for (let id = 0; id < this.module.processors; id++) this.must(abi.TDH_SYS_LP_INIT, {}, { id, quantum: 0 })
    const { list, base } = this.tdmr()
    this.must(abi.TDH_SYS_CONFIG, { rcx: list, rdx: 1n, r8: BigInt(this.module.platform.firstPrivateHkid) })
    for (let pkg = 0; pkg < this.module.platform.packages; pkg++)
      this.must(
        abi.TDH_SYS_KEY_CONFIG,
        {},
        { id: (pkg * this.module.processors) / this.module.platform.packages, quantum: 0 },
      )
    this.must(abi.TDH_SYS_TDMR_INIT, { rcx: base })
    return this
  }

  /** As `boot`, with a TDMR of so many GiB; frames for it come from above the first MiB's allocations. */
  bootWith(gib: number): this {
    this.must(abi.TDH_SYS_INIT)
    for (let id = 0; id < this.module.processors; id++) this.must(abi.TDH_SYS_LP_INIT, {}, { id, quantum: 0 })
    const { list, base } = this.tdmr(undefined, gib)
    this.must(abi.TDH_SYS_CONFIG, { rcx: list, rdx: 1n, r8: BigInt(this.module.platform.firstPrivateHkid) })
    this.must(abi.TDH_SYS_KEY_CONFIG)
    for (let i = 0; i < gib; i++) this.must(abi.TDH_SYS_TDMR_INIT, { rcx: base })
    return this
  }

  /** The list for SYS.CONFIG: one TDMR over the first GiB; what is not memory, and the PAMTs, are reserved. */
  tdmr(
    change: (info: Record<string, bigint>, reserved: bigint[]) => void = () => {},
    gib = 1,
  ): { list: bigint; base: bigint } {
    const all = gib * GIB
    const sizes = [all / 4096, all / 2 ** 21, gib].map(entries => Math.ceil((entries * 16) / 4096))
    const pages = sizes.reduce((a, b) => a + b)
    const pamt = this.memory.allocateRun(pages)
    const [s4k = 0, s2m = 0, s1g = 0] = sizes
    const at = (page: number) => BigInt(pamt + 4096 * page)
    const info = {
      tdmr_base: 0n,
      tdmr_size: BigInt(all),
      pamt_4k_base: at(0),
      pamt_4k_size: BigInt(4096 * s4k),
      pamt_2m_base: at(s4k),
      pamt_2m_size: BigInt(4096 * s2m),
      pamt_1g_base: at(s4k + s2m),
      pamt_1g_size: BigInt(4096 * s1g),
    }
    const beyond = all - this.memory.u8.length
    const reserved = [at(0), BigInt(4096 * pages)]
    reserved.push(beyond === 0 ? 0n : BigInt(this.memory.u8.length), BigInt(beyond))
    change(info, reserved)
    const list = this.memory.allocate()
    this.memory.write(list, 8, BigInt(list + 512))
    this.memory.set(list + 512, abi.TDMR_INFO.encode({ ...info, reserved: [...reserved, ...Array(28).fill(0n)] }))
    return { list: BigInt(list), base: info.tdmr_base }
  }

  nextHkid(): bigint {
    return BigInt(this.#hkid++)
  }

  /** A TD with its key and its TDCX pages; returns the TDR. */
  create(pages = abi.MIN_TDCS_PAGES): bigint {
    const tdr = this.frame()
    this.must(abi.TDH_MNG_CREATE, { rcx: tdr, rdx: this.nextHkid() })
    for (let pkg = 0; pkg < this.module.platform.packages; pkg++)
      this.must(abi.TDH_MNG_KEY_CONFIG, { rcx: tdr }, { id: pkg, quantum: 0 })
    for (let i = 0; i < pages; i++) this.must(abi.TDH_MNG_ADDCX, { rcx: this.frame(), rdx: tdr })
    return tdr
  }

  /** TD_PARAMS in a fresh frame. `edit` sees its bytes. */
  params(options: TdOptions = {}, edit: (view: DataView) => void = () => {}): bigint {
    const bytes = abi.TD_PARAMS.encode({
      attributes: options.attributes ?? 0n,
      xfam: options.xfam ?? 3n,
      max_vcpus: options.maxVcpus ?? 4,
      eptp_controls: options.eptp ?? SEPT_LEVELS.four,
      config_flags: options.configFlags ?? abi.TDX_CONFIG_FLAGS_NO_RBP_MOD,
      tsc_frequency: options.tscFrequency ?? 100,
      ...(options.mrConfigId === undefined ? {} : { mr_config_id: options.mrConfigId }),
    })
    edit(new DataView(bytes.buffer))
    const frame = this.memory.allocate()
    this.memory.set(frame, bytes)
    return BigInt(frame)
  }

  /** An initialised TD. */
  td(options: TdOptions = {}): bigint {
    const tdr = this.create()
    this.must(abi.TDH_MNG_INIT, { rcx: tdr, rdx: this.params(options, options.edit) })
    return tdr
  }

  /** A vCPU with its pages; `initialise` false leaves VP.INIT out. */
  vcpu(tdr: bigint, { rcx = 0n, initialise = true, x2apicId = -1 } = {}): bigint {
    const tdvpr = this.frame()
    this.must(abi.TDH_VP_CREATE, { rcx: tdvpr, rdx: tdr })
    for (let i = 1; i < abi.MIN_TDVPS_PAGES; i++) this.must(abi.TDH_VP_ADDCX, { rcx: this.frame(), rdx: tdvpr })
    if (initialise && x2apicId < 0) this.must(abi.TDH_VP_INIT, { rcx: tdvpr, rdx: rcx })
    else if (initialise) this.must(abi.TDH_VP_INIT, { rcx: tdvpr, rdx: rcx, r8: BigInt(x2apicId), version: 1 })
    return tdvpr
  }

  /** Secure EPT tables down to the 4 KiB entries of `gpa`. */
  tables(tdr: bigint, gpa: bigint, lowest = 1, top = 3): void {
    for (let level = top; level >= lowest; level--) {
      const aligned = gpa & ~((1n << BigInt(12 + 9 * level)) - 1n)
      if (this.call(abi.TDH_MEM_SEPT_RD, { rcx: aligned | BigInt(level), rdx: tdr }) !== abi.TDX_SUCCESS)
        throw new Error(abi.statusName(this.regs.rax))
      if (((this.regs.rdx >> 8n) & 0xffn) === BigInt(abi.SEPT_FREE))
        this.must(abi.TDH_MEM_SEPT_ADD, { rcx: aligned | BigInt(level), rdx: tdr, r8: this.frame() })
    }
  }

  /** A private page with this content; returns its HPA. */
  page(tdr: bigint, gpa: bigint, content: Uint8Array = new Uint8Array(0), extend = false): bigint {
    this.tables(tdr, gpa)
    const source = this.memory.allocate()
    this.memory.set(source, content)
    const target = this.frame()
    this.must(abi.TDH_MEM_PAGE_ADD, { rcx: gpa, rdx: tdr, r8: target, r9: BigInt(source) })
    this.memory.free(source)
    if (extend) for (let i = 0n; i < 4096n; i += 256n) this.must(abi.TDH_MR_EXTEND, { rcx: gpa + i, rdx: tdr })
    return target
  }

  /** From any state to nothing; gives all frames back. */
  destroy(tdr: bigint): void {
    const { module } = this
    const td = module.tds.get(Number(tdr) as Hpa)
    if (td === undefined) throw new Error('no such TD')
    for (const vcpu of module.vcpus.values())
      if (vcpu.td === td && vcpu.assocLp >= 0)
        this.must(abi.TDH_VP_FLUSH, { rcx: BigInt(vcpu.tdvpr) }, { id: vcpu.assocLp, quantum: 0 })
    this.must(abi.TDH_MNG_VPFLUSHDONE, { rcx: tdr })
    this.must(abi.TDH_PHYMEM_CACHE_WB)
    this.must(abi.TDH_MNG_KEY_FREEID, { rcx: tdr })
    for (const frame of this.owned(tdr)) {
      this.must(abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: frame })
      this.memory.free(Number(frame) as Hpa)
    }
    this.must(abi.TDH_PHYMEM_PAGE_RECLAIM, { rcx: tdr })
    this.memory.free(Number(tdr) as Hpa)
  }

  /** Frames that the PAMT says the TD owns. */
  owned(tdr: bigint): bigint[] {
    const frames: bigint[] = []
    for (let at = 0; at < this.memory.u8.length; at += 4096) {
      this.must(abi.TDH_PHYMEM_PAGE_RDMD, { rcx: BigInt(at) })
      if (this.regs.rdx === tdr) frames.push(BigInt(at))
    }
    return frames
  }
}
