/** What the image is made of: a worker, with the harness in it. Runs once to be made, then again in every worker. */
import { enableCompileCache, registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'
import { queryObjects, setFlagsFromString, startupSnapshot } from 'node:v8'
import * as harness from '#harness'
import { HUGE_PAGES, ROOT, withOriginals } from './image.ts'
import { serve } from './serve.ts'

/** The harness as a module that test files import: no file, and no second copy of it. */
const HARNESS = 'seamless:harness'
const SOURCE = `export const { ${Object.keys(harness).join(', ')} } = globalThis[Symbol.for('${HARNESS}')]`
/** Its values: what esbuild makes of a namespace is a getter for each of its thousand names. */
const VALUES = { ...harness }

declare const IMAGE_SOURCES: readonly string[]
const INSIDE: ReadonlySet<string> = new Set(IMAGE_SOURCES.map(path => pathToFileURL(ROOT + path).href))
const FRONT = pathToFileURL(`${ROOT}lib/harness/index.ts`).href

/**
 * Runs a test, so that the image has the code of a TD's life ready: reading it takes a worker's first TD three times as long
 * as running it. While a snapshot is made there is no WebAssembly: memory is a plain buffer, and nothing gets compiled.
 */
const rehearse = async (): Promise<void> => {
  // Asking collects what there is no use for, which by a flag of image.main.ts includes code that ran once. The rest stays.
  queryObjects(Array, { format: 'count' })
  for (const flag of ['--no-stress-flush-code', '--no-flush-bytecode']) setFlagsFromString(flag)
  const buffers: ArrayBuffer[] = []
  class Memory {
    readonly buffer: ArrayBuffer
    constructor({ initial }: { initial: number }) {
      this.buffer = new ArrayBuffer(initial * 65536)
      buffers.push(this.buffer)
    }
  }
  Object.assign(globalThis, { WebAssembly: { Memory } })
  const { status, reason } = await harness.rehearse()
  Reflect.deleteProperty(globalThis, 'WebAssembly')
  // Nothing of it goes into the image, whoever still knows it.
  for (const buffer of buffers) structuredClone(buffer, { transfer: [buffer] })
  if (status !== 'pass') throw new Error(`the rehearsal: ${reason ?? status}`)
}
void rehearse()

startupSnapshot.setDeserializeMainFunction(() => {
  Object.assign(globalThis, { [Symbol.for(HARNESS)]: VALUES })
  enableCompileCache()
  // A test that forks wants its own script to run, not another worker.
  process.execArgv = []
  const [tunables, huge] = HUGE_PAGES
  if (process.env[tunables] === huge) Reflect.deleteProperty(process.env, tunables)
  const plain = Error.prepareStackTrace
  Error.prepareStackTrace = (error, frames) => {
    const text = plain === undefined ? `${error}\n    at ${frames.join('\n    at ')}` : String(plain(error, frames))
    return withOriginals(text)
  }
  const { needsSources } = serve(Promise.resolve(VALUES))
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier === HARNESS) return { url: HARNESS, format: 'module', shortCircuit: true }
      const found = next(specifier, context)
      if (found.url === FRONT) return { url: HARNESS, format: 'module', shortCircuit: true }
      // Whoever looks inside the rooms would get each module twice.
      if (INSIDE.has(found.url)) needsSources(found.url)
      return found
    },
    load: (url, context, next) =>
      url === HARNESS ? { format: 'module', source: SOURCE, shortCircuit: true } : next(url, context),
  })
})
