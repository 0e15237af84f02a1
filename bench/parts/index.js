'use strict'

/** The parts of the benchmark, by name, in the order in which they run. */
module.exports = {
  burst: require('./burst'),
  paced: require('./paced'),
  'fan-out': require('./fan-out'),
  cluster: require('./cluster'),
  connect: require('./connect'),
  memory: require('./memory'),
  slow: require('./slow'),
  fairness: require('./fairness')
}
