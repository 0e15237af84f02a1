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
    return inline(json, { $defs, definitions }, false)
  } catch {
    return {}
  }
}

/**
 * Puts definitions where they are referred to, since in a document of others their references would lead elsewhere. Of
 * those that are within themselves this cannot be done to the end: one within another is left open.
 */
function inline (schema: unknown, definitions: Schema, isWithin: boolean): unknown {
  if (Array.isArray(schema)) return schema.map(item => inline(item, definitions, isWithin))
  if (!isObject(schema)) return schema
  const { $ref } = schema
  if (typeof $ref !== 'string') {
    return Object.fromEntries(Object.entries(schema).map(([keyword, value]) => [keyword, inline(value, definitions, isWithin)]))
  }
  const isCircular = refersToItself($ref, definitions)
  return isCircular && isWithin ? {} : inline(definitionOf($ref, definitions), definitions, isWithin || isCircular)
}

function refersToItself ($ref: string, definitions: Schema): boolean {
  const reached = new Set(referencesIn(definitionOf($ref, definitions)))
  // What is added is visited as well.
  for (const reference of reached) referencesIn(definitionOf(reference, definitions)).forEach(further => reached.add(further))
  return reached.has($ref)
}

function referencesIn (schema: unknown): string[] {
  return [...JSON.stringify(schema).matchAll(/"\$ref":"(.*?)"/g)].map(([, $ref]) => String($ref))
}

function definitionOf ($ref: string, definitions: Schema): unknown {
  const [, ...path] = $ref.split('/')
  return (path.length === 0 ? undefined : at(definitions, ...path)) ?? {}
}

/** What lies at the end of a path of keys, if anything does. */
export function at (value: unknown, ...path: string[]): unknown {
  return path.reduce((value, key) => isObject(value) ? value[key] : undefined, value)
}

export function isObject (value: unknown): value is Schema {
  return typeof value === 'object' && value !== null
}
