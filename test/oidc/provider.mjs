// An identity provider on loopback for the tests: whoever logs in as NAME is NAME, in the groups that GROUPS says.
// Environment: MODULE (file URL of oidc-provider), REDIRECT and LOGGED_OUT (where browsers come back to), GROUPS (JSON by name).
// It prints its issuer and runs until its standard input ends.
import http from 'node:http'

const { default: Provider } = await import(process.env.MODULE)
const groups = JSON.parse(process.env.GROUPS) ?? {}

const server = http.createServer()
await new Promise(resolve => server.listen(0, '127.0.0.1', resolve))
const issuer = `http://127.0.0.1:${server.address().port}`

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'weir', client_secret: 'weir-client-secret', redirect_uris: [process.env.REDIRECT],
    post_logout_redirect_uris: [process.env.LOGGED_OUT], grant_types: ['authorization_code'], response_types: ['code'],
  }],
  claims: { openid: ['sub'], profile: ['preferred_username'], email: ['email', 'email_verified'], groups: ['groups'] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({
      sub: id, preferred_username: id.replace(/^id-/, ''), email: `${id}@example.test`, email_verified: !id.includes('unverified'),
      groups: groups[id] ?? [],
    }),
  }),
  cookies: { keys: ['not a secret: a test'] },
})
server.on('request', provider.callback())
console.log(issuer)
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
