"""The schema's history, one file per change. Run through `carrick.store.migrate` only."""
