"""Projects, deployments, and functions that run."""

from __future__ import annotations

from carrick.errors.base import BadRequest, CarrickError, NotNow
from carrick.errors.requests import NotFound


class ProjectInvalid(BadRequest):
    """The project does not compile."""

    code = "compilation_error"


class DeploymentRejected(BadRequest):
    """The deployment was not made."""

    code = "deployment_rejected"


class RemovalNotConfirmed(CarrickError):
    """The deployment removes functions and nobody confirmed that."""

    code = "removal_not_confirmed"
    status = 409


class UnknownFunction(NotFound):
    """No such function is deployed."""

    code = "unknown_function"


class FunctionManagedByDeploy(BadRequest):
    """This function was deployed from a project. Remove its file there and deploy again."""

    code = "function_managed_by_deploy"


class FunctionsUnavailable(NotNow):
    """Functions cannot run on this server right now."""

    code = "functions_unavailable"


class ResultLost(NotNow):
    """The work was taken over by another node; this result no longer counts."""

    code = "lease_lost"


class OperationNotRetryable(BadRequest):
    """This operation cannot be run again."""

    code = "operation_not_retryable"
