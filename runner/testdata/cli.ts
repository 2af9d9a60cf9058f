/** The command as a user runs it: a process of its own, from the directory of the project. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'

const ROOT = new URL('../..', import.meta.url)

export const seamless = (args: readonly string[], env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> =>
  spawnSync(process.execPath, ['runner/seamless.js', ...args], {
    cwd: ROOT,
    encoding: 'utf8',
    timeout: 30_000,
    env: { ...process.env, SEAMLESS_HARNESS: new URL('harness.ts', import.meta.url).href, ...env },
  })

/** A test file of this directory, as the command line names it. */
export const data = (name: string): string => `runner/testdata/${name}_test.ts`
