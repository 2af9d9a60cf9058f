/** `seamless vectors`: files of single-instruction test cases, and where the emulated CPU differs from them. */
import { vectors as loadVectors, type VectorResult } from '#bare'
import { messageOf, UsageError } from './errors.ts'
import { isSet, textOf, tierOf, whole, words } from './parse.ts'

const HELP = `
seamless vectors FILE... [OPTIONS]

Runs files of single-instruction test cases (x86-vectors/1 and x86-decode/1, plain or gzip).

  --tier TIER     interpret, cold, compile, lockstep or coldstep [interpret]
  --filter REGEX  only cases whose id matches
  --keep N        failures shown, of each mnemonic [2]
  --json          one JSON object

Exit: 0 every case came out as in the file, 1 some did not, 2 a file cannot be read.
`

const show = ({ file, passed, total, failures }: VectorResult): string => {
  const lines = [`${file}: ${passed} passed, ${total - passed} failed, of ${total}`]
  for (const { id, bytes, differences } of failures) {
    lines.push(`  ${id}  ${bytes}`)
    for (const { field, seen, want } of differences) lines.push(`    ${field}: ${seen}, should be ${want}`)
  }
  return `${lines.join('\n')}\n`
}

export const vectors = async (argv: readonly string[]): Promise<number> => {
  const line = words(
    argv,
    {
      tier: { type: 'string' },
      filter: { type: 'string' },
      keep: { type: 'string' },
      json: { type: 'boolean' },
    },
    HELP,
  )
  if (line === undefined) return 0
  if (line.positionals.length === 0) throw new UsageError('vectors: name a file; --help says more')
  const tier = tierOf(line, 'interpret')
  const pattern = textOf(line, 'filter')
  let filter: RegExp | undefined
  try {
    filter = pattern === undefined ? undefined : new RegExp(pattern)
  } catch (error) {
    throw new UsageError(`--filter ${pattern}: ${messageOf(error)}`)
  }
  const keep = whole(line, 'keep', 0, 1e6) ?? 2
  const { runVectors, VectorFileError } = await loadVectors()
  const results: VectorResult[] = []
  for (const file of line.positionals) {
    try {
      const result = await runVectors(file, { keep, tier, ...(filter === undefined ? {} : { filter }) })
      results.push(result)
      if (!isSet(line, 'json')) process.stdout.write(show(result))
    } catch (error) {
      if (error instanceof VectorFileError) throw new UsageError(`${file}: ${error.message}`)
      throw error
    }
  }
  const failed = results.some(({ passed, total }) => passed < total)
  if (isSet(line, 'json')) {
    const files = results.map(({ file, passed, total, failures }) => ({
      file,
      passed,
      failed: total - passed,
      total,
      failures,
    }))
    process.stdout.write(`${JSON.stringify({ tier, files })}\n`)
  }
  return failed ? 1 : 0
}
