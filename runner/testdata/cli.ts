/** The command as a user runs it: a process of its own, from the directory of the project. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const ROOT = new URL('../..', import.meta.url)

export const COMMAND = fileURLToPath(new URL('../seamless.js', import.meta.url))

/**
 * The command's first words, for `spawn` and its like. tap gives every process that is started from a test options of its own,
 * which cost it, and each worker, more than all else: `env` takes them away.
 */
export const START: readonly [string, ...string[]] = ['env', '-u', 'NODE_OPTIONS', process.execPath, COMMAND]

export const environment = (env: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  ...process.env,
  SEAMLESS_HARNESS: new URL('harness.ts', import.meta.url).href,
  ...env,
})

export const seamless = (
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  cwd: URL | string = ROOT,
): SpawnSyncReturns<string> =>
  spawnSync(START[0], [...START.slice(1), ...args], {
    cwd,
    encoding: 'utf8',
    timeout: 30_000,
    maxBuffer: 2 ** 26,
    env: environment(env),
  })

/** A test file of this directory, as the command line names it. */
export const data = (name: string): string => `runner/testdata/${name}_test.ts`
