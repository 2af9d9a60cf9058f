/**
 * Where a worker stands that does not answer, and the guest of its test: asked of V8's inspector, which works while a loop
 * of the test runs, and while nothing does.
 */
import type { ChildProcess } from 'node:child_process'
import type { Failure } from '#reports'

/** By this name a worker's globalThis holds what says where the guest stands, as JSON. */
export const STANDING = 'seamless:standing'
const ASK = `globalThis[Symbol.for('${STANDING}')]?.() ?? ''`

/** How long it may take, milliseconds. */
const PATIENCE = 5000

/** After which a worker that has not paused waits for something, milliseconds. */
const RESTING = 500

type Frame = {
  readonly callFrameId: string
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

type Stack = {
  readonly frames: readonly Frame[]
  readonly scripts: ReadonlyMap<string, string>
  readonly guest: string
}

const stackAt = (url: string): Promise<Stack> =>
  new Promise((resolve, reject) => {
    const scripts = new Map<string, string>()
    let frames: readonly Frame[] = []
    let waits: NodeJS.Timeout | undefined
    const socket = new WebSocket(url)
    const send = (id: number, method: string, params: object = {}) =>
      socket.send(JSON.stringify({ id, method, params }))
    socket.onerror = () => reject(new Error('no inspector'))
    socket.onopen = () => {
      send(1, 'Debugger.enable')
      send(2, 'Debugger.pause')
      // A worker that only waits comes to no statement to pause at: it has no stack, and can be asked as it is.
      waits = setTimeout(() => {
        send(3, 'Debugger.disable')
        send(4, 'Runtime.evaluate', { expression: ASK, returnByValue: true })
      }, RESTING)
    }
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(String(data))
      if (message.method === 'Debugger.scriptParsed') scripts.set(message.params.scriptId, message.params.url)
      if (message.method === 'Debugger.paused') {
        clearTimeout(waits)
        frames = message.params.callFrames
        const callFrameId = frames[0]?.callFrameId
        send(4, 'Debugger.evaluateOnCallFrame', { callFrameId, expression: ASK, returnByValue: true })
      }
      if (message.id !== 4) return
      clearTimeout(waits)
      resolve({ frames, scripts, guest: String(message.result?.result?.value ?? '') })
      socket.close()
    }
  })

export type Standing = Pick<Failure, 'guest' | 'steps'> & { readonly stack: string }

/** Where a worker stands: its stack, innermost first, as `at name (url:line:column)`, and the guest of its test. */
export const standingOf = async (child: ChildProcess): Promise<Standing> => {
  let timer: NodeJS.Timeout | undefined
  const nothing: Stack = { frames: [], scripts: new Map(), guest: '' }
  const late = new Promise<Stack>(resolve => {
    timer = setTimeout(() => resolve(nothing), PATIENCE)
  })
  const { frames, scripts, guest } = await Promise.race([inspectorOf(child).then(stackAt), late]).catch(() => nothing)
  clearTimeout(timer)
  const stack = frames
    .map(frame => ({ ...frame, url: scripts.get(frame.location.scriptId) ?? '' }))
    .filter(({ url }) => url !== '' && !url.startsWith('node:'))
    .map(({ functionName, url, location }) => {
      const place = `${url}:${location.lineNumber + 1}:${location.columnNumber + 1}`
      return functionName === '' ? `at ${place}` : `at ${functionName} (${place})`
    })
    .join('\n')
  return { ...(guest === '' ? { steps: [] } : JSON.parse(guest)), stack }
}
