import t from 'tap'
import * as abi from '#abi'
import type { Hpa } from '#bits'
import { SAPPHIRE_RAPIDS, SILICON } from '../platform.ts'
import { guest, TDVMCALL } from '../testdata/guest.ts'
import { Host, type TdOptions } from '../testdata/host.ts'

/** CPUID values of a TD, as MNG.INIT makes them. */
const values = (options: TdOptions = {}, edit?: (view: DataView) => void, platform = SAPPHIRE_RAPIDS) => {
  const host = new Host({ platform }).boot()
  const tdr = host.create()
  host.must(abi.TDH_MNG_INIT, { rcx: tdr, rdx: host.params(options, edit) })
  const { cpuid } = host.module.tds.get(Number(tdr) as Hpa)!
  return (leaf: number, subleaf = 0) => cpuid!.lookup(leaf, subleaf)!
}
const bit = (value: number, n: number) => (value >>> n) & 1

t.test('fixed values', async t => {
  const cpuid = values()
  t.same(cpuid(0), [0x23, 0x756e_6547, 0x6c65_746e, 0x4965_6e69])
  t.same(cpuid(0x21), [0, 0x6574_6e49, 0x2020_2020, 0x5844_546c], 'IntelTDX')
  t.equal(bit(cpuid(1)[2], 31), 1, 'a hypervisor is there')
  t.equal(bit(cpuid(1)[2], 5), 0, 'no VMX')
  t.same(cpuid(0x15), [1, 100, 25_000_000, 0])
  t.equal(cpuid(0x8000_0008)[0], (48 << 8) | 52, 'LA57 was not asked for')
  t.same(cpuid(0xa), [0, 0, 0, 0], 'no PERFMON')
})

t.test('what TD_PARAMS may take away and give', async t => {
  const allowed = (view: DataView) => view.setUint32(256 + 8, 0x3104_4d88, true)
  t.equal(bit(values()(1)[2], 24), 0, 'TSC deadline: native and not asked for')
  t.equal(bit(values({}, allowed)(1)[2], 24), 1)
  t.equal(values({}, view => view.setUint32(256 + 4, 0x20_0000, true))(1)[1] & 0xff_0000, 0x20_0000, 'as configured')
})

t.test('XFAM hides what it leaves out', async t => {
  const all = (view: DataView) => {
    view.setUint32(256 + 8, 0x3104_4d88, true)
    view.setUint32(256 + 16 * 5 + 4, 0xdc2b_9b18, true)
    view.setUint32(256 + 16 * 5 + 8, 0x241_7f65, true)
  }
  // A platform that has AVX-512 to hide.
  const plain = values({}, all, SILICON)
  const avx = values({ xfam: 7n }, all, SILICON)
  const avx512 = values({ xfam: 0xe7n }, all, SILICON)
  t.equal(plain(0x8000_0008)[0], (57 << 8) | 52, 'LA57 asked for')
  t.same([bit(plain(1)[2], 28), bit(avx(1)[2], 28)], [0, 1], 'AVX')
  t.same([bit(avx(7)[1], 16), bit(avx512(7)[1], 16)], [0, 1], 'AVX-512F')
  t.same([plain(0xd)[0], avx(0xd)[0], avx512(0xd)[0]], [3, 7, 0xe7])
  t.same([plain(0xd)[2], avx(0xd)[2], avx512(0xd)[2]], [576, 0x340, 0xa80], 'XSAVE area')
  t.same(plain(0xd, 2), [0, 0, 0, 0])
  t.same(avx(0xd, 2), [0x100, 0x240, 0, 0])
})

t.test('executing CPUID', async t => {
  const g = guest(`
    mov rax, cr4
    bts rax, 18
    mov cr4, rax
    mov eax, 1
    cpuid
    mov r12, rbx
    mov r13, rcx
    mov eax, 0x7fffffff
    mov ecx, 0
    cpuid
    mov r14, rax
    mov eax, 0x80000001
    cpuid
    mov r15, rdx
    mov ecx, 0xfc00
    xor eax, eax
    tdcall
    mov ecx, 1
    mov eax, 5
    tdcall
    mov eax, 0
    cpuid
    hlt`)
  t.equal(g.enter(), TDVMCALL)
  const { regs } = g.host
  t.equal(regs.r12 >> 24n, 0n, 'the initial APIC id is the vCPU index')
  t.equal((regs.r13 >> 27n) & 1n, 1n, 'OSXSAVE follows CR4')
  t.equal(regs.r14, 0n, 'a leaf above the highest reads as leaf 0x23')
  t.equal((regs.r15 >> 11n) & 1n, 1n, 'SYSCALL, in 64-bit mode')
  t.equal(g.enter(), TDVMCALL)
  t.equal(g.host.regs.r15, 20n, 'CPUIDVE.SET makes it a #VE')
  t.match(g.vcpu.ve, { exitReason: 10, exitQualification: 0n, instructionLength: 2 })
})
