import type { Group } from './row.ts'

export const avx: readonly Group[] = []
