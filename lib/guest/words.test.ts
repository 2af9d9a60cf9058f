import { readFileSync } from 'node:fs'
import t from 'tap'
import * as abi from '#abi'
import { array, bitFields, nested, struct } from '#bits'
import {
  buildGuest,
  disassemble,
  format,
  type GuestBuilder,
  i8,
  i64,
  NO_FAULT,
  u8,
  u16,
  u32,
  u64,
  X2APIC,
} from './index.ts'
import { type Leaf, TDCALLS, VMCALLS } from './leaves.ts'
import { Machine, run, SHARED } from './testdata/machine.ts'

/** The values of every sync, in order, until the guest is done. */
const synced = (guest: (g: GuestBuilder) => void): bigint[][] => {
  const said = run(g => {
    guest(g)
    g.done()
  })
  if (said.at(-1)?.name !== 'UCALL_DONE') throw new Error(said.map(s => `${s.name} ${s.args}`).join('; '))
  return said.slice(0, -1).map(s => [...s.args.slice(1)])
}

t.test('a structure is the same one to guest and host', async t => {
  const inner = struct('inner', { tag: u8, value: u64 })
  const layout = struct('outer', {
    head: u16,
    small: i8,
    entry: bitFields(u64, { present: 0, frame: [51, 12], xd: 63 }),
    list: array(u32, 4),
    pair: array(nested(inner), 2),
    last: nested(inner),
  })
  const machine = new Machine(g => {
    const s = g.place('outer', layout)
    s.head.set(0x1234)
    s.small.set(-2)
    s.entry.set(0xffffn)
    s.entry.frame.set(0xabcden)
    s.entry.xd.set(1n)
    s.entry.present.set(g.u64(0).copy())
    const i = g.var(2n)
    s.list.at(i).set(7)
    s.list.at(3).set(s.list.at(i).get().add(1))
    s.pair.at(i.sub(1n)).value.set(0x55n)
    s.last.tag.set(9)
    g.assert.eq(s.entry.frame.get(), 0xabcden)
    g.assert.eq(s.small.get(), -2)
    g.sync(s.list.at(3).get(), s.pair.at(1).value.get())
    g.done()
  })
  t.teardown(() => machine.close())
  t.same(machine.next().args.slice(1, 3), [8n, 0x55n])
  t.equal(machine.next().name, 'UCALL_DONE')
  const at = machine.image.symbols.find(s => s.name === 'outer')!
  t.equal(at.size, layout.size)
  const view = new DataView(machine.bytes(at.gva, layout.size).buffer)
  t.same(layout.read(view, 0), {
    head: 0x1234n,
    small: -2n,
    entry: { present: 0n, frame: 0xabcden, xd: 1n },
    list: [0n, 0n, 7n, 8n],
    pair: [
      { tag: 0n, value: 0n },
      { tag: 0n, value: 0x55n },
    ],
    last: { tag: 9n, value: 0n },
  })
  t.throws(() => buildGuest(g => g.struct(layout, 0n).list.at(4), { vcpus: 1, sharedBit: SHARED }), {
    message: 'element 4: the array has 4',
  })
})

t.test('switch takes the first case that fits', async t => {
  const guest = (g: GuestBuilder) => {
    g.repeat(7n, i => {
      const name = g.var(0n)
      g.switch(
        i,
        [
          [0n, () => name.set(100n)],
          [[2n, 3n], () => name.set(200n)],
          [i.add(0n).and(4n), () => name.set(300n)],
        ],
        () => name.set(400n),
      )
      g.sync(name)
    })
  }
  t.same(
    synced(guest).map(v => v[0]),
    [100n, 400n, 200n, 200n, 300n, 400n, 400n],
  )
})

t.test('a plain value holds where any of its bits is set', async t => {
  t.same(
    synced(g => {
      const high = g.var(1n << 40n)
      g.when(high, () => g.sync(1)).otherwise(() => g.sync(2))
    }).map(v => v[0]),
    [1n],
  )
})

t.test('the lower half of a value is what the mask leaves of it', async t => {
  const [values] = synced(g => {
    const at = g.memory('word', 8)
    g.store(at, u64, 0x1234_5678_9abc_def0n)
    const low = g.load(at, u64).and(0xffff_ffffn)
    g.sync(low, low.add(1n << 32n), g.load(at, i64).neg().and(0xffff_ffffn).as(u64))
  })
  t.same(values?.slice(0, 3), [0x9abc_def0n, 0x1_9abc_def0n, BigInt.asUintN(32, -0x1234_5678_9abc_def0n)])
})

t.test('atomic operations give what was there', async t => {
  const [a, b, c] = synced(g => {
    const at = g.memory('word', 16)
    g.store(at, u32, 5)
    const first = g.atomic.compareExchange(at, u32, 5, 6)
    const second = g.atomic.compareExchange(at, u32, 5, 7)
    g.sync(first.old, first.swapped.value(), second.old, second.swapped.value(), g.load(at, u32))
    g.atomic.add(at, u32, 4)
    g.atomic.xor(at, u32, 0xff)
    g.sync(g.load(at, u32))
    const bit = g.atomic.testAndSet(at, 70n).value()
    const again = g.atomic.testAndSet(at, 70n).value()
    const off = g.atomic.testAndReset(at, 70n).value()
    const flipped = g.atomic.testAndComplement(at, 70n).value()
    g.sync(bit, again, off, flipped, g.load(at + 8n, u64))
  })
  t.same(a?.slice(0, 5), [5n, 1n, 6n, 0n, 6n])
  t.equal(b?.[0], 0xf5n)
  t.same(c?.slice(0, 5), [0n, 1n, 1n, 0n, 64n])
})

t.test('blocks of memory', async t => {
  const [a] = synced(g => {
    const from = g.memory('from', new TextEncoder().encode('seamless'))
    const to = g.memory('to', 16)
    g.memset(to, 0x2a, 16n)
    g.memcpy(to, from, 4n)
    g.sync(
      g.load(to, u64),
      g.load(to + 8n, u64),
      g.memcmp(to, from, 4n),
      g.memcmp(to, from, 5n).lt(0).value(),
      g.memcmp(from, to, 8n).gt(0).value(),
      g.memcmp(from, to, 0n),
    )
  })
  t.same(a, [0x2a2a_2a2a_6d61_6573n, 0x2a2a_2a2a_2a2a_2a2an, 0n, 1n, 1n, 0n])
})

t.test('more values than a ucall has arguments, and strings', async t => {
  const machine = new Machine(g => {
    g.sync(...Array.from({ length: 40 }, (_, n) => g.var(BigInt(n))))
    const text = g.memory('text', 64)
    g.memcpy(text, g.text('run time'), 9n)
    g.printf('%d %s %d\n', 1, g.string(text, 16), 2)
    g.done()
  })
  t.teardown(() => machine.close())
  const said = machine.next()
  t.equal(said.args.length, 7)
  const pool = machine.image.ucall.pool
  const word = (n: number) => machine.read(pool + 8n + 8n + BigInt(8 * n), 8)
  t.same(
    Array.from({ length: 41 }, (_, n) => word(n)),
    [0n, ...Array.from({ length: 40 }, (_, n) => BigInt(n))],
  )
  const { args } = machine.next()
  const site = machine.image.sites[Number(args[0])]!
  t.same(site.strings, { 1: 2 })
  t.equal(format(site.format!, args.slice(1), undefined, site.strings), '1 run time 2\n')
  t.throws(() => buildGuest(g => g.sync(...Array(135).fill(1n)), { vcpus: 1, sharedBit: SHARED }), {
    message: '135 values: a ucall carries 134 beside its site',
  })
})

t.test('the processor, and what of it faults', async t => {
  const said = synced(g => {
    g.sync(g.cpu.readCr(0), g.cpu.readCr(4), g.cpu.rflags().and(2n))
    const bad = g.cpu.rdmsrSafe(0xdead_beefn)
    const good = g.cpu.rdmsrSafe(0xc000_0101n)
    g.cpu.wrmsr(0xc000_0101n, 0x1234_5678_9abcn)
    g.sync(bad.vector, bad.errorCode, good.vector, g.cpu.rdmsr(0xc000_0101n))
    g.sync(g.cpu.wrmsrSafe(0xc000_0101n, 1n << 63n).vector, g.cpu.xsetbvSafe(0n, 0n).vector)
    const load = g.cpu.safe('mov rax, qword ptr [rbx]', { in: { rbx: 0x123n }, out: ['rax'] })
    g.sync(load.vector, load.errorCode)
    g.cpu.writeDr(0, 0x4000n)
    g.cpu.mfence()
    g.sync(g.cpu.readDr(0), g.cpu.rdtsc().gt(0n).value())
  })
  t.same(said[0]?.slice(0, 3), [0x8000_0031n, 0x260n, 2n])
  t.same(said[1]?.slice(0, 4), [13n, 0n, 0n, 0x1234_5678_9abcn])
  t.same(said[2]?.slice(0, 2), [13n, 6n])
  t.same(said[3]?.slice(0, 2), [14n, 0n])
  t.same(said[4]?.slice(0, 2), [0x4000n, 1n])
})

t.test('an expected fault gives vector, error code and CR2, and values live on', async t => {
  const said = synced(g => {
    const kept = Array.from({ length: 12 }, (_, n) => g.var(BigInt(n)))
    const count = g.var(0n)
    const poke = g.function('poke', [u64], at => {
      const locals = Array.from({ length: 8 }, (_, n) => g.var(at.add(BigInt(n))))
      g.store(at, u64, 1n)
      for (const l of locals) g.sync(l)
    })
    const fault = g.expectFault('#PF', () => {
      count.set(count.add(1n))
      poke(0x7000_0000n)
      g.fail('not reached')
    })
    g.sync(fault.vector, fault.errorCode, fault.cr2, count)
    const gp = g.expectFault('#GP', () => void g.load(1n << 63n, u64))
    g.sync(gp.vector, gp.errorCode, gp.rip.gt(0x40_1000n).value())
    const none = g.catchFault(() => count.set(9n))
    g.sync(none.vector, count)
    const inner = g.catchFault(() => {
      const ud = g.expectFault('#UD', () => g.cpu.ud2())
      g.sync(ud.vector)
      g.cpu.int(3)
    })
    g.sync(inner.vector)
    const de = g.expectFault('#DE', () => void g.var(5n).div(g.var(0n)))
    g.sync(de.vector)
    for (const [n, v] of kept.entries()) g.assert.eq(v, BigInt(n))
  })
  t.same(said[0]?.slice(0, 4), [14n, 2n, 0x7000_0000n, 1n])
  t.same(said[1]?.slice(0, 3), [13n, 0n, 1n])
  t.same(said[2]?.slice(0, 2), [NO_FAULT, 9n])
  t.same(
    said.slice(3).map(v => v[0]),
    [6n, 3n, 0n],
  )
})

t.test('a fault that does not come fails, and another one is unhandled', async t => {
  const [abort] = run(g => {
    g.expectFault('#GP', () => {})
    g.done()
  })
  t.equal(abort?.name, 'UCALL_ABORT')
  t.same(abort?.args.slice(1, 3), [NO_FAULT, 13n])
  const [unhandled] = run(g => {
    g.expectFault('#GP', () => g.cpu.ud2())
    g.done()
  })
  t.equal(unhandled?.name, 'UCALL_UNHANDLED')
  t.equal(unhandled?.args[0], 6n)
})

t.test('ring 3: its words reach the host, its privileged instructions fault, and ring 0 goes on', async t => {
  const said = synced(g => {
    const x = g.var(5n)
    const at = g.memory('user_word', 8)
    g.user(() => {
      g.sync(g.asm('mov eax, cs', { out: ['rax'], clobbers: [] }).rax.and(3n), x)
      g.store(at, u64, 77n)
      g.assert.eq(x, 5n)
      x.set(6n)
    })
    g.sync(g.asm('mov eax, cs', { out: ['rax'], clobbers: [] }).rax.and(3n), x, g.load(at, u64))
    const fault = g.expectFault('#GP', () => g.user(() => g.cpu.hlt()))
    g.sync(fault.errorCode, g.asm('mov eax, cs', { out: ['rax'], clobbers: [] }).rax)
    const pf = g.expectFault('#PF', () => g.user(() => g.store(0x7000_0000n, u8, 1)))
    g.sync(pf.errorCode, pf.cr2)
  })
  t.same(
    said.map(v => v.slice(0, 3)),
    [
      [3n, 5n, 0n],
      [0n, 6n, 77n],
      [0n, 8n, 0n],
      [6n, 0x7000_0000n, 0n],
    ],
  )
})

t.test('each vCPU knows its number and has its own data', async t => {
  const layout = struct('own', { count: u64, tag: u32 })
  const machine = new Machine(
    g => {
      const own = g.perVcpu('own', layout)
      own.count.set(g.vcpuIndex().add(100n))
      own.tag.set(7)
      g.sync(own.count.get())
      g.expectFault('#UD', () => g.cpu.ud2())
      g.done()
    },
    { vcpus: 3 },
  )
  t.teardown(() => machine.close())
  for (const n of [2, 0, 1])
    t.same(
      machine.all(n).map(s => [s.name, s.args[1]]),
      [
        ['UCALL_SYNC', BigInt(100 + n)],
        ['UCALL_DONE', 0n],
      ],
    )
  const at = machine.image.symbols.find(s => s.name === 'own')!
  t.same(
    [0, 1, 2].map(n => machine.read(at.gva + BigInt(16 * n), 8)),
    [100n, 101n, 102n],
  )
})

t.test("an interrupt's handler ends it at the local APIC", async t => {
  const said = synced(g => {
    const count = g.memory('interrupts', 8)
    g.onInterrupt(0x40, () => g.atomic.add(count, u64, 1n))
    // This machine has no local APIC: its EOI faults.
    const fault = g.expectFault('#GP', () => g.cpu.int(0x40))
    g.sync(g.load(count, u64), fault.vector)
  })
  t.same(said[0]?.slice(0, 2), [1n, 13n])
  t.equal(X2APIC.EOI, 0x80b)
  t.throws(() => buildGuest(g => g.onInterrupt(14, () => {}), { vcpus: 1, sharedBit: SHARED }), {
    message: 'vector 14: interrupts have 32 to 255',
  })
})

t.test('every TDCALL leaf and TDVMCALL sub-function has its word, and the registers it says', async t => {
  const listing = (guest: (g: GuestBuilder) => void): string => {
    const image = buildGuest(guest, { vcpus: 1, sharedBit: SHARED })
    const code = image.segments.find(s => s.name === 'code')!
    return disassemble(code.bytes, code.gva, code.gva, 40)
      .map(l => l.text)
      .join('; ')
  }
  const spelled = (name: string) =>
    name
      .replace(/^TDG_|^TDVMCALL_/, '')
      .replaceAll('_', '')
      .toLowerCase()
  const numbers = (prefix: string, except: readonly string[]) =>
    Object.entries(abi).filter(
      ([name, value]) => name.startsWith(prefix) && typeof value === 'number' && !except.includes(name),
    ) as [string, number][]
  for (const [name, number] of numbers('TDG_', ['TDG_VP_VMCALL'])) {
    const found = Object.entries<Leaf>(TDCALLS).find(([word]) => word.toLowerCase() === spelled(name))
    t.equal(found?.[1].number, number, name)
  }
  for (const [name, number] of numbers('TDVMCALL_', [])) {
    const found = Object.entries<Leaf>(VMCALLS).find(([word]) => word.toLowerCase() === spelled(name))
    t.equal(found?.[1].number, number, name)
  }
  t.match(
    listing(g => g.tdcall.servtdRd({ handle: 0x11n, uuid3: 0x22n })),
    /mov ecx, 0x11;.*mov r13d, 0x22;.*mov eax, 0x12;.*tdcall/,
  )
  t.match(
    listing(g => g.vmcall.hypercall(12n, 1n, 2n)),
    /mov r12d, 0x2; mov ecx, 0xfc00; xor eax, eax; mov r10d, 0xc; mov r11d, 0x1; tdcall/,
  )
  t.match(
    listing(g => g.vmcall.fatalError(1n, 'out of memory')),
    /mov r14, 0x20666f2074756f;|mov r14, 0x6d20666f2074756f/,
  )
  t.throws(() => listing(g => g.vmcall.fatalError(1n, 'x'.repeat(65))), { message: '65 bytes of text: 64 travel' })
  t.match(
    listing(g => g.apic.send({ vector: 0x40, to: 3n })),
    /mov r12d, 0x830; mov r13, 0x300004040;/,
  )
  t.match(
    listing(g => void g.cpu.cpuid(1n)),
    /mov eax, 0x1; xor ecx, ecx; cpuid/,
  )
})

t.test('an asm block may not hang on where it ends up', async t => {
  const build = (text: string) => buildGuest(g => void g.asm(text), { vcpus: 1, sharedBit: SHARED })
  t.throws(() => build('call 0x5ff010'), { message: /put it in a register first: call 0x5ff010/ })
  t.throws(() => build('lea rax, [rip + 0x401000]\njmp 0x401000'), { name: 'RangeError' })
  t.ok(build('jmp on\nnop\non: lea rax, [rip + on]'))
})

t.test('the numbers of the C header are those of the ABI', async t => {
  const header = readFileSync(new URL('include/tdx.h', import.meta.url), 'utf8')
  const said = [...header.matchAll(/^\t(TD\w+) = (\w+),$/gm)].map(
    ([, name = '', value]) => [name, Number(value)] as const,
  )
  const known = Object.entries(abi).filter(
    ([name, value]) => /^(TDG|TDVMCALL)_/.test(name) && typeof value === 'number' && !name.includes('STATUS'),
  )
  t.same(
    Object.fromEntries(said),
    Object.fromEntries(known.filter(([name]) => said.some(([own]) => own === name))),
    'the same numbers',
  )
  const leaves = [...Object.values<Leaf>(TDCALLS), ...Object.values<Leaf>(VMCALLS)].map(leaf => leaf.number)
  t.same(
    leaves.filter(number => !said.some(([, own]) => own === number)),
    [],
    'every leaf is there',
  )
})
