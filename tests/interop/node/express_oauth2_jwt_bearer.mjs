import express from 'express'
import { auth, requiredScopes } from 'express-oauth2-jwt-bearer'

const app = express()
app.use(auth({
  issuerBaseURL: 'http://localhost:8001',
  audience: 'http://localhost:8480',
  strict: true,
}))
app.get('/books', requiredScopes('books:read'), (request, response) => response.json(request.auth.payload))
app.listen(8480, 'localhost')
