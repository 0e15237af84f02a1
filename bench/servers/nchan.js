'use strict'

// nginx with its module nchan, which has one worker process: its CPU time and memory are what is asked for. This
// process only publishes, over a connection that is kept.

const { once } = require('node:events')
const { writeFileSync } = require('node:fs')
const { get } = require('node:http')
const { createConnection } = require('node:net')
const { join } = require('node:path')
const { setTimeout } = require('node:timers/promises')
const { Program, childrenOf, cpuOf, freePort, makeFolder, rssOf } = require('../host/program')
const { nchanModule } = require('../programs')

const CONNECTIONS = 10_000
const ACCEPT_JSON = { accept: 'application/json' }

const configuration = port => `
load_module ${nchanModule()};
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr error;
events { worker_connections ${CONNECTIONS}; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(name => `${name}_temp_path ${name};`).join(' ')}
  server {
    listen 127.0.0.1:${port} backlog=511;
    keepalive_requests ${Number.MAX_SAFE_INTEGER};
    keepalive_timeout 1h;
    location = /publish { nchan_publisher; nchan_channel_id prices; }
    location = /channel { nchan_subscriber eventsource; nchan_channel_id prices; nchan_subscriber_first_message newest; }
  }
}
`

module.exports = async function ({ broadcaster }) {
  const port = await freePort()
  const folder = makeFolder()
  writeFileSync(join(folder, 'nginx.conf'), configuration(port))
  const program = new Program('nginx', ['-p', folder + '/', '-e', 'stderr', '-c', 'nginx.conf'], folder)
  const publisher = await connected(port, program)
  const worker = await workerOf(program.pid)

  broadcaster.by(({ event, data }) => {
    publisher.cork()
    publisher.write(`POST /publish HTTP/1.1\r\nhost: bench\r\nx-eventsource-event: ${event}\r\ncontent-length: ${data.length}\r\n\r\n${data}`)
    process.nextTick(() => publisher.uncork())
  })

  const subscribers = async isSo => {
    while (!isSo((await ask(port)).subscribers ?? 0)) await setTimeout(10)
  }
  return {
    address: () => ({ port }),
    commands: {
      cpu: () => cpuOf(worker),
      memory: () => ({ rss: rssOf(worker) }),
      joined: count => subscribers(there => there >= count),
      settled: () => subscribers(there => there === 0)
    }
  }
}

async function connected (port, program) {
  while (!program.hasEnded) {
    const socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
    try {
      await once(socket, 'connect')
      return socket.resume()
    } catch {
      await setTimeout(10)
    }
  }
  throw new Error('nginx did not start')
}

/** The process that does the work, which nginx starts when it listens already. */
async function workerOf (pid) {
  for (;;) {
    const [worker] = childrenOf(pid)
    if (worker !== undefined) return worker
    await setTimeout(10)
  }
}

/** What nchan tells of the channel; nothing as long as there is none. */
async function ask (port) {
  const [response] = await once(get({ host: '127.0.0.1', port, path: '/publish', headers: ACCEPT_JSON }), 'response')
  let text = ''
  for await (const piece of response.setEncoding('utf8')) text += piece
  return response.statusCode === 200 ? JSON.parse(text) : {}
}
