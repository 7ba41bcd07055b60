import Provider from 'oidc-provider'

const clients = [
  {
    client_id: 'tally',
    client_secret: 'a-secret-of-tally',
    grant_types: ['authorization_code', 'refresh_token'],
    redirect_uris: ['http://localhost:8000/callback'],
  },
]

const features = {
  resourceIndicators: {
    getResourceServerInfo: () => ({ scope: 'invoices:read', accessTokenFormat: 'jwt' }),
  },
  revocation: { enabled: true },
}

const issueRefreshToken = (ctx, client) => client.grantTypeAllowed('refresh_token')

new Provider('http://localhost:3000', { clients, features, issueRefreshToken }).listen(3000)
