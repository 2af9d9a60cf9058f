/** The compute kernels alone, one round: `make bench-kernels KERNEL="fib qsort"`. */
import { kernelSection } from './kernels.ts'

console.log(kernelSection(1, process.argv.slice(2)))
