//! `Provenance`: who made each version of a record, and where on chain it stands.
//!
//! There is one for each version of each record that is a resource here. Its id is made from the record's
//! id and the version, so it stays. Whoever may read the version may read this; that is decided anew each
//! time, and leaves a receipt. A `Provenance` that somebody posted is a record like any other.
//!
//! The extension `urn:salus:anchor` has what is needed to check the version against the chain: record,
//! version, digest of the sealed bytes, state, transaction, block; for a version that was anchored in a
//! batch also the Merkle root, and when it is read by its id the proof.

use std::collections::{BTreeSet, HashMap};

use domain::{AnchorState, Kind, KindSet, RecordId, RecordVersion, Refusal, Timestamp};
use gatekeeper::{Anchored, Inclusion, Versions};
use serde_json::{Value, json};
use sqlx::Row as _;
use vault::{Content, Entry};

use crate::{
    caller::{Caller, Interaction},
    derived::{Derived, KIND_SYSTEM, Names, entry, note_shown, parse, read_bundle},
    instant,
    outcome::FhirError,
    posting,
    reached::Reached,
    request::{Reply, Request},
    resources::Resources,
    tables::Row,
};

/// The extension that says where on chain a version is.
pub(crate) const ANCHOR: &str = "urn:salus:anchor";

/// How many bytes of a record's id are in that of its provenance: enough to be one of a kind.
const PREFIX_LEN: usize = 24;

/// How many versions that the caller may read one search looks at, at most.
const READABLE_MAX: usize = 20_000;

/// After how many resources a search takes its turn with others that have to go through as much.
const NARROW_MAX: usize = 20_000;

/// How many rows are read at a time.
const ROWS_AT_ONCE: i64 = 1_000;

/// How many are included on a page, at most.
const INCLUDED_MAX: usize = 1_000;

fn id_of(record: RecordId, version: RecordVersion) -> String {
    let prefix = record.0.get(..PREFIX_LEN).unwrap_or_default();
    format!("{}.{version}", hex::encode(prefix))
}

/// The beginning of the record's id, and the version.
fn parse_id(id: &str) -> Option<([u8; PREFIX_LEN], u32)> {
    let (prefix, version) = id.split_once('.')?;
    let is_plain = !version.starts_with(['0', '+']) && !prefix.contains(|c: char| c.is_uppercase());
    let mut bytes = [0; PREFIX_LEN];
    hex::decode_to_slice(prefix, &mut bytes).ok()?;
    version.parse().ok().filter(|_| is_plain).map(|version| (bytes, version))
}

/// Whether an id may be one of these.
pub(crate) fn is_id(id: &str) -> bool {
    parse_id(id).is_some()
}

async fn row_of(resources: &Resources, prefix: [u8; PREFIX_LEN]) -> Result<Option<Row>, FhirError> {
    let (mut from, mut to) = ([0; 32], [0xff; 32]);
    from[..PREFIX_LEN].copy_from_slice(&prefix);
    to[..PREFIX_LEN].copy_from_slice(&prefix);
    let mut connection = resources.database().readers().acquire().await?;
    let row = sqlx::query("select number from fhir_resources where record >= $1 and record <= $2")
        .bind(from.to_vec())
        .bind(to.to_vec())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let numbers = [row.try_get::<i64, _>(0)?];
    Ok(Row::all_numbered(&mut connection, &numbers).await?.pop())
}

/// The provenance with an id; `None` when there is none that is made.
pub(crate) async fn read(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Option<Derived>, FhirError> {
    caller.require("Provenance", Interaction::Read)?;
    let Some((prefix, version)) = parse_id(id) else { return Ok(None) };
    let Some(row) = row_of(resources, prefix).await? else { return Ok(None) };
    let record = row.record.map(|filed| filed.record);
    let mut reached = Reached::default();
    if let Some(filed) = row.record {
        reached.name(filed.patient, KindSet::of(&[filed.kind]));
    }
    let made = made_of(resources, caller, vec![row], &mut reached).await;
    let made = made.and_then(|made| {
        made.into_iter().find(|one| one.id == id).ok_or_else(FhirError::not_found)
    });
    if let Ok(one) = &made {
        // There will be a receipt of it.
        reached.show([one.patient]);
    }
    let mut one = reached.answer(resources, caller, made).await?;
    if let (Some(record), Ok(version)) = (record, RecordVersion::try_from(version))
        && let Some((anchor, inclusion)) = resources.gatekeeper().inclusion(record, version).await?
        && let Inclusion::Batch { root, proof } = inclusion
        && let Some(parts) = one.value["extension"][0]["extension"].as_array_mut()
    {
        // One that was taken out of its batch since stands by itself, and is in the batch as well.
        parts.retain(|part| part["url"] != "root");
        parts.push(text("root", root.to_string()));
        parts.push(text("base", anchor.base.to_string()));
        parts.extend(proof.iter().map(|sibling| text("proof", sibling.to_string())));
    }
    Ok(Some(one))
}

/// What matches a search, of the patients to whom the question is limited.
pub(crate) async fn find(
    resources: &Resources,
    caller: &Caller,
    pairs: &[(String, String)],
    request: &Request,
    reached: &mut Reached,
) -> Result<Vec<Derived>, FhirError> {
    // Whose it is stands in the record that it is about.
    let rest: Vec<_> =
        pairs.iter().filter(|(name, _)| !posting::is_patient(name)).cloned().collect();
    let query = parse(resources, "Provenance", &rest, request)?;
    if query.links().next().is_some() {
        return Ok(Vec::new());
    }
    let parameter = |wanted: fn(&str) -> bool| {
        pairs.iter().find(|(name, _)| wanted(name)).map(|(_, value)| value.as_str())
    };
    let patients = reached.only().cloned();
    let targets = parameter(|name| name.split(':').next() == Some("target"));
    let mut rows = Vec::new();
    if let Some(targets) = targets {
        for target in targets.split(',').take(search::VALUES_MAX) {
            let target = resources.relative(target);
            let mut segments = target.split('/');
            if let (Some(resource_type), Some(id)) = (segments.next(), segments.next()) {
                rows.extend(resources.row(resource_type, id).await?);
            }
        }
    } else if let Some(ids) = parameter(|name| name == "_id") {
        for id in ids.split(',').take(search::VALUES_MAX) {
            if let Some((prefix, _)) = parse_id(id) {
                rows.extend(row_of(resources, prefix).await?);
            }
        }
    } else {
        let whose = match patients {
            None => vec![caller.only_patient()],
            Some(patients) => patients.into_iter().map(Some).collect(),
        };
        return of_all(resources, caller, &query, whose, reached).await;
    }
    // Whoever names a record names whose it is.
    for filed in rows.iter().filter_map(|row| row.record) {
        reached.name(filed.patient, KindSet::of(&[filed.kind]));
    }
    rows.retain(|row| {
        row.record.is_some_and(|filed| {
            patients.as_ref().is_none_or(|patients| patients.contains(&filed.patient))
        })
    });
    let mut made = made_of(resources, caller, rows, reached).await?;
    made.retain(|one| search::matches(&query, "Provenance", &one.value, one.updated));
    Ok(made)
}

/// What matches of all records of these patients; `None` stands for everybody.
async fn of_all(
    resources: &Resources,
    caller: &Caller,
    query: &search::Query,
    whose: Vec<Option<domain::Address>>,
    reached: &mut Reached,
) -> Result<Vec<Derived>, FhirError> {
    let (mut matching, mut readable, mut decided) = (Vec::new(), 0_usize, 0_usize);
    let (mut looked_at, mut turn) = (Reached::default(), None);
    for patient in whose {
        let mut after = 0;
        loop {
            let rows = rows_after(resources, patient, after).await?;
            let Some(last) = rows.last() else { break };
            after = last.number;
            decided = decided.saturating_add(rows.len());
            if decided > NARROW_MAX && turn.is_none() {
                turn = Some(resources.inner.remembered.wide_turn().await);
            }
            let made = made_of(resources, caller, rows, reached).await?;
            // What the caller may not read is not counted: a limit would tell how much there is.
            readable = readable.saturating_add(made.len());
            looked_at.count_made(&made);
            if readable > READABLE_MAX {
                reached.count_as(looked_at);
                let text = format!(
                    "more than {READABLE_MAX} versions might match; name target or patient"
                );
                return Err(FhirError::unprocessable("too-costly", text));
            }
            let matches =
                |one: &Derived| search::matches(query, "Provenance", &one.value, one.updated);
            matching.extend(made.into_iter().filter(matches));
        }
    }
    Ok(matching)
}

/// The next resources that are records, of one patient or of all.
async fn rows_after(
    resources: &Resources,
    patient: Option<domain::Address>,
    after: i64,
) -> Result<Vec<Row>, FhirError> {
    let text = match patient {
        Some(_) => {
            "select number from fhir_resources
            where number > $1 and record is not null and patient = $3 order by number limit $2"
        }
        None => {
            "select number from fhir_resources
            where number > $1 and record is not null order by number limit $2"
        }
    };
    let mut connection = resources.database().readers().acquire().await?;
    let mut query = sqlx::query(text).bind(after).bind(ROWS_AT_ONCE);
    if let Some(patient) = patient {
        query = query.bind(patient.to_vec());
    }
    let found = query.fetch_all(&mut *connection).await?;
    let numbers: Vec<i64> =
        found.iter().map(|row| row.try_get(0)).collect::<Result<_, sqlx::Error>>()?;
    Ok(Row::all_numbered(&mut connection, &numbers).await?)
}

/// Adds the provenance of what a page shows.
pub(crate) async fn include(
    resources: &Resources,
    caller: &Caller,
    reply: Reply,
) -> Result<Reply, FhirError> {
    if caller.require("Provenance", Interaction::Search).is_err() {
        return Ok(reply);
    }
    let mut page = read_bundle(&reply)?;
    let (mut rows, mut shown) = (Vec::new(), BTreeSet::new());
    for name in page.names()? {
        if name.search["mode"] != "match" || name.resource.resource_type == "Provenance" {
            continue;
        }
        let (resource_type, id) = (name.resource.resource_type, name.resource.id);
        if let Some(row) = resources.row(&resource_type, &id).await? {
            let version = name.resource.meta["versionId"].as_str().unwrap_or_default();
            // A status of the contract changes nothing about who wrote the version.
            let written = version.split('.').next().unwrap_or_default();
            shown.insert(format!("{resource_type}/{id}/_history/{written}"));
            rows.push(row);
        }
    }
    let mut reached = Reached::default();
    let made = made_of(resources, caller, rows, &mut reached).await;
    if let Ok(made) = &made {
        reached.show(made.iter().map(|one| one.patient));
    }
    let mut made = reached.answer(resources, caller, made).await?;
    made.retain(|one| {
        let target = one.value["target"][0]["reference"].as_str();
        target.is_some_and(|target| shown.contains(target))
    });
    made.truncate(INCLUDED_MAX);
    note_shown(resources, caller, &made).await?;
    let query = search::Query::parse("Provenance", &[], search::Handling::Lenient)
        .map_err(|error| FhirError::bad_request(error.to_string()))?;
    for one in &made {
        page.entry.push(entry(resources, one, "include", &query)?);
    }
    Ok(Reply { body: Some(page.text()), ..reply })
}

/// The provenance of all versions of these resources that the caller may read now.
pub(crate) async fn made_of(
    resources: &Resources,
    caller: &Caller,
    mut rows: Vec<Row>,
    reached: &mut Reached,
) -> Result<Vec<Derived>, FhirError> {
    rows.retain(|row| {
        let Some(filed) = row.record else { return false };
        if !caller.is_about(filed.patient) {
            let kinds = KindSet::of(&[filed.kind]);
            reached.refuse_one(filed.patient, kinds, Refusal::NoConsent);
            return false;
        }
        caller.require(&row.resource_type, Interaction::Read).is_ok()
    });
    let by_record: HashMap<RecordId, &Row> =
        rows.iter().filter_map(|row| Some((row.record?.record, row))).collect();
    let records: Vec<RecordId> =
        rows.iter().filter_map(|row| row.record).map(|filed| filed.record).collect();
    let (gatekeeper, now) = (resources.gatekeeper(), resources.now());
    let (found, refusals) = gatekeeper.find(caller.reading(), &records, Versions::All, now).await?;
    reached.refuse(refusals);
    let entries: Vec<Entry> = found.iter().map(|found| *found.entry()).collect();
    let anchored = gatekeeper.where_anchored(&entries).await?;
    let mut names = Names::new(resources);
    let mut made = Vec::with_capacity(entries.len());
    for (entry, anchored) in entries.iter().zip(anchored) {
        let (Some(row), Some(anchored)) = (by_record.get(&entry.header.record), anchored) else {
            continue;
        };
        made.push(one(&mut names, row, entry, anchored).await?);
    }
    Ok(made)
}

fn text(url: &str, value: String) -> Value {
    json!({ "url": url, "valueString": value })
}

fn instant_of(time: Timestamp) -> String {
    instant::text(milliseconds(time))
}

fn milliseconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or_default().saturating_mul(1_000)
}

/// What a participant did.
fn participant(code: &str, who: Value) -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
    json!({ "type": { "coding": [{ "system": system, "code": code }] }, "who": who })
}

async fn one(
    names: &mut Names<'_>,
    row: &Row,
    entry: &Entry,
    anchored: Anchored,
) -> Result<Derived, FhirError> {
    let header = &entry.header;
    let version = header.version.get();
    let name = format!("{}/{}", row.resource_type, row.id);
    let activity = match (header.content, version) {
        (Content::Other, _) => "DELETE",
        (_, 1) => "CREATE",
        _ => "UPDATE",
    };
    let author = names.anybody(header.author, entry.patient).await?;
    let steward = names.member(header.steward).await?;
    let patient = names.patient(entry.patient).await?;
    let mut agents = vec![participant("author", author), participant("custodian", steward)];
    let was_accepted = matches!(
        anchored.state,
        AnchorState::Accepted | AnchorState::Disputed | AnchorState::Superseded
    );
    if was_accepted {
        agents.push(participant("verifier", patient));
    }
    let state = if anchored.is_withdrawn { "withdrawn" } else { anchored.state.name() };
    let mut parts = vec![
        text("record", header.record.to_string()),
        text("version", version.to_string()),
        json!({ "url": "kind", "valueCoding": {
            "system": KIND_SYSTEM, "code": header.kind.name(),
        } }),
        text("digest", entry.digest.to_string()),
        json!({ "url": "state", "valueCode": state }),
        text("transaction", anchored.moment.transaction.to_string()),
        text("block", anchored.moment.block.to_string()),
        json!({ "url": "time", "valueInstant": instant_of(anchored.moment.time) }),
    ];
    if let Some(root) = anchored.root {
        parts.push(text("root", root.to_string()));
    }
    let id = id_of(header.record, header.version);
    // It changes with the state only, and each state has its number.
    let own_version = anchored.state.number();
    let mut value = json!({
        "resourceType": "Provenance",
        "id": id,
        "meta": {
            "versionId": own_version.to_string(),
            "lastUpdated": instant_of(anchored.moment.time),
        },
        "extension": [{ "url": ANCHOR, "extension": parts }],
        "target": [{ "reference": format!("{name}/_history/{version}") }],
        "occurredDateTime": instant_of(header.created),
        "recorded": instant_of(anchored.moment.time),
        "activity": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/v3-DataOperation",
            "code": activity,
        }] },
        "agent": agents,
    });
    if version > 1 {
        value["entity"] = json!([{
            "role": "revision",
            "what": { "reference": format!("{name}/_history/{}", version - 1) },
        }]);
    }
    Ok(Derived {
        resource_type: "Provenance",
        id,
        version: own_version.into(),
        updated: milliseconds(anchored.moment.time),
        value,
        patient: entry.patient,
        kinds: KindSet::of(&[Kind::Administrative, header.kind]),
        basis: None,
    })
}
