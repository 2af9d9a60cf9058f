import { TDG_VP_INFO, TDX_SUCCESS } from '#abi'
import { tdcall } from '../leaf.ts'

/** SYS.RD is there. */
const COMMANDS_AVAILABLE = 1n

/** TDG.VP.INFO: what the TD and this vCPU are. tdg_vp_info.c. */
export const vpInfo = tdcall(TDG_VP_INFO, ({ vcpu, cpu }) => {
  const { td } = vcpu
  cpu.gpr[1] = BigInt(td.gpaw)
  cpu.gpr[2] = td.attributes
  cpu.gpr[8] = BigInt(td.numVcpus) | (BigInt(td.maxVcpus) << 32n)
  cpu.gpr[9] = BigInt(vcpu.index)
  cpu.gpr[10] = COMMANDS_AVAILABLE
  cpu.gpr[11] = 0n
  return TDX_SUCCESS
})
