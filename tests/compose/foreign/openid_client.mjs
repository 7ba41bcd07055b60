// openid-client, which requires that the issuer is the URL at which it found the metadata (RFC 8414 section 3.3).
// Prints a line {open} for the browser, reads a line {url}, and prints a line with the result.
import { createInterface } from 'node:readline/promises'
import * as client from 'openid-client'

const [issuer, api] = process.argv.slice(2)
const lines = createInterface({ input: process.stdin })

const config = await client.discovery(new URL(issuer), 'tally-desktop', undefined, client.None(), {
  algorithm: 'oauth2',
  execute: [client.allowInsecureRequests],
})
const verifier = client.randomPKCECodeVerifier()
const state = client.randomState()
const open = client.buildAuthorizationUrl(config, {
  redirect_uri: 'http://127.0.0.1:9001/callback',
  scope: 'invoices:read',
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
  state,
})
console.log(JSON.stringify({ open: open.href }))

const callback = new URL(JSON.parse(await lines.question('')).url)
lines.close()
const first = await client.authorizationCodeGrant(config, callback, { pkceCodeVerifier: verifier, expectedState: state })
const second = await client.refreshTokenGrant(config, first.refresh_token)
const ask = (headers) =>
  client.fetchProtectedResource(config, second.access_token, new URL('/invoices', api), 'GET', null,
    new Headers({ Accept: 'application/json', ...headers }))
const answer = await ask({})
const said = { status: answer.status, invoices: (await answer.json()).invoices.length }
await client.tokenRevocation(config, second.refresh_token)
const after = await ask({ 'Rolecall-Validator': 'introspection' }).then((one) => one.status, (error) => error.status ?? error.response?.status)
const { issuer: named, token_endpoint: endpoint } = config.serverMetadata()
console.log(JSON.stringify({ ...said, issuer: named, endpoint, after_revocation: after }))
