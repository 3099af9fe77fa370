// Everything that can go wrong here is one of these: a code for programs, a message for people.

export class Refusal extends Error {
    /**
     * @param {string} code A word of the server's, or one of this page's own.
     * @param {string} [message] What the server says; empty where this page has its own words.
     * @param {{status?: number, issues?: Array<{path?: string[], message?: string}>}} [details]
     */
    constructor(code, message = '', { status = 0, issues = [] } = {}) {
        super(message);
        this.code = code;
        this.status = status;
        this.issues = issues;
    }

    /** Whether the session is over: nothing on this page can help then. */
    get endsSession() {
        return this.status === 401 || /_connect_session_token(_format)?$/.test(this.code);
    }

    /** Whether the same thing may work in a moment. */
    get passes() {
        return this.status === 503 || this.status === 429 || PASSING.has(this.code);
    }
}

const PASSING = new Set(['connection_validation_unavailable', 'connection_busy', 'too_many_request']);
