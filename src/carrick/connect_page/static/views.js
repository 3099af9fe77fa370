// What is seen besides the form: waiting, choosing, being done, and why it cannot go on.

import { button, element, icon } from './element.js';
import { text } from './texts.js';

const SEARCHED_FROM = 7;

/** Make the heading that names the dialog and takes the focus of a new view. */
export function heading(words) {
    return element('h1', { id: 'title', tabindex: '-1', text: words });
}

/** Show an integration's logo; its name stands beside it. */
export function logoOf(integration) {
    const { logo } = integration;
    const image = element('img', { src: logo, alt: '', width: '48', height: '48' });
    image.addEventListener('error', () => image.remove());
    return element('span', { class: 'logo' }, image);
}

export function loadingView() {
    return element(
        'div',
        { class: 'centred loading' },
        element('span', { class: 'spinner', 'aria-hidden': 'true' }),
        heading(text('loading')),
    );
}

/** List integrations; many can be searched. */
export function listView(integrations, choose) {
    const rows = integrations.map((integration) => {
        const { display_name: name, unique_key: key } = integration;
        const press = element(
            'button',
            { type: 'button', class: 'choice', on: { click: () => choose(integration) } },
            logoOf(integration),
            element('span', { class: 'name', text: name }),
            icon('next'),
        );
        return { words: `${name} ${key}`.toLowerCase(), row: element('li', {}, press) };
    });
    const none = element('p', { class: 'nothing', role: 'status' });
    const list = element('ul', { class: 'choices' }, ...rows.map(({ row }) => row));
    const search = integrations.length >= SEARCHED_FROM && searchBox((wanted) => {
        let seen = 0;
        for (const { words, row } of rows) {
            row.hidden = !words.includes(wanted.trim().toLowerCase());
            seen += row.hidden ? 0 : 1;
        }
        none.textContent = seen === 0 ? text('nothing_found', { wanted: wanted.trim() }) : '';
    });
    return element(
        'div',
        { class: 'list' },
        heading(text('choose_title')),
        element('p', { class: 'lead', text: text('choose_lead') }),
        search,
        list,
        none,
    );
}

function searchBox(look) {
    const input = element('input', {
        type: 'search',
        'aria-label': text('search'),
        placeholder: text('search'),
        autocomplete: 'off',
        spellcheck: 'false',
    });
    input.addEventListener('input', () => look(input.value));
    return element('div', { class: 'frame search' }, icon('search'), input);
}

/**
 * Show that a window of the provider's is open.
 *
 * `seemsClosed` is called when it looks closed; a window that went to a page which cuts itself
 * off looks the same, so this only says so.
 */
export function waitingView(integration, { focus, again, cancel }) {
    const name = integration.display_name;
    const lead = element('p', { class: 'lead', role: 'status', text: text('waiting_lead') });
    const first = button('primary', text('waiting_focus'), focus);
    const view = element(
        'div',
        { class: 'centred waiting' },
        element('div', { class: 'pulse', 'aria-hidden': 'true' }, logoOf(integration)),
        heading(text('waiting_title', { name })),
        lead,
        element('div', { class: 'actions' }, first, button('quiet', text('cancel'), cancel)),
    );
    const seemsClosed = () => {
        lead.textContent = text('waiting_closed');
        const restart = button('primary', text('waiting_again'), again);
        first.replaceWith(restart);
        view.classList.add('paused');
    };
    return { view, seemsClosed };
}

/** Show that it worked, or that it does once an installation at the provider is made. */
export function successView(integration, { again, pending, install, finish }) {
    const name = integration.display_name;
    const title = pending ? 'pending_title' : again ? 'again_title' : 'success_title';
    const done = finish ? 'success_lead' : 'success_lead_alone';
    const lead = install ? 'install_lead' : pending ? 'pending_lead' : done;
    const go = install && element('a', {
        class: 'primary',
        href: install,
        target: '_blank',
        rel: 'noopener noreferrer',
        text: text('continue', { name }),
    });
    return element(
        'div',
        { class: 'centred success' },
        element('span', { class: 'mark good', 'aria-hidden': 'true' }, icon('check')),
        heading(text(title, { name })),
        element('p', { class: 'lead', text: text(lead, { name }) }),
        element(
            'div',
            { class: 'actions' },
            go,
            finish && button(go ? 'quiet' : 'primary', text('finish'), finish),
        ),
    );
}

/** Show why it cannot go on; `actions` are buttons. */
export function messageView({ title, message }, ...actions) {
    return element(
        'div',
        { class: 'centred message' },
        element('span', { class: 'mark bad', 'aria-hidden': 'true' }, icon('warning')),
        heading(title),
        message && element('p', { class: 'lead why', role: 'alert', text: message }),
        element('div', { class: 'actions' }, ...actions),
    );
}
