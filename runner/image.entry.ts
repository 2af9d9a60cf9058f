/** What the image is made of: a worker, with the harness in it. Runs once to be made, then again in every worker. */
import { enableCompileCache, registerHooks } from 'node:module'
import { pathToFileURL } from 'node:url'
import { startupSnapshot } from 'node:v8'
import * as harness from '#harness'
import { ROOT, withOriginals } from './image.ts'
import { serve } from './serve.ts'

/** The harness as a module that test files import: no file, and no second copy of it. */
const HARNESS = 'seamless:harness'
const SOURCE = `export const { ${Object.keys(harness).join(', ')} } = globalThis[Symbol.for('${HARNESS}')]`

declare const IMAGE_SOURCES: readonly string[]

startupSnapshot.setDeserializeMainFunction(() => {
  const front = pathToFileURL(`${ROOT}lib/harness/index.ts`).href
  const inside = new Set(IMAGE_SOURCES.map(path => pathToFileURL(ROOT + path).href))
  Object.assign(globalThis, { [Symbol.for(HARNESS)]: harness })
  enableCompileCache()
  // A test that forks wants its own script to run, not another worker.
  process.execArgv = []
  const plain = Error.prepareStackTrace
  Error.prepareStackTrace = (error, frames) => {
    const text = plain === undefined ? `${error}\n    at ${frames.join('\n    at ')}` : String(plain(error, frames))
    return withOriginals(text)
  }
  const { needsSources } = serve(Promise.resolve(harness))
  registerHooks({
    resolve(specifier, context, next) {
      if (specifier === HARNESS) return { url: HARNESS, format: 'module', shortCircuit: true }
      const found = next(specifier, context)
      if (found.url === front) return { url: HARNESS, format: 'module', shortCircuit: true }
      // Whoever looks inside the rooms would get each module twice.
      if (inside.has(found.url)) needsSources(found.url)
      return found
    },
    load: (url, context, next) =>
      url === HARNESS ? { format: 'module', source: SOURCE, shortCircuit: true } : next(url, context),
  })
})
