'use strict'

const { ssePlugin } = require('fastify-event-stream')

require('./serve.cjs')(ssePlugin)
