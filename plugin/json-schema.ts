export type Schema = Record<string, unknown>

/**
 * Whether a schema is of a library, such as Zod, and no JSON Schema itself: Standard Schema tells
 * (https://standardschema.dev).
 */
export function isForeign (schema: unknown): boolean {
  return at(schema, '~standard') !== undefined
}

/**
 * A schema as JSON Schema: one of a library says itself what it is, by Standard JSON Schema. Where it does not, it is
 * the schema that allows anything.
 *
 * @param target the dialect for those of a library, by a name of Standard JSON Schema
 */
export function jsonSchemaOf (schema: unknown, target: string): unknown {
  if (!isForeign(schema)) return schema
  const output = at(schema, '~standard', 'jsonSchema', 'output')
  if (typeof output !== 'function') return {}
  try {
    const { $schema, $defs, definitions, ...json } = output({ target, libraryOptions: { unrepresentable: 'any' } })
    return inline(json, { $defs, definitions }, ['#'])
  } catch {
    return {}
  }
}

/** Puts definitions where they are referred to, since in a document of others their references would lead elsewhere. */
function inline (schema: unknown, definitions: Schema, within: string[]): unknown {
  if (Array.isArray(schema)) return schema.map(item => inline(item, definitions, within))
  if (!isObject(schema)) return schema
  const { $ref } = schema
  if (typeof $ref === 'string') {
    // A schema that is within itself cannot be written out.
    return within.includes($ref) ? {} : inline(at(definitions, ...$ref.split('/').slice(1)) ?? {}, definitions, [...within, $ref])
  }
  return Object.fromEntries(Object.entries(schema).map(([keyword, value]) => [keyword, inline(value, definitions, within)]))
}

/** What lies at the end of a path of keys, if anything does. */
export function at (value: unknown, ...path: string[]): unknown {
  return path.reduce((value, key) => isObject(value) ? value[key] : undefined, value)
}

export function isObject (value: unknown): value is Schema {
  return typeof value === 'object' && value !== null
}
