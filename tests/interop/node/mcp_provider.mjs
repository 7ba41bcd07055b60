export class Provider {
  redirectUrl = 'http://localhost:8090/callback'
  clientMetadata = {
    client_name: 'MCP client',
    redirect_uris: [this.redirectUrl],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  }
  saved = {}

  clientInformation() { return this.saved.client }
  saveClientInformation(client) { this.saved.client = client }
  tokens() { return this.saved.tokens }
  saveTokens(tokens) { this.saved.tokens = tokens }
  codeVerifier() { return this.saved.verifier }
  saveCodeVerifier(verifier) { this.saved.verifier = verifier }
  discoveryState() { return this.saved.discovery }
  saveDiscoveryState(discovery) { this.saved.discovery = discovery }
  redirectToAuthorization(url) { this.saved.url = url }
}
