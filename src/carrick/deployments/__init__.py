"""Projects of event functions: read, check, bundle, deploy, and find the active ones again."""

from carrick.deployments.bundle import Bundle, open_bundle, pack
from carrick.deployments.checks import check
from carrick.deployments.deployments import Deployed, Deployments
from carrick.deployments.diff import FunctionChange, Preview, Scope
from carrick.deployments.inspection import (
    FoundFunction,
    Inspection,
    inspect_files,
    inspect_project,
)
from carrick.deployments.problem import Problem, project_invalid
from carrick.deployments.project import Project, read_project
from carrick.deployments.selection import FunctionFile, select
from carrick.deployments.shelf import BundleDir
from carrick.deployments.sources import Sources

__all__ = [
    "Bundle",
    "BundleDir",
    "Deployed",
    "Deployments",
    "FoundFunction",
    "FunctionChange",
    "FunctionFile",
    "Inspection",
    "Preview",
    "Problem",
    "Project",
    "Scope",
    "Sources",
    "check",
    "inspect_files",
    "inspect_project",
    "open_bundle",
    "pack",
    "project_invalid",
    "read_project",
    "select",
]
