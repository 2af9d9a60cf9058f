/** What gcc makes of a real function runs in a TD: SHA-256 over a page, against the host's own. */
import { createHash } from 'node:crypto'
import { c, test } from '#harness'

const PAGE = Uint8Array.from({ length: 4096 }, (_, i) => (i * 7 + 3) & 0xff)

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes. FIPS 180-4, section 4.2.2.
const primes = Array.from({ length: 312 }, (_, n) => n).filter(n => n > 1 && !range(2, n).some(d => n % d === 0))
function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
}

/** The first 32 bits of the fractional part of the `root`th root of `n`, exactly. */
const fraction = (n: number, root: 2n | 3n): bigint => {
  const scaled = BigInt(n) << (32n * root)
  let low = 0n
  for (let bit = 1n << 40n; bit > 0n; bit >>= 1n) if ((low + bit) ** root <= scaled) low += bit
  return low & 0xffff_ffffn
}
const words = (count: number, root: 2n | 3n) => primes.slice(0, count).map(n => `0x${fraction(n, root).toString(16)}`)

test('a_page_has_the_digest_that_the_host_computes', async t => {
  const td = t.td({
    guest: c`
      #include "seamless.h"

      static const u32 k[64] = { ${words(64, 3n)} };
      static u32 h[8] = { ${words(8, 2n)} };
      static u8 page[4096 + 64];

      static u32 ror(u32 x, int n) { return x >> n | x << (32 - n); }

      static void block(const u8 *at)
      {
        u32 w[64], s[8];

        for (int i = 0; i < 16; i++)
          w[i] = (u32)at[4 * i] << 24 | at[4 * i + 1] << 16 | at[4 * i + 2] << 8 | at[4 * i + 3];
        for (int i = 16; i < 64; i++)
          w[i] = w[i - 16] + w[i - 7] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3)
               + (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
        memcpy(s, h, sizeof(s));
        for (int i = 0; i < 64; i++) {
          u32 a = s[7] + (ror(s[4], 6) ^ ror(s[4], 11) ^ ror(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
          u32 b = (ror(s[0], 2) ^ ror(s[0], 13) ^ ror(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));

          for (int j = 7; j > 0; j--)
            s[j] = s[j - 1];
          s[4] += a;
          s[0] = a + b;
        }
        for (int i = 0; i < 8; i++)
          h[i] += s[i];
      }

      void guest_code(void)
      {
        for (int i = 0; i < 4096; i++)
          page[i] = i * 7 + 3;
        page[4096] = 0x80;
        page[4096 + 62] = 4096 * 8 >> 8;
        for (int i = 0; i < 4096 + 64; i += 64)
          block(page + i);
        GUEST_SYNC_ARGS((u64)h[0] << 32 | h[1], (u64)h[2] << 32 | h[3], (u64)h[4] << 32 | h[5], (u64)h[6] << 32 | h[7]);
        GUEST_DONE();
      }`,
  })

  const { values } = await td.vcpu.until('UCALL_SYNC')
  const digest = values
    .slice(0, 4)
    .map(value => value.toString(16).padStart(16, '0'))
    .join('')
  t.assert.eq(digest, createHash('sha256').update(PAGE).digest('hex'))
  await td.vcpu.until('UCALL_DONE')
})
