import { at, isForeign, isObject, jsonSchemaOf, kindsOf, type Kinds, type Schema } from './json-schema'

const MEDIA_TYPE = 'text/event-stream'
const DESCRIPTION = 'A stream of events'

// Those that may stand for a 200, as Fastify and documents write them.
const STATUSES = ['200', '2xx', '2XX', 'default']

// An extension of OpenAPI by which a route is found again in a document, whatever its URL there; it is taken off then.
const MARK = 'x-event-stream'

let marks = 0

/**
 * Describes an event stream in the schema of its route, where that does not describe its 200 itself; beside the other
 * media types of a 200 that has some.
 *
 * To be called when Fastify has compiled the route's responses: nothing is ever serialized by this one.
 *
 * @param schema of the route; is added to, as its `response` is
 */
export function describeEvents (schema: Schema, events: Schema): void {
  const response: Schema = Object(schema['response'])
  const status = statusIn(response)
  const content = at(response, status, 'content')
  if (status in response && (!isObject(content) || MEDIA_TYPE in content)) return
  schema[MARK] = ++marks
  if (!areForeign(events)) addStream(response, events, '')
  // What translates the schemas of a library for @fastify/swagger takes nothing else: `describeDocument` adds it.
  else if (Object.keys(response).length === 0) delete schema['response']
}

/**
 * Describes an event stream in the document of @fastify/swagger, as far as this takes its version of OpenAPI, which
 * nobody else tells. What is made of the route's schema later, such as the same document in YAML, follows.
 *
 * @param shared the schemas that those of the events may refer to, by their `$id`
 */
export function describeDocument (document: unknown, schema: Schema, events: Schema, shared: Schema): void {
  const mark = schema[MARK]
  if (mark === undefined) return
  delete schema[MARK]

  const version = String(at(document, 'openapi') ?? at(document, 'swagger'))
  for (const operation of valuesOf(at(document, 'paths')).flatMap(valuesOf).filter(isObject)) {
    if (operation[MARK] !== mark) continue
    delete operation[MARK]
    const responses: Schema = operation['responses'] = { ...Object(operation['responses']) }
    if (areForeign(events)) addStream(responses, events, version)
    if (version === '2.0') describeText(operation, responses, { description: DESCRIPTION, schema: { type: 'string' } })
    if (version.startsWith('3.2')) describeItems(responses, events, shared)
  }
  const { response } = schema
  if (areForeign(events) || !isObject(response)) return
  if (version === '2.0') describeText(schema, response, { 'x-response-description': DESCRIPTION, type: 'string' })
  if (version.startsWith('3.2')) describeItems(response, events, shared)
}

/** Adds the stream to the response that stands for a 200, in a copy, or as that. */
function addStream (responses: Schema, events: Schema, version: string): void {
  const status = statusIn(responses)
  const content = at(responses, status, 'content')
  const own: Schema = isObject(content) ? Object(responses[status]) : { description: DESCRIPTION }
  responses[status] = { ...own, content: { ...Object(content), [MEDIA_TYPE]: { schema: schemaOf(events, version) } } }
}

function schemaOf (events: Schema, version: string): unknown {
  const target = version.startsWith('3.0') ? 'openapi-3.0' : 'draft-2020-12'
  const options = Object.entries(events).map(([event, data]) => eventSchema(event, jsonSchemaOf(data, target)))
  return options.length === 1 ? options[0] : { oneOf: options }
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

/** Swagger 2.0 has no media types for a response, and no choice between schemas: the stream is a text. */
function describeText (operation: Schema, responses: Schema, response: Schema): void {
  const { produces } = operation
  operation['produces'] = [...new Set(Array.isArray(produces) ? produces : []).add(MEDIA_TYPE)]
  responses[statusIn(responses)] = response
}

/**
 * Turns the media type of an event stream into that of OpenAPI 3.2 ("Sequential Media Types", "Server-Sent Event
 * Streams"): `itemSchema` describes each event as it goes over the wire, and so does `schema` for whoever does not know
 * that yet.
 */
function describeItems (responses: Schema, events: Schema, shared: Schema): void {
  const content = at(responses, statusIn(responses), 'content')
  const oneOf = at(content, MEDIA_TYPE, 'schema', 'oneOf')
  const options: unknown[] = Array.isArray(oneOf) ? oneOf : [at(content, MEDIA_TYPE, 'schema')]
  // A transform of the user's may have put something else in its place.
  if (!isObject(content) || !options.every(option => Object.hasOwn(events, nameOf(option)))) return
  const items = options.map(option => eventAsSent(option, events, shared))
  const itemSchema = items.length === 1 ? items[0] : { oneOf: items }
  content[MEDIA_TYPE] = { schema: { type: 'array', description: 'The events in their order', items: itemSchema }, itemSchema }
}

function eventAsSent (schema: unknown, events: Schema, shared: Schema): Schema {
  const properties: Schema = Object(at(schema, 'properties'))
  const kinds = kindsOf(events[nameOf(schema)], shared)
  return { ...Object(schema), properties: { ...properties, data: dataAsSent(properties['data'], kinds) } }
}

/** What `eventSchema` says. */
function nameOf (schema: unknown): string {
  return String(at(schema, 'properties', 'event', 'enum', '0'))
}

/** What goes over the wire is text: that of the data itself, without quotes, or JSON. */
function dataAsSent (data: unknown, { text, other }: Kinds): unknown {
  if (!other) return data
  return text ? { type: 'string' } : { type: 'string', contentMediaType: 'application/json', contentSchema: data }
}

function statusIn (responses: Schema): string {
  return STATUSES.find(status => status in responses) ?? '200'
}

function areForeign (events: Schema): boolean {
  return Object.values(events).some(isForeign)
}

function valuesOf (value: unknown): unknown[] {
  return isObject(value) ? Object.values(value) : []
}
