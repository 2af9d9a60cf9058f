/** abi: the numbers others decided: x86, TDX, GHCI, KVM uapi, ucall. Data only, each with its source. */
export * from './boot.ts'
export * from './ghci.ts'
export * from './kvm.ts'
export * from './tdx.ts'
export * from './ucall.ts'
export * from './x86.ts'
