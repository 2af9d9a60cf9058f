/** Errnos that only a busy or broken machine makes: the TDX module refuses, a signal comes, memory is not there. */
import t from 'tap'
import * as abi from '#abi'
import { hva } from '#bits'
import { outcome, Sample } from './sample.ts'

const GPA = 0x10_0000n

/** A VM before INIT_VM, of a host that has booted the module. */
const begin = (hacks: ConstructorParameters<typeof Sample>[0] = {}) => {
  const sample = new Sample(hacks)
  const vm = sample.createVm()
  sample.splitIrqchip(vm)
  return { sample, vm, module: sample.host.tdx().seam(0).module }
}

/** What `run` comes to with every call of one leaf refused so, as long as it lasts. */
const refused = (
  module: ReturnType<typeof begin>['module'],
  leaf: number,
  status: bigint,
  run: () => number,
): number | string => {
  module.faults = { seamcall: number => (number === leaf ? status : undefined), tdcall: () => undefined }
  try {
    return outcome(run)
  } finally {
    module.faults = undefined
  }
}

t.test(
  'INIT_VM: no entropy is EAGAIN and may be tried again; what else the module says is EIO, and the VM is dead',
  async t => {
    const { sample, vm, module } = begin()
    const wanted = sample.wanted(vm)
    const init = () => sample.initVm(vm, {}, wanted)
    for (const leaf of [abi.TDH_MNG_CREATE, abi.TDH_MNG_ADDCX]) {
      t.equal(refused(module, leaf, abi.TDX_RND_NO_ENTROPY, init), 'EAGAIN')
      t.equal(sample.hwError, abi.TDX_RND_NO_ENTROPY)
    }
    t.equal(outcome(init), 0)
    const second = sample.createVm()
    const other = () => sample.initVm(second, {}, wanted)
    t.equal(refused(module, abi.TDH_MNG_KEY_CONFIG, abi.TDX_KEY_GENERATION_FAILED, other), 'EIO')
    t.equal(sample.hwError, abi.TDX_KEY_GENERATION_FAILED)
    t.equal(outcome(other), 'EIO', 'dead')
    sample.host.close()
    t.equal(sample.host.memory.used, 0)
  },
)

t.test('INIT_VM: a VM that waits for a TD to move in has its vCPUs, and makes none of its own', async t => {
  const { sample, vm } = begin({ hacks: ['moving a TD to another VM'] })
  const wanted = sample.wanted(vm)
  sample.host.ioctl(vm, abi.KVM_CREATE_VCPU, 0)
  t.equal(
    outcome(() => sample.initVm(vm, {}, wanted)),
    'EBUSY',
  )
  sample.host.close()
  t.equal(sample.host.memory.used, 0)
})

t.test('INIT_VCPU: the module refuses, the VM is dead', async t => {
  for (const leaf of [abi.TDH_VP_CREATE, abi.TDH_VP_ADDCX, abi.TDH_VP_INIT]) {
    const { sample, vm, module } = begin()
    sample.initVm(vm)
    const vcpu = sample.host.ioctl(vm, abi.KVM_CREATE_VCPU, 0)
    sample.giveCpuid(vcpu)
    const init = () => sample.tdx(vcpu, abi.KVM_TDX_INIT_VCPU)
    t.equal(refused(module, leaf, abi.TDX_OPERAND_BUSY, init), 'EIO')
    t.equal(
      outcome(() => sample.host.ioctl(vm, abi.KVM_CHECK_EXTENSION, 0)),
      'EIO',
    )
    sample.host.close()
    t.equal(sample.host.memory.used, 0)
  }
})

t.test('INIT_MEM_REGION: a signal, after which the same call goes on; a source that is not there', async t => {
  const { sample, vm } = begin()
  const { host } = sample
  sample.initVm(vm)
  const { hva: source } = sample.addSlot(vm, 0, GPA, 8)
  const vcpu = sample.addVcpu(vm, 0)
  sample.setPrivate(vm, GPA, 8)
  host.write(source, new Uint8Array(8 * 4096).fill(7))
  let left = 3
  host.signalPending = () => left-- <= 0
  t.equal(
    outcome(() => sample.initMemory(vcpu, source, GPA, 8)),
    'EINTR',
  )
  const region = host.get(abi.kvm_tdx_init_mem_region, sample.data)
  t.match(region, { source_addr: source + 3n * 4096n, gpa: GPA + 3n * 4096n, nr_pages: 5n }, 'three pages are done')
  host.signalPending = undefined
  t.equal(
    outcome(() => sample.initMemory(vcpu, hva(region.source_addr), region.gpa, 4)),
    0,
  )
  host.munmap(hva(source + 7n * 4096n), 4096)
  t.equal(
    outcome(() => sample.initMemory(vcpu, hva(source + 7n * 4096n), GPA + 7n * 4096n, 1)),
    'EFAULT',
  )
  host.close()
  t.equal(host.memory.used, 0)
})

t.test('FINALIZE_VM: busy is EBUSY and may be tried again; GET_CPUID ends with it', async t => {
  const { sample, vm, module } = begin()
  sample.initVm(vm)
  const vcpu = sample.addVcpu(vm, 0)
  const finalize = () => sample.tdx(vm, abi.KVM_TDX_FINALIZE_VM)
  t.equal(refused(module, abi.TDH_MR_FINALIZE, abi.TDX_OPERAND_BUSY, finalize), 'EBUSY')
  t.equal(sample.hwError, abi.TDX_OPERAND_BUSY)
  sample.host.set(abi.kvm_cpuid2, sample.data, { nent: 256, padding: 0 })
  const getCpuid = () => sample.tdx(vcpu, abi.KVM_TDX_GET_CPUID, sample.data)
  t.equal(outcome(getCpuid), 0)
  t.equal(outcome(finalize), 0)
  t.equal(outcome(getCpuid), 'EINVAL')
  sample.host.close()
  t.equal(sample.host.memory.used, 0)
})

t.test('KVM_SIGNAL_MSI: flags, and a VM without an irqchip; KVM_SET_CPUID2: more entries than there are', async t => {
  const sample = new Sample()
  const vm = sample.createVm()
  const msi = (flags = 0) => outcome(() => sample.call(vm, abi.KVM_SIGNAL_MSI, abi.kvm_msi, { data: 33, flags }))
  t.equal(msi(), 'EINVAL', 'no irqchip')
  sample.splitIrqchip(vm)
  t.equal(msi(), 0, 'nobody is there to hear it')
  t.equal(msi(1), 'EINVAL', 'KVM_MSI_VALID_DEVID is not of x86')
  sample.initVm(vm)
  const vcpu = sample.addVcpu(vm, 0)
  t.equal(msi(), 0, 'its local APIC is disabled by software, and takes none')
  const entry = new Uint8Array([
    ...abi.kvm_msrs.encode({ nmsrs: 1 }),
    ...abi.kvm_msr_entry.encode({ index: 0x80f, data: 0x1ffn }),
  ])
  sample.host.write(sample.scratch, entry)
  t.equal(sample.host.ioctl(vcpu, abi.KVM_SET_MSRS, sample.scratch), 1)
  t.equal(msi(), 1)
  t.equal(
    outcome(() => sample.call(vcpu, abi.KVM_SET_CPUID2, abi.kvm_cpuid2, { nent: 257 })),
    'E2BIG',
  )
  sample.host.close()
  t.equal(sample.host.memory.used, 0)
})
