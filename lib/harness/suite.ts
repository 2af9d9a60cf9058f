/** KVM selftests' KVM_ONE_VCPU_TEST_SUITE: tests that each run one guest in a VM of one vCPU. */
import type { Context } from './context.ts'
import type { TdOptions } from './options.ts'
import { fixture, type TestOptions } from './test.ts'
import type { Vcpu } from './vcpu.ts'

type Body = (t: Context, vcpu: Vcpu) => void | Promise<void>

export type OneVcpuSuite = {
  /** A test: its guest, and what the host does meanwhile. Without a body the host waits for UCALL_DONE. */
  test(name: string, guest: TdOptions['guest'], body?: Body): void
  test(name: string, options: TestOptions, guest: TdOptions['guest'], body?: Body): void
}

const untilDone: Body = async (_, vcpu) => {
  await vcpu.until('UCALL_DONE')
}

/** Declares a suite: a fixture whose tests get their TD and its only vCPU made. `td` holds for all of them. */
export const oneVcpuSuite = (name: string, td: Omit<TdOptions, 'guest' | 'vcpus'> = {}): OneVcpuSuite => {
  const suite = fixture(name, {})
  const declare = (test: string, options: TestOptions, guest: TdOptions['guest'], body: Body = untilDone): void =>
    suite.test(test, options, async t => body(t, t.td({ ...td, guest, vcpus: 1 }).vcpu))
  return {
    test(test: string, ...rest: readonly unknown[]) {
      // The overloads say what comes in which order; a guest is a function, or an object with a `kind`.
      const [first] = rest
      const hasOptions = typeof first === 'object' && first !== null && !('kind' in first) && !Array.isArray(first)
      const [options, guest, body] = (hasOptions ? rest : [{}, ...rest]) as [TestOptions, TdOptions['guest'], Body?]
      declare(test, options, guest, body)
    },
  }
}
