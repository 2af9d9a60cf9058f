/** What the command line says about itself: help, and what is wrong with an option. Loaded only to say it. */
import yargs, { type Options } from 'yargs'
import { UsageError } from './errors.ts'
import { near, suggestion } from './filter.ts'
import { OPTIONS, type Option } from './options.ts'
import { topicsLine } from './topics.ts'

const parser = () => {
  const program = yargs()
    .scriptName('seamless')
    .locale('en')
    .help(false)
    .version(false)
    .exitProcess(false)
    .strictOptions()
    .parserConfiguration({
      'boolean-negation': false,
      'camel-case-expansion': false,
      'dot-notation': false,
      'duplicate-arguments-array': true,
      'greedy-arrays': false,
      'parse-numbers': false,
      'parse-positional-numbers': false,
      'short-option-groups': false,
    })
  for (const { name, alias, value, many } of OPTIONS) {
    const option: Options = {
      type: value === undefined ? 'boolean' : many ? 'array' : 'string',
      ...(value === undefined ? {} : { requiresArg: true, string: true }),
      ...(alias === undefined ? {} : { alias }),
    }
    program.option(name, option)
  }
  return program
}

const HEAD = `seamless [run] [FILE or DIRECTORY...]   TDX selftests with no TDX hardware
Also: replay merge run_kselftest vectors mrtd run-flat run-elf run-multiboot
`

/** Of an option the words in front of its help. */
const flagOf = ({ name, alias, value }: Option): string =>
  `${alias === undefined ? '' : `-${alias}, `}${name.length > 1 ? '--' : '-'}${name}${value === undefined ? '' : ` ${value}`}`

/** Columns for the flags, and of the screen. */
const FLAGS = 26
const SCREEN = 80

/** A flag and its help, which may take a second line. */
const entry = (flag: string, help: string): string => {
  let rest = help
  const out: string[] = []
  while (rest !== '') {
    const cut = rest.length <= SCREEN - FLAGS ? rest.length : rest.lastIndexOf(' ', SCREEN - FLAGS)
    out.push(`${(out.length === 0 ? `  ${flag}` : '').padEnd(FLAGS)}${rest.slice(0, cut)}\n`)
    rest = rest.slice(cut + 1)
  }
  return out.join('')
}

/** The help, on one screen of 24 lines. kselftest's letters are one line: what one takes, the capital leaves out. */
export const help = (): string => {
  const shown = OPTIONS.filter(({ isMore, name }) => isMore !== true && !/^[tTfFvV]$/.test(name))
  const groups = Map.groupBy(shown, option => option.group)
  const letters = entry('-t TEST, -f FIXTURE,', 'run these, and -v VARIANT; -T, -F, -V leave them out')
  const parts = [...groups].map(
    ([group, options]) =>
      `${group}:\n${group === 'Which tests' ? letters : ''}${options.map(option => entry(flagOf(option), option.help)).join('')}`,
  )
  const exits = 'Exit: 0 passed, 1 failed, 4 all skipped, 2 usage, 3 fault of ours, 130 ctrl-C'
  return `${HEAD}${parts.join('')}${topicsLine()}\n${exits}`
}

/** Says what is wrong with a command line that could not be read, or undefined if it asks for help. */
export const complaint = async (argv: readonly string[]): Promise<UsageError | undefined> => {
  let message = ''
  const parsed = await parser()
    .fail((text, error) => {
      message ||= text ?? error?.message ?? ''
    })
    .parse([...argv])
  if (parsed['help'] === true) return undefined
  const unknown = /^Unknown arguments?: (.*)$/.exec(message)?.[1]?.split(', ')[0]
  if (unknown !== undefined) {
    const name = argv.find(word => word.replace(/^-+/, '').split('=')[0] === unknown) ?? unknown
    const flags = OPTIONS.map(option => option.name).filter(option => option.length > 1)
    return new UsageError(`unknown option ${name}${suggestion(near(unknown, flags).map(flag => `--${flag}`))}`)
  }
  const lacking = /^Not enough arguments following: (.*)$/.exec(message)?.[1]
  if (lacking !== undefined) {
    const option = OPTIONS.find(({ name, alias }) => name === lacking || alias === lacking)
    return new UsageError(
      `option ${lacking.length > 1 ? '--' : '-'}${lacking} needs a value: ${option?.value ?? 'none given'}`,
    )
  }
  const twice = OPTIONS.find(({ name, many }) => !many && Array.isArray(parsed[name]))
  if (twice !== undefined) return new UsageError(`option --${twice.name} is given more than once`)
  const flag = OPTIONS.find(
    ({ name, value }) => value === undefined && argv.some(word => word.startsWith(`--${name}=`)),
  )
  if (flag !== undefined) return new UsageError(`option --${flag.name} takes no value`)
  return new UsageError(message === '' ? `cannot read: ${argv.join(' ')}` : message)
}
