/** A test file with a mistake is told so by the compiler, at the mistake: golden tests, ten kinds and more. */
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'

type Mistake = {
  readonly name: string
  /** What the test file says; the compiler has to mark what stands between ⟦ and ⟧, and nothing else. */
  readonly code: string
  readonly message: RegExp
}

/** In a guest: `g`, some values and a structure. */
const guest = (code: string): string => `
import { array, bitFields, type GuestBuilder, nested, shared, struct, u8, u16, u32, u64, i32 } from '#harness'

const page = struct('page', { entry: bitFields(u64, { present: 0, frame: [51, 12] }), list: array(u32, 4) })
const other = struct('other', { tag: u32 })
export const body = (g: GuestBuilder, x: ReturnType<GuestBuilder['u64']>): void => {
  const n = g.u32(1)
  const p = g.struct(page, 0x1000n)
  const q = g.struct(other, 0x2000n)
  const take = (s: typeof p): void => s.list.at(0).set(n)
  ${code}
  void [n, p, q, take, shared, nested, u8, u16, i32, x]
}
`
/** On the host: `t` and a TD. */
const host = (code: string): string => `
import { type Context, type GuestBuilder, shared, test, u32, u64 } from '#harness'

const mailbox = shared('mailbox', { letter: u64, stamp: u32 })
export const body = async (t: Context, g: GuestBuilder): Promise<void> => {
  const td = t.td({ guest: g => g.done() })
  ${code}
  void [td, g, mailbox, test]
}
`

const MISTAKES: readonly Mistake[] = [
  {
    name: 'a guest value computed with as if the host knew it',
    code: guest('const sum = ⟦x + 1n⟧\n  void sum'),
    message: /^Operator '\+' cannot be applied to types 'Value<"u64">' and '(1n|bigint)'/,
  },
  {
    name: 'a guest condition decides for the host',
    code: guest('const isOne: boolean = x.eq(1n)\n  void isOne'.replace('isOne:', '⟦isOne⟧:')),
    message: /^Type 'Condition' is not assignable to type 'boolean'/,
  },
  {
    name: 'a host assertion about a guest value',
    code: host('t.assert.eq(⟦g.u64(1)⟧, 1n)'),
    message: /'Value<"u64">' is not assignable to parameter of type 'Scalar'/,
  },
  {
    name: 'a guest assertion about a host value',
    code: guest('g.assert.eq(⟦1n⟧, 1n)'),
    message: /'bigint' is not assignable to parameter of type 'Value/,
  },
  {
    name: 'two guest types in one operation',
    code: guest('x.add(⟦n⟧)'),
    message: /'Value<"u32">' is not assignable to parameter of type 'In<"u64">'/,
  },
  {
    name: 'a value of the wrong size in a store',
    code: guest('g.store(0x1000n, u16, ⟦n⟧)'),
    message: /'Value<"u32">' is not assignable to parameter of type 'In<"u16">'/,
  },
  {
    name: 'a port of eight bytes takes no other size',
    code: guest('g.out(0x32, ⟦3⟧, 1)'),
    message: /'3' is not assignable to parameter of type 'Size'/,
  },
  {
    name: 'an unknown field of a structure',
    code: guest('p.⟦lst⟧'),
    message: /^Property 'lst' does not exist on type 'Struct</,
  },
  {
    name: 'an unknown bit field',
    code: guest('p.entry.⟦dirty⟧.set(1n)'),
    message: /^Property 'dirty' does not exist/,
  },
  {
    name: 'a structure where another is wanted',
    code: guest('take(⟦q⟧)'),
    message: /is not assignable to parameter of type/,
  },
  {
    name: 'a field set to a value of another type',
    code: guest('p.list.at(1).set(⟦x⟧)'),
    message: /'Value<"u64">' is not assignable to parameter of type 'In<"u32">'/,
  },
  {
    name: 'an unknown field in a comparison of a structure',
    code: guest('g.assert.match(p, { entry: { present: 1n, ⟦dirty⟧: 1n } })'),
    message: /'dirty' does not exist in type/,
  },
  {
    name: 'a field compared with a value of another type',
    code: guest('g.assert.match(q, { ⟦tag⟧: x })'),
    message: /'Value<"u64">' is not assignable to type/,
  },
  {
    name: 'a machine that there is not',
    code: host("t.make({ ⟦kind⟧: 'sev', guest: g => g.done() })"),
    message: /'"sev"' is not assignable to type 'Kind'/,
  },
  {
    name: 'an unknown argument of a TDCALL',
    code: guest('g.tdcall.memPageAccept({ ⟦page⟧: 1n })'),
    message: /'page' does not exist in type/,
  },
  {
    name: 'an unknown result of a TDCALL',
    code: guest('g.tdcall.vpInfo().⟦width⟧'),
    message: /^Property 'width' does not exist/,
  },
  {
    name: 'a register that the asm block did not ask for',
    code: guest("g.asm('cpuid', { out: ['rax'] }).⟦rbx⟧"),
    message: /^Property 'rbx' does not exist/,
  },
  {
    name: 'a wrong argument of a guest function',
    code: guest("g.function('f', [u8], a => g.sync(a))(⟦n⟧)"),
    message: /'Value<"u32">' is not assignable to parameter of type 'In<"u8">'/,
  },
  {
    name: 'an exception that there is not',
    code: guest("g.expectFault(⟦'#GF'⟧, () => {})"),
    message: /'"#GF"' is not assignable to parameter of type 'FaultName'/,
  },
  {
    name: 'an exit that there is not',
    code: host("await td.vcpu.until(⟦'KVM_EXIT_NOTHING'⟧)"),
    message: /'"KVM_EXIT_NOTHING"' is not assignable to parameter/,
  },
  {
    name: 'a field that the exit has not',
    code: host("const io = await td.vcpu.until('KVM_EXIT_IO')\n  t.assert.eq(io.⟦gpa⟧, 0n)"),
    message: /^Property 'gpa' does not exist on type 'IoExit'/,
  },
  {
    name: 'an unknown field of shared memory, on the host',
    code: host('mailbox.of(td).⟦lettre⟧ = 1n'),
    message: /^Property 'lettre' does not exist/,
  },
  {
    name: 'a number where the host has bigints',
    code: host('⟦mailbox.of(td).stamp⟧ = 1'),
    message: /^Type 'number' is not assignable to type 'bigint'/,
  },
]

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const virtual = MISTAKES.map((m, n) => ({ ...m, file: join(root, `selftests/mistake${n}_test.ts`) }))
const texts = new Map(virtual.map(({ file, code }) => [file, code.replace(/[⟦⟧]/g, '')]))

const configuration = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
const { options } = ts.parseJsonConfigFileContent(configuration.config, ts.sys, root)
const compiler = ts.createCompilerHost(options)
const { readFile, fileExists } = compiler
compiler.readFile = name => texts.get(name) ?? readFile(name)
compiler.fileExists = name => texts.has(name) || fileExists(name)
const { getSourceFile } = compiler
compiler.getSourceFile = (name, ...rest) => {
  const text = texts.get(name)
  return text === undefined ? getSourceFile(name, ...rest) : ts.createSourceFile(name, text, rest[0], true)
}
const program = ts.createProgram([...texts.keys()], options, compiler)

for (const { name, code, file, message } of virtual)
  t.test(name, async t => {
    const source = program.getSourceFile(file)!
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
    const told = found.map(d => ts.flattenDiagnosticMessageText(d.messageText, '\n'))
    t.equal(found.length, 1, told.join('; '))
    const [first] = found
    const start = code.indexOf('⟦')
    t.equal(first?.start, start, 'at the mistake')
    t.equal(source.text.slice(start, start + (first?.length ?? 0)), code.slice(start + 1, code.indexOf('⟧')))
    t.match(told[0], message)
  })
