import type { Fake } from './harness.ts'

export default {
  'global.needs_more': () => ({ status: 'skip', reason: 'no TDX here', instructions: 0 }),
} satisfies Fake
