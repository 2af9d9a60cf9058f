/**
 * What guests' code was compiled to, in files for the next process: beside the image that compiled it, and as long as that is
 * used, so that they are always of the same sources. SEAMLESS_TRANSLATIONS=none does without.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, unlink, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import type { Keeper } from '#linux'

/** Bytes of all files together; the oldest go first. */
const MOST = 64 * 2 ** 20
const SUM = 4

/** The files of `directory`, each a sum and what was put. What cannot be read or written is not there. */
export const translationsIn = (directory: string, most = MOST): Keeper => ({
  nameOf: bytes => crc32(bytes).toString(16),

  get(name) {
    try {
      const file = readFileSync(join(directory, name))
      const bytes = file.subarray(SUM)
      // A machine that stopped in the middle may leave half a file.
      return file.length > SUM && file.readUInt32LE() === crc32(bytes) ? bytes : undefined
    } catch {
      return undefined
    }
  },

  put(name, bytes) {
    const sum = Buffer.alloc(SUM)
    sum.writeUInt32LE(crc32(bytes))
    // Other processes see the whole file or none; the last one to write it has it.
    const path = join(directory, `${name}.${process.pid}`)
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      writeFileSync(path, Buffer.concat([sum, bytes]))
      renameSync(path, join(directory, name))
      trim(directory, most)
    } catch {
      // The disk is full, or not ours: there is nothing to keep, and perhaps a piece to remove.
      unlink(path, () => {})
    }
  },
})

const trim = (directory: string, most: number): void => {
  const files = readdirSync(directory).flatMap(name => {
    const path = join(directory, name)
    const stats = statSync(path, { throwIfNoEntry: false })
    return stats === undefined ? [] : [{ path, size: stats.size, time: stats.mtimeMs }]
  })
  files.sort((a, b) => b.time - a.time)
  let sum = 0
  for (const { path, size } of files) {
    sum += size
    if (sum > most) rmSync(path, { force: true })
  }
}

/** The translations of an image, by the name of its file; undefined where there shall be none. */
export const translationsOf = (image: string): Keeper | undefined =>
  process.env['SEAMLESS_TRANSLATIONS'] === 'none' ? undefined : translationsIn(`${image}.code`)
