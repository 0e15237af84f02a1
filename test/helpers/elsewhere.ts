import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { Test } from 'tap'

const CLIENTS = `
  const { connect } = require('node:net')
  const { parentPort, workerData: { port, paths } } = require('node:worker_threads')
  let opened = 0
  for (const path of paths) {
    const socket = connect({ host: '127.0.0.1', port })
    socket.write('GET ' + path + ' HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\n\\r\\n')
    socket.once('data', () => { if (++opened === paths.length) parentPort.postMessage('open') })
    socket.on('data', () => {})
    socket.on('error', () => {})
  }
`

/**
 * Opens a stream for each path from a thread of its own, which takes all that comes as fast as it can: a server that
 * never gives its event loop back is still read. Settles when all are open; they leave at the end of the test.
 */
export async function readElsewhere (t: Test, port: number, paths: string[]): Promise<void> {
  const worker = new Worker(CLIENTS, { eval: true, execArgv: [], env: {}, workerData: { port, paths } })
  t.teardown(() => worker.terminate())
  await once(worker, 'message')
}
