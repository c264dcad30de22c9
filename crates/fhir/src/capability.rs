//! What this server can do, made from the very table that it is routed by.

use axum::http::Method;
use serde_json::{Value, json};

use crate::{
    derived,
    dispatch::{ROUTES, Segment, TYPES},
    instant,
    resources::Resources,
    subscriptions,
};

/// The CapabilityStatement.
///
/// # Source
///
/// FHIR R4, section 3.1.0.10 (`capabilities`).
pub(crate) fn statement(of: &Resources) -> Value {
    let base = of.base();
    let mut resources: Vec<Value> = TYPES.iter().map(|name| resource(name)).collect();
    if of.sends_notifications() {
        resources.push(subscriptions::capability());
    }
    json!({
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": instant::text(of.now_ms()),
        "publisher": "Salus",
        "kind": "instance",
        "software": { "name": "Salus", "version": env!("CARGO_PKG_VERSION") },
        "implementation": {
            "description": "One institution's gateway. Every read is decided by the patient's \
                            consent on chain and leaves a receipt.",
            "url": base,
        },
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json", "json"],
        "patchFormat": ["application/json-patch+json"],
        "rest": [{
            "mode": "server",
            "security": {
                "cors": true,
                "service": [{ "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/restful-security-service",
                    "code": "SMART-on-FHIR",
                }] }],
                "description": format!(
                    "A token, and the purpose in the header {} (HL7 v3 PurposeOfUse).",
                    crate::caller::PURPOSE_HEADER
                ),
            },
            "resource": resources,
            "interaction": [{ "code": "transaction" }, { "code": "batch" }],
            "operation": [
                {
                    "name": "export",
                    "definition":
                        "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export",
                },
                { "name": "import", "definition": "urn:salus:operation:import" },
            ],
        }],
    })
}

fn resource(name: &str) -> Value {
    let interactions: Vec<Value> = ROUTES
        .iter()
        .filter(|(method, path, ..)| {
            path.first() == Some(&Segment::Type) && derived::may_be_written(name, method, &[])
        })
        .filter_map(|(.., code)| code.map(|code| json!({ "code": code })))
        .collect();
    let of_type = search::parameters(name);
    let parameters: Vec<Value> = of_type
        .iter()
        .map(|parameter| {
            json!({
                "name": parameter.name(),
                "type": parameter.kind().as_str(),
                "definition": parameter.definition(),
            })
        })
        .collect();
    let references =
        of_type.iter().filter(|parameter| parameter.kind() == search::ParameterKind::Reference);
    let includes: Vec<String> =
        references.map(|parameter| format!("{name}:{}", parameter.name())).collect();
    let is_written = derived::may_be_written(name, &Method::POST, &[]);
    let mut resource = json!({
        "type": name,
        "interaction": interactions,
        "versioning": "versioned-update",
        "readHistory": true,
        "updateCreate": is_written,
        "conditionalCreate": is_written,
        "conditionalRead": "full-support",
        "conditionalUpdate": is_written,
        "conditionalDelete": if is_written { "single" } else { "not-supported" },
        "searchParam": parameters,
    });
    if !includes.is_empty() {
        resource["searchInclude"] = includes.into();
    }
    let reverse_includes = referring_to(name);
    if !reverse_includes.is_empty() {
        resource["searchRevInclude"] = reverse_includes.into();
    }
    let mut operations: Vec<&str> = ROUTES
        .iter()
        .filter_map(|(_, path, ..)| match path {
            [Segment::Type, Segment::Named(operation)] => Some(*operation),
            [Segment::Named(of), Segment::Named(operation)] if *of == name => Some(*operation),
            [Segment::Named(of), _, Segment::Named(operation)] if *of == name => Some(*operation),
            _ => None,
        })
        .filter_map(|operation| operation.strip_prefix('$'))
        .collect();
    // Some are there by more than one method, or for a type and for one of it.
    operations.dedup();
    let operations: Vec<Value> = operations
        .into_iter()
        .map(|operation| {
            let base = "http://hl7.org/fhir/OperationDefinition";
            let definition = match operation {
                "everything" => format!("{base}/Patient-everything"),
                // HL7 has none like it.
                "export" => {
                    let base = "http://hl7.org/fhir/uv/bulkdata/OperationDefinition";
                    format!("{base}/{}-export", name.to_ascii_lowercase())
                }
                "sign" => "urn:salus:operation:consent-sign".to_owned(),
                _ => format!("{base}/Resource-{operation}"),
            };
            json!({ "name": operation, "definition": definition })
        })
        .collect();
    if !operations.is_empty() {
        resource["operation"] = operations.into();
    }
    resource
}

/// By what resources of other types that people write may refer to one of this type.
fn referring_to(name: &str) -> Vec<String> {
    let sources = TYPES.iter().filter(|source| derived::may_be_written(source, &Method::POST, &[]));
    let all = sources.flat_map(|source| {
        let of_source = search::parameters(source).iter();
        of_source.map(move |parameter| (source, parameter))
    });
    all.filter(|(_, parameter)| {
        let targets = parameter.targets();
        parameter.kind() == search::ParameterKind::Reference
            && (targets.is_empty() || targets.contains(&name))
    })
    .map(|(source, parameter)| format!("{source}:{}", parameter.name()))
    .collect()
}
