// oauth2-mock-server, whose paths are those of Rolecall but for the metadata
import { OAuth2Server } from 'oauth2-mock-server'

const server = new OAuth2Server()
await server.issuer.keys.generate('RS256')
await server.start(Number(process.env.PORT), '127.0.0.1')
server.issuer.url = process.env.ISSUER
