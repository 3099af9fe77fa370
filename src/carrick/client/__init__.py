"""`carrick.Client` and `carrick.SyncClient`: the Python clients of a Carrick server.

Routes of the wire contract (`/integrations`, `/connections`, `/providers`, …) keep its shapes. What
only Carrick has speaks JSON like this; lists are `{"data": [...], "next_cursor": str | null}` and
take `?limit=` and `?cursor=`; errors are `{"error": {"code", "message", "payload"?, "errors"?}}`.

    GET  /health                         200 when functions can run, else 503; JSON either way

    POST /deployments/preview            {bundle: base64, scope: Scope|null}
                                         → {data: {added, changed, unchanged, removed: [Change]}}
    POST /deployments                    {bundle: base64, scope: Scope|null, allow_removals: bool}
                                         → {data: {number, is_new, added, changed, …}}
    GET  /deployments                    → list of Deployment, the newest first
    POST /deployments/{number}/activate  {} → {data: Deployment}
         Scope      {integrations: [id], functions: ["integration/name"]}
         Change     {integration_id, name, event, change, version, only_order}
         Deployment {number, state: active|superseded, scope, summary: {added, changed, unchanged,
                     removed, functions: ["added integration/name"]}, created_at, activated_at}
         400 compilation_error   payload.problems: [{file, line, message, hint}]
         400 deployment_rejected payload.unknown_integrations, when that is why
         409 removal_not_confirmed payload.removed: [Change]

    POST /dryruns                        {function, connection_id, integration_id?, operation?,
                                          metadata?, live?: bool, bundle?: base64}
                                         → {data: Report}; without a bundle: what is deployed
         Report {function, integration_id, event, operation, live, outcome, incomplete, message,
                 detail, log: [{level, message, fields}],
                 calls: [{method, endpoint, status, withheld, body}],
                 metadata_before, metadata_after, operation_id}

    GET  /operations                     ?state=&type=&integration_id=&connection_id= → list
    GET  /operations/{id}                → {data: Operation with `messages`}
    POST /operations/{id}/retry          {} → {data: …}
         Operation {id, type, action, state, integration_id, connection_id, message, error,
                    created_at, ended_at, duration_ms, messages: [{level, message, created_at}]}

    GET  /cleanups                       → list of Cleanup, parked ones first
    POST /cleanups/{id}/retry            {} → {data: …}
    POST /cleanups/{id}/force            {reason} → {data: …}
         Cleanup {id, connection_id, integration_id, function, state, attempts, due_at,
                  error_message, operation_id, created_at}

    GET  /environments                   → {data: [{name, uuid}]}
    GET  /environment-variables          → [{name, value}] (the contract's bare array)
    POST /environment-variables          {variables: {name: value | null}}; null removes
"""

from carrick.client.client import Client
from carrick.client.errors import AnswerLost, ApiError, ServerUnreachable
from carrick.client.sync import SyncClient
from carrick.client.transport import Answer

__all__ = ["Answer", "AnswerLost", "ApiError", "Client", "ServerUnreachable", "SyncClient"]
