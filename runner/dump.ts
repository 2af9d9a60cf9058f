/** Where a worker stands that does not answer: asked of V8's inspector, which works while a loop of the test runs. */
import type { ChildProcess } from 'node:child_process'

/** How long it may take, milliseconds. */
const PATIENCE = 2000

type Frame = {
  readonly functionName: string
  readonly location: { readonly scriptId: string; readonly lineNumber: number; readonly columnNumber: number }
}

/** Opens the inspector of `child`, which runs with --inspect-port=0: its address comes on standard error. */
const inspectorOf = (child: ChildProcess): Promise<string> =>
  new Promise(resolve => {
    let said = ''
    child.stderr?.on('data', (text: string) => {
      said += text
      const [url] = /ws:\/\/\S+/.exec(said) ?? []
      if (url !== undefined) resolve(url)
    })
    child.kill('SIGUSR1')
  })

type Stack = { readonly frames: readonly Frame[]; readonly scripts: ReadonlyMap<string, string> }

const stackAt = (url: string): Promise<Stack> =>
  new Promise((resolve, reject) => {
    const scripts = new Map<string, string>()
    const socket = new WebSocket(url)
    socket.onerror = () => reject(new Error('no inspector'))
    socket.onopen = () => {
      socket.send('{"id":1,"method":"Debugger.enable"}')
      socket.send('{"id":2,"method":"Debugger.pause"}')
    }
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(String(data))
      if (message.method === 'Debugger.scriptParsed') scripts.set(message.params.scriptId, message.params.url)
      if (message.method !== 'Debugger.paused') return
      resolve({ frames: message.params.callFrames, scripts })
      socket.close()
    }
  })

/** The worker's stack, innermost first, as `at name (url:line:column)`; empty if it cannot be had. */
export const stackOf = async (child: ChildProcess): Promise<string> => {
  let timer: NodeJS.Timeout | undefined
  const nothing: Stack = { frames: [], scripts: new Map() }
  const late = new Promise<Stack>(resolve => {
    timer = setTimeout(() => resolve(nothing), PATIENCE)
  })
  const { frames, scripts } = await Promise.race([inspectorOf(child).then(stackAt), late]).catch(() => nothing)
  clearTimeout(timer)
  return frames
    .map(frame => ({ ...frame, url: scripts.get(frame.location.scriptId) ?? '' }))
    .filter(({ url }) => url !== '' && !url.startsWith('node:'))
    .map(({ functionName, url, location }) => {
      const place = `${url}:${location.lineNumber + 1}:${location.columnNumber + 1}`
      return functionName === '' ? `at ${place}` : `at ${functionName} (${place})`
    })
    .join('\n')
}
