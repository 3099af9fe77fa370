// Elements without a framework, and without ever parsing text as markup.

const SVG = 'http://www.w3.org/2000/svg';
const ICONS = {
    close: ['M6 6l12 12', 'M18 6L6 18'],
    back: ['M15 5l-7 7 7 7'],
    next: ['M9 5l7 7-7 7'],
    search: ['M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z', 'M15.5 15.500L20 20'],
    check: ['M5 12.500l4.7 4.700L19 7.5'],
    warning: ['M12 7.500v5.5', 'M12 16.600v.1'],
    outside: ['M9 6H6v12h12v-3', 'M13 5h6v6', 'M19 5l-8 8'],
    eye: [
        'M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z',
        'M12 9a3 3 0 1 1 0 6 3 3 0 0 1 0-6z',
    ],
    hidden: [
        'M4 4l16 16',
        'M9.5 5.900A9 9 0 0 1 12 5.500c6 0 9.5 6.5 9.5 6.500a17 17 0 0 1-2.7 3.4',
        'M6.3 7.700A16 16 0 0 0 2.5 12S6 18.5 12 18.500a9 9 0 0 0 4-.9',
    ],
    copy: ['M9 9h10v10H9z', 'M15 9V5H5v10h4'],
};

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Object} properties `class`, `text`, `on` (listeners by event), and attributes; `false`,
 *     `null` and `undefined` leave one out.
 * @param {...(Node|string|null|undefined|false)} children
 */
export function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (value === null || value === undefined || value === false) continue;
        if (name === 'class') made.className = value;
        else if (name === 'text') made.textContent = value;
        else if (name === 'value') made.value = value;
        else if (name === 'on') {
            for (const [event, heard] of Object.entries(value)) made.addEventListener(event, heard);
        } else made.setAttribute(name, value === true ? '' : value);
    }
    made.append(...children.filter(Boolean));
    return made;
}

/** Draw an icon that says nothing a text beside it does not. */
export function icon(name) {
    const drawn = document.createElementNS(SVG, 'svg');
    drawn.setAttribute('viewBox', '0 0 24 24');
    drawn.setAttribute('class', `icon icon-${name}`);
    drawn.setAttribute('aria-hidden', 'true');
    for (const line of ICONS[name]) {
        const path = document.createElementNS(SVG, 'path');
        path.setAttribute('d', line);
        path.setAttribute('pathLength', '1');
        drawn.append(path);
    }
    return drawn;
}

/** Make a button; `kind` is its class. */
export function button(kind, text, press, properties = {}) {
    return element('button', { type: 'button', class: kind, text, on: { click: press }, ...properties });
}

/** Return an address that a link may have, or null: `javascript:` and the like are none. */
export function linkable(address) {
    if (typeof address !== 'string') return null;
    try {
        const { protocol, href } = new URL(address);
        return protocol === 'https:' || protocol === 'http:' ? href : null;
    } catch {
        return null;
    }
}
