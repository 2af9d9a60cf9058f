/* TDCALL and TDG.VP.VMCALL in C. Part of seamless.h. Statuses: RAX of a TDCALL, R10 of a TDVMCALL. */
#ifndef SEAMLESS_TDX_H
#define SEAMLESS_TDX_H

enum {
	TDG_VP_VMCALL = 0,
	TDG_VP_INFO = 1,
	TDG_MR_RTMR_EXTEND = 2,
	TDG_VP_VEINFO_GET = 3,
	TDG_MR_REPORT = 4,
	TDG_VP_CPUIDVE_SET = 5,
	TDG_MEM_PAGE_ACCEPT = 6,
	TDG_VM_RD = 7,
	TDG_VM_WR = 8,
	TDG_VP_RD = 9,
	TDG_VP_WR = 10,
	TDG_SYS_RD = 11,
	TDG_SYS_RDALL = 12,
	TDG_SERVTD_RD = 18,
	TDG_SERVTD_WR = 20,
	TDG_MR_VERIFYREPORT = 22,
	TDG_MEM_PAGE_ATTR_RD = 23,
	TDG_MEM_PAGE_ATTR_WR = 24,
	TDG_VP_ENTER = 25,
	TDG_VP_INVEPT = 26,
	TDG_VP_INVVPID = 27,
};

enum {
	TDVMCALL_CPUID = 10,
	TDVMCALL_HLT = 12,
	TDVMCALL_IO = 30,
	TDVMCALL_RDMSR = 31,
	TDVMCALL_WRMSR = 32,
	TDVMCALL_MMIO = 48,
	TDVMCALL_PCONFIG = 65,
	TDVMCALL_GET_TD_VM_CALL_INFO = 0x10000,
	TDVMCALL_MAP_GPA = 0x10001,
	TDVMCALL_GET_QUOTE = 0x10002,
	TDVMCALL_REPORT_FATAL_ERROR = 0x10003,
	TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT = 0x10004,
	TDVMCALL_SERVICE = 0x10005,
	TDVMCALL_MIGTD = 0x10006,
};

/* Registers of a TDCALL: in, and as they are afterwards. */
struct tdcall_args {
	u64 rax, rcx, rdx, r8, r9, r10, r11, r12, r13, r14, r15;
};

static inline __attribute__((unused)) u64 tdcall(struct tdcall_args *args)
{
	register u64 r8 __asm__("r8") = args->r8;
	register u64 r9 __asm__("r9") = args->r9;
	register u64 r10 __asm__("r10") = args->r10;
	register u64 r11 __asm__("r11") = args->r11;
	register u64 r12 __asm__("r12") = args->r12;
	register u64 r13 __asm__("r13") = args->r13;
	register u64 r14 __asm__("r14") = args->r14;
	register u64 r15 __asm__("r15") = args->r15;
	u64 rax = args->rax, rcx = args->rcx, rdx = args->rdx;

	__asm__ volatile(".byte 0x66, 0x0f, 0x01, 0xcc"
			 : "+a"(rax), "+c"(rcx), "+d"(rdx), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r11), "+r"(r12),
			   "+r"(r13), "+r"(r14), "+r"(r15)
			 :
			 : "rbx", "rsi", "rdi", "memory", "cc");
	*args = (struct tdcall_args){ rax, rcx, rdx, r8, r9, r10, r11, r12, r13, r14, r15 };
	return rax;
}

/* TDG.VP.VMCALL, a sub-function of the GHCI; the status is R10. */
static inline __attribute__((unused)) u64 tdvmcall(u64 function, u64 r12, u64 r13, u64 r14, u64 r15, u64 *r11)
{
	struct tdcall_args args = { .rcx = 0xfc00, .r11 = function, .r12 = r12, .r13 = r13, .r14 = r14, .r15 = r15 };

	tdcall(&args);
	if (r11)
		*r11 = args.r11;
	return args.r10;
}


struct tdx_vp_info {
	u64 gpa_width, attributes;
	u32 num_vcpus, max_vcpus;
	u64 index, sys_rd;
};
static inline __attribute__((unused)) u64 tdg_vp_info(struct tdx_vp_info *info)
{
	struct tdcall_args args = { .rax = TDG_VP_INFO };
	u64 status = tdcall(&args);

	*info = (struct tdx_vp_info){ args.rcx & 63, args.rdx, args.r8, args.r8 >> 32, args.r9, args.r10 };
	return status;
}

/* What raised #VE. Taken once; a second #VE before that is #DF. */
struct tdx_ve_info {
	u64 exit_reason, qualification, gla, gpa;
	u32 length, instruction_info;
};
static inline __attribute__((unused)) u64 tdg_vp_veinfo_get(struct tdx_ve_info *ve)
{
	struct tdcall_args args = { .rax = TDG_VP_VEINFO_GET };
	u64 status = tdcall(&args);

	*ve = (struct tdx_ve_info){ args.rcx, args.rdx, args.r8, args.r9, args.r10, args.r10 >> 32 };
	return status;
}

/* `level`: 0 for 4 KiB, 1 for 2 MiB. */
static inline __attribute__((unused)) u64 tdg_mem_page_accept(u64 gpa, int level)
{
	struct tdcall_args args = { .rax = TDG_MEM_PAGE_ACCEPT, .rcx = gpa | (u64)level };

	return tdcall(&args);
}
static inline __attribute__((unused)) u64 tdg_mr_rtmr_extend(const void *data, u64 index)
{
	struct tdcall_args args = { .rax = TDG_MR_RTMR_EXTEND, .rcx = (u64)data, .rdx = index };

	return tdcall(&args);
}
static inline __attribute__((unused)) u64 tdg_vm_rd(u64 field, u64 *value)
{
	struct tdcall_args args = { .rax = TDG_VM_RD, .rdx = field };
	u64 status = tdcall(&args);

	*value = args.r8;
	return status;
}

static inline __attribute__((unused)) u64 tdvmcall_io_read(u64 port, int size, u64 *value)
{
	return tdvmcall(TDVMCALL_IO, size, 0, port, 0, value);
}
static inline __attribute__((unused)) u64 tdvmcall_io_write(u64 port, int size, u64 value)
{
	return tdvmcall(TDVMCALL_IO, size, 1, port, value, NULL);
}
/* A GPA carries the shared bit where the call wants a shared one. */
static inline __attribute__((unused)) u64 tdvmcall_mmio_read(u64 gpa, int size, u64 *value)
{
	return tdvmcall(TDVMCALL_MMIO, size, 0, gpa, 0, value);
}
static inline __attribute__((unused)) u64 tdvmcall_mmio_write(u64 gpa, int size, u64 value)
{
	return tdvmcall(TDVMCALL_MMIO, size, 1, gpa, value, NULL);
}
static inline __attribute__((unused)) u64 tdvmcall_rdmsr(u32 index, u64 *value)
{
	return tdvmcall(TDVMCALL_RDMSR, index, 0, 0, 0, value);
}
static inline __attribute__((unused)) u64 tdvmcall_wrmsr(u32 index, u64 value)
{
	return tdvmcall(TDVMCALL_WRMSR, index, value, 0, 0, NULL);
}
static inline __attribute__((unused)) u64 tdvmcall_hlt(bool interrupts_blocked)
{
	return tdvmcall(TDVMCALL_HLT, interrupts_blocked, 0, 0, 0, NULL);
}
/* `next`: where to go on after a status that is not 0. */
static inline __attribute__((unused)) u64 tdvmcall_map_gpa(u64 gpa, u64 size, u64 *next)
{
	return tdvmcall(TDVMCALL_MAP_GPA, gpa, size, 0, 0, next);
}
static inline __attribute__((unused)) u64 tdvmcall_report_fatal_error(u64 code, u64 gpa)
{
	return tdvmcall(TDVMCALL_REPORT_FATAL_ERROR, code, gpa, 0, 0, NULL);
}
static inline __attribute__((unused)) u64 tdvmcall_cpuid(u32 leaf, u32 subleaf, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	struct tdcall_args args = { .rcx = 0xfc00, .r11 = TDVMCALL_CPUID, .r12 = leaf, .r13 = subleaf };

	tdcall(&args);
	*eax = args.r12;
	*ebx = args.r13;
	*ecx = args.r14;
	*edx = args.r15;
	return args.r10;
}

#endif
