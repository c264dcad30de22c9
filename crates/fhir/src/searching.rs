//! Searches: candidates from the index, a decision on each, and pages of what is left.
//!
//! What the caller may not read is not found, not counted and not included. The order of steps is the
//! promise: decide first, then count, then open what one page shows. A page that is asked for later is
//! decided on anew, so that a revocation binds it (S3); the list of what was found is kept for a while,
//! so that pages do not shift when something is written in between. Whose records a search looked for is
//! told to them, whatever came of it ([`Reached`]).
//!
//! Limits count what the caller may read, for a limit on candidates would tell how many there are. What
//! is refused costs time all the same: a search that has to go through much takes its turn.

use std::collections::{HashMap, HashSet, VecDeque};

use axum::http::StatusCode;
use domain::{Address, KindSet, RecordId, Refusal};
use gatekeeper::Found;
use parking_lot::Mutex;
use search::{Handling, Query, Ranks};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    bundle::{Bundle, Entry, Link, shown},
    caller::{Caller, Interaction},
    catalogue::patient_with,
    dispatch::TYPES,
    instant,
    json::RawObject,
    outcome::FhirError,
    reached::{Reached, kinds_of},
    request::{Reply, Request},
    resources::{PUBLIC_DIRECTORY, Resource, Resources, resource_of, text_of, updated},
    tables::{Deletion, Row},
};

/// How many resources a page has, unless the client says otherwise.
const COUNT_DEFAULT: usize = 50;

/// How many resources a page has at most.
const COUNT_MAX: usize = 500;

/// How many resources that the caller may read a search looks at, at most. Beyond, it is to be narrowed.
const READABLE_MAX: usize = 20_000;

/// How many candidates are decided on and opened at a time.
const DECIDED_AT_ONCE: usize = 1_000;

/// How many candidates the index is asked for at a time.
const CANDIDATES_AT_ONCE: i64 = 200_000;

/// After how many candidates a search takes its turn with others that have to go through as much.
const NARROW_MAX: usize = 20_000;

/// How many such searches go on at a time.
const WIDE_AT_ONCE: usize = 2;

/// How many rows of a patient are read at a time.
const ROWS_AT_ONCE: i64 = 1_000;

/// How many resources are included on a page, at most.
const INCLUDED_MAX: usize = 1_000;

/// How many sealed bytes a page opens, unless its first resource alone has more.
const PAGE_BYTES_MAX: u64 = 32 << 20;

/// How many searches are remembered for their further pages.
const REMEMBERED_MAX: usize = 1_000;

/// How long a search is remembered, in milliseconds.
const REMEMBERED_MS: i64 = 10 * 60 * 1_000;

/// The parameter that names a page of a remembered search.
const PAGE: &str = "_page";

/// What `_count` says.
pub(crate) fn count(text: Option<&str>) -> Result<usize, FhirError> {
    let Some(text) = text else { return Ok(COUNT_DEFAULT) };
    let count: usize =
        text.parse().map_err(|_| FhirError::bad_request("_count is a whole number"))?;
    Ok(count.min(COUNT_MAX))
}

/// How many resources a page of this search has.
fn page_size(query: &Query) -> usize {
    let asked = query.output().count.map(|count| usize::try_from(count).unwrap_or(COUNT_MAX));
    asked.map_or(COUNT_DEFAULT, |count| count.min(COUNT_MAX))
}

/// Searches whose further pages may be asked for, and the turns of those that go through much.
pub(crate) struct Remembered {
    searches: Mutex<Searches>,
    wide: Semaphore,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { searches: Mutex::default(), wide: Semaphore::new(WIDE_AT_ONCE) }
    }
}

#[derive(Default)]
struct Searches {
    by_token: HashMap<String, Search>,
    in_order: VecDeque<String>,
}

/// What a search found, for further pages.
#[derive(Clone)]
struct Search {
    /// Only the one who searched gets its pages.
    caller: Address,
    /// The path below the base of what was asked.
    path: String,
    /// What the first page says that it answers.
    self_url: String,
    query: Query,
    /// What was found, by number, in the order of the pages.
    numbers: Vec<i64>,
    expires: i64,
}

impl Remembered {
    fn remember(&self, token: String, search: Search) {
        let mut searches = self.searches.lock();
        while searches.in_order.len() >= REMEMBERED_MAX {
            let Some(oldest) = searches.in_order.pop_front() else { break };
            searches.by_token.remove(&oldest);
        }
        searches.in_order.push_back(token.clone());
        searches.by_token.insert(token, search);
    }

    fn recall(&self, token: &str, caller: Address, now: i64) -> Option<Search> {
        let search = self.searches.lock().by_token.get(token).cloned()?;
        (search.caller == caller && search.expires > now).then_some(search)
    }

    /// The turn of a search that goes through much, until it is dropped.
    pub(crate) async fn wide_turn(&self) -> SemaphorePermit<'_> {
        self.wide.acquire().await.expect("nobody closes the semaphore")
    }
}

/// What may be shown of one row.
enum Hit {
    Record(Box<(Row, Found)>),
    Directory(Box<Row>),
}

impl Hit {
    fn row(&self) -> &Row {
        match self {
            Self::Record(hit) => &hit.0,
            Self::Directory(row) => row,
        }
    }

    /// When the version that the caller reads was made, in milliseconds since 1970.
    fn updated(&self) -> i64 {
        match self {
            Self::Record(hit) => {
                let header = &hit.1.entry().header;
                updated(&hit.0, header.version.get(), header.created)
            }
            Self::Directory(row) => row.updated,
        }
    }

    /// How much there is to open.
    fn sealed_len(&self) -> u64 {
        match self {
            Self::Record(hit) => hit.1.entry().sealed_len,
            Self::Directory(_) => 0,
        }
    }
}

/// Searches, or gives a further page.
pub(crate) async fn search(
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

/// The same, as a part of a question that is yet to be settled.
pub(crate) async fn search_as_part(
    resources: &Resources,
    caller: &Caller,
    resource_type: &str,
    request: &Request,
    pairs: Vec<(String, String)>,
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    caller.require(resource_type, Interaction::Search)?;
    if let Some((_, page)) = pairs.iter().find(|(name, _)| name == PAGE) {
        return further_page(resources, caller, resource_type, page, reached).await;
    }
    let handling = if request.strict { Handling::Strict } else { Handling::Lenient };
    let query = parse(resources, resource_type, &pairs, handling)?;
    // What is asked for in a patient's name is asked for in those of the same account.
    let pairs = resources.with_patients_of_copies(&pairs).await?;
    let widened = parse(resources, resource_type, &pairs, handling)?;
    let hits = hits(resources, caller, widened, reached).await?;
    let size = page_size(&query);
    if size == 0 || query.output().summary == search::Summary::Count {
        reached.count(hits.iter().filter_map(|hit| hit.row().record));
        return Ok(counted(resources, resource_type, &query, hits.len()));
    }
    let numbers: Vec<i64> = hits.iter().map(|hit| hit.row().number).collect();
    let search = Search {
        caller: caller.reader.address(),
        path: resource_type.into(),
        self_url: self_url(resources, resource_type, &query),
        query,
        numbers,
        expires: resources.now_ms() + REMEMBERED_MS,
    };
    first_page(resources, caller, search, hits, reached).await
}

/// The first page of what was found, which is remembered for the others.
async fn first_page(
    resources: &Resources,
    caller: &Caller,
    search: Search,
    hits: Vec<Hit>,
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    let token = resources.make_id();
    let part = Part::of(&search, 0, hits);
    if part.next.is_some() {
        resources.inner.remembered.remember(token.clone(), search.clone());
    }
    // Those on later pages are in the total.
    reached.count(part.rest.iter().filter_map(|hit| hit.row().record));
    page(resources, caller, (&search, &token), part, reached).await
}

/// What is shown of a search on one page.
struct Part {
    /// Where it begins.
    offset: usize,
    shown: Vec<Hit>,
    /// What of the hits is left for later pages.
    rest: Vec<Hit>,
    /// Where the next page begins.
    next: Option<usize>,
}

impl Part {
    fn of(search: &Search, offset: usize, mut hits: Vec<Hit>) -> Self {
        let (size, mut bytes) = (page_size(&search.query), 0);
        let fits = |(index, hit): (usize, &Hit)| {
            bytes += hit.sealed_len();
            index == 0 || index < size && bytes <= PAGE_BYTES_MAX
        };
        let count = hits.iter().enumerate().map(fits).take_while(|fits| *fits).count();
        let rest = hits.split_off(count);
        let left = search.numbers.get(offset..).unwrap_or_default();
        let next = match rest.first() {
            Some(hit) => left.iter().position(|number| *number == hit.row().number),
            None => (left.len() > size).then_some(size),
        };
        let next = next.map(|after| offset.saturating_add(after));
        Self { offset, shown: hits, rest, next }
    }
}

fn parse(
    resources: &Resources,
    resource_type: &str,
    pairs: &[(String, String)],
    handling: Handling,
) -> Result<Query, FhirError> {
    // The index knows this server's own resources by their names alone.
    let pairs: Vec<_> =
        pairs.iter().map(|(name, value)| (name.clone(), resources.relative(value))).collect();
    Query::parse(resource_type, &pairs, handling)
        .map_err(|error| FhirError::bad_request(error.to_string()))
}

/// The ids of what matches, for what depends on a search: at most two, which is one too many.
pub(crate) async fn matching(
    resources: &Resources,
    caller: &Caller,
    resource_type: &str,
    pairs: &[(String, String)],
) -> Result<Vec<String>, FhirError> {
    caller.require(resource_type, Interaction::Search)?;
    let query = parse(resources, resource_type, pairs, Handling::Strict)?;
    if !query.has_conditions() {
        return Err(FhirError::precondition("a condition names at least one search parameter"));
    }
    let mut reached = Reached::default();
    let hits = hits(resources, caller, query, &mut reached).await;
    if let Ok(hits) = &hits {
        // Whether something matches is an answer.
        reached.count(hits.iter().filter_map(|hit| hit.row().record));
    }
    let hits = reached.answer(resources, caller, hits).await?;
    Ok(hits.iter().take(2).map(|hit| hit.row().id.clone()).collect())
}

/// Searches for the resources of other types that the query is linked to, and puts what the caller may
/// see of them in the links' place.
async fn resolve(
    resources: &Resources,
    caller: &Caller,
    query: &mut Query,
    reached: &mut Reached,
) -> Result<(), FhirError> {
    let links: Vec<_> = query.links().map(|(number, link)| (number, link.clone())).collect();
    for (number, link) in links {
        let mut addresses = Vec::new();
        let (queries, parameter) = match link {
            search::Link::Chain { queries, .. } => (queries, None),
            search::Link::Reverse { parameter, query } => (vec![*query], Some(parameter)),
        };
        for linked in queries {
            let resource_type = linked.resource_type();
            // What the token does not allow is not found.
            if caller.require(resource_type, Interaction::Search).is_err() {
                continue;
            }
            let hits = Box::pin(hits(resources, caller, linked, reached)).await?;
            reached.count(hits.iter().filter_map(|hit| hit.row().record));
            match parameter {
                None => {
                    for Row { resource_type, id, record, .. } in hits.iter().map(Hit::row) {
                        addresses.push(format!("{resource_type}/{id}"));
                        let patient = record.filter(|_| resource_type == "Patient");
                        addresses.extend(patient.map(|filed| patient_with(filed.patient)));
                    }
                }
                Some(parameter) => {
                    let looked = look_at(resources, caller, hits, |_, _, value| {
                        let values = parameter.values(value);
                        values.iter().filter_map(address).map(str::to_owned).collect::<Vec<_>>()
                    });
                    let found = looked.await?;
                    addresses.extend(found.into_iter().flat_map(|(_, addresses)| addresses));
                }
            }
        }
        query
            .resolve(number, addresses)
            .map_err(|error| FhirError::unprocessable("too-costly", error.to_string()))?;
    }
    Ok(())
}

fn address<'v>(value: &search::IndexValue<'v>) -> Option<&'v str> {
    match value {
        search::IndexValue::Reference { address, .. } => *address,
        _ => None,
    }
}

/// The only patient among whose records is looked for resources of a type.
fn scope_of(caller: &Caller, resource_type: &str) -> Option<Address> {
    caller.only_patient().filter(|_| !is_public(caller, resource_type))
}

/// What patients see of the directory is nobody's record.
fn is_public(caller: &Caller, resource_type: &str) -> bool {
    caller.patient.is_none() && PUBLIC_DIRECTORY.contains(&resource_type)
}

/// The patients among whose records a question looks for resources of a type; `None` stands for everybody.
fn scopes_of(caller: &Caller, resource_type: &str, reached: &Reached) -> VecDeque<Option<Address>> {
    match reached.only().filter(|_| !is_public(caller, resource_type)) {
        Some(only) => only.iter().filter(|one| caller.is_about(**one)).copied().map(Some).collect(),
        None => VecDeque::from([scope_of(caller, resource_type)]),
    }
}

/// What a query may find, by number.
struct Candidates<'q> {
    /// In no order but that of the numbers.
    query: &'q Query,
    /// Which ones are taken already.
    after: i64,
    waiting: VecDeque<i64>,
    /// Among whose records is still looked, see [`scopes_of`].
    scopes: VecDeque<Option<Address>>,
}

impl<'q> Candidates<'q> {
    const fn of(query: &'q Query, scopes: VecDeque<Option<Address>>) -> Self {
        Self { query, after: 0, waiting: VecDeque::new(), scopes }
    }

    /// The next ones to be decided on; none when there are no more.
    async fn next(&mut self, resources: &Resources) -> Result<Vec<i64>, FhirError> {
        while self.waiting.is_empty()
            && let Some(patient) = self.scopes.front()
        {
            let mut connection = resources.database().readers().acquire().await?;
            let patient = patient.as_ref().map(|patient| patient.as_slice());
            let scope = search::Scope { patient, after: self.after, limit: CANDIDATES_AT_ONCE };
            let index = &resources.inner.index;
            self.waiting = index.candidates(&mut connection, self.query, scope).await?.into();
            self.after = self.waiting.back().copied().unwrap_or(self.after);
            if i64::try_from(self.waiting.len()).unwrap_or_default() < CANDIDATES_AT_ONCE {
                self.scopes.pop_front();
                self.after = 0;
            }
        }
        Ok(self.waiting.drain(..self.waiting.len().min(DECIDED_AT_ONCE)).collect())
    }
}

/// What the caller may see of what matches, in the order asked for.
async fn hits(
    resources: &Resources,
    caller: &Caller,
    mut query: Query,
    reached: &mut Reached,
) -> Result<Vec<Hit>, FhirError> {
    reached.name_all(resources, caller, &query).await?;
    resolve(resources, caller, &mut query, reached).await?;
    let unsorted = query.unsorted();
    let scopes = scopes_of(caller, query.resource_type(), reached);
    let mut candidates = Candidates::of(&unsorted, scopes);
    let mut kept: Vec<(i64, Ranks)> = Vec::new();
    let (mut readable, mut decided, mut turn) = (0_usize, 0_usize, None);
    let mut looked_at = Reached::default();
    loop {
        let numbers = candidates.next(resources).await?;
        if numbers.is_empty() {
            break;
        }
        decided = decided.saturating_add(numbers.len());
        if decided > NARROW_MAX && turn.is_none() {
            turn = Some(resources.inner.remembered.wide_turn().await);
        }
        let hits = permitted(resources, caller, numbers, reached).await?;
        readable = readable.saturating_add(hits.len());
        looked_at.count(hits.iter().filter_map(|hit| hit.row().record));
        if readable > READABLE_MAX {
            reached.count_as(looked_at);
            let text = format!(
                "more than {READABLE_MAX} resources might match; name a patient or a period"
            );
            return Err(FhirError::unprocessable("too-costly", text));
        }
        // The index finds more than what was asked for, and knows the order of most only; the resources
        // themselves tell.
        let looked = look_at(resources, caller, hits, |_, updated, value| {
            let matches = search::matches(&query, query.resource_type(), value, updated);
            matches.then(|| search::ranks(&query, value, updated))
        });
        let looked = looked.await?;
        kept.extend(looked.into_iter().filter_map(|(number, ranks)| Some((number, ranks?))));
    }
    drop(turn);
    kept.sort_by(|(one, its), (other, others)| {
        search::compare_ranks(&query, its, others).then(one.cmp(other))
    });
    let numbers = kept.into_iter().map(|(number, _)| number).collect();
    permitted(resources, caller, numbers, reached).await
}

/// Looks at what may be read without giving it out, in no particular order; the number of each goes with
/// what `look` made of it.
async fn look_at<T: Send>(
    resources: &Resources,
    caller: &Caller,
    hits: Vec<Hit>,
    look: impl Fn(&Row, i64, &Value) -> T + Send + Sync,
) -> Result<Vec<(i64, T)>, FhirError> {
    let mut looked = Vec::with_capacity(hits.len());
    let (mut founds, mut rows) = (Vec::new(), HashMap::new());
    for hit in hits {
        match hit {
            Hit::Record(hit) => {
                let (row, found) = *hit;
                rows.insert(found.entry().header.record, row);
                founds.push(found);
            }
            Hit::Directory(row) => {
                let resource = resources.read_directory(caller, &row, None).await?;
                if let Some(value) = resource.body.as_ref().and_then(value_of) {
                    looked.push((row.number, look(&row, resource.updated, &value)));
                }
            }
        }
    }
    let seen = resources.gatekeeper().look_at(founds, |entry, record| {
        let row = rows.get(&entry.header.record)?;
        let value: Value = serde_json::from_str(&text_of(row, record)?).ok()?;
        let updated = updated(row, entry.header.version.get(), entry.header.created);
        Some((row.number, look(row, updated, &value)))
    });
    looked.extend(seen.await?.into_iter().filter_map(|(_, seen)| seen));
    Ok(looked)
}

fn value_of(body: &RawObject) -> Option<Value> {
    serde_json::from_str(&body.to_string()).ok()
}

/// Those of these resources that the caller may read now, in their order.
async fn permitted(
    resources: &Resources,
    caller: &Caller,
    numbers: Vec<i64>,
    reached: &mut Reached,
) -> Result<Vec<Hit>, FhirError> {
    let rows = {
        let mut connection = resources.database().readers().acquire().await?;
        Row::all_numbered(&mut connection, &numbers).await?
    };
    let mut records: Vec<RecordId> = Vec::with_capacity(rows.len());
    for filed in rows.iter().filter_map(|row| row.record) {
        if caller.is_about(filed.patient) {
            records.push(filed.record);
        } else {
            let kinds = KindSet::of(&[filed.kind]);
            reached.refuse_one(filed.patient, kinds, Refusal::NoConsent);
        }
    }
    let versions = resources.versions_for(&caller.reader);
    let gatekeeper = resources.gatekeeper();
    let (found, refusals) =
        gatekeeper.find(caller.reading(), &records, versions, resources.now()).await?;
    reached.refuse(refusals);
    let mut found: HashMap<RecordId, Found> =
        found.into_iter().map(|found| (found.entry().header.record, found)).collect();
    let may_see = |row: &Row| resources.require_directory(caller, &row.resource_type).is_ok();
    Ok(rows
        .into_iter()
        .filter_map(|row| match row.record {
            Some(filed) => {
                found.remove(&filed.record).map(|found| Hit::Record(Box::new((row, found))))
            }
            None => may_see(&row).then(|| Hit::Directory(Box::new(row))),
        })
        .collect())
}

/// Opens what is shown, in its order. What does not open is left out.
async fn open(
    resources: &Resources,
    caller: &Caller,
    hits: Vec<Hit>,
    reached: &mut Reached,
) -> Result<Vec<Resource>, FhirError> {
    let mut order = Vec::with_capacity(hits.len());
    let (mut founds, mut rows, mut opened) = (Vec::new(), HashMap::new(), HashMap::new());
    for hit in hits {
        order.push(hit.row().number);
        match hit {
            Hit::Record(hit) => {
                let (row, found) = *hit;
                rows.insert(found.entry().header.record, row);
                founds.push(found);
            }
            Hit::Directory(row) => {
                let resource = resources.read_directory(caller, &row, None).await?;
                opened.insert(row.number, resource);
            }
        }
    }
    let patients: Vec<Address> = founds.iter().map(|found| found.entry().patient).collect();
    let given = resources.gatekeeper().give(caller.reading(), founds, resources.now()).await?;
    reached.show(patients);
    for record in given {
        let Some(row) = rows.get(&record.record) else { continue };
        let resource = resource_of(row, &record)?;
        opened.insert(row.number, resource);
    }
    let resources = order.into_iter().filter_map(|number| opened.remove(&number));
    Ok(resources.filter(|resource| resource.body.is_some()).collect())
}

fn counted(resources: &Resources, resource_type: &str, query: &Query, total: usize) -> Reply {
    let mut bundle = Bundle::new("searchset", resources.make_id());
    bundle.total = Some(total);
    let url = self_url(resources, resource_type, query);
    bundle.link.push(Link { relation: "self", url });
    bundle.reply()
}

fn self_url(resources: &Resources, resource_type: &str, query: &Query) -> String {
    let pairs: Vec<String> = query
        .applied()
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    format!("{}/{resource_type}{query}", resources.base())
}

pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

async fn further_page(
    resources: &Resources,
    caller: &Caller,
    path: &str,
    page_name: &str,
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    let gone = || {
        let text = "this page is no longer kept; search again";
        FhirError::new(StatusCode::GONE, "not-found", text)
    };
    let (token, offset) = page_name.split_once('.').ok_or_else(gone)?;
    let offset: usize = offset.parse().map_err(|_| gone())?;
    let (caller_address, now) = (caller.reader.address(), resources.now_ms());
    let remembered = &resources.inner.remembered;
    let search = remembered.recall(token, caller_address, now).ok_or_else(gone)?;
    if search.path != path {
        return Err(gone());
    }
    let size = page_size(&search.query);
    let numbers = search.numbers.iter().skip(offset).take(size).copied().collect();
    let hits = permitted(resources, caller, numbers, reached).await?;
    page(resources, caller, (&search, token), Part::of(&search, offset, hits), reached).await
}

/// One page as a bundle.
async fn page(
    resources: &Resources,
    caller: &Caller,
    (search, token): (&Search, &str),
    part: Part,
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    let Search { path, query, numbers, .. } = search;
    let matched = open(resources, caller, part.shown, reached).await?;
    let included = included(resources, caller, query, &matched, reached).await?;
    let mut bundle = Bundle::new("searchset", resources.make_id());
    // How many there are was true of the first page; what was taken back since is not counted again.
    bundle.total = (part.offset == 0).then_some(numbers.len());
    bundle.link.push(Link { relation: "self", url: search.self_url.clone() });
    let link = |relation, offset: usize| Link {
        relation,
        url: format!("{}/{path}?{PAGE}={token}.{offset}", resources.base()),
    };
    bundle.link.extend(part.next.map(|next| link("next", next)));
    if part.offset > 0 {
        bundle.link.push(link("previous", part.offset.saturating_sub(page_size(query))));
    }
    let modes = matched.iter().map(|one| (one, "match"));
    for (resource, mode) in modes.chain(included.iter().map(|one| (one, "include"))) {
        let Some(body) = &resource.body else { continue };
        let body = subset(query.output(), body.clone());
        bundle.entry.push(Entry {
            full_url: Some(full_url(resources, resource)),
            resource: Some(shown(&body)),
            search: Some(json!({ "mode": mode })),
            ..Entry::default()
        });
    }
    Ok(bundle.reply())
}

fn full_url(resources: &Resources, resource: &Resource) -> String {
    format!("{}/{}/{}", resources.base(), resource.resource_type, resource.id)
}

/// What a page brings along: what its resources refer to, and what refers to them.
pub(crate) async fn included(
    resources: &Resources,
    caller: &Caller,
    query: &Query,
    matched: &[Resource],
    reached: &mut Reached,
) -> Result<Vec<Resource>, FhirError> {
    let output = query.output();
    if output.includes.is_empty() && output.reverse_includes.is_empty() {
        return Ok(Vec::new());
    }
    let mut seen: HashSet<i64> = HashSet::new();
    for one in matched {
        seen.extend(resources.row(&one.resource_type, &one.id).await?.map(|row| row.number));
    }
    let (mut all, mut bytes) = (Vec::new(), 0);
    let mut fresh: Vec<Resource> = matched.to_vec();
    // The first round is about what matched, later ones only about what `:iterate` asks for.
    for round in 0..3 {
        let is_meant = |include: &&search::Include| round == 0 || include.is_iterated;
        let mut names = Vec::new();
        for include in output.includes.iter().filter(is_meant) {
            names.extend(referred(include, &fresh));
        }
        let mut numbers = Vec::new();
        for (resource_type, id) in names {
            let may = caller.require(&resource_type, Interaction::Read).is_ok();
            if !may || !TYPES.contains(&resource_type.as_str()) {
                continue;
            }
            if let Some(row) = resources.row_named(&resource_type, &id).await?
                && row.deletion != Deletion::Done
            {
                numbers.push(row.number);
            }
        }
        for include in output.reverse_includes.iter().filter(is_meant) {
            if caller.require(include.source, Interaction::Search).is_ok() {
                numbers.extend(referring(resources, caller, include, &fresh).await?);
            }
        }
        numbers.retain(|number| seen.insert(*number));
        let (mut hits, room) = (Vec::new(), INCLUDED_MAX.saturating_sub(all.len()));
        // What the caller may not read takes no room.
        for numbers in numbers.chunks(DECIDED_AT_ONCE) {
            if hits.len() < room {
                hits.extend(permitted(resources, caller, numbers.to_vec(), reached).await?);
            }
        }
        hits.truncate(room);
        hits.retain(|hit| {
            bytes += hit.sealed_len();
            bytes <= PAGE_BYTES_MAX
        });
        if hits.is_empty() {
            break;
        }
        fresh = open(resources, caller, hits, reached).await?;
        all.extend(fresh.iter().cloned());
    }
    Ok(all)
}

/// The resources to which these refer by a search parameter.
fn referred(include: &search::Include, from: &[Resource]) -> Vec<(String, String)> {
    let mut names = Vec::new();
    for resource in from.iter().filter(|one| one.resource_type == include.source) {
        let Some(value) = resource.body.as_ref().and_then(value_of) else { continue };
        for parameter in include.parameters() {
            for value in parameter.values(&value) {
                let Some((target_type, id)) = address(&value).and_then(name_in) else { continue };
                if include.target.is_none_or(|target| target == target_type) {
                    names.push((target_type, id));
                }
            }
        }
    }
    names
}

/// Type and id in an address such as `Patient/1` or `Patient/1/_history/2`.
pub(crate) fn name_in(address: &str) -> Option<(String, String)> {
    let mut segments = address.split('/');
    let (resource_type, id) = (segments.next()?, segments.next()?);
    let rest = segments.next();
    let is_name = TYPES.contains(&resource_type) && rest.is_none_or(|rest| rest == "_history");
    is_name.then(|| (resource_type.to_owned(), id.to_owned()))
}

/// The resources that refer to these by a search parameter, by number.
async fn referring(
    resources: &Resources,
    caller: &Caller,
    include: &search::Include,
    to: &[Resource],
) -> Result<Vec<i64>, FhirError> {
    let (mut found, mut names) = (Vec::new(), Vec::new());
    for Resource { resource_type, id, .. } in to {
        names.push(format!("{resource_type}/{id}"));
        if resource_type == "Patient" {
            names.extend(resources.same_patients(id).await?);
        }
    }
    for parameter in include.parameters() {
        let query = Query::referring(parameter, names.iter().cloned());
        let mut connection = resources.database().readers().acquire().await?;
        let patient = scope_of(caller, query.resource_type());
        let patient = patient.as_ref().map(|patient| patient.as_slice());
        let scope = search::Scope { patient, after: 0, limit: CANDIDATES_AT_ONCE };
        found.extend(resources.inner.index.candidates(&mut connection, &query, scope).await?);
    }
    Ok(found)
}

/// Everything of one patient that the caller may read.
pub(crate) async fn everything(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    id: &str,
) -> Result<Reply, FhirError> {
    let row = resources.row_named("Patient", id).await?;
    let row = row.filter(|row| row.deletion != Deletion::Done);
    let Some(filed) = row.and_then(|row| row.record) else { return Err(FhirError::not_found()) };
    caller.require("Patient", Interaction::Read)?;
    resources.require_about(caller, filed).await?;
    let wanted: Option<Vec<&str>> =
        request.parameter("_type").map(|types| types.split(',').collect());
    let kinds = match &wanted {
        Some(types) => types.iter().fold(KindSet::EMPTY, |all, of| all.union(kinds_of(of))),
        None => KindSet::ALL,
    };
    let mut reached = Reached::default();
    reached.name(filed.patient, kinds);
    let found =
        everything_of(resources, caller, request, (filed.patient, wanted), &mut reached).await;
    reached.answer(resources, caller, found).await
}

async fn everything_of(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    (patient, wanted): (Address, Option<Vec<&str>>),
    reached: &mut Reached,
) -> Result<Reply, FhirError> {
    let path = request.path.join("/");
    if let Some(page) = request.parameter(PAGE) {
        return further_page(resources, caller, &path, page, reached).await;
    }
    let since = since(request)?;
    // Only how much is on a page.
    let count = count(request.parameter("_count"))?.max(1);
    let mut hits = Vec::new();
    let mut after = 0;
    loop {
        let rows = {
            let mut connection = resources.database().readers().acquire().await?;
            Row::of_patient(&mut connection, patient, after, ROWS_AT_ONCE).await?
        };
        let Some(last) = rows.last() else { break };
        after = last.number;
        let is_meant = |row: &&Row| {
            row.updated >= since
                && wanted.as_ref().is_none_or(|types| types.contains(&&*row.resource_type))
                && caller.require(&row.resource_type, Interaction::Read).is_ok()
        };
        let numbers = rows.iter().filter(is_meant).map(|row| row.number).collect();
        let permitted = permitted(resources, caller, numbers, reached).await?;
        // The version that the caller reads may be older than the newest.
        hits.extend(permitted.into_iter().filter(|hit| hit.updated() >= since));
        if hits.len() > READABLE_MAX {
            reached.count(hits.iter().filter_map(|hit| hit.row().record));
            let text = "this patient has more than one answer holds; use _since or _type";
            return Err(FhirError::unprocessable("too-costly", text));
        }
    }
    if hits.is_empty() && resources.require_own(caller).is_err() {
        // The same as for somebody who is not here.
        return Err(FhirError::not_found());
    }
    let query = [("_count".to_owned(), count.to_string())];
    let names = ["_type", "_since", "_count"];
    let asked = request.query.iter().filter(|(name, _)| names.contains(&&**name));
    let asked: Vec<_> =
        asked.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    let asked = if asked.is_empty() { String::new() } else { format!("?{}", asked.join("&")) };
    let search = Search {
        caller: caller.reader.address(),
        self_url: format!("{}/{path}{asked}", resources.base()),
        path,
        query: parse(resources, "Patient", &query, Handling::Strict)?,
        numbers: hits.iter().map(|hit| hit.row().number).collect(),
        expires: resources.now_ms() + REMEMBERED_MS,
    };
    first_page(resources, caller, search, hits, reached).await
}

/// What `_since` says, in milliseconds since 1970.
pub(crate) fn since(request: &Request) -> Result<i64, FhirError> {
    let Some(since) = request.parameter("_since") else { return Ok(i64::MIN) };
    instant::parse(since)
        .ok_or_else(|| FhirError::bad_request("_since is an instant, such as 2026-01-01T00:00:00Z"))
}

/// Those members of a resource that are wanted, with a tag when some are missing.
///
/// # Source
///
/// FHIR R4, sections 3.1.1.5.8 and 3.1.1.5.9.
pub(crate) fn subset(output: &search::Output, mut body: RawObject) -> RawObject {
    let resource_type = body.text("resourceType").unwrap_or_default();
    let is = |name: &str, of: fn(r4::Property) -> bool| {
        r4::property(&resource_type, base_name(name)).is_some_and(of)
    };
    let is_required = |name: &str| is(name, |property| property.is_required);
    match output.summary {
        search::Summary::Text => {
            body.retain(|name| is_kept(name) || name == "text" || is_required(name));
        }
        search::Summary::Data => body.retain(|name| name != "text"),
        search::Summary::True => {
            body.retain(|name| is_kept(name) || is(name, |property| property.is_summary));
        }
        _ if output.elements.is_empty() => return body,
        _ => body.retain(|name| {
            is_kept(name)
                || is_required(name)
                || output.elements.iter().any(|one| one == base_name(name))
        }),
    }
    mark_subsetted(&mut body);
    body
}

fn is_kept(name: &str) -> bool {
    matches!(name, "resourceType" | "id" | "meta")
}

/// The member that another one extends: `_status` belongs to `status`.
fn base_name(name: &str) -> &str {
    name.strip_prefix('_').unwrap_or(name)
}

/// Says in a resource that it is not whole.
///
/// # Source
///
/// FHIR R4, section 3.1.1.5.8: the tag `SUBSETTED`.
fn mark_subsetted(body: &mut RawObject) {
    let meta = body.get("meta").map_or("{}", |meta| meta.get());
    let Ok(mut meta) = RawObject::parse(meta.as_bytes()) else { return };
    let mut tags: Vec<Value> =
        meta.get("tag").and_then(|tags| serde_json::from_str(tags.get()).ok()).unwrap_or_default();
    tags.push(json!({
        "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
        "code": "SUBSETTED",
    }));
    meta.set("tag", &tags, "lastUpdated");
    body.set("meta", &meta, "id");
}
