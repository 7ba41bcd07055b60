import Provider from 'oidc-provider'

const jwks = { keys: [SIGNING_KEY] }
const clients = [
  {
    client_id: 'tally',
    client_secret: 'a-secret-of-tally',
    redirect_uris: ['http://localhost:8000/callback'],
  },
  {
    client_id: 'tally-post',
    client_secret: 'a-secret-of-tally',
    token_endpoint_auth_method: 'client_secret_post',
    redirect_uris: ['http://localhost:8000/callback'],
  },
  {
    client_id: 'tally-jwt',
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: { keys: [PUBLIC_KEY] },
    redirect_uris: ['http://localhost:8000/callback'],
  },
]

new Provider('http://localhost:3000', { clients, jwks }).listen(3000)
