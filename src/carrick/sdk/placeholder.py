"""What a dry run gives for data that only a real write would have brought."""

from __future__ import annotations

from typing import Any, NoReturn

from carrick.sdk.errors import IncompleteDryRun

OPENING = "«"


class Placeholder:
    """A value that a withheld write did not bring.

    Any key or attribute is another placeholder, and as text it says where it would have come from.
    Whatever needs the value itself ends the dry run as incomplete.
    """

    __slots__ = ("_label", "_path")

    def __init__(self, label: str, path: str = "") -> None:
        """Build it.

        Args:
            label: The withheld write, e.g. `POST /webhooks`.
            path: Which part of its answer this stands for, e.g. `data.id`.
        """
        self._label = label
        self._path = path

    def get(self, key: str, default: Any = None) -> Placeholder:
        """Return the placeholder of a key, as a mapping would return its value."""
        return self[key]

    def __getattr__(self, name: str) -> Placeholder:
        # Protocols that Python looks for (__array__, __deepcopy__), and our own slots while unset.
        if name.startswith("__") or name in Placeholder.__slots__:
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, key: str | int) -> Placeholder:
        if isinstance(key, int):
            return Placeholder(self._label, f"{self._path}[{key}]")
        return Placeholder(self._label, f"{self._path}.{key}" if self._path else str(key))

    def __str__(self) -> str:
        where = f" → {self._path}" if self._path else ""
        return f"{OPENING}{self._label}{where}»"

    def __repr__(self) -> str:
        return str(self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __add__(self, other: object) -> str:
        if isinstance(other, str):  # writing text with it is what f-strings do, too
            return str(self) + other
        raise self._computed()

    def __radd__(self, other: object) -> str:
        if isinstance(other, str):
            return other + str(self)
        raise self._computed()

    def __bool__(self) -> bool:
        return True  # a real write that worked would have brought something

    def __hash__(self) -> int:
        return hash((self._label, self._path))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Placeholder) and str(other) == str(self):
            return True
        raise self._computed()

    def _computed(self) -> IncompleteDryRun:
        return IncompleteDryRun(
            f"the function computes with {self}, which only the real write would have given"
        )

    def _stop(self, *_: object, **__: object) -> NoReturn:
        raise self._computed()

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = _stop
    __call__ = __iter__ = __len__ = __int__ = __float__ = __index__ = __complex__ = _stop
    __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __divmod__ = __pow__ = _stop
    __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rdivmod__ = __rpow__ = _stop
    __and__ = __or__ = __xor__ = __lshift__ = __rshift__ = __neg__ = __pos__ = __abs__ = _stop
    __rand__ = __ror__ = __rxor__ = __invert__ = __round__ = __bytes__ = __reversed__ = _stop
    __enter__ = __exit__ = __aenter__ = __aexit__ = __await__ = __aiter__ = __next__ = _stop
