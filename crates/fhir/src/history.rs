//! Histories: of one resource, or of all of a type.
//!
//! Versions are decided on like everything else: whoever may not read one does not learn that it was
//! there. They come newest first, in pages; a page begins below a version, or at a time, so that it stays
//! where it was while others write.

use std::collections::{HashMap, HashSet};

use domain::{Address, KindSet};
use gatekeeper::{Found, Versions};

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
    tables::Row,
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
    row: Row,
    version: u32,
    updated: i64,
    /// What opens it; `None` for the directory's.
    found: Option<Found>,
}

impl Version {
    /// The order of histories, and where pages begin.
    const fn place(&self) -> (i64, i64, u32) {
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
            found.into_iter().map(|found| of_record(&row, found)).collect()
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
    // Whatever is written meanwhile comes again, later.
    let (mut seen, mut after, mut turn) = (HashSet::new(), (since, 0), None);
    loop {
        let rows = {
            let mut connection = resources.database().readers().acquire().await?;
            Row::of_type(&mut connection, resource_type, after, DECIDED_AT_ONCE).await?
        };
        let Some(last) = rows.last() else { return Ok(versions) };
        after = (last.updated, last.number);
        let (mut records, mut order) = (HashMap::new(), Vec::new());
        for row in rows.into_iter().filter(|row| seen.insert(row.number)) {
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
        if seen.len() > NARROW_MAX && turn.is_none() {
            turn = Some(resources.inner.remembered.wide_turn().await);
        }
        let gatekeeper = resources.gatekeeper();
        let finding = gatekeeper.find(caller.reading(), &order, Versions::All, resources.now());
        let (found, refusals) = finding.await?;
        reached.refuse(refusals);
        let found = found.into_iter().filter_map(|found| {
            let row = records.get(&found.entry().header.record)?;
            Some(of_record(row, found))
        });
        versions.extend(found.filter(|version| version.updated >= since));
        if versions.len() > READABLE_MAX {
            reached.count(versions.iter().filter_map(|version| version.row.record));
            let text = format!("more than {READABLE_MAX} versions; say _since when");
            return Err(FhirError::unprocessable("too-costly", text));
        }
    }
}

fn of_record(row: &Row, found: Found) -> Version {
    let header = &found.entry().header;
    let version = header.version.get();
    let updated = updated(row, version, header.created);
    Version { row: row.clone(), version, updated, found: Some(found) }
}

async fn of_directory(
    resources: &Resources,
    caller: &Caller,
    row: &Row,
) -> Result<Vec<Version>, FhirError> {
    resources.require_directory(caller, &row.resource_type)?;
    let mut connection = resources.database().readers().acquire().await?;
    let versions = Directory::versions(&mut connection, row.number).await?;
    let of = |(version, updated)| Version { row: row.clone(), version, updated, found: None };
    Ok(versions.into_iter().map(of).collect())
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
    if let Some(last) = versions.last().filter(|_| !later.is_empty()) {
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
    let (mut places, mut founds, mut opened) = (Vec::new(), Vec::new(), Vec::new());
    for version in versions {
        let place = version.place();
        let Version { row, version, found, .. } = version;
        match found {
            None => {
                opened.push((place, resources.read_directory(caller, &row, Some(version)).await?));
            }
            Some(found) => {
                places.push(((found.entry().header.record, version), (place, row)));
                founds.push(found);
            }
        }
    }
    let patients: Vec<Address> = founds.iter().map(|found| found.entry().patient).collect();
    let given = resources.gatekeeper().give(caller.reading(), founds, resources.now()).await?;
    reached.show(patients);
    let mut places: HashMap<_, _> = places.into_iter().collect();
    for record in given {
        if let Some((place, row)) = places.remove(&(record.record, record.version.get())) {
            opened.push((place, resource_of(&row, &record)?));
        }
    }
    opened.sort_by_key(|(place, _)| std::cmp::Reverse(*place));
    Ok(opened.into_iter().map(|(_, resource)| resource).collect())
}

/// Where a page begins, as its link says.
fn place_of(text: &str) -> Result<(i64, i64, u32), FhirError> {
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
        (1, _) => ("POST", "201"),
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
