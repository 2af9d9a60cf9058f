/** Starts worker processes; the first, where the command line will want one, while the command itself still loads. */
import { type ChildProcess, fork } from 'node:child_process'
import { getCompileCacheDir } from 'node:module'
import { HUGE_PAGES, type Image, IN_USE, imageOf } from './image.ts'
import { signal } from './processes.ts'

/** Beside us: a source, or in an installed tree a bundle. */
const ENTRY = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url)

/** The image imports by an interface that Node calls experimental; that its strings' hashes are the same each time is well. */
const FLAGS = ['--disable-warning=ExperimentalWarning', '--no-rehash-snapshot', '--snapshot-blob']

/** A new worker process: from the image, or loading the sources. */
export const start = (image: Image | undefined): ChildProcess => {
  const cache = getCompileCacheDir()
  const [tunables, huge] = HUGE_PAGES
  return fork(ENTRY, {
    // The port that a dump asks for, should it be needed: any that is free.
    execArgv: ['--inspect-port=0', ...(image === undefined ? [] : [...FLAGS, image.blob])],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    // A group of its own: what a test leaves behind dies with its worker, and a terminal's ctrl-C reaches only us.
    detached: true,
    env: {
      ...process.env,
      // Workers share what the launcher's Node has compiled.
      ...(cache !== undefined && { NODE_COMPILE_CACHE: cache }),
      ...(image !== undefined && { [tunables]: process.env[tunables] ?? huge, [IN_USE]: image.blob }),
    },
  })
}

/** What a first word or an option says that runs no test of ours. */
const OTHERS =
  /^(replay|merge|help|completion|vectors|mrtd|run-flat|run-elf|run-multiboot|run_kselftest|-h|--help|--version|--show-config|--watch)$/

/** Whether these words name files of tests, or none at all. */
const isForTests = ([first = '', ...rest]: readonly string[]): boolean => {
  const words = first === 'run' ? rest : [first, ...rest]
  if (words.some(word => OTHERS.test(word))) return false
  return words.some(word => /(\.[cm]?[jt]s(:\d+)?|\/)$/.test(word)) || words.every(word => /^-|^$/.test(word))
}

export type Started = { readonly image: Image | undefined; readonly child: ChildProcess }
let started: Started | undefined

/**
 * Starts a worker for whoever asks for it first. It ends with us, and holds us up no longer than that. Whether its image
 * is of these sources is seen while it begins.
 */
export const startEarly = (argv: readonly string[]): void => {
  if (!isForTests(argv)) return
  let image = imageOf()
  let child = start(image)
  if (image?.isCurrent() === false) {
    if (child.pid !== undefined) signal(child.pid, 'SIGKILL')
    image = undefined
    child = start(image)
  }
  child.on('error', () => {})
  for (const one of held(child)) one?.unref()
  started = { image, child }
}

/** The worker started early, if it has not been asked for. */
export const early = (): Started | undefined => {
  const first = started
  started = undefined
  if (first !== undefined) for (const one of held(first.child)) one?.ref()
  return first
}

type Held = { ref(): void; unref(): void } | null | undefined

/** What keeps us alive of a child: itself, its channel, its pipes, which are sockets. */
const held = (child: ChildProcess): readonly Held[] => [
  child,
  child.channel,
  child.stdout as unknown as Held,
  child.stderr as unknown as Held,
]
