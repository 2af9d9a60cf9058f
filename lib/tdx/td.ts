/** A TD: its root (TDR) and control structure (TDCS), attached to their pages. intel/tdx-module, td_control_structures.h. */
import {
  MIN_TDCS_PAGES,
  OP_STATE_UNINITIALIZED,
  SEPT_ROOT_PAGE_INDEX,
  TD_HKID_ASSIGNED,
  TD_KEYS_CONFIGURED,
  TDX_CONFIG_FLAGS_GPAW,
  TDX_CONFIG_FLAGS_NO_RBP_MOD,
  TDX_OP_STATE_INCORRECT,
  TDX_TD_FATAL,
  TDX_TD_KEYS_NOT_CONFIGURED,
  TDX_TDCS_NOT_ALLOCATED,
} from '#abi'
import type { Hpa } from '#bits'
import type { TdCpuid } from './guest/cpuid.ts'
import type { Measurement } from './measure.ts'
import type { Sept } from './sept.ts'
import { check } from './status.ts'

/** A set of operation states. */
export const opStates = (...states: number[]): number => states.reduce((set, state) => set | (1 << state), 0)

const NO_MEASUREMENT = new Uint8Array(48)

export class Td {
  // TDR
  readonly tdr: Hpa
  readonly hkid: number
  readonly uuid: readonly bigint[]
  fatal = false
  lifecycle = TD_HKID_ASSIGNED
  /** Pages of the TD other than the TDR, in 4 KiB units. */
  childCount = 0
  /** Packages whose encryption key is configured. */
  packages = 0
  readonly tdcx: Hpa[] = []

  // TDCS: management
  opState = OP_STATE_UNINITIALIZED
  numVcpus = 0
  numAssocVcpus = 0
  numL2Vms = 0
  /** x2APIC ids that VP.INIT version 1 gave, by vCPU; -1 where version 0 gave none. */
  readonly x2apicIds: number[] = []

  // TDCS: execution controls, from TD_PARAMS
  attributes = 0n
  xfam = 0n
  maxVcpus = 0
  #configFlags = 0n
  /** RBP is not the guest's to give to the host, nor the host's to lose: NO_RBP_MOD. */
  keepsRbp = false
  /** 1 << 51 where CONFIG_FLAGS has GPAW, else 1 << 47; as a number, the first address that is not private. */
  sharedBit = 1n << 47n
  privateEnd = 2 ** 47
  tdCtls = 0n
  eptp = 0n
  /** In 25 MHz units. */
  tscFrequency = 0
  tscMultiplier = 0n
  archCapabilities = 0n
  notifyEnables = 0n
  /** In microseconds. td_control_structures.h, DEFAULT_HP_LOCK_TIMEOUT_USEC. */
  hpLockTimeout = 1_000_000n
  /** VM_CTLS of VM 0 to 3. */
  readonly vmCtls: bigint[] = [0n, 0n, 0n, 0n]
  cpuid: TdCpuid | undefined
  sept: Sept | undefined

  // TDCS: TLB tracking
  epoch = 1n
  /** Is the epoch even or odd? */
  parity: 0 | 1 = 1
  /** vCPUs inside VP.ENTER since an even, an odd epoch. */
  readonly refcount: [number, number] = [0, 0]

  // TDCS: measurement
  measurement: Measurement | undefined
  mrtd: Uint8Array = NO_MEASUREMENT
  mrConfigId: Uint8Array = NO_MEASUREMENT
  mrOwner: Uint8Array = NO_MEASUREMENT
  mrOwnerConfig: Uint8Array = NO_MEASUREMENT
  readonly rtmr: [Uint8Array, Uint8Array, Uint8Array, Uint8Array] = [
    NO_MEASUREMENT,
    NO_MEASUREMENT,
    NO_MEASUREMENT,
    NO_MEASUREMENT,
  ]

  constructor(tdr: Hpa, hkid: number, uuid: readonly bigint[]) {
    this.tdr = tdr
    this.hkid = hkid
    this.uuid = uuid
  }

  /** Guest physical address width: 52 (shared bit 51) or 48 (shared bit 47). */
  get gpaw(): 48 | 52 {
    return (this.configFlags & TDX_CONFIG_FLAGS_GPAW) !== 0n ? 52 : 48
  }

  get configFlags(): bigint {
    return this.#configFlags
  }
  set configFlags(value: bigint) {
    this.#configFlags = value
    this.keepsRbp = (value & TDX_CONFIG_FLAGS_NO_RBP_MOD) !== 0n
  }

  get septRoot(): Hpa {
    return this.tdcx[SEPT_ROOT_PAGE_INDEX] as Hpa
  }

  /** Begins the next TLB epoch. */
  nextEpoch(): void {
    this.epoch++
    this.parity = this.parity === 0 ? 1 : 0
  }

  /** Every TD operand's checks, in the module's order. helpers.c, check_state_map_tdcs_and_lock. */
  checkState(allowed: number): void {
    check(!this.fatal, TDX_TD_FATAL)
    check(this.lifecycle === TD_KEYS_CONFIGURED, TDX_TD_KEYS_NOT_CONFIGURED)
    check(this.tdcx.length >= MIN_TDCS_PAGES, TDX_TDCS_NOT_ALLOCATED)
    check(((allowed >> this.opState) & 1) === 1, TDX_OP_STATE_INCORRECT)
  }

  /** The Secure EPT of a TD whose MNG.INIT is done. */
  get tree(): Sept {
    if (this.sept === undefined) throw new Error('a TD past MNG.INIT has a Secure EPT')
    return this.sept
  }
}
