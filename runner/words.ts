/** What the command line says about itself: help, and what is wrong with an option. Loaded only to say it. */
import yargs, { type Options } from 'yargs'
import { UsageError } from './errors.ts'
import { near, suggestion } from './filter.ts'
import { OPTIONS } from './options.ts'
import { topicsLine } from './topics.ts'

const parser = () => {
  const program = yargs()
    .scriptName('seamless')
    .usage(
      'seamless [run] [FILE or DIRECTORY...]\n\nRuns TDX selftests with no TDX hardware. No file means selftests/.\nAlso: seamless replay [RECORD], seamless merge RECORD..., seamless run_kselftest --help\nCode outside of tests: seamless vectors, run-flat, run-elf, run-multiboot, each with --help',
    )
    .locale('en')
    .wrap(100)
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
  for (const { name, alias, value, many, group, help, isMore = false } of OPTIONS) {
    const option: Options = {
      group: `${group}:`,
      description: value === undefined ? help : `${value}  ${help}`,
      type: value === undefined ? 'boolean' : many ? 'array' : 'string',
      hidden: isMore,
      ...(value === undefined ? {} : { requiresArg: true, string: true }),
      ...(alias === undefined ? {} : { alias }),
    }
    program.option(name, option)
  }
  return program.epilogue(
    `${topicsLine()}\nExit: 0 all passed, 1 a test failed, 4 all skipped, 2 wrong usage, 3 fault of ours, 130 interrupted.`,
  )
}

/** The help, on one screen. */
export const help = async (): Promise<string> =>
  (await parser().getHelp()).replace(/\s*\[(string|array|boolean|number)\]/g, '')

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
