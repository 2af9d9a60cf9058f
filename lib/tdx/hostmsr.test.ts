import t from 'tap'
import * as abi from '#abi'
import type { HostMsrs } from './hostmsr.ts'
import { SILICON } from './platform.ts'
import { guest, TDVMCALL } from './testdata/guest.ts'
import { Host } from './testdata/host.ts'
import { said } from './testdata/status.ts'

const [MONITOR_FSM, LIMIT_CPUID_MAXVAL] = [1n << 18n, 1n << 22n]
const MONITOR = 8

/** What a leaf says on a processor whose host has this in its MSRs. */
const on = (host: Host, msrs: HostMsrs, leaf: number, inputs: Parameters<Host['call']>[1]): string => {
  host.lp.msrs = msrs
  const status = said(host, leaf, inputs)
  delete host.lp.msrs
  return status
}

t.test(
  'MNG.INIT: CPUID cut off, before anything else; the TSC adjusted; virtual TSX that cannot be switched off',
  async t => {
    const host = new Host().boot()
    const tdr = host.create()
    const params = { rcx: tdr, rdx: host.params({}) }
    t.equal(on(host, { miscEnable: LIMIT_CPUID_MAXVAL }, abi.TDH_MNG_INIT, { rcx: 1n }), 'TDX_LIMIT_CPUID_MAXVAL_SET')
    t.equal(on(host, { tscAdjust: 1n }, abi.TDH_MNG_INIT, params), 'TDX_INCONSISTENT_MSR | 0x3b')
    const early = { rcx: tdr, rdx: host.params({ tscFrequency: 1 }) }
    t.equal(on(host, { tscAdjust: 1n }, abi.TDH_MNG_INIT, early), 'TDX_OPERAND_INVALID | TSC_FREQUENCY')
    t.equal(on(host, { miscEnable: MONITOR_FSM, tscAdjust: 0n }, abi.TDH_MNG_INIT, params), 'TDX_SUCCESS')

    const { msr } = SILICON
    const platform = { ...SILICON, msr: { ...msr, archCapabilities: msr.archCapabilities & ~(1n << 7n) } }
    const without = new Host({ platform }).boot()
    const rdx = without.params({}, view => view.setUint32(256 + 16 * 5 + 4, (1 << 4) | (1 << 11), true))
    t.equal(said(without, abi.TDH_MNG_INIT, { rcx: without.create(), rdx }), 'TDX_INCORRECT_MSR_VALUE | 0x10a')
  },
)

t.test('VP.INIT: the TSC adjusted', async t => {
  const host = new Host().boot()
  const tdvpr = host.vcpu(host.td(), { initialise: false })
  t.equal(on(host, { tscAdjust: 5n }, abi.TDH_VP_INIT, { rcx: tdvpr }), 'TDX_INCONSISTENT_MSR | 0x3b')
  t.equal(said(host, abi.TDH_VP_INIT, { rcx: tdvpr }), 'TDX_SUCCESS')
})

t.test('VP.ENTER: the TSC must not go back, MONITOR must be there where the TD has it', async t => {
  const { host, tdvpr } = guest('again: mov ecx, 0xfc00\nxor eax, eax\ntdcall\njmp again', {
    edit: view => view.setUint32(256 + 8, MONITOR, true),
  })
  const enter = (msrs: HostMsrs, rcx = tdvpr): string | bigint => {
    const status = on(host, msrs, abi.TDH_VP_ENTER, { rcx })
    return host.regs.rax === TDVMCALL ? TDVMCALL : status
  }
  t.equal(enter({ miscEnable: LIMIT_CPUID_MAXVAL }, 1n), 'TDX_LIMIT_CPUID_MAXVAL_SET', 'before its operands')
  t.equal(enter({ tscAdjust: 1n << 63n }), 'TDX_INCONSISTENT_MSR | 0x3b')
  t.equal(enter({ tsc: 1000n }), TDVMCALL)
  t.equal(enter({ tsc: 1000n }), TDVMCALL)
  t.equal(enter({ tsc: 999n }), 'TDX_TSC_ROLLBACK')
  t.equal(enter({ tsc: 999n, tscAdjust: 1n }), 'TDX_INCONSISTENT_MSR | 0x3b', 'that comes first')
  t.equal(enter({ miscEnable: 0n }), 'TDX_INCORRECT_MSR_VALUE | 0x1a0')
  t.equal(enter({ miscEnable: MONITOR_FSM }), TDVMCALL)
  t.equal(enter({ tsc: (1n << 63n) + 999n }), TDVMCALL, 'the difference has a sign')
  const plain = guest('again: mov ecx, 0xfc00\nxor eax, eax\ntdcall\njmp again')
  t.equal(plain.vcpu.td.cpuid?.flags.monitorMwait, false)
  t.equal(on(plain.host, { miscEnable: 0n }, abi.TDH_VP_ENTER, { rcx: plain.tdvpr }).startsWith('TDX_SUCCESS'), true)
})
