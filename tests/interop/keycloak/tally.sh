export CLIENT_WEBAPP_ISSUER=http://localhost:8080/realms/wonderland
export CLIENT_WEBAPP_CLIENT_ID=tally
export CLIENT_WEBAPP_CLIENT_SECRET=a-secret-of-tally
export CLIENT_WEBAPP_SCOPE=openid
export CLIENT_WEBAPP_ISSUER_NAME=Keycloak
