/**
 * What we print, read by GNU as, and what we encode, read by objdump: instructions at random, in every mode, each in its
 * shortest encoding.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { assemble } from '../assemble.ts'
import { decode } from '../decode.ts'
import type { Insn, Mode } from '../insn.ts'
import { print } from '../print.ts'
import { fillSlot, SLOT, Stream } from './decoder.ts'

const COUNT = Number(process.env['SEAMLESS_BINUTILS'] ?? 2500)
/** Bytes from one instruction to the next. */
const STEP = 32

const folder = mkdtempSync(join(tmpdir(), 'seamless-binutils-'))
t.teardown(() => rmSync(folder, { recursive: true, force: true }))
const at = (name: string): string => join(folder, name)
const tool = (name: string, ...args: readonly string[]) =>
  spawnSync(name, args, { encoding: 'utf8', maxBuffer: 2 ** 27, env: { ...process.env, LC_ALL: 'C' } })
const absent = ['as', 'objcopy', 'objdump'].find(name => tool(name, '--version').status !== 0)
const skip = absent === undefined ? false : `no ${absent} here`

type Case = { readonly insn: Insn; readonly text: string; readonly bytes: Uint8Array }

/** Instructions without a target, whose place would count, each as its own text assembles. */
const cases = (mode: Mode, seed: number): Case[] => {
  const stream = new Stream(seed)
  const slot = new Uint8Array(SLOT)
  const found: Case[] = []
  while (found.length < COUNT) {
    fillSlot(slot, 0, stream, mode)
    const one = decode(slot.subarray(0, SLOT - 1), 0, mode)
    if (typeof one === 'string' || one.row.decodeOnly) continue
    if (one.operands.some(o => o.kind === 'rel' || (o.kind === 'mem' && o.ripRelative))) continue
    const text = print(one, 0n)
    // A NOP by another name, outside 64-bit mode.
    if (mode !== 64 && /^xchg (\w+), \1$/.test(text)) continue
    const { bytes } = assemble(text, { mode, at: 0n })
    const insn = decode(bytes, 0, mode)
    if (typeof insn === 'string') throw new Error(`${text} assembles to what is ${insn}`)
    found.push({ insn, text, bytes })
  }
  return found
}

/** What it makes of a text may be the same in another encoding. */
const SAME: readonly (readonly [ours: RegExp, theirs: RegExp, why: string])[] = [
  [/^mov r\w+, [c-gs]s$/, /^mov e\w+, [c-gs]s$|^mov r\d+d, [c-gs]s$/, 'a write of 32 bits clears the upper half'],
  [/^xchg /, /^xchg /, 'the order says nothing'],
  [/^sldt r/, /^sldt [er]/, 'the same, of 16 bits'],
  [/^int 0x3$/, /^int3$/, 'the shorter of two'],
]

/** What GNU as does not read as we write it, and what it says. */
const NOT_READ: readonly (readonly [text: RegExp, why: string])[] = [
  [/^(fu?comp?|fxch) st\(0\), /, 'ST(0) is not written where it is the only choice'],
  [/^(call|jmp) far /, 'a far pointer in memory is told by its size alone'],
  [/^[oa](16|32|64) /, 'sizes that no operand tells are data16, addr32 and the like'],
  [/^(call|jmp) (word|dword) \w+:/, 'nor a far pointer'],
  [/^push (word|dword|qword) /, 'an immediate has no size before it'],
  [/^(lfs|lgs|lss) \w+, tbyte/, 'a far pointer of 10 bytes is no tbyte'],
  [
    /^(salc|seamcall|bswap [a-d][xlh]|bswap [sdb][ip]|bswap sp|movsxd \w+, word)/,
    'none to GNU as: undocumented, or not in this mode',
  ],
  [/^(monitor|v?maskmov\w+) /, 'memory at a register that the bytes do not name is not written'],
  [/^(lar|lsl) r/, 'wants the source as wide as the destination'],
  [/^(sysexit|sysret)/, 'wants the size as a suffix'],
]

for (const mode of [64, 32, 16] as const) {
  t.test(`GNU as reads what we print, ${mode}-bit`, { skip }, async t => {
    const all = cases(mode, 5 + mode)
    const lines = all.map(({ text }) => text.replace(/\s*#.*/, ''))
    const build = () => {
      const body = lines.map(line => `.balign ${STEP}, 0xf4; ${line}`).join('\n')
      writeFileSync(at('code.s'), `.intel_syntax noprefix\n.code${mode}\n${body}\n`)
      return tool('as', mode === 64 ? '--64' : '--32', '-o', at('code.o'), at('code.s'))
    }
    const refused = new Set<number>()
    for (const [, number, why] of build().stderr.matchAll(/code\.s:(\d+): Error: (.*)/g)) {
      const n = Number(number) - 3
      refused.add(n)
      if (!NOT_READ.some(([known]) => known.test(lines[n]!))) t.fail(`${lines[n]}: ${why}`)
      lines[n] = 'hlt'
    }
    t.equal(build().status, 0)
    t.equal(tool('objcopy', '-O', 'binary', '-j', '.text', at('code.o'), at('code.bin')).status, 0)
    const built = readFileSync(at('code.bin'))
    let same = 0
    for (const [n, { text }] of all.entries()) {
      if (refused.has(n)) continue
      const again = decode(built.subarray(n * STEP, n * STEP + 15), 0, mode)
      const read = typeof again === 'string' ? again : print(again, 0n)
      if (read === text || SAME.some(([ours, theirs]) => ours.test(text) && theirs.test(read))) same++
      else t.fail(`${text} becomes ${read}`)
    }
    t.ok(same > COUNT * 0.97, `${same} of ${COUNT}`)
  })
}

/** objdump's line and ours in one form. What is rewritten is taste; what is left must be equal. */
const plain = (line: string): string =>
  line
    .toLowerCase()
    .replace(/\s*[#<].*$/, '')
    .replace(/\b(byte|word|dword|qword|fword|tbyte|xmmword|ymmword|oword) ptr /g, '')
    .replace(/\b(far|word|dword|qword) (?=[\w[])/g, '')
    .replace(/\b[ds]s:(?=\[|0x)/g, '')
    .replace(/\[(0x[0-9a-f]+)\]/g, '$1')
    .replace(/^(rep|repe|repne|repz|repnz|lock) /, '')
    .replace(/^([oa]|data|addr)(16|32|64) /, '')
    .replace(/^movabs /, 'mov ')
    .replace(/^(movs|cmps|stos|lods|scas|ins|outs)[bwdq]?( (?!.*mm).*)?$/, '$1')
    .replace(
      /^(pushf|popf|pusha|popa|iret|retf?|sysexit|sysret|enter|leave|[sl][gi]dt|fldenv|fn?stenv|fn?save|frstor)[wdq](?= |$)/,
      '$1',
    )
    .replace(/^f?wait$/, 'wait')
    .replace(/^xlatb?.*/, 'xlat')
    .replace(/^(fu?comp?|fxch) st(\(0\))?,\s*/, '$1 ')
    .replace(/\bst\(0\)/g, 'st')
    .replace(/\s*,\s*/g, ',')
    .replace(/,0x1$/, ',1')
    .replace(/\*1\b/g, '')
    .replace(/\s+/g, ' ')
    .trim()

/** What objdump reads otherwise. */
const READ_OTHERWISE: readonly (readonly [ours: RegExp, theirs: RegExp, why: string])[] = [
  [/^salc$/, /^\(bad\)$/, 'undocumented'],
  [/^nop$/, /^(xchg ax,ax|xchg eax,eax|rex\.w nop)$/, 'the same'],
  [/^seamcall$/, /^\(bad\)$/, 'outside 64-bit mode its #UD is of the instruction, not of its bytes'],
  [
    /^(lar|lsl|movsxd) (\w+),\w+$/,
    /^(lar|lsl|movsxd) (\w+),[er]\w+$/,
    'of the source fewer bits are used than its name may have',
  ],
  [/^v?cmp[ps][sd] |^vpclmulqdq /, /^v?cmp\w+[ps][sd] |^vpclmul\w+dq /, 'an immediate told by the mnemonic'],
  [
    /^(monitor|v?maskmov\w+)\b.*/,
    /^(\w\w )?(monitor|v?maskmov\w+)\b/,
    'memory at a register that the bytes do not name',
  ],
  [/^(call|jmp) /, /^notrack (call|jmp) /, 'a prefix that says nothing without indirect branch tracking'],
  [
    /^mov [d-g]s,\w+$|^mov [ces]s,\w+$/,
    /^mov [c-gs]s,e\w+$/,
    'of the register 16 bits are used, and its name may be of 32',
  ],
  [/^(push|pop) /, /^(push|pop)[wd] /, 'our size stands before it'],
  [
    /^(call|jmp) \S+$/,
    /^rex\.\w+ (call|jmp) \S+$/,
    'a far pointer of 10 bytes, whose REX.W objdump takes for idle, as on AMD processors',
  ],
  [/\[(r13d?|[re]?bp)\]/, /\[(r13d?|[re]?bp)\+0x0\]/, 'a displacement of 0 that the base has to have'],
]

const MACHINES = { 64: 'i386:x86-64', 32: 'i386', 16: 'i8086' } as const
for (const mode of [64, 32, 16] as const) {
  t.test(`objdump reads what we encode, ${mode}-bit`, { skip }, async t => {
    const all = cases(mode, 9 + mode)
    const image = new Uint8Array(all.length * STEP).fill(0x90)
    for (const [n, { bytes }] of all.entries()) image.set(bytes, n * STEP)
    writeFileSync(at('image.bin'), image)
    const args = [
      '-D',
      '-z',
      '-b',
      'binary',
      '-m',
      MACHINES[mode],
      '-M',
      'intel',
      '--no-show-raw-insn',
      at('image.bin'),
    ]
    const lines = new Map<number, string>()
    for (const [, where, line] of tool('objdump', ...args).stdout.matchAll(/^\s*([0-9a-f]+):\t(.*)$/gm))
      lines.set(Number.parseInt(where!, 16), line!)
    let same = 0
    for (const [n, { insn, bytes }] of all.entries()) {
      const [ours, theirs] = [plain(print(insn, BigInt(n * STEP))), plain(lines.get(n * STEP) ?? '')]
      const isNext = lines.has(n * STEP + bytes.length)
      if (ours === theirs && isNext) same++
      else if (!READ_OTHERWISE.some(([a, b]) => a.test(ours) && b.test(theirs)))
        t.fail(`${Buffer.from(bytes).toString('hex')}: ${ours} | ${theirs}${isNext ? '' : ', another length'}`)
    }
    t.ok(same > COUNT * 0.97, `${same} of ${COUNT}`)
  })
}
