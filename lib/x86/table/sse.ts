import type { Group } from './row.ts'

export const sse: readonly Group[] = []
