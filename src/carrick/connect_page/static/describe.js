// A refusal in words for a person: what happened in the page's language, why in whose words it is.

import { known, text } from './texts.js';

const OF_THE_PROVIDER = new Set([
    'client_credentials_fetch_error',
    'two_step_credentials_fetch_error',
    'invalid_two_step_credentials',
    'invalid_credentials',
    'provider_refused',
    'provider_answer_invalid',
    'aws_sigv4_sts_request_failed',
]);
const NOT_REACHED = new Set(['provider_unreachable', 'provider_timeout', 'provider_unavailable']);
const NOT_SET_UP = new Set([
    'provider_config_err',
    'unknown_provider_config',
    'unknown_provider_template',
    'unknown_config_key',
    'missing_aws_sigv4_config',
    'auth_mode_err',
    'invalid_auth_mode',
]);
const INPUT = new Set([
    'invalid_body',
    'invalid_connection_config',
    'invalid_signing_key',
    'invalid_certificate_or_key_format',
    'missing_aws_sigv4_region',
    'url_param_err',
    'egress_denied',
]);

// What programs hear before an error they have no word for.
const UNKNOWN_PREFIX = /^Unknown error during the Oauth flow\. */;

/** Return what to show for a refusal: a title, and a message where there is more to say. */
export function describe(refusal, name) {
    const kind = kindOf(refusal);
    return {
        title: text(`error.${kind}.title`, { name }),
        message: ownWords(kind, refusal) ?? text(`error.${kind}.message`, { name }),
    };
}

function kindOf(refusal) {
    const { code } = refusal;
    if (refusal.endsSession) return 'expired';
    if (code === 'callback_err' && /access_denied/.test(refusal.message)) return 'denied';
    if (known(`error.${code}.title`)) return code;
    if (OF_THE_PROVIDER.has(code)) return 'connection_test_failed';
    if (NOT_REACHED.has(code)) return 'provider_unreachable';
    if (NOT_SET_UP.has(code)) return 'not_set_up';
    if (INPUT.has(code)) return 'input';
    return refusal.passes ? 'connection_validation_unavailable' : 'unknown';
}

/** Return the message of whoever refused, where that says more than this page can. */
function ownWords(kind, refusal) {
    const message = refusal.message.replace(UNKNOWN_PREFIX, '');
    if (known(`error.${kind}.message`) || !message) return null;
    try {
        const said = JSON.parse(message); // what the provider brought back, as it came
        return said.error_description ?? said.error ?? message;
    } catch {
        return message;
    }
}
