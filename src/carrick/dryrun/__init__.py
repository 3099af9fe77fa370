"""Dry runs: any event function against a real connection, with its writes withheld and shown."""

from carrick.dryrun.dry_runs import DryRunReport, DryRunRequest, DryRuns

__all__ = ["DryRunReport", "DryRunRequest", "DryRuns"]
