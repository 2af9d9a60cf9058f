import type { Fake } from './harness.ts'

export default {
  'global.says': () => {
    console.log('one\ntwo')
    process.stderr.write('ok 7 a lie')
    return { status: 'pass', instructions: 3 }
  },
  'port.byte.skips': () => ({ status: 'skip', reason: 'no # such port', instructions: 0 }),
  'port.word.seeded': ({ emit, file, name: test, seed }) => {
    emit({ type: 'output', file, test, stream: 'log', text: `0x${seed.toString(16)}` })
    return { status: 'pass', instructions: 5 }
  },
} satisfies Fake
