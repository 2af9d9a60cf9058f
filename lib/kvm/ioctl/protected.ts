/** ioctls that a TD's vCPU refuses: its registers, its FPU and its local APIC are the TDX module's. Linux arch/x86/kvm/x86.c. */
import { Errno } from '../errno.ts'

/** EINVAL, always. */
export const refuseProtected = (name: string, what: string) => (): never => {
  throw new Errno('EINVAL', `${name}: ${what} of a TD's vCPU are protected; the host can neither read nor write them`)
}
