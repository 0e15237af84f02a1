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
 * @param side which of the two that a schema has in a library which converts between them
 */
export function jsonSchemaOf (schema: unknown, target: string, side: 'input' | 'output' = 'output'): unknown {
  if (!isForeign(schema)) return schema
  const make = at(schema, '~standard', 'jsonSchema', side)
  if (typeof make !== 'function') return {}
  try {
    const { $schema, $defs, definitions, ...json } = make({ target, libraryOptions: { unrepresentable: 'any' } })
    return inline(json, { $defs, definitions }, false)
  } catch {
    return {}
  }
}

/** What the values that a schema allows may be: text, or anything else. */
export interface Kinds {
  text: boolean
  other: boolean
}

const ANY: Kinds = { text: true, other: true }

/**
 * What the values of a schema may be when they are serialized. In doubt they may be both.
 *
 * @param shared the schemas that it may refer to, by their `$id`
 */
export function kindsOf (schema: unknown, shared: Schema): Kinds {
  // A library may serialize either: Zod, for one, encodes the output of a codec into its input.
  const sides = isForeign(schema) ? [jsonSchemaOf(schema, 'draft-2020-12', 'input'), jsonSchemaOf(schema, 'draft-2020-12')] : [schema]
  return anyOf(sides.map(side => kindsWithin(side, side, shared, [])))
}

/** @param passed the schemas around it, which one may refer to again without an end */
function kindsWithin (schema: unknown, root: unknown, shared: Schema, passed: readonly unknown[]): Kinds {
  if (!isObject(schema) || passed.includes(schema)) return ANY
  const kinds = (part: unknown, itsRoot: unknown = root): Kinds => kindsWithin(part, itsRoot, shared, [...passed, schema])
  const kindsIn = (parts: unknown): Kinds[] => Array.isArray(parts) ? parts.map(part => kinds(part)) : []

  const { $ref, type, nullable } = schema
  if (typeof $ref === 'string') {
    const [id, path = ''] = $ref.split('#')
    const [start, ...keys] = path.split('/')
    const itsRoot = id === '' ? root : shared[String(id)]
    return start === '' ? kinds(at(itsRoot, ...keys), itsRoot) : ANY
  }

  const types = [type ?? []].flat()
  const values = [schema['enum'] ?? [], 'const' in schema ? [schema['const']] : []]
  const choices = [
    types.map(name => kindOf(name === 'string')),
    ...values.map(values => [values].flat().map(value => kindOf(typeof value === 'string'))),
    kindsIn(schema['anyOf']),
    kindsIn(schema['oneOf'])
  ]
  const all = [...kindsIn(schema['allOf']), ...choices.filter(({ length }) => length > 0).map(anyOf)]
  return { text: all.every(({ text }) => text), other: nullable === true || all.every(({ other }) => other) }
}

function kindOf (isText: boolean): Kinds {
  return { text: isText, other: !isText }
}

function anyOf (options: readonly Kinds[]): Kinds {
  return { text: options.some(({ text }) => text), other: options.some(({ other }) => other) }
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
