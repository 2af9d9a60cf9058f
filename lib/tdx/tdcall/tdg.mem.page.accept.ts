import {
  SEPT_EXPORTED_DIRTY,
  SEPT_MAPPED,
  SEPT_NL_BLOCKED,
  SEPT_NL_MAPPED,
  SEPT_PENDING,
  SEPT_PENDING_EXPORTED_DIRTY,
  TDG_MEM_PAGE_ACCEPT,
  TDX_OPERAND_INVALID,
  TDX_PAGE_ALREADY_ACCEPTED,
  TDX_PAGE_SIZE_MISMATCH,
  TDX_SUCCESS,
  VMX_EEQ_ACCEPT,
} from '#abi'
import { hpa, PAGE_SIZE } from '#bits'
import { EXIT_REASON_EXTERNAL_INTERRUPT } from '#x86'
import { asyncExit, entryViolationExit } from '../guest/exit.ts'
import { tdcall } from '../leaf.ts'
import { pageInfo } from '../operand.ts'
import { LEVEL_SIZE } from '../pamt.ts'
import {
  acceptCounter,
  addressOf,
  inState,
  isAccessible,
  isLeaf,
  stateOfEntry,
  withAcceptCounter,
  withoutCounter,
} from '../sept.ts'
import { check, fail } from '../status.ts'

const ACCEPTED: Readonly<Record<number, number>> = {
  [SEPT_PENDING]: SEPT_MAPPED,
  [SEPT_PENDING_EXPORTED_DIRTY]: SEPT_EXPORTED_DIRTY,
}

/**
 * TDG.MEM.PAGE.ACCEPT: take a page that the host added: it is zeroed and mapped. tdg_mem_page_accept.c.
 * Of a 2 MiB page the entry counts what is done: where an event waits for the host, the TD is left before the instruction,
 * and the next time goes on from there.
 */
export const memPageAccept = tdcall(TDG_MEM_PAGE_ACCEPT, ({ module, vcpu, cpu, regs }) => {
  const { td } = vcpu
  const { at, level } = pageInfo(cpu.gpr[1]!, 0, 1)
  check(at < td.privateEnd, TDX_OPERAND_INVALID, 'RCX')
  const { tree } = td
  const entry = tree.walk(at, level)
  const state = stateOfEntry(entry)
  const reached = tree.level
  if (isLeaf(entry) && isAccessible(entry)) fail(TDX_PAGE_ALREADY_ACCEPTED, reached)
  if (reached === level && (state === SEPT_NL_MAPPED || state === SEPT_NL_BLOCKED))
    fail(TDX_PAGE_SIZE_MISMATCH, reached)
  const accepted = ACCEPTED[state]
  if (reached !== level || accepted === undefined) {
    entryViolationExit(vcpu, regs, BigInt(at), level, entry, reached, VMX_EEQ_ACCEPT)
    return 'exit'
  }

  const page = withoutCounter(entry, level)
  const at0 = addressOf(page)
  const pages = LEVEL_SIZE[level as 0 | 1] / PAGE_SIZE
  for (let done = level === 0 ? 0 : acceptCounter(entry); done < pages; ) {
    module.memory.fill(hpa(at0 + done * PAGE_SIZE), PAGE_SIZE, 0)
    if (++done < pages && vcpu.interrupted?.()) {
      tree.write(withAcceptCounter(entry, done))
      asyncExit(vcpu, regs, EXIT_REASON_EXTERNAL_INTERRUPT)
      return 'exit'
    }
  }
  tree.write(inState(page, accepted))
  return TDX_SUCCESS
})
