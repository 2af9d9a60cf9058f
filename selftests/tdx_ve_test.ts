/** #VE: plain instructions that KVM emulates through the guest, a second one before the first is read, and TDCALLs that are none. */
import { shared, test, u64 } from '#harness'

const seen = shared('seen', { count: u64, reason: u64, gpa: u64 })
const [GVA, GPA] = [0x9000_0000n, 0x3000_0000n]
const [VE, EPT_VIOLATION, HLT, IO, WRITE] = [20, 48n, 12n, 30n, 2n]

test('a_handler_turns_plain_mmio_into_calls', async t => {
  const td = t.td({
    map: [{ gva: GVA, gpa: GPA, size: 4096, shared: true }],
    guest(g) {
      const { count } = seen.in(g)
      g.onException(VE, frame => {
        const info = g.tdcall.vpVeinfoGet()
        g.assert.eq(info.status, 0n)
        g.assert.eq(info.reason.and(0xffffn), EPT_VIOLATION)
        g.assert.eq(info.gpa.and(~0xfffn & 0xffff_ffff_ffff_ffffn), g.sharedGpa(GPA))
        // The host never sees the instruction: MOV of RAX, 3 bytes either way.
        g.when(info.qualification.and(WRITE).ne(0n), () => {
          g.vmcall.mmio({ size: 8n, direction: 1n, gpa: info.gpa, data: frame.get('rax') })
        }).otherwise(() => {
          frame.set('rax', g.vmcall.mmio({ size: 8n, direction: 0n, gpa: info.gpa }).data)
        })
        frame.set('rip', frame.get('rip').add(3n))
        count.set(count.get().add(1))
      })
      g.asm('mov qword ptr [rdi], rax', { in: { rdi: GVA + 0x10n, rax: 0x1122_3344_5566_7788n }, clobbers: [] })
      const { rax } = g.asm('mov rax, qword ptr [rdi]', { in: { rdi: GVA + 0x20n }, out: ['rax'], clobbers: [] })
      g.assert.eq(rax, 0xabcd_ef01_2345_6789n)
      g.assert.eq(count.get(), 2)
      g.done()
    },
  })

  const write = await td.vcpu.until('KVM_EXIT_MMIO')
  t.assert.match(write, { gpa: GPA + 0x10n, direction: 'write', size: 8, data: 0x1122_3344_5566_7788n })
  const read = await td.vcpu.until('KVM_EXIT_MMIO')
  t.assert.match(read, { gpa: GPA + 0x20n, direction: 'read', size: 8 })
  read.answer(0xabcd_ef01_2345_6789n)
  await td.vcpu.until('UCALL_DONE')
})

test('a_ve_tells_what_it_was_and_only_once', async t => {
  const td = t.td({
    guest(g) {
      const { reason, count } = seen.in(g)
      g.onException(VE, frame => {
        const info = g.tdcall.vpVeinfoGet()
        reason.set(info.reason)
        count.set(info.length.and(0xffff_ffffn))
        // What has been read is not there any more.
        g.assert.ne(g.tdcall.vpVeinfoGet().status, 0n)
        frame.set('rip', frame.get('rip').add(info.length.and(0xffff_ffffn)))
      })
      g.asm('hlt', { clobbers: [] })
      g.assert.eq(reason.get(), HLT)
      g.assert.eq(count.get(), 1)
      g.asm('out dx, al', { in: { rdx: 0x80n, rax: 1n }, clobbers: [] })
      g.assert.eq(reason.get(), IO)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})

test('a_second_ve_is_a_double_fault', async t => {
  const td = t.td({
    guest(g) {
      g.onException(VE, () => g.asm('hlt', { clobbers: [] }))
      g.onException(8, frame => {
        g.sync(frame.get('errorCode'))
        g.done()
      })
      g.asm('hlt', { clobbers: [] })
      g.fail('went on')
    },
  })

  t.assert.eq((await td.vcpu.until('UCALL_SYNC')).values[0], 0n)
  await td.vcpu.until('UCALL_DONE')
})

test('tdcall_in_ring_3_is_a_general_protection_fault', async t => {
  const td = t.td({
    guest(g) {
      const { errorCode } = g.expectFault('#GP', () => g.user(() => g.asm('tdcall', { clobbers: [] })))
      g.assert.eq(errorCode, 0n)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})

test('tdcall_in_compatibility_mode_is_a_general_protection_fault', async t => {
  const td = t.td({
    guest(g) {
      const { reason, count, gpa: resume } = seen.in(g)
      g.onException(13, frame => {
        reason.set(frame.get('cs'))
        count.set(count.get().add(1))
        frame.set('cs', 8n)
        frame.set('rip', resume.get())
      })
      // A descriptor of 32-bit code at the end of the GDT's page, as long as it is needed.
      g.asm(
        `sub rsp, 16
        sgdt [rsp + 6]
        mov rdx, qword ptr [rsp + 8]
        add rsp, 16
        mov r8, qword ptr [rdx + 0xff0]
        mov rax, 0x00cf9b000000ffff
        mov qword ptr [rdx + 0xff0], rax
        lea rax, [rip + back]
        mov qword ptr [rdi], rax
        lea rax, [rip + narrow]
        push 0xff0
        push rax
        retfq
      narrow:
        tdcall
      back:
        mov qword ptr [rdx + 0xff0], r8`,
        { in: { rdi: resume.address } },
      )
      g.assert.eq(count.get(), 1)
      g.assert.eq(reason.get(), 0xff0)
      g.done()
    },
  })

  await td.vcpu.until('UCALL_DONE')
})
