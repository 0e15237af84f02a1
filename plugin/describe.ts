type Schema = Record<string, unknown>

const MEDIA_TYPE = 'text/event-stream'

/**
 * The response schemas of a route with what its event stream carries, for the API description: one schema for each
 * name of an event. `undefined` where the route describes its 200 itself, which is kept.
 */
export function describeEvents (response: unknown, events: Record<string, unknown>): Schema | undefined {
  const described = isObject(response) ? response : {}
  if (['200', '2xx', '2XX', 'default'].some(status => status in described)) return undefined
  const options = Object.entries(events).map(([event, data]) => eventSchema(event, jsonSchemaOf(data)))
  const schema = options.length === 1 ? options[0] : { oneOf: options }
  return { ...described, 200: { description: 'A stream of events', content: { [MEDIA_TYPE]: { schema } } } }
}

function eventSchema (event: string, data: unknown): Schema {
  return {
    type: 'object',
    description: `The event '${event}'`,
    properties: {
      event: { type: 'string', enum: [event] },
      data,
      id: { type: 'string' },
      retry: { type: 'integer', minimum: 0 }
    },
    required: event === 'message' ? ['data'] : ['event', 'data']
  }
}

/** A schema as JSON Schema: that of a library which has its own says itself what it is, by Standard JSON Schema. */
function jsonSchemaOf (schema: unknown): unknown {
  if (at(schema, '~standard') === undefined) return schema
  const output = at(schema, '~standard', 'jsonSchema', 'output')
  if (typeof output !== 'function') return {}
  const { $schema, ...json } = output({ target: 'draft-07' })
  return json
}

/**
 * Turns the media type of an event stream into that of OpenAPI 3.2 ("Sequential Media Types", "Server-Sent Event
 * Streams"): `itemSchema` describes each event as it goes over the wire, where data is text that may hold JSON.
 */
function describeItems (mediaType: Schema): Schema {
  const { schema } = mediaType
  const itemSchema = isObject(schema) && Array.isArray(schema['oneOf'])
    ? { oneOf: schema['oneOf'].map(dataAsText) }
    : dataAsText(schema)
  return { schema: { type: 'array', description: 'The events in their order' }, itemSchema }
}

function dataAsText (schema: unknown): unknown {
  const properties = at(schema, 'properties')
  const data = at(properties, 'data')
  if (!isObject(schema) || !isObject(properties) || at(data, 'type') === 'string') return schema
  const text = { type: 'string', contentMediaType: 'application/json', contentSchema: data }
  return { ...schema, properties: { ...properties, data: text } }
}

/**
 * Describes the event stream of a route as OpenAPI 3.2 does, where the document is of that version; only the document
 * tells. What is made of the route's schema later, such as the same document in YAML, follows.
 */
export function describeDocument (document: unknown, url: string, methods: string[], response: unknown): void {
  if (!String(at(document, 'openapi')).startsWith('3.2')) return
  const path = url.replace(/:(\w+)(\(.*?\))?/g, '{$1}')
  // The document may leave out the path of its server, with which its own would begin.
  const [, operations] = Object.entries(at(document, 'paths') ?? {})
    .filter(([end]) => path.endsWith(end))
    .sort(([a], [b]) => b.length - a.length)[0] ?? []
  for (const method of methods) describeStream(at(operations, method.toLowerCase(), 'responses'))
  describeStream(response)
}

function describeStream (responses: unknown): void {
  const content = at(responses, '200', 'content')
  const mediaType = at(content, MEDIA_TYPE)
  if (isObject(content) && isObject(mediaType)) content[MEDIA_TYPE] = describeItems(mediaType)
}

/** What lies at the end of a path of keys, if anything does. */
function at (value: unknown, ...path: string[]): unknown {
  return path.reduce((value, key) => isObject(value) ? value[key] : undefined, value)
}

function isObject (value: unknown): value is Schema {
  return typeof value === 'object' && value !== null
}
