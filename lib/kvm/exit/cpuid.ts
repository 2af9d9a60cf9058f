/** TDG.VP.VMCALL<Instruction.CPUID>: answered from the list that KVM_SET_CPUID2 set; never fails. */
import { emulateCpuid } from '../cpuid.ts'
import type { Vcpu } from '../vcpu.ts'

/** R12 EAX, R13 ECX in; R12 to R15 EAX, EBX, ECX, EDX out. */
export const handleCpuid = (vcpu: Vcpu): boolean => {
  const { args } = vcpu
  const [eax, ebx, ecx, edx] = emulateCpuid(
    vcpu.cpuid,
    Number(args.r12 & 0xffff_ffffn),
    Number(args.r13 & 0xffff_ffffn),
  )
  args.r12 = BigInt(eax)
  args.r13 = BigInt(ebx)
  args.r14 = BigInt(ecx)
  args.r15 = BigInt(edx)
  return true
}
