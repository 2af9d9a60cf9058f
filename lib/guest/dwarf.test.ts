import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { dwarfLines } from './dwarf.ts'
import { buildGuest, c, compile, elf, lineOf, whyNoC } from './index.ts'

const options = { vcpus: 1, sharedBit: 1n << 47n, lines: true } as const
const TEXT = `#include "seamless.h"
__attribute__((noinline)) static u64 half(u64 n)
{
	if (n % 2)
		GUEST_FAIL("odd: %lu", n);
	return n / 2;
}
void guest_code(void)
{
	u64 n = rdtsc() | 1024;

	while (n > 1)
		n = half(n);
	GUEST_ASSERT_EQ(n, 1);
	GUEST_DONE();
}
`
const hasAddr2line = spawnSync('addr2line', ['--version']).status === 0
const skip = whyNoC() ?? (hasAddr2line ? false : 'no addr2line')

/** The program compiled, the addresses of its code, and the line of each. */
const compiled = (folder: string, version: number) => {
  const source = join(folder, 'half.c')
  writeFileSync(source, TEXT)
  const bytes = compile(c(source, `-gdwarf-${version}`))
  const image = buildGuest(elf(bytes), options)
  const code = image.symbols.filter(({ name }) => /^(half|guest_code|seamless_abort)/.test(name))
  const addresses = code.flatMap(({ gva, size }) => Array.from({ length: size }, (_, n) => gva + BigInt(n)))
  const lines = addresses.map(at => {
    const found = lineOf(image.lines ?? [], at)
    return `${found?.file}:${found?.line}`
  })
  return { bytes, addresses, lines }
}

for (const version of [3, 4])
  t.test(`DWARF ${version}: every address has the line that addr2line says`, { skip }, t => {
    const folder = mkdtempSync(join(tmpdir(), 'seamless-dwarf-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const { bytes, addresses, lines } = compiled(folder, version)
    const program = join(folder, 'half')
    writeFileSync(program, bytes)
    const args = ['-e', program, ...addresses.map(at => `0x${at.toString(16)}`)]
    const said = spawnSync('addr2line', args, { encoding: 'utf8' }).stdout.trim().split('\n')
    t.ok(addresses.length > 100)
    t.same(
      lines,
      said.map(text => text.replace(/ \(discriminator \d+\)$/, '')),
    )
    t.end()
  })

// addr2line of binutils 2.40 takes the first file for each of another in version 5.
t.test('DWARF 5 says what DWARF 4 says', { skip: whyNoC() ?? false }, t => {
  const folder = mkdtempSync(join(tmpdir(), 'seamless-dwarf-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const [old, young] = [compiled(folder, 4), compiled(folder, 5)]
  t.ok(young.lines.some(line => line.includes('seamless.h')))
  t.same([young.addresses, young.lines], [old.addresses, old.lines])
  t.end()
})

t.test('what cannot be read has no lines', t => {
  t.same(dwarfLines({ line: new Uint8Array(0) }), [])
  t.same(dwarfLines({ line: Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4) }), [])
  t.same(dwarfLines({ line: Uint8Array.of(6, 0, 0, 0, 5, 0, 8, 0, 1, 0) }), [])
  t.same(dwarfLines({ line: Uint8Array.of(2, 0, 0, 0, 9, 0) }), [], 'a version that nobody knows')
  t.end()
})
