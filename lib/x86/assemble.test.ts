import t from 'tap'
import { AssembleError, assemble } from './assemble.ts'
import type { Mode } from './insn.ts'

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const asm = (text: string, mode: Mode = 64, at = 0n): string => hex(assemble(text, { mode, at }).bytes)

/** Bytes as GNU as 2.40 makes them (`.intel_syntax noprefix`). */
const SAME: readonly (readonly [Mode, string, string])[] = [
  [64, 'mov rax, 1', '48c7c001000000'],
  [64, 'mov eax, 1', 'b801000000'],
  [64, 'mov rax, 0x123456789abc', '48b8bc9a785634120000'],
  [64, 'mov al, [rbx]', '8a03'],
  [64, 'mov r8b, sil', '4188f0'],
  [64, 'mov [rsp+8], rax', '4889442408'],
  [64, 'mov rax, [rbp]', '488b4500'],
  [64, 'mov rax, [r13]', '498b4500'],
  [64, 'mov rax, [r12+r8*8-128]', '4b8b44c480'],
  [64, 'mov rax, [rcx*4]', '488b048d00000000'],
  [64, 'mov qword ptr fs:[0x28], rax', '644889042528000000'],
  [64, 'add eax, 0x1000', '0500100000'],
  [64, 'add eax, -1', '83c0ff'],
  [64, 'add rbx, 0x7f', '4883c37f'],
  [64, 'cmp byte ptr [rdi], 0', '803f00'],
  [64, 'push 5', '6a05'],
  [64, 'push 0x12345678', '6878563412'],
  [64, 'push 0x605', '6805060000'],
  [64, 'push -0x605', '68fbf9ffff'],
  [64, 'push 0x80', '6880000000'],
  [32, 'push 0x605', '6805060000'],
  [16, 'push 0x605', '680506'],
  [64, 'push r12', '4154'],
  [64, 'call [rax]', 'ff10'],
  [64, 'jmp far fword ptr [rax]', 'ff28'],
  [64, 'lock cmpxchg [rdi], rcx', 'f0480fb10f'],
  [64, 'rep stosq', 'f348ab'],
  [64, 'repne scasb', 'f2ae'],
  [64, 'xchg eax, eax', '87c0'],
  [64, 'xchg rax, rbx', '4893'],
  [64, 'movzx eax, word ptr [rbx]', '0fb703'],
  [64, 'movsxd rax, ecx', '4863c1'],
  [64, 'shl qword ptr [rax], 1', '48d120'],
  [64, 'imul eax, ebx, 5', '6bc305'],
  [64, 'mov cr3, rax', '0f22d8'],
  [64, 'mov cr8, rax', '440f22c0'],
  [64, 'mov ds, eax', '8ed8'],
  [64, 'lgdt [rax]', '0f0110'],
  [64, 'tdcall', '660f01cc'],
  [64, 'seamcall', '660f01cf'],
  [64, 'iretq', '48cf'],
  [64, 'retfq', '48cb'],
  [64, 'pushfq', '9c'],
  [64, 'mulx rax, rbx, rcx', 'c4e2e3f6c1'],
  [64, 'rdrand r9', '490fc7f1'],
  [64, 'movabs rax, 5', '48b80500000000000000'],
  [64, 'imul rax, 0x1000', '4869c000100000'],
  [64, 'shl eax', 'd1e0'],
  [64, 'mov ds, ax', '8ed8'],
  [64, 'mov ax, ds', '668cd8'],
  [64, 'lar eax, cx', '0f02c1'],
  [64, 'faddp', 'dec1'],
  [64, 'fsubp st(1), st', 'dee9'],
  [64, 'fxch st(1)', 'd9c9'],
  [64, 'movsd xmm1, [rax]', 'f20f1008'],
  [64, 'movsd', 'a5'],
  [64, 'sha256rnds2 xmm1, xmm2', '0f38cbca'],
  [64, 'vaddps ymm1, ymm2, [rax+r9*8]', 'c4a16c580cc8'],
  [64, 'vgatherqps xmm1, [r9+ymm14*4+8], xmm3', 'c48265934cb108'],
  [64, 'vgatherqps xmm1, [r9+xmm14*4+8], xmm3', 'c48261934cb108'],
  [64, 'vblendvpd ymm1, ymm2, [rax], ymm15', 'c4e36d4b08f0'],
  [64, 'blsr r9, r10', 'c4c2b0f3ca'],
  [32, 'aam', 'd40a'],
  [32, 'jcxz .', '67e3fd'],
  [32, 'mov eax, [0x1234]', 'a134120000'],
  [32, 'inc eax', '40'],
  [32, 'push es', '06'],
  [32, 'mov ax, [bx+si+4]', '67668b4004'],
  [16, 'mov ax, [bx+si+4]', '8b4004'],
  [16, 'mov eax, cr0', '0f20c0'],
  [16, 'lgdt [0x1234]', '0f01163412'],
  [16, 'mov eax, 1', '66b801000000'],
]

t.test('instructions take the bytes that other assemblers give them', async t => {
  for (const [mode, text, bytes] of SAME) t.equal(asm(text, mode), bytes, `${mode}: ${text}`)
})

t.test('labels before and after, short and near branches', async t => {
  t.equal(asm('top: nop\njmp top\njne top'), '90ebfd75fb')
  const { bytes, labels } = assemble('jmp end\n.zero 128\nend: jmp close\n.zero 126\nclose: ret', {
    mode: 64,
    at: 0x1000,
  })
  t.equal(hex(bytes.subarray(0, 5)), 'e980000000', 'one byte too far for a short one')
  t.equal(hex(bytes.subarray(133, 135)), 'eb7e')
  t.same(labels, { end: 0x1085n, close: 0x1105n })
  t.equal(asm(`${'nop\n'.repeat(300)}jmp on\non:`).slice(600), 'eb00', 'far from the start, but near its target')
  t.equal(asm('jrcxz out\nout: loop out'), 'e300e2fe')
})

t.test('addresses of labels: absolute, RIP-relative, in data', async t => {
  t.equal(asm('lea rax, [rip + x]\nx:'), '488d0500000000')
  t.equal(asm('mov byte ptr [rel x], 5\nx:'), 'c6050000000005')
  t.equal(asm('lea rax, [rip + 8]'), '488d0508000000', 'a number is a displacement as it stands')
  t.equal(asm('mov eax, [x]\nx:', 64, 0x1000n), '8b042507100000')
  t.equal(asm('x: .long x - 4, . + 1\n.quad x', 32, 0x1000n), 'fc0f0000011000000010000000000000')
  t.equal(asm('size = end - start\nstart: mov ecx, size\nend:'), 'b905000000')
})

t.test('a mode switch midway, as boot code does it', async t => {
  const { bytes, labels } = assemble(
    `
    jmp dword 0x10:protected      # far, 32-bit offset from 16-bit code
    .mode 32
  protected:
    mov eax, cr0
    jmp 0x08:long                 ; into the 64-bit segment
    .mode 64
  long:
    mov rdi, rax`,
    { mode: 16, at: 0xffff_ff00 },
  )
  t.equal(hex(bytes), `66ea08ffffff1000${'0f20c0'}ea12ffffff0800${'4889c7'}`)
  t.same(labels, { protected: 0xffff_ff08n, long: 0xffff_ff12n })
})

t.test('directives', async t => {
  t.equal(asm('.byte 1, -1, \'a\', "bc"\n.word 0x1234\n.quad 1'), '01ff61626334120100000000000000')
  t.equal(asm('.ascii "a;b#\\n"\n.asciz "z"'), '613b62230a7a00')
  t.equal(asm('nop\n.align 4\n.byte 1\n.align 8, 0'), '9090909001000000')
  t.equal(asm('.byte 1\n.org 4\n.byte 2'), '0100000002')
  t.equal(asm('.byte (1 << 4) | 3, ~0 & 0xff, 2 * 3 + 1'), '13ff07')
})

t.test('a line that cannot be assembled says which, and what would be right', async t => {
  const wrong: readonly (readonly [string, RegExp])[] = [
    ['nop\nfoo eax', /^line 2: `foo eax`: foo is no instruction or directive$/],
    ['mov eax, rbx', /^line 1: `mov eax, rbx`: mov eax, rbx has no encoding in 64-bit code; mov takes r\/m8, r8 \|/],
    ['mov [rax], 1', /size of the memory operand is not clear; write byte ptr/],
    ['jmp nowhere', /no label or register is called nowhere/],
    ['x:\nx:', /^line 2: `x:`: x is defined twice/],
    ['mov eax, [rax*3]', /multiplied by 1, 2, 4 or 8, not 3/],
    ['mov al, 256', /mov al, 0x100 has no encoding/],
    ['lock mov [rax], eax', /mov cannot be locked/],
    ['lock add eax, 1', /lock add needs a memory destination/],
    ['pusha', /does not exist in 64-bit code/],
    ['mov eax, [rax', /lacks a \]/],
    ['.byte 256', /does not fit a byte/],
    ['.mode 48', /a mode is 16, 32 or 64/],
    ['.align 3', /no power of two/],
    ['.orgy 3', /\.orgy is no directive/],
    ['jmp short x\n.zero 200\nx:', /out of reach/],
    ['mov eax, 1 +', /ends where a value should be/],
    ['eax: nop', /eax is a register/],
  ]
  for (const [text, message] of wrong)
    try {
      asm(text)
      t.fail(`${text} was assembled`)
    } catch (error) {
      t.ok(error instanceof AssembleError && message.test(error.message), `${text}: ${error}`)
    }
})

t.test('labels from outside', async t => {
  t.equal(hex(assemble('mov eax, out', { mode: 32, labels: { out: 0x1234n } }).bytes), 'b834120000')
})
