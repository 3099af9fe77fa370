"""Writes a migration from what `carrick.store.tables` says: `make migration [name=add_widgets]`.

Without a name the first migration is written anew, which is right only until it is released.
"""

from __future__ import annotations

import re
import sys

from alembic import command
from sqlalchemy import Connection, create_engine

from carrick.store.migrate import MIGRATIONS, configuration, revisions


def main(name: str | None) -> None:
    """Write one migration file."""
    versions = MIGRATIONS / "versions"
    if name is None:
        if len(revisions()) > 1:
            raise SystemExit("There are later migrations: give the new one a name=.")
        for file in versions.glob("[0-9]*.py"):
            file.unlink()
    with create_engine("sqlite://").begin() as connection:
        command.upgrade(configuration(connection), "head")
        _write(connection, name or "initial")


def _write(connection: Connection, name: str) -> None:
    config = configuration(connection)
    config.attributes["creates_only"] = name == "initial"
    number = f"{len(revisions()) + 1:04}"
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    command.revision(config, name.replace("_", " ").capitalize(), autogenerate=True, rev_id=number)
    for file in (MIGRATIONS / "versions").glob(f"{number}_*.py"):
        text = file.read_text()
        # Alembic marks what it wrote; the comments say nothing to a reader.
        file.write_text(re.sub(r"\n *# ### .*", "", text))
        sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 and sys.argv[1] else None)
