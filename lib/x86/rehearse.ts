/** What every process does first and with the same result, done once for an image of many: see runner/image.ts. */
import { featuresOf, nativeCpuid } from './cpuid.ts'

/** Answers what is asked of the processor that machines have unless told otherwise; how many words it was. */
export const rehearse = (): number => featuresOf(nativeCpuid).summary.split(' ').length
