/** Random programs: what the machine code leaves in memory is what a reading of the same program with bigints gives. */
import fc from 'fast-check'
import t from 'tap'
import { type GuestBuilder, TYPES, type TypeName, u64, type Value, type Variable } from './index.ts'
import { Machine } from './testdata/machine.ts'

type Binary = 'add' | 'sub' | 'mul' | 'div' | 'mod' | 'and' | 'or' | 'xor' | 'shl' | 'shr'
type Relation = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'

/** Expressions are of the program's type; v: variable, m: element of the memory array by a variable's low bits. */
type Expr =
  | { k: 'c'; value: bigint }
  | { k: 'v'; v: number }
  | { k: 'm'; v: number }
  | { k: 'b'; op: Binary; a: Expr; b: Expr }
  | { k: 'u'; op: 'not' | 'neg'; a: Expr }
  | { k: 'as'; via: TypeName; a: Expr }
  | { k: 'cond'; op: Relation; a: Expr; b: Expr }
  | { k: 'call'; a: Expr; b: Expr }
type Stmt =
  | { k: 'set'; v: number; e: Expr }
  | { k: 'store'; at: number; e: Expr }
  | { k: 'add'; at: number; e: Expr }
  | {
      k: 'if'
      op: Relation
      a: Expr
      b: Expr
      yes: Stmt[]
      or?: { op: Relation; a: Expr; b: Expr; body: Stmt[] }
      no: Stmt[]
    }
  | { k: 'repeat'; n: number; body: Stmt[]; leave: { op: Relation; a: Expr; b: Expr } | undefined }
  | { k: 'cpuid' }

const VARS = 18
const CELLS = 8

const wrap = (type: TypeName, x: bigint): bigint => {
  const { size, signed } = TYPES[type]
  return signed ? BigInt.asIntN(size * 8, x) : BigInt.asUintN(size * 8, x)
}

/** As C computes: operations on types narrower than int are done in int and wrapped; `|| 1` keeps off #DE. */
const binary = (type: TypeName, op: Binary, a: bigint, b: bigint): bigint => {
  const count = b & (TYPES[type].size === 8 ? 63n : 31n)
  switch (op) {
    case 'add':
      return wrap(type, a + b)
    case 'sub':
      return wrap(type, a - b)
    case 'mul':
      return wrap(type, a * b)
    case 'and':
      return a & b
    case 'or':
      return a | b
    case 'xor':
      return wrap(type, a ^ b)
    case 'shl':
      return wrap(type, a << count)
    case 'shr':
      return a >> count
    case 'div':
      return wrap(type, a / b)
    case 'mod':
      return wrap(type, a % b)
  }
}
const holds = (op: Relation, a: bigint, b: bigint): boolean =>
  ({ eq: a === b, ne: a !== b, lt: a < b, le: a <= b, gt: a > b, ge: a >= b })[op]

const exprs = (type: TypeName) => {
  const bits = TYPES[type].size * 8
  const constant = fc.oneof(
    fc.bigInt(0n, (1n << BigInt(bits)) - 1n),
    fc.constantFrom(0n, 1n, 2n, 8n, 255n, (1n << BigInt(bits - 1)) - 1n, (1n << BigInt(bits)) - 1n),
  )
  return fc.letrec<{ e: Expr }>(tie => ({
    e: fc.oneof(
      { maxDepth: 5, depthSize: 'medium' },
      fc.record({ k: fc.constant('v' as const), v: fc.nat(VARS - 1) }),
      fc.record({ k: fc.constant('c' as const), value: constant.map(x => wrap(type, x)) }),
      fc.record({ k: fc.constant('m' as const), v: fc.nat(VARS - 1) }),
      {
        weight: 5,
        arbitrary: fc.record({
          k: fc.constant('b' as const),
          op: fc.constantFrom<Binary>('add', 'sub', 'mul', 'div', 'mod', 'and', 'or', 'xor', 'shl', 'shr'),
          a: tie('e'),
          b: tie('e'),
        }),
      },
      fc.record({ k: fc.constant('u' as const), op: fc.constantFrom('not' as const, 'neg' as const), a: tie('e') }),
      fc.record({
        k: fc.constant('as' as const),
        via: fc.constantFrom(...(Object.keys(TYPES) as TypeName[])),
        a: tie('e'),
      }),
      fc.record({
        k: fc.constant('cond' as const),
        op: fc.constantFrom<Relation>('eq', 'ne', 'lt', 'le', 'gt', 'ge'),
        a: tie('e'),
        b: tie('e'),
      }),
      fc.record({ k: fc.constant('call' as const), a: tie('e'), b: tie('e') }),
    ),
  })).e
}

const programs = (type: TypeName) => {
  const e = exprs(type)
  const op = fc.constantFrom<Relation>('eq', 'ne', 'lt', 'le', 'gt', 'ge')
  const tied = fc.letrec<{ s: Stmt; list: Stmt[] }>(tie => ({
    list: fc.array(tie('s'), { minLength: 1, maxLength: 5 }),
    s: fc.oneof(
      { maxDepth: 4, depthSize: 'medium' },
      { weight: 6, arbitrary: fc.record({ k: fc.constant('set' as const), v: fc.nat(VARS - 1), e }) },
      fc.record({ k: fc.constant('store' as const), at: fc.nat(CELLS - 1), e }),
      fc.record({ k: fc.constant('add' as const), at: fc.nat(CELLS - 1), e }),
      fc.constant({ k: 'cpuid' as const }),
      fc.record(
        {
          k: fc.constant('if' as const),
          op,
          a: e,
          b: e,
          yes: tie('list'),
          or: fc.record({ op, a: e, b: e, body: tie('list') }),
          no: tie('list'),
        },
        { requiredKeys: ['k', 'op', 'a', 'b', 'yes', 'no'] },
      ),
      fc.record({
        k: fc.constant('repeat' as const),
        n: fc.nat(4),
        body: tie('list'),
        leave: fc.option(fc.record({ op, a: e, b: e }), { nil: undefined }),
      }),
    ),
  }))
  return fc.array(tied.s, { minLength: 4, maxLength: 24, size: 'max' })
}

/** The reference. */
const interpret = (type: TypeName, program: readonly Stmt[], vars: bigint[], cells: bigint[]): void => {
  const value = (e: Expr): bigint => {
    switch (e.k) {
      case 'c':
        return e.value
      case 'v':
        return vars[e.v]!
      case 'm':
        return cells[Number(vars[e.v]! & 7n)]!
      case 'b': {
        const [a, b] = [value(e.a), value(e.b)]
        return binary(type, e.op, a, e.op === 'div' || e.op === 'mod' ? wrap(type, (b & 0x7en) | 1n) : b)
      }
      case 'u':
        return wrap(type, e.op === 'not' ? ~value(e.a) : -value(e.a))
      case 'as':
        return wrap(type, wrap(e.via, value(e.a)))
      case 'cond':
        return holds(e.op, value(e.a), value(e.b)) ? 1n : 0n
      case 'call': {
        const [a, b] = [value(e.a), value(e.b)]
        return wrap(type, binary(type, 'mul', a, b) - (holds('lt', a, b) ? a : b))
      }
    }
  }
  const run = (list: readonly Stmt[]): void => {
    for (const s of list) {
      if (s.k === 'set') vars[s.v] = value(s.e)
      else if (s.k === 'store') cells[s.at] = value(s.e)
      else if (s.k === 'add') cells[s.at] = wrap(type, cells[s.at]! + value(s.e))
      else if (s.k === 'if') {
        if (holds(s.op, value(s.a), value(s.b))) run(s.yes)
        else if (s.or !== undefined && holds(s.or.op, value(s.or.a), value(s.or.b))) run(s.or.body)
        else run(s.no)
      } else if (s.k === 'repeat') {
        for (let i = 0; i < s.n; i++) {
          if (s.leave !== undefined && holds(s.leave.op, value(s.leave.a), value(s.leave.b))) break
          vars[0] = wrap(type, vars[0]! + BigInt(i))
          run(s.body)
        }
      }
    }
  }
  run(program)
}

/** The same program in the builder's words. */
const build = (g: GuestBuilder, type: TypeName, program: readonly Stmt[], data: bigint): void => {
  const T = TYPES[type]
  const size = BigInt(T.size)
  const cellsAt = data + BigInt(VARS) * size
  const vars: Variable[] = []
  for (let v = 0; v < VARS; v++) vars.push(g.var(g.load(data + BigInt(v) * size, T)) as Variable)
  const f = g.function('f', [T, T], T, (a, b) => {
    const product = g.var(a.mul(b))
    g.when(a.lt(b), () => product.set(product.sub(a))).otherwise(() => product.set(product.sub(b)))
    g.return(product)
  })
  const value = (e: Expr): Value => {
    switch (e.k) {
      case 'c':
        return g.value(T, e.value)
      case 'v':
        return vars[e.v]!
      case 'm':
        return g.ptr(cellsAt, T).get(vars[e.v]!.as(u64).and(7n))
      case 'b': {
        // A variable's value is read where it is used, which is before anything else here changes one.
        const [a, b] = [value(e.a), value(e.b)]
        return a[e.op](e.op === 'div' || e.op === 'mod' ? b.and(0x7en).or(1n) : b)
      }
      case 'u':
        return value(e.a)[e.op]()
      case 'as':
        return value(e.a).as(TYPES[e.via]).as(T)
      case 'cond':
        return value(e.a)[e.op](value(e.b)).value().as(T)
      case 'call':
        return f(value(e.a), value(e.b)) as Value
    }
  }
  const run = (list: readonly Stmt[]): void => {
    for (const s of list) {
      if (s.k === 'set') vars[s.v]!.set(value(s.e))
      else if (s.k === 'store') g.store(cellsAt + BigInt(s.at) * size, T, value(s.e))
      else if (s.k === 'add') {
        const at = cellsAt + BigInt(s.at) * size
        const e = value(s.e)
        g.store(at, T, g.load(at, T).add(e))
      } else if (s.k === 'if') {
        const first = g.when(value(s.a)[s.op](value(s.b)), () => run(s.yes))
        const { or } = s
        const last =
          or === undefined
            ? first
            : first.orWhen(
                () => value(or.a)[or.op](value(or.b)),
                () => run(or.body),
              )
        last.otherwise(() => run(s.no))
      } else if (s.k === 'repeat') {
        g.repeat(s.n, i => {
          const { leave } = s
          if (leave !== undefined) g.when(value(leave.a)[leave.op](value(leave.b)), () => g.leave())
          vars[0]!.set(vars[0]!.add(i.as(T)))
          run(s.body)
        })
      } else g.assert.eq(g.vmcall.cpuid({ leaf: 0n }).eax, 0x16n)
    }
  }
  run(program)
  for (const [v, x] of vars.entries()) g.store(data + BigInt(v) * size, T, x)
  g.done()
}

for (const type of Object.keys(TYPES) as TypeName[]) {
  t.test(`random programs of ${type}`, async t => {
    const { size, signed } = TYPES[type]
    fc.assert(
      fc.property(
        programs(type),
        fc.array(fc.bigInt(0n, 2n ** 64n - 1n), { minLength: VARS + CELLS, maxLength: VARS + CELLS }),
        (program, raw) => {
          const initial = raw.map(x => wrap(type, x))
          const [vars, cells] = [initial.slice(0, VARS), initial.slice(VARS)]
          interpret(type, program, vars, cells)
          let data = 0n
          const machine = new Machine(g => {
            data = g.memory('data', 256)
            build(g, type, program, data)
          })
          try {
            for (const [i, x] of initial.entries())
              machine.write(data + BigInt(i * size), size, BigInt.asUintN(size * 8, x))
            const said = machine.all()
            if (said.at(-1)?.name !== 'UCALL_DONE')
              throw new Error(`the guest said ${said.at(-1)?.name} ${said.at(-1)?.args.join()}`)
            const seen = Array.from({ length: VARS + CELLS }, (_, i) => {
              const x = machine.read(data + BigInt(i * size), size)
              return signed ? BigInt.asIntN(size * 8, x) : x
            })
            const want = [...vars, ...cells]
            for (const [i, x] of want.entries()) if (seen[i] !== x) throw new Error(`${i}: seen ${seen[i]}, want ${x}`)
          } finally {
            machine.close()
          }
        },
      ),
      { numRuns: Number(process.env['RUNS'] ?? 10), seed: 20_261_122 },
    )
    t.pass('machine code and reference agree')
  })
}
