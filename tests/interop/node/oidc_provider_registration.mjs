import Provider from 'oidc-provider'

const features = { registration: { enabled: true }, registrationManagement: { enabled: true } }
new Provider('http://localhost:3000', { features, jwks: { keys: [SIGNING_KEY] } }).listen(3000)
