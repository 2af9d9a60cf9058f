/** What readers of TAP object to in what the command prints. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { Parser } from 'tap-parser'
import { kunit } from './kernels.ts'

/** npm's tap-parser: errors, and lines that are neither results nor comments. */
export const objections = (text: string): string[] => {
  const parser = new Parser({})
  const found: string[] = []
  parser.on('complete', ({ failures }: { failures: { tapError?: string }[] }) =>
    found.push(...failures.flatMap(failure => failure.tapError ?? [])),
  )
  parser.on('extra', (line: string) => {
    if (!line.startsWith('#')) found.push(line)
  })
  parser.end(text)
  return found
}

/** What prove and the kernel's kunit.py (named by KUNIT_PY, or in an unpacked kernel) say of a text in `file`: exit status by reader. */
export const verdicts = (text: string, file: string): Record<string, number | null> => {
  writeFileSync(file, text)
  const script = kunit()
  const readers: [name: string, command: string, args: string[]][] = [
    ['prove', 'prove', ['-e', 'cat', file]],
    ...(script === undefined ? [] : [['kunit', 'python3', [script, 'parse', file]] as [string, string, string[]]]),
  ]
  return Object.fromEntries(
    readers.flatMap(([name, command, args]) => {
      const { status, error } = spawnSync(command, args, { timeout: 20_000 })
      return error === undefined ? [[name, status]] : []
    }),
  )
}
