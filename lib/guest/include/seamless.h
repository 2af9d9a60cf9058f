/*
 * seamless.h: what a freestanding C guest says to its host, in the words of the KVM selftests.
 * Strings stay out of the guest: each word's place and text go to sections that are not loaded, and its number travels.
 * The guest begins at `void guest_code(void)`.
 */
#ifndef SEAMLESS_H
#define SEAMLESS_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long s64;
typedef unsigned long size_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

/* 64 bytes, so that a record's number is its address / 64: the section is linked at 0. */
struct seamless_site {
	u32 kind, line, relation, types;
	const char *file, *seen, *want, *text;
	u64 reserved[2];
};
enum { SEAMLESS_ASSERT, SEAMLESS_FAIL, SEAMLESS_SYNC, SEAMLESS_PRINTF, SEAMLESS_DONE };
enum { SEAMLESS_TRUE, SEAMLESS_EQ, SEAMLESS_NE, SEAMLESS_LT, SEAMLESS_LE, SEAMLESS_GT, SEAMLESS_GE };
enum { UCALL_NONE, UCALL_SYNC, UCALL_ABORT, UCALL_PRINTF, UCALL_DONE, UCALL_UNHANDLED };

#define SEAMLESS_IN(section_) __attribute__((used, section(section_)))

#define SEAMLESS_SITE(kind_, relation_, types_, seen_, want_, text_)                                   \
	({                                                                                              \
		static const char file__[] SEAMLESS_IN(".seamless.text") = __FILE__;                    \
		static const char seen__[] SEAMLESS_IN(".seamless.text") = seen_;                       \
		static const char want__[] SEAMLESS_IN(".seamless.text") = want_;                       \
		static const char text__[] SEAMLESS_IN(".seamless.text") = text_;                       \
		static const struct seamless_site site__                                                \
			__attribute__((used, aligned(64), section(".seamless.sites"))) = {              \
				kind_,	    __LINE__,					                \
				relation_,  types_,                                                     \
				file__,	    sizeof(seen__) > 1 ? seen__ : 0,                            \
				sizeof(want__) > 1 ? want__ : 0, sizeof(text__) > 1 ? text__ : 0, {0},  \
			};                                                                              \
		(u64)&site__ / 64;                                                                      \
	})

/* The runtime's System V entry: command | count << 8, arguments. */
#define SEAMLESS_REPORT ((void (*)(u64, const u64 *))0x5ff020ul)
#define SEAMLESS_BARE ((void (*)(void))0x5ff010ul)

#define SEAMLESS_TYPE(v)                                                                                \
	_Generic((v), u8: 1, bool: 1, u16: 2, u32: 3, u64: 4, unsigned long long: 4, char: 5, s8: 5,    \
		 s16: 6, s32: 7, s64: 8, long long: 8, default: 0)

/* Never returns: a host that runs the guest on after an abort hears the same again. */
__attribute__((noreturn, cold, noinline, unused)) static void seamless_abort(u64 site, u64 seen, u64 want)
{
	u64 args[3] = { site, seen, want };

	for (;;)
		SEAMLESS_REPORT(UCALL_ABORT | 3 << 8, args);
}

#define SEAMLESS_COMPARE(a, b, op, relation, text)                                                      \
	do {                                                                                            \
		__typeof__(a) seen_ = (a);                                                              \
		__typeof__(b) want_ = (b);                                                              \
		if (__builtin_expect(!(seen_ op want_), 0))                                             \
			seamless_abort(SEAMLESS_SITE(SEAMLESS_ASSERT, relation,                         \
						     SEAMLESS_TYPE((a)) | SEAMLESS_TYPE((b)) << 8, #a,  \
						     #b, text),                                         \
				       (u64)seen_, (u64)want_);                                         \
	} while (0)

#define GUEST_ASSERT_EQ(a, b) SEAMLESS_COMPARE(a, b, ==, SEAMLESS_EQ, "")
#define GUEST_ASSERT_NE(a, b) SEAMLESS_COMPARE(a, b, !=, SEAMLESS_NE, "")
#define GUEST_ASSERT_LT(a, b) SEAMLESS_COMPARE(a, b, <, SEAMLESS_LT, "")
#define GUEST_ASSERT_LE(a, b) SEAMLESS_COMPARE(a, b, <=, SEAMLESS_LE, "")
#define GUEST_ASSERT_GT(a, b) SEAMLESS_COMPARE(a, b, >, SEAMLESS_GT, "")
#define GUEST_ASSERT_GE(a, b) SEAMLESS_COMPARE(a, b, >=, SEAMLESS_GE, "")

#define __GUEST_ASSERT(condition, text)                                                                 \
	do {                                                                                            \
		if (__builtin_expect(!(condition), 0))                                                  \
			seamless_abort(SEAMLESS_SITE(SEAMLESS_ASSERT, SEAMLESS_TRUE, 0, #condition, "", \
						     text),                                             \
				       0, 1);                                                           \
	} while (0)
#define GUEST_ASSERT(condition) __GUEST_ASSERT(condition, "")
#define GUEST_FAIL(text) seamless_abort(SEAMLESS_SITE(SEAMLESS_FAIL, SEAMLESS_TRUE, 0, "", "", text), 0, 0)

#define SEAMLESS_SAY(command, kind, text, ...)                                                          \
	do {                                                                                            \
		const u64 args_[] = { SEAMLESS_SITE(kind, SEAMLESS_TRUE, 0, "", "", text), __VA_ARGS__ };\
		_Static_assert(sizeof(args_) <= 56, "a ucall carries 6 values beside its site");        \
		SEAMLESS_REPORT(command | (sizeof(args_) / 8) << 8, args_);                             \
	} while (0)

#define SEAMLESS_WORDS(...) SEAMLESS_WORDS_(__VA_ARGS__, 6, 5, 4, 3, 2, 1)(__VA_ARGS__)
#define SEAMLESS_WORDS_(a, b, c, d, e, f, n, ...) SEAMLESS_WORDS##n
#define SEAMLESS_WORDS1(a) (u64)(a)
#define SEAMLESS_WORDS2(a, ...) (u64)(a), SEAMLESS_WORDS1(__VA_ARGS__)
#define SEAMLESS_WORDS3(a, ...) (u64)(a), SEAMLESS_WORDS2(__VA_ARGS__)
#define SEAMLESS_WORDS4(a, ...) (u64)(a), SEAMLESS_WORDS3(__VA_ARGS__)
#define SEAMLESS_WORDS5(a, ...) (u64)(a), SEAMLESS_WORDS4(__VA_ARGS__)
#define SEAMLESS_WORDS6(a, ...) (u64)(a), SEAMLESS_WORDS5(__VA_ARGS__)

#define GUEST_SYNC(stage) SEAMLESS_SAY(UCALL_SYNC, SEAMLESS_SYNC, "", (u64)(stage))
#define GUEST_SYNC_ARGS(stage, ...) SEAMLESS_SAY(UCALL_SYNC, SEAMLESS_SYNC, "", SEAMLESS_WORDS(stage, __VA_ARGS__))
/* Integers and pointers; a %s has to point into constant data of the guest. */
#define GUEST_PRINTF(format, ...) \
	SEAMLESS_SAY(UCALL_PRINTF, SEAMLESS_PRINTF, format, __VA_OPT__(SEAMLESS_WORDS(__VA_ARGS__)))
#define GUEST_DONE()                                                                                    \
	do {                                                                                            \
		const u64 args_[] = { SEAMLESS_SITE(SEAMLESS_DONE, SEAMLESS_TRUE, 0, "", "", "") };     \
		SEAMLESS_REPORT(UCALL_DONE | 1 << 8, args_);                                            \
	} while (0)
#define GUEST_UCALL_NONE() SEAMLESS_BARE()

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

/* What a C compiler may call without being asked. */
__attribute__((weak, unused)) void *memcpy(void *to, const void *from, size_t n)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(n) : : "memory");
	return to;
}
__attribute__((weak, unused)) void *memset(void *to, int byte, size_t n)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(byte) : "memory");
	return to;
}
__attribute__((weak, unused)) void *memmove(void *to, const void *from, size_t n)
{
	if ((u64)to - (u64)from >= n)
		return memcpy(to, from, n);
	const u8 *last = (const u8 *)from + n - 1;
	u8 *at = (u8 *)to + n - 1;

	__asm__ volatile("std\n\trep movsb\n\tcld" : "+D"(at), "+S"(last), "+c"(n) : : "memory");
	return to;
}
__attribute__((weak, unused)) int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n > 0; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

#endif
