import t from 'tap'
import { CODE, longMode } from '../testdata/machine.ts'
import { watch } from './runtime.ts'

t.test('a region is listed with its instructions, what they mean, and its WebAssembly', async t => {
  const m = longMode({ tier: 'compile' })
  m.asm(
    CODE,
    'mov rdi, 0x40000\nmov ecx, 3\nagain: add [rdi], eax\npush rax\npop rdx\ndec ecx\njne again\nhlt\nend: jmp end',
  )
  const listings: string[] = []
  watch.listing = text => listings.push(text)
  watch.interpreted = new Map()
  m.cpu.run(100)
  const { interpreted } = watch
  watch.listing = undefined
  watch.interpreted = undefined
  const [text = ''] = listings
  t.match(text, /^ {2}20007 {2}mov ecx, 0x3$/m)
  t.match(text, /^block 0x2000c loop/m)
  t.match(text, /^ {6}t0 = where to write 32 bits of \[rdi\]$/m)
  t.match(text, /^ {6}t1 = load32 at t0$/m)
  t.match(text, /^ {6}store64 \[i64.sub\(rsp, 8\)\] = rax$/m)
  t.match(text, /^ {6}go to \+0x[0-9a-f]+ if cc5$/m)
  t.match(text, /^webassembly\n(.*\n)* {2,}loop\n/m)
  t.equal(interpreted.get('hlt'), 1)
})
