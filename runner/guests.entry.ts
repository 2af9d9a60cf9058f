/** What the guests' image is made of: the commands that run code outside of a test. Runs once to be made, then in each of them. */
import { startupSnapshot } from 'node:v8'
import { keepTranslations, rehearse, saveTranslations } from '#linux'
import { ending } from './ending.ts'
import { IN_USE, withOriginals } from './image.ts'
import { sayingGaps } from './parse.ts'
import { runElf } from './runelf.ts'
import { flat } from './runflat.ts'
import { runMultiboot } from './runmultiboot.ts'
import { translationsOf } from './translations.ts'

const COMMANDS: Readonly<Record<string, (argv: readonly string[]) => Promise<number>>> = {
  'run-elf': runElf,
  'run-flat': flat,
  'run-multiboot': runMultiboot,
}

// What is asked for here is loaded, and answered, in the image.
rehearse()
performance.now()

startupSnapshot.setDeserializeMainFunction(() => {
  process.execArgv = []
  const plain = Error.prepareStackTrace
  Error.prepareStackTrace = (error, frames) => {
    const text = plain === undefined ? `${error}\n    at ${frames.join('\n    at ')}` : String(plain(error, frames))
    return withOriginals(text)
  }
  const [, , name = '', ...argv] = process.argv
  keepTranslations(translationsOf(process.env[IN_USE]!))
  void ending(() => sayingGaps(name, () => COMMANDS[name]!(argv))).finally(saveTranslations)
})
