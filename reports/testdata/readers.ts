/** Readers of TAP that others wrote: what they make of a text. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Parser } from 'tap-parser'

/** npm's tap-parser: the results, and what it objects to. */
export const tapParser = (text: string): { results: string[]; objections: string[]; ok: boolean } => {
  const parser = new Parser({})
  const results: string[] = []
  const objections: string[] = []
  let ok = false
  parser.on('assert', (result: { ok: boolean; id: number; name: string; skip?: string | boolean }) =>
    results.push(`${result.ok ? 'ok' : 'not ok'} ${result.id} ${result.name}${result.skip ? ' # SKIP' : ''}`),
  )
  parser.on('complete', (all: { ok: boolean; failures: { tapError?: string }[] }) => {
    ok = all.ok
    objections.push(...all.failures.flatMap(failure => failure.tapError ?? []))
  })
  parser.on('extra', (line: string) => {
    if (!line.startsWith('#')) objections.push(`extra: ${line}`)
  })
  parser.end(text)
  return { results, objections, ok }
}

export type Verdict = { readonly status: number; readonly output: string }

const withFile = <T>(text: string, use: (path: string) => T): T => {
  const directory = mkdtempSync(join(tmpdir(), 'seamless-'))
  try {
    const path = join(directory, 'out.tap')
    writeFileSync(path, text)
    return use(path)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** perl's prove, or undefined where it is not installed. */
export const prove = (text: string): Verdict | undefined =>
  withFile(text, path => {
    const { status, stdout, stderr, error } = spawnSync('prove', ['-e', 'cat', path], { encoding: 'utf8' })
    return error === undefined ? { status: status ?? -1, output: stdout + stderr } : undefined
  })

/** The kernel's kunit.py, named by KUNIT_PY; undefined without it. */
export const kunit = (text: string): Verdict | undefined => {
  const script = process.env['KUNIT_PY']
  if (script === undefined) return undefined
  return withFile(text, path => {
    const run = spawnSync('python3', [script, 'parse', path], { encoding: 'utf8', timeout: 20_000 })
    return { status: run.status ?? -1, output: run.stdout + run.stderr }
  })
}
