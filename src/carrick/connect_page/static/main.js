// The page begins: it reads its address, takes the token out of it, and waits for one if need be.

import { messageView, loadingView } from './views.js';
import { Dialog } from './dialog.js';
import { describe } from './describe.js';
import { Flow } from './flow.js';
import { Host } from './host.js';
import { Refusal } from './refusal.js';
import { chosen, load } from './texts.js';
import { showTheme } from './theme.js';

const query = new URLSearchParams(location.search);
const host = new Host();
document.documentElement.dataset.embedded = String(host.embedded);
showTheme(query.get('theme'));

/** Return the token of a connect link and take it out of the address; a reload still finds it. */
function takeToken() {
    const given = query.get('session_token');
    if (given) {
        const clean = new URL(location.href);
        clean.searchParams.delete('session_token');
        history.replaceState({ token: given }, '', clean);
    }
    return given ?? history.state?.token ?? null;
}

/** Return where the API is: at the given address, or around this page. */
function apiBase() {
    const around = new URL('../', location.href);
    around.search = '';
    try {
        const given = new URL(query.get('apiURL') ?? around);
        return given.protocol.startsWith('http') ? given.origin + given.pathname : around.href;
    } catch {
        return around.href;
    }
}

const token = takeToken();
const language = chosen(query.get('lang'), ...navigator.languages);
await load(language);

const dialog = new Dialog(host.embedded, (how) => flow.leave(how));
const flow = new Flow({
    dialog,
    host,
    language,
    base: apiBase(),
    theme: query.get('theme'),
    strict: query.get('detectClosedAuthWindow') === 'true',
});
dialog.open();
dialog.show(loadingView());

let begun = token;
if (token) flow.begin(token);
else if (!host.embedded) dialog.show(messageView(describe(new Refusal('no_token'), '')));
host.listen((sent) => {
    if (sent === begun) return;
    begun = sent;
    flow.begin(sent);
});
