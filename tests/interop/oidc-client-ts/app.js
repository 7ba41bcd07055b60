import { UserManager } from 'oidc-client-ts'

export const manager = new UserManager({
  authority: 'http://localhost:8001',
  client_id: 'CLIENT_ID',
  redirect_uri: 'http://localhost:5173/callback.html',
  scope: 'openid profile email offline_access invoices:read',
  loadUserInfo: true,
})

export async function invoices() {
  const { access_token } = await manager.getUser()
  const response = await fetch('http://localhost:8002/invoices', { headers: { Authorization: `Bearer ${access_token}` } })
  if (!response.ok) throw new Error(`${response.status} ${response.headers.get('WWW-Authenticate')}`)
  return response.json()
}

// for the test alone
window.app = { manager, invoices }
