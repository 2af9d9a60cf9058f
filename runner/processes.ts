/** Other processes of this machine, as /proc shows them: who was left behind by a test. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'

export type Process = { readonly pid: number; readonly command: string }

const pids = (): number[] => {
  try {
    return readdirSync('/proc')
      .map(Number)
      .filter(pid => pid > 0 && pid !== process.pid)
  } catch {
    return []
  }
}

/** The processes of which `is` holds; one that ends meanwhile is left out. */
const which = (is: (pid: number) => boolean, among = pids()): Process[] =>
  among.flatMap(pid => {
    try {
      if (!is(pid)) return []
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0+$/, '').replaceAll('\0', ' ')
      return [{ pid, command: command || readFileSync(`/proc/${pid}/comm`, 'utf8').trim() }]
    } catch {
      return []
    }
  })

/** Those of `numbers` that there are. */
export const processes = (numbers: readonly number[]): Process[] => which(() => true, [...numbers])

/** A variable of the environment that says who started a process, however far off it has gone since. */
export const MARK = '_SEAMLESS_OF'

/** Those whose mark begins with `mark`, and the rest of it. Everyone's environment is read: not for each test. */
export const marked = (mark: string): (Process & { readonly rest: string })[] => {
  const found: (Process & { readonly rest: string })[] = []
  for (const one of which(pid => readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${MARK}=${mark}`))) {
    let rest = ''
    try {
      rest = readFileSync(`/proc/${one.pid}/environ`, 'utf8').split(`${MARK}=${mark}`)[1]?.split('\0')[0] ?? ''
    } catch {
      // It has ended.
      continue
    }
    found.push({ ...one, rest })
  }
  return found
}

/** Who holds the file `path` open. */
export const holders = (path: string): Process[] =>
  which(pid => readdirSync(`/proc/${pid}/fd`).some(fd => readlinkSync(`/proc/${pid}/fd/${fd}`) === path))

/** Who is in the process group `group`. The fifth field of stat, after a command that may hold anything in brackets. */
export const members = (group: number): Process[] =>
  which(pid => {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]) === group
  })

/** Sends `signal` to a process, or with a negative number to a group; false if it is gone. */
export const signal = (pid: number, signal: NodeJS.Signals | 0): boolean => {
  const { stackTraceLimit } = Error
  // Mostly it is gone, and nobody wants the stack of that.
  Error.stackTraceLimit = 0
  try {
    process.kill(pid, signal)
    return true
  } catch {
    return false
  } finally {
    Error.stackTraceLimit = stackTraceLimit
  }
}
