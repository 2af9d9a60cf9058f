/** kvm: /dev/kvm as the host sees it: system, VM and vCPU ioctls; a TD exit becomes a kvm_run. */
export { Errno, type ErrnoName } from './errno.ts'
export { type Hack, Host, type HostOptions } from './host.ts'
export type { Inspection } from './inspect.ts'
