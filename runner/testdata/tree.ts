/** An installed kselftest tree with one of everything, and programs for it. */
import { chmodSync, cpSync, mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

export const sh = (body: string): string => `#!/bin/sh\n${body}\n`

/** Writes the tests `programs` (collection/name → text, executable) and `files` into `root`, and their list. */
export const plant = (
  root: string,
  programs: Readonly<Record<string, string>>,
  files: Readonly<Record<string, string>> = {},
  more: readonly string[] = [],
): string[] => {
  for (const [path, text] of Object.entries({ ...programs, ...files })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  for (const path of Object.keys(programs)) chmodSync(join(root, path), 0o755)
  const entry = (path: string) => `${path.slice(0, path.lastIndexOf('/'))}:${path.slice(path.lastIndexOf('/') + 1)}`
  const list = [
    ...Object.keys(programs)
      .filter(path => !path.endsWith('/ksft_runner.sh'))
      .map(entry),
    ...more,
  ]
  writeFileSync(join(root, 'kselftest-list.txt'), list.map(line => `${line}\n`).join(''))
  return list
}

/** Gives a tree the scripts that a kernel's own `make install` puts there. */
export const installScripts = (selftests: string, root: string): void => {
  mkdirSync(join(root, 'kselftest'), { recursive: true })
  for (const file of ['kselftest', 'run_kselftest.sh'])
    cpSync(join(selftests, file), join(root, file), { recursive: true })
}
