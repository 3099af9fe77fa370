"""Which tokens are for what was asked for."""

from __future__ import annotations

from typing import Any

import pytest

from carrick.auth.scopes import demand_granted
from carrick.errors import ProviderAnswerInvalid


@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        ("read,write", "read write"),
        ("read,write", "write"),
        ("read,write", None),
        ("read,write", ""),
        ("", "anything"),
        ("Files.Read", "https://graph.example.com/files.read"),
        ("email profile", "openid https://www.example.com/auth/userinfo.email"),
        ("user:email", "user"),
        ("repo", "repo,gist"),
        ("offline_access openid", "api"),
        (["a", "b"], ["b"]),
        ("read+write", "write"),
    ],
)
def test_a_token_for_some_of_it_passes(asked: Any, granted: Any) -> None:
    """One scope of those asked for is enough, however it is spelled; silence means all."""
    demand_granted(asked, granted)


@pytest.mark.parametrize(
    ("asked", "granted"), [("read", "mail"), ("read write", "thread,rewrite"), (["a"], ["ab"])]
)
def test_a_token_for_something_else_is_refused(asked: Any, granted: Any) -> None:
    """Not one scope of those asked for: the answer names both."""
    with pytest.raises(ProviderAnswerInvalid, match="other scopes"):
        demand_granted(asked, granted)
