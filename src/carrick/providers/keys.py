"""The provider format as a table: every key that is known, and the kind of value it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from carrick.model.auth import AuthMode


def _table(**names: str) -> Mapping[str, str]:
    """Turn `kind="name name"` into a table from name to kind."""
    return {name: kind for kind, listed in names.items() for name in listed.split()}


#: Carrick's own: `connection_facts`; `installation_check_url`: what those may read whose
#: installation of an app it is; `issuer`: what the provider calls itself in callbacks.
ENTRY = _table(
    mode="auth_mode",
    text="""display_name docs docs_connect setup_guide_url
        post_connection_script pre_connection_deletion_script credentials_verification_script
        webhook_routing_script installation scope_separator body_format expires_in_unit
        token_request_auth_method authorization_method alternate_access_token_response_path
        authorization_url_fragment authorization_code_param_in_callback
        authorization_code_param_in_webhook request_http_method token_http_method
        signature_method client_registration token_request_method""",
    url="""authorization_url refresh_url request_url registration_url mcp_server_url
        installation_check_url issuer""",
    urls="token_url",
    flag="""webhook_user_defined_secret require_client_certificate authorization_url_skip_empty
        disable_pkce""",
    texts="""categories connection_configuration webhook_allowed_query_params default_scopes
        available_scopes authorization_url_skip_encode token_url_skip_encode
        redirect_uri_metadata token_response_metadata webhook_response_metadata
        token_response_headers""",
    map="""authorization_params authorization_url_replacements token_params refresh_params
        request_params registration_params token_headers refresh_token_params
        refresh_token_headers token_response assertion signature token translations proxy""",
    fields="connection_config credentials integration_config assertion_option",
    number="token_expiration_buffer token_expires_in_ms",
    list="additional_steps connection_facts",
)

#: `hosts` is Carrick's own: further hosts of the provider that may receive the credentials.
PROXY = _table(
    url="base_url",
    texts="hosts",
    map="headers query body connection_config retry paginate verification",
    flag="decompress forward_headers_on_redirect",
)

VERIFICATION = _table(text="method", texts="endpoints", url="base_url_override", map="headers data")

FACT = _table(
    text="method endpoint", url="base_url_override", map="headers data choose set", flag="optional"
)

CHOICE = _table(text="from", map="where prefer")

FACT_VALUE = _table(text="value match")

FIELD = _table(
    text="type title description example pattern format prefix suffix doc_section default_value",
    flag="secret optional automated hidden",
    map="warnings visible_when",
    texts="enum",
    number="order",
)

EXPECTED: Mapping[str, str] = {
    "text": "text",
    "url": "a URL template (text)",
    "urls": "a URL template, or a map of URL templates",
    "flag": "true or false",
    "texts": "a list of texts",
    "map": "a map",
    "fields": "a map of field descriptions",
    "number": "a number",
    "list": "a list",
    "mode": "one of " + ", ".join(AuthMode),
}


def _is_text(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_url(value: Any) -> bool:
    return isinstance(value, str)


def _is_urls(value: Any) -> bool:
    is_map = isinstance(value, Mapping) and all(_is_url(inner) for inner in value.values())
    return is_map or _is_url(value)


def _is_texts(value: Any) -> bool:
    listed = value if isinstance(value, list) else [value]
    return all(isinstance(item, str | int | float) for item in listed)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_mode(value: Any) -> bool:
    return isinstance(value, str) and value in list(AuthMode)


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "url": _is_url,
    "urls": _is_urls,
    "flag": _is_flag,
    "texts": _is_texts,
    "map": _is_map,
    "fields": _is_map,
    "number": _is_number,
    "list": _is_list,
    "mode": _is_mode,
}


def fits(kind: str, value: Any) -> bool:
    """Whether a value is of the kind its key holds."""
    return _FITS[kind](value)
