export { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client'

export const finish = (transport, response) => transport.finishAuth(response.searchParams)
