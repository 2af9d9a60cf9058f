/** The registers of a local APIC: where they are and which of their bits there are. */

/** Register offsets in the xAPIC page. SDM Vol. 3A, "Local APIC Register Address Map". */
export const APIC = {
  ID: 0x20,
  VERSION: 0x30,
  TPR: 0x80,
  APR: 0x90,
  PPR: 0xa0,
  EOI: 0xb0,
  RRD: 0xc0,
  LDR: 0xd0,
  DFR: 0xe0,
  SVR: 0xf0,
  ISR: 0x100,
  TMR: 0x180,
  IRR: 0x200,
  ESR: 0x280,
  ICR: 0x300,
  ICR_HIGH: 0x310,
  LVT_TIMER: 0x320,
  LVT_THERMAL: 0x330,
  LVT_COUNTERS: 0x340,
  LVT_LINT0: 0x350,
  LVT_LINT1: 0x360,
  LVT_ERROR: 0x370,
  INITIAL_COUNT: 0x380,
  CURRENT_COUNT: 0x390,
  DIVIDE: 0x3e0,
  SELF_IPI: 0x3f0,
} as const

/** Delivery modes of an interrupt command. SDM Vol. 3A, "Interrupt Command Register (ICR)". */
export const DELIVERY = { FIXED: 0, LOWEST: 1, SMI: 2, NMI: 4, INIT: 5, STARTUP: 6, EXTINT: 7 } as const

export const BASE_BSP = 1n << 8n
export const BASE_EXTD = 1n << 10n
export const BASE_EN = 1n << 11n
/** Version 14h, six LVT entries. */
export const VERSION = 0x0005_0014
export const MASKED = 1 << 16
export const SVR_ENABLED = 1 << 8
export const ESR = { SEND_VECTOR: 1 << 5, RECEIVE_VECTOR: 1 << 6, REGISTER: 1 << 7 } as const
/** Timer modes, bits 18:17 of its LVT entry. */
export const TIMER = { ONE_SHOT: 0, PERIODIC: 1, DEADLINE: 2 } as const
/** What may be written to each LVT entry. */
export const LVT: Readonly<Record<number, number>> = {
  [APIC.LVT_TIMER]: 0x7_00ff,
  [APIC.LVT_THERMAL]: 0x1_07ff,
  [APIC.LVT_COUNTERS]: 0x1_07ff,
  [APIC.LVT_LINT0]: 0x1_a7ff,
  [APIC.LVT_LINT1]: 0x1_a7ff,
  [APIC.LVT_ERROR]: 0x1_00ff,
}
export const LVT_ENTRIES: readonly number[] = Object.keys(LVT).map(Number)
/** The reserved bits of an ICR write in x2APIC mode. */
export const ICR_RESERVED = 0xfff3_3000
export const DIVIDE_BITS = 0xb
export const SVR_BITS = 0x1ff
/** Bytes of the page in which there are registers. */
export const PAGE_BYTES = 0x400
