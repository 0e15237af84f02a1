'use strict'

function median (numbers) {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** What a share of the numbers, of 0 to 1, is not above. */
function quantile (numbers, share) {
  const sorted = numbers.toSorted((a, b) => a - b)
  return sorted[Math.ceil(share * sorted.length) - 1]
}

/** The median of the ratios round by round, so that a change of the machine's speed between rounds does not count. */
function ratio (samples, base) {
  return median(samples.map((sample, round) => sample / base[round]))
}

module.exports = { median, quantile, ratio }
