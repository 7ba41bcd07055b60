import express from 'express'
import { auth } from 'express-openid-connect'

const app = express()
app.use(auth({
  issuerBaseURL: 'http://localhost:8001',
  baseURL: 'http://localhost:3000',
  clientID: 'CLIENT_ID',
  clientSecret: 'CLIENT_SECRET',
  secret: 'SESSION_SECRET',
  authorizationParams: {
    response_type: 'code',
    scope: 'openid profile email offline_access invoices:read',
  },
}))

app.get('/', (request, response) => response.json(request.oidc.user))

app.get('/invoices', async (request, response) => {
  let { access_token, isExpired, refresh } = request.oidc.accessToken
  if (isExpired()) ({ access_token } = await refresh())
  const invoices = await fetch('http://localhost:8002/invoices', { headers: { Authorization: `Bearer ${access_token}` } })
  response.status(invoices.status).json(await invoices.json())
})

// for the test alone: the tokens of the session, refreshed with ?refresh
app.get('/tokens', async (request, response) => {
  if ('refresh' in request.query) await request.oidc.accessToken.refresh()
  response.json({ access: request.oidc.accessToken.access_token, refresh: request.oidc.refreshToken })
})
app.listen(3000, 'localhost')
