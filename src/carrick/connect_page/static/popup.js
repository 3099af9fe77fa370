// The provider's window: opened at once, watched, and told of by a socket or by its last page.

import { Refusal } from './refusal.js';

const [WIDTH, HEIGHT] = [560, 680];
const POLL_MS = 500;
// A window closes itself when all went well; what happened may arrive a moment later.
const GRACE_MS = 1500;
const SOCKET_MS = 5000;

/**
 * Open an empty window. It has to happen in the event handler of the person's own click, or
 * browsers block it.
 */
export function openWindow() {
    const left = Math.max(0, (window.screenX ?? 0) + (window.outerWidth - WIDTH) / 2);
    const top = Math.max(0, (window.screenY ?? 0) + (window.outerHeight - HEIGHT) / 2);
    const popup = window.open('', '_blank', `popup,width=${WIDTH},height=${HEIGHT},left=${left},top=${top}`);
    if (!popup || popup.closed) throw new Refusal('blocked_by_browser');
    return popup;
}

export class SignIn {
    #done;
    #fail;
    #timers = [];

    /**
     * @param {Window} popup An empty window.
     * @param {URL} socketAddress Where the server tells the outcome.
     * @param {URL} address The auth route the window goes to.
     * @param {{strict: boolean, seemsClosed: () => void}} watching With `strict`, a window that
     *     looks closed is the end of it.
     */
    constructor(popup, socketAddress, address, watching) {
        this.popup = popup;
        this.watching = watching;
        this.outcome = new Promise((done, fail) => {
            this.#done = done;
            this.#fail = fail;
        });
        this.outcome.catch(() => {}).finally(() => this.#clear());
        this.hear = (event) => this.#onMessage(event);
        window.addEventListener('message', this.hear);
        this.origins = new Set([location.origin, address.origin]);
        this.#begin(socketAddress, address);
    }

    /** Give up, because the person wants to. */
    cancel() {
        this.popup.close();
        this.#fail(new Refusal('cancelled'));
    }

    async #begin(socketAddress, address) {
        const name = await this.#openSocket(socketAddress);
        if (name !== null) address.searchParams.set('ws_client_id', name);
        if (!this.popup.closed) this.popup.location.replace(address);
        this.#timers.push(setInterval(() => this.#look(), POLL_MS));
    }

    /** Return the name the server gives the socket; null where there can be no socket. */
    #openSocket(address) {
        return new Promise((named) => {
            this.#timers.push(setTimeout(named, SOCKET_MS, null));
            this.socket = new WebSocket(address);
            this.socket.addEventListener('message', ({ data }) => {
                const frame = JSON.parse(data);
                if (frame.message_type === 'connection_ack') named(frame.ws_client_id);
                else this.#onFrame(frame);
            });
            this.socket.addEventListener('close', () => {
                this.lost = true;
                named(null);
            });
        });
    }

    #onFrame(frame) {
        if (frame.message_type === 'success') {
            this.#done({
                connectionId: frame.connection_id,
                providerConfigKey: frame.provider_config_key,
                isPending: frame.is_pending ?? false,
            });
        } else if (frame.message_type === 'error') {
            this.#fail(new Refusal(frame.error_type, frame.error_desc));
        }
    }

    /** Hear the last page of the window, which knows the outcome as well. */
    #onMessage({ source, origin, data }) {
        if (source !== this.popup || !this.origins.has(origin)) return;
        if (data?.type === 'nango_oauth_callback_success' && data.payload) {
            this.#onFrame(data.payload);
        } else if (data?.type === 'nango_oauth_callback_error') {
            const refusal = new Refusal(data.payload.errorType, data.payload.message);
            // The socket says the same in better words, if it still can.
            this.#timers.push(setTimeout(this.#fail, this.lost ? 0 : GRACE_MS, refusal));
        }
    }

    #look() {
        if (!this.popup.closed || this.seen) return;
        this.seen = true;
        this.#timers.push(setTimeout(() => this.#onClosed(), GRACE_MS));
    }

    #onClosed() {
        if (this.lost) this.#fail(new Refusal('connection_lost'));
        else if (this.watching.strict) this.#fail(new Refusal('window_closed'));
        else this.watching.seemsClosed();
    }

    #clear() {
        for (const timer of this.#timers) clearInterval(timer); // clears timeouts as well
        window.removeEventListener('message', this.hear);
        this.socket?.close();
        setTimeout(() => this.popup.close(), POLL_MS);
    }
}
