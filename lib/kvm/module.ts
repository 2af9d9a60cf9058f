/** The host kernel's side of the TDX module: boots it with SYS.* SEAMCALLs, and keeps what it reports. Linux arch/x86/virt/vmx/tdx/tdx.c. */
import {
  SYS_FIELDS,
  TDH_SYS_CONFIG,
  TDH_SYS_INIT,
  TDH_SYS_KEY_CONFIG,
  TDH_SYS_LP_INIT,
  TDH_SYS_RD,
  TDH_SYS_TDMR_INIT,
  TDMR_INFO,
  TDMR_INFO_ALIGNMENT,
} from '#abi'
import { type Hpa, hex, hpa, PAGE_SIZE } from '#bits'
import { type Platform, TdxModule } from '#tdx'
import type { PhysicalMemory } from '#x86'
import type { CpuidEntry } from './cpuid.ts'
import { KeyIds } from './hkid.ts'
import { Seam } from './seam.ts'

const GIB = 2 ** 30
const MIB2 = 2 ** 21

/** What KVM wants to know of the TDX module. */
export type TdxInfo = {
  /** Pages of TDCS, all given by MNG.ADDCX. */
  readonly tdcsPages: number
  /** Pages of TDVPS: TDVPR and those given by VP.ADDCX. */
  readonly tdvpsPages: number
  readonly attributesFixed0: bigint
  readonly attributesFixed1: bigint
  readonly xfamFixed0: bigint
  readonly xfamFixed1: bigint
  /** Configurable CPUID bits, in the order TD_PARAMS wants the values; an index of 0xffff_ffff: the leaf has no sub-leaves. */
  readonly cpuidConfig: readonly CpuidEntry[]
  /** The host's TSC frequency. */
  readonly tscKhz: number
}

type Reserved = { readonly offset: number; readonly size: number }

/** What is not convertible memory, or belongs to the PAMT, is no TD's: holes of [0, size). Both lists are in address order. */
const holes = (usable: readonly Reserved[], size: number, pamt: Reserved): Reserved[] => {
  const out: Reserved[] = []
  let at = 0
  for (const { offset, size: bytes } of usable) {
    if (offset > at) out.push({ offset: at, size: offset - at })
    at = offset + bytes
  }
  if (at < size) out.push({ offset: at, size: size - at })
  out.push(pamt)
  return out.sort((a, b) => a.offset - b.offset)
}

/** One booted TDX module, its key IDs and one SEAMCALL door per logical processor. */
export class Tdx {
  readonly memory: PhysicalMemory
  readonly platform: Platform
  readonly module: TdxModule
  readonly keyIds: KeyIds
  readonly info: TdxInfo
  /** Bit of a physical address where the key ID starts. */
  readonly keyShift: bigint
  readonly #seams: Seam[]
  /** Frames of the PAMT: first, and how many. */
  #pamt: { readonly first: Hpa; readonly frames: number } = { first: hpa(0), frames: 0 }

  constructor(memory: PhysicalMemory, platform: Platform, processors: number, seed: bigint) {
    this.memory = memory
    this.platform = platform
    this.module = new TdxModule({ memory, platform, seed, processors })
    this.#seams = Array.from({ length: processors }, (_, id) => new Seam(this.module, { id, quantum: 0 }))
    // IA32_MKTME_KEYID_PARTITIONING and IA32_TME_ACTIVATE: the first private key ID is the module's own.
    const { firstPrivateHkid, keyIdBits, physicalAddressBits } = platform
    this.keyShift = BigInt(physicalAddressBits - keyIdBits)
    this.keyIds = new KeyIds(firstPrivateHkid + 1, 2 ** keyIdBits - firstPrivateHkid - 1)
    const boot = this.seam(0)
    boot.must('TDH.SYS.INIT', TDH_SYS_INIT)
    for (const seam of this.#seams) seam.must('TDH.SYS.LP.INIT', TDH_SYS_LP_INIT)
    this.info = this.#readInfo()
    this.#configure(firstPrivateHkid)
  }

  /** The SEAMCALL door of a logical processor; vCPUs are spread over them by id. */
  seam(index: number): Seam {
    return this.#seams[index % this.#seams.length]!
  }

  /** The shared EPT of some TD has changed: INVEPT, all contexts. */
  invept(): void {
    this.module.invept()
  }

  /** SYS.RD of a field, or of the n-th of its elements. */
  #rd(name: string, element = 0): bigint {
    const field = SYS_FIELDS.find(candidate => candidate.name === name)
    if (field === undefined) throw new Error(`SYS.RD has no field ${name}`)
    const seam = this.seam(0)
    seam.must(`TDH.SYS.RD(${name})`, TDH_SYS_RD, 0n, field.id + BigInt(element))
    return seam.regs.r8
  }

  #readInfo(): TdxInfo {
    const cpuidConfig: CpuidEntry[] = []
    const count = Number(this.#rd('NUM_CPUID_CONFIG'))
    const low = (value: bigint): number => Number(value & 0xffff_ffffn)
    for (let i = 0; i < count; i++) {
      const leaf = this.#rd('CPUID_CONFIG_LEAVES', i)
      const first = this.#rd('CPUID_CONFIG_VALUES', 2 * i)
      const second = this.#rd('CPUID_CONFIG_VALUES', 2 * i + 1)
      cpuidConfig.push({
        function: low(leaf),
        index: low(leaf >> 32n),
        flags: 0,
        eax: low(first),
        ebx: low(first >> 32n),
        ecx: low(second),
        edx: low(second >> 32n),
      })
    }
    return {
      tdcsPages: Number(this.#rd('TDCS_BASE_SIZE')) / PAGE_SIZE,
      tdvpsPages: Number(this.#rd('TDVPS_BASE_SIZE')) / PAGE_SIZE,
      attributesFixed0: this.#rd('ATTRIBUTES_FIXED0'),
      attributesFixed1: this.#rd('ATTRIBUTES_FIXED1'),
      xfamFixed0: this.#rd('XFAM_FIXED0'),
      xfamFixed1: this.#rd('XFAM_FIXED1'),
      cpuidConfig,
      tscKhz: this.platform.tscFrequency * 25_000,
    }
  }

  /** One TDMR over all memory, its PAMT, the global key, and the PAMT's initialization. */
  #configure(globalHkid: number): void {
    const { memory } = this
    const cmrs: Reserved[] = []
    const count = Number(this.#rd('NUM_CMRS'))
    for (let i = 0; i < count; i++) {
      cmrs.push({ offset: Number(this.#rd('CMR_BASE', i)), size: Number(this.#rd('CMR_SIZE', i)) })
    }
    const size = Math.ceil(memory.u8.length / GIB) * GIB
    const pages = (entries: number, field: string): number => Math.ceil((entries * Number(this.#rd(field))) / PAGE_SIZE)
    const pamt4k = pages(size / PAGE_SIZE, 'PAMT_4K_ENTRY_SIZE')
    const pamt2m = pages(size / MIB2, 'PAMT_2M_ENTRY_SIZE')
    const pamt1g = pages(size / GIB, 'PAMT_1G_ENTRY_SIZE')
    const frames = pamt4k + pamt2m + pamt1g
    const first = memory.allocateRun(frames)
    this.#pamt = { first, frames }

    const reserved = holes(cmrs, size, { offset: first, size: frames * PAGE_SIZE })
    const page = memory.allocate()
    const at = page + TDMR_INFO_ALIGNMENT
    TDMR_INFO.write(memory.view, at, {
      tdmr_base: 0n,
      tdmr_size: BigInt(size),
      pamt_4k_base: BigInt(first),
      pamt_4k_size: BigInt(pamt4k * PAGE_SIZE),
      pamt_2m_base: BigInt(first + pamt4k * PAGE_SIZE),
      pamt_2m_size: BigInt(pamt2m * PAGE_SIZE),
      pamt_1g_base: BigInt(first + (pamt4k + pamt2m) * PAGE_SIZE),
      pamt_1g_size: BigInt(pamt1g * PAGE_SIZE),
      reserved: reserved.flatMap(({ offset, size: bytes }) => [BigInt(offset), BigInt(bytes)]),
    })
    memory.write(page, 8, BigInt(at))
    const seam = this.seam(0)
    seam.must('TDH.SYS.CONFIG', TDH_SYS_CONFIG, BigInt(page), 1n, BigInt(globalHkid))
    memory.free(page)
    for (let i = 0; i < this.platform.packages; i++) {
      const processor = Math.floor((i * this.#seams.length) / this.platform.packages)
      this.seam(processor).must('TDH.SYS.KEY.CONFIG', TDH_SYS_KEY_CONFIG)
    }
    let next = 0n
    while (next < BigInt(size)) {
      seam.must('TDH.SYS.TDMR.INIT', TDH_SYS_TDMR_INIT, 0n)
      const { rdx } = seam.regs
      if (rdx <= next) throw new Error(`TDH.SYS.TDMR.INIT makes no progress at ${hex(next)}`)
      next = rdx
    }
  }

  /** For another host on the same machine: as after a boot with its seed. False where something is left of the host before. */
  reset(seed: bigint): boolean {
    return this.keyIds.used === 0 && this.module.reset(seed)
  }

  /** The machine is switched off: the PAMT's frames go back. */
  close(): void {
    const { first, frames } = this.#pamt
    this.memory.freeRun(first, frames)
  }
}
