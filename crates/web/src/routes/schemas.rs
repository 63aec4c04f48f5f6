//! Shapes of bodies and answers of one route each, for the OpenAPI document. Shapes that several
//! use are in `openapi.json` of this crate.

use serde_json::{Value, json};

pub(super) fn text() -> Value {
    json!({ "type": "string" })
}

pub(super) fn session_body() -> Value {
    json!({
        "oneOf": [
            { "type": "object", "properties": { "link": { "type": "string" } }, "required": ["link"] },
            { "type": "object", "properties": { "password": { "type": "string" } }, "required": ["password"] },
            { "type": "object", "properties": { "token": { "type": "string" } }, "required": ["token"] },
        ],
    })
}

pub(super) fn app_routes() -> Value {
    json!({
        "type": "object",
        "properties": {
            "at": { "type": "integer", "description": "wall clock, milliseconds since 1970" },
            "routes": { "type": "array", "items": { "$ref": "#/components/schemas/AppRoute" } },
        },
        "required": ["at", "routes"],
    })
}

pub(super) fn one_instance() -> Value {
    json!({
        "type": "object",
        "properties": { "instance": { "type": "integer", "description": "only this instance" } },
        "required": [],
    })
}

pub(super) fn scale() -> Value {
    json!({
        "type": "object",
        "properties": { "instances": { "type": "integer", "description": "1 to 1000" } },
        "required": ["instances"],
    })
}

pub(super) fn undo() -> Value {
    json!({
        "type": "object",
        "properties": { "release": { "type": "integer", "description": "omitted: the previous release" } },
        "required": [],
    })
}

pub(super) fn trigger() -> Value {
    json!({
        "type": "object",
        "properties": {
            "action": { "type": "string" },
            "param": { "type": "string" },
            "instance": { "type": "integer", "description": "only this instance" },
        },
        "required": ["action"],
    })
}

pub(super) fn send() -> Value {
    json!({
        "type": "object",
        "properties": {
            "text": { "type": "string", "description": "a line for standard input" },
            "instance": { "type": "integer", "description": "only this instance" },
        },
        "required": ["text"],
    })
}

pub(super) fn events() -> Value {
    json!({
        "type": "object",
        "properties": {
            "events": { "type": "array", "items": { "$ref": "#/components/schemas/Event" } },
            "more": { "type": "boolean" },
            "begins": {
                "type": ["object", "null"],
                "description": "oldest known event: nothing is missing after it; null: no event is known",
                "properties": {
                    "epoch": { "type": "integer" },
                    "sequence": { "type": "integer" },
                    "at": { "type": "integer" },
                },
                "required": ["epoch", "sequence", "at"],
            },
        },
        "required": ["events", "more", "begins"],
    })
}

pub(super) fn ports() -> Value {
    json!({
        "type": "object",
        "properties": {
            "ports": {
                "type": "array",
                "description": "by port, then app; several apps may share a port",
                "items": {
                    "type": "object",
                    "properties": {
                        "port": { "type": "integer", "description": "TCP port" },
                        "ephemeral": { "type": "boolean", "description": "the port is in the range from which the kernel picks ports itself" },
                        "app": { "type": "string" },
                        "namespace": { "type": "string" },
                        "instances": { "type": "array", "items": { "type": "integer" } },
                    },
                    "required": ["port", "ephemeral", "app", "namespace", "instances"],
                },
            },
        },
        "required": ["ports"],
    })
}

pub(super) fn errors() -> Value {
    json!({
        "type": "object",
        "properties": { "errors": { "type": "array", "items": { "$ref": "#/components/schemas/ErrorGroup" } } },
        "required": ["errors"],
    })
}

pub(super) fn errors_resolve_answer() -> Value {
    json!({ "type": "object", "properties": { "done": { "type": "boolean" } }, "required": ["done"] })
}

pub(super) fn errors_resolve_body() -> Value {
    json!({ "type": "object", "properties": {} })
}

pub(super) fn logs() -> Value {
    json!({
        "type": "object",
        "properties": { "lines": { "type": "array", "items": { "$ref": "#/components/schemas/Line" } } },
        "required": ["lines"],
    })
}

pub(super) fn access() -> Value {
    json!({
        "type": "object",
        "properties": {
            "tokens": { "type": "array", "items": { "$ref": "#/components/schemas/Token" } },
            "settings": { "type": "object" },
            "audit": { "type": "array", "items": { "type": "object" } },
            "otlp": {
                "type": "object",
                "description": "receiver: as in traces; push: {to, sent, dropped, refused, problem}, null: nothing is sent",
            },
        },
        "required": ["tokens", "settings", "audit", "otlp"],
    })
}

pub(super) fn access_token_answer() -> Value {
    json!({ "type": "object", "properties": { "token": { "type": "string" } }, "required": ["token"] })
}

pub(super) fn access_token_body() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "role": { "$ref": "#/components/schemas/Role" },
            "namespaces": { "type": "array", "items": { "type": "string" } },
        },
        "required": ["name", "role"],
    })
}

pub(super) fn any_object() -> Value {
    json!({ "type": "object" })
}

pub(super) fn alerts_test_answer() -> Value {
    json!({
        "type": "object",
        "properties": {
            "results": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "channel": { "type": "string" },
                        "sent": { "type": "boolean" },
                        "error": { "type": ["string", "null"] },
                    },
                    "required": ["channel", "sent", "error"],
                },
            },
        },
        "required": ["results"],
    })
}

pub(super) fn alerts_test_body() -> Value {
    json!({ "type": "object", "properties": { "channel": { "type": "string" } }, "required": [] })
}

pub(super) fn hosts() -> Value {
    json!({
        "type": "object",
        "properties": {
            "hosts": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": { "type": "string" },
                        "host": { "type": "string", "description": "name or address for ssh" },
                        "user": { "type": ["string", "null"] },
                        "port": { "type": ["integer", "null"] },
                        "here": { "type": "boolean", "description": "true: this machine" },
                        "dashboard": { "type": ["string", "null"], "description": "address for browsers; null: unknown" },
                    },
                    "required": ["name", "host", "user", "port", "here", "dashboard"],
                },
            },
            "problem": { "type": ["string", "null"], "description": "why the hosts file cannot be used" },
        },
        "required": ["hosts", "problem"],
    })
}

pub(super) fn alerts_channels() -> Value {
    json!({
        "type": "object",
        "properties": {
            "channels": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": { "type": "string" },
                        "type": { "type": "string" },
                        "severity": { "type": "string", "enum": ["info", "warning", "critical"] },
                        "resolved": { "type": "boolean" },
                        "quiet": { "type": ["object", "null"], "description": "from, to, zone" },
                        "settings": { "type": "object", "description": "settings of the service that are not secret" },
                        "secrets": { "type": "array", "description": "names of the secret settings that are set", "items": { "type": "string" } },
                    },
                    "required": ["name", "type", "severity", "resolved", "quiet", "settings", "secrets"],
                },
            },
        },
        "required": ["channels"],
    })
}

pub(super) fn alerts_channel_body() -> Value {
    json!({ "type": "object", "description": "the settings to change, as in alerts.json; not name and type" })
}

pub(super) fn alerts_channels_answer() -> Value {
    json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "replaced": { "type": "boolean" } },
        "required": ["name", "replaced"],
    })
}

pub(super) fn alerts_channels_body() -> Value {
    json!({
        "type": "object",
        "description": "as in alerts.json: type, name, severity, and the service's settings",
        "properties": { "type": { "type": "string" }, "name": { "type": "string" } },
        "required": ["type"],
    })
}

pub(super) fn alerts_silences_body() -> Value {
    json!({
        "type": "object",
        "properties": {
            "app": { "type": "string", "description": "name, or pattern with *; omitted: all" },
            "rule": { "type": "string" },
            "for": { "type": "string", "description": "30m, 2h; default 1h" },
            "reason": { "type": "string" },
        },
        "required": [],
    })
}

pub(super) fn history() -> Value {
    let metric = json!({ "type": "string" });
    let step = json!({ "type": "integer", "description": "ms" });
    let figures = json!({
        "type": "array",
        "items": {
            "type": "array",
            "description": "start of the step in ms, minimum, average, maximum",
            "items": { "type": "number" },
            "minItems": 4,
            "maxItems": 4,
        },
    });
    json!({
        "type": "object",
        "description": "metric, step and figures for one metric, series for several; a series without values is empty",
        "properties": {
            "from": { "type": "integer" },
            "to": { "type": "integer" },
            "metric": metric,
            "step": step,
            "figures": figures,
            "series": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": { "metric": metric, "step": step, "figures": figures },
                    "required": ["metric", "step", "figures"],
                },
            },
            "marks": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "at": { "type": "integer" },
                        "kind": { "type": "string" },
                        "instance": { "type": ["integer", "null"] },
                        "text": { "type": "string" },
                        "severity": { "type": "string" },
                    },
                },
            },
        },
        "required": ["from", "to", "marks"],
    })
}

pub(super) fn history_series() -> Value {
    json!({
        "type": "object",
        "properties": {
            "series": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "app": { "type": ["string", "null"] },
                        "namespace": { "type": ["string", "null"] },
                        "instance": { "type": ["integer", "null"] },
                        "metric": { "type": "string" },
                    },
                },
            },
            "left_out": {
                "type": "integer",
                "description": "values that were dropped because there are too many names",
            },
        },
        "required": ["series", "left_out"],
    })
}

pub(super) fn traces() -> Value {
    json!({
        "type": "object",
        "properties": {
            "traces": { "type": "array", "items": { "$ref": "#/components/schemas/Trace" } },
            "more": { "type": "boolean" },
            "receiver": { "$ref": "#/components/schemas/TraceReceiver" },
            "counts": {
                "anyOf": [{ "type": "object" }, { "type": "null" }],
                "description": "counts of received, duplicate and skipped spans, and of dropped and evicted traces; null for accounts limited to some namespaces",
            },
            "bytes": {
                "anyOf": [{ "type": "integer" }, { "type": "null" }],
                "description": "memory of the store; null for accounts limited to some namespaces",
            },
        },
        "required": ["traces", "more", "receiver", "counts", "bytes"],
    })
}

pub(super) fn apps_profile_answer() -> Value {
    json!({
        "type": "object",
        "properties": { "done": { "type": "boolean" }, "instances": { "type": "integer" } },
        "required": ["done", "instances"],
    })
}

pub(super) fn apps_profile_body() -> Value {
    json!({
        "type": "object",
        "properties": {
            "kind": { "type": "string", "enum": ["cpu", "memory", "heap"] },
            "seconds": { "type": "number", "description": "up to 300, default 10; ignored for a heap" },
            "instance": { "type": "integer", "description": "only this instance" },
        },
        "required": ["kind"],
    })
}

pub(super) fn profiles() -> Value {
    json!({
        "type": "object",
        "properties": {
            "profiles": { "type": "array", "items": { "$ref": "#/components/schemas/Profile" } },
            "running": { "type": "array", "items": { "$ref": "#/components/schemas/ProfileUnderWay" } },
            "failed": { "type": "array", "items": { "$ref": "#/components/schemas/ProfileFailed" } },
        },
        "required": ["profiles", "running", "failed"],
    })
}

pub(super) fn anything() -> Value {
    json!({})
}
