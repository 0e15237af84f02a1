import { generateKeyPairSync, sign } from 'node:crypto'

const ECDSA_WITH_SHA256 = sequence(Buffer.from('06082a8648ce3d040302', 'hex'))
const COMMON_NAME = Buffer.from('0603550403', 'hex')

/** A key and a certificate signed with it (RFC 5280 4.1), new with each call and good for a day. */
export function selfSigned (): { key: string, cert: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const name = sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from('localhost')))))
  const yesterday = Date.now() - 86_400_000
  const content = sequence(
    der(0x02, Buffer.of(1)),
    ECDSA_WITH_SHA256,
    name,
    sequence(time(yesterday), time(yesterday + 2 * 86_400_000)),
    name,
    publicKey.export({ type: 'spki', format: 'der' }))
  const signature = sign('sha256', content, privateKey)
  const certificate = sequence(content, ECDSA_WITH_SHA256, der(0x03, Buffer.of(0), signature))
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64')}\n-----END CERTIFICATE-----\n`
  }
}

/** A value with its tag and length (X.690 8.1). */
function der (tag: number, ...parts: Buffer[]): Buffer {
  const { length } = Buffer.concat(parts)
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...size), ...parts])
}

function sequence (...parts: Buffer[]): Buffer {
  return der(0x30, ...parts)
}

/** A UTCTime: YYMMDDhhmmssZ. */
function time (moment: number): Buffer {
  return der(0x17, Buffer.from(new Date(moment).toISOString().replace(/^20|[-:T]|\.\d+/g, '')))
}
