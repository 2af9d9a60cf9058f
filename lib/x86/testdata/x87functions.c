/* Runs x87 functions on the processor at hand. A line in: name, FCW, ST(1), ST(0) in hex; a line out: FSW, FTW, ST(0), ST(1). */
#include <stdio.h>
#include <string.h>

static unsigned char operand[2][16];
static unsigned char image[512] __attribute__((aligned(16)));

static void parse(const char *text, unsigned char *into)
{
	for (int n = 9; n >= 0; n--, text += 2)
		sscanf(text, "%2hhx", &into[n]);
}

static void print(const unsigned char *bytes)
{
	putchar(' ');
	for (int n = 9; n >= 0; n--)
		printf("%02x", bytes[n]);
}

#define RUN(insn)                                                                              \
	else if (!strcmp(name, #insn)) asm volatile("fninit\n\tfldt %1\n\tfldt %2\n\tfldcw %3\n\t" #insn \
						    "\n\tfxsave %0\n\tfninit"                   \
						    : "=m"(image)                               \
						    : "m"(operand[0]), "m"(operand[1]), "m"(fcw))

int main(void)
{
	char name[16], st1[32], st0[32];
	unsigned int word;

	while (scanf("%15s %x %31s %31s", name, &word, st1, st0) == 4) {
		unsigned short fcw = word;

		parse(st1, operand[0]);
		parse(st0, operand[1]);
		if (0)
			;
		RUN(f2xm1);
		RUN(fyl2x);
		RUN(fyl2xp1);
		RUN(fptan);
		RUN(fpatan);
		RUN(fsin);
		RUN(fcos);
		RUN(fsincos);
		printf("%02x%02x %02x", image[3], image[2], image[4]);
		print(image + 32);
		print(image + 48);
		putchar('\n');
	}
	return 0;
}
