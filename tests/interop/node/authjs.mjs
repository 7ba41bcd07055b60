import { ExpressAuth, getSession } from '@auth/express'
import express from 'express'

const rolecall = {
  id: 'rolecall',
  name: 'Rolecall',
  type: 'oidc',
  issuer: 'http://localhost:8001',
  clientId: 'CLIENT_ID',
  clientSecret: 'CLIENT_SECRET',
}
const config = { providers: [rolecall], secret: 'SESSION_SECRET' }

const app = express()
app.use(/^\/auth\/(.*)/, ExpressAuth(config))
app.get('/', async (request, response) => response.json(await getSession(request, config)))
app.listen(3000, 'localhost')
