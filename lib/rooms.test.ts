import { globSync, readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { breaches, importsOf, ROOMS, type Room } from './rooms.ts'

const root = new URL('..', import.meta.url)
const sources = globSync('{lib,runner,reports,selftests}/**/*.ts', { cwd: root }).sort()

t.test('every import of the project keeps the order of the rooms', async t => {
  for (const file of sources) t.same(breaches(file, readFileSync(new URL(file, root), 'utf8')), [], file)
})

t.test('nothing else of ours stands at the top', async t => {
  const top = [
    'package.json',
    'package-lock.json',
    'tsconfig.json',
    'Makefile',
    'lib',
    'selftests',
    'runner',
    'reports',
  ]
  const beside = ['README.md', 'CHANGELOG.md', 'LICENSE', 'docs', 'node_modules']
  t.same(
    readdirSync(root).filter(name => !name.startsWith('.') && ![...top, ...beside].includes(name)),
    [],
  )
})

t.test('no room rests on itself', async t => {
  const visit = (room: Room, path: readonly Room[]): void => {
    t.notOk(path.includes(room), [...path, room].join(' → '))
    for (const next of ROOMS[room]) visit(next, [...path, room])
  }
  for (const room of Object.keys(ROOMS) as Room[]) visit(room, [])
})

t.test('a planted breach is found', async t => {
  const planted: [file: string, source: string, why: RegExp][] = [
    ['lib/x86/cpu.ts', "import { TdxModule } from '#tdx'", /x86 may import bits, abi, wasm/],
    ['lib/guest/boot.ts', "import type { Vm } from '#kvm'", /guest may import bits, abi, x86/],
    ['lib/tdx/td.ts', "export * from '../x86/cpu.ts'", /front door/],
    ['selftests/tdx_vm_test.ts', "import { Cpu } from '#x86'", /selftests may import harness/],
    ['reports/tap.ts', "const { test } = await import('#harness')", /reports may import no room/],
    ['lib/bits/int.ts', "import lodash from 'lodash'", /bits may import no package/],
    ['runner/cli.ts', "import '#nowhere'", /there is no room nowhere/],
    ['lib/kvm/vm.ts', "import {\n  a,\n  b,\n} from '../tdx/index.ts'", /front door/],
  ]
  for (const [file, source, why] of planted) {
    const found = breaches(file, source)
    t.equal(found.length, 1, `${file}: ${source}`)
    t.match(found[0]?.why, why)
  }
})

t.test('what looks like an import and is none is left alone', async t => {
  t.same(importsOf("// import { a } from '#tdx'\n/* import '#kvm' */\nconst from = 'x'\n"), [])
  t.same(breaches('lib/x86/cpu.test.ts', "import t from 'tap'\nimport { hex } from '#bits'"), [])
})
