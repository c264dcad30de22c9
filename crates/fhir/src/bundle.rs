//! Bundles: those that come in to be carried out, and those that go out with what was found.

use std::collections::{BTreeSet, HashMap};

use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use vault::Content;

use crate::{
    caller::{Caller, Interaction},
    dispatch::{Action, TYPES, action_of, body_of},
    filing::file,
    instant,
    json::RawObject,
    outcome::FhirError,
    posting,
    request::{Conditions, Reply, Request, Returning},
    resources::{Before, Checked, Known, Resource, Resources, is_anchored, store_caring},
    searching,
    tables::Row,
    version::VersionId,
};

/// The most entries in one bundle that comes in.
pub(crate) const ENTRIES_MAX: usize = 5_000;

/// The most conditional references in one resource.
const CONDITIONAL_MAX: usize = 16;

/// A bundle that goes out.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bundle {
    resource_type: &'static str,
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) link: Vec<Link>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) entry: Vec<Entry>,
}

/// Where more of it is.
#[derive(Serialize)]
pub(crate) struct Link {
    pub(crate) relation: &'static str,
    pub(crate) url: String,
}

/// One of its entries.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) full_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) search: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) response: Option<serde_json::Value>,
}

impl Bundle {
    pub(crate) fn new(kind: &'static str, id: String) -> Self {
        Self {
            resource_type: "Bundle",
            id,
            kind,
            timestamp: None,
            total: None,
            link: Vec::new(),
            entry: Vec::new(),
        }
    }

    pub(crate) fn reply(&self) -> Reply {
        let body = serde_json::to_string(self).expect("a bundle has a JSON form");
        Reply { body: Some(body), ..Reply::of(StatusCode::OK) }
    }
}

/// A resource as an entry shows it.
pub(crate) fn shown(body: &RawObject) -> Box<RawValue> {
    to_raw_value(body).expect("an object has a JSON form")
}

/// A bundle that comes in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming {
    resource_type: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    entry: Vec<IncomingEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IncomingEntry {
    full_url: Option<String>,
    resource: Option<Box<RawValue>>,
    request: Option<IncomingRequest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IncomingRequest {
    method: String,
    url: String,
    if_match: Option<String>,
    if_none_match: Option<String>,
    if_modified_since: Option<String>,
    if_none_exist: Option<String>,
}

/// Carries out a bundle.
pub(crate) async fn handle(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
) -> Result<Reply, FhirError> {
    let incoming: Incoming = serde_json::from_slice(&request.body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        FhirError::bad_request(format!("the body is no bundle: line {line} column {column}"))
    })?;
    if incoming.resource_type != "Bundle" {
        return Err(FhirError::bad_request("only a Bundle is posted to the base"));
    }
    if incoming.entry.len() > ENTRIES_MAX {
        let text = format!("a bundle has at most {ENTRIES_MAX} entries; send several");
        return Err(FhirError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-costly", text));
    }
    let entries: Vec<(Option<String>, Request)> = incoming
        .entry
        .into_iter()
        .enumerate()
        .map(|(index, entry)| read_entry(entry, request).map_err(|error| at(index, error)))
        .collect::<Result<_, _>>()?;
    match incoming.kind.as_str() {
        "batch" => batch(resources, caller, entries).await,
        "transaction" => transaction(resources, caller, entries).await,
        _ => Err(FhirError::bad_request("the bundle's type is `batch` or `transaction`")),
    }
}

/// An error with the entry that it is about.
fn at(index: usize, mut error: FhirError) -> FhirError {
    for issue in &mut error.issues {
        let place = format!("Bundle.entry[{index}]");
        issue.expression = match issue.expression.is_empty() {
            true => vec![place],
            false => {
                issue.expression.iter().map(|inner| format!("{place}.resource.{inner}")).collect()
            }
        };
    }
    error
}

fn read_entry(
    entry: IncomingEntry,
    outer: &Request,
) -> Result<(Option<String>, Request), FhirError> {
    let Some(asked) = entry.request else {
        return Err(FhirError::bad_request("an entry has a `request`"));
    };
    let method = match asked.method.as_str() {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        _ => return Err(FhirError::bad_request("the method of an entry is none of HTTP")),
    };
    let (path, query) = asked.url.split_once('?').unwrap_or((&asked.url, ""));
    let body = entry.resource.map_or_else(Default::default, |body| body.get().to_owned().into());
    let headers = axum::http::HeaderMap::new();
    let mut request = Request::new(method, path, query, &headers, body)?;
    if request.path.is_empty() {
        return Err(FhirError::bad_request("the URL of an entry names a resource type"));
    }
    action_of(&request.method, &request.path)?;
    request.conditions = Conditions {
        if_match: asked.if_match,
        if_none_match: asked.if_none_match,
        if_modified_since: asked.if_modified_since,
        if_none_exist: asked.if_none_exist,
    };
    request.returning = Returning::Minimal;
    request.strict = outer.strict;
    // A patch comes as a Binary or Parameters, which few use; what is not JSON Patch is refused there.
    request.content_type = Some("application/json-patch+json".into());
    Ok((entry.full_url, request))
}

/// What became of an entry.
fn answered(reply: Reply) -> Entry {
    let mut response = serde_json::json!({ "status": status_text(reply.status) });
    if let Some(location) = reply.location {
        response["location"] = location.into();
    }
    if let Some(version) = reply.version {
        response["etag"] = format!("W/\"{version}\"").into();
    }
    if let Some(updated) = reply.updated {
        response["lastModified"] = instant::text(updated).into();
    }
    let resource = reply.body.and_then(|body| RawValue::from_string(body).ok());
    Entry { resource, response: Some(response), ..Entry::default() }
}

/// What became of an entry that failed.
fn failed(error: FhirError) -> Entry {
    let status = status_text(error.status);
    let response = serde_json::json!({ "status": status, "outcome": error.outcome() });
    Entry { response: Some(response), ..Entry::default() }
}

fn status_text(status: StatusCode) -> String {
    format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default())
}

/// Each entry by itself: one that fails says so and stops nothing.
async fn batch(
    resources: &Resources,
    caller: &Caller,
    entries: Vec<(Option<String>, Request)>,
) -> Result<Reply, FhirError> {
    let mut bundle = Bundle::new("batch-response", resources.make_id());
    for (_, request) in entries {
        let outcome = if request.path.is_empty() {
            Err(FhirError::bad_request("no bundle inside a bundle"))
        } else {
            Box::pin(resources.handle(caller, request)).await
        };
        bundle.entry.push(outcome.map_or_else(failed, answered));
    }
    Ok(bundle.reply())
}

/// In which order the entries of a transaction are carried out.
///
/// # Source
///
/// FHIR R4, section 3.1.0.11.2.
fn order(method: &Method) -> u8 {
    match *method {
        Method::DELETE => 0,
        Method::POST => 1,
        Method::PUT | Method::PATCH => 2,
        _ => 3,
    }
}

/// All entries or none.
///
/// Everything is checked before anything is written, and all that is written is one transaction of the
/// database: records, their anchors to be sent, index and directory.
async fn transaction(
    resources: &Resources,
    caller: &Caller,
    entries: Vec<(Option<String>, Request)>,
) -> Result<Reply, FhirError> {
    let mut plan: Vec<(usize, Option<String>, Request)> = entries
        .into_iter()
        .enumerate()
        .map(|(index, (full_url, request))| (index, full_url, request))
        .collect();
    plan.sort_by_key(|(index, _, request)| (order(&request.method), *index));

    for (index, _, request) in &plan {
        let action = action_of(&request.method, &request.path)?;
        let can_be_undone = matches!(
            action,
            Action::Create | Action::Update | Action::ConditionalUpdate | Action::Delete
        );
        if order(&request.method) < 3 && !can_be_undone {
            let text = "an entry of a transaction makes, replaces, deletes or reads resources; send \
                        it by itself, or in a batch";
            return Err(at(*index, FhirError::unprocessable("not-supported", text)));
        }
    }
    let alone = resources.inner.conditional.lock().await;
    let mut replies: Vec<Option<Entry>> = Vec::new();
    replies.resize_with(plan.len(), || None);
    let mut known = Known::default();
    let names = name_all(resources, caller, &mut plan, &mut replies, &known).await?;
    let mut writes = Vec::new();
    // Patients first, because other entries may be about them; last what is about any entry.
    let mut writing: Vec<&(usize, Option<String>, Request)> = plan
        .iter()
        .filter(|(index, _, request)| order(&request.method) < 3 && replies[*index].is_none())
        .collect();
    writing.sort_by_key(|(_, _, request)| turn_of(request.path.first().map_or("", String::as_str)));
    for (index, _, request) in &writing {
        let checked = check_write(resources, caller, request, &names, &known);
        let (status, written) = checked.await.map_err(|error| at(*index, error))?;
        if let Write::Put(checked) = &written {
            let name = (checked.row.resource_type.clone(), checked.row.id.clone());
            known.store(name, checked.row.record);
        }
        writes.push((*index, status, written));
    }
    let mut touched: Vec<(&str, &str)> = writes.iter().map(|(_, _, write)| write.name()).collect();
    touched.sort_unstable();
    if touched.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(FhirError::bad_request("two entries of the transaction write one resource"));
    }
    for (index, status, resource, version) in resources.store_all(caller, writes).await? {
        let reply = match resource {
            Some(resource) => Reply::written(status, &resource, Returning::Minimal),
            None => Reply { version: Some(version.into()), ..Reply::of(status) },
        };
        replies[index] = Some(answered(reply));
    }
    drop(alone);
    for (index, _, request) in plan {
        if order(&request.method) == 3 {
            // What was written stands: a read that fails says so in its own entry.
            let reply = Box::pin(resources.handle(caller, request)).await;
            replies[index] = Some(reply.map_or_else(failed, answered));
        }
    }
    let mut bundle = Bundle::new("transaction-response", resources.make_id());
    bundle.entry = replies.into_iter().map(|reply| reply.unwrap_or_default()).collect();
    Ok(bundle.reply())
}

/// When a resource of a type has its turn among others that are stored with it: patients first, because
/// others are about them, and last what is about any of these.
pub(crate) fn turn_of(resource_type: &str) -> u8 {
    match resource_type {
        "Patient" => 0,
        posting::TYPE => 2,
        _ => 1,
    }
}

/// What a transaction writes of one resource.
pub(crate) enum Write {
    /// A version with a body.
    Put(Box<Checked>),
    /// The version that says that it was deleted.
    Delete(Row, Before),
    /// Nothing: it is gone already.
    Nothing(Row),
}

impl Write {
    pub(crate) fn row(&self) -> &Row {
        match self {
            Self::Put(checked) => &checked.row,
            Self::Delete(row, _) | Self::Nothing(row) => row,
        }
    }

    fn name(&self) -> (&str, &str) {
        (&self.row().resource_type, &self.row().id)
    }
}

/// Gives every resource that the transaction makes its id, and says what its entry's address stands for
/// from now on. A create that finds what it would make answers with that.
async fn name_all(
    resources: &Resources,
    caller: &Caller,
    plan: &mut [(usize, Option<String>, Request)],
    replies: &mut [Option<Entry>],
    known: &Known,
) -> Result<HashMap<String, String>, FhirError> {
    let mut names = HashMap::new();
    for (index, full_url, request) in plan {
        let resource_type = request.path.first().cloned().unwrap_or_default();
        let name = match (request.method.clone(), request.path.len()) {
            (Method::POST, 1) => {
                let existing = match &request.conditions.if_none_exist {
                    None => None,
                    Some(query) => {
                        let pairs = crate::request::pairs(query)?;
                        let found =
                            searching::matching(resources, caller, &resource_type, &pairs).await;
                        let found = found.map_err(|error| at(*index, error))?;
                        if found.len() > 1 {
                            let text = "several resources match already";
                            return Err(at(*index, FhirError::precondition(text)));
                        }
                        found.into_iter().next()
                    }
                };
                if let Some(id) = existing {
                    let there = resources.read(caller, &resource_type, &id, None).await?;
                    let reply = Reply::written(StatusCode::OK, &there, Returning::Minimal);
                    replies[*index] = Some(answered(reply));
                    format!("{resource_type}/{id}")
                } else {
                    let id = resources.make_id();
                    known.make(&resource_type, &id);
                    let name = format!("{resource_type}/{id}");
                    // From here on it is an update that makes the resource.
                    request.path.push(id);
                    name
                }
            }
            (Method::PUT, 1) => {
                let found =
                    searching::matching(resources, caller, &resource_type, &request.query).await;
                let found = found.map_err(|error| at(*index, error))?;
                if found.len() > 1 {
                    return Err(at(*index, FhirError::precondition("several resources match")));
                }
                let given = body_of(request)?.text("id");
                let id = found.into_iter().next().or(given);
                let id = id.unwrap_or_else(|| resources.make_id());
                request.path.push(id.clone());
                format!("{resource_type}/{id}")
            }
            (Method::PUT | Method::PATCH, 2) => format!("{resource_type}/{}", request.path[1]),
            _ => continue,
        };
        if let Some(full_url) = full_url.as_deref().filter(|url| url.starts_with("urn:"))
            && names.insert(full_url.to_owned(), name).is_some()
        {
            return Err(at(*index, FhirError::bad_request("two entries have one fullUrl")));
        }
    }
    Ok(names)
}

/// Checks what an entry writes, with the addresses of other entries replaced by their names.
async fn check_write(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    names: &HashMap<String, String>,
    known: &Known,
) -> Result<(StatusCode, Write), FhirError> {
    let [resource_type, id] = request.path.as_slice() else {
        let text = "an entry of a transaction makes, replaces or deletes one resource by its id";
        return Err(FhirError::bad_request(text));
    };
    resources.require_own(caller)?;
    let before = resources.row_known(resource_type, id, known).await?;
    if before.is_none() && request.method == Method::PUT {
        caller.require(resource_type, Interaction::Create)?;
    }
    if request.method == Method::DELETE {
        caller.require(resource_type, Interaction::Delete)?;
        let row = before.ok_or_else(FhirError::not_found)?;
        row.refuse_to_write()?;
        resources.require_write(caller, row.record).await?;
        let stands = resources.before(&row).await?;
        request.conditions.require(stands.newest.map(VersionId::from))?;
        if row.is_deleted_now(stands) {
            return Ok((StatusCode::NO_CONTENT, Write::Nothing(row)));
        }
        let row = resources.deletion(row, stands);
        return Ok((StatusCode::NO_CONTENT, Write::Delete(row, stands)));
    }

    let interaction =
        if request.method == Method::POST { Interaction::Create } else { Interaction::Update };
    caller.require(resource_type, interaction)?;
    let body = conditional_references(resources, caller, renamed(&request.body, names)?).await?;
    let mut body = body_of(&Request { body, ..request.clone() })?;
    if request.method == Method::POST || body.get("id").is_none() {
        body.set("id", id, "resourceType");
    }
    let checked = resources.check(caller, resource_type, Some(id), body, known).await?;
    if request.method != Method::POST {
        request.conditions.require(checked.before.newest.map(VersionId::from))?;
    }
    let status = if checked.row.version == 1 { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Write::Put(Box::new(checked))))
}

/// A body with the addresses of other entries replaced by their names, wherever one is a whole string.
fn renamed(
    body: &axum::body::Bytes,
    names: &HashMap<String, String>,
) -> Result<axum::body::Bytes, FhirError> {
    let text =
        std::str::from_utf8(body).map_err(|_| FhirError::bad_request("the body is not UTF-8"))?;
    let mut renamed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\"urn:") {
        let (before, from) = rest.split_at(at + 1);
        renamed.push_str(before);
        let end = from.find('"').unwrap_or(from.len());
        renamed.push_str(names.get(&from[..end]).map_or(&from[..end], String::as_str));
        rest = &from[end..];
    }
    renamed.push_str(rest);
    Ok(renamed.into())
}

/// A body with its conditional references replaced by what they find: `Patient?identifier=...` by the
/// name of the one patient who matches.
///
/// # Source
///
/// FHIR R4, section 3.1.0.11.3.
async fn conditional_references(
    resources: &Resources,
    caller: &Caller,
    body: axum::body::Bytes,
) -> Result<axum::body::Bytes, FhirError> {
    let mut found = BTreeSet::new();
    // What is no JSON is refused where the body is read.
    if let Ok(value) = serde_json::from_slice(&body) {
        references(&value, &mut found);
    }
    if found.is_empty() {
        return Ok(body);
    }
    if found.len() > CONDITIONAL_MAX {
        let text = format!("a resource has at most {CONDITIONAL_MAX} conditional references");
        return Err(FhirError::unprocessable("too-costly", text));
    }
    let mut text = String::from_utf8_lossy(&body).into_owned();
    for reference in found {
        let (resource_type, query) = reference.split_once('?').unwrap_or_default();
        let pairs = crate::request::pairs(query)?;
        let ids = searching::matching(resources, caller, resource_type, &pairs).await?;
        let [id] = ids.as_slice() else {
            let text = "a conditional reference names exactly one resource that is here";
            return Err(FhirError::precondition(text));
        };
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        text = text.replace(&quoted(&reference), &quoted(&format!("{resource_type}/{id}")));
    }
    Ok(text.into())
}

/// The conditional references in a resource.
fn references(value: &serde_json::Value, found: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if name == "reference" => {
                        let resource_type = text.split_once('?').map(|(name, _)| name);
                        if resource_type.is_some_and(|name| TYPES.contains(&name)) {
                            found.insert(text.to_owned());
                        }
                    }
                    _ => references(value, found),
                }
            }
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| references(value, found));
        }
        _ => {}
    }
}

impl Resources {
    /// Stores everything of a transaction, or nothing; says for each entry what was stored.
    pub(crate) async fn store_all(
        &self,
        caller: &Caller,
        writes: Vec<(usize, StatusCode, Write)>,
    ) -> Result<Vec<(usize, StatusCode, Option<Resource>, u32)>, FhirError> {
        let mut done = Vec::with_capacity(writes.len());
        let (mut records, mut rows, mut caring) = (Vec::new(), Vec::new(), Vec::new());
        let mut filings = Vec::with_capacity(writes.len());
        for (index, status, write) in writes {
            let version = write.row().version;
            let (row, content, before) = match write {
                Write::Nothing(_) => {
                    done.push((index, status, None, version));
                    continue;
                }
                Write::Delete(row, before) => (row, None, before),
                Write::Put(checked) => {
                    let Checked { row, body, value, registers, before } = *checked;
                    if let Some(filed) = row.record.filter(|_| registers) {
                        caring.extend(self.caring(caller, filed));
                    }
                    (row, Some((body, value)), before)
                }
            };
            let resource = match &content {
                Some((body, _)) => Some(self.given_out(&row, body.clone())?),
                None => None,
            };
            done.push((index, status, resource, version));
            if let Some(filed) = row.record {
                let (kind, text) = match &content {
                    Some((body, _)) => (Content::FhirJson, body.to_string().into_bytes()),
                    None => (Content::Other, Vec::new()),
                };
                let new = self.new_record(caller, &row, filed, kind, text)?;
                records.push((new, self.previous(&row, filed).await?));
            }
            let value = content.as_ref().map(|(_, value)| value);
            let body = match &content {
                Some((body, _)) if row.record.is_none() => Some(body.to_string()),
                _ => None,
            };
            filings.push(self.filing(row.clone(), value, before.stays));
            rows.push((row, body));
        }
        let (inner, stored) = (std::sync::Arc::clone(&self.inner), caring.clone());
        let mut rng = self.gatekeeper().entropy().fork();
        let along: gatekeeper::Along<'static> = Box::new(move |transaction| {
            Box::pin(async move {
                let numbers = file(transaction, &inner.index, filings).await?;
                let directory = &inner.directory;
                let filed = numbers.into_iter().zip(&rows);
                for (number, (row, body)) in filed.filter(|(_, (row, _))| row.record.is_none()) {
                    let place = (number, row);
                    directory.write(transaction, place, body.as_deref(), &mut rng).await?;
                }
                store_caring(transaction, stored).await
            })
        });
        if !is_anchored(self.gatekeeper().put_all(records, along).await)? {
            done.iter_mut().for_each(|(_, status, ..)| *status = StatusCode::ACCEPTED);
        }
        self.learn_caring(caring).await;
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_entries_become_names() {
        let names = HashMap::from([("urn:uuid:1".to_owned(), "Patient/a".to_owned())]);
        let body = r#"{"a":"urn:uuid:1","b":"urn:uuid:12","c":"see urn:uuid:1"}"#;
        assert_eq!(
            renamed(&body.into(), &names).unwrap(),
            r#"{"a":"Patient/a","b":"urn:uuid:12","c":"see urn:uuid:1"}"#
        );
    }
}
