/** The list of what we do not model, made from the `Not modelled:` comments in the sources: docs/not-modelled.md. */
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** One gap: where it is said, and what is said. */
export type Gap = { readonly file: string; readonly line: number; readonly text: string }

const MARK = 'Not modelled:'

/** Every gap a source names. A comment runs on over the following comment lines up to an empty one or its end. */
export const gapsOf = (file: string, source: string): Gap[] => {
  const lines = source.split('\n')
  return lines.flatMap((line, index) => {
    const at = line.indexOf(MARK)
    if (at < 0 || !/^\s*(\/\*\*?|\*|\/\/)/.test(line)) return []
    const words = [line.slice(at + MARK.length)]
    for (let next = index + 1; !words.at(-1)!.includes('*/'); next++) {
      const more = /^\s*(?:\*(?!\/)|\/\/)\s?(.*)$/.exec(lines[next] ?? '')?.[1]
      if (!more?.trim() || more.includes(MARK)) break
      words.push(more)
    }
    const text = words
      .join(' ')
      .replace(/\*\/.*$/, '')
      .replace(/\s+/g, ' ')
      .trim()
    return [{ file, line: index + 1, text }]
  })
}

/** The page, room by room. */
export const page = (gaps: readonly Gap[]): string => {
  const out = [
    '# Not modelled',
    '',
    'What real hardware, the TDX module or KVM has and Seamless does not. Such a thing stops a test by name',
    '(`NotModelled`), raises what the manual says for a feature that is absent, or is said here to differ.',
    'Made from the `Not modelled:` comments in the sources by `make not-modelled`.',
    '',
  ]
  let room = ''
  for (const gap of gaps) {
    const here = gap.file
      .split('/')
      .slice(0, gap.file.startsWith('lib/') ? 2 : 1)
      .join('/')
    if (here !== room) out.push(`## ${here}`, '')
    room = here
    out.push(`- ${gap.text} (\`${gap.file}\`)`)
    if (gaps[gaps.indexOf(gap) + 1]?.file.startsWith(`${here}/`) !== true) out.push('')
  }
  return `${out.join('\n').trimEnd()}\n`
}

const root = new URL('..', import.meta.url)

/** Every gap of the project, in the order of the files. */
export const allGaps = (): Gap[] =>
  globSync('{lib,runner,reports}/**/*.{ts,h}', { cwd: root })
    .filter(file => !file.endsWith('.test.ts') && !file.startsWith('lib/not-modelled'))
    .sort()
    .flatMap(file => gapsOf(file, readFileSync(new URL(file, root), 'utf8')))

if (process.argv[1] === fileURLToPath(import.meta.url))
  writeFileSync(new URL('docs/not-modelled.md', root), page(allGaps()))
