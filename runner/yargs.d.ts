/** The part of yargs that we use; its package brings no types. */
declare module 'yargs' {
  export type Options = {
    alias?: string
    requiresArg?: boolean
    string?: boolean
    type: 'array' | 'boolean' | 'string'
  }
  export type Parser = {
    scriptName(name: string): Parser
    locale(name: string): Parser
    help(enable: false): Parser
    version(enable: false): Parser
    exitProcess(enable: boolean): Parser
    strictOptions(): Parser
    parserConfiguration(configuration: Readonly<Record<string, boolean>>): Parser
    option(name: string, option: Options): Parser
    fail(handler: (message: string | null, error: Error | undefined) => void): Parser
    parse(argv: readonly string[]): Promise<Record<string, unknown>>
  }
  export default function yargs(argv?: readonly string[]): Parser
}
