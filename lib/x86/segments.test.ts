import t from 'tap'
import { hex } from '#bits'
import { describeCpu, IMPLEMENTED } from './cpuid.ts'
import { CS, DS, ES, FS, SS } from './insn.ts'
import { linearOf } from './linear.ts'
import { lar, lldt, loadSegment, lsl, ltr, setSegmentBase, verify } from './segments.ts'
import {
  CODE,
  DATA,
  descriptor,
  faultOf,
  GDT,
  longMode,
  TASK,
  TestMachine,
  TSS,
  USER_DATA,
} from './testdata/machine.ts'

/** A flat 32-bit machine with a GDT of these descriptors from selector 8 on. */
const legacy = (...descriptors: readonly bigint[]): TestMachine => {
  const m = new TestMachine({ start: 'flat32' })
  m.put64(GDT, 0n, ...descriptors)
  Object.assign(m.cpu.gdtr, { base: GDT, limit: 8 * descriptors.length + 7 })
  return m
}

t.test('limits: bytes, pages, expand-down; SS has its own vector', async t => {
  const m = legacy(
    descriptor(0x93, 4, { limit: 0xff, base: 0x1000 }),
    descriptor(0x97, 4, { limit: 0xfff }),
    descriptor(0x97, 0, { limit: 0xfff }),
    descriptor(0x91, 0xc),
    descriptor(0x99, 0xc),
  )
  const { cpu } = m
  const at = (seg: 0 | 1 | 2 | 3, offset: bigint, size: number, how: 'read' | 'write' = 'read') => {
    let linear = 0n
    const fault = faultOf(() => {
      linear = linearOf(cpu, seg, offset, size, how)
    })
    return fault === 'none' ? hex(linear) : fault
  }
  loadSegment(cpu, DS, 8)
  t.equal(at(DS, 0xfcn, 4), '0x10fc')
  t.equal(at(DS, 0xfdn, 4), '#GP(0x0)')
  loadSegment(cpu, SS, 8)
  t.equal(at(SS, 0xfdn, 4), '#SS(0x0)')
  loadSegment(cpu, ES, 0x10)
  t.equal(at(ES, 0xfffn, 1), '#GP(0x0)', 'expand-down begins above the limit')
  t.equal(at(ES, 0x1000n, 4), '0x1000')
  t.equal(at(ES, 0xffff_fffcn, 4), '0xffff_fffc')
  loadSegment(cpu, ES, 0x18)
  t.equal(at(ES, 0xfffcn, 4), '0xfffc')
  t.equal(at(ES, 0xfffdn, 4), '#GP(0x0)', 'a 16-bit expand-down segment ends at 64 KiB')
  loadSegment(cpu, ES, 0x20)
  t.equal(at(ES, 0n, 1), '0x0')
  t.equal(at(ES, 0n, 1, 'write'), '#GP(0x0)', 'read-only')
  loadSegment(cpu, ES, 0)
  t.equal(at(ES, 0n, 1), '#GP(0x0)', 'null')
  t.equal(at(CS, 0n, 1, 'write'), '#GP(0x0)', 'code')
  t.equal(
    faultOf(() => loadSegment(cpu, ES, 0x28)),
    '#GP(0x28)',
    'execute-only',
  )
})

t.test('loads: type, privilege, presence', async t => {
  const m = legacy(
    descriptor(0x93, 0xc),
    descriptor(0x13, 0xc),
    descriptor(0xb2, 0xc),
    descriptor(0x9b, 0xc),
    descriptor(0xf2, 0xc),
  )
  const { cpu } = m
  const load = (seg: 0 | 1 | 2 | 3, selector: number) => faultOf(() => loadSegment(cpu, seg, selector))
  t.equal(load(DS, 0x40), '#GP(0x40)')
  t.equal(load(DS, 0x10), '#NP(0x10)')
  t.equal(load(SS, 0x10), '#SS(0x10)')
  t.equal(load(SS, 0), '#GP(0x0)')
  t.equal(load(SS, 0x18), '#GP(0x18)', 'DPL 1')
  t.equal(load(SS, 9), '#GP(0x8)', 'RPL 1')
  t.equal(load(SS, 0x20), '#GP(0x20)', 'code')
  t.equal(load(DS, 0x1b), '#GP(0x18)', 'RPL above DPL')
  t.equal(load(DS, 0x19), 'none')
  t.equal((m.get64(GDT + 0x18n) >> 40n) & 0xffn, 0xb3n, 'accessed')
  t.equal(load(CS, 8), '#UD')
  cpu.cpl = 3
  t.equal(load(DS, 8), '#GP(0x8)')
  t.equal(load(DS, 0x2b), 'none')
})

t.test('64-bit: bases and limits do not count, canonical addresses do', async t => {
  const { cpu } = longMode()
  loadSegment(cpu, DS, 0)
  t.equal(linearOf(cpu, DS, 0x1234n, 8, 'write'), 0x1234n)
  cpu.segments[FS]!.base = 0xffff_8000_0000_0000n
  t.equal(linearOf(cpu, FS, 0x1000n, 8, 'read'), 0xffff_8000_0000_1000n)
  t.equal(
    faultOf(() => linearOf(cpu, DS, 0x8000_0000_0000n, 1, 'read')),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => linearOf(cpu, SS, 0x8000_0000_0000n, 1, 'read')),
    '#SS(0x0)',
  )
  t.equal(
    faultOf(() => linearOf(cpu, DS, 0x7fff_ffff_fffcn, 8, 'read')),
    '#GP(0x0)',
    'its last bytes',
  )
  t.equal(linearOf(cpu, DS, 0x7fff_ffff_fff8n, 8, 'read'), 0x7fff_ffff_fff8n)
  t.equal(linearOf(cpu, DS, 0xffff_ffff_ffff_fffcn, 8, 'read'), 0xffff_ffff_ffff_fffcn, 'wraps')
  t.equal(
    faultOf(() => setSegmentBase(cpu, FS, 1n << 57n)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => loadSegment(cpu, SS, 0)),
    'none',
    'null at CPL 0',
  )
  t.equal(
    faultOf(() => loadSegment(cpu, SS, 3)),
    '#GP(0x0)',
  )
})

t.test('alignment is checked at CPL 3 with CR0.AM and RFLAGS.AC', async t => {
  const { cpu } = longMode()
  cpu.rflags |= 1n << 18n
  cpu.cr0 |= 1n << 18n
  t.equal(
    faultOf(() => linearOf(cpu, DS, 1n, 4, 'read')),
    'none',
  )
  cpu.cpl = 3
  t.equal(
    faultOf(() => linearOf(cpu, DS, 1n, 4, 'read')),
    '#AC(0x0)',
  )
  t.equal(
    faultOf(() => linearOf(cpu, DS, 4n, 4, 'read')),
    'none',
  )
  t.equal(
    faultOf(() => linearOf(cpu, DS, 1n, 1, 'read')),
    'none',
  )
  cpu.rflags &= ~(1n << 18n)
  t.equal(
    faultOf(() => linearOf(cpu, DS, 1n, 4, 'read')),
    'none',
  )
})

t.test('LTR and LLDT', async t => {
  const m = longMode()
  const { cpu } = m
  t.equal(cpu.tr.base, TASK)
  t.equal((m.get64(GDT + BigInt(TSS)) >> 40n) & 0xffn, 0x8bn, 'busy')
  t.equal(
    faultOf(() => ltr(cpu, TSS)),
    '#GP(0x40)',
    'busy already',
  )
  t.equal(
    faultOf(() => ltr(cpu, 0)),
    '#GP(0x0)',
  )
  t.equal(
    faultOf(() => ltr(cpu, TSS | 4)),
    '#GP(0x44)',
  )
  t.equal(
    faultOf(() => ltr(cpu, DATA)),
    '#GP(0x10)',
  )
  t.equal(
    faultOf(() => lldt(cpu, DATA)),
    '#GP(0x10)',
  )
  t.equal(
    faultOf(() => lldt(cpu, 0)),
    'none',
  )
})

t.test('LAR, LSL, VERR, VERW see what the CPL may', async t => {
  const { cpu } = longMode()
  t.equal(hex(lar(cpu, DATA)!), hex(0xcf_9300n))
  t.equal(lsl(cpu, DATA), 0xffff_ffffn)
  t.equal(lsl(cpu, TSS), 0x67n)
  t.equal(lar(cpu, 0), undefined)
  t.equal(lsl(cpu, 0x100), undefined)
  t.equal(verify(cpu, DATA, 'read'), true)
  t.equal(verify(cpu, 8, 'write'), false)
  cpu.cpl = 3
  t.equal(lar(cpu, DATA), undefined)
  t.equal(verify(cpu, DATA, 'write'), false)
  t.equal(verify(cpu, USER_DATA, 'write'), true)
})

t.test('the lanes of VMASKMOV are not checked for alignment', async t => {
  const faults = (code: string): string[] => {
    const m = longMode({ cpuid: describeCpu(IMPLEMENTED) })
    const { cpu } = m
    const seen: string[] = []
    cpu.onFault = fault => {
      seen.push(fault.message)
      return 'stop'
    }
    cpu.cr0 |= 1n << 18n
    cpu.cr4 |= 0x4_0600n
    cpu.xcr0 = 7n
    cpu.vec.fill(0xff, 0, 32)
    m.asm(CODE, `${code}\nhlt`)
    for (const segment of cpu.segments) segment.rights |= 0x60
    cpu.cpl = 3
    cpu.rflags = 1n << 18n
    cpu.gpr[0] = 0x2_1001n
    cpu.run(2)
    return seen
  }
  t.same(faults('mov ebx, [rax]'), ['#AC(0x0)'])
  t.same(faults('vmaskmovps xmm1, xmm0, [rax]'), ['#GP(0x0)'], 'that of HLT')
  t.same(faults('vmovaps xmm1, [rax]'), ['#GP(0x0)'])
})
