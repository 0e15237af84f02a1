'use strict'

const { contestants } = require('../contestants')

function contestant (id) {
  return contestants.find(contestant => contestant.id === id)
}

function nameOf (id) {
  return contestant(id).name
}

module.exports = { contestant, nameOf }
