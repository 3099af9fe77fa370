// One question on the page: its label, its control, its help, and what is wrong with the answer.

import { button, element, icon } from './element.js';
import { text } from './texts.js';
import { bare, faultOf } from './validate.js';

export class Field {
    /**
     * @param {Object} question See `questions.js`.
     * @param {{guide: string|null, onGuide: () => void}} help Where the person may read more.
     */
    constructor(question, help) {
        this.question = question;
        const id = `${question.place}-${question.name}`;
        this.control = this.#control(id);
        this.fault = element('p', { class: 'fault', id: `${id}-fault`, hidden: true });
        this.warning = element('p', { class: 'caution', id: `${id}-caution`, hidden: true });
        const described = element('p', { class: 'hint', id: `${id}-hint` }, question.description);
        if (question.section && help.guide) described.append(' ', this.#section(help));
        const hint = described.childNodes.length > 0 && described;
        const labels = [hint && described.id, this.warning.id, this.fault.id].filter(Boolean);
        this.control.setAttribute('aria-describedby', labels.join(' '));
        const label = element('label', { for: id, text: question.title });
        if (!question.required) {
            label.append(' ', element('span', { class: 'optional', text: text('optional') }));
        }
        this.row = element(
            'div',
            { class: 'field' },
            label,
            this.#framed(),
            this.warning,
            this.fault,
            hint,
        );
        this.control.addEventListener('input', () => this.#onInput());
        this.control.addEventListener('blur', () => this.#onBlur());
        this.#onInput();
    }

    get visible() {
        return !this.row.hidden;
    }

    /** The answer, without decoration. */
    get value() {
        return bare(this.question, this.control.value);
    }

    /** Show or hide it by what another field says. */
    follow(valueOf) {
        const { when } = this.question;
        this.row.hidden = Boolean(when) && !equals(valueOf(when.field), when.equals);
    }

    /** Look at the answer; show and return what is wrong with it, or null. */
    check() {
        const fault = this.visible ? faultOf(this.question, this.value) : null;
        this.complain(fault);
        return fault;
    }

    complain(fault) {
        this.fault.textContent = fault ?? '';
        this.fault.hidden = !fault;
        if (fault) this.control.setAttribute('aria-invalid', 'true');
        else this.control.removeAttribute('aria-invalid');
    }

    #onInput() {
        if (!this.fault.hidden) this.check();
        const warning = this.question.warnings[this.control.value];
        this.warning.textContent = warning ?? '';
        this.warning.hidden = !warning;
    }

    #onBlur() {
        if (this.control.tagName === 'INPUT' && this.question.kind === 'line') {
            this.control.value = this.value;
        }
        if (this.value !== '') this.check(); // an empty one is told of when it is sent
    }

    #control(id) {
        const { kind, name, required, example, value, options } = this.question;
        const properties = { id, name, 'aria-required': required && 'true' };
        if (kind === 'choice') {
            const none = element('option', { value: '', text: text(required ? 'choose' : 'none') });
            const choices = options.map((one) => element('option', { value: one, text: one }));
            const select = element('select', properties, none, ...choices);
            select.value = value;
            return select;
        }
        const plain = { autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false' };
        const shown = { ...properties, ...plain, placeholder: example || false, value };
        if (kind === 'lines') return element('textarea', { ...shown, rows: '5' });
        const type = kind === 'secret' ? 'password' : 'text';
        const secret = kind === 'secret' && { autocomplete: 'new-password', 'data-1p-ignore': true };
        return element('input', { ...shown, type, ...secret, readonly: kind === 'shown' });
    }

    #framed() {
        const { kind, prefix, suffix, title } = this.question;
        const around = (words) => words && element('span', { class: 'around', 'aria-hidden': 'true', text: words });
        return element(
            'div',
            { class: 'frame' },
            around(prefix),
            this.control,
            around(suffix),
            kind === 'secret' && this.#reveal(title),
            kind === 'shown' && this.#copy(title),
        );
    }

    #reveal(title) {
        const press = button('inside', '', () => {
            const seen = this.control.type === 'password';
            this.control.type = seen ? 'text' : 'password';
            press.setAttribute('aria-pressed', String(seen));
            press.replaceChildren(icon(seen ? 'hidden' : 'eye'));
        });
        press.setAttribute('aria-label', text('reveal', { title }));
        press.setAttribute('aria-pressed', 'false');
        press.append(icon('eye'));
        return press;
    }

    #copy(title) {
        const press = button('inside', '', async () => {
            this.control.select();
            await navigator.clipboard?.writeText(this.control.value).catch(() => {});
            press.replaceChildren(icon('check'));
        });
        press.setAttribute('aria-label', text('copy', { title }));
        press.append(icon('copy'));
        return press;
    }

    #section({ guide, onGuide }) {
        return element('a', {
            class: 'section',
            href: guide + this.question.section,
            target: '_blank',
            rel: 'noopener noreferrer',
            text: text('section'),
            'aria-label': text('section_of', { title: this.question.title }),
            on: { click: onGuide },
        });
    }
}

function equals(value, wanted) {
    return Array.isArray(wanted) ? wanted.map(String).includes(value) : String(wanted) === value;
}
