"""Between a connection's metadata as it is stored and the model a function declared for it.

Stored metadata is a JSON object that others write too. So a model is a view of it: its fields are
stored under the name they are read by (the alias, where a field has one), and keys that the model
does not know are kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, cast

from carrick.sdk.errors import CarrickUsageError, IncompleteDryRun
from carrick.sdk.plain import has_placeholder, to_plain, without_placeholders
from carrick.sdk.types import M

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo


class MetadataView(Generic[M]):
    """Reads and writes metadata through a model; without a model, as plain dicts."""

    def __init__(self, model: type[M] | None) -> None:
        self._model = cast("type[BaseModel] | None", model)

    def read(self, stored: Mapping[str, Any]) -> M:
        """Return stored metadata as the declared model.

        Raises:
            pydantic.ValidationError: It does not fit the model.
        """
        if self._model is None:
            return cast("M", dict(stored))
        return cast("M", self._model.model_validate(dict(stored)))

    def merge(
        self, stored: Mapping[str, Any], value: Any, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the changes that a merge of `value` and `fields` makes, checked with the rest.

        Raises:
            CarrickUsageError: The value is neither the model nor a dict, or is not JSON.
            pydantic.ValidationError: The merged result does not fit the model.
        """
        changes = self._stored_form(stored, value, fields)
        if self._model is None:
            return changes
        return self._checked({**stored, **changes}, changes)

    def replace(
        self, stored: Mapping[str, Any], value: Any, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return what is stored when `value` and `fields` replace the metadata.

        A dict replaces everything. A model instance replaces what its model knows: it cannot hold
        the keys that it ignored when it was read, so dropping them would be an accident.
        """
        replaced = self._stored_form(stored, value, fields, whole=True)
        if self._model is None:
            return replaced
        checked = self._checked(replaced, replaced)
        if not isinstance(value, self._model) or self._model.model_config.get("extra") == "allow":
            return checked
        known = {name for field in self._fields() for name in field.accepted}
        return {**{key: kept for key, kept in stored.items() if key not in known}, **checked}

    def _stored_form(
        self,
        stored: Mapping[str, Any],
        value: Any,
        fields: Mapping[str, Any],
        *,
        whole: bool = False,
    ) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self._model is not None and isinstance(value, self._model):
            given.update(_set_fields(value, whole=whole))
        elif isinstance(value, Mapping):
            given.update(value)
        elif value is not None:
            expected = f"{self._model.__name__} or a dict" if self._model else "a dict"
            raise CarrickUsageError(f"Metadata is {expected}, not {type(value).__name__}.")
        given.update(fields)
        if value is None and not fields:
            raise CarrickUsageError("Say which metadata: a dict, a model instance, or keywords.")
        if self._model is None:
            plain: dict[str, Any] = to_plain(given, "The metadata")
            return plain
        return self._named(stored, given)

    def _named(self, stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Name each field as it is stored: by the key it has there, else by its alias."""
        by_name: dict[str, _Field] = {}
        for field in self._fields():
            by_name.setdefault(field.name, field)
        for field in self._fields():  # an alias wins over the Python name of another field
            by_name.update(dict.fromkeys(field.accepted, field))
        named: dict[str, Any] = {}
        for key, item in given.items():
            known = by_name.get(str(key))
            named[known.key_in(stored) if known else str(key)] = item
        return named

    def _checked(self, whole: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the changes as JSON, each known field as the model writes it."""
        assert self._model is not None
        dry = has_placeholder(changes)
        try:
            instance = self._model.model_validate(without_placeholders(dict(whole)))
        except ValueError as error:
            if dry:
                raise IncompleteDryRun(
                    f"the metadata model needs a value that a withheld write gives: {error}"
                ) from error
            raise
        dumped = instance.model_dump(mode="json")
        result: dict[str, Any] = {}
        owners = {name: field for field in self._fields() for name in field.accepted}
        for key, value in changes.items():
            field = owners.get(key)
            known = field is not None and field.name in dumped
            result[key] = dumped[field.name] if known and field else to_plain(value, key)
        self._demand_round_trip(whole, result, instance)
        return result

    def _demand_round_trip(
        self, whole: Mapping[str, Any], result: Mapping[str, Any], instance: BaseModel
    ) -> None:
        """Refuse a field that would be read back as something else (a SecretStr is stored masked).

        Raises:
            CarrickUsageError: Such a field is among the changes.
        """
        assert self._model is not None
        again = self._model.model_validate({**without_placeholders(dict(whole)), **result})
        for field in self._fields():
            if not field.accepted & result.keys():
                continue
            if getattr(again, field.name, None) != getattr(instance, field.name, None):
                raise CarrickUsageError(
                    f"The metadata field {field.name} cannot be stored: as JSON it is "
                    "read back as something else. Use a type that JSON can say."
                )

    def _fields(self) -> list[_Field]:
        assert self._model is not None
        by_name = bool(
            self._model.model_config.get("populate_by_name")
            or self._model.model_config.get("validate_by_name")
        )
        return [_Field(name, info, by_name) for name, info in self._model.model_fields.items()]


class _Field:
    """One field of the model and the keys it is read by."""

    def __init__(self, name: str, info: FieldInfo, by_name: bool) -> None:
        self.name = name
        aliases = _texts(info.validation_alias if info.validation_alias is not None else info.alias)
        self._keys = aliases or [name]
        if by_name and name not in self._keys:
            self._keys.append(name)
        self.accepted = frozenset(self._keys)

    def key_in(self, stored: Mapping[str, Any]) -> str:
        """Return the key under which the field is stored there, or would be."""
        return next((key for key in self._keys if key in stored), self._keys[0])


def _texts(alias: Any) -> list[str]:
    if isinstance(alias, str):
        return [alias]
    return [choice for choice in getattr(alias, "choices", ()) if isinstance(choice, str)]


def _set_fields(value: BaseModel, *, whole: bool) -> dict[str, Any]:
    """Return a model's fields by their Python names, and extra keys that it holds."""
    names = type(value).model_fields if whole else value.model_fields_set
    extra = value.model_extra or {}
    fields = {name: getattr(value, name) for name in names if name not in extra}
    return {**fields, **extra}
