import { collect } from './collect.ts'

const [file, only] = process.argv.slice(2)
const { tests } = await collect(file!)
let asked = 0
for (const test of tests) {
  if (only && !test.name.includes(only)) continue
  const t0 = performance.now()
  const out = await test.run({
    seed: 1n,
    timeout: 1000,
    deadline: () => asked++ > 3000,
    emit: e => console.log(JSON.stringify(e, (_, v) => (typeof v === 'bigint' ? String(v) : v), 1)),
  })
  console.log(test.name, out, (performance.now() - t0).toFixed(1), 'ms')
}
