"""Metadata through a context: models, aliases, unknown keys, and writers that meet."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from tests.unit.sdk_host import MemoryHost, context

from carrick.sdk import CarrickUsageError, HostError, IncompleteDryRun, Placeholder


class Plain(BaseModel):
    organization_id: str | None = None
    count: int = 0
    at: datetime | None = None


class Aliased(BaseModel):
    organization_id: str | None = Field(None, alias="organizationId")
    name: str = Field("", validation_alias=AliasChoices("displayName", "title"))


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    organization_id: str | None = Field(None, alias="organizationId")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    count: int = 0


class Secretive(BaseModel):
    token: SecretStr | None = None


async def test_without_a_model_metadata_is_a_dict() -> None:
    """A function that declared no model reads and writes plain dicts."""
    host = MemoryHost({"a": 1})
    ctx = context(host)
    assert await ctx.get_metadata() == {"a": 1}
    assert await ctx.update_metadata({"b": 2}, c=3) == {"a": 1, "b": 2, "c": 3}
    assert host.metadata == {"a": 1, "b": 2, "c": 3}
    await ctx.set_metadata({"d": 4})
    assert host.metadata == {"d": 4}


async def test_metadata_is_read_as_the_declared_model() -> None:
    """A declared model is what reading returns, and a misfit raises."""
    ctx = context(MemoryHost({"organization_id": "00D", "count": "5"}), metadata=Plain)
    read = await ctx.get_metadata()
    assert (read.organization_id, read.count) == ("00D", 5)
    with pytest.raises(ValidationError):
        await context(MemoryHost({"count": "many"}), metadata=Plain).get_metadata()


async def test_an_update_merges_and_keeps_unknown_keys() -> None:
    """Only the named fields change; keys that the model ignores stay."""
    host = MemoryHost({"count": 1, "theirs": {"x": 1}})
    ctx = context(host, metadata=Plain)
    moment = datetime(2026, 1, 5, tzinfo=UTC)
    result = await ctx.update_metadata(count="2", at=moment, new=[1])
    assert host.metadata == {
        "count": 2,
        "at": "2026-01-05T00:00:00Z",
        "theirs": {"x": 1},
        "new": [1],
    }
    assert result.at == moment


async def test_an_update_with_a_model_writes_its_set_fields() -> None:
    """Defaults of a model instance overwrite nothing."""
    host = MemoryHost({"count": 7, "organization_id": "00D"})
    await context(host, metadata=Plain).update_metadata(Plain(organization_id="00E"))
    assert host.metadata == {"count": 7, "organization_id": "00E"}


async def test_the_merged_result_must_fit_the_model() -> None:
    """A write that would make the metadata unreadable is refused, and nothing is written."""
    host = MemoryHost({"count": 1})
    with pytest.raises(ValidationError):
        await context(host, metadata=Plain).update_metadata(count="many")
    assert host.metadata == {"count": 1}


async def test_a_model_instance_replaces_what_its_model_knows() -> None:
    """Reading, changing and setting does not drop keys that the model could not hold."""
    host = MemoryHost({"count": 1, "organization_id": "00D", "theirs": 1})
    ctx = context(host, metadata=Plain)
    read = await ctx.get_metadata()
    read.count = 2
    await ctx.set_metadata(read)
    assert host.metadata == {"count": 2, "organization_id": "00D", "at": None, "theirs": 1}


async def test_a_dict_replaces_everything() -> None:
    """`set_metadata` with a dict leaves nothing of what was there."""
    host = MemoryHost({"count": 1, "theirs": 1})
    await context(host, metadata=Plain).set_metadata({"organization_id": "00D", "mine": 1})
    assert host.metadata == {"organization_id": "00D", "mine": 1}


async def test_a_model_that_allows_extras_holds_them_itself() -> None:
    """With `extra="allow"` an instance is the whole truth, as it can hold every key."""
    host = MemoryHost({"count": 1, "theirs": 1})
    ctx = context(host, metadata=Open)
    read = await ctx.get_metadata()
    assert read.model_extra == {"theirs": 1}
    await ctx.set_metadata(Open(count=2, mine=3))
    assert host.metadata == {"count": 2, "mine": 3}


async def test_fields_are_stored_under_their_alias() -> None:
    """Python names, aliases and instances all end at the key that the model reads."""
    for value, fields in [
        ({"organization_id": "00D"}, {}),
        ({"organizationId": "00D"}, {}),
        (Aliased(organizationId="00D"), {}),
        (None, {"organization_id": "00D"}),
    ]:
        host = MemoryHost()
        ctx = context(host, metadata=Aliased)
        await ctx.update_metadata(value, **fields)
        assert host.metadata == {"organizationId": "00D"}
        assert (await ctx.get_metadata()).organization_id == "00D"


async def test_a_field_stays_under_the_key_it_is_stored_by() -> None:
    """Where a model reads several keys, an update writes the one that is there."""
    host = MemoryHost({"title": "Old"})
    await context(host, metadata=Aliased).update_metadata(name="New")
    assert host.metadata == {"title": "New"}
    host = MemoryHost({"organization_id": "00D"})
    await context(host, metadata=ByName).update_metadata(organization_id="00E")
    assert host.metadata == {"organization_id": "00E"}


async def test_two_writers_do_not_lose_each_others_fields() -> None:
    """An update that meets another writer starts over from what that one wrote."""
    host = MemoryHost({"count": 1})

    def somebody_else() -> None:
        host.metadata = {"count": 1, "theirs": 2}
        host.version += 1

    host.before_update = [somebody_else]
    await context(host, metadata=Plain).update_metadata(count=5)
    assert host.metadata == {"count": 5, "theirs": 2}


async def test_a_fight_over_metadata_ends() -> None:
    """A writer that never gets through gives up with the host's own error."""
    host = MemoryHost()
    host.fails("update_metadata", "metadata_changed")
    with pytest.raises(HostError):
        await context(host).update_metadata(a=1)
    assert len(host.calls) == 20


async def test_other_failures_of_a_write_are_told() -> None:
    """Only a changed version is tried again."""
    host = MemoryHost()
    host.fails("set_metadata", "store_full")
    with pytest.raises(HostError):
        await context(host).set_metadata({"a": 1})
    assert len(host.calls) == 2


@pytest.mark.parametrize("value", [[1], "x", 1])
async def test_metadata_is_an_object(value: Any) -> None:
    """Lists and scalars are no metadata."""
    with pytest.raises(CarrickUsageError, match="Metadata is"):
        await context(MemoryHost()).update_metadata(value)


async def test_nothing_is_no_metadata() -> None:
    """A write without a value is a mistake, not an empty write."""
    with pytest.raises(CarrickUsageError, match="Say which metadata"):
        await context(MemoryHost()).set_metadata()


async def test_what_json_cannot_say_is_refused() -> None:
    """Metadata that cannot be stored is refused with what to do."""
    with pytest.raises(CarrickUsageError, match="convert it first"):
        await context(MemoryHost()).update_metadata(at=datetime.now(UTC))
    with pytest.raises(CarrickUsageError, match="convert it first"):
        await context(MemoryHost(), metadata=Plain).update_metadata(unknown=object())


async def test_a_field_that_json_would_change_is_refused() -> None:
    """A masked secret must not be stored as asterisks."""
    host = MemoryHost()
    with pytest.raises(CarrickUsageError, match="token cannot be stored"):
        await context(host, metadata=Secretive).update_metadata(token="s3cret")
    assert host.metadata == {}


async def test_placeholders_are_written_as_their_text() -> None:
    """A dry run shows which write a metadata value would have come from."""
    host = MemoryHost()
    webhook_id = Placeholder("POST /webhooks", "id")
    await context(host, metadata=Plain).update_metadata(
        {"organization_id": webhook_id, "other": webhook_id}
    )
    assert host.metadata == {
        "organization_id": "«POST /webhooks → id»",
        "other": "«POST /webhooks → id»",
    }


async def test_a_model_that_needs_the_value_ends_the_dry_run() -> None:
    """A number that only a real write gives makes the dry run incomplete, not defective."""
    with pytest.raises(IncompleteDryRun):
        await context(MemoryHost(), metadata=Plain).update_metadata(
            count=Placeholder("POST /webhooks", "count")
        )
