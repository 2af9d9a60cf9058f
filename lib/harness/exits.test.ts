import t from 'tap'
import {
  KVM_EXIT_IO,
  KVM_EXIT_MMIO,
  KVM_EXIT_SHUTDOWN,
  KVM_EXIT_SYSTEM_EVENT,
  KVM_PIO_PAGE_OFFSET,
  KVM_RUN_EXIT,
  kvm_run,
  kvm_run_io,
  kvm_run_mmio,
  kvm_run_system_event,
} from '#abi'
import { exitText, readExit } from './exits.ts'
import { Steps } from './steps.ts'

/** A kvm_run whose port I/O page lies elsewhere, as frames may. */
const page = (reason: number, exit: Uint8Array, pio: readonly number[] = []) => {
  const bytes = new Uint8Array(3 * 4096)
  bytes.set(exit, 4096 + KVM_RUN_EXIT)
  bytes.set(pio, 0)
  const run = { view: new DataView(bytes.buffer), at: 4096, pio: 0 }
  kvm_run.set(run.view, run.at, 'exit_reason', reason)
  return run
}

t.test('OUT brings its data from the port I/O page', async t => {
  const io = kvm_run_io.encode({
    direction: 1,
    size: 2,
    port: 0x32,
    count: 1,
    data_offset: BigInt(KVM_PIO_PAGE_OFFSET + 8),
  })
  const exit = readExit(page(KVM_EXIT_IO, io, [0, 0, 0, 0, 0, 0, 0, 0, 0xcd, 0xab]))
  t.match(exit, { name: 'KVM_EXIT_IO', direction: 'out', port: 0x32, size: 2, data: 0xabcdn })
  t.equal(exitText(exit), 'KVM_EXIT_IO out port 0x32 size 2 data 0xabcd')
  t.throws(() => exit.name === 'KVM_EXIT_IO' && exit.answer(1n), {
    message: 'answer: OUT to port 0x32 waits for no value',
  })
})

t.test('IN is answered in the port I/O page, and its step shows the answer', async t => {
  const io = kvm_run_io.encode({
    direction: 0,
    size: 2,
    port: 0x32,
    count: 1,
    data_offset: BigInt(KVM_PIO_PAGE_OFFSET),
  })
  const run = page(KVM_EXIT_IO, io)
  const exit = readExit(run)
  if (exit.name !== 'KVM_EXIT_IO') throw new Error('no I/O exit')
  const steps = new Steps()
  steps.push(0, exit)
  t.throws(() => exit.answer(0x1_0000n), { message: 'answer: 0x10000 does not fit in 2 bytes' })
  exit.answer(0xabcen)
  t.equal(run.view.getUint16(0, true), 0xabce)
  t.same(steps.list(), [
    { vcpu: 0, name: 'KVM_EXIT_IO', fields: { direction: 'in', port: '0x32', size: 2, data: '0xabce' } },
  ])
})

t.test('MMIO reads are answered in kvm_run', async t => {
  const run = page(KVM_EXIT_MMIO, kvm_run_mmio.encode({ phys_addr: 0x2_0000_0000n, len: 8, is_write: 0 }))
  const exit = readExit(run)
  if (exit.name !== 'KVM_EXIT_MMIO') throw new Error('no MMIO exit')
  exit.answer(0x1234_5678_90ab_cdefn)
  t.equal(run.view.getBigUint64(run.at + KVM_RUN_EXIT + kvm_run_mmio.offset.data, true), 0x1234_5678_90ab_cdefn)
  t.match(exit, { direction: 'read', gpa: 0x2_0000_0000n, size: 8, data: 0x1234_5678_90ab_cdefn })
})

t.test('a fatal error shows its code, a shutdown its name', async t => {
  const data = Array.from({ length: 16 }, (_, i) => BigInt(i))
  const fatal = readExit(page(KVM_EXIT_SYSTEM_EVENT, kvm_run_system_event.encode({ type: 7, ndata: 16, data })))
  t.equal(exitText(fatal), 'KVM_EXIT_SYSTEM_EVENT type KVM_SYSTEM_EVENT_TDX_FATAL R12 0xc')
  t.same(readExit(page(KVM_EXIT_SHUTDOWN, new Uint8Array(0))), { name: 'KVM_EXIT_SHUTDOWN' })
})

t.test('the ring keeps the last exits, oldest first', async t => {
  const steps = new Steps()
  for (let i = 0; i < 30; i++) steps.push(i, { name: 'UCALL_SYNC', args: [], stage: 0n, values: [BigInt(i)], text: '' })
  t.same(
    steps.list().map(step => step.vcpu),
    Array.from({ length: 12 }, (_, i) => 18 + i),
  )
})
