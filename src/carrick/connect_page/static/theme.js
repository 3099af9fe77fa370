// Light, dark, and the product's colour in both: made readable where it would not be.

const SURFACES = { light: '#ffffff', dark: '#171a21' };
const READABLE = 4.5; // contrast of text by WCAG 2, level AA
const COLOUR = /^#([0-9a-f]{3}|[0-9a-f]{6})$/i;

/** Show a theme: `light`, `dark`, or whatever the browser prefers. */
export function showTheme(name) {
    if (name === 'light' || name === 'dark') document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
}

/** Use a colour per theme; one that is not a colour is passed over. */
export function showColours(theme) {
    const found = {};
    for (const [name, surface] of Object.entries(SURFACES)) {
        const primary = theme?.[name]?.primary;
        if (typeof primary !== 'string' || !COLOUR.test(primary)) return;
        found[name] = {
            primary,
            'on-primary': contrast('#ffffff', primary) >= READABLE ? '#ffffff' : '#0b1220',
            accent: readable(primary, surface),
        };
    }
    const { style } = document.documentElement;
    for (const part of ['primary', 'on-primary', 'accent']) {
        style.setProperty(`--${part}`, `light-dark(${found.light[part]}, ${found.dark[part]})`);
    }
}

/** Return the colour, or the nearest shade of it that can be read on a surface. */
export function readable(colour, surface) {
    const towards = luminance(surface) > 0.5 ? 0 : 255;
    let mixed = channels(colour);
    for (let step = 0; step < 40 && contrast(hex(mixed), surface) < READABLE; step += 1) {
        mixed = mixed.map((channel) => channel + (towards - channel) * 0.06);
    }
    return hex(mixed);
}

/** Return the contrast of two colours as WCAG 2 defines it. */
export function contrast(one, other) {
    const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
}

function luminance(colour) {
    const [red, green, blue] = channels(colour).map((channel) => {
        const part = channel / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function channels(colour) {
    const digits = colour.slice(1);
    const full = digits.length === 3 ? [...digits].map((digit) => digit + digit).join('') : digits;
    return [0, 2, 4].map((at) => parseInt(full.slice(at, at + 2), 16));
}

function hex(colour) {
    return `#${colour.map((channel) => Math.round(channel).toString(16).padStart(2, '0')).join('')}`;
}
