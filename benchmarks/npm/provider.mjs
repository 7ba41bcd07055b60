// node-oidc-provider with the paths of Rolecall's endpoints: in memory, or in the Redis of REDIS_URL
import { generateKeyPairSync } from 'node:crypto'
import { Redis } from 'ioredis'
import Provider from 'oidc-provider'

const { ISSUER, PORT, CLIENT_SECRET, RESOURCE_SECRET, REDIRECT_URI, REDIS_URL } = process.env
const redis = REDIS_URL ? new Redis(REDIS_URL) : undefined

class RedisAdapter {
  constructor(kind) {
    this.kind = kind
  }

  key(id) {
    return `peer:${this.kind}:${id}`
  }

  async upsert(id, payload, seconds) {
    const writes = redis.multi().set(this.key(id), JSON.stringify(payload))
    if (seconds) writes.expire(this.key(id), seconds)
    if (payload.uid) writes.set(`peer:uid:${payload.uid}`, id, 'EX', seconds)
    if (payload.grantId) writes.sadd(`peer:grant:${payload.grantId}`, this.key(id)).expire(`peer:grant:${payload.grantId}`, 86400)
    await writes.exec()
  }

  async find(id) {
    const [payload, consumed] = await redis.mget(this.key(id), `${this.key(id)}:consumed`)
    return payload ? { ...JSON.parse(payload), ...(consumed ? { consumed: Number(consumed) } : {}) } : undefined
  }

  async findByUid(uid) {
    return this.find(await redis.get(`peer:uid:${uid}`))
  }

  async consume(id) {
    await redis.set(`${this.key(id)}:consumed`, Math.floor(Date.now() / 1000), 'EX', 86400)
  }

  async destroy(id) {
    await redis.del(this.key(id))
  }

  async revokeByGrantId(grantId) {
    const keys = await redis.smembers(`peer:grant:${grantId}`)
    await redis.del(`peer:grant:${grantId}`, ...keys)
  }
}

const key = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' })
const client = (client_id, client_secret, redirect_uris) => ({
  client_id,
  client_secret,
  redirect_uris,
  grant_types: ['authorization_code', 'refresh_token'],
})
new Provider(ISSUER, {
  ...(redis ? { adapter: RedisAdapter } : {}),
  clients: [client('tally', CLIENT_SECRET, [REDIRECT_URI]), client('invoices-api', RESOURCE_SECRET, [REDIRECT_URI])],
  cookies: { keys: ['a-key-of-the-benchmark'] },
  features: { introspection: { enabled: true } },
  issueRefreshToken: () => true,
  jwks: { keys: [{ ...key, use: 'sig' }] },
  rotateRefreshToken: true,
  scopes: ['openid', 'offline_access', 'profile', 'email', 'invoices:read'],
  claims: { openid: ['sub'], profile: ['name'], email: ['email'] },
  routes: { authorization: '/authorize', introspection: '/introspect', userinfo: '/userinfo' },
  ttl: { AccessToken: 3600 },
}).listen(Number(PORT), '127.0.0.1')
