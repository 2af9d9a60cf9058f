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
