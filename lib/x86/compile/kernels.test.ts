import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { runElf } from '../testdata/linuxelf.ts'

/** Where the kernels' sources are: `SEAMLESS_KERNELS`, or beside the repository. */
const folder = process.env['SEAMLESS_KERNELS'] ?? join(import.meta.dirname, '../../../../shared/bench-kernels')
const FLAGS =
  '-O2 -ffreestanding -fno-math-errno -ffp-contract=off -fno-pie -no-pie -static -nostdlib -mno-avx -fno-stack-protector -fcf-protection=none'

const whyNot = (): string | false => {
  if (process.platform !== 'linux' || process.arch !== 'x64') return 'not on x86-64 Linux'
  if (!existsSync(join(folder, 'src/sieve.c'))) return 'no kernels'
  try {
    execFileSync('gcc', ['--version'], { stdio: 'ignore' })
    return false
  } catch {
    return 'no gcc'
  }
}

t.test('compute kernels have the checksums that the processor gives them', { skip: whyNot() }, async t => {
  const build = mkdtempSync(join(tmpdir(), 'kernels-'))
  try {
    for (const [name, scale] of Object.entries({
      sieve: 4,
      sha256: 20,
      qsort: 1,
      crc32: 10,
      bytecode: 4,
      nbody: 60,
      memrep: 40,
    })) {
      const path = join(build, name)
      const sources = ['rt/linux.c', `src/${name}.c`, 'rt/mem.c'].map(file => join(folder, file))
      execFileSync('gcc', [...FLAGS.split(' '), `-DKNAME=${name}`, '-DKSCALE=1u', '-o', path, ...sources])
      const sum = (text: string) => text.trim().split('\n').at(-1)!.split(' ')[1]
      const native = sum(execFileSync(path, [String(scale)], { encoding: 'utf8' }))
      const ours = runElf(readFileSync(path), [path, String(scale)], { tier: 'auto' })
      t.equal(sum(ours.output), native, name)
    }
  } finally {
    rmSync(build, { recursive: true })
  }
})
