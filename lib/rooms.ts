/**
 * The rooms of the house and who may enter which: the one place that says so. `rooms.test.ts` holds every import of
 * the project against it.
 */

/** Room → the rooms it may import, by their front doors (`#room`). */
export const ROOMS = {
  bits: [],
  abi: ['bits'],
  wasm: ['bits'],
  x86: ['bits', 'abi', 'wasm'],
  tdx: ['bits', 'abi', 'x86'],
  kvm: ['bits', 'abi', 'x86', 'tdx'],
  guest: ['bits', 'abi', 'x86'],
  harness: ['bits', 'abi', 'kvm', 'guest', 'reports'],
  bench: ['bits', 'abi', 'x86', 'tdx', 'kvm', 'guest', 'harness'],
  bare: ['bits', 'abi', 'x86'],
  linux: ['bits', 'abi', 'x86', 'kvm'],
  reports: [],
  runner: ['harness', 'bare', 'linux', 'reports'],
  selftests: ['harness'],
} as const satisfies Record<string, readonly string[]>

export type Room = keyof typeof ROOMS

/** npm packages that rooms may import besides Node's own modules. Everything else is for tests only. */
export const PACKAGES: Partial<Record<Room, readonly string[]>> = {
  harness: ['diff'],
  reports: ['ora', 'diff'],
  // esbuild makes the workers' image, where it is installed.
  runner: ['yargs', 'esbuild'],
}

/** An import that is not allowed, and why. */
export type Breach = { readonly file: string; readonly specifier: string; readonly why: string }

const isRoom = (name: string): name is Room => Object.hasOwn(ROOMS, name)

/** The room a file lies in: `lib/ROOM/…`, or `ROOM/…` for the rooms at the top. Paths use `/`. */
export const roomOf = (file: string): Room | undefined => {
  const [first = '', second = ''] = file.split('/')
  const name = first === 'lib' ? second : first
  return isRoom(name) ? name : undefined
}

const IMPORT = /(?:^|[\s;}])(?:import|export)\b(?:[^'"`;]*?\bfrom)?\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/g

/** The module specifiers that a source imports or re-exports, comments left out. */
export const importsOf = (source: string): string[] =>
  [
    ...source
      .replace(/\/\*[\s\S]*?\*\//g, '')
      .replace(/^\s*\/\/.*$/gm, '')
      .matchAll(IMPORT),
  ].map(match => (match[1] ?? match[2]) as string)

/** Every import of `source` that the table does not allow. Tests may use any package, but no other room's inside. */
export const breaches = (file: string, source: string): Breach[] => {
  const room = roomOf(file)
  if (room === undefined) return []
  const isTest = file.endsWith('.test.ts') || file.includes('/testdata/')
  const allowed: readonly string[] = ROOMS[room]
  const found: Breach[] = []
  for (const specifier of importsOf(source)) {
    const breach = (why: string) => found.push({ file, specifier, why })
    if (specifier.startsWith('#')) {
      const target = specifier.slice(1)
      if (!isRoom(target)) breach(`there is no room ${target}`)
      else if (target !== room && !allowed.includes(target) && !(isTest && isBelow(target, room)))
        breach(`${room} may import ${allowed.length === 0 ? 'no room' : allowed.join(', ')}`)
    } else if (specifier.startsWith('.')) {
      const path = new URL(specifier, `file:///${file}`).pathname.slice(1)
      if (roomOf(path) !== room) breach('another room is entered by its front door, as #room')
    } else if (!specifier.startsWith('node:') && !isTest) {
      const packages: readonly string[] = PACKAGES[room] ?? []
      const name = specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/')
      if (!packages.includes(name))
        breach(`${room} may import ${packages.length === 0 ? 'no package' : packages.join(', ')}`)
    }
  }
  return found
}

/** A test may reach every room that its own room rests on, also through others. */
const isBelow = (target: Room, room: Room): boolean =>
  (ROOMS[room] as readonly Room[]).some(next => next === target || isBelow(target, next))
