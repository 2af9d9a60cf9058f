/** MSRs and CPUID that the guest asks of the host: what the host set, what it allows, and what it denies. */
import {
  allowMsrs,
  IA32_MISC_ENABLE,
  readCpuid,
  readMsr,
  TDVMCALL_STATUS_INVALID_OPERAND,
  test,
  writeMsr,
} from '#harness'

const IA32_POWER_CTL = 0x1fc

test('the_host_says_which_msrs_there_are', async t => {
  const td = t.td({
    guest(g) {
      const read = g.vmcall.rdmsr({ index: BigInt(IA32_MISC_ENABLE) })
      g.assert.eq(read.status, 0n)
      g.assert.eq(read.value, 5n)
      g.assert.eq(g.vmcall.wrmsr({ index: BigInt(IA32_POWER_CTL), value: 6n }).status, 0n)
      const denied = g.vmcall.rdmsr({ index: BigInt(IA32_POWER_CTL) })
      g.assert.eq(denied.status, TDVMCALL_STATUS_INVALID_OPERAND)
      g.done()
    },
  })
  allowMsrs(td, { [IA32_MISC_ENABLE]: ['read'], [IA32_POWER_CTL]: ['write'] })
  writeMsr(td.vcpu, IA32_MISC_ENABLE, 5n)

  await td.vcpu.until('UCALL_DONE')
  t.assert.eq(readMsr(td.vcpu, IA32_POWER_CTL), 6n)
})

test('cpuid_by_tdvmcall_is_what_kvm_has', async t => {
  const td = t.td({
    guest(g) {
      const { eax, ecx } = g.vmcall.cpuid({ leaf: 1n, subleaf: 0n })
      g.sync(eax, ecx)
      g.done()
    },
  })

  const { values } = await td.vcpu.until('UCALL_SYNC')
  const { eax, ecx } = readCpuid(td.vcpu, 1)
  t.assert.eq(values[0], eax)
  t.assert.eq(values[1], ecx)
  await td.vcpu.until('UCALL_DONE')
})
