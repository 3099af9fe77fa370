// The form of one integration. It stays as it was filled while it is sent, refused, sent again.

import { button, element, icon, linkable } from './element.js';
import { signsIn } from './modes.js';
import { Field } from './field.js';
import { text } from './texts.js';
import { heading, logoOf } from './views.js';

export class Form {
    /**
     * @param {Object} given
     * @param {Object} given.integration
     * @param {Object} given.provider
     * @param {Array} given.questions
     * @param {string|null} given.guide Where the session or the definition sends people for help.
     * @param {boolean} given.again Whether a connection is made anew.
     * @param {null|(() => void)} given.back
     * @param {(event: string) => void} given.note
     * @param {() => void} given.send
     */
    constructor(given) {
        this.given = given;
        this.busy = false;
        const guide = linkable(given.guide);
        const help = { guide, onGuide: () => given.note('click:doc_section') };
        this.fields = given.questions.map((question) => new Field(question, help));
        this.alert = element('div', { class: 'alert', role: 'alert', tabindex: '-1', hidden: true });
        this.action = button('primary', this.#label(), () => {}, { type: 'submit' });
        this.view = this.#view(guide);
        this.#follow();
    }

    /** Check every answer; focus the first that is wrong. Return whether all are right. */
    check() {
        const wrong = this.fields.filter((field) => field.check() !== null);
        wrong[0]?.control.focus();
        return wrong.length === 0;
    }

    /** Return the answers that are given, of one place. */
    answers(place) {
        const found = {};
        for (const { question, visible, value } of this.fields) {
            if (question.place === place && visible && value !== '') found[question.name] = value;
        }
        return found;
    }

    setBusy(busy) {
        this.busy = busy;
        this.form.setAttribute('aria-busy', String(busy));
        this.action.setAttribute('aria-disabled', String(busy));
        this.action.textContent = busy ? text('checking') : this.#label();
        for (const { control, question } of this.fields) {
            if (question.kind !== 'choice') control.readOnly = busy || question.kind === 'shown';
        }
    }

    /** Say why it did not work, at the fields where the server names some. */
    refuse({ title, message }, issues = []) {
        this.setBusy(false);
        const wrong = issues
            .map(({ path = [], message: fault }) => [this.#named(path.at(-1)), fault])
            .filter(([field]) => field);
        for (const [field, fault] of wrong) field.complain(fault);
        this.alert.replaceChildren(
            icon('warning'),
            element(
                'div',
                {},
                element('p', { class: 'what', text: title }),
                message && element('p', { class: 'why', text: message }),
            ),
        );
        this.alert.hidden = false;
        this.action.textContent = text('try_again');
        (wrong[0]?.[0].control ?? this.alert).focus();
        this.alert.scrollIntoView({ block: 'nearest' });
    }

    clear() {
        this.alert.hidden = true;
        this.alert.replaceChildren();
    }

    #named(name) {
        return this.fields.find(({ question, visible }) => visible && question.name === name);
    }

    #label() {
        const { provider, integration, again } = this.given;
        const name = integration.display_name;
        if (signsIn(provider)) return text('continue', { name });
        return again ? text('reconnect') : text('connect');
    }

    #follow() {
        const valueOf = (name) => this.fields.find(({ question }) => question.name === name)?.value;
        for (const field of this.fields) field.follow(valueOf);
    }

    #view(guide) {
        const { integration, provider, again, back, note, send } = this.given;
        const name = integration.display_name;
        this.form = element(
            'form',
            {
                novalidate: true,
                autocomplete: 'off',
                on: {
                    input: () => this.#follow(),
                    submit: (event) => {
                        event.preventDefault();
                        if (this.busy || !this.check()) return;
                        this.clear();
                        send();
                    },
                },
            },
            this.alert,
            ...this.fields.map((field) => field.row),
            this.action,
        );
        const leave = back && element('button', { type: 'button', class: 'round back', 'aria-label': text('back'), on: { click: back } }, icon('back'));
        const title = text(again ? 'reconnect_name' : 'connect_name', { name });
        const help = guide && element(
            'p',
            { class: 'guide' },
            element(
                'a',
                { href: guide, target: '_blank', rel: 'noopener noreferrer', on: { click: () => note('click:doc') } },
                text('guide', { name }),
                icon('outside'),
            ),
        );
        return element('div', { class: 'form' }, leave, logoOf(integration), heading(title), element('p', { class: 'lead', text: this.#lead(provider, name) }), this.form, help);
    }

    #lead(provider, name) {
        const { again } = this.given;
        if (signsIn(provider)) return text(again ? 'lead_popup_again' : 'lead_popup', { name });
        if (this.fields.length === 0) return text('lead_nothing', { name });
        return text(again ? 'lead_form_again' : 'lead_form', { name });
    }
}
