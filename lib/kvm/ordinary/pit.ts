/**
 * The 8254 of an ordinary VM: three counters of 1.193182 MHz, the first of which is GSI 0, and port 61h. Intel 8254 Programmable
 * Interval Timer datasheet, "Programming the 8254"; where KVM's is simpler (BCD counts in binary, gates start and never stop a
 * counter, no null count), as Linux arch/x86/kvm/i8254.c.
 * Not modelled: its interrupts as NMIs of local APICs whose LINT0 is set to that (the NMI watchdog of old kernels).
 */
import { KVM_PIT_FLAGS_HPET_LEGACY, KVM_PIT_FLAGS_SPEAKER_DATA_ON, kvm_pit_channel_state } from '#abi'
import type { Values } from '#bits'

type Channel = { -readonly [K in keyof Values<typeof kvm_pit_channel_state.fields>]: number }

/** What the PIT has around it. Times are nanoseconds. */
export type PitHost = {
  now(): number
  /** An edge of GSI 0: how many interrupts came of it; 0 where it is one with an earlier one, less where it is masked. */
  edge(): number
}

const HZ = 1_193_182
const NS = 1_000_000_000
/** The shortest period, kvm.min_timer_period_us of Linux. */
const SHORTEST = 200_000
const [BASE, CONTROL, SPEAKER] = [0x40, 3, 0x61]
/** Reads and writes of a counter: the upper byte, or both in turn; else the lower. */
const [MSB, WORD, SECOND] = [2, 3, 4]
/** A counter that nobody has programmed. */
const UNUSED = 0xff
const MOST = 0x1_0000

const nanoseconds = (count: number): number => Math.floor((count * NS) / HZ)
const counts = (ns: number): number => Math.floor((ns * HZ) / NS)
const below = (d: number, count: number): number => ((d % count) + count) % count

export class Pit {
  readonly #host: PitHost
  readonly #hasSpeaker: boolean
  readonly #channels: readonly Channel[]
  flags = 0
  /** GSI 0's timer: when it is due, undefined where it does not run; its period, and does it begin again? */
  #due: number | undefined
  #expires = 0
  #period = 0
  #isPeriodic = false
  /** Are ticks that the guest was too slow for made up? Then one is due only when that before it has been served. */
  #reinjects = true
  #isServed = true
  #pending = 0
  /** What came of the last edge. */
  #last = 1

  constructor(host: PitHost, hasSpeaker: boolean) {
    this.#host = host
    this.#hasSpeaker = hasSpeaker
    const zero = new DataView(new ArrayBuffer(kvm_pit_channel_state.size))
    this.#channels = [0, 1, 2].map(n => ({ ...this.#read(zero, 0), mode: UNUSED, gate: n === 2 ? 0 : 1 }))
    for (const n of [0, 1, 2]) this.#load(n, 0)
  }

  #read(view: DataView, at: number): Channel {
    const channel = kvm_pit_channel_state.read(view, at)
    return { ...channel, count_load_time: Number(channel.count_load_time) }
  }

  #channel(n: number): Channel {
    return this.#channels[n]!
  }

  has(port: number, size: number): boolean {
    return (port >= BASE && port + size <= BASE + 4) || (this.#hasSpeaker && port === SPEAKER && size <= 4)
  }

  /** What the guest's OUT of any size does: its lowest byte counts. */
  write(port: number, value: number): void {
    const byte = value & 0xff
    if (port === SPEAKER) {
      this.flags = (this.flags & ~KVM_PIT_FLAGS_SPEAKER_DATA_ON) | (byte & 2 ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0)
      this.#setGate(2, byte & 1)
    } else if (port === BASE + CONTROL) this.#command(byte)
    else this.#writeCount(port - BASE, byte)
  }

  read(port: number): number {
    if (port !== SPEAKER) return port === BASE + CONTROL ? 0 : this.#readCount(this.#channel(port - BASE), port - BASE)
    const data = (this.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON) !== 0 ? 2 : 0
    // Bit 4 toggles with the refreshes of memory, about every 15 us.
    const refresh = (Math.floor(this.#host.now() / 2 ** 14) & 1) << 4
    return data | this.#channel(2).gate | (this.#out(2) ? 0x20 : 0) | refresh
  }

  #setGate(n: number, value: number): void {
    const channel = this.#channel(n)
    const { mode, gate } = channel
    if ((mode === 1 || mode === 2 || mode === 3 || mode === 5) && gate < value)
      channel.count_load_time = this.#host.now()
    channel.gate = value
  }

  /** Counts that a counter has made since it was loaded; the first one's are those of its timer. */
  #elapsed(n: number): number {
    if (n !== 0) return counts(this.#host.now() - this.#channel(n).count_load_time)
    return this.#period === 0 ? 0 : counts(this.#period - (this.#expires - this.#host.now()))
  }

  #count(n: number): number {
    const { mode, count } = this.#channel(n)
    const d = this.#elapsed(n)
    if (mode === 3) return count - below(2 * d, count)
    return mode === 0 || mode === 1 || mode === 4 || mode === 5 ? (count - d) & 0xffff : count - below(d, count)
  }

  /** OUT. */
  #out(n: number): boolean {
    const { mode, count } = this.#channel(n)
    const d = this.#elapsed(n)
    switch (mode) {
      case 1:
        return d < count
      case 2:
        return below(d, count) === 0 && d !== 0
      case 3:
        return below(d, count) < (count + 1) >> 1
      case 4:
      case 5:
        return d === count
      default:
        return d >= count
    }
  }

  #latchCount(n: number): void {
    const channel = this.#channel(n)
    if (channel.count_latched !== 0) return
    channel.latched_count = this.#count(n) & 0xffff
    channel.count_latched = channel.rw_mode
  }

  #latchStatus(n: number): void {
    const channel = this.#channel(n)
    if (channel.status_latched !== 0) return
    const { rw_mode, mode, bcd } = channel
    channel.status = ((this.#out(n) ? 0x80 : 0) | (rw_mode << 4) | (mode << 1) | bcd) & 0xff
    channel.status_latched = 1
  }

  /** The control word: read-back of some counters, a counter's latch, or a counter's mode. */
  #command(value: number): void {
    const n = value >> 6
    if (n === 3) {
      for (const each of [0, 1, 2]) {
        if ((value & (2 << each)) === 0) continue
        if ((value & 0x20) === 0) this.#latchCount(each)
        if ((value & 0x10) === 0) this.#latchStatus(each)
      }
      return
    }
    const access = (value >> 4) & 3
    if (access === 0) {
      this.#latchCount(n)
      return
    }
    const mode = (value >> 1) & 7
    Object.assign(this.#channel(n), {
      rw_mode: access,
      read_state: access,
      write_state: access,
      // Modes 2 and 3 have a bit that nobody looks at.
      mode: mode > 5 ? mode - 4 : mode,
      bcd: value & 1,
    })
  }

  #writeCount(n: number, value: number): void {
    const channel = this.#channel(n)
    switch (channel.write_state) {
      case MSB:
        this.#load(n, value << 8)
        return
      case WORD:
        channel.write_latch = value
        channel.write_state = SECOND
        return
      case SECOND:
        this.#load(n, channel.write_latch | (value << 8))
        channel.write_state = WORD
        return
      default:
        this.#load(n, value)
    }
  }

  #readCount(channel: Channel, n: number): number {
    if (channel.status_latched !== 0) {
      channel.status_latched = 0
      return channel.status
    }
    const { count_latched, latched_count, read_state } = channel
    if (count_latched !== 0) {
      channel.count_latched = count_latched === WORD ? MSB : 0
      return count_latched === MSB ? latched_count >> 8 : latched_count & 0xff
    }
    if (read_state === WORD) channel.read_state = SECOND
    if (read_state === SECOND) channel.read_state = WORD
    const count = this.#count(n)
    return read_state === MSB || read_state === SECOND ? (count >> 8) & 0xff : count & 0xff
  }

  /** A counter begins anew. A count of 0 is the greatest. */
  #load(n: number, value: number): void {
    const channel = this.#channel(n)
    channel.count = value === 0 ? MOST : value
    if (n !== 0) {
      channel.count_load_time = this.#host.now()
      return
    }
    const { mode, count } = channel
    if (mode <= 4) this.#start(count, mode === 2 || mode === 3)
    else this.#due = undefined
  }

  #start(count: number, isPeriodic: boolean): void {
    // The HPET has taken over.
    if ((this.flags & KVM_PIT_FLAGS_HPET_LEGACY) !== 0) return
    const interval = nanoseconds(count)
    this.#period = isPeriodic ? Math.max(interval, SHORTEST) : interval
    this.#isPeriodic = isPeriodic
    this.#resetReinject()
    this.#expires = this.#host.now() + interval
    this.#due = this.#expires
  }

  #resetReinject(): void {
    this.#pending = 0
    this.#isServed = true
  }

  /** Nanoseconds until the timer is due; undefined where it does not run. */
  get untilDue(): number | undefined {
    return this.#due === undefined ? undefined : Math.max(0, this.#due - this.#host.now())
  }

  /** Would its next tick be an interrupt? Not while the one before is not served, nor, where none is made up, masked. */
  get isHeard(): boolean {
    return this.#reinjects ? this.#isServed : this.#last > 0
  }

  /** What has become due happens. Of ticks that come at once only the first is more than a number. */
  tick(): void {
    const late = this.#due === undefined ? -1 : this.#host.now() - this.#due
    if (late < 0) return
    const ticks = this.#isPeriodic ? 1 + Math.floor(late / this.#period) : 1
    if (this.#isPeriodic) this.#expires += ticks * this.#period
    this.#due = this.#isPeriodic ? this.#expires : undefined
    if (this.#reinjects) this.#pending += ticks
    this.#interrupt()
  }

  #interrupt(): void {
    if (this.#reinjects) {
      if (!this.#isServed) return
      this.#isServed = false
    }
    this.#last = this.#host.edge()
  }

  /** The guest has served GSI 0. */
  served(): void {
    if (!this.#reinjects) return
    this.#isServed = true
    if (this.#pending === 0) return
    this.#pending--
    if (this.#pending > 0) this.#interrupt()
  }

  /** The pin of GSI 0 is not masked any more: ticks that were lost are not made up. */
  unmasked(): void {
    this.#last = 1
    if (this.#reinjects) this.#resetReinject()
  }

  /** KVM_REINJECT_CONTROL. */
  set reinjects(value: boolean) {
    if (value && !this.#reinjects) this.#resetReinject()
    this.#reinjects = value
  }

  /** Bytes of three kvm_pit_channel_state. */
  save(): Uint8Array {
    const { size } = kvm_pit_channel_state
    const bytes = new Uint8Array(3 * size)
    for (const [n, channel] of this.#channels.entries()) {
      const count_load_time = BigInt.asUintN(64, BigInt(channel.count_load_time))
      bytes.set(kvm_pit_channel_state.encode({ ...channel, count_load_time }), n * size)
    }
    return bytes
  }

  /** Takes such bytes over; the counters begin anew. With the HPET now in its place GSI 0's does not. */
  load(bytes: Uint8Array, flags = this.flags): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset)
    const isReplaced = (this.flags & KVM_PIT_FLAGS_HPET_LEGACY) === 0 && (flags & KVM_PIT_FLAGS_HPET_LEGACY) !== 0
    this.flags = flags
    for (const [n, channel] of this.#channels.entries()) {
      Object.assign(channel, this.#read(view, n * kvm_pit_channel_state.size))
      if (n === 0 && isReplaced) {
        channel.count = channel.count === 0 ? MOST : channel.count
        this.#due = undefined
      } else this.#load(n, channel.count)
    }
  }
}
