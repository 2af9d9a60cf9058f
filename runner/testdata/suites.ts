/** Small suites in the fake harness's form, and a directory to run them in. */
import type t from 'tap'
import { seamless } from './cli.ts'

/** Test files in the fake harness's form: name → body. */
export const fake = (tests: Record<string, string>) =>
  `export default {${Object.entries(tests)
    .map(([name, body]) => `\n'${name}': async () => { ${body} },`)
    .join('')}\n}\n`
export const PASS = "return { status: 'pass', instructions: 1 }"
export const FAIL = "return { status: 'fail', instructions: 1 }"
/** Fails the first time it runs in this directory. */
export const FLAKY = `const fs = await import('node:fs'); if (fs.existsSync('ran')) ${PASS}; fs.writeFileSync('ran', ''); ${FAIL}`

export const three = {
  'a_test.ts': fake({ 'global.a': PASS, 'global.b': FAIL, 'port.byte.c': PASS }),
  'b_test.ts': fake({ 'global.d': PASS }),
  tdx: { 'c_test.ts': fake({ 'global.e': FAIL }) },
}
export const inside = (t: Tap, selftests: object) => {
  const cwd = t.testdir({ selftests } as Parameters<Tap['testdir']>[0])
  return { cwd, run: (...args: string[]) => seamless(args, {}, cwd) }
}
export type Tap = { testdir: (typeof t)['testdir'] }

export const ran = (stdout: string) => [...stdout.matchAll(/^# (?:not )?ok \d+ (\S+)/gm)].map(match => match[1])
