/**
 * Makes a test file a program: preloaded (`node --import seamless/direct x_test.ts -t name`, or that as its first line),
 * it runs the file's tests here and prints what kselftest_harness.h would, so that run_kselftest.sh and lib.mk run it
 * as one of their own.
 */
var file = process.argv[1]
process.argv.splice(
  1,
  1,
  new URL('seamless.js', import.meta.url).pathname,
  'run',
  '--report',
  'harness',
  '--record',
  'none',
  file,
)
await import('./seamless.js')
// seamless.js does not wait for what it loads, so that an old Node can parse it; and the file itself is not to run.
if (process.features.typescript) {
  await process[Symbol.for('seamless:command')]
  process.exit()
}
await new Promise(() => {})
