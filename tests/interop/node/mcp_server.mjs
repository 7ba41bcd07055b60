import { getOAuthProtectedResourceMetadataUrl, mcpAuthMetadataRouter } from '@modelcontextprotocol/sdk/server/auth/router.js'
import { InvalidTokenError } from '@modelcontextprotocol/sdk/server/auth/errors.js'
import { requireBearerAuth } from '@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js'
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js'
import express from 'express'

const resource = new URL('http://localhost:8460/mcp')
const scopes = ['notes:read']
const metadata = await (await fetch('http://localhost:8001/.well-known/oauth-authorization-server')).json()

const verifier = {
  async verifyAccessToken(token) {
    const response = await fetch(metadata.introspection_endpoint, {
      method: 'POST',
      headers: { Authorization: `Basic ${btoa('notes:RESOURCE_SECRET')}` },
      body: new URLSearchParams({ token }),
    })
    if (!response.ok) throw new Error(`The introspection endpoint responded with ${response.status}.`)
    const found = await response.json()
    if (!found.active) throw new InvalidTokenError('The token is not active.')
    return {
      token,
      clientId: found.client_id,
      scopes: found.scope.split(' '),
      expiresAt: found.exp,
      resource: [found.aud].flat().includes(resource.href) ? resource : undefined,
      extra: { sub: found.sub },
    }
  },
}

function notes() {
  const server = new McpServer({ name: 'Notes', version: '1.0.0' })
  server.registerTool('notes', { description: 'Return your notes.' }, ({ authInfo }) => ({
    content: [{ type: 'text', text: `Notes of ${authInfo.extra.sub}` }],
  }))
  return server
}

const app = express()
app.use(mcpAuthMetadataRouter({ oauthMetadata: metadata, resourceServerUrl: resource, scopesSupported: scopes }))
app.post('/mcp', express.json(), requireBearerAuth({
  verifier,
  requiredScopes: scopes,
  expectedResource: resource,
  resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resource),
}), async (request, response) => {
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined })
  const server = notes()
  response.on('close', () => server.close())
  await server.connect(transport)
  await transport.handleRequest(request, response, request.body)
})
app.all('/mcp', (request, response) => response.status(405).end())
app.listen(8460, 'localhost')
