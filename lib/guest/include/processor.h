/* The processor in C: registers, instructions that may fault, exception handlers. Part of seamless.h. */
#ifndef SEAMLESS_PROCESSOR_H
#define SEAMLESS_PROCESSOR_H

#define SEAMLESS_INLINE static inline __attribute__((unused))

SEAMLESS_INLINE u64 rdmsr(u32 index)
{
	u32 low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(index));
	return (u64)high << 32 | low;
}
SEAMLESS_INLINE void wrmsr(u32 index, u64 value)
{
	__asm__ volatile("wrmsr" : : "a"((u32)value), "d"((u32)(value >> 32)), "c"(index) : "memory");
}
SEAMLESS_INLINE void cpuid(u32 leaf, u32 subleaf, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	__asm__ volatile("cpuid" : "=a"(*eax), "=b"(*ebx), "=c"(*ecx), "=d"(*edx) : "a"(leaf), "c"(subleaf));
}
SEAMLESS_INLINE u64 xgetbv(u32 index)
{
	u32 low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
	return (u64)high << 32 | low;
}
SEAMLESS_INLINE u64 rdtsc(void)
{
	u32 low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (u64)high << 32 | low;
}
#define SEAMLESS_CR(n)                                                                                  \
	SEAMLESS_INLINE u64 read_cr##n(void)                                                            \
	{                                                                                               \
		u64 value;                                                                              \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(value));                                   \
		return value;                                                                           \
	}                                                                                               \
	SEAMLESS_INLINE void write_cr##n(u64 value)                                                     \
	{                                                                                               \
		__asm__ volatile("mov %0, %%cr" #n : : "r"(value) : "memory");                          \
	}
SEAMLESS_CR(0)
SEAMLESS_CR(2)
SEAMLESS_CR(3)
SEAMLESS_CR(4)
SEAMLESS_CR(8)
SEAMLESS_INLINE void cli(void) { __asm__ volatile("cli" : : : "memory"); }
SEAMLESS_INLINE void sti(void) { __asm__ volatile("sti" : : : "memory"); }
SEAMLESS_INLINE void cpu_relax(void) { __asm__ volatile("pause" : : : "memory"); }

/*
 * One instruction whose fault is an outcome, as KVM_ASM_SAFE of the KVM selftests: the vector, or 0. #DE is not seen.
 */
#define SEAMLESS_SAFE(instruction)                                                                      \
	"movabs $0xabacadaba, %%r9\n\t"                                                                 \
	"lea 1f(%%rip), %%r10\n\t"                                                                      \
	"lea 2f(%%rip), %%r11\n\t"                                                                      \
	"1: " instruction "\n\t"                                                                        \
	"xor %%r9d, %%r9d\n\t"                                                                          \
	"2: mov %%r9b, %[vector]\n\t"
SEAMLESS_INLINE u8 rdmsr_safe(u32 index, u64 *value)
{
	u32 low, high;
	u8 vector;

	__asm__ volatile(SEAMLESS_SAFE("rdmsr")
			 : "=a"(low), "=d"(high), [vector] "=qm"(vector)
			 : "c"(index), "a"(0), "d"(0)
			 : "r9", "r10", "r11");
	*value = (u64)high << 32 | low;
	return vector;
}
SEAMLESS_INLINE u8 wrmsr_safe(u32 index, u64 value)
{
	u8 vector;

	__asm__ volatile(SEAMLESS_SAFE("wrmsr")
			 : [vector] "=qm"(vector)
			 : "c"(index), "a"((u32)value), "d"((u32)(value >> 32))
			 : "r9", "r10", "r11", "memory");
	return vector;
}
SEAMLESS_INLINE u8 xsetbv_safe(u32 index, u64 value)
{
	u8 vector;

	__asm__ volatile(SEAMLESS_SAFE("xsetbv")
			 : [vector] "=qm"(vector)
			 : "c"(index), "a"((u32)value), "d"((u32)(value >> 32))
			 : "r9", "r10", "r11", "memory");
	return vector;
}
SEAMLESS_INLINE u8 cpuid_safe(u32 leaf, u32 subleaf, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	u32 a = leaf, b = 0, c = subleaf, d = 0;
	u8 vector;

	__asm__ volatile(SEAMLESS_SAFE("cpuid")
			 : [vector] "=m"(vector), "+a"(a), "+b"(b), "+c"(c), "+d"(d)
			 :
			 : "r9", "r10", "r11");
	*eax = a;
	*ebx = b;
	*ecx = c;
	*edx = d;
	return vector;
}

/* What an exception handler is given; what it changes is what the interrupted code goes on with. */
struct ex_regs {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error_code, rip, cs, rflags, rsp, ss;
};
/* The runtime's table, whose address stands in its page. */
#define SEAMLESS_HANDLERS (*(void (***)(struct ex_regs *))0x5ff008ul)
SEAMLESS_INLINE void install_exception_handler(int vector, void (*handler)(struct ex_regs *))
{
	SEAMLESS_HANDLERS[vector] = handler;
}

/* The local APIC in x2APIC mode: MSRs that a TD's processor virtualizes. */
SEAMLESS_INLINE void x2apic_eoi(void) { wrmsr(0x80b, 0); }
SEAMLESS_INLINE void x2apic_self_ipi(u8 vector) { wrmsr(0x83f, vector); }

#endif
