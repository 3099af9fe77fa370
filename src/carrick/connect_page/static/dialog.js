// The frame around every view: focus stays inside, Escape closes, changes are announced.

import { element, icon } from './element.js';
import { text } from './texts.js';

const FOCUSABLE = 'a[href], button:not(:disabled), input:not(:disabled), select, textarea';

export class Dialog {
    #view = null;

    /**
     * @param {boolean} modal Whether it lies over a product's page, rather than being the page.
     * @param {(how: 'close'|'outside') => void} leave
     */
    constructor(modal, leave) {
        this.modal = modal;
        this.body = element('div', { class: 'view' });
        this.status = element('p', { class: 'unseen', role: 'status' });
        this.watermark = element('p', { class: 'watermark', hidden: true });
        this.close = element(
            'button',
            { type: 'button', class: 'round close', on: { click: () => leave('close') } },
            icon('close'),
        );
        this.card = element(
            modal ? 'div' : 'main',
            { class: 'card', 'aria-labelledby': 'title', ...(modal && { role: 'dialog', 'aria-modal': 'true' }) },
            modal && this.close,
            this.body,
            this.watermark,
            this.status,
        );
        this.stage = element('div', { class: modal ? 'stage over' : 'stage' }, this.card);
        if (modal) {
            this.stage.addEventListener('pointerdown', ({ target }) => {
                if (target === this.stage) leave('outside');
            });
            this.stage.addEventListener('keydown', (event) => this.#onKey(event, leave));
        }
    }

    /** Put it on the page, once the texts are there. */
    open() {
        this.close.setAttribute('aria-label', text('close'));
        this.watermark.textContent = text('watermark');
        document.body.append(this.stage);
    }

    /** Replace the view and move the focus to its heading, or to what it asks for. */
    show(view, focused) {
        this.#view = view;
        this.body.replaceChildren(view);
        this.card.scrollTop = 0;
        document.title = view.querySelector('h1')?.textContent ?? '';
        (focused ?? view.querySelector('h1'))?.focus({ preventScroll: true });
    }

    /** Whether a view is the one that is seen. */
    shows(view) {
        return this.#view === view;
    }

    /** Say something that is seen elsewhere to those who do not see it. */
    announce(words) {
        this.status.textContent = words;
    }

    #onKey(event, leave) {
        if (event.key === 'Escape' && !event.isComposing) {
            event.preventDefault();
            leave('close');
        } else if (event.key === 'Tab') {
            const stops = [...this.card.querySelectorAll(FOCUSABLE)].filter((one) => one.offsetParent);
            const [first, last] = [stops[0], stops.at(-1)];
            const at = document.activeElement;
            if (event.shiftKey && (at === first || at === document.body)) {
                event.preventDefault();
                last?.focus();
            } else if (!event.shiftKey && at === last) {
                event.preventDefault();
                first?.focus();
            }
        }
    }
}
