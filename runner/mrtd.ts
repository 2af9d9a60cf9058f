/** `seamless mrtd`: what the TDs of a test are measured as, page by page. */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import {
  attributesInWords,
  type CollectedTest,
  collect,
  digits,
  type Measured,
  onMeasured,
  recompute,
  xfamInWords,
} from '#harness'
import { UsageError } from './errors.ts'
import { words } from './parse.ts'
import { DEFAULT_SEED, parseSeed } from './seed.ts'

const HELP = `
seamless mrtd FILE.ts:TEST

Runs the test and prints, for each of its TDs, MRTD and what went into it: the pages that the TD began
with, in order, and what each is. MRTD is computed a second time from these pages alone.

TEST is the test's name, or fixture.variant.test. Without it: every test of the file.

Exit: 0 the two agree, 1 they do not, 2 there is no such test.
`

const TIMEOUT = 30_000
const ZERO_REGISTER = '00'.repeat(48)
const register = (bytes: Uint8Array): string => (digits(bytes) === ZERO_REGISTER ? 'zero' : digits(bytes))
const inHex = (value: bigint): string => `0x${value.toString(16)}`
const list = (value: bigint, names: readonly string[]): string =>
  `${inHex(value)}${names.length === 0 ? '' : `  ${names.join(', ')}`}`

/** The first bytes of a page's own digest: enough to see which of two pages differs. */
const fingerprint = (content: Uint8Array): string =>
  content.every(byte => byte === 0) ? 'zeroes' : createHash('sha384').update(content).digest('hex').slice(0, 12)

/** One TD. `agrees` says whether MRTD is what the pages give. */
const show = (test: string, td: Measured): { text: string; agrees: boolean } => {
  const again = digits(recompute(td.pages))
  const agrees = again === digits(td.mrtd)
  const rows = td.pages.map(({ gpa, what, content, isExtended }) => {
    const at = inHex(gpa).padEnd(12)
    return `  ${at}  ${isExtended ? 'ADD, 16 x EXTEND' : 'ADD             '}  ${fingerprint(content).padEnd(12)}  ${what}`
  })
  const text = [
    `${test}, ${td.name}`,
    '',
    `MRTD           ${digits(td.mrtd)}`,
    agrees
      ? '               the same, computed from the pages below'
      : `  differs from ${again}, computed from the pages below`,
    `ATTRIBUTES     ${list(td.attributes, attributesInWords(td.attributes))}`,
    `XFAM           ${list(td.xfam, xfamInWords(td.xfam))}`,
    `MRCONFIGID     ${register(td.mrconfigid)}`,
    `MROWNER        ${register(td.mrowner)}`,
    `MROWNERCONFIG  ${register(td.mrownerconfig)}`,
    ...(td.rtmrs.every(value => register(value) === 'zero')
      ? ['RTMR0 to 3     zero: the guest extends them when it runs']
      : td.rtmrs.map((value, n) => `RTMR${n}          ${register(value)}`)),
    '',
    `  GPA           measured          content       what it is`,
    ...rows,
    '',
  ].join('\n')
  return { text, agrees }
}

const find = (tests: readonly CollectedTest[], name: string | undefined, word: string): readonly CollectedTest[] => {
  if (name === undefined) return tests
  const found = tests.filter(test => test.name === name || test.test === name)
  if (found.length > 0) return found
  throw new UsageError(`${word}: no test ${name}; there are ${tests.map(test => test.name).join(', ')}`)
}

export const mrtd = async (argv: readonly string[]): Promise<number> => {
  const line = words(argv, {}, HELP)
  if (line === undefined) return 0
  const word = line.positionals[0]
  if (word === undefined) throw new UsageError('mrtd: no test; want FILE.ts:TEST')
  const colon = word.search(/:[^/\\]*$/)
  const [file, name] = colon < 0 || existsSync(word) ? [word, undefined] : [word.slice(0, colon), word.slice(colon + 1)]
  if (!existsSync(file)) throw new UsageError(`${file}: no such file`)
  const { tests } = await collect(file)
  let differs = false
  let tds = 0
  for (const test of find(tests, name, word)) {
    onMeasured(td => {
      const { text, agrees } = show(`${file}  ${test.name}`, td)
      differs ||= !agrees
      tds++
      process.stdout.write(`${text}\n`)
    })
    const end = performance.now() + TIMEOUT
    await test.run({
      seed: BigInt(parseSeed(DEFAULT_SEED)),
      timeout: TIMEOUT,
      deadline: () => performance.now() > end,
      emit: () => {},
    })
  }
  onMeasured(undefined)
  if (tds === 0) process.stderr.write(`seamless: ${word}: no TD was finalized\n`)
  return differs ? 1 : 0
}
