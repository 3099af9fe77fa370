// The product's page around this one, if there is one, and what the two tell each other.

export class Host {
    #origin = '*'; // until the product has spoken once

    constructor(around = window.parent) {
        this.embedded = around !== window;
        this.around = around;
    }

    /** Say that this page is there, and hear the token that comes in answer, and later ones. */
    listen(heard) {
        window.addEventListener('message', ({ source, origin, data }) => {
            if (source !== this.around || data?.type !== 'session_token') return;
            if (typeof data.sessionToken !== 'string' || !data.sessionToken) return;
            this.#origin = origin === 'null' ? '*' : origin;
            heard(data.sessionToken);
        });
        this.#tell({ type: 'ready' });
    }

    connected({ connectionId, providerConfigKey, isPending = false }) {
        this.#tell({ type: 'connect', payload: { connectionId, providerConfigKey, isPending } });
    }

    failed(errorType, errorMessage) {
        this.#tell({ type: 'error', payload: { errorType, errorMessage } });
    }

    close() {
        this.#tell({ type: 'close' });
    }

    #tell(message) {
        if (this.embedded) this.around.postMessage(message, this.#origin);
    }
}
