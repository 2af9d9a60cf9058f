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

#define SEAMLESS_SITE(kind_, relation_, types_, seen_, want_, text_) \
	SEAMLESS_SITE_OF(kind_, relation_, types_, seen_, want_, text_, 0)
/* `strings_`: bit n says that value n is a string, whose bytes follow the values. */
#define SEAMLESS_SITE_OF(kind_, relation_, types_, seen_, want_, text_, strings_)                      \
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
				sizeof(want__) > 1 ? want__ : 0, sizeof(text__) > 1 ? text__ : 0,       \
				{ strings_ },                                                           \
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
__attribute__((noreturn, cold, noinline, unused)) static void seamless_abort_with(const u64 *args, u64 count)
{
	for (;;)
		SEAMLESS_REPORT(UCALL_ABORT | count << 8, args);
}
__attribute__((noreturn, cold, noinline, unused)) static void seamless_abort(u64 site, u64 seen, u64 want)
{
	u64 args[3] = { site, seen, want };

	seamless_abort_with(args, 3);
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

/* Values as u64s, up to 12 of them. */
#define SEAMLESS_WORDS(...) SEAMLESS_WORDS_(__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)(__VA_ARGS__)
#define SEAMLESS_WORDS_(a, b, c, d, e, f, g, h, i, j, k, l, n, ...) SEAMLESS_WORDS##n
#define SEAMLESS_WORDS1(a) (u64)(a)
#define SEAMLESS_WORDS2(a, ...) (u64)(a), SEAMLESS_WORDS1(__VA_ARGS__)
#define SEAMLESS_WORDS3(a, ...) (u64)(a), SEAMLESS_WORDS2(__VA_ARGS__)
#define SEAMLESS_WORDS4(a, ...) (u64)(a), SEAMLESS_WORDS3(__VA_ARGS__)
#define SEAMLESS_WORDS5(a, ...) (u64)(a), SEAMLESS_WORDS4(__VA_ARGS__)
#define SEAMLESS_WORDS6(a, ...) (u64)(a), SEAMLESS_WORDS5(__VA_ARGS__)
#define SEAMLESS_WORDS7(a, ...) (u64)(a), SEAMLESS_WORDS6(__VA_ARGS__)
#define SEAMLESS_WORDS8(a, ...) (u64)(a), SEAMLESS_WORDS7(__VA_ARGS__)
#define SEAMLESS_WORDS9(a, ...) (u64)(a), SEAMLESS_WORDS8(__VA_ARGS__)
#define SEAMLESS_WORDS10(a, ...) (u64)(a), SEAMLESS_WORDS9(__VA_ARGS__)
#define SEAMLESS_WORDS11(a, ...) (u64)(a), SEAMLESS_WORDS10(__VA_ARGS__)
#define SEAMLESS_WORDS12(a, ...) (u64)(a), SEAMLESS_WORDS11(__VA_ARGS__)

/* Strings: which of the values are some, as a mask; their bytes go behind the values, 64 of each, up to a NUL. */
#define SEAMLESS_IS_TEXT(a) _Generic((a), char *: 1ul, const char *: 1ul, default: 0ul)
#define SEAMLESS_MASK(...) (0ul __VA_OPT__(| SEAMLESS_MASK_(__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)(__VA_ARGS__)))
#define SEAMLESS_MASK_(a, b, c, d, e, f, g, h, i, j, k, l, n, ...) SEAMLESS_MASK##n
#define SEAMLESS_MASK1(a) SEAMLESS_IS_TEXT(a)
#define SEAMLESS_MASK2(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK1(__VA_ARGS__) << 1)
#define SEAMLESS_MASK3(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK2(__VA_ARGS__) << 1)
#define SEAMLESS_MASK4(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK3(__VA_ARGS__) << 1)
#define SEAMLESS_MASK5(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK4(__VA_ARGS__) << 1)
#define SEAMLESS_MASK6(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK5(__VA_ARGS__) << 1)
#define SEAMLESS_MASK7(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK6(__VA_ARGS__) << 1)
#define SEAMLESS_MASK8(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK7(__VA_ARGS__) << 1)
#define SEAMLESS_MASK9(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK8(__VA_ARGS__) << 1)
#define SEAMLESS_MASK10(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK9(__VA_ARGS__) << 1)
#define SEAMLESS_MASK11(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK10(__VA_ARGS__) << 1)
#define SEAMLESS_MASK12(a, ...) (SEAMLESS_IS_TEXT(a) | SEAMLESS_MASK11(__VA_ARGS__) << 1)
enum { SEAMLESS_TEXT_WORDS = 8 };
#define SEAMLESS_TEXTS(...) (SEAMLESS_TEXT_WORDS * __builtin_popcountl(SEAMLESS_MASK(__VA_ARGS__)))
__attribute__((noinline, unused)) static void seamless_texts(u64 *to, const u64 *values, u64 mask)
{
	for (; mask; mask >>= 1, values++) {
		const char *from = (const char *)*values;
		char *text = (char *)to;
		u64 n = 0;

		if (!(mask & 1))
			continue;
		for (; from && n < SEAMLESS_TEXT_WORDS * 8 && from[n]; n++)
			text[n] = from[n];
		for (; n < SEAMLESS_TEXT_WORDS * 8; n++)
			text[n] = 0;
		to += SEAMLESS_TEXT_WORDS;
	}
}

/* The site, two words for what an assertion compares, then what the format takes. */
#define SEAMLESS_ABORT(kind, condition, format, ...)                                                    \
	do {                                                                                            \
		u64 args_[3 + SEAMLESS_COUNT(__VA_ARGS__) + SEAMLESS_TEXTS(__VA_ARGS__)] = {            \
			SEAMLESS_SITE_OF(kind, SEAMLESS_TRUE,                                           \
					 (2 + SEAMLESS_COUNT(__VA_ARGS__) + SEAMLESS_TEXTS(__VA_ARGS__)) << 16, \
					 condition, "", format, SEAMLESS_MASK(__VA_ARGS__)),            \
			0, 1,                                                                           \
			__VA_OPT__(SEAMLESS_WORDS(__VA_ARGS__))                                         \
		};                                                                                      \
		if (SEAMLESS_MASK(__VA_ARGS__))                                                         \
			seamless_texts(args_ + 3 + SEAMLESS_COUNT(__VA_ARGS__), args_ + 3,              \
				       SEAMLESS_MASK(__VA_ARGS__));                                     \
		seamless_abort_with(args_, sizeof(args_) / 8);                                          \
	} while (0)
#define __GUEST_ASSERT(condition, format, ...)                                                          \
	do {                                                                                            \
		if (__builtin_expect(!(condition), 0))                                                  \
			SEAMLESS_ABORT(SEAMLESS_ASSERT, #condition, format __VA_OPT__(,) __VA_ARGS__);  \
	} while (0)
#define GUEST_ASSERT(condition) __GUEST_ASSERT(condition, "")
#define GUEST_FAIL(format, ...) SEAMLESS_ABORT(SEAMLESS_FAIL, "", format __VA_OPT__(,) __VA_ARGS__)

/* How many values there are; their number is the upper half of a site's types. */
#define SEAMLESS_COUNT(...) (0 __VA_OPT__(+SEAMLESS_COUNT_(__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)))
#define SEAMLESS_COUNT_(a, b, c, d, e, f, g, h, i, j, k, l, n, ...) n

#define SEAMLESS_SAY(command, kind, text, ...)                                                          \
	do {                                                                                            \
		u64 args_[1 + SEAMLESS_COUNT(__VA_ARGS__) + SEAMLESS_TEXTS(__VA_ARGS__)] = {            \
			SEAMLESS_SITE_OF(kind, SEAMLESS_TRUE,                                           \
					 (SEAMLESS_COUNT(__VA_ARGS__) + SEAMLESS_TEXTS(__VA_ARGS__)) << 16, \
					 "", "", text, SEAMLESS_MASK(__VA_ARGS__)),                     \
			__VA_OPT__(SEAMLESS_WORDS(__VA_ARGS__))                                         \
		};                                                                                      \
		if (SEAMLESS_MASK(__VA_ARGS__))                                                         \
			seamless_texts(args_ + 1 + SEAMLESS_COUNT(__VA_ARGS__), args_ + 1,              \
				       SEAMLESS_MASK(__VA_ARGS__));                                     \
		SEAMLESS_REPORT(command | (sizeof(args_) / 8) << 8, args_);                             \
	} while (0)

#define GUEST_SYNC(stage) SEAMLESS_SAY(UCALL_SYNC, SEAMLESS_SYNC, "", stage)
#define GUEST_SYNC_ARGS(stage, ...) SEAMLESS_SAY(UCALL_SYNC, SEAMLESS_SYNC, "", stage, __VA_ARGS__)
#define GUEST_SYNC1(a) GUEST_SYNC(a)
#define GUEST_SYNC2(a, b) GUEST_SYNC_ARGS(a, b)
#define GUEST_SYNC3(a, b, c) GUEST_SYNC_ARGS(a, b, c)
#define GUEST_SYNC4(a, b, c, d) GUEST_SYNC_ARGS(a, b, c, d)
#define GUEST_SYNC5(a, b, c, d, e) GUEST_SYNC_ARGS(a, b, c, d, e)
#define GUEST_SYNC6(a, b, c, d, e, f) GUEST_SYNC_ARGS(a, b, c, d, e, f)
/* Integers and pointers. Of a string (any char *) the first 64 bytes travel, read now; of a constant one the host has all. */
#define GUEST_PRINTF(format, ...) \
	SEAMLESS_SAY(UCALL_PRINTF, SEAMLESS_PRINTF, format __VA_OPT__(,) __VA_ARGS__)
#define GUEST_DONE()                                                                                    \
	do {                                                                                            \
		const u64 args_[] = { SEAMLESS_SITE(SEAMLESS_DONE, SEAMLESS_TRUE, 0, "", "", "") };     \
		SEAMLESS_REPORT(UCALL_DONE | 1 << 8, args_);                                            \
	} while (0)
#define GUEST_UCALL_NONE() SEAMLESS_BARE()

#include "processor.h"
#include "tdx.h"

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
