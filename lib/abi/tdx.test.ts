import t from 'tap'
import {
  CPUID_CONFIGURABLE,
  CPUID_LOOKUP,
  MSR_LOOKUP,
  OPERAND_ID,
  SYS_FIELDS,
  statusName,
  TD_FIELDS,
  TD_PARAMS,
  TDMR_INFO,
  TDX_GPA_RANGE_NOT_BLOCKED,
  TDX_OPERAND_INVALID,
  TDX_PAGE_ALREADY_ACCEPTED,
  TDX_SUCCESS,
  VMCS_FIELDS,
  VP_FIELDS,
} from './index.ts'

t.test('a status word in words', async t => {
  t.equal(statusName(TDX_SUCCESS), 'TDX_SUCCESS')
  t.equal(statusName(TDX_OPERAND_INVALID), 'TDX_OPERAND_INVALID | RAX')
  t.equal(statusName(TDX_OPERAND_INVALID | 1n), 'TDX_OPERAND_INVALID | RCX')
  t.equal(statusName(TDX_OPERAND_INVALID | 69n), 'TDX_OPERAND_INVALID | CPUID_CONFIG')
  t.equal(statusName(TDX_GPA_RANGE_NOT_BLOCKED | 1n), 'TDX_GPA_RANGE_NOT_BLOCKED | RCX')
  t.equal(statusName(TDX_PAGE_ALREADY_ACCEPTED | 1n), 'TDX_PAGE_ALREADY_ACCEPTED | 0x1')
  t.equal(statusName(0x4000_0001_0000_0002n), 'TDX_NON_RECOVERABLE_VCPU | 0x2')
  t.equal(statusName(0x1234_0000_0000_0000n), '0x1234_0000_0000_0000')
})

t.test('structures have the sizes and offsets of the module', async t => {
  t.equal(TD_PARAMS.size, 1024)
  t.match(TD_PARAMS.offset, {
    max_vcpus: 16,
    eptp_controls: 24,
    config_flags: 32,
    tsc_frequency: 40,
    mr_config_id: 80,
    mr_owner: 128,
    mr_owner_config: 176,
    ia32_arch_capabilities_config: 224,
    cpuid_config: 256,
  })
  t.equal(TDMR_INFO.size, 320)
  t.equal(OPERAND_ID.ATTRIBUTES, 64)
})

t.test('the tables hang together', async t => {
  for (const [leaf, subleaf] of CPUID_CONFIGURABLE)
    t.ok(
      CPUID_LOOKUP.some(row => row.leaf === leaf && row.subleaf === subleaf),
      `CPUID ${leaf.toString(16)}.${subleaf}`,
    )
  for (const [i, row] of MSR_LOOKUP.entries()) {
    t.ok(row.first <= row.last, row.name)
    t.ok(row.first > (MSR_LOOKUP[i - 1]?.last ?? -1), `${row.name} follows the one before it`)
  }
  for (const fields of [TD_FIELDS, VP_FIELDS, VMCS_FIELDS, SYS_FIELDS]) {
    const codes = fields.map(f => `${(f.id >> 56n) & 0x3fn}.${f.id & 0xff_ffffn}`)
    t.equal(new Set(codes).size, codes.length, 'class and field code name one field')
  }
})
