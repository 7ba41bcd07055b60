// An MCP client of either SDK: discovery, registration, sign-in, a tool call, a refresh, and another tool call.
// Prints a line {open} for the browser, reads a line {url}, and prints a line with the result.
import { createInterface } from 'node:readline'
import { Provider } from './mcp_provider.mjs'

const { sdk } = JSON.parse(process.argv[2])
const { Client, StreamableHTTPClientTransport, UnauthorizedError, finish } = await import(`./mcp_sdk_${sdk}.mjs`)

const requests = []
async function recordingFetch(url, options) {
  const response = await fetch(url, options)
  requests.push(`${new URL(url).pathname} ${response.status}`)
  return response
}

const authProvider = new Provider()
const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL('http://localhost:8460/mcp'), { authProvider, fetch: recordingFetch })
  const client = new Client({ name: 'notes-client', version: '1.0.0' })
  try {
    await client.connect(transport)
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error
    return { transport }
  }
  return { client }
}

const { transport } = await connect()
console.log(JSON.stringify({ open: authProvider.saved.url.href }))
const { value } = await createInterface({ input: process.stdin })[Symbol.asyncIterator]().next()
await finish(transport, new URL(JSON.parse(value).url))

const { client } = await connect()
const first = { ...authProvider.tokens() }
const callTool = async () => (await client.callTool({ name: 'notes', arguments: {} })).content[0].text
const before = await callTool()
authProvider.saveTokens({ ...first, access_token: 'expired' })
const after = await callTool()
console.log(JSON.stringify({ requests, authorization: authProvider.saved.url.search, before, after, first, second: authProvider.tokens() }))
process.exit(0)
