import t from 'tap'
import { reference, written } from './reference.ts'

t.test('docs/reference.md is what the declarations say', async t => {
  const text = reference()
  t.equal(written(), text, 'run `make reference`')
  for (const name of ['test', 'Context', 'Td', 'Vcpu', 'GuestBuilder', 'Cpu', 'Shared'])
    t.match(text, new RegExp(`^## ${name}$`, 'm'))
  t.match(text, /^- `rdmsrSafe\(index: In<'u64'>\)/m)
  t.match(text, /^- `until<R extends Reason>\(reason: R\): Promise<Outcomes\[R\]>`: Runs the guest/m)
})
