/*
 * Runs short user-mode programs on the processor of this machine and says what they did: the oracle that the emulated
 * CPU is held against. Cases come on standard input and answers go to standard output, both in the structures below,
 * little endian, until the input ends.
 *
 * A case starts with every register as given and RIP at CODE + ip; it ends at the first exception (HLT at CPL 3 raises
 * #GP, which is how a program ends normally) or when its time is up. Memory is the same for every case but for what
 * `seed` makes of it, so that 28 KiB need not travel.
 *
 * FS and GS belong to the C library here: programs must leave them alone. A program may run in 32-bit mode; its
 * registers are then 32 bits wide.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/ucontext.h>
#include <unistd.h>

#define CODE 0x200000u
#define CODE_SIZE 0x2000u
#define DATA 0x300000u
#define DATA_SIZE 0x4000u
#define RO 0x305000u
#define RO_SIZE 0x1000u
#define STACK 0x307000u
#define STACK_SIZE 0x2000u
#define MAX_BYTES 1024u

struct registers {
	uint64_t gpr[16]; /* in the order of their numbers: RAX RCX RDX RBX RSP RBP RSI RDI R8 ... */
	uint64_t rip, rflags;
	uint8_t fxsave[512];
	uint8_t upper[256]; /* of YMM0 to YMM15, 16 bytes each */
};

struct question {
	uint32_t ip, length; /* offset in the code region, bytes of code */
	uint32_t mode, unused; /* 64 or 32 */
	uint64_t seed;
	struct registers before;
	uint8_t bytes[MAX_BYTES];
};

struct answer {
	uint64_t trap, error, cr2; /* exception vector (256: time was up), error code, CR2 */
	struct registers after;
	uint8_t data[DATA_SIZE], stack[STACK_SIZE];
};

static struct question question;
static struct answer answer;
static ucontext_t home;
static volatile int running;

static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
			       REG_R8,	REG_R9,	 REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
/* Flags a program starts with: CF PF AF ZF SF OF DF AC, and what always is (bit 1, IF). */
#define FLAGS 0x40cd5u

/* What the kernel saves beside the 512 bytes of FXSAVE, in the standard format of XSAVE: a header, then the upper
 * halves of the YMM registers. It says at the end of the 512 bytes that it is there. */
#define XSAVE_MAGIC 0x46505853u
#define XSTATE_BV 512
#define XSAVE_UPPER 576

static int has_upper(const uint8_t *fp)
{
	uint32_t magic;

	memcpy(&magic, fp + 464, sizeof(magic));
	return magic == XSAVE_MAGIC;
}

/* splitmix64: the emulator fills its memory by the same rule. */
static void fill(uint64_t *at, uint32_t size, uint64_t *state)
{
	for (uint32_t i = 0; i < size / 8; i++) {
		uint64_t z = (*state += 0x9e3779b97f4a7c15u);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		at[i] = z ^ (z >> 31);
	}
}

static void to_context(ucontext_t *uc, const struct registers *r)
{
	for (int i = 0; i < 16; i++)
		uc->uc_mcontext.gregs[order[i]] = (greg_t)r->gpr[i];
	uc->uc_mcontext.gregs[REG_RIP] = (greg_t)r->rip;
	uc->uc_mcontext.gregs[REG_EFL] = (greg_t)((r->rflags & FLAGS) | 0x202);
	uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;

	memcpy(fp, r->fxsave, 416); /* the rest is the kernel's */
	if (has_upper(fp)) {
		fp[XSTATE_BV] |= 7;
		memcpy(fp + XSAVE_UPPER, r->upper, sizeof(r->upper));
	}
	if (question.mode == 32)
		uc->uc_mcontext.gregs[REG_CSGSFS] = (uc->uc_mcontext.gregs[REG_CSGSFS] & ~0xffffll) | 0x23;
}

static void from_context(struct registers *r, const ucontext_t *uc)
{
	for (int i = 0; i < 16; i++)
		r->gpr[i] = (uint64_t)uc->uc_mcontext.gregs[order[i]];
	r->rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP];
	r->rflags = (uint64_t)uc->uc_mcontext.gregs[REG_EFL];
	const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;

	memcpy(r->fxsave, fp, 416);
	memset(r->upper, 0, sizeof(r->upper));
	/* A part that is in its initial state is not written. */
	if (has_upper(fp) && (fp[XSTATE_BV] & 4))
		memcpy(r->upper, fp + XSAVE_UPPER, sizeof(r->upper));
}

/* The first signal brings us in; the second one, whatever it is, ends the case. */
__attribute__((used)) static void answered(int signal, siginfo_t *info, void *context)
{
	ucontext_t *uc = context;

	(void)info;
	if (!running) {
		if (signal != SIGUSR1)
			return;
		running = 1;
		home = *uc;
		static struct _libc_fpstate fp;
		memcpy(&fp, uc->uc_mcontext.fpregs, sizeof(fp));
		home.uc_mcontext.fpregs = &fp;
		to_context(uc, &question.before);
		return;
	}
	running = 0;
	from_context(&answer.after, uc);
	answer.trap = signal == SIGVTALRM ? 256 : (uint64_t)uc->uc_mcontext.gregs[REG_TRAPNO];
	answer.error = (uint64_t)uc->uc_mcontext.gregs[REG_ERR];
	answer.cr2 = (uint64_t)uc->uc_mcontext.gregs[REG_CR2];
	memcpy(uc->uc_mcontext.gregs, home.uc_mcontext.gregs, sizeof(home.uc_mcontext.gregs));
	memcpy(uc->uc_mcontext.fpregs, home.uc_mcontext.fpregs, 416);
}

/* The kernel leaves AC as the program had it; what the compiler makes of C may not be aligned. */
void handler(int signal, siginfo_t *info, void *context);
__asm__(".globl handler\n"
	"handler:\n"
	"	pushf\n"
	"	andl $~0x40000, (%rsp)\n"
	"	popf\n"
	"	jmp answered\n");

static void *region(uintptr_t at, size_t size, int protection)
{
	void *p = mmap((void *)at, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)at) {
		fprintf(stderr, "real-cpu: no memory at 0x%lx: %s\n", (unsigned long)at, strerror(errno));
		exit(4);
	}
	return p;
}

static int transfer(int fd, void *at, size_t size, int writing)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = writing ? write(fd, (char *)at + done, size - done) : read(fd, (char *)at + done, size - done);

		if (n <= 0)
			return 0;
		done += (size_t)n;
	}
	return 1;
}

int main(void)
{
	static char alternate[1 << 16];
	stack_t stack = { .ss_sp = alternate, .ss_size = sizeof(alternate) };
	struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	static const int signals[] = { SIGUSR1, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGVTALRM };
	uint8_t *code = region(CODE, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	uint64_t *data = region(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
	uint64_t *ro = region(RO, RO_SIZE, PROT_READ | PROT_WRITE);
	uint64_t *guest_stack = region(STACK, STACK_SIZE, PROT_READ | PROT_WRITE);

	/* A 64-bit process has no use for them; 32-bit code has. */
	__asm__ volatile("mov %0, %%ds\n\tmov %0, %%es" : : "r"(0x2b));
	sigaltstack(&stack, NULL);
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &action, NULL);

	while (transfer(0, &question, sizeof(question), 0)) {
		struct itimerval limit = { .it_value = { .tv_usec = 20000 } }, off = { 0 };
		uint64_t state = question.seed;

		if (question.length > MAX_BYTES || question.ip > CODE_SIZE - question.length)
			return 2;
		fill(data, DATA_SIZE, &state);
		mprotect(ro, RO_SIZE, PROT_READ | PROT_WRITE);
		fill(ro, RO_SIZE, &state);
		mprotect(ro, RO_SIZE, PROT_READ);
		fill(guest_stack, STACK_SIZE, &state);
		mprotect(code, CODE_SIZE, PROT_READ | PROT_WRITE);
		memset(code, 0xf4, CODE_SIZE);
		memcpy(code + question.ip, question.bytes, question.length);
		mprotect(code, CODE_SIZE, PROT_READ | PROT_EXEC);

		setitimer(ITIMER_VIRTUAL, &limit, NULL);
		/* NT and ID outlive a signal: a program starts without them. */
		__asm__ volatile("sub $128, %%rsp\n\tpushf\n\tandl $~0x204000, (%%rsp)\n\tpopf\n\tadd $128, %%rsp" : : : "memory", "cc");
		raise(SIGUSR1);
		setitimer(ITIMER_VIRTUAL, &off, NULL);
		memcpy(answer.data, data, DATA_SIZE);
		memcpy(answer.stack, guest_stack, STACK_SIZE);
		if (!transfer(1, &answer, sizeof(answer), 1))
			return 1;
	}
	return 0;
}
