/** What the functions of an image share while it is built. */
import type { Gva } from '#bits'
import type { Scope } from './scope.ts'
import type { Site } from './site.ts'
import type { IntType } from './types.ts'

/** Made by `build.ts`. */
export type Workshop = {
  readonly sites: Site[]
  /** Ordinary VMs execute IN and OUT; a TD asks by TDVMCALL. */
  readonly isTd: boolean
  readonly sharedBit: bigint
  readonly vcpus: number
  /** The table of exception handlers that the runtime looks in. */
  readonly handlers: Gva
  /** Memory of each vCPU's own, by name. */
  readonly kept: Map<string, Gva>
  /** Records of expected faults, one for each vCPU; asking for them makes every vCPU load its task register. */
  records(): Gva
  /** The code selector of ring 3; asking for it lets ring 3 reach the guest's memory. The data selector follows it. */
  userCode(): number
  /** Reserves memory of the image. */
  memory(name: string, size: number, options: { shared: boolean; bytes?: Uint8Array; align?: number }): Gva
  /** Reserves a function's number; its body runs later. */
  declare(
    name: string,
    parameters: readonly IntType[],
    result: IntType | undefined,
    body: (scope: Scope) => void,
  ): number
}
