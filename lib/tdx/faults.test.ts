import t from 'tap'
import * as abi from '#abi'
import { Faults } from './faults.ts'
import { invariants } from './invariants.ts'
import { guest, TDVMCALL } from './testdata/guest.ts'
import { Host } from './testdata/host.ts'

/** Statuses of so many calls of a leaf, by name. */
const statuses = (faults: Faults, leaf: number, calls = 200): string[] =>
  Array.from({ length: calls }, () => faults.seamcall(leaf)).map(status =>
    status === undefined ? '-' : abi.statusName(status),
  )

t.test('what is injected follows from the seed', async t => {
  const make = (seed: bigint) => statuses(new Faults({ seed, busy: 3 }), abi.TDH_MEM_PAGE_AUG).join()
  t.equal(make(1n), make(1n))
  t.not(make(1n), make(2n))
  t.same(
    new Set(make(1n).split(',')),
    new Set(['-', 'TDX_OPERAND_BUSY | RCX', 'TDX_OPERAND_BUSY | RDX', 'TDX_OPERAND_BUSY | SEPT_TREE']),
  )
})

t.test('each status comes of the leaves that have it', async t => {
  const faults = new Faults({ seed: 1n, noEntropy: 2, keyGeneration: 2 })
  const of = (leaf: number) => [...new Set(statuses(faults, leaf))].sort()
  t.same(of(abi.TDH_MNG_CREATE), ['-', 'TDX_RND_NO_ENTROPY'])
  t.same(of(abi.TDH_MNG_ADDCX), ['-', 'TDX_RND_NO_ENTROPY'])
  t.same(of(abi.TDH_MNG_KEY_CONFIG), ['-', 'TDX_KEY_GENERATION_FAILED'])
  t.same(of(abi.TDH_SYS_KEY_CONFIG), ['-', 'TDX_KEY_GENERATION_FAILED'])
  const busy = new Faults({ seed: 1n, busy: 2 })
  for (const leaf of [abi.TDH_SYS_CONFIG, abi.TDH_SYS_KEY_CONFIG, abi.TDH_SYS_SHUTDOWN, abi.TDH_SYS_UPDATE])
    t.same([...new Set(statuses(busy, leaf))].sort(), ['-', 'TDX_SYS_BUSY'])
  t.same(of(abi.TDH_MEM_PAGE_AUG), ['-'], 'nothing is busy unless asked for')
  t.same(statuses(new Faults({ seed: 1n }), abi.TDH_MNG_CREATE, 50), Array(50).fill('-'), 'nothing at all by default')
})

t.test('a host that tries again builds and runs its TD', async t => {
  const host = new Host().boot()
  host.module.faults = new Faults({ seed: 7n, busy: 3, noEntropy: 3, keyGeneration: 3 })
  let injected = 0
  const { must } = host
  host.must = (leaf, inputs, lp) => {
    while (host.call(leaf, inputs, lp) !== abi.TDX_SUCCESS) {
      const code = abi.statusCode(host.regs.rax)
      const isPassing = [abi.TDX_OPERAND_BUSY, abi.TDX_RND_NO_ENTROPY, abi.TDX_KEY_GENERATION_FAILED].includes(code)
      if (!isPassing) return must.call(host, leaf, inputs, lp)
      injected++
    }
    return host.regs
  }
  const tdr = host.td()
  host.vcpu(tdr)
  host.page(tdr, 0x1000n)
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  t.ok(injected > 5, `${injected} times`)
  t.same(invariants(host.module), [], 'a call that did not happen left nothing')
  host.destroy(tdr)
  t.same(invariants(host.module), [])
})

t.test('a guest meets them too', async t => {
  const g = guest(`mov ecx, 0xffffc000
    mov eax, 6
    tdcall
    mov r12, rax
    mov ecx, 0xfc00
    xor eax, eax
    tdcall
    hlt`)
  g.host.module.faults = new Faults({ seed: 1n, busy: 1 })
  t.equal(abi.statusCode(g.enter()), abi.TDX_OPERAND_BUSY, 'VP.ENTER')
  const busy = new Faults({ seed: 1n, busy: 1 })
  const guestOnly: Pick<Faults, 'seamcall' | 'tdcall'> = {
    seamcall: () => undefined,
    tdcall: leaf => busy.tdcall(leaf),
  }
  g.host.module.faults = guestOnly
  t.equal(g.enter(), TDVMCALL)
  t.equal(abi.statusName(g.host.regs.r12), 'TDX_OPERAND_BUSY | RCX')
})
