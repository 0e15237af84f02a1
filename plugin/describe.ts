import { at, isForeign, isObject, jsonSchemaOf, type Schema } from './json-schema'

const MEDIA_TYPE = 'text/event-stream'

// An extension of OpenAPI by which a route is found again in a document, whatever its URL there; it is taken off then.
const MARK = 'x-event-stream'

/**
 * Describes an event stream in the schema of its route, where that does not describe its 200 itself.
 *
 * To be called when Fastify has compiled the route's responses: nothing is ever serialized by this one.
 *
 * @param schema of the route; is added to, as its `response` is
 */
export function describeEvents (name: string, schema: Schema, events: Schema): void {
  const response: Schema = Object(schema['response'])
  if (['200', '2xx', '2XX', 'default'].some(status => status in response)) return
  schema[MARK] = name
  if (!areForeign(events)) response['200'] = responseOf(events, '')
  // What translates the schemas of a library for @fastify/swagger takes nothing else: `describeDocument` adds it.
  else if (Object.keys(response).length === 0) delete schema['response']
}

/**
 * Describes an event stream in the document of @fastify/swagger, as far as this takes its version of OpenAPI, which
 * nobody else tells. What is made of the route's schema later, such as the same document in YAML, follows.
 */
export function describeDocument (document: unknown, schema: Schema, events: Schema): void {
  const name = schema[MARK]
  if (name === undefined) return
  delete schema[MARK]

  const version = String(at(document, 'openapi'))
  const describe = (responses: unknown): void => {
    if (version.startsWith('3.2')) describeItems(at(responses, '200', 'content'))
  }
  for (const operation of valuesOf(at(document, 'paths')).flatMap(valuesOf).filter(isObject)) {
    if (operation[MARK] !== name) continue
    delete operation[MARK]
    if (areForeign(events)) operation['responses'] = { ...Object(operation['responses']), 200: responseOf(events, version) }
    describe(operation['responses'])
  }
  describe(schema['response'])
}

function responseOf (events: Schema, version: string): Schema {
  const target = version.startsWith('3.0') ? 'openapi-3.0' : 'draft-2020-12'
  const options = Object.entries(events).map(([event, data]) => eventSchema(event, jsonSchemaOf(data, target)))
  const schema = options.length === 1 ? options[0] : { oneOf: options }
  return { description: 'A stream of events', content: { [MEDIA_TYPE]: { schema } } }
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

/**
 * Turns the media type of an event stream into that of OpenAPI 3.2 ("Sequential Media Types", "Server-Sent Event
 * Streams"): `itemSchema` describes each event as it goes over the wire, where data is text that may hold JSON.
 */
function describeItems (content: unknown): void {
  const schema = at(content, MEDIA_TYPE, 'schema')
  if (!isObject(content) || !isObject(schema)) return
  const { oneOf } = schema
  const itemSchema = Array.isArray(oneOf) ? { oneOf: oneOf.map(dataAsText) } : dataAsText(schema)
  content[MEDIA_TYPE] = { schema: { type: 'array', description: 'The events in their order' }, itemSchema }
}

function dataAsText (schema: unknown): unknown {
  const properties = at(schema, 'properties')
  const data = at(properties, 'data')
  if (!isObject(schema) || !isObject(properties) || at(data, 'type') === 'string') return schema
  const text = { type: 'string', contentMediaType: 'application/json', contentSchema: data }
  return { ...schema, properties: { ...properties, data: text } }
}

function areForeign (events: Schema): boolean {
  return Object.values(events).some(isForeign)
}

function valuesOf (value: unknown): unknown[] {
  return isObject(value) ? Object.values(value) : []
}
