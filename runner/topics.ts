/** `seamless help TOPIC`: what does not fit one screen; and `seamless completion SHELL`. */
import { UsageError } from './errors.ts'
import { near, suggestion } from './filter.ts'
import { OPTIONS, type Option } from './options.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

export const COMMANDS = [
  'run',
  'replay',
  'merge',
  'run_kselftest',
  'help',
  'completion',
  'vectors',
  'mrtd',
  'run-flat',
  'run-elf',
  'run-multiboot',
]

/** Topic → what it is about, and its text. An option's own line comes from the table of options. */
const TOPICS: Readonly<Record<string, { readonly about: string; readonly text: string }>> = {
  filters: {
    about: 'which tests run: letters, expressions, lines, shards',
    text: `A test is called fixture.variant.test, or global.test without a fixture. Files form collections (suites), by their
directory under selftests/.

  seamless selftests/tdx                     a directory
  seamless selftests/port_io_test.ts:25      the test at a line
  seamless -f port_io -V byte                kselftest's letters; the first that names a test decides
  seamless -r port_io.word.round_trip        exactly this one
  seamless -E 'suite(tdx) & tag(slow) - test(/mmio/)'

Expressions: test() suite() file() fixture() variant() tag() all() none(). A word takes a name (* stands for any text),
a 'quoted text' or a /regular expression/. a & b: both; a | b: either; a - b: the first without the second; !a: not;
& and - bind tighter than |; parentheses group. Nothing matched is an error.

${optionLines(['rerun-failed', 'last', 'shard', 'history', 'list', 'json', 'expect'])}`,
  },
  running: {
    about: 'limits, retries, stress, resources, what happens to what hangs',
    text: `Files run side by side in warm workers, those that took longest first. A test past its limit is stopped from inside,
with the guest's state; if it does not listen, its stack is taken and it gets SIGTERM, then SIGKILL. A worker that dies
fails the test that it ran, once. What a test leaves behind (processes, timers, sockets) is named.

Tags of a test, or resources= in the settings file beside a program, say what it needs for itself while it runs:
exclusive, kvm, vcpus=4, memory=512M.

${optionLines(['timeout', 'slow', 'jobs', 'retries', 'fail-on-flaky', 'repeat', 'stress', 'bail', 'shuffle', 'seed', 'explore', 'instructions', 'watch'])}`,
  },
  reports: {
    about: 'what you see: formats, several at once, records and replays',
    text: `  seamless --report tap --report junit:out.xml --report html:out.html
  seamless replay .seamless/records/... --report junit      any report of a run that is over
  seamless merge shard1.jsonl shard2.jsonl --report html:all.html

${optionLines(['report', 'record', 'print-failed', 'print-passed', 'print-skipped', 'trace', 'dump'])}`,
  },
  config: {
    about: 'settings: file, profiles, environment',
    text: `seamless.config.ts (or .json) holds options by their long names, and profiles of them:

  export default { timeout: 60, profiles: { ci: { retries: 1, report: ['tap', 'junit:out.xml'] } } }

The type Config of seamless/config checks it.

Later ones win: the file, its profile (--profile or SEAMLESS_PROFILE; ci where CI is set, else local), the environment
(--fail-on-flaky is SEAMLESS_FAIL_ON_FLAKY=1), the command line. seamless --show-config says where each comes from.
SEAMLESS_STATE is the directory for records, instead of .seamless. SEAMLESS_IMAGE=none lets workers load the sources.
SEAMLESS_TRANSLATIONS=none lets run-elf, run-flat and run-multiboot compile anew what they compiled before.

${optionLines(['profile', 'show-config'])}`,
  },
  kselftest: {
    about: 'installed kselftest trees, and our tests in them',
    text: `seamless run_kselftest stands in for run_kselftest.sh, option for option; so does runner/run_kselftest.sh, copied into
the tree. --compat prints the lines of another release of the script; --jobs runs tests side by side.

make install puts our selftests into such a tree, as programs that run_kselftest.sh and lib.mk run as their own; make
run_tests, gen_tar, emit_tests and clean know TARGETS, SKIP_TARGETS, INSTALL_PATH, O, FORMAT and summary=1. A selftest
as a program: node --import seamless/direct x_test.ts [-t TEST].`,
  },
  ci: {
    about: 'continuous integration: shards, merged reports; docs/ci has examples',
    text: `Each of N jobs runs a part and keeps its record; one more merges them:

  seamless --shard auto --record shard.jsonl     reads CI_NODE_INDEX, CIRCLE_, BUILDKITE_ and SEMAPHORE_ variables
  seamless --shard 2/5 --history last.jsonl      balanced by the times of an earlier record, the same for every job
  seamless merge shard-*.jsonl --report junit:out.xml --report html:out.html

merge refuses records that are not the shards of one run. Exit codes: 0 all passed, 1 a test failed, 4 all skipped,
2 wrong usage, 3 fault of ours, 130 interrupted.`,
  },
}

function optionLines(names: readonly string[]): string {
  const rows = names.flatMap(name => {
    const option = OPTIONS.find(option => option.name === name)
    return option === undefined ? [] : [[`  ${flagOf(option)} ${option.value ?? ''}`.trimEnd(), option.help] as const]
  })
  const width = Math.max(...rows.map(([flag]) => flag.length))
  return rows.map(([flag, help]) => `${flag.padEnd(width)}  ${help}`).join('\n')
}

function flagOf({ name }: Option): string {
  return name.length > 1 ? `--${name}` : `-${name}`
}

export const topicsLine = (): string => `More: seamless help ${Object.keys(TOPICS).join(' | ')}`

/** The text on a topic; without one the list of them. Throws `UsageError`. */
export const topic = (name: string | undefined): string => {
  const names = Object.keys(TOPICS)
  if (name === undefined)
    return `${names.map(name => `seamless help ${name.padEnd(10)}  ${TOPICS[name]?.about}`).join('\n')}\n`
  const found = TOPICS[name]
  if (found === undefined)
    throw new UsageError(`help: no topic ${name}${suggestion(near(name, names)) || `; there are ${names.join(', ')}`}`)
  return `${found.text}\n`
}

const flags = (): string[] =>
  OPTIONS.flatMap(option => [flagOf(option), ...(option.alias === undefined ? [] : [`-${option.alias}`])])

/** What follows a word, where that is one of a few. */
const choices = (): Readonly<Record<'report' | 'print' | 'help' | 'completion', readonly string[]>> => ({
  report: /^[\w, ]+/.exec(OPTIONS.find(({ name }) => name === 'report')?.help ?? '')?.[0].match(/\b(?!or\b)\w+/g) ?? [],
  print: ['full', 'stdout', 'stderr', 'none'],
  help: Object.keys(TOPICS),
  completion: SHELLS,
})

/** A script that teaches the shell our options. Throws `UsageError`. */
export const completion = (shell: string | undefined): string => {
  const known = SHELLS.find(name => name === shell)
  if (known === undefined) throw new UsageError(`completion: ${shell ?? 'no shell'}: name one of ${SHELLS.join(', ')}`)
  return { bash, zsh, fish }[known]()
}

const bash = (): string => {
  const { report, print, help, completion } = choices()
  return `_seamless() {
	local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
	case $before in
	--report) COMPREPLY=($(compgen -W '${report.join(' ')}' -- "$word")) ;;
	--print-*) COMPREPLY=($(compgen -W '${print.join(' ')}' -- "$word")) ;;
	help) COMPREPLY=($(compgen -W '${help.join(' ')}' -- "$word")) ;;
	completion) COMPREPLY=($(compgen -W '${completion.join(' ')}' -- "$word")) ;;
	*)
		case $word in
		-*) COMPREPLY=($(compgen -W '${flags().join(' ')}' -- "$word")) ;;
		*)
			COMPREPLY=($(compgen -f -- "$word"))
			[ "$COMP_CWORD" = 1 ] && COMPREPLY+=($(compgen -W '${COMMANDS.join(' ')}' -- "$word"))
			;;
		esac
		;;
	esac
}
complete -o filenames -F _seamless seamless
`
}

/** What an option's value is, if it has one: one of a few, or a file. */
const valuesOf = ({ name }: Option): readonly string[] => {
  const { report, print } = choices()
  return name === 'report' ? report : name.startsWith('print-') ? print : []
}

/** For a file `_seamless` in zsh's fpath, or to be sourced. */
const zsh = (): string => {
  const plain = (text: string) => text.replace(/['[\]:]/g, ' ')
  const specs = OPTIONS.flatMap(option => {
    const { value, alias, many, help } = option
    const few = valuesOf(option)
    const action = few.length > 0 ? `(${few.join(' ')})` : '_files'
    const rest = `[${plain(help)}]${value === undefined ? '' : `:${plain(value)}:${action}`}`
    return [flagOf(option), ...(alias === undefined ? [] : [`-${alias}`])].map(
      flag => `'${many ? '*' : ''}${flag}${rest}'`,
    )
  })
  const { help, completion } = choices()
  return `#compdef seamless
_seamless() {
	case $words[2] in
	help) (( CURRENT == 3 )) && { compadd ${help.join(' ')}; return } ;;
	completion) (( CURRENT == 3 )) && { compadd ${completion.join(' ')}; return } ;;
	esac
	_arguments \\
		${specs.join(' \\\n\t\t')} \\
		'1: :{_alternative "commands:command:(${COMMANDS.join(' ')})" "files:file:_files"}' \\
		'*:file:_files'
}
if [ "$funcstack[1]" = _seamless ]; then _seamless "$@"; else compdef _seamless seamless; fi
`
}

const fish = (): string => {
  const lines = OPTIONS.map(option => {
    const { name, alias, value, help } = option
    const few = valuesOf(option)
    const takes = value === undefined ? '' : few.length > 0 ? ` -xa '${few.join(' ')}'` : ' -r'
    const flag = `${name.length > 1 ? `-l ${name}` : `-s ${name}`}${alias === undefined ? '' : ` -s ${alias}`}`
    return `complete -c seamless ${flag}${takes} -d '${help.replaceAll("'", ' ')}'\n`
  })
  const { help, completion } = choices()
  return `${lines.join('')}complete -c seamless -n __fish_use_subcommand -a '${COMMANDS.join(' ')}'
complete -c seamless -n '__fish_seen_subcommand_from help' -fa '${help.join(' ')}'
complete -c seamless -n '__fish_seen_subcommand_from completion' -fa '${completion.join(' ')}'
`
}
