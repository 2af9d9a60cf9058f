/*
 * The same work on a real /dev/kvm: whole lives of an ordinary VM with one vCPU, and exits of a running one.
 * Prints nanoseconds as JSON: {"life": [...], "exit": [...]}, one figure per round, or a reason and exit status 4.
 *
 * usage: kvm LIVES EXITS ROUNDS
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEMORY (2u << 20)
#define CODE 0x1000

/* out %al, $0x10; jmp -4: one port exit after another. */
static const uint8_t guest[] = { 0xe6, 0x10, 0xeb, 0xfc };

struct vm {
	int vm, vcpu;
	void *memory;
	struct kvm_run *run;
	size_t run_size;
};

static int skip(const char *what)
{
	printf("{\"skip\": \"%s: %s\"}\n", what, strerror(errno));
	exit(4);
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct vm create(int kvm)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct vm v;

	if ((v.vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0)
		skip("KVM_CREATE_VM");
	v.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy((char *)v.memory + CODE, guest, sizeof(guest));
	region.userspace_addr = (uintptr_t)v.memory;
	if (ioctl(v.vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		skip("KVM_SET_USER_MEMORY_REGION");
	if ((v.vcpu = ioctl(v.vm, KVM_CREATE_VCPU, 0)) < 0)
		skip("KVM_CREATE_VCPU");
	v.run_size = (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	v.run = mmap(NULL, v.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v.vcpu, 0);
	if (ioctl(v.vcpu, KVM_GET_SREGS, &sregs) < 0)
		skip("KVM_GET_SREGS");
	sregs.cs.base = sregs.cs.selector = 0;
	if (ioctl(v.vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(v.vcpu, KVM_SET_REGS, &regs) < 0)
		skip("KVM_SET_REGS");
	return v;
}

static void run(struct vm *v)
{
	if (ioctl(v->vcpu, KVM_RUN, 0) < 0 || v->run->exit_reason != KVM_EXIT_IO)
		skip("KVM_RUN");
}

static void destroy(struct vm *v)
{
	munmap(v->run, v->run_size);
	close(v->vcpu);
	close(v->vm);
	munmap(v->memory, MEMORY);
}

int main(int argc, char **argv)
{
	int lives = argc > 1 ? atoi(argv[1]) : 100;
	int exits = argc > 2 ? atoi(argv[2]) : 10000;
	int rounds = argc > 3 ? atoi(argv[3]) : 5;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		skip("/dev/kvm");
	printf("{\"life\": [");
	for (int round = 0; round < rounds; round++) {
		uint64_t start = now();

		for (int i = 0; i < lives; i++) {
			struct vm v = create(kvm);

			run(&v);
			destroy(&v);
		}
		printf("%s%.1f", round ? ", " : "", (double)(now() - start) / lives);
	}
	printf("], \"exit\": [");
	struct vm v = create(kvm);
	for (int round = 0; round < rounds; round++) {
		uint64_t start = now();

		for (int i = 0; i < exits; i++)
			run(&v);
		printf("%s%.1f", round ? ", " : "", (double)(now() - start) / exits);
	}
	destroy(&v);
	printf("]}\n");
	return 0;
}
