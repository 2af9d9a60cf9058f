/** Commands with words of their own: code that runs outside of a test. Each is loaded when it is asked for. */

export type Command = (argv: readonly string[]) => Promise<number>

/** Those that run a guest: they begin with an image that holds them, where there is one. */
export const GUESTS: Readonly<Record<string, () => Promise<Command>>> = {
  vectors: async () => (await import('./vectors.ts')).vectors,
  'run-flat': async () => (await import('./runflat.ts')).flat,
  'run-elf': async () => (await import('./runelf.ts')).runElf,
  'run-multiboot': async () => (await import('./runmultiboot.ts')).runMultiboot,
}

const saying =
  (text: (name: string | undefined) => string): Command =>
  async argv => {
    process.stdout.write(text(argv[0]))
    return 0
  }

export const OWN: Readonly<Record<string, () => Promise<Command>>> = {
  ...GUESTS,
  help: async () => saying((await import('./topics.ts')).topic),
  completion: async () => saying((await import('./topics.ts')).completion),
  mrtd: async () => (await import('./mrtd.ts')).mrtd,
}
