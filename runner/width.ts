/** How many columns a text takes, for the help in the bundle: string-width's table of emoji costs more than our start. */
import { stripVTControlCharacters } from 'node:util'

const width = (text: string): number => [...stripVTControlCharacters(text)].length

export default width
