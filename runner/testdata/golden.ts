/** Golden texts: files beside this one. `SEAMLESS_GOLDEN=write` writes what is printed now. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'

export const golden = (name: string, text: string): string => {
  const file = new URL(name, import.meta.url)
  if (process.env['SEAMLESS_GOLDEN'] === 'write') writeFileSync(file, text)
  return existsSync(file) ? readFileSync(file, 'utf8') : ''
}
