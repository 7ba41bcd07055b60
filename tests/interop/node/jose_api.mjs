import express from 'express'
import { createRemoteJWKSet, errors, jwtVerify } from 'jose'

const issuer = 'http://localhost:8001'
const keys = createRemoteJWKSet(new URL(`${issuer}/jwks`))

async function authenticate(request, response, next) {
  const [, token] = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '') ?? []
  if (!token) return response.status(401).set('WWW-Authenticate', 'Bearer').end()
  try {
    const { payload } = await jwtVerify(token, keys, { issuer, audience: 'http://localhost:8480', typ: 'at+jwt' })
    request.token = payload
    next()
  } catch (error) {
    if (!(error instanceof errors.JOSEError)) return next(error)
    response.status(401).set('WWW-Authenticate', 'Bearer error="invalid_token"').end()
  }
}

function requireScope(scope) {
  return (request, response, next) => {
    if (request.token.scope.split(' ').includes(scope)) return next()
    response.status(403).set('WWW-Authenticate', `Bearer error="insufficient_scope", scope="${scope}"`).end()
  }
}

const app = express()
app.use(authenticate)
app.get('/books', requireScope('books:read'), (request, response) => response.json(request.token))
app.listen(8480, 'localhost')
