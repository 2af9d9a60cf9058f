import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { CS, DS, ES, FS, GS, readCr, SS } from '#x86'
import { Host, SEPT_LEVELS } from '../testdata/host.ts'

/** The Cpu of a vCPU that has entered its TD and not executed anything yet. */
const fresh = (options: Parameters<Host['td']>[0] = {}, vcpus = 1) => {
  const host = new Host().boot()
  const tdr = host.td(options)
  let tdvpr = 0n
  for (let i = 0; i < vcpus; i++) tdvpr = host.vcpu(tdr, { rcx: 0x1122_3344_5566_7788n })
  host.must(abi.TDH_MR_FINALIZE, { rcx: tdr })
  host.lp.quantum = 0
  t.equal(host.call(abi.TDH_VP_ENTER, { rcx: tdvpr }), 1n, 'the host’s timer is due at once')
  return host.module.inspect(Number(tdvpr) as Hpa)!.cpu!
}

t.test('the state in which a vCPU begins', async t => {
  const cpu = fresh({}, 3)
  t.equal(cpu.rip, 0xffff_fff0n)
  t.equal(cpu.rflags, 2n)
  const [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, ...rest] = cpu.gpr
  t.same([rax, rbp, rsp, rdi, ...rest], Array(11).fill(0n))
  t.equal(rbx, 48n, 'GPAW')
  t.same([rcx, r8], [0x1122_3344_5566_7788n, 0x1122_3344_5566_7788n])
  t.equal(rdx, 0x8_06f8n, 'family, model, stepping')
  t.equal(rsi, 2n, 'the third vCPU')
  t.match(cpu.segments[CS], { selector: 0, base: 0n, limit: 0xffff_ffff, rights: 0xc09b })
  for (const n of [DS, ES, FS, GS, SS])
    t.match(cpu.segments[n], { selector: 0, base: 0n, limit: 0xffff_ffff, rights: 0xc093 })
  t.match(cpu.ldtr, { limit: 0xffff, rights: 0x1_0082 })
  t.match(cpu.tr, { limit: 0xffff, rights: 0x8b })
  t.match(cpu.gdtr, { base: 0n, limit: 0xffff })
  t.match(cpu.idtr, { base: 0n, limit: 0 })
  t.equal(readCr(cpu, 0), 0x21n)
  t.same([cpu.cr2, cpu.cr3, cpu.cr8], [0n, 0n, 0n])
  t.equal(readCr(cpu, 4), 0x40n, 'VMXE is hidden')
  t.equal(cpu.efer, 0x901n)
  t.same([cpu.dr[0], cpu.dr[1], cpu.dr[2], cpu.dr[3], cpu.dr[6], cpu.dr[7]], [0n, 0n, 0n, 0n, 0xffff_0ff0n, 0x400n])
  t.equal(cpu.xcr0, 1n)
  t.equal(cpu.msrs.get(abi.IA32_PAT), 0x0007_0406_0007_0406n)
  t.equal(cpu.msrs.get(abi.IA32_FMASK), 0x2_0200n)
  t.equal(cpu.msrs.get(abi.IA32_LSTAR), 0n)
  t.ok(
    cpu.vec.every(byte => byte === 0),
    'vector registers',
  )
  t.match(cpu.x87, { fcw: 0x37f, fsw: 0 })
  t.equal(cpu.mxcsr, 0x1f80)
  t.equal(cpu.nmiBlocked, false)
  t.equal(cpu.cpl, 0)
  t.equal(cpu.mode, 32)
})

t.test('RBX of a 52-bit TD', async t => {
  t.equal(fresh({ configFlags: 5n, eptp: SEPT_LEVELS.five }).gpr[3], 52n)
})
