/** Tests that leave things behind in their worker. */
import { spawn, spawnSync } from 'node:child_process'
import { createServer } from 'node:net'
import type { Fake } from './harness.ts'

const pass = { status: 'pass', instructions: 1 } as const

export default {
  'global.tidy': () => {
    setTimeout(() => {}, 10)
    return pass
  },
  'global.child': () => {
    spawn('sleep', ['63'], { stdio: 'ignore' })
    return pass
  },
  'global.daemon': () => {
    spawnSync('sh', ['-c', 'setsid sleep 68 </dev/null >/dev/null 2>&1 &'])
    return pass
  },
  'global.timer': () => {
    setInterval(() => {}, 1000)
    return pass
  },
  'global.server': () => {
    createServer().listen(0)
    return pass
  },
  'global.after': () => pass,
} satisfies Fake
