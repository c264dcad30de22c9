//! Resources that nobody wrote: they are made from the access log or from the chain when they are asked
//! for.
//!
//! | type | made from | file |
//! |---|---|---|
//! | `AuditEvent` | receipts | `audit.rs` |
//! | `Consent/grant-…` | grants on chain | `consent/` |
//! | `Provenance/ID.VERSION` | anchors | `provenance.rs` |
//! | `Group/care-…` | care teams | `group.rs` |
//!
//! `Consent` and `Provenance` are also resources that people write. A search gives those first, by the
//! index, and then these, the oldest first. A page of these says in its link where the next one begins,
//! by time and id, so nothing that is added in between moves what comes after.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use axum::http::{Method, StatusCode};
use domain::{Address, Basis, KindSet, Outcome, Reader, RecordId};
use futures_util::future::try_join_all;
use search::{Handling, Query};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use sqlx::{AssertSqlSafe, Row as _};

use crate::{
    audit,
    bundle::{self, Entry, shown},
    caller::{Caller, Interaction},
    catalogue::account_in,
    consent,
    dispatch::Action,
    group,
    json::RawObject,
    outcome::FhirError,
    posting, provenance,
    reached::Reached,
    request::{Reply, Request},
    resources::{ACCOUNT_SYSTEM, Resource, Resources},
    searching,
    tables::Row,
};

/// The system of an identifier that is a member's address on chain.
pub const MEMBER_SYSTEM: &str = "urn:salus:member";

/// The system of an identifier that is a record's id on chain.
pub(crate) const RECORD_SYSTEM: &str = "urn:salus:record";

/// The system of codes that say what a record is about.
pub(crate) const KIND_SYSTEM: &str = "urn:salus:record-kind";

/// The name under which the tables are migrated.
pub(crate) const COMPONENT: &str = "fhir-derived";

/// One statement per step; a released step never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    // From a record on chain to the resource that it is.
    "create index fhir_derived_by_record on fhir_resources (record)",
    // Consents that wait for the patient's signature; `sealed` says to whom and to what.
    "create table fhir_consent_requests (
        id text not null primary key,
        patient bytea not null,
        sealed bytea not null
    )",
    "create index fhir_consent_requests_by_patient on fhir_consent_requests (patient)",
];

/// How many records one statement looks up.
const RECORDS_PER_LOOKUP: usize = 64;

/// The parameter that names a page.
const PAGE: &str = "_page";

/// How a page of what was made begins, in a link.
const MADE: &str = "made.";

/// A resource that was made.
#[derive(Clone, Debug)]
pub(crate) struct Derived {
    pub(crate) resource_type: &'static str,
    pub(crate) id: String,
    pub(crate) version: u32,
    /// When it last changed, in milliseconds since 1970.
    pub(crate) updated: i64,
    pub(crate) value: Value,
    /// Whom it is about.
    pub(crate) patient: Address,
    /// What it is about.
    pub(crate) kinds: KindSet,
    /// Why it may be shown.
    pub(crate) basis: Option<Basis>,
}

impl Derived {
    pub(crate) fn resource(&self) -> Result<Resource, FhirError> {
        let body = RawObject::parse(self.value.to_string().as_bytes())
            .map_err(|_| FhirError::unprocessable("exception", "it has no JSON form"))?;
        Ok(Resource {
            resource_type: self.resource_type.into(),
            id: self.id.clone(),
            version: self.version.into(),
            updated: self.updated,
            body: Some(body),
        })
    }

    /// Where it comes in a list.
    fn place(&self) -> (i64, &str) {
        (self.updated, &self.id)
    }
}

/// Leaves a receipt for each patient of whom something is shown or counted.
pub(crate) async fn note_shown<'d>(
    resources: &Resources,
    caller: &Caller,
    shown: impl IntoIterator<Item = &'d Derived>,
) -> Result<(), FhirError> {
    let mut patients: BTreeMap<Address, (KindSet, Option<Basis>)> = BTreeMap::new();
    for one in shown {
        let (kinds, basis) = patients.entry(one.patient).or_default();
        *kinds = kinds.union(one.kinds);
        *basis = basis.or(one.basis);
    }
    let (gatekeeper, now) = (resources.gatekeeper(), resources.now());
    // They are written together.
    let noting = patients.into_iter().map(|(patient, (kinds, basis))| {
        let outcome = Outcome::Allowed { records: Vec::new(), basis };
        gatekeeper.note(caller.reading(), patient, kinds, outcome, now)
    });
    try_join_all(noting).await?;
    Ok(())
}

/// Answers a request that is about resources that are made; `None` for all others.
pub(crate) async fn handle(
    resources: &Resources,
    caller: &Caller,
    action: Action,
    request: &Request,
) -> Result<Option<Reply>, FhirError> {
    let segment = |index: usize| request.path.get(index).map_or("", String::as_str);
    let (resource_type, id) = (segment(0), segment(1));
    let is_search = matches!(action, Action::Search | Action::SearchByPost);
    let reply = match (resource_type, action) {
        ("AuditEvent", _) if is_search => {
            let pairs = pairs_of(action, request)?;
            let found = audit::search(resources, caller, request, &pairs).await?;
            with_included(resources, caller, resource_type, pairs, found).await?
        }
        ("Group", _) if is_search => {
            let found = group::search(resources, caller, request).await?;
            let pairs = pairs_of(action, request)?;
            with_included(resources, caller, resource_type, pairs, found).await?
        }
        ("Group", Action::Read) => Reply::read(&group::read(resources, caller, id).await?),
        ("Group", Action::VersionRead | Action::History) => return Err(FhirError::not_found()),
        ("Consent" | "Provenance", _) if is_search => {
            let pairs = pairs_of(action, request)?;
            let found =
                search_both(resources, caller, resource_type, request, pairs.clone()).await?;
            with_included(resources, caller, resource_type, pairs, found).await?
        }
        (_, _) if is_search => {
            let pairs = pairs_of(action, request)?;
            let is_page = parameter(&pairs, PAGE).is_some();
            if !is_page && !asks_for_provenance(&pairs) {
                return Ok(None);
            }
            let found = searching::search(resources, caller, resource_type, request, pairs).await?;
            // A further page does not say what was searched for; its link to itself does.
            let is_asked = !is_page || asks_for_provenance(&read_bundle(&found)?.own_pairs()?);
            if is_asked { provenance::include(resources, caller, found).await? } else { found }
        }
        ("Consent", Action::ToSign) => consent::to_sign(resources, caller, id).await?,
        ("Consent", Action::Sign) => consent::sign(resources, caller, id, request).await?,
        ("Consent", Action::Create | Action::Update) => {
            return consent::write(resources, caller, action, request).await;
        }
        ("Consent", Action::Delete) if consent::is_id(id) => {
            consent::delete(resources, caller, id, request).await?
        }
        ("Consent", Action::Patch) if consent::is_id(id) => {
            let text = "a consent on chain is replaced whole, by PUT";
            return Err(FhirError::unprocessable("not-supported", text));
        }
        ("Provenance", Action::Update | Action::Patch | Action::Delete)
            if provenance::is_id(id) =>
        {
            let text = "what the chain says cannot be written";
            return Err(FhirError::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", text));
        }
        (_, Action::Read) => match versions(resources, caller, resource_type, id).await? {
            None => return Ok(None),
            Some(versions) => newest(resources, caller, &versions).await?,
        },
        (_, Action::VersionRead) => {
            let Some(versions) = versions(resources, caller, resource_type, id).await? else {
                return Ok(None);
            };
            let wanted = segment(3).parse();
            let wanted: Vec<Derived> =
                versions.into_iter().filter(|one| Ok(one.version) == wanted).collect();
            newest(resources, caller, &wanted).await?
        }
        (_, Action::History) => {
            let Some(versions) = versions(resources, caller, resource_type, id).await? else {
                return Ok(None);
            };
            note_shown(resources, caller, &versions).await?;
            let versions: Vec<Resource> =
                versions.iter().rev().map(Derived::resource).collect::<Result<_, _>>()?;
            history(resources, &versions, request)?
        }
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

/// The history of what is made, of which there is one page.
fn history(
    resources: &Resources,
    versions: &[Resource],
    request: &Request,
) -> Result<Reply, FhirError> {
    let (since, base) = (searching::since(request)?, resources.base());
    let mut bundle = bundle::Bundle::new("history", resources.make_id());
    let wanted: Vec<&Resource> =
        versions.iter().filter(|version| version.updated >= since).collect();
    bundle.total = Some(wanted.len());
    let url = format!("{base}/{}", request.path.join("/"));
    bundle.link.push(bundle::Link { relation: "self", url });
    for version in wanted {
        let Resource { resource_type, id, .. } = version;
        let is_first = version.version.is_first();
        let (method, status) = if is_first { ("POST", "201") } else { ("PUT", "200") };
        let name = format!("{resource_type}/{id}");
        let url = if is_first { resource_type } else { &name };
        bundle.entry.push(Entry {
            full_url: Some(format!("{base}/{name}")),
            resource: version.body.as_ref().map(shown),
            request: Some(json!({ "method": method, "url": url })),
            response: Some(json!({
                "status": status,
                "etag": format!("W/\"{}\"", version.version),
                "lastModified": crate::instant::text(version.updated),
            })),
            search: None,
        });
    }
    Ok(bundle.reply())
}

/// The versions of a resource that is made, the oldest first; `None` when it is not one.
async fn versions(
    resources: &Resources,
    caller: &Caller,
    resource_type: &str,
    id: &str,
) -> Result<Option<Vec<Derived>>, FhirError> {
    let versions = match resource_type {
        "AuditEvent" => vec![audit::read(resources, caller, id).await?],
        "Consent" if consent::is_id(id) => consent::read(resources, caller, id).await?,
        "Provenance" if provenance::is_id(id) => {
            match provenance::read(resources, caller, id).await? {
                // An import from before such ids were refused may have brought one.
                None => return Ok(None),
                Some(one) => vec![one],
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(versions))
}

async fn newest(
    resources: &Resources,
    caller: &Caller,
    versions: &[Derived],
) -> Result<Reply, FhirError> {
    let newest = versions.last().ok_or_else(FhirError::not_found)?;
    note_shown(resources, caller, [newest]).await?;
    Ok(Reply::read(&newest.resource()?))
}

/// The parameters of a search, by GET or by POST.
fn pairs_of(action: Action, request: &Request) -> Result<Vec<(String, String)>, FhirError> {
    let mut pairs = request.query.clone();
    if action == Action::SearchByPost {
        let form = std::str::from_utf8(&request.body)
            .map_err(|_| FhirError::bad_request("the form is not UTF-8"))?;
        pairs.extend(crate::request::pairs(form)?);
    }
    Ok(pairs)
}

fn asks_for_provenance(pairs: &[(String, String)]) -> bool {
    pairs.iter().any(|(name, value)| {
        name.split(':').next() == Some("_revinclude") && value.starts_with("Provenance:target")
    })
}

/// Parses a search of this server.
pub(crate) fn parse(
    resources: &Resources,
    resource_type: &str,
    pairs: &[(String, String)],
    request: &Request,
) -> Result<Query, FhirError> {
    let pairs: Vec<_> = pairs
        .iter()
        .filter(|(name, _)| name != PAGE)
        .map(|(name, value)| (name.clone(), resources.relative(value)))
        .collect();
    let handling = if request.strict { Handling::Strict } else { Handling::Lenient };
    Query::parse(resource_type, &pairs, handling)
        .map_err(|error| FhirError::bad_request(error.to_string()))
}

/// Searches for what was written, then for what is made.
async fn search_both(
    resources: &Resources,
    caller: &Caller,
    resource_type: &str,
    request: &Request,
    pairs: Vec<(String, String)>,
) -> Result<Reply, FhirError> {
    let mut reached = Reached::default();
    let found = search_as_part(resources, caller, resource_type, request, pairs, &mut reached);
    let found = found.await;
    reached.answer(resources, caller, found).await
}

async fn search_as_part(
    resources: &Resources,
    caller: &Caller,
    resource_type: &str,
    request: &Request,
    pairs: Vec<(String, String)>,
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    caller.require(resource_type, Interaction::Search)?;
    if resource_type == posting::TYPE {
        posting::look_only_at_named(resources, caller, &pairs, reached).await?;
    }
    let page = pairs.iter().find(|(name, _)| name == PAGE).map(|(_, page)| page.clone());
    if let Some(place) = page.as_deref().and_then(|page| page.strip_prefix(MADE)) {
        let made = made(resources, caller, resource_type, &pairs, request, reached).await?;
        let query = parse(resources, resource_type, &pairs, request)?;
        return page_of_made(resources, caller, &query, &pairs, (made, place), reached).await;
    }
    let asked = pairs.iter().filter(|(name, _)| !is_whose(resource_type, name)).cloned().collect();
    let written =
        searching::search_as_part(resources, caller, resource_type, request, asked, reached)
            .await?;
    let mut bundle = read_bundle(&written)?;
    bundle.add_to_links(pairs.iter().filter(|(name, _)| is_whose(resource_type, name)));
    let pairs = if page.is_some() { bundle.own_pairs()? } else { pairs };
    let made = made(resources, caller, resource_type, &pairs, request, reached).await?;
    // Further pages do not count again.
    bundle.total = bundle.total.map(|total| total.saturating_add(made.len()));
    let size = searching::count(parameter(&pairs, "_count"))?;
    let only_counted = size == 0 || parameter(&pairs, "_summary") == Some("count");
    // They are in the total of every page.
    note_shown(resources, caller, &made).await?;
    reached.show(made.iter().map(|one| one.patient));
    if !only_counted && bundle.link.iter().all(|link| link.relation != "next") {
        let room = size.saturating_sub(bundle.matched()?);
        let query = parse(resources, resource_type, &pairs, request)?;
        for one in made.iter().take(room) {
            bundle.entry.push(entry(resources, one, "match", &query)?);
        }
        if made.len() > room {
            let after = room.checked_sub(1).and_then(|last| made.get(last));
            let place = after.map_or_else(|| (i64::MIN, String::new()), |one| owned(one.place()));
            bundle.link.push(next_link(resources, resource_type, &pairs, &place));
        }
    }
    let reply = Reply { body: Some(bundle.text()), ..written };
    if asks_for_provenance(&pairs) {
        provenance::include(resources, caller, reply).await
    } else {
        Ok(reply)
    }
}

/// Whether a parameter says whose resources are wanted, and the index does not know that.
fn is_whose(resource_type: &str, name: &str) -> bool {
    resource_type == posting::TYPE && posting::is_patient(name)
}

/// A page with what its made resources refer to, as `_include` asks. What the others on it refer to is
/// there already.
async fn with_included(
    resources: &Resources,
    caller: &Caller,
    resource_type: &str,
    pairs: Vec<(String, String)>,
    reply: Reply,
) -> Result<Reply, FhirError> {
    let asks = |pairs: &[(String, String)]| {
        pairs.iter().any(|(name, _)| name.split(':').next() == Some("_include"))
    };
    let is_page = parameter(&pairs, PAGE).is_some();
    if !asks(&pairs) && !is_page {
        return Ok(reply);
    }
    let mut page = read_bundle(&reply)?;
    let pairs = if asks(&pairs) { pairs } else { page.own_pairs()? };
    if !asks(&pairs) {
        return Ok(reply);
    }
    let (mut made, mut there) = (Vec::new(), HashSet::new());
    for (name, entry) in page.names()?.into_iter().zip(&page.entry) {
        let ResourceName { resource_type, id, .. } = name.resource;
        if name.search["mode"] == "match" && is_made(&resource_type, &id) {
            made.extend(resource_in(entry));
        }
        there.insert((resource_type, id));
    }
    let includes = pairs.into_iter().filter(|(name, _)| name.starts_with("_include")).collect();
    let query = parse_lenient(resources, resource_type, includes)?;
    let mut reached = Reached::default();
    let included = searching::included(resources, caller, &query, &made, &mut reached).await;
    for one in reached.answer(resources, caller, included).await? {
        if !there.insert((one.resource_type.clone(), one.id.clone())) {
            continue;
        }
        let Some(body) = &one.body else { continue };
        let entry = Entry {
            full_url: Some(format!("{}/{}/{}", resources.base(), one.resource_type, one.id)),
            resource: Some(shown(body)),
            search: Some(json!({ "mode": "include" })),
            ..Entry::default()
        };
        let entry = serde_json::value::to_raw_value(&entry).expect("an entry has a JSON form");
        page.entry.push(entry);
    }
    Ok(Reply { body: Some(page.text()), ..reply })
}

/// Whether a resource is made when it is asked for.
fn is_made(resource_type: &str, id: &str) -> bool {
    match resource_type {
        "Consent" => consent::is_id(id),
        "Provenance" => provenance::is_id(id),
        _ => group::is_made(resource_type),
    }
}

/// The resource that an entry shows.
fn resource_in(entry: &RawValue) -> Option<Resource> {
    let entry = RawObject::parse(entry.get().as_bytes()).ok()?;
    let body = RawObject::parse(entry.get("resource")?.get().as_bytes()).ok()?;
    Some(Resource {
        resource_type: body.text("resourceType")?,
        id: body.text("id")?,
        version: 1.into(),
        updated: 0,
        body: Some(body),
    })
}

fn parse_lenient(
    resources: &Resources,
    resource_type: &str,
    pairs: Vec<(String, String)>,
) -> Result<Query, FhirError> {
    let pairs: Vec<_> =
        pairs.into_iter().map(|(name, value)| (name, resources.relative(&value))).collect();
    Query::parse(resource_type, &pairs, Handling::Lenient)
        .map_err(|error| FhirError::bad_request(error.to_string()))
}

fn owned((updated, id): (i64, &str)) -> (i64, String) {
    (updated, id.to_owned())
}

fn parameter<'p>(pairs: &'p [(String, String)], name: &str) -> Option<&'p str> {
    pairs.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// What is made of a type and matches, in the order of the pages.
async fn made(
    resources: &Resources,
    caller: &Caller,
    resource_type: &str,
    pairs: &[(String, String)],
    request: &Request,
    reached: &mut Reached,
) -> Result<Vec<Derived>, FhirError> {
    let mut made = match resource_type {
        "Consent" => consent::find(resources, caller, pairs, request, reached).await?,
        _ => provenance::find(resources, caller, pairs, request, reached).await?,
    };
    made.sort_by(|one, other| one.place().cmp(&other.place()));
    Ok(made)
}

async fn page_of_made(
    resources: &Resources,
    caller: &Caller,
    query: &Query,
    pairs: &[(String, String)],
    (made, place): (Vec<Derived>, &str),
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    let gone = || FhirError::new(StatusCode::GONE, "not-found", "there is no such page");
    let (updated, id) = place.split_once('.').ok_or_else(gone)?;
    let place = (updated.parse().map_err(|_| gone())?, id);
    let size = searching::count(parameter(pairs, "_count"))?;
    let rest: Vec<&Derived> = made.iter().filter(|one| one.place() > place).collect();
    let shown: Vec<&Derived> = rest.iter().take(size).copied().collect();
    note_shown(resources, caller, shown.iter().copied()).await?;
    reached.show(shown.iter().map(|one| one.patient));
    let mut bundle = bundle::Bundle::new("searchset", resources.make_id());
    for one in &shown {
        bundle.entry.push(made_entry(resources, one, "match", query)?);
    }
    if let Some(last) = shown.last()
        && rest.len() > shown.len()
    {
        let link = next_link(resources, query.resource_type(), pairs, &owned(last.place()));
        bundle.link.push(bundle::Link { relation: "next", url: link.url });
    }
    Ok(bundle.reply())
}

fn next_link(
    resources: &Resources,
    resource_type: &str,
    pairs: &[(String, String)],
    (updated, id): &(i64, String),
) -> Link {
    let place = format!("{MADE}{updated}.{id}");
    Link { relation: "next".into(), url: link(resources, resource_type, pairs, &place) }
}

/// The address of another page of a search.
pub(crate) fn link(
    resources: &Resources,
    resource_type: &str,
    pairs: &[(String, String)],
    page: &str,
) -> String {
    let encoded = searching::encoded;
    let others = pairs.iter().filter(|(name, _)| name != PAGE);
    let mut query: Vec<String> =
        others.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    query.push(format!("{PAGE}={}", encoded(page)));
    format!("{}/{resource_type}?{}", resources.base(), query.join("&"))
}

/// What was made as an entry of a page.
pub(crate) fn made_entry(
    resources: &Resources,
    one: &Derived,
    mode: &str,
    query: &Query,
) -> Result<Entry, FhirError> {
    let body = one.resource()?.body.unwrap_or_default();
    let body = searching::subset(query.output(), body);
    Ok(Entry {
        full_url: Some(format!("{}/{}/{}", resources.base(), one.resource_type, one.id)),
        resource: Some(shown(&body)),
        search: Some(json!({ "mode": mode })),
        ..Entry::default()
    })
}

/// The same as text, for a bundle whose other entries stay as they are.
pub(crate) fn entry(
    resources: &Resources,
    one: &Derived,
    mode: &str,
    query: &Query,
) -> Result<Box<RawValue>, FhirError> {
    let entry = made_entry(resources, one, mode, query)?;
    Ok(serde_json::value::to_raw_value(&entry).expect("an entry has a JSON form"))
}

/// A page of a search that is added to. What is in it stays as it was written.
#[derive(Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    resource_type: String,
    id: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    link: Vec<Link>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) entry: Vec<Box<RawValue>>,
}

#[derive(Serialize, serde::Deserialize)]
struct Link {
    relation: String,
    url: String,
}

/// What one of its entries is.
#[derive(Clone, Debug, serde::Deserialize)]
pub(crate) struct EntryName {
    pub(crate) resource: ResourceName,
    #[serde(default)]
    pub(crate) search: Value,
}

/// What a resource says of itself.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceName {
    pub(crate) resource_type: String,
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) meta: Value,
}

/// Reads a page that this server made.
pub(crate) fn read_bundle(reply: &Reply) -> Result<Page, FhirError> {
    let text = reply.body.as_deref().unwrap_or_default();
    serde_json::from_str(text)
        .map_err(|_| FhirError::unprocessable("exception", "the page cannot be read"))
}

impl Page {
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(self).expect("a bundle has a JSON form")
    }

    /// Its entries by name.
    pub(crate) fn names(&self) -> Result<Vec<EntryName>, FhirError> {
        let name = |entry: &RawValue| {
            serde_json::from_str(entry.get())
                .map_err(|_| FhirError::unprocessable("exception", "the page cannot be read"))
        };
        self.entry.iter().map(|entry| name(entry)).collect()
    }

    /// Says in all links what else was asked.
    fn add_to_links<'p>(&mut self, pairs: impl Iterator<Item = &'p (String, String)>) {
        for (name, value) in pairs {
            for link in &mut self.link {
                let mark = if link.url.contains('?') { '&' } else { '?' };
                let (name, value) = (searching::encoded(name), searching::encoded(value));
                link.url = format!("{}{mark}{name}={value}", link.url);
            }
        }
    }

    fn matched(&self) -> Result<usize, FhirError> {
        Ok(self.names()?.iter().filter(|entry| entry.search["mode"] == "match").count())
    }

    /// What was searched for, by its link to itself.
    fn own_pairs(&self) -> Result<Vec<(String, String)>, FhirError> {
        let own = self.link.iter().find(|link| link.relation == "self");
        let query = own.and_then(|link| link.url.split_once('?')).map_or("", |(_, query)| query);
        crate::request::pairs(query)
    }
}

/// References to people and records, looked up once each.
pub(crate) struct Names<'r> {
    resources: &'r Resources,
    members: HashMap<Address, Value>,
    patients: HashMap<Address, Value>,
}

impl<'r> Names<'r> {
    pub(crate) fn new(resources: &'r Resources) -> Self {
        Self { resources, members: HashMap::new(), patients: HashMap::new() }
    }

    /// A reference to a member of the network: to its entry in the directory where there is one, and by
    /// its address in any case.
    pub(crate) async fn member(&mut self, member: Address) -> Result<Value, FhirError> {
        if let Some(known) = self.members.get(&member) {
            return Ok(known.clone());
        }
        let mut reference =
            json!({ "identifier": { "system": MEMBER_SYSTEM, "value": member.to_string() } });
        if let Some(name) = in_directory(self.resources, member).await? {
            reference["reference"] = name.into();
        }
        self.members.insert(member, reference.clone());
        Ok(reference)
    }

    /// A reference to a patient: to their resource where there is one, and by account.
    pub(crate) async fn patient(&mut self, account: Address) -> Result<Value, FhirError> {
        if let Some(known) = self.patients.get(&account) {
            return Ok(known.clone());
        }
        let mut reference =
            json!({ "identifier": { "system": ACCOUNT_SYSTEM, "value": account.to_string() } });
        if let Some(id) = patient_id(self.resources, account).await? {
            reference["reference"] = format!("Patient/{id}").into();
        }
        self.patients.insert(account, reference.clone());
        Ok(reference)
    }

    /// A reference to whoever reads or writes.
    pub(crate) async fn anybody(
        &mut self,
        address: Address,
        patient: Address,
    ) -> Result<Value, FhirError> {
        if address == patient { self.patient(address).await } else { self.member(address).await }
    }
}

/// The entry of a member in the directory, such as `Practitioner/1`.
async fn in_directory(resources: &Resources, member: Address) -> Result<Option<String>, FhirError> {
    for resource_type in ["Practitioner", "Organization"] {
        let pairs = [("identifier".to_owned(), format!("{MEMBER_SYSTEM}|{member}"))];
        let query = Query::parse(resource_type, &pairs, Handling::Strict)
            .map_err(|error| FhirError::bad_request(error.to_string()))?;
        let mut connection = resources.database().readers().acquire().await?;
        let scope = search::Scope { patient: None, after: 0, limit: 8 };
        let numbers = resources.inner.index.candidates(&mut connection, &query, scope).await?;
        for row in Row::all_numbered(&mut connection, &numbers).await? {
            let held = resources.inner.directory.read(&mut connection, &row, row.version).await?;
            let Some((updated, Some(body))) = held else { continue };
            let value: Value = serde_json::from_str(&body.to_string()).unwrap_or_default();
            if search::matches(&query, resource_type, &value, updated) {
                return Ok(Some(format!("{resource_type}/{}", row.id)));
            }
        }
    }
    Ok(None)
}

/// The member whom an entry of the directory stands for, by its identifier.
pub(crate) async fn member_of(
    resources: &Resources,
    resource_type: &str,
    id: &str,
) -> Result<Option<Address>, FhirError> {
    let Some(row) = resources.row(resource_type, id).await? else { return Ok(None) };
    if row.record.is_some() {
        return Ok(None);
    }
    let mut connection = resources.database().readers().acquire().await?;
    let held = resources.inner.directory.read(&mut connection, &row, row.version).await?;
    let Some((_, Some(body))) = held else { return Ok(None) };
    let value: Value = serde_json::from_str(&body.to_string()).unwrap_or_default();
    let identifiers = value["identifier"].as_array().cloned().unwrap_or_default();
    let member = identifiers.iter().find(|identifier| identifier["system"] == MEMBER_SYSTEM);
    Ok(member.and_then(|member| member["value"].as_str()?.parse().ok()))
}

/// The id of a patient's resource here.
pub(crate) async fn patient_id(
    resources: &Resources,
    account: Address,
) -> Result<Option<String>, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let row = sqlx::query(
        "select id from fhir_resources where patient = $1 and type = 'Patient' order by number",
    )
    .bind(account.to_vec())
    .fetch_optional(&mut *connection)
    .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// The account of the patient whom a search names, as `1`, `Patient/1` or by the account itself.
pub(crate) async fn patient_named(
    resources: &Resources,
    text: &str,
) -> Result<Option<Address>, FhirError> {
    let text = resources.relative(text);
    let id = text.strip_prefix("Patient/").unwrap_or(&text);
    if let Some(account) = account_in(id) {
        return Ok(Some(account));
    }
    let row = resources.row("Patient", id).await?;
    Ok(row.and_then(|row| row.record).map(|filed| filed.patient))
}

/// The accounts of all patients whom a search names, with commas between; each once.
pub(crate) async fn patients_named(
    resources: &Resources,
    text: &str,
) -> Result<BTreeSet<Address>, FhirError> {
    let mut patients = BTreeSet::new();
    for one in text.split(',').take(search::VALUES_MAX) {
        patients.extend(patient_named(resources, one).await?);
    }
    Ok(patients)
}

/// Of these records, those that are resources here, with type and id.
pub(crate) async fn names_of(
    resources: &Resources,
    records: &[RecordId],
) -> Result<HashMap<RecordId, (String, String)>, FhirError> {
    static TEXT: std::sync::OnceLock<std::sync::Arc<str>> = std::sync::OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let places: Vec<String> =
            (1..=RECORDS_PER_LOOKUP).map(|place| format!("${place}")).collect();
        let places = places.join(", ");
        format!("select record, type, id from fhir_resources where record in ({places})").into()
    });
    let mut names = HashMap::new();
    let mut connection = resources.database().readers().acquire().await?;
    for chunk in records.chunks(RECORDS_PER_LOOKUP) {
        let mut query = sqlx::query(AssertSqlSafe(std::sync::Arc::clone(text)));
        for index in 0..RECORDS_PER_LOOKUP {
            query =
                query.bind(chunk.get(index).map(|record| record.0.to_vec()).unwrap_or_default());
        }
        for row in query.fetch_all(&mut *connection).await? {
            let record: Vec<u8> = row.try_get(0)?;
            if let Ok(record) = record.as_slice().try_into() {
                names.insert(RecordId(record), (row.try_get(1)?, row.try_get(2)?));
            }
        }
    }
    Ok(names)
}

/// Whether a method may be used with a type that is only ever made.
pub(crate) fn may_be_written(resource_type: &str, method: &Method, path: &[String]) -> bool {
    let is_operation = path.iter().any(|segment| segment.starts_with('$') || segment == "_search");
    !group::is_made(resource_type) || *method == Method::GET || is_operation
}

/// Whether somebody watches over this institution's access log.
pub(crate) fn is_watching(resources: &Resources, reader: &Reader) -> bool {
    use domain::ProfessionalRole::{Auditor, PrivacyOfficer};
    let own = resources.gatekeeper().member();
    match reader {
        Reader::Patient { .. } => false,
        Reader::Institution { member, .. } => *member == own,
        Reader::Professional { institution, role, .. } => {
            *institution == own && matches!(role, Auditor | PrivacyOfficer)
        }
    }
}
