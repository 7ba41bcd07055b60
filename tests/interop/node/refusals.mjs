// What must not work: the server refuses it, or openid-client does, which leaves every check on.
// Prints a line {open} for the browser and reads a line {url} or {refused}, for each case; then a line with what came of them.
import { createInterface } from 'node:readline'
import * as client from 'openid-client'

const { issuer, clock } = JSON.parse(process.argv[2])
const strict = { execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks] }
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const redirect_uri = 'http://127.0.0.1:9/callback'

const config = await client.dynamicClientRegistration(new URL(issuer), {
  client_name: 'refused',
  token_endpoint_auth_method: 'client_secret_post',
  redirect_uris: [redirect_uri],
  grant_types: ['authorization_code', 'refresh_token'],
  application_type: 'native',
}, undefined, strict)

async function sent_back(more = {}) {
  const checks = { pkceCodeVerifier: client.randomPKCECodeVerifier(), expectedState: client.randomState(), expectedNonce: client.randomNonce() }
  const open = client.buildAuthorizationUrl(config, {
    redirect_uri,
    scope: 'openid',
    code_challenge: await client.calculatePKCECodeChallenge(checks.pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: checks.expectedState,
    nonce: checks.expectedNonce,
    ...more,
  })
  console.log(JSON.stringify({ open: open.href }))
  return { checks, ...JSON.parse((await lines.next()).value) }
}

async function turned(how) {
  const answer = await fetch(clock, { method: 'PUT', body: JSON.stringify(how) })
  if (!answer.ok) throw new Error(await answer.text())
}

// what the server refused is told by its words, what the client did by its code and the claim that it looked at
const outcome = (promise) => promise.then(() => 'good', (error) => {
  const challenge = Array.isArray(error.cause) ? error.cause[0].parameters : undefined
  return error.error ?? challenge?.error ?? [error.code, error.cause?.cause?.claim].filter(Boolean).join(' ')
})
const exchanged = ({ url, checks }, change = {}, by = config) => client.authorizationCodeGrant(by, new URL(url), { ...checks, ...change })
const changed = ({ url, ...rest }, change) => {
  const address = new URL(url)
  change(address)
  return { ...rest, url: address.href }
}

const said = {}
said.wrong_redirect_uri = (await sent_back({ redirect_uri: 'http://127.0.0.1:9/other' })).refused
said.wrong_redirect_uri_of_code = await outcome(exchanged(changed(await sent_back(), (url) => { url.pathname = '/other' })))
said.wrong_verifier = await outcome(exchanged(await sent_back(), { pkceCodeVerifier: client.randomPKCECodeVerifier() }))
said.wrong_state = await outcome(exchanged(await sent_back(), { expectedState: 'another' }))
said.wrong_issuer = await outcome(exchanged(changed(await sent_back(), (url) => url.searchParams.set('iss', 'http://other.test'))))
said.no_issuer = await outcome(exchanged(changed(await sent_back(), (url) => url.searchParams.delete('iss'))))
said.wrong_nonce = await outcome(exchanged(await sent_back(), { expectedNonce: 'another' }))
said.silent = await outcome(exchanged(await sent_back({ prompt: 'none' })))

const once = await sent_back()
const { access_token } = await exchanged(once)
said.replayed = await outcome(exchanged(once))
said.token_of_replayed = await outcome(client.fetchUserInfo(config, access_token, client.skipSubjectCheck))

const [late, kept] = [await sent_back(), await exchanged(await sent_back())]
await turned({ advance: 61 })
said.expired_code = await outcome(exchanged(late))
await turned({ advance: 240 })
said.expired_token = await outcome(client.fetchUserInfo(config, kept.access_token, kept.claims().sub))
// the client's clock, not the server's: whose keys are younger than that
await turned({ offset: 0 })
const ahead = new client.Configuration(config.serverMetadata(), config.clientMetadata().client_id, { ...config.clientMetadata(), [client.clockSkew]: 400 })
for (const each of strict.execute) each(ahead)
said.expired_id_token = await outcome(exchanged(await sent_back(), {}, ahead))

console.log(JSON.stringify(said))
process.exit(0)
