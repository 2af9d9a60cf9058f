/**
 * The vocabulary of a run: plain data, versioned, in the order things happened. Everything that is ever shown or
 * recorded is made from these; a record is these as JSON lines.
 */

export const EVENTS_VERSION = 1

/** How a test ended, in kselftest's words. `error` is a fault of ours or a gap (`NotModelled`), never of the test. */
export type Status = 'pass' | 'fail' | 'skip' | 'xfail' | 'xpass' | 'timeout' | 'error'

/** A place in a source file. Paths are relative to the directory of the run. */
export type Site = {
  readonly file: string
  readonly line: number
  readonly column?: number
  readonly function?: string
}

/** One exit or ucall on the way to a failure, already named: `['KVM_EXIT_MMIO', 'write', ...]`. */
export type Step = {
  readonly vcpu: number
  readonly name: string
  readonly fields: Readonly<Record<string, string | number>>
}

/** What did not hold, where, with which values, and what led there. Numbers as decimal or 0x strings. */
export type Failure = {
  readonly kind: 'assertion' | 'timeout' | 'unexpected-exit' | 'not-modelled' | 'crash'
  /** Where the assertion stands. */
  readonly site?: Site
  readonly side: 'guest' | 'host'
  /** One line: the thing, the value, what would have been right. */
  readonly message: string
  /** Source text and value of both sides. `op` is the word: eq, ne, lt, ... */
  readonly comparison?: {
    readonly op: string
    readonly seen: { readonly source: string; readonly value: string }
    readonly want: { readonly source: string; readonly value: string }
  }
  /** Where the guest stood. */
  readonly guest?: {
    readonly vcpu: number
    readonly rip: string
    readonly instructions: number
    /** More lines about the guest: disassembly, fault chain, registers. */
    readonly notes: readonly string[]
  }
  /** The last exits, oldest first. */
  readonly steps: readonly Step[]
  /** Where the host stood, and what it waited for. */
  readonly host?: { readonly site?: Site; readonly waiting?: string }
  /** Stack of a fault of ours. */
  readonly stack?: string
  /** The run's seed that shows it again, where that is not the run's own: another interleaving was tried. */
  readonly seed?: string
}

export type Event =
  | {
      readonly type: 'run'
      readonly version: number
      readonly seed: string
      /** In the order in which reports show them. */
      readonly files: readonly string[]
      /** Command line options that change what a test does, for the command that repeats it. */
      readonly options?: readonly string[]
      /** Of a run cut into parts: which this is, of how many, and how many files all of them have together. */
      readonly shard?: { readonly part: number; readonly total: number; readonly files: number }
      readonly time: number
    }
  | {
      readonly type: 'file'
      /** `selftest`: a file of our tests (the default). `executable`: any program that follows the kselftest protocol. */
      readonly kind?: 'selftest' | 'executable'
      readonly file: string
      readonly collection: string
      readonly name: string
      readonly tests: readonly string[]
      readonly time: number
    }
  | { readonly type: 'test'; readonly file: string; readonly test: string; readonly site?: Site; readonly time: number }
  /** A part of a test (`t.step`) has ended. Parts of a part end before it. */
  | {
      readonly type: 'subtest'
      readonly file: string
      readonly test: string
      /** Its names from the outermost part to itself. */
      readonly path: readonly string[]
      /** Among the parts of the same whole, from 1. */
      readonly number: number
      readonly status: Status
      readonly reason?: string
    }
  /** Something the test or its guest said (GUEST_PRINTF, t.log, standard output), or what `--trace` shows. */
  | {
      readonly type: 'output'
      readonly file: string
      readonly test?: string
      readonly stream: 'guest' | 'log' | 'stdout' | 'stderr' | 'trace'
      readonly text: string
    }
  /** A failure; a test may have several (`expect`) before its `end`. */
  | { readonly type: 'failure'; readonly file: string; readonly test: string; readonly failure: Failure }
  /** An attempt that is not the last: the test runs again, in a clean worker. Its `end` comes with the last one. */
  | {
      readonly type: 'attempt'
      readonly file: string
      readonly test: string
      /** From 1. */
      readonly attempt: number
      readonly status: Status
      readonly reason?: string
      /** Milliseconds. */
      readonly duration: number
    }
  | {
      readonly type: 'end'
      readonly file: string
      readonly test: string
      readonly status: Status
      readonly reason?: string
      /** Milliseconds. */
      readonly duration: number
      /** How many there were, if more than one. */
      readonly attempts?: number
      /** Guest instructions run by the test: the same in every run with the same seed. */
      readonly instructions: number
      /** The run's seed that shows it again, where that is not the run's own. */
      readonly seed?: string
    }
  /** A file is through. `failure` says what stopped it as a whole (did not load, crashed, timed out). */
  | {
      readonly type: 'file-end'
      readonly file: string
      readonly status: Status
      readonly reason?: string
      readonly failure?: Failure
      readonly duration: number
      readonly time: number
    }
  | {
      readonly type: 'run-end'
      /** Not everything was run. */
      readonly interrupted: boolean
      /** Why not: `interrupted`, `a test failed`, ... */
      readonly reason?: string
      readonly duration: number
      readonly time: number
    }
