//! Notifications: whether one is sent, what it says, and those that nothing happened for.

use std::{collections::BTreeSet, sync::Weak};

use alloy_primitives::{B256, keccak256};
use domain::{KindSet, Outcome, RecordId, Timestamp};
use futures_util::{StreamExt as _, stream};
use gatekeeper::{Leaf, Reading};
use notify::{
    Clearance, Notification, Subject,
    webhook::{Body, Form, Message, Subscription, SubscriptionState, Written},
};
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use super::{
    resource::{Content, Filter, Topic, Wanted},
    table::{self, Held, Status as State, Told as ToldLeaves},
};
use crate::{
    bundle::{Bundle, Entry, shown},
    caller::{Caller, reader_at},
    instant,
    json::RawObject,
    outcome::FhirError,
    request::{Reply, Request},
    resources::{Inner, Resources, resource_of},
    tables::{Filed, Row},
};

const PROFILE: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/\
                       backport-subscription-status-r4";

/// The most events that one replay gives.
const REPLAYED_MAX: u32 = 100;

/// How many records of batches one message tells of, at most.
const LEAVES_PER_PAGE: usize = 100;

/// From how many bytes of full resources on no more are told in one message.
const LEAF_PAGE_BYTES: usize = 1 << 20;

/// How often each subscription gets such a message in one go.
const LEAF_ROUNDS: usize = 16;

/// How many receivers are tried at a time.
const TENDED_AT_ONCE: usize = 8;

/// The form in which notifications are written for subscriptions of these resources.
pub(crate) fn form(inner: Weak<Inner>) -> Form {
    notify::webhook::form(move |message: Message<'_>| {
        let inner = inner.upgrade();
        Box::pin(async move {
            match inner {
                Some(inner) => Resources { inner }.write_notice(&message).await,
                None => Written::Later,
            }
        })
    })
}

pub(super) fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("JSON has a JSON form")
}

/// What happened, as far as it may be told.
struct Told {
    number: u64,
    time: Timestamp,
    /// The resource that it is about, when that is told.
    focus: Option<Box<Row>>,
    /// And what it is now.
    body: Option<RawObject>,
}

/// Which decisions leave a receipt, because there is none yet.
#[derive(Clone, Copy)]
struct Noting {
    /// Those by which somebody is told.
    told: bool,
    /// Those by which somebody is not.
    refused: bool,
}

impl Noting {
    const ALL: Self = Self { told: true, refused: true };
    const NONE: Self = Self { told: false, refused: false };
}

/// Whether an event is told.
enum Decided {
    /// It is.
    Told { focus: Option<Box<Row>>, body: Option<RawObject> },
    /// It is none of the subscriber's business.
    Nothing,
}

/// How a subscription fares.
pub(super) struct Status<'a> {
    pub(super) held: &'a Held,
    pub(super) status: State,
    /// Of which kind the notification is that says so.
    pub(super) kind: &'static str,
    /// How many events there were.
    pub(super) total: u64,
}

impl Status<'_> {
    /// The status as R4 has it: there is no SubscriptionStatus yet.
    ///
    /// # Source
    ///
    /// Backport 1.1.0, profile `backport-subscription-status-r4`.
    pub(super) fn parameters(&self, base: &str, events: Vec<Value>) -> Value {
        let id = &self.held.id;
        let topic = self.held.terms.resource["criteria"].as_str().unwrap_or_default();
        let mut parameters = vec![
            json!({
                "name": "subscription",
                "valueReference": { "reference": format!("{base}/Subscription/{id}") },
            }),
            json!({ "name": "topic", "valueCanonical": topic }),
            json!({ "name": "status", "valueCode": self.status.name() }),
            json!({ "name": "type", "valueCode": self.kind }),
            json!({
                "name": "events-since-subscription-start",
                "valueString": self.total.to_string(),
            }),
        ];
        parameters.extend(events);
        json!({
            "resourceType": "Parameters",
            "meta": { "profile": [PROFILE] },
            "parameter": parameters,
        })
    }

    /// A notification with these events.
    fn bundle(&self, resources: &Resources, told: Vec<Told>) -> Bundle {
        let (base, id) = (resources.base(), &self.held.id);
        let mut bundle = Bundle::new("history", resources.make_id());
        bundle.timestamp = Some(instant::text(resources.now_ms()));
        let events = told.iter().map(|told| told.parameter(base)).collect();
        bundle.entry.push(Entry {
            full_url: Some(format!("urn:uuid:{}", resources.make_uuid())),
            resource: Some(raw(&self.parameters(base, events))),
            request: Some(json!({ "method": "GET", "url": format!("Subscription/{id}/$status") })),
            response: Some(json!({ "status": "200" })),
            ..Entry::default()
        });
        for Told { focus, body, .. } in told {
            let Some(row) = focus else { continue };
            let path = format!("{}/{}", row.resource_type, row.id);
            let is_first = row.version == 1 && row.status.is_none();
            let (method, url, status) = match (row.is_deleted(), is_first) {
                (true, _) => ("DELETE", path.clone(), "204"),
                (false, true) => ("POST", row.resource_type.clone(), "201"),
                (false, _) => ("PUT", path.clone(), "200"),
            };
            bundle.entry.push(Entry {
                full_url: Some(format!("{base}/{path}")),
                resource: body.as_ref().map(shown),
                request: Some(json!({ "method": method, "url": url })),
                response: Some(json!({ "status": status })),
                ..Entry::default()
            });
        }
        bundle
    }
}

impl Told {
    fn parameter(&self, base: &str) -> Value {
        let time = i64::try_from(self.time.0).unwrap_or_default().saturating_mul(1_000);
        let mut parts = vec![
            json!({ "name": "event-number", "valueString": self.number.to_string() }),
            json!({ "name": "timestamp", "valueInstant": instant::text(time) }),
        ];
        if let Some(Row { resource_type, id, .. }) = self.focus.as_deref() {
            let reference = format!("{base}/{resource_type}/{id}");
            parts.push(json!({ "name": "focus", "valueReference": { "reference": reference } }));
        }
        json!({ "name": "notification-event", "part": parts })
    }
}

/// The replay of a subscription's events: `$events`. Each is decided anew.
pub(super) async fn events(
    resources: &Resources,
    caller: &Caller,
    held: &Held,
    request: &Request,
) -> Result<Reply, FhirError> {
    let number = |name: &str, standard: u64| match request.parameter(name) {
        None => Ok(standard),
        Some(text) => text.parse().map_err(|_| FhirError::bad_request("an event's number is one")),
    };
    let range = (number("eventsSinceNumber", 1)?, number("eventsUntilNumber", u64::MAX)?);
    let mut wanted = Wanted::parse(&held.terms.resource, resources.now())?;
    if let Some(content) = request.parameter("content") {
        wanted.content = Content::parse(content).ok_or_else(|| {
            FhirError::bad_request("the content is `empty`, `id-only` or `full-resource`")
        })?;
    }
    let reading = Reading { reader: caller.reader, purpose: held.terms.purpose };
    let outbox = resources.webhooks()?.outbox();
    let mut told = Vec::new();
    let events = table::events(resources.database(), &held.id, range, REPLAYED_MAX).await?;
    let places = events.iter().filter(|(_, sequence)| *sequence < 0);
    let places: Vec<i64> = places.map(|(_, sequence)| sequence.saturating_neg()).collect();
    let leaves = resources.gatekeeper().leaves_at(places).await?;
    for (number, sequence) in events {
        let notification = match u64::try_from(sequence) {
            Ok(sequence) => {
                let found = outbox.all(sequence.saturating_sub(1), 1).await?;
                let found = found.first().map(|entry| entry.notification);
                found.filter(|found| found.sequence == sequence)
            }
            Err(_) => leaves.get(&sequence.saturating_neg()).map(notification_of),
        };
        let Some(notification) = notification else { continue };
        if caller.patient.is_some_and(|only| only != notification.patient) {
            continue;
        }
        let decided = resources.decide(held, &wanted, reading, &notification, Noting::ALL).await?;
        if let Decided::Told { focus, body } = decided {
            told.push(Told { number, time: notification.time, focus, body });
        }
    }
    let status = Status {
        held,
        status: super::status(resources, held).await?.0,
        kind: "query-event",
        total: table::last_number(resources.database(), &held.id).await?,
    };
    Ok(status.bundle(resources, told).reply())
}

impl Resources {
    /// Writes a notification for a subscription, if its owner may be told now.
    async fn write_notice(&self, message: &Message<'_>) -> Written {
        match self.notice(message).await {
            Ok(written) => written,
            Err(error) => {
                tracing::warn!(%error, "a notification waits");
                Written::Later
            }
        }
    }

    async fn notice(&self, message: &Message<'_>) -> Result<Written, FhirError> {
        let Some(held) = Held::find(self, &message.subscription.id).await? else {
            return Ok(Written::Ended);
        };
        if held.status != State::Active {
            return Ok(Written::Later);
        }
        match self.clearance(&held).await {
            Clearance::Granted => {}
            Clearance::Unknown => return Ok(Written::Later),
            Clearance::Refused => {
                held.stand(self.database(), State::Off, "", 0).await?;
                return Ok(Written::Ended);
            }
        }
        let wanted = Wanted::parse(&held.terms.resource, self.now())?;
        let reading = Reading { reader: held.terms.reader, purpose: held.terms.purpose };
        let notification = message.notification;
        let noting = if message.attempt == 1 { Noting::ALL } else { Noting::NONE };
        let decided = self.decide(&held, &wanted, reading, notification, noting).await?;
        let Decided::Told { focus, body } = decided else { return Ok(Written::Nothing) };
        let sequence = i64::try_from(notification.sequence).unwrap_or(i64::MAX);
        let number = table::number(self.database(), &held.id, sequence).await?;
        let told = Told { number, time: notification.time, focus, body };
        let status = Status {
            held: &held,
            status: State::Active,
            kind: "event-notification",
            total: table::last_number(self.database(), &held.id).await?,
        };
        Ok(Written::Body(body_of(&status.bundle(self, vec![told]), wanted)))
    }

    /// Whether the owner of a subscription is still whom they were when they made it, and its time is
    /// not over.
    async fn clearance(&self, held: &Held) -> Clearance {
        let now = self.now();
        if held.ends_at <= now.0 {
            return Clearance::Refused;
        }
        let gatekeeper = self.gatekeeper();
        if let Err(error) = gatekeeper.refresh(now).await {
            tracing::warn!(%error, "could not ask the chain");
            return Clearance::Unknown;
        }
        let projection = gatekeeper.projection().await;
        let found = reader_at(&projection, gatekeeper.member(), held.owner, now);
        if found == Some(held.terms.reader) { Clearance::Granted } else { Clearance::Refused }
    }

    /// Decides whether a subscriber is told of something, and how much. Whoever is told about a record
    /// may read it right now; receipts say so (S2, S3, S5). What is opened leaves one each time.
    async fn decide(
        &self,
        held: &Held,
        wanted: &Wanted,
        reading: Reading,
        notification: &Notification,
        noting: Noting,
    ) -> Result<Decided, FhirError> {
        let terms = &held.terms;
        let is_record = wanted.topic == Topic::Records;
        // What is nobody's record is told to whom the chain's event concerns, and to nobody else.
        let is_theirs = is_record || notification.recipient == reading.reader.address();
        let in_scope = terms.only.is_none_or(|only| only == notification.patient);
        if !wanted.topic.topics().contains(&notification.topic) || !is_theirs || !in_scope {
            return Ok(Decided::Nothing);
        }
        self.keep_up_or_warn().await?;
        let row = self.row_of(notification).await?;
        let fits = self.fits(&wanted.filters, notification, row.as_ref()).await?;
        let readable = row.filter(|row| terms.types.contains(&row.resource_type));
        let focus = match readable {
            Some(row) if fits => row,
            None if fits && !is_record => return Ok(Decided::Told { focus: None, body: None }),
            _ => return Ok(Decided::Nothing),
        };
        let Some(Filed { record, patient, kind }) = focus.record else {
            return Ok(Decided::Nothing);
        };
        let gatekeeper = self.gatekeeper();
        let versions = self.versions_for(&reading.reader);
        let (found, mut refusals) =
            gatekeeper.find(reading, &[record], versions, self.now()).await?;
        let kinds = KindSet::of(&[kind]);
        if found.is_empty() {
            // Whoever asks for a patient in particular is refused for them to see; whoever asks for
            // everybody's records at once is not told, and asked for nobody.
            let in_particular = wanted.filters.iter().any(|filter| filter.patient.is_some());
            if let Some((_, refusal)) = refusals.remove(&patient)
                && in_particular
                && noting.refused
            {
                let outcome = Outcome::refused(refusal);
                gatekeeper.note(reading, patient, kinds, outcome, self.now()).await?;
            }
            return Ok(match is_record {
                true => Decided::Nothing,
                false => Decided::Told { focus: None, body: None },
            });
        }
        if wanted.content == Content::FullResource && !focus.is_deleted() {
            let mut opened = gatekeeper.give(reading, found, self.now()).await?;
            let Some(record) = opened.pop() else { return Ok(Decided::Nothing) };
            let body = resource_of(&focus, &record)?.body;
            return Ok(Decided::Told { focus: Some(Box::new(focus)), body });
        }
        drop(found);
        if noting.told {
            let outcome = Outcome::Allowed { records: Vec::new(), basis: None };
            gatekeeper.note(reading, patient, kinds, outcome, self.now()).await?;
        }
        let focus = (wanted.content != Content::Empty).then(|| Box::new(focus));
        Ok(Decided::Told { focus, body: None })
    }

    /// The resource that a notification is about, when it is one of this server.
    async fn row_of(&self, notification: &Notification) -> Result<Option<Row>, FhirError> {
        let Subject::Id(id) = notification.subject else { return Ok(None) };
        let mut connection = self.database().readers().acquire().await?;
        Ok(Row::of_record(&mut connection, notification.patient, RecordId(id)).await?)
    }

    /// Whether one of the filters fits, or there is none.
    async fn fits(
        &self,
        filters: &[Filter],
        notification: &Notification,
        row: Option<&Row>,
    ) -> Result<bool, FhirError> {
        for filter in filters {
            if row.is_some_and(|row| row.resource_type != filter.resource_type) {
                continue;
            }
            let Some(patient) = &filter.patient else { return Ok(true) };
            let named = self.row_named("Patient", patient).await?.and_then(|row| row.record);
            if named.is_some_and(|named| named.patient == notification.patient) {
                return Ok(true);
            }
        }
        Ok(filters.is_empty())
    }

    /// Does what is due with subscriptions: tries the receivers of new ones, sends heartbeats, ends those
    /// whose time is over, and tells of records in batches that are on chain.
    ///
    /// Each subscription gets one page of those at a time, so that nothing else waits for a slow receiver
    /// longer than for one.
    ///
    /// # Errors
    ///
    /// [`FhirError`] when the database failed; what was not done is done next time.
    pub async fn tend_subscriptions(&self) -> Result<(), FhirError> {
        for _ in 0..LEAF_ROUNDS {
            let tended = self.tend_due().await;
            // What fails with one must not keep the others from being told.
            let is_more = self.tell_batches().await?;
            tended?;
            if !is_more {
                break;
            }
        }
        Ok(())
    }

    async fn tend_due(&self) -> Result<(), FhirError> {
        let due = Held::to_tend(self, self.now().0).await?;
        let mut tended =
            stream::iter(due).map(|held| self.tend(held)).buffer_unordered(TENDED_AT_ONCE);
        let mut failed = Ok(());
        while let Some(done) = tended.next().await {
            // The others have their turn all the same.
            failed = failed.and(done);
        }
        failed
    }

    /// Tells each of the institution's own subscribers of the next records in its batches that are on chain;
    /// returns whether there may be more to tell right away.
    async fn tell_batches(&self) -> Result<bool, FhirError> {
        let (last_leaf, now) = (self.gatekeeper().last_leaf().await?, self.now().0);
        let behind = Held::behind(self, last_leaf, now).await?;
        let mut telling = stream::iter(behind)
            .map(|held| self.tell_leaves(held, last_leaf))
            .buffer_unordered(TENDED_AT_ONCE);
        let (mut failed, mut is_more) = (Ok(()), false);
        while let Some(told) = telling.next().await {
            match told {
                Ok(more) => is_more |= more,
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        failed.map(|()| is_more)
    }

    /// Tells one subscriber of the next page of what is in batches, as far as they may be told now; returns
    /// whether it arrived. One that did not is made anew later, under the same name if it has the same in it.
    async fn tell_leaves(&self, held: Held, last_leaf: i64) -> Result<bool, FhirError> {
        let (webhooks, database) = (self.webhooks()?, self.database());
        let Some(told) = held.told(database).await? else { return Ok(false) };
        if !self.is_cleared(&held).await? {
            return Ok(false);
        }
        let wanted = Wanted::parse(&held.terms.resource, self.now())?;
        if told.up_to < 0 || wanted.topic != Topic::Records {
            held.tell(database, ToldLeaves::all(last_leaf), 0).await?;
            return Ok(false);
        }
        if self.receiver(&held).await?.is_none_or(|to| to.state != SubscriptionState::Active) {
            return Ok(false);
        }
        let leaves = self.gatekeeper().leaves_after(told.up_to, LEAVES_PER_PAGE).await?;
        if leaves.is_empty() {
            return Ok(false);
        }
        let Page { events, records, up_to } =
            self.page_of_leaves(&held, &wanted, told.tried, &leaves).await?;
        if events.is_empty() {
            return Ok(held.tell(database, ToldLeaves::all(up_to), 0).await?);
        }
        let now = self.now();
        let tried = ToldLeaves { tried: told.tried.max(up_to), ..told };
        if !held.tell(database, tried, now.0).await? {
            return Ok(false);
        }
        let name = name_of_page(&held, told.up_to, up_to, &events);
        let total = table::last_number(database, &held.id).await?;
        let kind = "event-notification";
        let status = Status { held: &held, status: State::Active, kind, total };
        let body = body_of(&status.bundle(self, events), wanted);
        // It took a while to write that. What was agreed may have changed, and who may be told.
        if !self.is_cleared(&held).await? {
            return Ok(false);
        }
        let to = self.receiver(&held).await?;
        let Some(to) = to.filter(|to| to.state == SubscriptionState::Active) else {
            return Ok(false);
        };
        if !self.may_still_read(&held, records).await? {
            return Ok(false);
        }
        let Err(error) = webhooks.knock(&to, name, body, now).await else {
            return Ok(held.tell(database, ToldLeaves::all(up_to), 0).await?);
        };
        let failures = tried.failures.saturating_add(1);
        let wait = webhooks.settings().wait_after(failures).filter(|_| !error.is_final());
        tracing::warn!(subscription = %held.id, %error, "a notification of a batch waits");
        let due = wait.map_or(now, |wait| self.now().after(wait));
        held.tell(database, ToldLeaves { failures, ..tried }, due.0).await?;
        if wait.is_none() && held.stand(database, State::Error, &error.to_string(), 0).await? {
            // Whoever puts it again has it tried again.
            webhooks.pause(&held.id).await?;
        }
        Ok(false)
    }

    /// Where to send to a subscriber; `None` when the subscription is not the one that is held any more.
    async fn receiver(&self, held: &Held) -> Result<Option<Subscription>, FhirError> {
        let to = self.webhooks()?.subscription(&held.id).await?;
        let is_current = held.told(self.database()).await?.is_some();
        // Whoever puts it again changes first where to, and then the rest.
        let endpoint = held.terms.resource["channel"]["endpoint"].as_str();
        Ok(to.filter(|to| is_current && Some(to.url.as_str()) == endpoint))
    }

    /// Whether a subscriber may read all of this now.
    async fn may_still_read(
        &self,
        held: &Held,
        records: BTreeSet<RecordId>,
    ) -> Result<bool, FhirError> {
        let reading = Reading { reader: held.terms.reader, purpose: held.terms.purpose };
        let (versions, now) = (self.versions_for(&reading.reader), self.now());
        let all: Vec<RecordId> = records.into_iter().collect();
        let (found, _) = self.gatekeeper().find(reading, &all, versions, now).await?;
        Ok(found.len() == all.len())
    }

    /// What one message tells of these records: as much as fits. Up to another place it was tried before.
    async fn page_of_leaves(
        &self,
        held: &Held,
        wanted: &Wanted,
        tried: i64,
        leaves: &[Leaf],
    ) -> Result<Page, FhirError> {
        let reading = Reading { reader: held.terms.reader, purpose: held.terms.purpose };
        let database = self.database();
        let (mut events, mut bytes, mut up_to) = (Vec::new(), 0, 0);
        let mut records = BTreeSet::new();
        for leaf in leaves {
            up_to = leaf.place;
            let (notification, sequence) = (notification_of(leaf), leaf.place.saturating_neg());
            let number = table::number_of(database, &held.id, sequence).await?;
            // What has a number was told of, or tried under these terms; its receipt came before the
            // number.
            let is_new = number.is_none() || leaf.place > tried;
            let noting = Noting { told: is_new, refused: leaf.place > tried };
            let decided = self.decide(held, wanted, reading, &notification, noting).await?;
            let Decided::Told { focus, body } = decided else { continue };
            bytes += body.as_ref().map_or(0, |body| body.to_string().len());
            let number = match number {
                Some(number) => number,
                None => table::number(database, &held.id, sequence).await?,
            };
            events.push(Told { number, time: notification.time, focus, body });
            records.insert(leaf.anchor.record);
            if bytes >= LEAF_PAGE_BYTES {
                break;
            }
        }
        Ok(Page { events, records, up_to })
    }

    /// Whether a subscriber may be told anything now. One who may not any more is turned off.
    async fn is_cleared(&self, held: &Held) -> Result<bool, FhirError> {
        let clearance = self.clearance(held).await;
        if matches!(clearance, Clearance::Refused)
            && held.stand(self.database(), State::Off, "", 0).await?
        {
            self.webhooks()?.pause(&held.id).await?;
        }
        Ok(matches!(clearance, Clearance::Granted))
    }

    async fn tend(&self, held: Held) -> Result<(), FhirError> {
        let (webhooks, database, now) = (self.webhooks()?, self.database(), self.now());
        if !self.is_cleared(&held).await? {
            return Ok(());
        }
        let Some(to) = self.receiver(&held).await? else { return Ok(()) };
        let kind = match held.status {
            State::Requested => "handshake",
            _ => "heartbeat",
        };
        let total = table::last_number(database, &held.id).await?;
        let status = Status { held: &held, status: held.status, kind, total };
        let wanted = Wanted::parse(&held.terms.resource, self.now())?;
        let body = body_of(&status.bundle(self, Vec::new()), wanted);
        let name = self.gatekeeper().entropy().bytes::<32>().into();
        let knocked = webhooks.knock(&to, name, body, now).await;
        let next = now.0.saturating_add(held.heartbeat_s);
        match (held.status, knocked) {
            (State::Requested, Ok(())) => {
                if held.stand(database, State::Active, "", next).await? {
                    webhooks.resume(&held.id).await?;
                }
            }
            (State::Requested, Err(error)) => {
                held.stand(database, State::Error, &error.to_string(), 0).await?;
            }
            (status, Ok(()) | Err(_)) => {
                // Whether the receiver is there shows when there is something to tell it.
                held.stand(database, status, &held.error, next).await?;
            }
        }
        Ok(())
    }
}

/// What one message tells of records in batches.
struct Page {
    events: Vec<Told>,
    /// Which records these are about.
    records: BTreeSet<RecordId>,
    /// The place of the last one that was decided on.
    up_to: i64,
}

/// A record of a batch as what is told of one that was proposed by itself.
fn notification_of(leaf: &Leaf) -> Notification {
    let Leaf { anchor, moment, .. } = leaf;
    Notification {
        sequence: 0,
        id: anchor.leaf(),
        topic: notify::Topic::RecordProposed,
        recipient: anchor.patient,
        patient: anchor.patient,
        subject: anchor.record.0.into(),
        block: moment.block,
        transaction: moment.transaction,
        log_index: 0,
        time: moment.time,
    }
}

/// The name of a page: the same whenever the same events are sent under the same terms, so that a receiver
/// takes a repeat for one; and another as soon as there is more in it, which would pass for a repeat.
fn name_of_page(held: &Held, after: i64, up_to: i64, events: &[Told]) -> B256 {
    let mut name = b"salus/batch-notice/v2".to_vec();
    name.extend_from_slice(held.id.as_bytes());
    name.extend_from_slice(&held.version.to_be_bytes());
    for place in [after, up_to] {
        name.extend_from_slice(&place.to_be_bytes());
    }
    for event in events {
        name.extend_from_slice(&event.number.to_be_bytes());
    }
    keccak256(name)
}

fn body_of(bundle: &Bundle, wanted: Wanted) -> Body {
    let bytes = serde_json::to_vec(bundle).expect("a bundle has a JSON form");
    Body { content_type: "application/fhir+json", bytes, headers: wanted.headers }
}
