/**
 * The schema of a record's lines, made from the type `Event`: docs/events.schema.json. Run as a program it writes the
 * file. JSON Schema, draft 2020-12.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { EVENTS_VERSION } from '../events.ts'

export type Schema = {
  type?: string
  const?: string
  enum?: string[]
  description?: string
  properties?: Record<string, Schema>
  required?: string[]
  items?: Schema
  additionalProperties?: Schema | boolean
  anyOf?: Schema[]
  oneOf?: Schema[]
  $ref?: string
}

const EVENTS = fileURLToPath(new URL('../events.ts', import.meta.url))
export const FILE = fileURLToPath(new URL('../../docs/events.schema.json', import.meta.url))

/** The schema of `Event`; named types become definitions. */
export const eventSchema = (): object => {
  const options = { strict: true, exactOptionalPropertyTypes: true, target: ts.ScriptTarget.ES2024, noLib: false }
  const program = ts.createProgram([EVENTS], options)
  const checker = program.getTypeChecker()
  const source = program.getSourceFile(EVENTS)!
  const definitions: Record<string, Schema> = {}
  const named = new Map<ts.Type, string>()

  const describe = (symbol: ts.Symbol): { description?: string } => {
    const text = ts.displayPartsToString(symbol.getDocumentationComment(checker)).replace(/\s+/g, ' ')
    return text === '' ? {} : { description: text }
  }
  const schemaOf = (type: ts.Type): Schema => {
    const name = named.get(type)
    if (name !== undefined) return { $ref: `#/$defs/${name}` }
    return shapeOf(type)
  }
  const shapeOf = (type: ts.Type): Schema => {
    if (type.isStringLiteral()) return { const: type.value }
    if (type.flags & ts.TypeFlags.String) return { type: 'string' }
    if (type.flags & ts.TypeFlags.Number) return { type: 'number' }
    if (type.flags & ts.TypeFlags.BooleanLike) return { type: 'boolean' }
    if (type.isUnion()) {
      const parts = type.types.filter(part => !(part.flags & ts.TypeFlags.Undefined))
      if (parts.every(part => part.isStringLiteral()))
        return { enum: parts.map(part => (part as ts.StringLiteralType).value) }
      return parts.length === 1 ? schemaOf(parts[0]!) : { anyOf: parts.map(schemaOf) }
    }
    if (checker.isArrayType(type))
      return { type: 'array', items: schemaOf(checker.getTypeArguments(type as ts.TypeReference)[0]!) }
    const index = checker.getIndexInfoOfType(type, ts.IndexKind.String)
    if (index !== undefined) return { type: 'object', additionalProperties: schemaOf(index.type) }
    const properties: Record<string, Schema> = {}
    const required: string[] = []
    for (const symbol of checker.getPropertiesOfType(type)) {
      const isOptional = (symbol.flags & ts.SymbolFlags.Optional) !== 0
      properties[symbol.name] = { ...schemaOf(checker.getTypeOfSymbolAtLocation(symbol, source)), ...describe(symbol) }
      if (!isOptional) required.push(symbol.name)
    }
    return { type: 'object', properties, required }
  }

  const aliases = source.statements.filter(ts.isTypeAliasDeclaration)
  for (const alias of aliases)
    if (alias.name.text !== 'Event') named.set(checker.getTypeAtLocation(alias.name), alias.name.text)
  for (const [type, name] of named) definitions[name] = shapeOf(type)
  const event = checker.getTypeAtLocation(aliases.find(alias => alias.name.text === 'Event')!.name)
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: `A line of a record, version ${EVENTS_VERSION}`,
    description: 'Readers must take lines of a type they do not know, and fields they do not know, and go on.',
    oneOf: (event as ts.UnionType).types.map(shapeOf),
    $defs: definitions,
  }
}

export const schemaText = (): string => `${JSON.stringify(eventSchema(), null, 2)}\n`

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(FILE, schemaText())
