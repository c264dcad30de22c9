//! A request to the FHIR interface, over HTTP or as an entry of a bundle, and what answers it.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderName, Method, StatusCode, header},
};
use parking_lot::Mutex;

use crate::{outcome::FhirError, resources::Resource, version::VersionId};

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// The path below the base, without empty segments.
    pub(crate) path: Vec<String>,
    /// The query, in its order.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) conditions: Conditions,
    /// What the client wants back after a write.
    pub(crate) returning: Returning,
    /// Whether what is not understood in a search is an error.
    pub(crate) strict: bool,
    /// Whether the client said that what is not understood is to be passed over.
    pub(crate) lenient: bool,
    /// Whether the client takes an answer later.
    pub(crate) respond_async: bool,
    pub(crate) content_type: Option<String>,
    /// A `Provenance` of what is written, by the header of that name.
    pub(crate) provenance: Option<String>,
    pub(crate) body: Bytes,
}

/// On what a request depends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    pub(crate) if_match: Option<String>,
    pub(crate) if_none_match: Option<String>,
    pub(crate) if_modified_since: Option<String>,
    pub(crate) if_none_exist: Option<String>,
}

impl Conditions {
    /// Refuses a write of a resource whose version is now `newest`, unless it is what the client expects.
    ///
    /// # Source
    ///
    /// FHIR R4, section 3.1.0.5; RFC 9110, sections 13.1.1 and 13.1.2.
    pub(crate) fn require(&self, newest: Option<VersionId>) -> Result<(), FhirError> {
        if let Some(tag) = &self.if_match {
            let fits = if tag.trim() == "*" {
                newest.is_some()
            } else {
                newest.is_some() && version_of_tag(tag) == newest
            };
            if !fits {
                let text = "the resource has another version by now; read it again";
                return Err(FhirError::precondition(text));
            }
        }
        if self.if_none_match.as_deref().map(str::trim) == Some("*") && newest.is_some() {
            return Err(FhirError::precondition("the resource is here already"));
        }
        Ok(())
    }
}

/// What a write gives back.
///
/// # Source
///
/// FHIR R4, section 3.1.0.1.7 (`Prefer: return=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Returning {
    /// Nothing.
    Minimal,
    /// The resource.
    #[default]
    Representation,
    /// What was thought of it.
    OperationOutcome,
}

impl Request {
    pub(crate) fn new(
        method: Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Self, FhirError> {
        let text = |name: HeaderName| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let prefer = text(HeaderName::from_static("prefer")).unwrap_or_default();
        let prefers = |wanted: &str| prefer.split([';', ',']).any(|part| part.trim() == wanted);
        let returning = match () {
            () if prefers("return=minimal") => Returning::Minimal,
            () if prefers("return=OperationOutcome") => Returning::OperationOutcome,
            () => Returning::Representation,
        };
        Ok(Self {
            method,
            path: segments(path)?,
            query: pairs(query)?,
            conditions: Conditions {
                if_match: text(header::IF_MATCH),
                if_none_match: text(header::IF_NONE_MATCH),
                if_modified_since: text(header::IF_MODIFIED_SINCE),
                if_none_exist: text(HeaderName::from_static("if-none-exist")),
            },
            returning,
            strict: prefers("handling=strict"),
            lenient: prefers("handling=lenient"),
            respond_async: prefers("respond-async"),
            content_type: text(header::CONTENT_TYPE),
            provenance: text(HeaderName::from_static("x-provenance")),
            body,
        })
    }

    /// The first value of a parameter of the query.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The segments of a path.
fn segments(path: &str) -> Result<Vec<String>, FhirError> {
    path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect()
}

/// The parameters of a query or a form, in their order.
pub(crate) fn pairs(query: &str) -> Result<Vec<(String, String)>, FhirError> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String, FhirError> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| FhirError::bad_request("the URL is not UTF-8"))?;
    if decoded.contains('\0') {
        return Err(FhirError::bad_request("the URL contains a null character"));
    }
    Ok(decoded.into_owned())
}

/// What answers a request.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    /// The version of what was read or written.
    pub(crate) version: Option<VersionId>,
    /// When that was made, in milliseconds since 1970.
    pub(crate) updated: Option<i64>,
    /// Where it is, below the base.
    pub(crate) location: Option<String>,
    /// JSON.
    pub(crate) body: Option<String>,
    /// Further headers.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// A body that is made while it is sent, in place of the other.
    pub(crate) stream: Option<Streamed>,
}

/// A body that is made while it is sent. Whoever takes it first has it.
#[derive(Clone)]
pub(crate) struct Streamed(Arc<Mutex<Option<Body>>>);

impl Streamed {
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    pub(crate) fn take(&self) -> Body {
        self.0.lock().take().unwrap_or_default()
    }
}

impl std::fmt::Debug for Streamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Streamed")
    }
}

impl Reply {
    pub(crate) const fn of(status: StatusCode) -> Self {
        Self {
            status,
            version: None,
            updated: None,
            location: None,
            body: None,
            headers: Vec::new(),
            stream: None,
        }
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self { body: Some(value.to_string()), ..Self::of(StatusCode::OK) }
    }

    /// A resource that was read.
    pub(crate) fn read(resource: &Resource) -> Self {
        Self {
            version: Some(resource.version),
            updated: Some(resource.updated),
            body: resource.body.as_ref().map(ToString::to_string),
            ..Self::of(StatusCode::OK)
        }
    }

    /// A resource that was written.
    pub(crate) fn written(status: StatusCode, resource: &Resource, returning: Returning) -> Self {
        let Resource { resource_type, id, version, .. } = resource;
        let body = match returning {
            Returning::Minimal => None,
            Returning::Representation => resource.body.as_ref().map(ToString::to_string),
            Returning::OperationOutcome => Some(crate::outcome::outcome(&[]).to_string()),
        };
        Self {
            status,
            location: Some(format!("{resource_type}/{id}/_history/{version}")),
            body,
            ..Self::read(resource)
        }
    }
}

/// The version in an entity tag, such as `W/"3"`.
pub(crate) fn version_of_tag(tag: &str) -> Option<VersionId> {
    tag.trim().trim_start_matches("W/").trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_taken_apart() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs("name=J%C3%B6rg+M&code=a%7Cb&flag").unwrap(),
            [pair("name", "Jörg M"), pair("code", "a|b"), pair("flag", "")]
        );
        assert!(pairs("a=%FF").is_err());
        assert!(pairs("a=%00").is_err());
    }

    #[test]
    fn tags_name_versions() {
        assert_eq!(version_of_tag("W/\"3\""), Some(3.into()));
        assert_eq!(version_of_tag("\"4\""), Some(4.into()));
        let second = VersionId { written: 1, status: 2 };
        assert_eq!(version_of_tag("W/\"1.2\""), Some(second));
        assert_eq!(version_of_tag("x"), None);
    }
}
