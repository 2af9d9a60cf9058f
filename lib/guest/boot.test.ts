import t from 'tap'
import { gpa, gva } from '#bits'
import { decode, print } from '#x86'
import { bootCode, bootMappings, bootParametersOf, encodeBootParameters } from './index.ts'
import { run } from './testdata/machine.ts'

const boot = bootCode()

t.test('boot code ends where the reset vector begins, and the vector jumps to its first byte', async t => {
  t.equal(boot.entry + BigInt(boot.size), 0xffff_fff0n)
  t.equal(boot.gpa & 0xfffn, 0n)
  t.equal(boot.gpa + BigInt(boot.bytes.length), 0x1_0000_0000n)
  const vector = boot.bytes.subarray(-16)
  t.ok(boot.size + 2 <= 128, 'rel8 reaches')
  t.equal(vector[0], 0xeb)
  t.equal(new Int8Array(vector)[1], -(boot.size + 2))
  t.ok(vector.subarray(2).every(b => b === 0xcc))
})

t.test('the boot code reads as the steps of td_boot.S', async t => {
  const lines: string[] = []
  let mode: 32 | 64 = 32
  for (let at = Number(boot.entry - boot.gpa); at < boot.bytes.length - 14; ) {
    const insn = decode(boot.bytes, at, mode)
    if (typeof insn === 'string') throw new Error(`${insn} at ${at}`)
    lines.push(print(insn, boot.gpa + BigInt(at)))
    at += insn.length
    if (insn.row.mnemonic === 'JMP') mode = mode === 32 ? 64 : 32
  }
  t.same(lines, GOLDEN)
})

const GOLDEN = [
  'cli',
  'mov ebx, 0xffff0000',
  'mov eax, 0x10',
  'mul esi',
  'lea edi, [ebx+0x18]',
  'add eax, edi',
  'mov esp, dword ptr [eax]',
  'lea edi, [ebx+0xc]',
  'lgdt fword ptr [edi]',
  'lea edi, [ebx+0x12]',
  'lidt fword ptr [edi]',
  'mov ecx, dword ptr [ebx+0x8]',
  'mov cr4, ecx',
  'mov ecx, dword ptr [ebx+0x4]',
  'mov cr3, ecx',
  'mov ecx, dword ptr [ebx]',
  'mov cr0, ecx',
  'jmp 0x8:0xffffffed',
  'jmp qword ptr [rax+0x8]',
  'jmp 0xffffffb5',
]

t.test('parameters stand where td_boot.h has them', async t => {
  const image = {
    gdt: { base: gva(0x50_0000n), limit: 0xfff },
    idt: { base: gva(0x50_1000n), limit: 0xfff },
    stacks: [gva(0x50_4ff8n), gva(0x50_7ff8n)],
    entries: [gva(0x40_1000n), gva(0x40_1234n)],
  }
  const bytes = encodeBootParameters(bootParametersOf(image, { cr3: gpa(0x8000n), levels: 5, xsave: true }))
  const view = new DataView(bytes.buffer)
  t.equal(bytes.length, 4096)
  t.equal(view.getUint32(0, true), 0x8000_0021, 'PE NE PG')
  t.equal(view.getUint32(4, true), 0x8000)
  t.equal(view.getUint32(8, true), 0x4_1260, 'PAE MCE OSFXSR LA57 OSXSAVE')
  t.same([view.getUint16(12, true), view.getUint32(14, true)], [0xfff, 0x50_0000])
  t.same([view.getUint16(18, true), view.getUint32(20, true)], [0xfff, 0x50_1000])
  t.same([view.getUint32(24, true), view.getBigUint64(32, true)], [0x50_4ff8, 0x40_1000n])
  t.same([view.getUint32(40, true), view.getBigUint64(48, true)], [0x50_7ff8, 0x40_1234n])
  t.throws(
    () => encodeBootParameters({ ...bootParametersOf(image, { cr3: gpa(1n << 32n), levels: 4, xsave: false }) }),
    {
      message: 'CR3 0x100000000: boot code takes addresses below 4 GiB',
    },
  )
  const many = { ...image, stacks: Array(300).fill(gva(0x1000n)), entries: Array(300).fill(gva(0x1000n)) }
  t.equal(encodeBootParameters(bootParametersOf(many, { cr3: gpa(0n), levels: 4, xsave: false })).length, 8192)
  t.equal(bootMappings(300)[1]?.size, 8192)
})

for (const levels of [4, 5] as const)
  t.test(`a vCPU boots through ${levels} levels of page tables into 64-bit code on a stack of its own`, async t => {
    const [sync, done] = run(
      g => {
        const { rsp, cs } = readState(g)
        g.sync(rsp.and(15n), cs)
        g.done()
      },
      { levels },
    )
    t.same(sync?.args.slice(1, 3), [0n, 8n], 'aligned for calls; KERNEL_CS')
    t.equal(done?.name, 'UCALL_DONE')
  })

const readState = (g: import('./index.ts').GuestBuilder) => {
  const { rax, rcx } = g.asm('mov rax, rsp\nmov ecx, cs', { out: ['rax', 'rcx'] })
  return { rsp: rax, cs: rcx }
}
