//! What this server can do, as an OpenAPI document, made from the very table that it is routed by.
//!
//! It says what every request may bring and what every answer looks like: statuses, headers, media types.
//! Of a resource it says no more than its type; what else a resource must be, FHIR's own definitions say,
//! and `$validate` tells.
//!
//! # Source
//!
//! OpenAPI Specification 3.0.3; FHIR R4, section 3.1.0 (RESTful API).

use axum::http::Method;
use serde_json::{Map, Value, json};

use crate::{
    caller::PURPOSE_HEADER,
    dispatch::{Action, ROUTES, Route, Segment, TYPES},
};

/// What every answer that says no is.
const REFUSALS: &[(&str, &str)] = &[
    ("400", "Something in the request is not understood."),
    ("401", "There is no token, or one that is not believed."),
    ("403", "Token, role or consent do not allow it."),
    ("404", "There is nothing, or nothing that the caller may know of."),
    ("405", "This cannot be done with such a resource."),
    ("406", "The client accepts no FHIR JSON."),
    ("413", "The body is too long."),
    ("414", "The URL is too long; search by POST."),
    ("422", "It is understood and cannot be done: not valid, too costly, or refused by the chain."),
    ("503", "Too much is in work, or the chain cannot be asked. Try again later."),
    ("504", "It takes longer than a client waits."),
];

/// The document.
pub(crate) fn document(base: &str) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let (method, segments, ..) = route;
        let types = if segments.contains(&Segment::Type) { TYPES } else { &[""] };
        for resource_type in types {
            let path = path_of(segments, resource_type);
            let operation = operation(route, resource_type);
            let item = paths.entry(path).or_insert_with(|| json!({}));
            // The first route that fits counts.
            if item.get(method_name(method)).is_none() {
                item[method_name(method)] = operation;
            }
        }
    }
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Salus, FHIR R4",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One institution's gateway. Every read is decided by the patient's consent \
                            on chain and leaves a receipt.",
            "license": { "name": "Apache-2.0" },
        },
        "servers": [{ "url": base }],
        "security": [{ "smart": [] }],
        "paths": paths,
        "components": components(base),
    })
}

fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}

fn path_of(segments: &[Segment], resource_type: &str) -> String {
    let segments: Vec<&str> = segments
        .iter()
        .map(|segment| match segment {
            Segment::Named(name) => name,
            Segment::Type => resource_type,
            Segment::Id => "{id}",
            Segment::Version => "{version}",
        })
        .collect();
    format!("/{}", segments.join("/"))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

/// What one route does with one type.
fn operation((method, segments, action, _): &Route, resource_type: &str) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    if segments.contains(&Segment::Id) {
        parameters.push(reference("parameters", "id"));
    }
    if segments.contains(&Segment::Version) {
        parameters.push(reference("parameters", "version"));
    }
    let by_action =
        |names: &[&str]| names.iter().map(|name| reference("parameters", name)).collect();
    let more: Vec<Value> = match action {
        Action::Capabilities => vec![],
        Action::Search => {
            let names =
                ["_count", "_sort", "_summary", "_elements", "_include", "_revinclude", "prefer"];
            let mut all: Vec<Value> = by_action(&names);
            all.extend(search::parameters(resource_type).iter().map(search_parameter));
            all
        }
        Action::SearchByPost => by_action(&["prefer"]),
        Action::Create => by_action(&["prefer", "if-none-exist"]),
        Action::ConditionalUpdate | Action::ConditionalDelete => {
            let mut all: Vec<Value> = by_action(&["prefer"]);
            all.extend(search::parameters(resource_type).iter().map(search_parameter));
            all
        }
        Action::Read | Action::VersionRead => by_action(&["if-none-match", "if-modified-since"]),
        Action::Update | Action::Patch => by_action(&["prefer", "if-match"]),
        Action::Delete => by_action(&["if-match"]),
        Action::History => by_action(&["_since", "_count"]),
        Action::Everything => by_action(&["_since", "_type"]),
        _ => Vec::new(),
    };
    parameters.extend(more);
    parameters.extend(["_format", "_pretty"].map(|name| reference("parameters", name)));
    if *action != Action::Capabilities {
        parameters.push(reference("parameters", "purpose"));
    }
    let mut operation = json!({
        "operationId": operation_id(method, segments, *action, resource_type),
        "tags": [if resource_type.is_empty() { "System" } else { resource_type }],
        "parameters": parameters,
        "responses": responses(method, segments, *action, resource_type),
    });
    if *action == Action::Capabilities {
        operation["security"] = json!([]);
    }
    if let Some(body) = request_body(method, segments, *action, resource_type) {
        operation["requestBody"] = body;
    }
    operation
}

fn operation_id(
    method: &Method,
    segments: &[Segment],
    action: Action,
    resource_type: &str,
) -> String {
    let named: String = segments
        .iter()
        .filter_map(|segment| match segment {
            Segment::Named(name) => Some(name.trim_start_matches(['$', '_'])),
            Segment::Id => Some("one"),
            Segment::Type | Segment::Version => None,
        })
        .map(|name| format!("-{name}"))
        .collect();
    let action = match action {
        // One action for several methods.
        Action::Subscription | Action::Export => format!("{action:?}-{}", method_name(method)),
        _ => format!("{action:?}"),
    };
    if resource_type.is_empty() {
        format!("{action}{named}")
    } else {
        format!("{action}-{resource_type}{named}")
    }
}

fn search_parameter(parameter: &search::Parameter) -> Value {
    json!({
        "name": parameter.name(),
        "in": "query",
        "description": format!("{}, {}", parameter.kind().as_str(), parameter.definition()),
        "schema": { "type": "string" },
    })
}

fn content(media_type: &str, schema: Value) -> Value {
    json!({ media_type: { "schema": schema } })
}

fn resource_schema(resource_type: &str) -> Value {
    json!({
        "allOf": [reference("schemas", "Resource")],
        "properties": { "resourceType": { "type": "string", "enum": [resource_type] } },
    })
}

fn request_body(
    method: &Method,
    segments: &[Segment],
    action: Action,
    resource_type: &str,
) -> Option<Value> {
    // Operations may have their parameters in the URL instead.
    let is_operation =
        matches!(segments.last(), Some(Segment::Named(name)) if name.starts_with('$'));
    let has_parameters = is_operation && matches!(action, Action::Export | Action::Subscription);
    let resource_type = match segments.first() {
        _ if has_parameters => "Parameters",
        Some(Segment::Named(name)) if resource_type.is_empty() && !name.starts_with('$') => name,
        _ => resource_type,
    };
    let content = match action {
        Action::SearchByPost => {
            let text = |name: &str| (name.to_owned(), json!({ "type": "string" }));
            let of_type = search::parameters(resource_type).iter().map(|one| text(one.name()));
            let properties: Map<String, Value> = of_type.chain([text("_count")]).collect();
            let form = json!({ "type": "object", "properties": properties });
            content("application/x-www-form-urlencoded", form)
        }
        Action::Patch => content("application/json-patch+json", reference("schemas", "JsonPatch")),
        Action::Bundle => content("application/fhir+json", reference("schemas", "IncomingBundle")),
        _ if *method == Method::POST || *method == Method::PUT => {
            content("application/fhir+json", resource_schema(resource_type))
        }
        _ => return None,
    };
    let required = action != Action::SearchByPost && !has_parameters;
    Some(json!({ "required": required, "content": content }))
}

/// The statuses that an operation answers with.
fn responses(method: &Method, segments: &[Segment], action: Action, resource_type: &str) -> Value {
    let versioned = json!({
        "ETag": reference("headers", "ETag"),
        "Last-Modified": reference("headers", "Last-Modified"),
    });
    let of_type = || content("application/fhir+json", resource_schema(resource_type));
    // What comes back after a write depends on the header `Prefer`.
    let written = |description: &str| {
        let either = json!({ "anyOf": [
            resource_schema(resource_type), reference("schemas", "OperationOutcome"),
        ] });
        let mut headers = versioned.clone();
        headers["Location"] = reference("headers", "Location");
        json!({
            "description": description, "headers": headers,
            "content": content("application/fhir+json", either),
        })
    };
    let gives = |description: &str, schema: &str| {
        json!({
            "description": description,
            "content": content("application/fhir+json", reference("schemas", schema)),
        })
    };
    let nothing = |description: &str| json!({ "description": description });
    let refusal = |description: &str| gives(description, "OperationOutcome");
    let mut all: Map<String, Value> = Map::new();
    let mut add = |status: &str, response: Value| drop(all.insert(status.to_owned(), response));
    match action {
        Action::Capabilities => {
            add("200", gives("What this server can do.", "CapabilityStatement"))
        }
        Action::Bundle => add("200", gives("What became of each entry.", "Bundle")),
        Action::Validate => add("200", gives("What is wrong with it.", "OperationOutcome")),
        Action::Search | Action::SearchByPost => {
            add("200", gives("What was found that the caller may see.", "Bundle"));
            add("410", refusal("This page is no longer kept."));
        }
        Action::Everything | Action::History | Action::TypeHistory => {
            add("200", gives("What the caller may see of it.", "Bundle"));
            add("410", refusal("It was erased."));
        }
        Action::Create => {
            add("202", written("It is kept and waits for the chain, or for the patient to sign."));
            add("201", written("It was made."));
            add("200", written("What `If-None-Exist` says is there already."));
        }
        Action::Update | Action::ConditionalUpdate => {
            add("202", written("It is kept and waits for the chain, or for the patient to sign."));
            add("200", written("It was replaced."));
            add("201", written("It was made."));
        }
        Action::Patch => {
            add("202", written("It is kept and waits for the chain."));
            add("200", written("It was changed."));
            add("410", refusal("It was deleted."));
        }
        Action::Delete | Action::ConditionalDelete => {
            add("204", nothing("It is deleted."));
            add("202", refusal("It ends once the patient has signed that."));
            add("410", refusal("It was deleted, or erased."));
        }
        Action::Read | Action::VersionRead => {
            let read = json!({ "description": "The resource.", "headers": versioned, "content": of_type() });
            add("200", read);
            add("304", nothing("The client has this version."));
            add("410", refusal("It was deleted, or erased."));
        }
        #[allow(unreachable_patterns, reason = "what is new in the table is described in general")]
        _ => {
            add("200", gives("Done.", "Resource"));
            add("202", nothing("Begun; `Content-Location` says where to ask how it goes."));
        }
    }
    if *method != Method::GET {
        add("409", refusal("Somebody else wrote at the same time."));
        add("412", refusal("A condition does not hold."));
        add("415", refusal("The body is of another media type."));
    }
    let is_open = segments == [Segment::Named("metadata")];
    for (status, description) in REFUSALS {
        let has_token = matches!(*status, "401" | "403");
        if !(is_open && has_token) {
            add(status, refusal(description));
        }
    }
    Value::Object(all)
}

fn components(base: &str) -> Value {
    let origin = base.strip_suffix("/fhir").unwrap_or(base);
    let query = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "query", "description": description, "schema": schema });
    let header = |name: &str, description: &str, schema: Value| json!({ "name": name, "in": "header", "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    json!({
        "securitySchemes": {
            "smart": {
                "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                "description": format!(
                    "A token by SMART App Launch 2.2. Where to get one: \
                     {origin}/.well-known/smart-configuration"
                ),
            },
        },
        "parameters": {
            "id": {
                "name": "id", "in": "path", "required": true,
                "example": "example",
                "schema": { "type": "string", "pattern": "^[A-Za-z0-9\\-\\.]{1,64}$" },
            },
            "version": {
                "name": "version", "in": "path", "required": true, "example": "1",
                "schema": { "type": "string", "pattern": "^[1-9][0-9]{0,8}(\\.[1-9][0-9]{0,8})?$" },
            },
            "purpose": header(
                PURPOSE_HEADER,
                "Why somebody reads, by a code of HL7 v3 PurposeOfUse.",
                json!({ "type": "string", "enum": [
                    "TREAT", "ETREAT", "HPAYMT", "HRESCH", "HOPERAT", "PATRQT", "PUBHLTH", "HLEGAL",
                ] }),
            ),
            "prefer": header(
                "Prefer",
                "What comes back after a write, and whether a search that is not understood is refused.",
                json!({ "type": "string", "enum": [
                    "return=minimal", "return=representation", "return=OperationOutcome",
                    "handling=strict", "handling=lenient",
                ] }),
            ),
            "if-match": header("If-Match", "Only if this version is the newest.", tag()),
            "if-none-match": header("If-None-Match", "Only if another version is the newest.", tag()),
            "if-modified-since": header("If-Modified-Since", "Only if it is newer.", text()),
            "if-none-exist": header("If-None-Exist", "Only if this search finds nothing.", text()),
            "_count": query("_count", "Resources a page.", json!({ "type": "integer", "minimum": 0 })),
            "_sort": query("_sort", "Names of parameters; with `-`, from the last.", text()),
            "_summary": query("_summary", "Which part of each.", json!({
                "type": "string", "enum": ["true", "false", "text", "data", "count"],
            })),
            "_elements": query("_elements", "Which members of each.", text()),
            "_include": query("_include", "What the matches refer to.", text()),
            "_revinclude": query("_revinclude", "What refers to the matches.", text()),
            "_since": query("_since", "An instant; only what is newer.", text()),
            "_type": query("_type", "Which types, separated by commas.", text()),
            "_format": query("_format", "Overrides `Accept`.", json!({
                "type": "string", "enum": ["json", "application/fhir+json"],
            })),
            "_pretty": query("_pretty", "For people.", json!({ "type": "boolean" })),
        },
        "headers": {
            "ETag": { "description": "The version.", "schema": tag() },
            "Last-Modified": { "description": "When it was made.", "schema": text() },
            "Location": { "description": "Where it is, with its version.", "schema": text() },
        },
        "schemas": schemas(),
    })
}

fn tag() -> Value {
    json!({ "type": "string", "pattern": "^W/\"[0-9]+\"$" })
}

fn schemas() -> Value {
    let text = || json!({ "type": "string" });
    let object = |required: &[&str], properties: Value| json!({ "type": "object", "required": required, "properties": properties });
    json!({
        "Resource": object(&["resourceType"], json!({
            "resourceType": text(),
            "id": { "type": "string", "pattern": "^[A-Za-z0-9\\-\\.]{1,64}$" },
            "meta": { "type": "object", "properties": {
                "versionId": text(), "lastUpdated": { "type": "string", "format": "date-time" },
            } },
        })),
        "CapabilityStatement": object(&["resourceType", "status", "kind", "fhirVersion", "rest"], json!({
            "resourceType": { "type": "string", "enum": ["CapabilityStatement"] },
            "fhirVersion": { "type": "string", "enum": ["4.0.1"] },
        })),
        "OperationOutcome": object(&["resourceType", "issue"], json!({
            "resourceType": { "type": "string", "enum": ["OperationOutcome"] },
            "issue": { "type": "array", "minItems": 1, "items": object(
                &["severity", "code", "diagnostics"],
                json!({
                    "severity": { "type": "string", "enum": ["fatal", "error", "warning", "information"] },
                    "code": text(),
                    "diagnostics": text(),
                    "expression": { "type": "array", "minItems": 1, "items": text() },
                }),
            ) },
        })),
        "Bundle": object(&["resourceType", "type"], json!({
            "resourceType": { "type": "string", "enum": ["Bundle"] },
            "type": { "type": "string", "enum": [
                "searchset", "history", "batch-response", "transaction-response",
            ] },
            "total": { "type": "integer", "minimum": 0 },
            "link": { "type": "array", "items": object(
                &["relation", "url"], json!({ "relation": text(), "url": text() }),
            ) },
            "entry": { "type": "array", "items": { "type": "object", "properties": {
                "fullUrl": text(),
                "resource": reference("schemas", "Resource"),
            } } },
        })),
        "IncomingBundle": object(&["resourceType", "type"], json!({
            "resourceType": { "type": "string", "enum": ["Bundle"] },
            "type": { "type": "string", "enum": ["batch", "transaction"] },
            "entry": { "type": "array", "items": object(&["request"], json!({
                "fullUrl": text(),
                "resource": reference("schemas", "Resource"),
                "request": object(&["method", "url"], json!({
                    "method": { "type": "string", "enum": [
                        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE",
                    ] },
                    "url": text(),
                })),
            })) },
        })),
        "JsonPatch": { "type": "array", "items": object(&["op", "path"], json!({
            "op": { "type": "string", "enum": ["add", "remove", "replace", "move", "copy", "test"] },
            "path": text(),
            "from": text(),
            "value": {},
        })) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_once() {
        let document = document("http://salus.test/fhir");
        let mut ids = std::collections::HashSet::new();
        let mut described = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                assert!(ids.insert(id.to_owned()), "{method} {path}: {id}");
                described += 1;
            }
        }
        let types = |route: &&Route| route.1.contains(&Segment::Type);
        let of_types = ROUTES.iter().filter(types).count();
        assert_eq!(described, of_types * TYPES.len() + ROUTES.len() - of_types);
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document = document("http://salus.test/fhir");
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
        assert!(text.contains("http://salus.test/.well-known/smart-configuration"));
    }
}
