import { TDG_MR_RTMR_EXTEND, TDX_OPERAND_INVALID, TDX_SUCCESS } from '#abi'
import { guestMemory } from '../guest/memory.ts'
import { tdcall } from '../leaf.ts'
import { extendRtmr } from '../measure.ts'
import { check } from '../status.ts'

const DATA_SIZE = 48
const RTMRS = 4n

/** TDG.MR.RTMR.EXTEND: extend a run-time measurement register. tdg_mr_rtmr_extend.c. */
export const mrRtmrExtend = tdcall(TDG_MR_RTMR_EXTEND, ({ module, vcpu, cpu, regs }) => {
  const address = cpu.gpr[1]!
  const index = cpu.gpr[2]!
  check((address & 63n) === 0n, TDX_OPERAND_INVALID, 'RCX')
  const at = guestMemory(vcpu, cpu, regs, address, 'read', 'RCX', true)
  if (typeof at !== 'number') return at
  check(index < RTMRS, TDX_OPERAND_INVALID, 'RDX')

  const { rtmr } = vcpu.td
  const i = Number(index) as 0 | 1 | 2 | 3
  rtmr[i] = extendRtmr(rtmr[i], module.memory.u8.subarray(at, at + DATA_SIZE))
  return TDX_SUCCESS
})
