"""`python -m carrick.runner '{"fd": 5, ...}'`: started by the host, never by hand."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from pathlib import Path

from carrick.runner.confine import close_inherited, die_with_host, set_limits


def _main() -> None:
    given = json.loads(sys.argv[1])
    die_with_host(given["parent"])
    close_inherited(keep=given["fd"])
    set_limits(given["memory_bytes"])
    faulthandler.enable(2)  # a crash in native code is told on the host's end of stderr
    from carrick.runner.bundle import LoadedBundle
    from carrick.runner.child import main

    bundle = LoadedBundle(Path(given["bundle"] or os.devnull))
    dependencies = given["dependencies"]
    bundle.install(Path(dependencies) if dependencies else None)
    sys.argv = [""]
    main(given["fd"], bundle)


_main()
