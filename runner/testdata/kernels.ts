/** Unpacked kernels on this machine: what run_kselftest stands in for, to be run beside it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Compat } from '#reports'

export type Kernel = {
  /** `6.12`. */
  readonly version: string
  readonly root: string
  readonly selftests: string
  readonly compat: Compat
}

const SELFTESTS = 'tools/testing/selftests'

const read = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

const beneath = (directory: string): string[] => {
  try {
    return readdirSync(directory)
      .filter(name => name.startsWith('linux'))
      .map(name => join(directory, name))
  } catch {
    return []
  }
}

/** Roots of kernels named by KSELFTEST_SRC (separated by colons), or unpacked where distributions unpack them. */
export const kernels = (): Kernel[] =>
  [...(process.env['KSELFTEST_SRC'] ?? '').split(':').filter(Boolean), ...beneath('/usr/src')].flatMap(given => {
    const root = given.endsWith(SELFTESTS) ? given.slice(0, -SELFTESTS.length) : given
    const selftests = join(root, SELFTESTS)
    const runner = read(join(selftests, 'kselftest/runner.sh'))
    // Before 6.8 there were neither arguments' files nor stdbuf as we know them.
    if (!existsSync(join(selftests, 'kselftest/ktap_helpers.sh')) || !existsSync(join(selftests, 'run_kselftest.sh')))
      return []
    const makefile = read(join(root, 'Makefile'))
    const part = (name: string) => new RegExp(`^${name} = (\\d+)`, 'm').exec(makefile)?.[1] ?? '?'
    const lenient = !read(join(selftests, 'run_kselftest.sh')).includes('no-error-on-fail')
    const compat = runner.includes('ktap_test_pass') ? '7.1' : lenient ? '6.12' : '6.19'
    return [{ version: `${part('VERSION')}.${part('PATCHLEVEL')}`, root, selftests, compat }]
  })

export const NO_KERNEL = 'no unpacked kernel here: name one in KSELFTEST_SRC'

/** The kernel's own reader of KTAP: KUNIT_PY, or beneath an unpacked kernel. */
export const kunit = (): string | undefined =>
  process.env['KUNIT_PY'] ??
  kernels()
    .map(({ root }) => join(root, 'tools/testing/kunit/kunit.py'))
    .findLast(path => existsSync(path))
