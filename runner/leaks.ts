/** What a test of ours left behind in its worker: child processes, timers, sockets. */
import { readFileSync } from 'node:fs'
import { marked, type Process, processes, signal } from './processes.ts'

/** What keeps a Node process alive, by its name in process.getActiveResourcesInfo(), in words. */
const WORDS: Readonly<Record<string, string>> = {
  Timeout: 'timer',
  ProcessWrap: 'child process',
  TCPSocketWrap: 'socket',
  TCPServerWrap: 'server',
  UDPWrap: 'UDP socket',
  FSEventWrap: 'file watcher',
  MessagePort: 'message port',
  Worker: 'worker thread',
}

/** How long what is closing may take, milliseconds. */
const PATIENCE = 100

/** What is there now: a state to compare a later one with. */
export type Held = {
  readonly handles: ReadonlyMap<string, number>
  readonly children: readonly number[]
  /** Grows with every child that has ended. */
  readonly ended: number
}

export const nothingHeld: Held = { handles: new Map(), children: [], ended: 0 }

/** Page faults of children that were waited for: each has some. proc_pid_stat(5), field 11. */
const ended = (): number => {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[8])
  } catch {
    return 0
  }
}

const handles = (): Map<string, number> => {
  const count = new Map<string, number>()
  for (const name of process.getActiveResourcesInfo()) if (name in WORDS) count.set(name, (count.get(name) ?? 0) + 1)
  return count
}

const children = (): number[] => {
  try {
    const text = readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim()
    return text === '' ? [] : text.split(' ').map(Number)
  } catch {
    return []
  }
}

export const held = (): Held => ({ handles: handles(), children: children(), ended: ended() })

const added = (before: Held, now: Held): Held => {
  return {
    handles: new Map(
      [...now.handles].flatMap(([name, count]) => {
        const more = count - (before.handles.get(name) ?? 0)
        return more > 0 ? [[name, more] as const] : []
      }),
    ),
    children: now.children.filter(pid => !before.children.includes(pid)),
    ended: now.ended - before.ended,
  }
}

const isNothing = ({ handles, children }: Held): boolean => handles.size === 0 && children.length === 0

/**
 * What there is now and was not `before`, a line each, and the state to compare the next one with. Children are ended,
 * and whoever else bears `mark`: a daemon is nobody's child. No line as a rule, and then at once.
 */
export const leftBehind = async (before: Held, mark: string): Promise<{ lines: readonly string[]; now: Held }> => {
  let now = held()
  let more = added(before, now)
  // What was closed goes a few turns later.
  for (const until = performance.now() + PATIENCE; !isNothing(more) && performance.now() < until; ) {
    await new Promise(resolve => setTimeout(resolve, 5).unref())
    now = held()
    more = added(before, now)
  }
  if (isNothing(more) && more.ended === 0) return { lines: [], now }
  const known = processes(more.children)
  const others = marked(mark).filter(({ pid }) => !now.children.includes(pid))
  const found: Process[] = [...known, ...others]
  for (const { pid } of found) signal(pid, 'SIGKILL')
  const rest = [...more.handles].filter(([name]) => name !== 'ProcessWrap' || found.length === 0)
  const lines = [
    ...found.map(({ pid, command }) => `left behind and killed: process ${pid}: ${command}`),
    ...rest.map(([name, count]) => `left behind: ${count} ${WORDS[name]}${count === 1 ? '' : 's'}`),
  ]
  return { lines, now }
}
