// From the token to the connection: which view follows which.

import { button, linkable } from './element.js';
import { describe } from './describe.js';
import { Form } from './form.js';
import { bodyOf, routeOf, signsIn } from './modes.js';
import { SignIn, openWindow } from './popup.js';
import { questionsFor, unasked } from './questions.js';
import { Refusal } from './refusal.js';
import { Server } from './server.js';
import { text } from './texts.js';
import { showColours, showTheme } from './theme.js';
import { listView, loadingView, messageView, successView, waitingView } from './views.js';

export class Flow {
    form = null;
    signIn = null;
    #turn = 0; // what was begun in an earlier turn has no say any more

    /** @param {{dialog, host, base: string, language: string, theme: string|null, strict: boolean}} given */
    constructor(given) {
        Object.assign(this, given);
    }

    /** Begin, or begin anew, with a session. */
    async begin(token) {
        this.server = new Server(this.base, token, this.language);
        const turn = this.#next();
        this.form = null;
        this.session = null;
        this.dialog.show(loadingView());
        try {
            const [session, integrations] = await Promise.all([
                this.server.session(),
                this.server.integrations(),
            ]);
            if (turn !== this.#turn) return;
            this.#dress(session.connectUISettings);
            this.session = session;
            this.integrations = integrations;
            this.#note('open');
            if (integrations.length === 1) await this.#choose(integrations[0]);
            else if (integrations.length === 0) this.#stop(new Refusal('nothing_to_connect'));
            else this.#list();
        } catch (error) {
            if (turn === this.#turn) this.#stop(error, () => this.begin(token));
        }
    }

    /** Leave for good: by the close button, Escape, a click beside the dialog, or finishing. */
    leave(how) {
        if (how === 'outside' && this.#isAtWork()) return; // a slip should cost nothing
        this.#note(`click:${how}`);
        this.#next();
        this.host.close();
    }

    #next() {
        this.signIn?.cancel();
        this.signIn = null;
        this.#turn += 1;
        return this.#turn;
    }

    #dress(settings = {}) {
        showTheme(this.theme ?? settings.defaultTheme);
        showColours(settings.theme);
        this.dialog.watermark.hidden = settings.showWatermark === false;
    }

    #list() {
        this.form = null;
        this.#note('view:list');
        this.dialog.show(listView(this.integrations, (integration) => {
            this.#note('click:integration', integration.unique_key);
            this.#choose(integration);
        }));
    }

    async #choose(integration) {
        const turn = this.#next();
        this.integration = integration;
        this.dialog.show(loadingView());
        try {
            this.provider = await this.server.provider(integration.provider);
            if (turn !== this.#turn) return;
            if (!signsIn(this.provider) && routeOf(this.provider) === null) {
                throw new Refusal('invalid_auth_mode');
            }
            this.#ask();
        } catch (error) {
            if (turn === this.#turn) this.#stop(error, () => this.#choose(integration));
        }
    }

    #ask() {
        const { integration, provider, session } = this;
        const key = integration.unique_key;
        const preset = session.integrations_config_defaults?.[key]?.connection_config ?? {};
        const again = Boolean(session.isReconnecting);
        this.form = new Form({
            integration,
            provider,
            questions: questionsFor(provider, integration, preset, again),
            guide: session.overrides?.[key]?.docs_connect ?? provider.docs_connect ?? null,
            again,
            back: this.integrations.length > 1 ? () => this.#list() : null,
            note: (event) => this.#note(event, key),
            send: () => this.#send(),
        });
        this.#note('view:integration', key);
        this.dialog.show(this.form.view);
    }

    /** Send what the form holds. Runs in the click itself: a window may only be opened there. */
    #send() {
        this.#note('click:connect', this.integration.unique_key);
        const turn = this.#next();
        const work = signsIn(this.provider) ? this.#signIn() : this.#submit();
        return work.then(
            (connected) => turn === this.#turn && this.#succeed(connected),
            (error) => turn === this.#turn && this.#refuse(error),
        );
    }

    async #submit() {
        this.form.setBusy(true);
        this.dialog.announce(text('checking'));
        const credentials = { ...unasked(this.provider), ...this.form.answers('credentials') };
        const body = bodyOf(this.provider, credentials, this.form.answers('assertion'));
        const params = this.form.answers('params');
        return this.server.connect(routeOf(this.provider), this.integration.unique_key, params, body);
    }

    async #signIn() {
        const popup = openWindow();
        const key = this.integration.unique_key;
        const waiting = waitingView(this.integration, {
            focus: () => popup.focus(),
            again: () => this.#send(),
            cancel: () => {
                this.#next();
                this.dialog.show(this.form.view);
            },
        });
        const address = this.server.address('oauth/connect', key, this.form.answers('params'));
        this.signIn = new SignIn(popup, this.#socketAddress(), address, {
            strict: this.strict,
            seemsClosed: () => {
                this.#note('popup:closed_early', key);
                waiting.seemsClosed();
            },
        });
        this.dialog.show(waiting.view);
        return this.signIn.outcome;
    }

    /** The socket is where the API is, path included: `websocketsPath` is for those who drop it. */
    #socketAddress() {
        const address = new URL(this.server.base);
        address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
        return address;
    }

    #succeed(connected) {
        this.signIn = null;
        this.form = null;
        this.#note('view:success', this.integration.unique_key);
        this.host.connected(connected);
        this.dialog.show(successView(this.integration, {
            again: Boolean(this.session.isReconnecting),
            pending: Boolean(connected.isPending),
            install: linkable(connected.installUrl),
            finish: this.host.embedded && (() => this.leave('finish')),
        }));
    }

    /** Say why not, and let the person try again with the form as it is. */
    #refuse(error) {
        const refusal = asRefusal(error);
        if (refusal.endsSession) {
            this.#stop(refusal);
            return;
        }
        const key = this.integration.unique_key;
        const events = { blocked_by_browser: 'popup:blocked_by_browser', window_closed: 'popup:closed_early' };
        const asked = refusal.status === 400;
        this.#note(events[refusal.code] ?? (asked ? 'view:credentials_error' : 'view:unknown_error'), key);
        const shown = describe(refusal, this.integration.display_name);
        this.host.failed(refusal.code, refusal.message || shown.title);
        if (!this.dialog.shows(this.form.view)) this.dialog.show(this.form.view);
        this.dialog.announce('');
        this.form.refuse(shown, refusal.issues);
    }

    /** Say why it cannot go on at all. */
    #stop(error, again) {
        const refusal = asRefusal(error);
        const name = this.integration?.display_name ?? '';
        const shown = describe(refusal, name);
        this.#note('view:unknown_error', this.integration?.unique_key);
        this.host.failed(refusal.code, refusal.message || shown.title);
        const actions = [];
        if (again && !refusal.endsSession) actions.push(button('primary', text('try_again'), again));
        if (this.host.embedded) actions.push(button('quiet', text('close'), () => this.leave('close')));
        this.dialog.show(messageView(shown, ...actions));
    }

    /** Note it in the session's log, if the session turned out to be one. */
    #note(event, integration) {
        if (this.session) this.server.note(event, integration);
    }

    #isAtWork() {
        if (!this.form) return false;
        const isFilled = ({ control, question }) => control.value !== question.value;
        return this.signIn !== null || this.form.busy || this.form.fields.some(isFilled);
    }
}

function asRefusal(error) {
    if (error instanceof Refusal) return error;
    console.error(error);
    return new Refusal('unknown_error', error.message);
}
