/**
 * `make bench`: how fast we are, against what there is on this machine, in one run. Prints one table; with `--write` it
 * is kept in docs/benchmarks.md. Nothing here is a test: a figure is never wrong.
 */
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { buildRows } from './build.ts'
import { cpuRows } from './cpu.ts'
import { distinctRows } from './distinct.ts'
import { guestRows } from './guests.ts'
import { kernelSection } from './kernels.ts'
import { leafRows, leafTable } from './leaves.ts'
import { tableOf } from './measure.ts'
import { runnerRows } from './runner.ts'
import { startRows } from './start.ts'

const ROUNDS = 5
/** Rounds of the kernels, each of which takes a minute or two. */
const KERNEL_ROUNDS = 3

const rows = [
  ...(await guestRows(ROUNDS)),
  ...(await cpuRows(ROUNDS)),
  ...distinctRows(ROUNDS),
  ...buildRows(ROUNDS),
  ...(await startRows(ROUNDS)),
  ...(await runnerRows(ROUNDS)),
]
const table = tableOf(rows)
const leaves = leafTable(await leafRows(ROUNDS))
console.log(`${table}\n\n${leaves}\n`)
const kernels = kernelSection(KERNEL_ROUNDS)
console.log(kernels)

if (process.argv.includes('--write')) {
  const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} processors, ${process.platform} ${process.arch}, Node ${process.versions.node}`
  const page = `# Benchmarks

What \`make bench\` last wrote with \`make bench WRITE=1\`. Medians of ${ROUNDS} rounds after one that warms up; every figure and
its peer are from the same run. Whole-process times and everything below a microsecond move with the machine's load:
compare ratios, not absolute times.

Measured on: ${machine}.

${table}

A TD's life and a round trip are timed through the harness, as a selftest has them: the host process's ioctls, KVM, the
TDX module's checks, the guest's instructions, teardown. The peer on /dev/kvm is \`lib/bench/kvm.c\`: an *ordinary* VM with
one page of real-mode code, no TDX anywhere, since no machine without TDX can run the real thing.

## SEAMCALLs and TDCALLs

What one call costs here, leaf by leaf: of a SEAMCALL from the host's register file to its status, of a TDCALL in a loop of a
guest, less the loop. Medians of ${ROUNDS} rounds, of many calls each. A leaf that a machine does once (TDH.SYS.INIT and what follows
it), that ends a TD's run (TDH.VP.ENTER: see the round trip above) or that is not modelled has no row.

${leaves}

${kernels}`
  writeFileSync(new URL('../../docs/benchmarks.md', import.meta.url), page)
}
