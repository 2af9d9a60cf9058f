/** Figures and how they are taken: several rounds, the median, and what it is held against in the same run. */

/** One row of the table. Times in the unit of `unit`; of a ratio, more than 1 means better than the peer. */
export type Row = {
  readonly what: string
  readonly unit: string
  readonly ours: readonly number[]
  readonly peer?: { readonly name: string; readonly figures: readonly number[] }
  /** Higher figures are better (speeds), not lower ones (times). */
  readonly higher?: boolean
  /** Why there is no figure, or what it says. */
  readonly note?: string
}

export const median = (figures: readonly number[]): number => {
  const sorted = [...figures].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** Three digits are all that a shared machine can promise. */
export const digits = (figure: number): string => {
  if (figure === 0) return '0'
  const places = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(figure))))
  return figure.toFixed(Math.min(places, 3)).replace(/\B(?=(\d{3})+$)(?<!\..*)/g, ' ')
}

const spread = (figures: readonly number[]): string =>
  figures.length < 2 ? '' : `${digits(Math.min(...figures))} to ${digits(Math.max(...figures))}`

/** The table in Markdown. */
export const tableOf = (rows: readonly Row[]): string => {
  const lines = [
    '| what | unit | median | min to max | against | its median | better by |',
    '| --- | --- | ---: | ---: | --- | ---: | ---: |',
  ]
  for (const { what, unit, ours, peer, higher, note } of rows) {
    if (ours.length === 0) {
      lines.push(`| ${what} | ${unit} | – | | ${note ?? ''} | | |`)
      continue
    }
    const own = median(ours)
    const other = peer && median(peer.figures)
    const ratio = other === undefined ? '' : `${digits(higher ? own / other : other / own)} x`
    lines.push(
      `| ${what} | ${unit} | ${digits(own)} | ${spread(ours)} | ${peer?.name ?? note ?? ''} | ${other === undefined ? '' : digits(other)} | ${ratio} |`,
    )
  }
  return lines.join('\n')
}

/** Milliseconds that `work` takes, for each of `rounds` rounds. */
export const rounds = async (count: number, work: () => Promise<void> | void): Promise<number[]> => {
  const figures: number[] = []
  for (let round = 0; round < count; round++) {
    const start = performance.now()
    await work()
    figures.push(performance.now() - start)
  }
  return figures
}
