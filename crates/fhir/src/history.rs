//! Histories: of one resource, or of all of a type.
//!
//! Versions are decided on like everything else: whoever may not read one does not learn that it was
//! there. They come newest first, in pages; a page begins below a version, or at a time, so that it stays
//! where it was while others write.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use domain::{Address, KindSet, RecordId};
use gatekeeper::{Found, Versions};
use sqlx::Row as _;

use crate::{
    bundle::{Bundle, Entry, Link, shown},
    caller::{Caller, Interaction},
    directory::Directory,
    instant,
    outcome::FhirError,
    reached::Reached,
    request::{Reply, Request},
    resources::{Resource, Resources, resource_of, updated},
    searching,
    statuses::Status,
    tables::Row,
    version::VersionId,
};

/// How many sealed bytes a page opens, unless its first version alone has more.
const PAGE_BYTES_MAX: u64 = 32 << 20;

/// How many versions that the caller may read the history of a type looks through, at most.
const READABLE_MAX: usize = 20_000;

/// How many resources are decided on at a time.
const DECIDED_AT_ONCE: i64 = 1_000;

/// After how many resources a history takes its turn with others that have to go through as much.
const NARROW_MAX: usize = 20_000;

/// Where a page begins: below this.
const PAGE: &str = "_page";

/// A version that the caller may see, not yet opened.
struct Version {
    /// With the status that this version has.
    row: Row,
    version: VersionId,
    updated: i64,
    /// What opens it; `None` for the directory's. Versions of one that was written share it.
    found: Option<Arc<Found>>,
}

impl Version {
    /// The order of histories, and where pages begin.
    const fn place(&self) -> (i64, i64, VersionId) {
        (self.updated, self.row.number, self.version)
    }

    fn sealed_len(&self) -> u64 {
        self.found.as_ref().map_or(0, |found| found.entry().sealed_len)
    }
}

/// The history of one resource.
pub(crate) async fn of_resource(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    (resource_type, id): (&str, &str),
) -> Result<Reply, FhirError> {
    caller.require(resource_type, Interaction::Read)?;
    let row = resources.row(resource_type, id).await?.ok_or_else(FhirError::not_found)?;
    let versions = match row.record {
        Some(filed) => {
            let found = resources.find_record(caller, filed, true).await?;
            of_record(resources, &row, found).await?
        }
        None => of_directory(resources, caller, &row).await?,
    };
    let mut reached = Reached::default();
    if let Some(filed) = row.record {
        reached.name(filed.patient, KindSet::of(&[filed.kind]));
    }
    let page = page(resources, caller, request, versions, &mut reached).await;
    reached.answer(resources, caller, page).await
}

/// The history of all resources of a type that the caller may see.
pub(crate) async fn of_type(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    resource_type: &str,
) -> Result<Reply, FhirError> {
    caller.require(resource_type, Interaction::Read)?;
    caller.require(resource_type, Interaction::Search)?;
    let mut reached = Reached::default();
    let found = versions_of_type(resources, caller, request, resource_type, &mut reached).await;
    let page = match found {
        Ok(versions) => page(resources, caller, request, versions, &mut reached).await,
        Err(error) => Err(error),
    };
    reached.answer(resources, caller, page).await
}

/// The resources of a type whose versions a history has, a part at a time.
///
/// It has those that were there when it began, and does not run after what is written meanwhile. What was
/// written anew in between has left its place in the order of times, perhaps before its turn came: it is
/// looked for once more, at the end.
struct Walk<'a> {
    resource_type: &'a str,
    since: i64,
    /// When it began, in milliseconds since 1970, and the last resource that there was.
    until: (i64, i64),
    /// Where in the order of times it is.
    after: (i64, i64),
    /// Which were given out.
    seen: HashSet<i64>,
    /// What was written anew, by number, once all others were given out.
    rest: Option<VecDeque<i64>>,
}

impl<'a> Walk<'a> {
    async fn begin(
        resources: &Resources,
        resource_type: &'a str,
        since: i64,
    ) -> Result<Self, FhirError> {
        let mut connection = resources.database().readers().acquire().await?;
        let last = Row::next_number(&mut connection).await? - 1;
        Ok(Self {
            resource_type,
            since,
            until: (resources.now_ms(), last),
            after: (since, 0),
            seen: HashSet::new(),
            rest: None,
        })
    }

    /// The next resources; `None` when there are no more.
    async fn next(&mut self, resources: &Resources) -> Result<Option<Vec<Row>>, FhirError> {
        let Self { resource_type, since, until: (until, last), .. } = *self;
        let mut connection = resources.database().readers().acquire().await?;
        if self.rest.is_none() {
            let part =
                Row::of_type(&mut connection, resource_type, self.after, until, DECIDED_AT_ONCE);
            let rows = part.await?;
            if let Some(last) = rows.last() {
                self.after = (last.updated, last.number);
                let is_new = |row: &Row| self.seen.insert(row.number);
                return Ok(Some(rows.into_iter().filter(is_new).collect()));
            }
            let found = sqlx::query(
                "select number from fhir_resources
                where type = $1 and updated > $2 and updated >= $3 and number <= $4 order by number",
            )
            .bind(resource_type.to_owned())
            .bind(until)
            .bind(since)
            .bind(last)
            .fetch_all(&mut *connection)
            .await?;
            let numbers: Vec<i64> =
                found.iter().map(|row| row.try_get(0)).collect::<Result<_, sqlx::Error>>()?;
            self.rest = Some(numbers.into_iter().filter(|one| self.seen.insert(*one)).collect());
        }
        let rest = self.rest.get_or_insert_default();
        let count = usize::try_from(DECIDED_AT_ONCE).unwrap_or(usize::MAX).min(rest.len());
        let numbers: Vec<i64> = rest.drain(..count).collect();
        if numbers.is_empty() {
            return Ok(None);
        }
        Ok(Some(Row::all_numbered(&mut connection, &numbers).await?))
    }
}

/// All versions of resources of a type that the caller may see.
async fn versions_of_type(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    resource_type: &str,
    reached: &mut Reached,
) -> Result<Vec<Version>, FhirError> {
    let since = searching::since(request)?;
    let only = caller.only_patient();
    let may_see_directory = resources.require_directory(caller, resource_type).is_ok();
    let mut versions: Vec<Version> = Vec::new();
    let (mut walk, mut turn) = (Walk::begin(resources, resource_type, since).await?, None);
    while let Some(rows) = walk.next(resources).await? {
        let (mut records, mut order) = (HashMap::new(), Vec::new());
        for row in rows {
            match row.record {
                Some(filed) if only.is_none_or(|only| only == filed.patient) => {
                    order.push(filed.record);
                    records.insert(filed.record, row);
                }
                None if may_see_directory => {
                    versions.extend(of_directory(resources, caller, &row).await?);
                }
                _ => {}
            }
        }
        if walk.seen.len() > NARROW_MAX && turn.is_none() {
            turn = Some(resources.inner.remembered.wide_turn().await);
        }
        let gatekeeper = resources.gatekeeper();
        let finding = gatekeeper.find(caller.reading(), &order, Versions::All, resources.now());
        let (found, refusals) = finding.await?;
        reached.refuse(refusals);
        let mut of_each: HashMap<RecordId, Vec<Found>> = HashMap::new();
        for one in found {
            of_each.entry(one.entry().header.record).or_default().push(one);
        }
        for (record, found) in of_each {
            let Some(row) = records.get(&record) else { continue };
            let found = of_record(resources, row, found).await?;
            versions.extend(found.into_iter().filter(|version| version.updated >= since));
        }
        if versions.len() > READABLE_MAX {
            reached.count(versions.iter().filter_map(|version| version.row.record));
            let text = format!("more than {READABLE_MAX} versions; say _since when");
            return Err(FhirError::unprocessable("too-costly", text));
        }
    }
    Ok(versions)
}

/// The versions of one record that these are.
async fn of_record(
    resources: &Resources,
    row: &Row,
    found: Vec<Found>,
) -> Result<Vec<Version>, FhirError> {
    let as_written = row.with_status(None);
    let mut founds = BTreeMap::new();
    let mut written = Vec::with_capacity(found.len());
    for found in found {
        let header = &found.entry().header;
        let version = header.version.get();
        written.push((version, updated(&as_written, version, header.created)));
        founds.insert(version, Arc::new(found));
    }
    written.sort_unstable();
    let of = |(row, version, created): (Row, u32, i64)| {
        let (name, updated) = row.given_as(version, created);
        let found = founds.get(&version).cloned();
        Version { row, version: name, updated, found }
    };
    Ok(all_given(resources, row, &written).await?.into_iter().map(of).collect())
}

/// The written versions of a resource with the statuses that they had, and when each was written.
async fn all_given(
    resources: &Resources,
    row: &Row,
    written: &[(u32, i64)],
) -> Result<Vec<(Row, u32, i64)>, FhirError> {
    let statuses = match row.status {
        None => Vec::new(),
        Some(_) => {
            let mut connection = resources.database().readers().acquire().await?;
            Status::all(&mut connection, row.number).await?
        }
    };
    let created: HashMap<u32, i64> = written.iter().copied().collect();
    let given = row.all_given(written, &statuses).into_iter();
    let of = |(row, version)| (row, version, created.get(&version).copied().unwrap_or_default());
    Ok(given.map(of).collect())
}

async fn of_directory(
    resources: &Resources,
    caller: &Caller,
    row: &Row,
) -> Result<Vec<Version>, FhirError> {
    resources.require_directory(caller, &row.resource_type)?;
    let mut connection = resources.database().readers().acquire().await?;
    let mut written = Directory::versions(&mut connection, row.number).await?;
    drop(connection);
    written.reverse();
    let of = |(row, version, created): (Row, u32, i64)| {
        let (name, updated) = row.given_as(version, created);
        Version { row, version: name, updated, found: None }
    };
    Ok(all_given(resources, row, &written).await?.into_iter().map(of).collect())
}

/// One page of a history.
async fn page(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    mut versions: Vec<Version>,
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    let since = searching::since(request)?;
    let count = searching::count(request.parameter("_count"))?;
    let below = request.parameter(PAGE).map(place_of).transpose()?;
    versions.retain(|version| version.updated >= since);
    let total = versions.len();
    versions.retain(|version| below.is_none_or(|below| version.place() < below));
    versions.sort_by_key(|version| std::cmp::Reverse(version.place()));
    let mut bytes = 0;
    let fits = |(index, version): (usize, &Version)| {
        bytes += version.sealed_len();
        index < count && (index == 0 || bytes <= PAGE_BYTES_MAX)
    };
    let shown_count = versions.iter().enumerate().map(fits).take_while(|fits| *fits).count();
    let later = versions.split_off(shown_count);
    if below.is_none() {
        // Those on later pages are in the total.
        let counted = later.iter().filter(|version| version.found.is_some());
        reached.count(counted.filter_map(|version| version.row.record));
    }
    let base = resources.base();
    let mut bundle = Bundle::new("history", resources.make_id());
    bundle.total = below.is_none().then_some(total);
    let path = request.path.join("/");
    bundle.link.push(Link { relation: "self", url: format!("{base}/{path}") });
    let has_more = !later.is_empty();
    // What is opened has one owner.
    drop(later);
    if let Some(last) = versions.last().filter(|_| has_more) {
        let (updated, number, version) = last.place();
        let since = request.parameter("_since").map(|since| {
            let since = searching::encoded(since);
            format!("&_since={since}")
        });
        let since = since.unwrap_or_default();
        let url =
            format!("{base}/{path}?{PAGE}={updated}.{number}.{version}&_count={count}{since}");
        bundle.link.push(Link { relation: "next", url });
    }
    for resource in open(resources, caller, versions, reached).await? {
        bundle.entry.push(entry(base, &resource));
    }
    Ok(bundle.reply())
}

/// Opens versions, in their order. What does not open is left out.
async fn open(
    resources: &Resources,
    caller: &Caller,
    versions: Vec<Version>,
    reached: &mut Reached,
) -> Result<Vec<Resource>, FhirError> {
    let mut places: HashMap<(RecordId, u32), Vec<_>> = HashMap::new();
    let (mut founds, mut opened) = (HashMap::new(), Vec::new());
    for version in versions {
        let place = version.place();
        let Version { row, version, found, .. } = version;
        match found {
            None => {
                opened.push((place, resources.read_directory(caller, &row, Some(version)).await?));
            }
            Some(found) => {
                let name = (found.entry().header.record, version.written);
                places.entry(name).or_default().push((place, row));
                founds.insert(name, found);
            }
        }
    }
    // Each is opened once, with however many statuses it is shown.
    let founds: Vec<Found> = founds.into_values().filter_map(Arc::into_inner).collect();
    let patients: Vec<Address> = founds.iter().map(|found| found.entry().patient).collect();
    let given = resources.gatekeeper().give(caller.reading(), founds, resources.now()).await?;
    reached.show(patients);
    for record in given {
        let shown = places.remove(&(record.record, record.version.get())).unwrap_or_default();
        for (place, row) in shown {
            opened.push((place, resource_of(&row, &record)?));
        }
    }
    opened.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
    Ok(opened.into_iter().map(|(_, resource)| resource).collect())
}

/// Where a page begins, as its link says.
fn place_of(text: &str) -> Result<(i64, i64, VersionId), FhirError> {
    let mut parts = text.splitn(3, '.');
    let mut part = || parts.next().unwrap_or_default();
    let place = (part().parse(), part().parse(), part().parse());
    match place {
        (Ok(updated), Ok(number), Ok(version)) => Ok((updated, number, version)),
        _ => Err(FhirError::bad_request("there is no such page; begin anew without _page")),
    }
}

fn entry(base: &str, resource: &Resource) -> Entry {
    let Resource { resource_type, id, version, updated, body } = resource;
    let (method, status) = match (version, body) {
        (_, None) => ("DELETE", "204"),
        (version, _) if version.is_first() => ("POST", "201"),
        _ => ("PUT", "200"),
    };
    let url =
        if method == "POST" { resource_type.clone() } else { format!("{resource_type}/{id}") };
    Entry {
        full_url: Some(format!("{base}/{resource_type}/{id}")),
        resource: body.as_ref().map(shown),
        request: Some(serde_json::json!({ "method": method, "url": url })),
        response: Some(serde_json::json!({
            "status": status,
            "etag": format!("W/\"{version}\""),
            "lastModified": instant::text(*updated),
        })),
        search: None,
    }
}
