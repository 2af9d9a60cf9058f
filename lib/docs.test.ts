/** Every `ts` block of the pages is written out, type-checked and run; those marked `fails` fail as they say. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import ts from 'typescript'
import { whyNoC } from '#guest'
import { blocksIn, blocksOf } from './docs.ts'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const blocks = blocksIn(root)
const folder = join(root, '.seamless', `docs-${process.pid}`)
mkdirSync(folder, { recursive: true })
t.teardown(() => rmSync(folder, { recursive: true, force: true }))

const files = blocks
  .filter(block => block.language === 'ts' && block.text.includes("from '#harness'"))
  .map(block => {
    const page = block.page
      .replace(/\.md$/, '')
      .replace(/^docs\//, '')
      .replaceAll('/', '_')
    const path = join(folder, `${page}_${block.line}_test.ts`)
    writeFileSync(path, block.text)
    return { ...block, path }
  })

t.test('the pages have blocks to run', async t => {
  t.ok(files.length >= 20, `${files.length} blocks`)
  t.throws(() => blocksOf('x.md', '```ts\nx'), { message: 'x.md:1: the block has no end' })
  t.throws(() => blocksOf('x.md', '```ts fails\nx\n```\n'), { message: /is followed by what it says/ })
})

t.test('they type-check', async t => {
  const { config } = ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const program = ts.createProgram(
    files.map(f => f.path),
    { ...options, incremental: false },
  )
  for (const { page, line, path } of files) {
    const source = program.getSourceFile(path)!
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)]
    const told = found.map(d => ts.flattenDiagnosticMessageText(d.messageText, '\n'))
    t.same(told, [], `${page}:${line}`)
  }
})

const run = spawnSync(process.execPath, [join(root, 'runner/seamless.js'), 'run', folder, '--record', 'none'], {
  cwd: root,
  encoding: 'utf8',
  env: { ...process.env, LC_ALL: 'C' },
})
/** What the runner said about each file: its part of the TAP begins with the file's name. */
const parts = run.stdout.split(/^# selftests: /m).slice(1)

const noC = whyNoC()
for (const { page, line, path, text, fails, says } of files) {
  const skip = noC !== undefined && text.includes('guest: c`') ? noC : false
  t.test(`${page}:${line}`, { skip }, async t => {
    const name = basename(path)
    const said = parts.find(part => part.split('\n', 1)[0]?.endsWith(name)) ?? run.stdout + run.stderr
    t.match(
      said,
      fails ? /^# # Totals: pass:0 fail:1/m : /^# # Totals: pass:[1-9]\d* fail:0 xfail:0 xpass:0 skip:0 error:0/m,
      said,
    )
    for (const wanted of says) t.ok(said.includes(wanted), `says: ${wanted}`, { said })
  })
}

const commands = blocks.filter(b => b.language === 'sh').flatMap(b => b.text.split('\n').map(text => ({ ...b, text })))
const hasMake = spawnSync('make', ['--version']).status === 0
t.test('the commands are ones that there are', { skip: hasMake ? false : 'no make' }, async t => {
  for (const { page, text } of commands) {
    const [program, ...args] = text.replace(/#.*/, '').trim().split(/\s+/)
    if (program === '') continue
    // What they would do, without doing it: the whole of the tests is no part of this one.
    if (program === 'make') {
      t.equal(spawnSync('make', ['-n', ...args], { cwd: root }).status, 0, `${page}: ${text}`)
      continue
    }
    t.equal(program, 'seamless', `${page}: ${text}`)
    const isSub = /^[a-z]/.test(args[0] ?? '')
    const asked = [join(root, 'runner/seamless.js'), ...(isSub ? args.slice(0, 1) : []), '--help']
    const help = spawnSync(process.execPath, asked, { cwd: root, encoding: 'utf8' }).stdout
    for (const option of args.filter(arg => arg.startsWith('-')))
      t.ok(help.includes(option.replace(/=.*/, '')), `${page}: ${text}: ${option}`)
  }
})

t.test('what the pages link to is there', async t => {
  for (const page of new Set(blocks.map(b => b.page).filter(page => page.startsWith('docs/')))) {
    const text = ts.sys.readFile(join(root, page)) ?? ''
    for (const [, link = ''] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g))
      t.ok(existsSync(join(root, dirname(page), link)), `${page}: ${link}`)
  }
})
