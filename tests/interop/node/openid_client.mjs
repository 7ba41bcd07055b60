// openid-client as a relying party: discovers, registers itself, signs a person in, and checks what it is given.
// Prints a line {open} for the browser, reads a line {url} or {post}, prints a line with what came of it.
import { createInterface } from 'node:readline'
import * as client from 'openid-client'

const { issuer, method, mode, resource } = JSON.parse(process.argv[2])
// of its own accord it does not look at signatures that came by a connection which it trusts
const insecure = { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] }
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const say = (what) => console.log(JSON.stringify(what))
const redirect_uri = 'http://127.0.0.1:9/callback'

const keys = await client.randomState() && await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify'])
const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', keys.publicKey)
const authentication = {
  client_secret_basic: (secret) => client.ClientSecretBasic(secret),
  client_secret_post: (secret) => client.ClientSecretPost(secret),
  client_secret_jwt: (secret) => client.ClientSecretJwt(secret),
  private_key_jwt: () => client.PrivateKeyJwt({ key: keys.privateKey, kid: 'mine' }),
  none: () => client.None(),
}

const registered = await client.dynamicClientRegistration(new URL(issuer), {
  client_name: `openid-client, ${method}`,
  redirect_uris: [redirect_uri],
  token_endpoint_auth_method: method,
  grant_types: ['authorization_code', 'refresh_token'],
  response_types: ['code'],
  application_type: 'native',
  ...(method === 'private_key_jwt' ? { jwks: { keys: [{ kty, crv, x, y, kid: 'mine', alg: 'ES256', use: 'sig' }] } } : {}),
}, client.None(), insecure)
const mine = registered.clientMetadata()
const config = await client.discovery(new URL(issuer), mine.client_id, mine, authentication[method](mine.client_secret), insecure)

const checks = { pkceCodeVerifier: client.randomPKCECodeVerifier(), expectedState: client.randomState(), expectedNonce: client.randomNonce(), idTokenExpected: true }
const open = client.buildAuthorizationUrl(config, {
  redirect_uri,
  scope: 'openid profile email offline_access invoices:read',
  prompt: 'consent',
  code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
  code_challenge_method: 'S256',
  state: checks.expectedState,
  nonce: checks.expectedNonce,
  ...(mode === 'form_post' ? { response_mode: 'form_post' } : {}),
})
say({ open: open.href })
const { url, post } = JSON.parse((await lines.next()).value)
const posted = post !== undefined
const answer = posted
  ? new Request(redirect_uri, { method: 'POST', body: new URLSearchParams(post), headers: { 'content-type': 'application/x-www-form-urlencoded' } })
  : new URL(url)

const first = await client.authorizationCodeGrant(config, answer, checks)
const claims = first.claims()
const person = await client.fetchUserInfo(config, first.access_token, claims.sub)
const second = await client.refreshTokenGrant(config, first.refresh_token)
const again = second.claims()

const guard = new client.Configuration(config.serverMetadata(), resource.id, undefined, client.ClientSecretBasic(resource.secret))
client.allowInsecureRequests(guard)
const asked = await client.tokenIntrospection(guard, second.access_token)
await client.tokenRevocation(config, second.access_token)
const userinfo_after = await client.fetchUserInfo(config, second.access_token, claims.sub).then(() => 'good', (error) => error.cause[0].parameters.error)

say({
  registered: Boolean(mine.client_id),
  secret: 'client_secret' in mine,
  sub_stays: claims.sub === again.sub && person.sub === claims.sub,
  auth_time_stays: claims.auth_time === again.auth_time,
  name: person.name ?? person.preferred_username,
  email_verified: typeof person.email_verified,
  introspected: asked.active,
  userinfo_after,
  posted,
})
process.exit(0)
