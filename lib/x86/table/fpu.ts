import type { Group } from './row.ts'

export const fpu: readonly Group[] = []
