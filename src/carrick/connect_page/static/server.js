// What the page asks of the server. A session token goes along with everything.

import { Refusal } from './refusal.js';

export class Server {
    /**
     * @param {string} base Where the API is; with or without a path, and a slash at its end.
     * @param {string} token The connect session's.
     * @param {string} language In which the definitions of providers are wanted.
     */
    constructor(base, token, language) {
        this.base = base.endsWith('/') ? base : `${base}/`;
        this.token = token;
        this.language = language;
    }

    session() {
        return this.#get('connect/session');
    }

    integrations() {
        return this.#get('integrations');
    }

    provider(name) {
        return this.#get(`providers/${encodeURIComponent(name)}`);
    }

    /** Send credentials to the route of their auth mode; return what was connected. */
    connect(path, key, params, body) {
        const address = this.address(path, key, params);
        return this.#ask(address, {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: body === null ? undefined : JSON.stringify(body),
        });
    }

    /** Return the address of an auth route, with what is not credentials in its query. */
    address(path, key, params, more = {}) {
        const address = new URL(`${path}/${encodeURIComponent(key)}`, this.base);
        address.searchParams.set('connect_session_token', this.token);
        for (const [name, value] of Object.entries(params)) {
            address.searchParams.set(`params[${name}]`, value);
        }
        for (const [name, value] of Object.entries(more)) address.searchParams.set(name, value);
        return address;
    }

    /** Note what the person did, for the session's log. Nobody waits for it. */
    note(event, integration) {
        const told = { token: this.token, event, timestamp: new Date().toISOString() };
        if (integration) told.dimensions = { integration };
        fetch(new URL('connect/telemetry', this.base), {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify(told),
            credentials: 'omit',
            keepalive: true, // the page may be closed by what is noted
        }).catch(() => {});
    }

    async #get(path) {
        const headers = { Authorization: `Bearer ${this.token}`, 'Accept-Language': this.language };
        const answer = await this.#ask(new URL(path, this.base), { headers });
        return answer.data;
    }

    async #ask(address, options) {
        let answer;
        try {
            answer = await fetch(address, {
                cache: 'no-store',
                credentials: 'omit',
                referrerPolicy: 'no-referrer',
                ...options,
            });
        } catch {
            throw new Refusal('unreachable', new URL(this.base).host);
        }
        const content = await answer.json().catch(() => null);
        if (answer.ok && content !== null && !content.error) return content;
        const { code = 'unknown_error', message = '', errors = [] } = content?.error ?? {};
        throw new Refusal(code, message, { status: answer.status, issues: errors });
    }
}
