// What is wrong with an answer, in words that say what is expected. The server has the last word.

import { text } from './texts.js';

const FORMATS = {
    hostname: (value) => /^(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/i.test(value),
    uri: (value) => /^https?:\/\/[^\s/?#]+/i.test(value) && URL.canParse(value),
    uuid: (value) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value),
    email: (value) => /^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(value),
};

/** Return a value without what is only shown around it and some people type as well. */
export function bare(question, value) {
    let found = question.kind === 'lines' ? value : value.trim();
    if (question.prefix && question.format !== 'uri' && found.startsWith(question.prefix)) {
        found = found.slice(question.prefix.length);
    }
    if (question.suffix && found !== question.suffix && found.endsWith(question.suffix)) {
        found = found.slice(0, -question.suffix.length);
    }
    return found;
}

/** Return what is wrong with a bare value, or null. */
export function faultOf(question, value) {
    if (value === '') {
        if (!question.required) return null;
        return text(question.kind === 'choice' ? 'fault.choose' : 'fault.empty');
    }
    if (FORMATS[question.format]?.(value) === false) return text(`fault.${question.format}`);
    if (!matches(question.pattern, value)) {
        const { example } = question;
        return example ? text('fault.pattern_example', { example }) : text('fault.pattern');
    }
    return null;
}

function matches(pattern, value) {
    if (typeof pattern !== 'string') return true;
    try {
        return new RegExp(pattern.replaceAll('(?P<', '(?<')).test(value);
    } catch {
        return true; // a pattern for the server's language only
    }
}
