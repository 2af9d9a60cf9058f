/** kvm_tdx_cmd, the argument of KVM_MEMORY_ENCRYPT_OP on a TD. */
import type { kvm_tdx_cmd } from '#abi'
import type { Values } from '#bits'

export type Command = Values<typeof kvm_tdx_cmd.fields>
