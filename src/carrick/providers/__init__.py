"""The provider catalogue: data about external APIs, and the rules for filling it in."""

from carrick.providers.catalogue import Catalogue, load_catalogue, read_file
from carrick.providers.findings import summarised
from carrick.providers.inputs import check_addresses, check_connection_config, check_found
from carrick.providers.interpolate import Resolved, interpolate, resolve
from carrick.providers.parsing import read_definitions
from carrick.providers.public import choose_language, logo_url, public_definition

__all__ = [
    "Catalogue",
    "Resolved",
    "check_addresses",
    "check_connection_config",
    "check_found",
    "choose_language",
    "interpolate",
    "load_catalogue",
    "logo_url",
    "public_definition",
    "read_definitions",
    "read_file",
    "resolve",
    "summarised",
]
