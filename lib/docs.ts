/** The code blocks of the pages in docs/ and the README: what a reader is shown has to work. */
import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export type Block = {
  /** Page, relative to the project. */
  readonly page: string
  /** Line of the block's first line of code. */
  readonly line: number
  readonly language: string
  /** A test that has to fail; `says` are the lines of the block behind it, each of which its failure has to say. */
  readonly fails: boolean
  readonly says: readonly string[]
  readonly text: string
}

const FENCE = /^```(\S*)(?:\s+(\S+))?\s*$/

/** Every fenced block of a page, in order. */
export const blocksOf = (page: string, text: string): Block[] => {
  const lines = text.split('\n')
  const blocks: Block[] = []
  for (let n = 0; n < lines.length; n++) {
    const fence = FENCE.exec(lines[n]!)
    if (fence === null) continue
    const end = lines.indexOf('```', n + 1)
    if (end < 0) throw new Error(`${page}:${n + 1}: the block has no end`)
    const [, language = '', mark] = fence
    const body = lines.slice(n + 1, end)
    blocks.push({ page, line: n + 2, language, fails: mark === 'fails', says: [], text: `${body.join('\n')}\n` })
    n = end
  }
  return blocks.map((block, i) => {
    const next = blocks[i + 1]
    if (!block.fails) return block
    if (next?.language !== 'text')
      throw new Error(`${page}:${block.line}: a block that fails is followed by what it says`)
    return { ...block, says: next.text.split('\n').filter(line => line.trim() !== '') }
  })
}

/** The blocks of every page under `root`. */
export const blocksIn = (root: string): Block[] =>
  ['README.md', ...globSync('docs/**/*.md', { cwd: root }).sort()].flatMap(page =>
    blocksOf(page, readFileSync(join(root, page), 'utf8')),
  )
