/** abi: the numbers others decided: x86, TDX, GHCI, KVM uapi, ucall. Data only, each with its source. */
export * from './ghci.ts'
export * from './kvm.ts'
export * from './x86.ts'
