'use strict'

// The floor of a fan-out, send.c, compiled here. This process hands it what is to be sent: what is published in one turn
// of the event loop in one piece.

const { spawnSync } = require('node:child_process')
const { join } = require('node:path')
const { createInterface } = require('node:readline')
const { Program, cpuOf, makeFolder } = require('../host/program')
const { chunk } = require('../host/frame')

module.exports = async function ({ broadcaster }) {
  const folder = makeFolder()
  const file = join(folder, 'send')
  const { status } = spawnSync('gcc', ['-O2', '-o', file, join(__dirname, 'send.c')], { stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error('gcc does not compile send.c')
  const program = new Program(file, [], folder)

  let piece = ''
  broadcaster.by(event => {
    if (piece === '') process.nextTick(send)
    piece += chunk(event)
  })
  function send () {
    program.stdin.write(`${piece.length}\n${piece}`)
    piece = ''
  }

  const port = await new Promise((resolve, reject) => {
    const lines = createInterface(program.stdout)
    lines.once('line', line => {
      resolve(Number(line))
      lines.on('line', () => broadcaster.join())
    })
    lines.on('close', () => reject(new Error('send.c has ended')))
  })
  return { address: () => ({ port }), commands: { cpu: () => cpuOf(program.pid) } }
}
