/** The difference of two texts of several lines: which lines differ, and where in them. */
import { createRequire } from 'node:module'

/** A line of one side or of both. `marks` are the runs of it, from and to, that the other side has differently. */
export type DiffLine = {
  readonly sign: ' ' | '-' | '+'
  readonly text: string
  readonly marks: readonly (readonly [number, number])[]
}

/** Equal lines that stay around a difference. */
const CONTEXT = 3

/** Lines to get from `want` (`-`) to `seen` (`+`); of long equal stretches only what is near a difference. */
export const differenceOf = (want: string, seen: string): DiffLine[] => {
  // Only a failing comparison of several lines pays for loading this.
  const { diffLines } = createRequire(import.meta.url)('diff') as typeof import('diff')
  const out: DiffLine[] = []
  const parts = diffLines(want, seen)
  for (let at = 0; at < parts.length; at++) {
    const part = parts[at]!
    const text = linesOf(part.value)
    const next = parts[at + 1]
    if (part.removed && next?.added) {
      out.push(...replaced(text, linesOf(next.value)))
      at++
    } else if (part.added || part.removed) out.push(...text.map(line => plain(part.added ? '+' : '-', line)))
    else out.push(...shortened(text, at === 0, at === parts.length - 1))
  }
  return out
}

const linesOf = (text: string): string[] => text.replace(/\n$/, '').split('\n')

const plain = (sign: DiffLine['sign'], text: string): DiffLine => ({ sign, text, marks: [] })

const shortened = (text: readonly string[], isFirst: boolean, isLast: boolean): DiffLine[] => {
  const head = isFirst ? 0 : CONTEXT
  const tail = isLast ? 0 : CONTEXT
  if (text.length <= head + tail + 1) return text.map(line => plain(' ', line))
  const skipped = `... ${text.length - head - tail} equal lines`
  return [...text.slice(0, head), skipped, ...text.slice(text.length - tail)].map(line => plain(' ', line))
}

/** Lines that took the place of others, each beneath the one it replaces. */
const replaced = (want: readonly string[], seen: readonly string[]): DiffLine[] => {
  const out: DiffLine[] = []
  for (let at = 0; at < Math.max(want.length, seen.length); at++) {
    const [before, after] = [want[at], seen[at]]
    const marks = before !== undefined && after !== undefined ? marksOf(before, after) : undefined
    if (before !== undefined) out.push({ sign: '-', text: before, marks: marks?.before ?? [] })
    if (after !== undefined) out.push({ sign: '+', text: after, marks: marks?.after ?? [] })
  }
  return out
}

type Word = { readonly text: string; readonly at: number }

const wordsOf = (line: string): Word[] => [...line.matchAll(/\S+/g)].map(match => ({ text: match[0], at: match.index }))

/** Where the words of two lines differ, word against word; nothing where no word is the same. */
const marksOf = (before: string, after: string) => {
  const [old, now] = [wordsOf(before), wordsOf(after)]
  const differs = old.map((word, at) => word.text !== now[at]?.text)
  if (old.length !== now.length || differs.every(Boolean)) return undefined
  const runs = (line: readonly Word[]): [number, number][] =>
    line.flatMap(({ text, at }, i) => (differs[i] ? [[at, at + text.length] as [number, number]] : []))
  return { before: runs(old), after: runs(now) }
}

/** The marks of a line as a line of its own, to stand beneath it. */
export const markLine = ({ marks }: DiffLine): string => {
  let out = ''
  for (const [from, to] of marks) out = out.padEnd(from) + '^'.repeat(to - from)
  return out
}
