// oauth4webapi, which leaves no rule out: every step by hand, a key that proves the client, the answer in a form.
import { createInterface } from 'node:readline'
import * as oauth from 'oauth4webapi'

const { issuer, resource } = JSON.parse(process.argv[2])
const insecure = { [oauth.allowInsecureRequests]: true }
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const say = (what) => console.log(JSON.stringify(what))
const redirect_uri = 'http://127.0.0.1:9/callback'

const address = new URL(issuer)
const server = await oauth.processDiscoveryResponse(address, await oauth.discoveryRequest(address, insecure))
const plain = await oauth.processDiscoveryResponse(address, await oauth.discoveryRequest(address, { ...insecure, algorithm: 'oauth2' }))

const pair = await oauth.generateKeyPair('RS256', { extractable: true })
const { kty, n, e } = await crypto.subtle.exportKey('jwk', pair.publicKey)
const mine = await oauth.processDynamicClientRegistrationResponse(await oauth.dynamicClientRegistrationRequest(server, {
  client_name: 'oauth4webapi',
  redirect_uris: [redirect_uri],
  token_endpoint_auth_method: 'private_key_jwt',
  application_type: 'native',
  id_token_signed_response_alg: 'ES256',
  userinfo_signed_response_alg: 'PS256',
  grant_types: ['authorization_code', 'refresh_token'],
  jwks: { keys: [{ kty, n, e, kid: 'mine', use: 'sig' }] },
}, insecure))
const proof = oauth.PrivateKeyJwt({ key: pair.privateKey, kid: 'mine' })

const verifier = oauth.generateRandomCodeVerifier()
const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()]
const open = new URL(server.authorization_endpoint)
for (const [name, value] of Object.entries({
  client_id: mine.client_id, redirect_uri, response_type: 'code', scope: 'openid profile address offline_access invoices:read', state, nonce,
  code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: 'S256', prompt: 'consent', max_age: '600', response_mode: 'form_post',
})) open.searchParams.set(name, value)
say({ open: open.href })
const { post } = JSON.parse((await lines.next()).value)

const parameters = oauth.validateAuthResponse(server, mine, new URLSearchParams(post), state)
const response = await oauth.authorizationCodeGrantRequest(server, mine, proof, parameters, redirect_uri, verifier, insecure)
const tokens = await oauth.processAuthorizationCodeResponse(server, mine, response, { expectedNonce: nonce, maxAge: 600, requireIdToken: true })
await oauth.validateApplicationLevelSignature(server, response, insecure)
const claims = oauth.getValidatedIdTokenClaims(tokens)

const asked = await oauth.userInfoRequest(server, mine, tokens.access_token, insecure)
const person = await oauth.processUserInfoResponse(server, mine, claims.sub, asked)
await oauth.validateApplicationLevelSignature(server, asked, insecure)

const guard = { client_id: resource.id }
const is_active = async (token) => {
  const answer = await oauth.introspectionRequest(server, guard, oauth.ClientSecretBasic(resource.secret), token, insecure)
  return (await oauth.processIntrospectionResponse(server, guard, answer)).active
}
const before = await is_active(tokens.access_token)

const renewed = await oauth.processRefreshTokenResponse(server, mine, await oauth.refreshTokenGrantRequest(server, mine, proof, tokens.refresh_token, insecure))
await oauth.processRevocationResponse(await oauth.revocationRequest(server, mine, proof, renewed.refresh_token, insecure))
const after = await is_active(tokens.access_token)
const dead = await oauth.refreshTokenGrantRequest(server, mine, proof, renewed.refresh_token, insecure)

say({
  issuers: server.issuer === plain.issuer,
  posted: post !== undefined,
  algorithm: JSON.parse(atob(tokens.id_token.split('.')[0])).alg,
  signed_userinfo: asked.headers.get('content-type'),
  country: person.address?.country ?? null,
  active: [before, after],
  has_auth_time: Number.isInteger(claims.auth_time),
  dead: (await dead.json()).error,
})
process.exit(0)
