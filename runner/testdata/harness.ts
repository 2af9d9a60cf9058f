/** A harness of the shape of #harness, for tests of the runner: a test file default-exports its tests. */
import type { Event, Status } from '#reports'

type Result = { status: Status; reason?: string; instructions: number }
type Options = { seed: bigint; timeout: number; deadline: () => boolean; emit(event: Event): void }
export type Fake = Record<string, (options: Options & { file: string; name: string }) => Promise<Result> | Result>

export const collect = async (path: string) => {
  const module = (await import(path)) as { default: Fake; tags?: string[] }
  const file = path.slice(path.lastIndexOf('/') + 1)
  return {
    file,
    tests: Object.entries(module.default).map(([name, body], index) => {
      const parts = name.split('.')
      const variant = parts.length > 2 ? parts[1] : undefined
      return {
        name,
        fixture: parts[0] ?? '',
        ...(variant === undefined ? {} : { variant }),
        test: parts.at(-1) ?? '',
        site: { file, line: index + 1 },
        tags: module.tags ?? [],
        run: async (options: Options) => body({ ...options, file, name }),
      }
    }),
  }
}
