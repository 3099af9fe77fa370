// The page's words: one JSON file per language, all with the same keys.

export const LANGUAGES = ['en', 'de'];

/** Return the first language that is wanted and there is. */
export function chosen(...wanted) {
    for (const tag of wanted) {
        const language = String(tag ?? '').toLowerCase().split('-')[0];
        if (LANGUAGES.includes(language)) return language;
    }
    return LANGUAGES[0];
}

let words = {};

export async function load(language) {
    const answer = await fetch(new URL(`texts/${language}.json`, import.meta.url));
    words = await answer.json();
    document.documentElement.lang = language;
}

/** Return a text by its key, with `{names}` in it replaced. */
export function text(key, values = {}) {
    const found = words[key] ?? key;
    return found.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Whether there is a text of that key. */
export function known(key) {
    return Object.hasOwn(words, key);
}
