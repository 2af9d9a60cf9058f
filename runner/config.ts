/** Settings from files and the environment: `seamless.config.ts` or `.json`, its profile, SEAMLESS_*, then flags. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { messageOf, UsageError } from './errors.ts'
import { near, suggestion } from './filter.ts'
import { CONFIG_FILES, type CommandLine, type Given, last, OPTIONS, type Option } from './options.ts'

type Value = string | number | boolean | readonly (string | number)[]

/** Options by their long names; `satisfies Config` checks a `seamless.config.ts`. */
export type Settings = {
  readonly timeout?: number
  readonly seed?: string | number
  readonly jobs?: number
  readonly report?: string | readonly string[]
  readonly record?: string
  readonly retries?: number
  readonly bail?: boolean
  readonly shuffle?: boolean
  readonly 'fail-on-flaky'?: boolean
}
export type Config = Settings & { readonly profiles?: Readonly<Record<string, Settings>> }

/** What the next run has to choose anew, and no file may. */
const isSetting = (option: Option): boolean =>
  option.name.length > 1 &&
  option.group !== 'Which tests' &&
  !['help', 'version', 'profile', 'show-config', 'watch'].includes(option.name)

const SETTINGS = OPTIONS.filter(isSetting)

/**
 * A command line filled up with settings from `cwd`'s file, the profile chosen by `--profile` or SEAMLESS_PROFILE (`ci`
 * where CI is set and the file has one), and SEAMLESS_*. Throws `UsageError`.
 */
export const configured = async (
  line: CommandLine,
  cwd: string,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<CommandLine> => {
  const file = CONFIG_FILES.find(name => existsSync(join(cwd, name)))
  const chosen = last(line, 'profile') ?? environment['SEAMLESS_PROFILE']
  const sources = [
    ...(file === undefined ? [] : await fromFile(cwd, file, chosen, environment)),
    fromEnvironment(environment),
  ]
  if (file === undefined && chosen !== undefined)
    throw new UsageError(`no profile ${chosen}: there is no ${CONFIG_FILES.join(' or ')} here`)
  let given = line.given
  // From the strongest to the weakest: what is set already stays.
  for (const source of sources.reverse()) {
    const set = new Set(given.map(option => option.name))
    given = [...source.filter(option => !set.has(option.name)), ...given]
  }
  return { ...line, given }
}

const fromFile = async (
  cwd: string,
  file: string,
  chosen: string | undefined,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<Given[][]> => {
  const { profiles = {}, ...settings } = await load(join(cwd, file), file)
  const known = Object.keys(profiles)
  if (chosen !== undefined && !known.includes(chosen))
    throw new UsageError(
      `${file}: no profile ${chosen}${suggestion(near(chosen, known)) || `; there are ${known.join(', ') || 'none'}`}`,
    )
  const name = chosen ?? (environment['CI'] ? 'ci' : 'local')
  const profile = profiles[name]
  return [given(settings, file), ...(profile === undefined ? [] : [given(profile, `${file}, profile ${name}`)])]
}

type Loose = Readonly<Record<string, unknown>> & {
  readonly profiles?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
}

const load = async (path: string, file: string): Promise<Loose> => {
  let config: unknown
  try {
    config = file.endsWith('.json')
      ? JSON.parse(readFileSync(path, 'utf8'))
      : ((await import(pathToFileURL(path).href)) as { default?: unknown }).default
  } catch (error) {
    throw new UsageError(`${file}: ${messageOf(error)}`)
  }
  const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isObject(config)) throw new UsageError(`${file}: not an object of settings`)
  const profiles = config['profiles']
  if (profiles !== undefined && !(isObject(profiles) && Object.values(profiles).every(isObject)))
    throw new UsageError(`${file}: profiles: not an object of objects of settings`)
  return config as Loose
}

const given = (settings: Readonly<Record<string, unknown>>, from: string): Given[] =>
  Object.entries(settings).flatMap(([name, value]) => {
    const option = SETTINGS.find(option => option.name === name)
    if (option === undefined) {
      const names = SETTINGS.map(option => option.name)
      throw new UsageError(`${from}: unknown setting ${name}${suggestion(near(name, names))}`)
    }
    return textsOf(option, value as Value, from).map(text => ({ name, value: text, from }))
  })

/** A setting's value as the flag would spell it; a switch that is off is not given at all. */
const textsOf = (option: Option, value: Value, from: string): string[] => {
  const wrong = (wanted: string) => new UsageError(`${from}: ${option.name}: ${JSON.stringify(value)} is not ${wanted}`)
  if (option.value === undefined) {
    if (typeof value !== 'boolean') throw wrong('true or false')
    return value ? [''] : []
  }
  const isText = (one: unknown) => typeof one === 'string' || typeof one === 'number'
  if (Array.isArray(value)) {
    if (!option.many || !value.every(isText)) throw wrong(option.many ? 'a list of texts' : 'one value')
    return value.map(String)
  }
  if (!isText(value)) throw wrong('a text or a number')
  return [String(value)]
}

/** `--fail-on-flaky` is SEAMLESS_FAIL_ON_FLAKY. A switch takes 1 or 0; several values are separated by commas. */
const fromEnvironment = (environment: Readonly<Record<string, string | undefined>>): Given[] =>
  SETTINGS.flatMap(option => {
    const variable = `SEAMLESS_${option.name.toUpperCase().replaceAll('-', '_')}`
    const text = environment[variable]
    if (text === undefined || text === '') return []
    const from = variable
    if (option.value === undefined) {
      if (text !== '0' && text !== '1') throw new UsageError(`${variable}: "${text}" is not 0 or 1`)
      return text === '1' ? [{ name: option.name, value: '', from }] : []
    }
    return (option.many ? text.split(',') : [text]).map(value => ({ name: option.name, value, from }))
  })

/** Every setting that is set, its value and where it comes from, a line each. */
export const shown = (line: CommandLine): string =>
  SETTINGS.map(({ name, value }) => {
    const set = line.given.filter(option => option.name === name)
    if (set.length === 0) return `${name}: default\n`
    const values = value === undefined ? 'on' : set.map(option => option.value).join(', ')
    return `${name}: ${values}  (${set[0]?.from ?? 'command line'})\n`
  }).join('')
