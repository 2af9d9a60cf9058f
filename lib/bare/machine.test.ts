import fc from 'fast-check'
import t from 'tap'
import { assemble } from '#x86'
import { BadImage } from './bad.ts'
import { BareMachine, type MachineOptions } from './machine.ts'
import { AT, exit, image, SEND, withHeader } from './testdata/image.ts'

const MiB = 2 ** 20
const boot = (file: Uint8Array, options: Partial<MachineOptions> = {}, turns = 50) => {
  let out = ''
  const machine = new BareMachine(file, {
    name: 'image',
    memory: 4 * MiB,
    write: bytes => {
      out += Buffer.from(bytes).toString('latin1')
    },
    ...options,
  })
  let left = turns
  const end = machine.run(() => left-- <= 0)
  const { stats } = machine
  machine.close()
  return { end, out, stats }
}
const exits = (value: number) => ({ kind: 'exit', value })
const refusal = (file: Uint8Array, options: Partial<MachineOptions> = {}): string => {
  try {
    boot(file, options, 1)
    return 'boots'
  } catch (error) {
    if (error instanceof BadImage) return error.message
    throw error
  }
}

t.test('an image starts as the specification says, writes to the serial line and exits', async t => {
  const text = `
    cmp eax, 0x2badb002
    jne bad
    mov al, 'O'
    ${SEND}
    mov al, 'K'
    ${SEND}
    ${exit(21)}
    bad: ${exit(99)}`
  const { end, out } = boot(image(text.replace("'O'", '0x4f').replace("'K'", '0x4b')))
  t.same([end, out], [exits(21), 'OK'])
})

t.test('the boot information: memory, command line, module', async t => {
  const text = `
    mov esi, [ebx+16]
    again: lodsb
    test al, al
    je done
    ${SEND}
    jmp again
    done: cmp dword ptr [ebx+20], 1
    jne bad
    mov esi, [ebx+24]
    mov esi, [esi]
    mov al, [esi+1]
    ${SEND}
    mov eax, [ebx+8]
    shr eax, 10
    out 0xf4, al
    bad: ${exit(99)}`
  const initrd = { name: 'env', bytes: Uint8Array.of(0x41, 0x42) }
  t.same(boot(image(text), { append: 'a b', initrd }), {
    ...boot(image(text), { append: 'a b', initrd }),
    out: 'image a bB',
    end: exits(3),
  })
})

t.test('what cannot go on says so', async t => {
  t.match(boot(image('cli\nhlt')).end, {
    kind: 'stopped',
    why: /^every CPU is halted for good, the first one at 0x100022/,
  })
  t.match(boot(image('ud2')).end, { kind: 'stopped', why: /^triple fault/ })
  t.match(boot(image('mov eax, 0x30000000\njmp eax')).end, {
    kind: 'stopped',
    why: 'no memory at 0x3000_0000, RIP 0x3000_0000',
  })
  t.same(boot(image('again: jmp again'), {}, 1).end, { kind: 'time' })
})

t.test('where there is no memory, reads are all ones and writes are lost', async t => {
  const text = `
    mov eax, [0x30000000]
    inc eax
    mov dword ptr [0x30000000], 5
    or [0x30000004], eax
    add eax, [0x30000000]
    neg eax
    out 0xf4, al`
  t.same(boot(image(text)).end, exits(1))
})

/** 64 KiB above the image: an IDT with a 32-bit interrupt gate for vector 40h that leads to `handler`. */
const withInterrupt = (text: string, handler: string): Uint8Array => {
  const source = `
    lidt [idtr]
    mov eax, handler
    mov [0x110000+0x40*8], eax
    mov dword ptr [0x110000+0x40*8+4], 0x108e00
    mov word ptr [0x110000+0x40*8+2], 0x8
    lgdt [gdtr]
    mov esp, 0x180000
    mov dword ptr [0xfee000f0], 0x1ff
    ${text}
    handler: ${handler}`
  const first = assemble(`${source.replaceAll('[idtr]', '[0x100f00]').replaceAll('[gdtr]', '[0x100f08]')}`, {
    mode: 32,
    at: BigInt(AT + 32),
  }).bytes
  const code = new Uint8Array(0xf00)
  code.set(first)
  const view = new DataView(code.buffer)
  // Addresses in the image: 100F00h is offset EE0h behind the header.
  view.setUint16(0xee0, 0x7ff, true)
  view.setUint32(0xee2, 0x11_0000, true)
  view.setUint16(0xee8, 0x17, true)
  view.setUint32(0xeea, 0x10_0f20, true)
  return withHeader(Buffer.concat([code, gdt()]).subarray(0), 0, 0x8_0000)
}
const gdt = (): Uint8Array => {
  const words = new BigUint64Array([0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn])
  return new Uint8Array(words.buffer)
}

t.test('the local APIC: a self-IPI is delivered once interrupts are on, and EOI ends it', async t => {
  const text = `
    sti
    mov dword ptr [0xfee00300], 0x44040
    nop
    cmp ebx, 7
    jne bad
    ${exit(5)}
    bad: ${exit(99)}`
  const { end, stats } = boot(withInterrupt(text, 'mov ebx, 7\nmov dword ptr [0xfee000b0], 0\niretd'))
  t.same(end, exits(5))
  t.equal(stats.exits['device memory'], 3)
})

t.test('the timer wakes a halted CPU; time that nobody uses passes at once', async t => {
  const text = `
    mov dword ptr [0xfee003e0], 0xb
    mov dword ptr [0xfee00320], 0x40
    rdtsc
    mov esi, eax
    mov dword ptr [0xfee00380], 1000000
    sti
    hlt
    rdtsc
    sub eax, esi
    cmp eax, 1000000
    jb bad
    cmp eax, 1000100
    ja bad
    ${exit(6)}
    bad: ${exit(99)}`
  t.same(boot(withInterrupt(text, 'mov dword ptr [0xfee000b0], 0\niretd')).end, exits(6))
})

t.test('a second CPU starts with INIT and a startup IPI, in real mode', async t => {
  // The second CPU's code at 8000h: mov byte [7000h], 1; cli; hlt.
  const text = `
    mov dword ptr [0x8000], 0x700006c6
    mov dword ptr [0x8004], 0x00f4fa01
    mov byte ptr [0x7000], 0
    mov dword ptr [0xfee000f0], 0x1ff
    mov dword ptr [0xfee00310], 0x1000000
    mov dword ptr [0xfee00300], 0x4500
    mov dword ptr [0xfee00300], 0x4608
    mov ecx, 100000
    again: cmp byte ptr [0x7000], 1
    je done
    dec ecx
    jne again
    ${exit(99)}
    done: ${exit(8)}`
  t.same(boot(image(text), { cpus: 2 }).end, exits(8))
  t.same(boot(image(text), { cpus: 1 }).end, exits(99))
})

t.test('what is wrong with an image, in one line', async t => {
  const good = image(exit(0))
  const changed = (change: (view: DataView) => void): Uint8Array => {
    const bytes = good.slice()
    change(new DataView(bytes.buffer))
    return bytes
  }
  const fields = (change: (view: DataView) => void): string =>
    refusal(
      changed(view => {
        change(view)
        view.setUint32(8, -(view.getUint32(0, true) + view.getUint32(4, true)) >>> 0, true)
      }),
    )
  t.equal(refusal(new Uint8Array(0)), 'no Multiboot header (0x1bad_b002) in the first 8192 bytes')
  t.equal(refusal(new Uint8Array(9000)), 'no Multiboot header (0x1bad_b002) in the first 8192 bytes')
  t.match(
    refusal(changed(view => view.setUint32(8, 1, true))),
    /^the Multiboot header's checksum is 0x1, should be 0xe451_4ffe$/,
  )
  t.equal(
    fields(view => view.setUint32(4, 0x1_0004, true)),
    'the Multiboot header asks for features 0x4, which there are not',
  )
  t.equal(
    fields(view => view.setUint32(4, 0, true)),
    'is no ELF file, and its Multiboot header has no address fields',
  )
  t.equal(
    fields(view => view.setUint32(16, 0x20_0000, true)),
    'header address 0x100000 is below the load address 0x200000',
  )
  t.match(
    fields(view => view.setUint32(20, 0x20_0000, true)),
    /^the image takes \d+ bytes from offset 0x0, the file has \d+$/,
  )
  t.match(
    fields(view => view.setUint32(28, 5, true)),
    /^the entry point 0x5 lies outside the image$/,
  )
  t.match(
    fields(view => view.setUint32(24, 0x4000_0000, true)),
    /do not fit into 4 MiB of memory$/,
  )
  t.match(refusal(good, { append: 'x'.repeat(1e6) }), /^a command line of 1000006 bytes does not fit$/)
  t.match(refusal(good, { initrd: { name: 'x', bytes: new Uint8Array(4 * MiB) } }), /^the initrd, .* does not fit/)
  t.equal(refusal(good.subarray(0, 20)), 'the header at 0x0 is cut off: its address fields end behind the file')
})

t.test('a broken image is a BadImage or boots, and never an error of ours', async t => {
  const good = image(`mov al, 65\n${SEND}\n${exit(0)}`)
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 3 }), changes => {
      const file = good.slice()
      for (const [at, byte] of changes) file[at] = byte
      refusal(file)
      return true
    }),
    { numRuns: 60 },
  )
  t.pass()
})
