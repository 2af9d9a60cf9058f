import { readFileSync } from 'node:fs'
import t from 'tap'
import { RUN } from './testdata/run.ts'
import { FILE, type Schema, schemaText } from './testdata/schema.ts'

t.test('the published schema is what the type says (else: make schema)', async t => {
  t.equal(readFileSync(FILE, 'utf8'), schemaText())
})

/** As much of JSON Schema as ours uses. */
const holds = (value: unknown, schema: Schema, root: { $defs: Record<string, Schema> }): boolean => {
  const also = (part: Schema): boolean => holds(value, part, root)
  if (schema.$ref !== undefined) return also(root.$defs[schema.$ref.split('/').at(-1)!]!)
  if (schema.oneOf !== undefined) return schema.oneOf.filter(also).length === 1
  if (schema.anyOf !== undefined) return schema.anyOf.some(also)
  if (schema.const !== undefined) return value === schema.const
  if (schema.enum !== undefined) return schema.enum.includes(value as string)
  if (schema.type === 'array') return Array.isArray(value) && value.every(item => holds(item, schema.items!, root))
  if (schema.type !== 'object') return typeof value === schema.type
  if (typeof value !== 'object' || value === null) return false
  const { properties = {}, required = [], additionalProperties } = schema
  return (
    required.every(key => key in value) &&
    Object.entries(value).every(([key, item]) => {
      const part = properties[key] ?? (typeof additionalProperties === 'object' ? additionalProperties : undefined)
      return part !== undefined && holds(item, part, root)
    })
  )
}

t.test('every event of a run holds to it, and what is none does not', async t => {
  const schema = JSON.parse(readFileSync(FILE, 'utf8'))
  for (const event of RUN) t.ok(holds(JSON.parse(JSON.stringify(event)), schema, schema), event.type)
  t.notOk(holds({ type: 'end', file: 'a', test: 'b', status: 'good', duration: 0, instructions: 0 }, schema, schema))
  t.notOk(holds({ type: 'file' }, schema, schema))
})
