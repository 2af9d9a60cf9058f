/** What the runner and its workers say to each other, as JSON over the IPC channel. */
import type { Event } from '#reports'
import type { Extra } from './explore.ts'
import type { Named } from './filter.ts'

/** A test as a listing shows it. */
export type Listed = Named & { readonly tags: readonly string[]; readonly line?: number; readonly timeout?: number }

/** Runner to worker: one job at a time; `go` to one that has said what it needs. */
export type Order =
  | { readonly type: 'go' }
  | { readonly type: 'list'; readonly path: string; readonly file: string }
  | {
      readonly type: 'run'
      readonly path: string
      readonly file: string
      /** Names in the order to run; all in source order if absent. */
      readonly tests?: readonly string[]
      readonly seed: string
      /** Milliseconds for one test that does not say. */
      readonly timeout: number
      readonly extra?: Extra
    }

/** Worker to runner. */
export type Answer =
  /** The file loaded, and holds these. */
  | { readonly type: 'listed'; readonly tests: readonly Listed[] }
  /** The file did not load. */
  | { readonly type: 'broken'; readonly message: string; readonly stack: string }
  /** The file imports modules that this worker has in its image: one that has loaded the sources is to do it. */
  | { readonly type: 'sources' }
  /** Its tests ask for these resources; it waits for `go`. */
  | { readonly type: 'needs'; readonly tags: readonly string[] }
  | { readonly type: 'events'; readonly events: readonly Event[] }
  /** Thrown outside any test's own promise; the worker is about to exit. */
  | { readonly type: 'uncaught'; readonly message: string; readonly stack: string }
  /** `spent`: what tests left behind is still there; nothing else should run beside it. */
  | { readonly type: 'done'; readonly spent?: boolean }
