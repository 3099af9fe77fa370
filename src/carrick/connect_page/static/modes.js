// Per auth mode: which route takes the credentials, what they are, and what goes into the body.

const MODES = {
    NONE: { path: 'auth/unauthenticated' },
    API_KEY: { path: 'api-auth/api-key', asks: ['apiKey'] },
    BASIC: { path: 'api-auth/basic', asks: ['username', 'password'], always: true },
    OAUTH2_CC: { path: 'oauth2/auth', asks: ['client_id', 'client_secret'] },
    TBA: { path: 'auth/tba', asks: ['token_id', 'token_secret'] },
    JWT: { path: 'auth/jwt', asks: [], typed: true },
    TWO_STEP: { path: 'auth/two-step', asks: [], typed: true },
    SIGNATURE: { path: 'auth/signature', asks: ['username', 'password'], always: true, typed: true },
    BILL: { path: 'auth/bill', asks: ['username', 'password', 'organization_id', 'dev_key'] },
    AWS_SIGV4: { path: 'auth/aws-sigv4', asks: ['role_arn', 'region'] },
};
const POPUPS = new Set([
    'OAUTH2',
    'OAUTH1',
    'APP',
    'CUSTOM',
    'INSTALL_PLUGIN',
    'MCP_OAUTH2',
    'MCP_OAUTH2_GENERIC',
]);

/** Whether the person signs in at the provider, in a window of its own. */
export function signsIn(provider) {
    return POPUPS.has(provider.auth_mode) && provider.installation !== 'outbound';
}

/** Return the route for a form's credentials, or null if this page does not know the mode. */
export function routeOf(provider) {
    if (provider.installation === 'outbound') return 'auth/oauth-outbound';
    return MODES[provider.auth_mode]?.path ?? null;
}

/** Return the names of the credentials a mode has where the definition describes none. */
export function credentialsOf(provider) {
    const names = [...(MODES[provider.auth_mode]?.asks ?? [])];
    if (provider.require_client_certificate) names.push('client_certificate', 'client_private_key');
    return names;
}

/** Whether the definition's `credentials` are the person's to give. */
export function asksForCredentials(provider) {
    return provider.auth_mode in MODES && provider.installation !== 'outbound';
}

/** Return what the route takes as its body, null for nothing. */
export function bodyOf(provider, credentials, assertion) {
    const mode = MODES[provider.auth_mode];
    if (!mode || provider.installation === 'outbound' || provider.auth_mode === 'NONE') return null;
    const body = { ...credentials };
    if (mode.always) for (const name of mode.asks) body[name] ??= '';
    if (mode.typed) body.type = provider.auth_mode;
    if (Object.keys(assertion).length > 0) body.assertionOption = assertion;
    return body;
}
