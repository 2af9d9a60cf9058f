/**
 * The two 8259As of an ordinary VM. Intel 8259A Programmable Interrupt Controller datasheet, "Programming the 8259A"; the
 * edge/level control registers: 82371AB (PIIX4) datasheet, "Interrupt Controller Registers". Linux arch/x86/kvm/i8259.c.
 */
import { kvm_pic_state } from '#abi'
import type { Values } from '#bits'

type State = { -readonly [K in keyof Values<typeof kvm_pic_state.fields>]: number }

const CASCADE = 2
const [ICW1, OCW3] = [0x10, 8]

/** What the PICs have around them. */
export type PicHost = {
  /** INTR has followed, and may be another. */
  changed(): void
  /** The service of one of the 16 inputs is over. */
  ended(irq: number): void
  masked?(irq: number, isMasked: boolean): void
  /** Does any processor take interrupts of the PICs? They all do unless this says otherwise. */
  isTaken?(): boolean
}

/** One 8259A. `elcrMask`: the inputs that may be level-triggered. */
class Chip {
  readonly isMaster: boolean
  readonly state: State
  /** The service of an input has ended. */
  readonly #ended: (irq: number) => void
  /** An input's mask has changed. */
  readonly #masked: (irq: number, isMasked: boolean) => void
  /** Is there a processor that takes what the PICs give? */
  readonly #isTaken: () => boolean

  constructor(isMaster: boolean, elcrMask: number, { ended, masked, isTaken }: Required<Omit<PicHost, 'changed'>>) {
    this.isMaster = isMaster
    this.#ended = ended
    this.#masked = masked
    this.#isTaken = isTaken
    this.state = { ...kvm_pic_state.read(new DataView(new ArrayBuffer(kvm_pic_state.size)), 0), elcr_mask: elcrMask }
  }

  /** Place of the highest-priority bit of a set in the present order of priorities; 8: none. */
  #priority(set: number): number {
    for (let n = 0; n < 8; n++) if (((set >>> ((n + this.state.priority_add) & 7)) & 1) === 1) return n
    return 8
  }

  /** The input that asks for an interrupt now; -1 for none. KVM's has special mask mode as a bit only: it changes nothing. */
  get irq(): number {
    const { irr, imr, isr, special_fully_nested_mode, priority_add } = this.state
    const asked = this.#priority(irr & ~imr)
    if (asked === 8) return -1
    // The slave may interrupt its own service: the master does not know priorities among its inputs.
    const serviced = special_fully_nested_mode !== 0 && this.isMaster ? isr & ~(1 << CASCADE) : isr
    return asked < this.#priority(serviced) ? (asked + priority_add) & 7 : -1
  }

  /** 1: latched, 0: one with an earlier one, -1: masked. */
  set(irq: number, level: boolean): number {
    const { state } = this
    const bit = 1 << irq
    const isNew = level && (state.irr & bit) === 0
    if ((state.elcr & bit) !== 0) state.irr = level ? state.irr | bit : state.irr & ~bit
    else if (level && (state.last_irr & bit) === 0) state.irr |= bit
    state.last_irr = level ? state.last_irr | bit : state.last_irr & ~bit
    if ((state.imr & bit) !== 0) return -1
    return level && !isNew ? 0 : 1
  }

  acknowledge(irq: number): void {
    const { state } = this
    const bit = 1 << irq
    if ((state.elcr & bit) === 0) state.irr &= ~bit
    state.isr |= bit
    if (state.auto_eoi === 0) return
    if (state.rotate_on_auto_eoi !== 0) state.priority_add = (irq + 1) & 7
    this.end(irq)
  }

  end(irq: number): void {
    this.state.isr &= ~(1 << irq)
    this.#ended(irq)
  }

  /** ICW1. What is in service stays so, but for edges that were latched again: those are over. kvm_pic_reset. */
  #reset(value: number): void {
    const { state } = this
    const edges = state.irr & ~state.elcr
    Object.assign(state, { last_irr: 0, irr: state.irr & state.elcr, imr: 0, priority_add: 0 })
    Object.assign(state, { special_mask: 0, read_reg_select: 0, init_state: 1, init4: value & 1 })
    if (state.init4 === 0) Object.assign(state, { special_fully_nested_mode: 0, auto_eoi: 0 })
    if (this.#isTaken()) for (let irq = 0; irq < 8; irq++) if (((edges >>> irq) & 1) === 1) this.end(irq)
  }

  /** A write to the even port: ICW1, OCW2 or OCW3. Does the output follow at once? */
  #command(value: number): boolean {
    const { state } = this
    if ((value & ICW1) !== 0) {
      this.#reset(value)
      return false
    }
    if ((value & OCW3) !== 0) {
      if ((value & 4) !== 0) state.poll = 1
      if ((value & 2) !== 0) state.read_reg_select = value & 1
      if ((value & 0x40) !== 0) state.special_mask = (value >>> 5) & 1
      return false
    }
    this.#endOrRotate(value >>> 5, value & 7)
    return true
  }

  /** OCW2: R, SL and EOI, and a level. */
  #endOrRotate(command: number, irq: number): void {
    const { state } = this
    switch (command) {
      case 0: // rotate in automatic EOI mode: clear, set
      case 4:
        state.rotate_on_auto_eoi = command >>> 2
        return
      case 1: // non-specific EOI, with rotation
      case 5: {
        const place = this.#priority(state.isr)
        if (place === 8) return
        const highest = (place + state.priority_add) & 7
        if (command === 5) state.priority_add = (highest + 1) & 7
        this.end(highest)
        return
      }
      case 7: // specific EOI with rotation
        state.priority_add = (irq + 1) & 7
        this.end(irq)
        return
      case 3:
        this.end(irq)
        return
      case 6: // set priority
        state.priority_add = (irq + 1) & 7
    }
  }

  /** A write to the odd port: the mask, or ICW2 to ICW4 after an ICW1. Does the output follow at once? */
  #data(value: number): boolean {
    const { state } = this
    switch (state.init_state) {
      case 0: {
        const changed = state.imr ^ value
        state.imr = value
        for (let irq = 0; irq < 8; irq++)
          if (((changed >>> irq) & 1) === 1) this.#masked(irq, ((value >>> irq) & 1) === 1)
        return true
      }
      case 1:
        state.irq_base = value & 0xf8
        state.init_state = 2
        return false
      case 2:
        state.init_state = state.init4 !== 0 ? 3 : 0
        return false
      case 3:
        state.special_fully_nested_mode = (value >>> 4) & 1
        state.auto_eoi = (value >>> 1) & 1
        state.init_state = 0
        return false
      default:
        // A state that only KVM_SET_IRQCHIP can bring about: nothing is written.
        return false
    }
  }

  /** Does the output follow at once? After the others it waits for the next that does. */
  write(isOdd: boolean, value: number): boolean {
    return isOdd ? this.#data(value) : this.#command(value)
  }

  read(isOdd: boolean): number {
    const { state } = this
    if (isOdd) return state.imr
    return state.read_reg_select !== 0 ? state.isr : state.irr
  }
}

const [MASTER, SLAVE, MASTER_ELCR, SLAVE_ELCR] = [0x20, 0xa0, 0x4d0, 0x4d1]
/** What a controller answers where no input asks any more. */
const SPURIOUS = 7

export class Pic {
  readonly #master: Chip
  readonly #slave: Chip
  readonly #changed: () => void
  /** INTR: as it was when it last followed. */
  output = false

  constructor({ changed, ended, masked = () => {}, isTaken = () => true }: PicHost) {
    this.#changed = changed
    this.#master = new Chip(true, 0xf8, { ended, masked, isTaken })
    this.#slave = new Chip(false, 0xde, {
      ended: irq => ended(irq + 8),
      masked: (irq, isMasked) => masked(irq + 8, isMasked),
      isTaken,
    })
  }

  /** Of an access of `size` bytes, all of them. */
  has(port: number, size = 1): boolean {
    const pair = port & ~1
    return (port & 1) + size <= 2 && (pair === MASTER || pair === SLAVE || pair === MASTER_ELCR)
  }

  #chip(port: number): Chip {
    return (port & ~1) === SLAVE || port === SLAVE_ELCR ? this.#slave : this.#master
  }

  /** The slave's output is an input of the master. */
  #settle(): void {
    if (this.#slave.irq >= 0) {
      this.#master.set(CASCADE, true)
      this.#master.set(CASCADE, false)
    }
    this.output = this.#master.irq >= 0
    this.#changed()
  }

  /** One of 16 inputs; what comes of it as `Chip.set`. */
  set(irq: number, level: boolean): number {
    const result = (irq < 8 ? this.#master : this.#slave).set(irq & 7, level)
    this.#settle()
    return result
  }

  /** INTA: the vector. */
  acknowledge(): number {
    const irq = this.#master.irq
    if (irq >= 0) this.#master.acknowledge(irq)
    let vector = this.#master.state.irq_base + (irq >= 0 ? irq : SPURIOUS)
    if (irq === CASCADE) {
      const behind = this.#slave.irq
      if (behind >= 0) this.#slave.acknowledge(behind)
      vector = this.#slave.state.irq_base + (behind >= 0 ? behind : SPURIOUS)
    }
    this.#settle()
    return vector
  }

  /** A byte from a port. */
  read(port: number): number {
    const chip = this.#chip(port)
    const { state } = chip
    if (port >= MASTER_ELCR) return state.elcr
    if (state.poll === 0) return chip.read((port & 1) === 1)
    state.poll = 0
    return this.#poll(chip)
  }

  /** The read after a poll command is acknowledgement and end at once, of the master's input too. Bit 7: there was one. */
  #poll(chip: Chip): number {
    const irq = chip.irq
    if (irq >= 0) {
      const { state: master } = this.#master
      if (!chip.isMaster) {
        master.isr &= ~(1 << CASCADE)
        master.irr &= ~(1 << CASCADE)
      }
      chip.state.irr &= ~(1 << irq)
      chip.end(irq)
    }
    if (!(chip.isMaster && irq === CASCADE)) this.#settle()
    return irq < 0 ? SPURIOUS : 0x80 | irq
  }

  write(port: number, value: number): void {
    const chip = this.#chip(port)
    if (port >= MASTER_ELCR) chip.state.elcr = value & chip.state.elcr_mask
    else if (chip.write((port & 1) === 1, value)) this.#settle()
  }

  /** Bytes of kvm_pic_state. */
  save(isMaster: boolean): Uint8Array {
    return kvm_pic_state.encode((isMaster ? this.#master : this.#slave).state)
  }

  /** All of them as they are, the mask of what may be a level too. */
  load(isMaster: boolean, bytes: Uint8Array): void {
    const chip = isMaster ? this.#master : this.#slave
    Object.assign(chip.state, kvm_pic_state.read(new DataView(bytes.buffer, bytes.byteOffset), 0))
    this.#settle()
  }
}
