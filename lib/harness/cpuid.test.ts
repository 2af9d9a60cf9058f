import t from 'tap'
import { kvm_cpuid_entry2 } from '#abi'
import { filterCpuid } from './cpuid.ts'

type Entry = Parameters<typeof kvm_cpuid_entry2.encode>[0]

const list = (...entries: Entry[]): Uint8Array =>
  new Uint8Array(entries.flatMap(entry => [...kvm_cpuid_entry2.encode(entry)]))
const read = (bytes: Uint8Array) =>
  Array.from({ length: bytes.length / kvm_cpuid_entry2.size }, (_, i) =>
    kvm_cpuid_entry2.read(new DataView(bytes.buffer, bytes.byteOffset), i * kvm_cpuid_entry2.size),
  )

t.test('entries are masked by what is configurable, and dropped where nothing is', async t => {
  const supported = list(
    { function: 1, ecx: 0xffff_ffff, edx: 0xf0 },
    { function: 4, index: 1, flags: 1, eax: 7 },
    { function: 7, index: 1, flags: 1, eax: 0xff },
  )
  const configurable = list({ function: 1, ecx: 0x5, edx: 0xff }, { function: 7, index: 1, flags: 1, eax: 0x3 })
  const seen = read(filterCpuid(supported, configurable, 48))
  t.match(seen, [
    { function: 1, eax: 0, ecx: 5, edx: 0xf0 },
    { function: 7, index: 1, flags: 1, eax: 3 },
  ])
  t.equal(seen.length, 2)
})

t.test('a subleaf is found by its index', async t => {
  const seen = filterCpuid(
    list({ function: 7, index: 2, flags: 1, eax: 1 }),
    list({ function: 7, index: 0, flags: 1, eax: 1 }),
    48,
  )
  t.equal(seen.length, 0)
})

t.test('leaf 0x80000008 carries the guest physical address width', async t => {
  const supported = list({ function: 0x8000_0008, eax: 0x0034_3934 })
  const configurable = list({ function: 0x8000_0008, eax: 0x00ff_0000 })
  for (const width of [48, 52])
    t.equal(read(filterCpuid(supported, configurable, width))[0]?.eax, width << 16, `${width} bits`)
})
