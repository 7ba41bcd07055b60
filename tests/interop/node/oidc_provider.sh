export CLIENT_WEBAPP_ISSUER=http://localhost:3000
export CLIENT_WEBAPP_CLIENT_ID=tally
export CLIENT_WEBAPP_CLIENT_SECRET=a-secret-of-tally
export CLIENT_WEBAPP_ISSUER_NAME=node-oidc-provider
