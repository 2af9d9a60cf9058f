/*
 * Runs short programs of the system's kind on the processor of this machine: each in an ordinary virtual machine of
 * its own, from a state that is given whole, until it halts. Questions come on standard input and answers go to standard
 * output, both in the structures below, little endian, until the input ends.
 *
 * usage: real-vm CPUID...    each CPUID is LEAF:SUBLEAF:EAX:EBX:ECX:EDX in hexadecimal, what the guest sees
 *        real-vm             prints the CPUID that KVM can give, one such line each
 *
 * Exit status 4, with a reason on standard error, where there is no /dev/kvm that can do this.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#define MEMORY 0x40000u
#define MSRS 9
#define LEAVES 64

/* Selector, base, limit in bytes, and access rights in the layout of VMX. */
struct segment {
	uint64_t selector, base, limit, rights;
};

struct state {
	uint64_t gpr[16]; /* in the order of their numbers */
	uint64_t rip, rflags;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, xcr0;
	uint64_t dr[6]; /* DR0 to DR3, DR6, DR7 */
	uint64_t gdt_base, gdt_limit, idt_base, idt_limit;
	struct segment segment[8]; /* ES CS SS DS FS GS LDTR TR */
	uint64_t msr[MSRS];
};

struct question {
	struct state before;
	uint8_t memory[MEMORY];
};

/* After it come `changed` words of memory that are not as they were: address and content. */
struct answer {
	uint64_t reason, detail, changed; /* KVM_EXIT_*; reason 256: time was up */
	struct state after;
};

static const uint32_t msrs[MSRS] = {
	0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102, /* STAR LSTAR CSTAR FMASK KERNEL_GS_BASE */
	0x174, 0x175, 0x176, /* SYSENTER_CS, _ESP, _EIP */
	0x277, /* PAT */
};

static struct question question;
static uint8_t *memory;
static struct kvm_run *run;
static struct {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[LEAVES * 4];
} cpuid;

static int stop(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(4);
}

static void need(int result, const char *what)
{
	if (result < 0)
		stop(what);
}

static void tick(int signal)
{
	(void)signal;
	run->immediate_exit = 1;
}

static struct kvm_segment to_kvm(const struct segment *s)
{
	uint64_t r = s->rights;
	struct kvm_segment k = { .base = s->base, .limit = (uint32_t)s->limit, .selector = (uint16_t)s->selector };

	k.type = r & 15;
	k.s = r >> 4 & 1;
	k.dpl = r >> 5 & 3;
	k.present = r >> 7 & 1;
	k.avl = r >> 12 & 1;
	k.l = r >> 13 & 1;
	k.db = r >> 14 & 1;
	k.g = r >> 15 & 1;
	k.unusable = r >> 16 & 1;
	return k;
}

static struct segment from_kvm(const struct kvm_segment *k)
{
	struct segment s = { .selector = k->selector, .base = k->base, .limit = k->limit };

	s.rights = (uint64_t)(k->type | k->s << 4 | k->dpl << 5 | k->present << 7 | k->avl << 12 | k->l << 13 | k->db << 14 |
			      k->g << 15 | k->unusable << 16);
	return s;
}

static void put(int vcpu, const struct state *s)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = s->rip, .rflags = s->rflags };
	struct kvm_debugregs debug = { .dr6 = s->dr[4], .dr7 = s->dr[5] };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1 };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[MSRS];
	} m = { .head.nmsrs = MSRS };
	struct kvm_segment *segment[] = { &sregs.es, &sregs.cs, &sregs.ss,  &sregs.ds,
					  &sregs.fs, &sregs.gs, &sregs.ldt, &sregs.tr };
	__u64 *gpr[] = { &regs.rax, &regs.rcx, &regs.rdx, &regs.rbx, &regs.rsp, &regs.rbp, &regs.rsi, &regs.rdi,
			 &regs.r8,  &regs.r9,  &regs.r10, &regs.r11, &regs.r12, &regs.r13, &regs.r14, &regs.r15 };

	need(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	for (int i = 0; i < 8; i++)
		*segment[i] = to_kvm(&s->segment[i]);
	sregs.gdt = (struct kvm_dtable){ .base = s->gdt_base, .limit = (uint16_t)s->gdt_limit };
	sregs.idt = (struct kvm_dtable){ .base = s->idt_base, .limit = (uint16_t)s->idt_limit };
	sregs.cr0 = s->cr0;
	sregs.cr2 = s->cr2;
	sregs.cr3 = s->cr3;
	sregs.cr4 = s->cr4;
	sregs.cr8 = s->cr8;
	sregs.efer = s->efer;
	need(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	for (int i = 0; i < 16; i++)
		*gpr[i] = s->gpr[i];
	need(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
	memcpy(debug.db, s->dr, sizeof(debug.db));
	need(ioctl(vcpu, KVM_SET_DEBUGREGS, &debug), "KVM_SET_DEBUGREGS");
	xcrs.xcrs[0].value = s->xcr0;
	need(ioctl(vcpu, KVM_SET_XCRS, &xcrs), "KVM_SET_XCRS");
	for (int i = 0; i < MSRS; i++)
		m.entry[i] = (struct kvm_msr_entry){ .index = msrs[i], .data = s->msr[i] };
	if (ioctl(vcpu, KVM_SET_MSRS, &m) != MSRS)
		stop("KVM_SET_MSRS");
}

static void get(int vcpu, struct state *s)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_debugregs debug;
	struct kvm_xcrs xcrs;
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[MSRS];
	} m = { .head.nmsrs = MSRS };

	need(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	need(ioctl(vcpu, KVM_GET_REGS, &regs), "KVM_GET_REGS");
	need(ioctl(vcpu, KVM_GET_DEBUGREGS, &debug), "KVM_GET_DEBUGREGS");
	need(ioctl(vcpu, KVM_GET_XCRS, &xcrs), "KVM_GET_XCRS");
	for (int i = 0; i < MSRS; i++)
		m.entry[i].index = msrs[i];
	if (ioctl(vcpu, KVM_GET_MSRS, &m) != MSRS)
		stop("KVM_GET_MSRS");

	const struct kvm_segment *segment[] = { &sregs.es, &sregs.cs, &sregs.ss,  &sregs.ds,
						&sregs.fs, &sregs.gs, &sregs.ldt, &sregs.tr };
	const __u64 gpr[] = { regs.rax, regs.rcx, regs.rdx, regs.rbx, regs.rsp, regs.rbp, regs.rsi, regs.rdi,
			      regs.r8,	regs.r9,  regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15 };

	for (int i = 0; i < 8; i++)
		s->segment[i] = from_kvm(segment[i]);
	for (int i = 0; i < 16; i++)
		s->gpr[i] = gpr[i];
	for (int i = 0; i < MSRS; i++)
		s->msr[i] = m.entry[i].data;
	s->rip = regs.rip;
	s->rflags = regs.rflags;
	s->cr0 = sregs.cr0;
	s->cr2 = sregs.cr2;
	s->cr3 = sregs.cr3;
	s->cr4 = sregs.cr4;
	s->cr8 = sregs.cr8;
	s->efer = sregs.efer;
	s->xcr0 = xcrs.xcrs[0].value;
	memcpy(s->dr, debug.db, sizeof(debug.db));
	s->dr[4] = debug.dr6;
	s->dr[5] = debug.dr7;
	s->gdt_base = sregs.gdt.base;
	s->gdt_limit = sregs.gdt.limit;
	s->idt_base = sregs.idt.base;
	s->idt_limit = sregs.idt.limit;
}

static int transfer(int fd, void *at, size_t size, int writing)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = writing ? write(fd, (char *)at + done, size - done) : read(fd, (char *)at + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		done += (size_t)n;
	}
	return 1;
}

/* One question, in a machine of its own. */
static int answer(int kvm, size_t run_size)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY, .userspace_addr = (uintptr_t)memory };
	struct itimerval limit = { .it_value = { .tv_usec = 200000 }, .it_interval = { .tv_usec = 200000 } }, off = { 0 };
	static uint64_t words[MEMORY / 8][2];
	struct answer a = { 0 };
	int vm = ioctl(kvm, KVM_CREATE_VM, 0), vcpu, result;

	need(vm, "KVM_CREATE_VM");
	memcpy(memory, question.memory, MEMORY);
	need(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	need(vcpu, "KVM_CREATE_VCPU");
	run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		stop("mmap of the vCPU");
	need(ioctl(vcpu, KVM_SET_CPUID2, &cpuid), "KVM_SET_CPUID2");
	put(vcpu, &question.before);
	setitimer(ITIMER_REAL, &limit, NULL);
	result = ioctl(vcpu, KVM_RUN, 0);
	setitimer(ITIMER_REAL, &off, NULL);
	a.reason = result < 0 ? 256 : run->exit_reason;
	if (result < 0 && errno != EINTR)
		stop("KVM_RUN");
	if (run->exit_reason == KVM_EXIT_IO)
		a.detail = (uint64_t)run->io.port << 16 | run->io.size << 1 | run->io.direction;
	else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		a.detail = run->internal.suberror;
	else if (run->exit_reason == KVM_EXIT_MMIO)
		a.detail = run->mmio.phys_addr;
	get(vcpu, &a.after);
	for (uint32_t at = 0; at < MEMORY; at += 8) {
		uint64_t now, before;

		memcpy(&now, memory + at, 8);
		memcpy(&before, question.memory + at, 8);
		if (now == before)
			continue;
		words[a.changed][0] = at;
		words[a.changed++][1] = now;
	}
	munmap(run, run_size);
	close(vcpu);
	close(vm);
	return transfer(1, &a, sizeof(a), 1) && transfer(1, words, a.changed * 16, 1);
}

static void print_supported(int kvm)
{
	cpuid.head.nent = LEAVES * 4;
	need(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid), "KVM_GET_SUPPORTED_CPUID");
	for (uint32_t i = 0; i < cpuid.head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid.entry[i];

		printf("%x:%x:%x:%x:%x:%x\n", e->function, e->index, e->eax, e->ebx, e->ecx, e->edx);
	}
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = tick };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), size;

	need(kvm, "/dev/kvm");
	if (argc == 1) {
		print_supported(kvm);
		return 0;
	}
	for (int i = 1; i < argc && i <= LEAVES * 4; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid.entry[cpuid.head.nent++];

		sscanf(argv[i], "%x:%x:%x:%x:%x:%x", &e->function, &e->index, &e->eax, &e->ebx, &e->ecx, &e->edx);
		if (e->function == 7 || e->function == 0xd)
			e->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	}
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	need(size, "KVM_GET_VCPU_MMAP_SIZE");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		stop("mmap");
	sigaction(SIGALRM, &action, NULL);
	while (transfer(0, &question, sizeof(question), 0))
		if (!answer(kvm, (size_t)size))
			return 1;
	return 0;
}
