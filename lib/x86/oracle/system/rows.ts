/** Every program of the system's kind. */
import type { Program } from './machine.ts'
import { features } from './rows-features.ts'
import { segments } from './rows-segments.ts'
import { system } from './rows-system.ts'
import { transfers } from './rows-transfer.ts'

export const programs: readonly Program[] = [...segments, ...transfers, ...system, ...features]
