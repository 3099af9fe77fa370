// What to ask a person, from the provider's definition, the integration and the session.

import { asksForCredentials, credentialsOf } from './modes.js';
import { known, text } from './texts.js';

const SECRET = new Set(['apiKey', 'password', 'client_secret', 'token_secret', 'dev_key']);
const OPTIONAL = new Set(['region']);
const LINES = new Set(['client_certificate', 'client_private_key', 'privateKey', 'private_key']);
const EXAMPLES = { role_arn: 'arn:aws:iam::123456789012:role/acme', region: 'eu-central-1' };

/**
 * Return the questions in the order in which they are asked.
 *
 * @param {Object} provider Its definition.
 * @param {Object} integration As the session sees it.
 * @param {Object} preset `connection_config` that the session's maker decided; not asked.
 * @param {boolean} again Whether a connection is made anew.
 */
export function questionsFor(provider, integration, preset, again) {
    const found = [...ofConfig(provider, preset, again)];
    if (asksForCredentials(provider)) found.push(...ofCredentials(provider, integration));
    for (const [name, spec] of Object.entries(provider.assertion_option ?? {})) {
        if (isAsked(spec)) found.push(question('assertion', name, spec));
    }
    const order = (one) => one.order ?? Number.MAX_SAFE_INTEGER;
    return found.sort((one, other) => order(one) - order(other)); // equal ones stay as they are
}

/** Return values that go along although nobody is asked: hidden credentials with a default. */
export function unasked(provider) {
    const found = {};
    for (const [name, spec] of Object.entries(provider.credentials ?? {})) {
        if (spec.hidden && spec.default_value !== undefined && !spec.automated) {
            found[name] = String(spec.default_value);
        }
    }
    return asksForCredentials(provider) ? found : {};
}

function* ofConfig(provider, preset, again) {
    const specs = provider.connection_config ?? {};
    for (const [name, spec] of Object.entries(specs)) {
        if (!isAsked(spec) || isGiven(preset[name])) continue;
        if (provider.auth_mode === 'AWS_SIGV4' && name === 'external_id') {
            if (!again) yield ofRole(); // a connection keeps the one it has
        } else yield question('params', name, spec);
    }
    const asksForServer = !('mcp_server_url' in specs) && !provider.mcp_server_url;
    if (provider.auth_mode === 'MCP_OAUTH2_GENERIC' && asksForServer) {
        const spec = { format: 'uri', example: 'https://mcp.example.com/mcp' };
        if (!isGiven(preset.mcp_server_url)) yield question('params', 'mcp_server_url', spec);
    }
}

/** Show the id that the person writes into the role's trust policy before the role is assumed. */
function ofRole() {
    return { ...question('params', 'external_id', {}), kind: 'shown', value: randomId(), order: -1 };
}

function* ofCredentials(provider, integration) {
    const specs = provider.credentials ?? {};
    const described = Object.keys(specs);
    const names = described.length > 0 ? described : credentialsOf(provider);
    const filled = new Set(integration.preconfigured_credentials ?? []);
    for (const name of names) {
        const spec = specs[name] ?? {};
        if (filled.has(name) || !isAsked(spec)) continue;
        const asked = question('credentials', name, spec);
        yield { ...asked, title: integration.credentials_label?.[name] || asked.title };
    }
}

/** Whether a person is asked: not for what the server finds out, nor for what has its value. */
function isAsked(spec) {
    if (spec.automated) return false;
    return !spec.hidden || (!spec.optional && spec.default_value === undefined);
}

function isGiven(value) {
    return value !== undefined && value !== null && value !== '';
}

function question(place, name, spec) {
    const options = Array.isArray(spec.enum) ? spec.enum.map(String) : [];
    return {
        place,
        name,
        kind: kindOf(name, spec, options),
        title: spec.title || ours('title', name) || name,
        description: spec.description || ours('description', name),
        example: spec.example === undefined ? (EXAMPLES[name] ?? '') : String(spec.example),
        options,
        warnings: spec.warnings ?? {},
        required: spec.title ? spec.optional !== true : !OPTIONAL.has(name),
        pattern: spec.pattern,
        format: spec.format,
        prefix: spec.prefix ?? '',
        suffix: spec.suffix ?? '',
        value: spec.default_value === undefined ? '' : String(spec.default_value),
        section: spec.doc_section,
        when: spec.visible_when,
        order: spec.order,
    };
}

function kindOf(name, spec, options) {
    if (options.length > 0) return 'choice';
    if (LINES.has(name) || /-----BEGIN/.test(spec.example ?? '')) return 'lines';
    return (spec.secret ?? SECRET.has(name)) ? 'secret' : 'line';
}

function ours(part, name) {
    const key = `field.${name}.${part}`;
    return known(key) ? text(key) : '';
}

/** Return a random UUID; `crypto.randomUUID` is there over https only. */
function randomId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
