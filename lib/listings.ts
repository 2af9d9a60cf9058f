/**
 * `make listings`: docs/listings.md, what the builder makes of three functions, next to what gcc -O1 makes of them. Without
 * gcc its half stays as it was.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildGuest, disassemble, type GuestBuilder, type GuestFunction, u8, u32, u64 } from '#guest'

const PAGE = join(dirname(fileURLToPath(import.meta.url)), '../docs/listings.md')

type Example = {
  readonly name: string
  readonly what: string
  /** Appends a function of this name. */
  readonly guest: (g: GuestBuilder) => void
  readonly c: string
}

export const EXAMPLES: readonly Example[] = [
  {
    name: 'sum',
    what: 'The sum of an array',
    guest(g) {
      const sum = g.function('sum', [u64, u64], u64, (at, n) => {
        const total = g.var(0n)
        g.repeat(n, i => total.set(total.add(g.load(at.add(i.shl(3n)), u64))))
        g.return(total)
      })
      g.sync(sum(0x50_0000n, 8n))
    },
    c: `unsigned long sum(const unsigned long *at, unsigned long n)
{
	unsigned long total = 0;

	for (unsigned long i = 0; i < n; i++)
		total += at[i];
	return total;
}`,
  },
  {
    name: 'gcd',
    what: "Euclid's algorithm, by recursion",
    guest(g) {
      const gcd: GuestFunction<['u64', 'u64'], 'u64'> = g.function('gcd', [u64, u64], u64, (a, b) => {
        g.when(b.eq(0n), () => g.return(a))
        g.return(gcd(b, a.mod(b)))
      })
      g.sync(gcd(48n, 36n))
    },
    c: `unsigned long gcd(unsigned long a, unsigned long b)
{
	if (b == 0)
		return a;
	return gcd(b, a % b);
}`,
  },
  {
    name: 'crc',
    what: 'CRC-32 of a buffer, a bit at a time',
    guest(g) {
      const crc = g.function('crc', [u64, u64], u32, (at, n) => {
        const sum = g.var(u32, 0xffff_ffff)
        g.repeat(n, i => {
          sum.set(sum.xor(g.load(at.add(i), u8).as(u32)))
          g.repeat(8n, () => {
            const low = sum.and(1)
            sum.set(sum.shr(1))
            g.when(low.ne(0), () => sum.set(sum.xor(0xedb8_8320)))
          })
        })
        g.return(sum.not())
      })
      g.sync(crc(0x50_0000n, 8n))
    },
    c: `unsigned crc(const unsigned char *at, unsigned long n)
{
	unsigned sum = 0xffffffff;

	for (unsigned long i = 0; i < n; i++) {
		sum ^= at[i];
		for (int bit = 0; bit < 8; bit++)
			sum = sum & 1 ? sum >> 1 ^ 0xedb88320 : sum >> 1;
	}
	return ~sum;
}`,
  },
]

/** The builder's instructions for an example. */
export const ours = ({ name, guest }: Example): string[] => {
  const image = buildGuest(guest, { vcpus: 1, sharedBit: 1n << 47n })
  const code = image.segments.find(s => s.name === 'code')!
  const { gva, size } = image.symbols.find(s => s.name === name)!
  const at = Number(gva - code.gva)
  return disassemble(code.bytes.subarray(at, at + size), 0n, 0n, 1000).map(
    l => `${l.address.toString(16).padStart(4)}  ${l.text}`,
  )
}

/** gcc's, as objdump prints them; undefined where one of the two is missing. */
const gcc = ({ c }: Example): string[] | undefined => {
  const folder = mkdtempSync(join(tmpdir(), 'seamless-listing-'))
  try {
    const object = join(folder, 'x.o')
    const flags = ['-O1', '-fcf-protection=none', '-fno-asynchronous-unwind-tables', '-x', 'c', '-c', '-', '-o', object]
    if (spawnSync('gcc', flags, { input: c }).status !== 0) return undefined
    const dump = spawnSync('objdump', ['-d', '-M', 'intel', '--no-show-raw-insn', object], { encoding: 'utf8' })
    if (dump.status !== 0) return undefined
    return dump.stdout
      .split('\n')
      .flatMap(line => /^\s*([0-9a-f]+):\s+(.*?)\s*$/.exec(line) ?? [])
      .reduce<string[]>((all, part, i) => {
        if (i % 3 === 1) all.push(part.padStart(4))
        if (i % 3 === 2) all[all.length - 1] += `  ${part.replace(/\s+/g, ' ')}`
        return all
      }, [])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const block = (title: string, lines: readonly string[]): string =>
  `${title}, ${lines.length} instructions:\n\n\`\`\`\n${lines.join('\n')}\n\`\`\`\n`

/** The page. `known` is the one there is, for what cannot be made here. */
export const listings = (known: string): string => {
  const parts = EXAMPLES.map(example => {
    const kept = new RegExp(
      `## ${example.what}[\\s\\S]*?(gcc -O1, \\d+ instructions:\\n\\n\`\`\`\\n[\\s\\S]*?\\n\`\`\`\\n)`,
    )
    const theirs = gcc(example)
    const other = theirs === undefined ? (kept.exec(known)?.[1] ?? '') : block('gcc -O1', theirs)
    return `## ${example.what}\n\n${block('Builder', ours(example))}\n${other}`
  })
  return `# What the builder makes of it

Three functions of the builder's language and the same in C, by the machine's gcc with -O1. Made by \`make listings\`;
the sources are in \`lib/listings.ts\`. Addresses count from the function's first byte.

${parts.join('\n')}`
}

/** What there is now; empty where there is none. */
export const written = (): string => {
  try {
    return readFileSync(PAGE, 'utf8')
  } catch {
    return ''
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(PAGE, listings(written()))
