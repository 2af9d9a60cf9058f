/** The devices behind the ports of a bare machine: a serial line, a debug exit, and QEMU's firmware configuration. */
import type { Size } from '#bits'
import type { Ports } from '#x86'

/** A 16550 that has always sent what it was given. National Semiconductor PC16550D, "Registers". */
class Serial {
  readonly #send: (byte: number) => void
  #ier = 0
  #lcr = 0
  #mcr = 0
  #scratch = 0
  #divisor = 1

  constructor(send: (byte: number) => void) {
    this.#send = send
  }

  in(register: number): number {
    const latched = (this.#lcr & 0x80) !== 0
    switch (register) {
      case 0:
        return latched ? this.#divisor & 0xff : 0
      case 1:
        return latched ? this.#divisor >> 8 : this.#ier
      // No interrupt; FIFOs on.
      case 2:
        return 0xc1
      case 3:
        return this.#lcr
      case 4:
        return this.#mcr
      // Transmitter empty; nothing was received.
      case 5:
        return 0x60
      // Carrier, data set ready, clear to send.
      case 6:
        return 0xb0
      default:
        return this.#scratch
    }
  }

  out(register: number, value: number): void {
    const latched = (this.#lcr & 0x80) !== 0
    if (register === 0 && latched) this.#divisor = (this.#divisor & 0xff00) | value
    else if (register === 0) this.#send(value)
    else if (register === 1 && latched) this.#divisor = (this.#divisor & 0xff) | (value << 8)
    else if (register === 1) this.#ier = value & 15
    else if (register === 3) this.#lcr = value
    else if (register === 4) this.#mcr = value & 31
    else if (register === 7) this.#scratch = value
  }
}

/** QEMU's fw_cfg, ports 510h and 511h: items by number, a byte at a time. QEMU, docs/specs/fw_cfg.rst. */
class FirmwareConfig {
  readonly #items: ReadonlyMap<number, Uint8Array>
  #item: Uint8Array = new Uint8Array(0)
  #at = 0

  constructor(items: Readonly<Record<number, number | string>>) {
    this.#items = new Map(
      Object.entries(items).map(([key, value]) => {
        if (typeof value === 'string') return [Number(key), new TextEncoder().encode(value)]
        const bytes = new Uint8Array(8)
        new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true)
        return [Number(key), bytes]
      }),
    )
  }
  select(key: number): void {
    this.#item = this.#items.get(key) ?? new Uint8Array(0)
    this.#at = 0
  }
  read(): number {
    return this.#item[this.#at++] ?? 0
  }
}
/** Keys of fw_cfg items: signature, interface, memory in bytes, CPUs now, CPUs at most. */
const FW = { SIGNATURE: 0, ID: 1, RAM: 3, CPUS: 5, MAX_CPUS: 15 } as const

const COM1 = 0x3f8
const [FW_SELECT, FW_DATA] = [0x510, 0x511]

export type PortOptions = {
  readonly exitPort: number
  readonly memory: number
  readonly cpus: number
  /** A byte of the serial line. */
  send(byte: number): void
  /** The guest wrote to the exit port: its run is to end. */
  exit(value: number): void
}

/** What answers the ports; where there is nothing, reads are all ones and writes are lost. */
export const bootPorts = ({ exitPort, memory, cpus, send, exit }: PortOptions): Ports => {
  const serial = new Serial(send)
  const config = new FirmwareConfig({
    [FW.SIGNATURE]: 'QEMU',
    [FW.ID]: 1,
    [FW.RAM]: memory,
    [FW.CPUS]: cpus,
    [FW.MAX_CPUS]: cpus,
  })
  const inByte = (port: number): number => {
    if (port >= COM1 && port < COM1 + 8) return serial.in(port - COM1)
    return port === FW_DATA ? config.read() : 0xff
  }
  return {
    in(port: number, size: Size): bigint {
      let value = 0n
      for (let n = 0; n < size; n++)
        value |= BigInt(inByte(port === FW_DATA ? port : (port + n) & 0xffff)) << BigInt(n * 8)
      return value
    },
    out(port: number, size: Size, value: bigint): void {
      if (port >= exitPort && port < exitPort + 4) {
        exit(Number(value & 0xffff_ffffn))
        return
      }
      if (port === FW_SELECT) {
        config.select(Number(value & 0xffffn))
        return
      }
      for (let n = 0; n < size; n++) {
        const at = (port + n) & 0xffff
        if (at >= COM1 && at < COM1 + 8) serial.out(at - COM1, Number((value >> BigInt(n * 8)) & 0xffn))
      }
    },
  }
}
