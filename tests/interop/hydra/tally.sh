export CLIENT_WEBAPP_ISSUER=http://localhost:4444
export CLIENT_WEBAPP_CLIENT_ID=tally
export CLIENT_WEBAPP_CLIENT_SECRET=a-secret-of-tally
export CLIENT_WEBAPP_SCOPE="offline_access invoices:read"
export CLIENT_WEBAPP_ISSUER_NAME="Ory Hydra"
