import { readFileSync } from 'node:fs'
import t from 'tap'
import { UCALL_ABORT } from '#abi'
import {
  buildGuest,
  disassemble,
  format,
  type GuestBuilder,
  i32,
  sourceOf,
  u8,
  u16,
  u32,
  u64,
  type Value,
} from './index.ts'
import { Machine, run, SHARED } from './testdata/machine.ts'

/** The line of this file that says so. */
const lineOf = (text: string): number =>
  readFileSync(new URL(import.meta.url), 'utf8')
    .split('\n')
    .findIndex(line => line.includes(text)) + 1

const options = { vcpus: 1, sharedBit: SHARED }

/** The code that a guest becomes, from its entry on. */
const listing = (guest: (g: GuestBuilder) => void): string[] => {
  const image = buildGuest(guest, options)
  const code = image.segments.find(s => s.name === 'code')!
  const size = image.symbols.find(s => s.name === 'guest')!.size
  return disassemble(code.bytes.subarray(0, size), code.gva, code.gva, 1000, image.symbols).map(l => l.text)
}

t.test('a failed assertion reports its site and both values, and nothing else runs', async t => {
  const machine = new Machine(g => {
    const x = g.var(u32, 7)
    g.assert.eq(x, 7n)
    g.assert.lt(x.mul(2), 10, 'doubled')
    g.sync(1)
  })
  t.teardown(() => machine.close())
  for (let again = 0; again < 2; again++) {
    const abort = machine.next()
    t.equal(abort.name, 'UCALL_ABORT')
    t.same(abort.args.slice(0, 4), [1n, 14n, 10n, 0n])
  }
  const site = machine.image.sites[1]!
  t.match(site, {
    kind: 'assert',
    relation: 'lt',
    message: 'doubled',
    types: ['u32', 'u32'],
    line: lineOf("10, 'doubled')"),
  })
  t.match(site.file, /builder\.test\.ts$/)
  t.same(sourceOf(site), { seen: 'x.mul(2)', want: '10' })
})

t.test('expect notes and goes on, with every register as it was', async t => {
  const machine = new Machine(g => {
    const values = Array.from({ length: 10 }, (_, n) => g.var(n))
    g.expect.eq(values[3]!, 4n)
    g.expect.gt(g.value(i32, -5).copy(), 0)
    for (const [n, v] of values.entries()) g.assert.eq(v, n)
    g.done()
  })
  t.teardown(() => machine.close())
  const said = [machine.next(), machine.next(), machine.next()]
  t.same(
    said.map(s => s.name),
    ['UCALL_ABORT', 'UCALL_ABORT', 'UCALL_DONE'],
  )
  t.same(said[0]!.args.slice(0, 3), [0n, 3n, 4n])
  t.same(said[1]!.args.slice(0, 3), [1n, 0xffff_fffbn, 0n])
})

t.test('source text is found over lines, strings and brackets', async t => {
  const { sites } = buildGuest(g => {
    const x = g.var(1n)
    g.assert.eq(
      x.add(g.load(0x50_0000n, 8)), // the first, and ')' too
      [1n, 2n][0]!,
      'a ( b',
    )
    g.expect.ne(x, BigInt('12'.length))
  }, options)
  t.same(sourceOf(sites[0]!), { seen: 'x.add(g.load(0x50_0000n, 8))', want: '[1n, 2n][0]!' })
  t.same(sourceOf(sites[1]!), { seen: 'x', want: "BigInt('12'.length)" })
  t.equal(sourceOf({ ...sites[0]!, file: '/no/such.ts' }), undefined)
})

t.test('printf keeps its words on the host', async t => {
  const machine = new Machine(g => {
    g.printf('%d of %#x, %5u|%-4c|', g.value(i32, -3).copy(), 0xabcdn, g.var(u16, 42), 65)
    g.done()
  })
  t.teardown(() => machine.close())
  const said = machine.next()
  const site = machine.image.sites[Number(said.args[0])]!
  t.equal(format(site.format!, said.args.slice(1)), '-3 of 0xabcd,    42|A   |')
})

t.test('loops, conditions, functions and recursion', async t => {
  const machine = new Machine(g => {
    const fib = g.function('fib', [u64], u64, n => {
      g.when(n.lt(2n), () => g.return(n))
      g.return(fib(n.sub(1n)).add(fib(n.sub(2n))))
    }) as (n: Value<'u64'> | bigint) => Value<'u64'>
    const many = g.function('many', [u8, u16, u32, u64, i32, u64], i32, (a, b, c, d, e, f) => {
      g.return(a.as(i32).add(b.as(i32)).add(c.as(i32)).add(d.as(i32)).add(e).add(f.as(i32)))
    })
    g.sync(fib(12n), many(1, 2, 3, 4, -20, 5))
    const found = g.var(0n)
    g.loop(() => {
      found.set(found.add(1n))
      g.when(found.and(1n).eq(0n), () => g.next())
      g.when(found.gt(20n), () => g.leave())
    })
    const down = g.var(10n)
    const sum = g.var(0n)
    g.while(
      () => down.ne(0n),
      () => {
        sum.set(sum.add(down))
        down.set(down.sub(1n))
      },
    )
    const kind = (n: bigint) => {
      const out = g.var(0n)
      const x = g.var(n)
      g.when(x.eq(1n), () => out.set(10n))
        .orWhen(
          () => x.eq(2n),
          () => out.set(20n),
        )
        .orWhen(
          () => x.eq(3n).or(x.eq(4n)),
          () => out.set(30n),
        )
        .otherwise(() => out.set(99n))
      return out
    }
    g.sync(found, sum, kind(1n), kind(2n), kind(4n), kind(7n))
    g.done()
  })
  t.teardown(() => machine.close())
  t.same(machine.next().args.slice(1, 3), [144n, 0xffff_fffbn])
  t.same(machine.next().args.slice(1), [21n, 55n, 10n, 20n, 30n, 99n])
})

t.test('memory, atomics, asm, ports and calls out of the guest', async t => {
  const machine = new Machine(g => {
    const at = g.memory('cells', Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
    const shared = g.memory('window', 4096, { shared: true })
    g.assert.eq(g.load(at, 4), 0x0403_0201)
    g.assert.eq(g.atomic.fetchAdd(at, u64, 1n), 0x0807_0605_0403_0201n)
    g.assert.eq(g.atomic.exchange(at, u16, 0xbeefn), 0x0202)
    const p = g.ptr(shared, u32)
    g.repeat(8n, i => p.set(i, i.as(u32).mul(i.as(u32))))
    g.assert.eq(p.get(7n), 49)
    const { rax, rdx } = g.asm('mul rcx', { in: { rax: 1n << 63n, rcx: 6n }, out: ['rax', 'rdx'], clobbers: [] })
    g.assert.eq(rax, 0n)
    g.assert.eq(rdx, 3n)
    g.out(0x32, 2, 0xabcd)
    g.assert.eq(g.in(0x33, 1), 0xce)
    g.assert.eq(g.tdcall.vpInfo().gpaw, 48n)
    g.assert.eq(g.tdcall.raw(1n).rdx, 0x1000n)
    g.ucallNone()
    g.done()
  })
  t.teardown(() => machine.close())
  machine.ports.set(0x33, 0xffcen)
  t.equal(machine.next().name, 'bare')
  t.equal(machine.next().name, 'UCALL_DONE')
  t.same(machine.written, [{ port: 0x32, size: 2, data: 0xabcdn }])
  const window = machine.image.symbols.find(s => s.name === 'window')!
  t.equal(machine.read(window.gva + 20n, 4), 25n)
  t.ok(machine.image.segments.find(s => s.shared && window.gva >= s.gva && window.gva < s.gva + BigInt(s.size)))
})

t.test('several vCPUs, each with its own guest, share the image', async t => {
  let counter = 0n
  const machine = new Machine(
    [0, 1, 2].map(n => (g: GuestBuilder) => {
      if (n === 0) counter = g.memory('counter', 8)
      g.repeat(100n, () => g.atomic.fetchAdd(counter, u64, BigInt(n + 1)))
      g.sync(n)
      g.done()
    }),
    { vcpus: 3 },
  )
  t.teardown(() => machine.close())
  t.same(
    [0, 1, 2].map(n => machine.all(n).map(s => s.args[1])),
    [
      [0n, 0n],
      [1n, 0n],
      [2n, 0n],
    ],
  )
  t.equal(machine.read(counter, 8), 600n)
  t.equal(new Set(machine.image.entries).size, 3)
  t.equal(new Set(machine.image.stacks).size, 3)
  t.throws(() => buildGuest([g => g.done(), g => g.done()], { vcpus: 3, sharedBit: SHARED }), {
    message: '2 guests for 3 vCPUs: give one, or one for each',
  })
})

t.test('an exception that nobody handles is reported with its frame', async t => {
  const seen = (guest: (g: GuestBuilder) => void) => run(guest).at(-1)!
  const ud = seen(g => {
    g.asm('ud2')
    g.done()
  })
  t.equal(ud.name, 'UCALL_UNHANDLED')
  t.same(ud.args.slice(0, 3), [6n, 0n, 0x40_1004n])
  const pf = seen(g => g.store(0x1234_5678n, 8, 1n))
  t.same([pf.args[0], pf.args[1], pf.args[3]], [14n, 2n, 0x1234_5678n])
  const de = seen(g => {
    const zero = g.var(0n)
    g.sync(g.var(1n).div(zero))
    g.done()
  })
  t.equal(de.args[0], 0n)
})

t.test('an exception that is handled goes on where the handler says', async t => {
  const said = run(g => {
    const seen = g.memory('seen', 8)
    g.onException(6, frame => {
      g.store(seen, 8, frame.get('vector').shl(8).or(frame.get('rbx')))
      frame.set('rip', frame.get('rip').add(2n))
      frame.set('rax', 77n)
    })
    g.onException(14, frame => {
      g.sync(frame.get('errorCode'), frame.get('vector'))
      g.done()
    })
    const { rax } = g.asm('ud2', { in: { rbx: 5n }, out: ['rax'] })
    g.sync(rax, g.load(seen, 8))
    g.load(0x7000_0000n, 4)
  })
  t.same(
    said.map(s => s.args.slice(1, 3)),
    [
      [77n, 0x605n],
      [0n, 14n],
      [0n, 0n],
    ],
  )
})

t.test('a pool without a free structure is said, and a guest that runs off its end too', async t => {
  const machine = new Machine(g => {
    g.sync(1)
  })
  t.teardown(() => machine.close())
  machine.write(machine.image.ucall.pool, 8, 0xffn)
  t.equal(machine.next().name, 'no memory')
  machine.write(machine.image.ucall.pool, 8, 0n)
  const end = machine.next()
  t.match(
    [end.name, machine.image.sites[Number(end.args[0])]],
    ['UCALL_ABORT', { kind: 'end', message: 'the guest ran off its end: it never said g.done()' }],
  )
  t.equal(UCALL_ABORT, 2)
})

t.test('mistakes are told when the guest is built', async t => {
  const refused = (guest: (g: GuestBuilder) => void, message: RegExp) =>
    t.throws(() => buildGuest(guest, options), { message })
  refused(g => `${g.var(1n)}`, /no value on the host/)
  refused(g => g.var(1n).add(g.var(u32, 1) as never), /a u32 stands where a u64 is wanted: convert it with \.as\(u64\)/)
  refused(g => g.var(u8, 256), /256 does not fit in a u8/)
  refused(g => g.leave(), /g\.leave\(\) stands outside of any loop/)
  refused(g => g.return(), /nobody to return to/)
  refused(g => g.sync(...Array(135).fill(1)), /135 values: a ucall carries 134/)
  refused(g => {
    const x = g.var(1n)
    g.function('f', [], u64, () => g.return(x))
  }, /a value of guest is used in f/)
  refused(g => {
    const first = g.when(g.var(1n).eq(1n), () => {})
    g.sync(1)
    first.otherwise(() => {})
  }, /otherwise follows its when at once/)
})

t.test('the code is what one would write by hand', async t => {
  t.same(
    listing(g => {
      const x = g.var(5)
      g.repeat(10, i => x.set(x.add(i.mul(3n))))
      g.assert.eq(x, 140n)
      g.done()
    }).slice(0, 12),
    [
      'mov eax, 0x5',
      'xor ecx, ecx',
      'imul rdx, rcx, 0x3',
      'add rax, rdx',
      'add rcx, 0x1',
      'cmp rcx, 0xa',
      'jb 0x401007',
      'cmp rax, 0x8c',
      'jne 0x401042',
      'push 0x1',
      'push 0x104',
      'call 0x5ff000',
    ],
  )
  t.same(
    listing(g => {
      const table = g.ptr(0x50_0000n, u64)
      const i = g.load(0x50_0800n, 8)
      g.store(i.shl(3).add(0x50_0000n), 8, g.load(i.shl(3).add(0x50_0000n), 8).add(7n))
      table.set(2n, table.get(1n))
      g.when(i.ge(9n), () => g.store(0x50_0810n, 4, 1))
      g.done()
    }).slice(0, 7),
    [
      'mov rax, qword ptr [0x500800]',
      'add qword ptr [rax*8+0x500000], 0x7',
      'mov rcx, qword ptr [0x500008]',
      'mov qword ptr [0x500010], rcx',
      'cmp rax, 0x9',
      'jb 0x401032',
      'mov dword ptr [0x500810], 0x1',
    ],
  )
})

t.test('a guest value as a host value, and the reverse, are type errors', async t => {
  const mistakes = (g: GuestBuilder): void => {
    const x = g.var(1n)
    const n: Value<'u32'> = g.var(u32, 1)
    // @ts-expect-error a guest value is no bigint
    const plus = x + 1n
    // @ts-expect-error types do not mix by themselves
    x.add(n)
    // @ts-expect-error nor do they in an assertion
    g.assert.eq(x, n)
    // @ts-expect-error a port takes what its size says
    g.out(1, 2, x)
    // @ts-expect-error strings do not travel
    g.sync('stage')
    // @ts-expect-error a TDCALL leaf has named arguments
    g.tdcall.memPageAccept({ page: 1n })
    // @ts-expect-error and named results
    g.tdcall.vpInfo().nothing
    // @ts-expect-error a condition is not a host's truth value
    const host: boolean = x.eq(1n)
    // @ts-expect-error a function takes what it says
    g.function('f', [u8], a => g.sync(a))(n)
    // @ts-expect-error only registers that were asked for come out
    g.asm('cpuid', { out: ['rax'] }).rbx
    void [plus, host]
  }
  t.type(mistakes, 'function', 'tsc is the judge')
})

t.test('an ordinary VM uses IN and OUT, and its own ucall', async t => {
  const image = buildGuest(
    g => {
      g.out(0x80, 1, 7)
      g.in(0x80, 4)
      g.done()
    },
    { ...options, transport: 'pio' },
  )
  const code = image.segments.find(s => s.name === 'code')!
  const lines = disassemble(code.bytes, code.gva, code.gva, 9).map(l => l.text)
  t.ok(lines.includes('out dx, al') && lines.includes('in eax, dx'), lines.join('; '))
  t.throws(() => buildGuest(g => g.out(1, 8, 1), { ...options, transport: 'pio' }), { message: /port I\/O of 8 bytes/ })
  for (const transport of ['fatal', 'port-rdi', 'port-index', 'pio'] as const)
    t.equal(buildGuest(g => g.done(), { ...options, transport }).ucall.transport, transport)
})
