/** Results that an executable prints as TAP or KTAP itself: each becomes a test of its own. */
import type { Event, Status } from '#reports'

const RESULT =
  /^(ok|not ok)(?: (\d+))?(?:\s+(?:- )?([^#]*?))?\s*(?:#\s*(SKIP|TODO|XFAIL|XPASS|TIMEOUT|ERROR)\b\s*(.*))?(?:#.*)?$/i

/** Takes output as it comes; lines at the left margin count, once a version line has announced them. */
export const subResults = (file: string, emit: (event: Event) => void): { take(text: string): void; end(): void } => {
  const seen = new Map<string, number>()
  let announced = false
  let count = 0
  let rest = ''
  let last = performance.now()
  const take = (line: string): void => {
    if (/^(TAP|KTAP) version \d+/.test(line)) announced = true
    const match = announced ? RESULT.exec(line) : null
    if (match === null) return
    const [, result, number, text = '', directive = '', reason = ''] = match
    count++
    const now = performance.now()
    const status = statusOf(result === 'ok', directive.toUpperCase())
    const test = unique(text.trim() || `test ${number ?? count}`, seen)
    emit({ type: 'test', file, test, time: Date.now() })
    emit({ type: 'end', file, test, status, ...(reason && { reason }), duration: now - last, instructions: 0 })
    last = now
  }
  return {
    take(text) {
      // Most pieces end with a line; a long line without end is put together once.
      const end = text.lastIndexOf('\n')
      if (end < 0) {
        rest = rest.length > 4096 ? rest : rest + text
        return
      }
      for (const line of (rest + text.slice(0, end)).split('\n')) take(line)
      rest = text.slice(end + 1)
    },
    end() {
      if (rest !== '') take(rest)
      rest = ''
    },
  }
}

const unique = (name: string, seen: Map<string, number>): string => {
  const times = (seen.get(name) ?? 0) + 1
  seen.set(name, times)
  return times === 1 ? name : `${name} (${times})`
}

const statusOf = (ok: boolean, directive: string): Status => {
  switch (directive) {
    case 'SKIP':
      return 'skip'
    case 'TODO':
      return ok ? 'xpass' : 'xfail'
    case 'XFAIL':
      return ok ? 'xfail' : 'fail'
    case 'XPASS':
      return 'xpass'
    case 'TIMEOUT':
      return 'timeout'
    case 'ERROR':
      return 'error'
    default:
      return ok ? 'pass' : 'fail'
  }
}
