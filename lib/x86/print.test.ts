import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { assemble } from './assemble.ts'
import { decode } from './decode.ts'
import type { Insn, Mode, Operand } from './insn.ts'
import { print } from './print.ts'
import { table } from './table.ts'
import { bytesOf, randomFrom } from './testdata/rowbytes.ts'

const IP = 0x40_1000n
const insn = (bytes: Uint8Array, mode: Mode): Insn | undefined => {
  const decoded = decode(bytes, 0, mode)
  return typeof decoded === 'string' ? undefined : decoded
}
const text = (hex: string, mode: Mode = 64): string =>
  print(insn(Buffer.from(hex.replaceAll(' ', ''), 'hex'), mode)!, IP)

t.test('Intel syntax, lower case', async t => {
  const lines: readonly (readonly [string, string, Mode?])[] = [
    ['48 89 44 8d f8', 'mov qword ptr [rbp+rcx*4-0x8], rax'],
    ['f0 83 00 01', 'lock add dword ptr [rax], 0x1'],
    ['64 48 8b 04 25 28 00 00 00', 'mov rax, qword ptr fs:[0x28]'],
    ['48 8d 05 10 00 00 00', 'lea rax, [rip+0x10]  # 0x401017'],
    ['75 fe', 'jne 0x401000'],
    ['f3 48 ab', 'rep stosq'],
    ['f3 a6', 'repe cmpsb'],
    ['65 67 a4', 'movsb byte ptr es:[edi], byte ptr gs:[esi]'],
    ['ea 00 10 00 00 08 00', 'jmp 0x8:0x1000', 32],
    ['66 ea 00 10 00 00 08 00', 'jmp dword 0x8:0x1000', 16],
    ['ff 28', 'jmp far fword ptr [rax]'],
    ['66 9c', 'pushfw'],
    ['48 cb', 'o64 retf'],
    ['66 6a 05', 'push word 0x5'],
    ['d8 c1', 'fadd st(0), st(1)'],
    ['8b 40 04', 'mov ax, word ptr [bx+si+0x4]', 16],
    ['c4 e2 71 92 04 1a', 'vgatherdps xmm0, dword ptr [rdx+xmm3], xmm1'],
  ]
  for (const [hex, want, mode] of lines) t.equal(text(hex, mode), want)
})

/** What must survive: all but the encoding that was chosen. */
const essence = (i: Insn): unknown => {
  const isShown = i.operands.some(o => (o.kind === 'reg' && o.file !== 'seg') || o.kind === 'mem')
  const target = (o: Operand): unknown =>
    o.kind === 'rel' ? BigInt.asUintN(i.operandSize * 8, o.disp + BigInt(i.length)) : o
  const { mnemonic, operandSize } = i.row
  return [
    mnemonic,
    i.operands.map(target),
    i.lock,
    i.rep,
    isShown || operandSize === 0 ? 0 : i.operandSize,
    i.cc,
    i.vectorLength,
  ]
}

const STARTS = [0x66, 0x67, 0xf2, 0xf3, 0x48, 0x41, 0x0f, 0x64, 0xf0, 0xc4, 0xc5]

t.test('what is printed assembles to the same instruction', async t => {
  let count = 0
  fc.assert(
    fc.property(
      fc.constantFrom<Mode>(64, 32, 16),
      fc.array(fc.constantFrom(...STARTS), { maxLength: 3 }),
      fc.uint8Array({ minLength: 15, maxLength: 15 }),
      (mode, starts, rest) => {
        const one = insn(Uint8Array.from([...starts, ...rest]), mode)
        // XCHG has two orders for one meaning; a rel8 may no longer reach when a useless prefix is gone.
        if (one === undefined || one.row.decodeOnly || one.row.mnemonic === 'XCHG') return
        if (one.operands.some(o => o.kind === 'rel' && o.size === 1 && o.disp > 112n)) return
        count++
        const { bytes } = assemble(print(one, IP), { mode, at: IP })
        const again = insn(bytes, mode)
        assert.deepEqual(again && essence(again), essence(one), print(one, IP))
        assert.ok(bytes.length <= one.length, `${print(one, IP)} has become longer`)
      },
    ),
    { numRuns: 6000, seed: 7 },
  )
  t.ok(count > 3000, `${count} instructions`)
})

t.test('every row of the table can be written: what is printed of it assembles to the same instruction', async t => {
  const random = randomFrom(0xa53)
  const missed: string[] = []
  let written = 0
  for (const row of table) {
    if (row.encodeOnly || row.decodeOnly || !row.valid64) continue
    for (let tries = 0; ; tries++) {
      const one = insn(bytesOf(row, 64, random), 64)
      // A branch of one byte may not reach from where it is written.
      const isUsable =
        one?.row === row && one.row.mnemonic !== 'XCHG' && !one.operands.some(o => o.kind === 'rel' && o.disp > 112n)
      if (!isUsable && tries < 40) continue
      if (one === undefined || !isUsable) {
        if (row.mnemonic !== 'XCHG') missed.push(`${row.mnemonic} ${row.operands.join(', ')}`)
        break
      }
      const again = insn(assemble(print(one, IP), { mode: 64, at: IP }).bytes, 64)
      assert.deepEqual(again && essence(again), essence(one), print(one, IP))
      written++
      break
    }
  }
  t.same(missed, [])
  t.ok(written > 1000, `${written} rows`)
})

const objdump = (): boolean => {
  try {
    execFileSync('objdump', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** objdump's line and ours, brought to one form: numbers as they are, spacing and what only one of them says gone. */
const plain = (line: string): string =>
  line
    .toLowerCase()
    .replace(/\s*[#<].*$/, '')
    .replace(/\b(byte|word|dword|qword|fword|tbyte|xmmword|ymmword|oword) ptr /g, '')
    .replace(/\b[ds]s:(?=\[|0x)/g, '')
    .replace(/\[(0x[0-9a-f]+)\]/g, '$1')
    .replace(/\s*,\s*/g, ',')
    .replace(/\s+/g, ' ')
    .trim()

t.test('objdump reads the same', { skip: objdump() ? false : 'no objdump here' }, async t => {
  const source = `
    mov rax, 0x123456789abc
    mov dword ptr [rax+rcx*4+8], 5
    lea r12, [rbp-0x20]
    add byte ptr [rip+0x10], 1
    movzx eax, byte ptr [rsi]
    imul r8, r9, 0x11
    shl rax, 3
    shrd rax, rbx, cl
    push r15
    push 0x12345678
    pop qword ptr [rsp+8]
    call rax
    call qword ptr [rbx+8]
    xchg qword ptr [rdi], rax
    lock cmpxchg [rdi], rcx
    bt rax, 5
    bsf eax, ecx
    mulx rax, rbx, rcx
    tdcall
    cpuid
    rdmsr
    mov cr3, rax
    mov rax, cr8
    lgdt [rax]
    ltr ax
    invlpg [rax]
    in al, dx
    out 0x80, al
    iretq
    syscall
    ud2
    hlt
    movaps xmm1, xmmword ptr [rax]
    paddd xmm9, xmm2
    vpaddd ymm1, ymm2, [rax]
    vfmadd231pd xmm1, xmm2, xmm3
    rdrand rax
    endbr64
  `
  const { bytes } = assemble(source, { mode: 64 })
  const folder = mkdtempSync(join(tmpdir(), 'seamless-print-'))
  try {
    const file = join(folder, 'code')
    writeFileSync(file, bytes)
    const args = ['-D', '-b', 'binary', '-m', 'i386:x86-64', '-M', 'intel', '--no-show-raw-insn', file]
    const theirs = execFileSync('objdump', args, { encoding: 'utf8' })
      .split('\n')
      .flatMap(line => /^\s*[0-9a-f]+:\s+(.*)$/.exec(line)?.slice(1) ?? [])
    const ours: string[] = []
    for (let at = 0; at < bytes.length; ) {
      const one = decode(bytes, at, 64)
      if (typeof one === 'string') throw new Error(one)
      ours.push(print(one, BigInt(at)))
      at += one.length
    }
    t.same(
      ours.map(plain),
      theirs.map(line => plain(line.replace('movabs', 'mov'))),
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
})
