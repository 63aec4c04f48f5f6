//! Description of a route for the OpenAPI document.

use serde_json::{Value, json};

/// Parameters and responses of a route.
pub(super) struct Operation {
    pub(super) summary: &'static str,
    /// Status of success.
    status: u16,
    /// Description of the response.
    described: &'static str,
    answer: ResponseContent,
    parameters: &'static [Parameter],
    body: Option<Schema>,
    /// Status and reason of errors, in addition to those of every route, and instead of those of the
    /// same status.
    errors: &'static [(u16, &'static str)],
}

/// Contents of a successful response.
pub(super) enum ResponseContent {
    Json(Schema),
    /// By media type.
    Other(&'static [(&'static str, Schema)]),
}

/// Errors of every route.
const OF_EACH: &[(u16, &str)] =
    &[(401, "not signed in"), (403, "the role is too low, or the request comes from a page of another site"), (421, "unknown host name")];

/// Errors of every route that requires a login.
const OF_KNOWN: &[(u16, &str)] = &[(429, "too many concurrent requests and streams of this user")];

/// Errors of every route with a body.
const OF_BODY: &[(u16, &str)] =
    &[(400, "the body is invalid; `error` has the reason"), (408, "the body took too long"), (413, "the body has more than 64 KiB")];

/// Shape of a value.
pub(super) enum Schema {
    /// Name in `components.schemas` of `openapi.json`.
    Named(&'static str),
    Inline(fn() -> Value),
}

/// Name, type and description of a parameter of the query, or of the `{name}` in the path.
pub(super) struct Parameter(pub(super) &'static str, pub(super) &'static str, pub(super) &'static str);

/// Describes a route that answers 200.
pub(super) const fn about(summary: &'static str, answer: ResponseContent) -> Operation {
    Operation { summary, status: 200, described: "done", answer, parameters: &[], body: None, errors: &[] }
}

impl Operation {
    pub(super) const fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(super) const fn described(mut self, described: &'static str) -> Self {
        self.described = described;
        self
    }

    pub(super) const fn parameters(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = parameters;
        self
    }

    pub(super) const fn body(mut self, body: Schema) -> Self {
        self.body = Some(body);
        self
    }

    pub(super) const fn errors(mut self, errors: &'static [(u16, &'static str)]) -> Self {
        self.errors = errors;
        self
    }

    /// Returns the operation in OpenAPI's format. `is_open`: the route requires no login.
    pub(super) fn document(&self, path: &str, role: &str, is_open: bool) -> Value {
        let content = match &self.answer {
            ResponseContent::Json(schema) => json!({ "application/json": { "schema": schema.document() } }),
            ResponseContent::Other(kinds) => {
                kinds.iter().map(|(kind, schema)| ((*kind).to_owned(), json!({ "schema": schema.document() }))).collect()
            }
        };
        let mut responses = json!({ self.status.to_string(): { "description": self.described, "content": content } });
        let of_known = if is_open { &[] } else { OF_KNOWN };
        let of_body = if self.body.is_some() { OF_BODY } else { &[] };
        for (status, reason) in [OF_EACH, of_known, of_body, self.errors].concat() {
            let content = json!({ "application/json": { "schema": Schema::Named("Error").document() } });
            responses[status.to_string()] = json!({ "description": reason, "content": content });
        }
        let mut operation = json!({ "summary": self.summary, "x-role": role, "responses": responses });
        let parameters = self.parameters_of(path);
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(body) = &self.body {
            operation["requestBody"] = json!({ "content": { "application/json": { "schema": body.document() } } });
        }
        operation
    }

    fn parameters_of(&self, path: &str) -> Vec<Value> {
        let in_path = path.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(name, _)| name);
        let mut list = Vec::new();
        if let Some(name) = in_path {
            let mut parameter = json!({ "name": name, "in": "path", "required": true });
            if let Some(Parameter(.., description)) = self.parameters.iter().find(|parameter| parameter.0 == name) {
                parameter["description"] = (*description).into();
            }
            parameter["schema"] = json!({ "type": "string" });
            list.push(parameter);
        }
        let query = self.parameters.iter().filter(|parameter| Some(parameter.0) != in_path);
        list.extend(query.map(|Parameter(name, kind, description)| {
            json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
        }));
        list
    }
}

impl Schema {
    fn document(&self) -> Value {
        match self {
            Self::Named(name) => json!({ "$ref": format!("#/components/schemas/{name}") }),
            Self::Inline(schema) => schema(),
        }
    }
}
