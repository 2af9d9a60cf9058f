import { chmodSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { needOf, PLAIN, Resources } from './resources.ts'
import { seamless } from './testdata/cli.ts'
import { sh } from './testdata/tree.ts'

t.test('tags say what is needed; the largest counts', async t => {
  t.equal(needOf(['slow', 'memory', 'vcpus=x']), undefined)
  t.same(needOf(['vcpus=4', 'vcpus=2', 'memory=512M', 'kvm']), {
    exclusive: false,
    memory: 512 * 2 ** 20,
    vcpus: 4,
    kvm: true,
  })
  t.equal(needOf(['exclusive'])?.exclusive, true)
})

/** Takes `needs` at once; the order in which they were had, each given back only when `release` is called for it. */
const asked = async (resources: Resources, needs: Record<string, Parameters<Resources['take']>[0]>) => {
  const had: string[] = []
  const held = new Map<string, () => void>()
  for (const [name, need] of Object.entries(needs))
    void resources.take(need).then(release => {
      had.push(name)
      held.set(name, release)
    })
  const settled = () => new Promise(resolve => setImmediate(resolve))
  await settled()
  return {
    had,
    release: async (name: string) => {
      held.get(name)?.()
      await settled()
    },
  }
}

t.test('an exclusive file runs alone, and is not overtaken', async t => {
  const { had, release } = await asked(new Resources(4), {
    a: PLAIN,
    b: PLAIN,
    alone: { ...PLAIN, exclusive: true },
    c: PLAIN,
  })
  t.same(had, ['a', 'b'])
  await release('a')
  t.same(had, ['a', 'b'])
  await release('b')
  t.same(had, ['a', 'b', 'alone'])
  await release('alone')
  t.same(had, ['a', 'b', 'alone', 'c'])
})

t.test('shares of memory and processors, one at a time on /dev/kvm; too much is everything', async t => {
  const { had, release } = await asked(new Resources(4, 1000), {
    big: { ...PLAIN, memory: 900, kvm: true },
    small: { ...PLAIN, memory: 100 },
    kvm: { ...PLAIN, kvm: true },
    huge: { ...PLAIN, vcpus: 64 },
  })
  t.same(had, ['big', 'small'])
  await release('big')
  t.same(had, ['big', 'small', 'kvm'])
  await release('small')
  await release('kvm')
  t.same(had, ['big', 'small', 'kvm', 'huge'])
})

t.test('files and programs that ask to be alone are', async t => {
  // Each makes a directory while it runs: two at a time would collide.
  const alone = `export default { 'global.x': async () => {
    const fs = await import('node:fs'); fs.mkdirSync('busy'); await new Promise(r => setTimeout(r, 50)); fs.rmdirSync('busy')
    return { status: 'pass', instructions: 0 } } }
export const tags = ['exclusive']\n`
  const cwd = t.testdir({
    selftests: { 'a_test.ts': alone, 'b_test.ts': alone },
    programs: { c_test: sh('mkdir busy && sleep 0.05 && rmdir busy'), settings: 'resources=exclusive\n' },
  })
  chmodSync(join(cwd, 'programs/c_test'), 0o755)
  const { status, stdout } = seamless(['--jobs', '3', 'selftests/', 'programs/c_test'], {}, cwd)
  t.equal(status, 0, stdout)
  t.notOk(existsSync(join(cwd, 'busy')))
})
