/** How long it takes to make a guest: 10 000 statements of the builder's language, a file of C. */
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { c, compiler, compilerArguments, whyNoC } from '#guest'
import type { Row } from './measure.ts'

const STATEMENTS = fileURLToPath(new URL('statements.ts', import.meta.url))
const SOURCE = fileURLToPath(new URL('../guest/testdata/sha256.c', import.meta.url))

/** Milliseconds that a fresh process says it took. */
const asked = (cwd: string, ...args: string[]): number[] => {
  const { stdout, stderr, status } = spawnSync(process.execPath, [STATEMENTS, ...args], { cwd, encoding: 'utf8' })
  if (status !== 0) throw new Error(`statements.ts ${args.join(' ')}: ${stderr}`)
  return JSON.parse(stdout)
}

const column = (rounds: readonly (readonly number[])[], n: number): number[] => rounds.map(round => round[n] ?? 0)

const builderRows = (folder: string, count: number): Row[] => {
  const rounds = Array.from({ length: count }, () => asked(folder, 'builder'))
  const row = { unit: 'ms CPU', note: 'bar: 100' }
  return [
    { ...row, what: 'builder: 10 000 statements, first guest of a process', ours: column(rounds, 0) },
    { ...row, what: 'builder: 10 000 statements, its second', ours: column(rounds, 1) },
    { ...row, what: 'builder: 10 000 statements, warm', ours: column(rounds, 2) },
  ]
}

const cRows = (folder: string, count: number): Row[] => {
  const cc = compiler()
  const why = whyNoC()
  if (cc === undefined || why !== undefined)
    return [{ what: 'C guest: first time', unit: 'ms', ours: [], note: why ?? '' }]
  const alone: number[] = []
  const rounds: number[][] = []
  for (let round = 0; round < count; round++) {
    const cwd = mkdtempSync(join(folder, 'c-'))
    const file = join(cwd, 'sha256.c')
    copyFileSync(SOURCE, file)
    const start = performance.now()
    spawnSync(cc, compilerArguments(c(file), join(cwd, 'alone')))
    alone.push(performance.now() - start)
    rounds.push(asked(cwd, 'c', file))
  }
  const [ours, cached] = [column(rounds, 0), column(rounds, 1)]
  return [
    { what: 'C guest (SHA-256): first time', unit: 'ms', ours, peer: { name: 'the compiler alone', figures: alone } },
    { what: 'C guest (SHA-256): cached', unit: 'ms', ours: cached, note: 'bar: 5' },
  ]
}

export const buildRows = (count: number): Row[] => {
  const folder = mkdtempSync(join(tmpdir(), 'seamless-build-'))
  try {
    return [...builderRows(folder, count), ...cRows(folder, count)]
  } finally {
    rmSync(folder, { recursive: true })
  }
}
