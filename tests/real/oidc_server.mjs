// The OpenID Connect server that tests/real drives: `oidc-provider` with its own pages, an API that
// takes its tokens, and a list of what its token endpoint did.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const { clients, brief } = JSON.parse(process.argv[2]);
// Seconds. The first tokens of one client end so soon that a test can wait for it.
const BRIEF = 6;
const LONG = 3600;

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients,
    clockTolerance: 0,
    scopes: ['openid', 'offline_access', 'api'],
    findAccount: (ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    pkce: { required: () => true },
    rotateRefreshToken: () => true,
    features: { clientCredentials: { enabled: true }, revocation: { enabled: true } },
    cookies: { keys: [randomUUID()] },
    ttl: {
      AccessToken: (ctx, token, client) =>
        client.clientId === brief && ctx.oidc.params.grant_type !== 'refresh_token' ? BRIEF : LONG,
      ClientCredentials: LONG,
      Grant: LONG,
      Interaction: LONG,
      RefreshToken: LONG,
      Session: LONG,
    },
  });

  const happened = [];
  const note = (event) => (ctx, error) => {
    const { params = {}, client } = ctx.oidc;
    happened.push({
      event,
      grant: params.grant_type ?? null,
      client: client?.clientId ?? null,
      by: ctx.headers.authorization ? 'header' : params.client_assertion ? 'key' : 'body',
      error: error?.error ?? null,
    });
  };
  provider.on('grant.success', note('granted'));
  provider.on('grant.error', note('refused'));
  provider.on('grant.revoked', note('revoked'));

  provider.use(async (ctx, next) => {
    if (ctx.path === '/happened') {
      ctx.body = happened;
    } else if (ctx.path === '/api/me') {
      const [, token] = (ctx.get('authorization') ?? '').split(' ');
      const found = token
        && ((await provider.AccessToken.find(token)) ?? (await provider.ClientCredentials.find(token)));
      if (!found) {
        ctx.status = 401;
        ctx.set('WWW-Authenticate', 'Bearer error="invalid_token"');
        ctx.body = { error: 'invalid_token' };
      } else {
        ctx.body = { account: found.accountId ?? null, client: found.clientId, scope: found.scope };
      }
    } else {
      await next();
    }
  });

  server.on('request', provider.callback());
  process.stdout.write(`${issuer}\n`);
});
