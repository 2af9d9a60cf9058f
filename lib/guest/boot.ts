/** A TD's way from the reset vector to its guest code, and the parameters it finds there. */
import {
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXSAVE,
  CR4_PAE,
  TD_BOOT_CR0,
  TD_BOOT_PARAMETERS_GPA,
  TD_RESET_VECTOR,
  tdBootParameters,
  tdPerVcpuParameters,
} from '#abi'
import { type Gpa, type Gva, gpa, gva, PAGE_SIZE, pageOf } from '#bits'
import { assemble } from '#x86'
import type { GuestImage } from './image.ts'
import { cr4OfLevels, type Mapping, type PagingLevels } from './paging.ts'

const P = tdBootParameters.offset

/**
 * 32-bit code with paging off, then one instruction of 64-bit code. ESI is the vCPU's number; EAX ends as the address
 * of its record. Steps as series "TDX KVM selftests" v13, lib/x86/tdx/td_boot.S, describes them.
 */
const BOOT = `
  cli
  mov ebx, ${TD_BOOT_PARAMETERS_GPA}
  mov eax, ${tdPerVcpuParameters.size}
  mul esi
  lea edi, [ebx + ${tdBootParameters.size}]
  add eax, edi
  mov esp, dword ptr [eax + ${tdPerVcpuParameters.offset.esp}]
  lea edi, [ebx + ${P.gdtLimit}]
  lgdt [edi]
  lea edi, [ebx + ${P.idtLimit}]
  lidt [edi]
  mov ecx, dword ptr [ebx + ${P.cr4}]
  mov cr4, ecx
  mov ecx, dword ptr [ebx + ${P.cr3}]
  mov cr3, ecx
  mov ecx, dword ptr [ebx + ${P.cr0}]
  mov cr0, ecx
  jmp 8:long
.mode 64
long:
  jmp qword ptr [rax + ${tdPerVcpuParameters.offset.guestCode}]
`

/** The furthest back that the reset vector's JMP rel8 reaches. */
const REACH = 128

export type BootCode = {
  /** Where the pages begin: the page that holds the boot code's first byte. */
  readonly gpa: Gpa
  /** Everything from there to 4 GiB: boot code, then the reset vector's 16 bytes. */
  readonly bytes: Uint8Array
  /** First byte of the boot code. */
  readonly entry: Gpa
  /** Bytes of the boot code without the reset vector. */
  readonly size: number
}

/** Boot code so placed that it ends where the reset vector begins. */
const makeBootCode = (): BootCode => {
  const size = assemble(BOOT, { mode: 32, at: 0n }).bytes.length
  const reset = 2
  if (size + reset > REACH)
    throw new RangeError(`boot code of ${size} bytes: the reset vector reaches back ${REACH - reset}`)
  const entry = gpa(TD_RESET_VECTOR - BigInt(size))
  const code = assemble(BOOT, { mode: 32, at: entry }).bytes
  const first = pageOf(entry)
  const bytes = new Uint8Array(Number(0x1_0000_0000n - first))
  bytes.set(code, Number(entry - first))
  // EB rel8, then INT3 up to the wrap.
  bytes.fill(0xcc, bytes.length - 16)
  bytes.set([0xeb, -(size + reset) & 0xff], bytes.length - 16)
  return { gpa: first, bytes, entry, size }
}

let made: BootCode | undefined
/** The same for every TD. */
export const bootCode = (): BootCode => {
  made ??= makeBootCode()
  return made
}

/** What the boot code loads; see `bootParametersOf` for an image's. */
export type BootParameters = {
  readonly cr0: bigint
  readonly cr3: bigint
  readonly cr4: bigint
  readonly gdt: { readonly base: Gva; readonly limit: number }
  readonly idt: { readonly base: Gva; readonly limit: number }
  readonly vcpus: readonly { readonly stack: Gva; readonly entry: Gva }[]
}

const below4G = (what: string, value: bigint): number => {
  if (value >= 1n << 32n) throw new RangeError(`${what} 0x${value.toString(16)}: boot code takes addresses below 4 GiB`)
  return Number(value)
}

/** The bytes at `TD_BOOT_PARAMETERS_GPA`, in whole pages. Throws RangeError for an address from 4 GiB up. */
export const encodeBootParameters = (p: BootParameters): Uint8Array => {
  const size = tdBootParameters.size + p.vcpus.length * tdPerVcpuParameters.size
  const out = new Uint8Array(Math.ceil(size / PAGE_SIZE) * PAGE_SIZE)
  const view = new DataView(out.buffer)
  tdBootParameters.write(view, 0, {
    cr0: below4G('CR0', p.cr0),
    cr3: below4G('CR3', p.cr3),
    cr4: below4G('CR4', p.cr4),
    gdtLimit: p.gdt.limit,
    gdtBase: below4G('GDT', p.gdt.base),
    idtLimit: p.idt.limit,
    idtBase: below4G('IDT', p.idt.base),
  })
  for (const [n, { stack, entry }] of p.vcpus.entries())
    tdPerVcpuParameters.write(view, tdBootParameters.size + n * tdPerVcpuParameters.size, {
      esp: below4G(`stack of vCPU ${n}`, stack),
      guestCode: entry,
    })
  return out
}

/** Values as upstream's library chooses them: CR4 has OSXSAVE where the CPU has XSAVE, LA57 with 5 levels. */
export const bootParametersOf = (
  image: Pick<GuestImage, 'gdt' | 'idt' | 'stacks' | 'entries'>,
  { cr3, levels, xsave }: { cr3: Gpa; levels: PagingLevels; xsave: boolean },
): BootParameters => ({
  cr0: BigInt(TD_BOOT_CR0),
  cr3,
  cr4: CR4_PAE | CR4_OSFXSR | CR4_MCE | (xsave ? CR4_OSXSAVE : 0n) | cr4OfLevels(levels),
  gdt: image.gdt,
  idt: image.idt,
  vcpus: image.entries.map((entry, n) => ({ stack: image.stacks[n]!, entry })),
})

/** Boot code and parameters as the page tables map them: where they are, because boot code runs on after CR0.PG. */
export const bootMappings = (vcpus: number): Mapping[] => {
  const { gpa: at, bytes } = bootCode()
  const size = tdBootParameters.size + vcpus * tdPerVcpuParameters.size
  return [
    { gva: gva(at), gpa: at, size: bytes.length, writable: false },
    {
      gva: gva(TD_BOOT_PARAMETERS_GPA),
      gpa: gpa(TD_BOOT_PARAMETERS_GPA),
      size: Math.ceil(size / PAGE_SIZE) * PAGE_SIZE,
      executable: false,
    },
  ]
}
