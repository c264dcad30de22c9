//! What a `Subscription` asks for, and how it is shown.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use domain::Timestamp;
use notify::Topic as Event;
use serde_json::{Value, json};

use super::table::{Held, Status};
use crate::{instant, outcome::FhirError, subject::patient_id};

const EXTENSIONS: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition";

/// Where the secret stands in the answer to whoever makes a subscription, once.
const SECRET: &str = "urn:salus:webhook-secret";

/// What stands in place of a header's value, which may be a password.
const MASK: &str = "********";

/// The most headers and filters.
const HEADERS_MAX: usize = 8;
const FILTERS_MAX: usize = 8;

/// The longest text of a header or a filter.
const TEXT_LEN_MAX: usize = 1_024;

/// The shortest time between two heartbeats, in seconds.
const HEARTBEAT_MIN_S: u64 = 10;

/// The longest time that a subscription goes on before its owner says again that they want it, in seconds:
/// a week.
pub(crate) const PERIOD_MAX_S: u64 = 7 * 86_400;

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    /// A record that the subscriber may read is new, or was answered.
    Records,
    /// Consents that concern the subscriber.
    Consents,
    /// Relationships of the subscriber.
    Relationships,
    /// Emergency openings that concern the subscriber.
    Emergency,
    /// Prescriptions that the subscriber has a part in.
    Prescriptions,
    /// Laboratory orders that the subscriber has a part in.
    Laboratory,
}

impl Topic {
    pub(crate) const ALL: [Self; 6] = [
        Self::Records,
        Self::Consents,
        Self::Relationships,
        Self::Emergency,
        Self::Prescriptions,
        Self::Laboratory,
    ];

    /// Its name: what a subscription says as its criteria.
    pub(crate) const fn canonical(self) -> &'static str {
        match self {
            Self::Records => "urn:salus:topic:records",
            Self::Consents => "urn:salus:topic:consents",
            Self::Relationships => "urn:salus:topic:relationships",
            Self::Emergency => "urn:salus:topic:emergency",
            Self::Prescriptions => "urn:salus:topic:prescriptions",
            Self::Laboratory => "urn:salus:topic:laboratory",
        }
    }

    /// What it is made of.
    pub(crate) const fn topics(self) -> &'static [Event] {
        match self {
            Self::Records => &[Event::RecordProposed, Event::RecordAnswered],
            Self::Consents => &[
                Event::ConsentGranted,
                Event::ConsentRevoked,
                Event::CountersignatureWanted,
                Event::ConsentCountersigned,
                Event::CountersignatureWithdrawn,
            ],
            Self::Relationships => &[
                Event::RelationshipProposed,
                Event::RelationshipWithdrawn,
                Event::RelationshipAccepted,
                Event::RelationshipDeclined,
                Event::RelationshipEnded,
                Event::PolicyProposed,
                Event::PolicyChanged,
            ],
            Self::Emergency => &[
                Event::EmergencyOpened,
                Event::EmergencyEnded,
                Event::EmergencyReviewDue,
                Event::EmergencyReviewed,
            ],
            Self::Prescriptions => &[
                Event::PrescriptionIssued,
                Event::PrescriptionPermitted,
                Event::PrescriptionPermitWithdrawn,
                Event::PrescriptionClaimed,
                Event::PrescriptionReleased,
                Event::PrescriptionDispensed,
                Event::PrescriptionCompleted,
                Event::PrescriptionCancelled,
            ],
            Self::Laboratory => &[
                Event::LabOrdered,
                Event::LabCollected,
                Event::LabResulted,
                Event::LabCritical,
                Event::LabReleased,
                Event::LabAcknowledged,
                Event::LabCancelled,
            ],
        }
    }
}

/// How much a notification says.
///
/// # Source
///
/// Backport 1.1.0, value set `backport-content-value-set`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// That something happened.
    Empty,
    /// And to what.
    IdOnly,
    /// And what that is.
    FullResource,
}

impl Content {
    pub(crate) fn parse(code: &str) -> Option<Self> {
        match code {
            "empty" => Some(Self::Empty),
            "id-only" => Some(Self::IdOnly),
            "full-resource" => Some(Self::FullResource),
            _ => None,
        }
    }
}

/// Which events are wanted: those about resources of one type, of one patient or of any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) resource_type: String,
    /// The id of a `Patient` of this server.
    pub(crate) patient: Option<String>,
}

/// What a subscription asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: Topic,
    pub(crate) content: Content,
    /// One of them has to fit, where there are any.
    pub(crate) filters: Vec<Filter>,
    pub(crate) endpoint: String,
    pub(crate) headers: HeaderMap,
    /// Every how many seconds there is a heartbeat; 0 for never.
    pub(crate) heartbeat_s: u64,
    /// When it ends, in seconds since 1970.
    pub(crate) ends_at: u64,
    is_off: bool,
}

fn wrong(text: &str) -> FhirError {
    FhirError::unprocessable("value", text)
}

/// The values of an extension on an element.
fn extensions<'a>(element: &'a Value, name: &'static str) -> impl Iterator<Item = &'a Value> {
    let all = element["extension"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(move |one| {
        let url = one["url"].as_str().and_then(|url| url.strip_prefix(EXTENSIONS));
        url.and_then(|url| url.strip_prefix('/')) == Some(name)
    })
}

impl Wanted {
    /// What a valid `Subscription` asks for, `now`. It ends when it says, and after [`PERIOD_MAX_S`] at the
    /// latest.
    ///
    /// # Source
    ///
    /// FHIR R4, `Subscription.end`: the server may deviate from it.
    pub(crate) fn parse(resource: &Value, now: Timestamp) -> Result<Self, FhirError> {
        let criteria = resource["criteria"].as_str().unwrap_or_default();
        let topic = Topic::ALL.into_iter().find(|topic| topic.canonical() == criteria);
        let topic = topic.ok_or_else(|| {
            wrong("`criteria` is one of this server's topics, urn:salus:topic:records or another; see \
                   /metadata")
        })?;
        let channel = &resource["channel"];
        if channel["type"] != "rest-hook" {
            return Err(wrong("the only channel is `rest-hook`"));
        }
        let endpoint =
            channel["endpoint"].as_str().ok_or_else(|| wrong("a rest-hook needs an `endpoint`"))?;
        let content = match extensions(&channel["_payload"], "backport-payload-content").next() {
            None => Content::IdOnly,
            Some(content) => {
                content["valueCode"].as_str().and_then(Content::parse).ok_or_else(|| {
                    wrong("the payload's content is `empty`, `id-only` or `full-resource`")
                })?
            }
        };
        let payload = channel["payload"].as_str();
        if payload
            .is_some_and(|payload| !matches!(payload, "application/fhir+json" | "application/json"))
        {
            return Err(wrong("the payload is application/fhir+json"));
        }
        let heartbeat_s = match extensions(channel, "backport-heartbeat-period").next() {
            None => 0,
            Some(period) => match period["valueUnsignedInt"].as_u64() {
                Some(0) => 0,
                Some(seconds) if seconds >= HEARTBEAT_MIN_S => seconds,
                _ => return Err(wrong("a heartbeat comes every 10 seconds at most")),
            },
        };
        let ends_at = match resource["end"].as_str() {
            None => u64::MAX,
            Some(end) => {
                let end = instant::parse(end).ok_or_else(|| wrong("`end` is an instant"))?;
                u64::try_from(end / 1_000).unwrap_or_default()
            }
        };
        let ends_at = ends_at.min(now.0.saturating_add(PERIOD_MAX_S));
        let filters: Vec<Filter> = extensions(&resource["_criteria"], "backport-filter-criteria")
            .map(|filter| Filter::parse(filter["valueString"].as_str().unwrap_or_default()))
            .collect::<Result<_, _>>()?;
        if filters.len() > FILTERS_MAX {
            return Err(wrong("there are at most 8 filters"));
        }
        Ok(Self {
            topic,
            content,
            filters,
            endpoint: endpoint.to_owned(),
            headers: headers(channel)?,
            heartbeat_s,
            ends_at,
            is_off: resource["status"] == "off",
        })
    }

    /// What a subscription is until its receiver answered.
    pub(crate) const fn first_status(&self) -> Status {
        if self.is_off { Status::Off } else { Status::Requested }
    }
}

impl Filter {
    /// Reads `Type?patient=Patient/id`; the patient may be left out.
    fn parse(text: &str) -> Result<Self, FhirError> {
        const EXPECTED: &str =
            "a filter is `Type?patient=Patient/id`, or `Type?` for all of a type";
        let (resource_type, query) = text.split_once('?').ok_or_else(|| wrong(EXPECTED))?;
        if text.len() > TEXT_LEN_MAX || !crate::dispatch::TYPES.contains(&resource_type) {
            return Err(wrong(EXPECTED));
        }
        let patient = match query.split_once('=') {
            None if query.is_empty() => None,
            Some(("patient" | "subject", patient)) => {
                let id = patient_id(patient).or(r4::is_id(patient).then_some(patient));
                Some(id.ok_or_else(|| wrong(EXPECTED))?.to_owned())
            }
            Some(("_id", id)) if resource_type == "Patient" && r4::is_id(id) => Some(id.to_owned()),
            _ => return Err(wrong(EXPECTED)),
        };
        Ok(Self { resource_type: resource_type.to_owned(), patient })
    }
}

fn header_texts(channel: &Value) -> impl Iterator<Item = &str> {
    let all = channel["header"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter_map(Value::as_str)
}

/// The headers that the receiver wants: a password of its own, or names of its own.
fn headers(channel: &Value) -> Result<HeaderMap, FhirError> {
    let mut headers = HeaderMap::new();
    for text in header_texts(channel) {
        let parsed = text.split_once(':').filter(|_| text.len() <= TEXT_LEN_MAX).and_then(
            |(name, value)| {
                let name: HeaderName = name.trim().parse().ok()?;
                let mut value: HeaderValue = value.trim().parse().ok()?;
                value.set_sensitive(true);
                let usable = name == "authorization" || name.as_str().starts_with("x-");
                usable.then_some((name, value))
            },
        );
        let (name, value) = parsed
            .ok_or_else(|| wrong("a header is `Authorization: …`, or one that begins with `X-`"))?;
        if headers.len() >= HEADERS_MAX {
            return Err(wrong("there are at most 8 headers"));
        }
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Puts the values of headers in place that the owner left as they were shown.
pub(crate) fn keep_headers(resource: &mut Value, before: Option<&Value>) {
    let Some(before) = before else { return };
    let Some(headers) = resource["channel"]["header"].as_array_mut() else { return };
    for header in headers {
        let Some((name, value)) = header.as_str().and_then(|text| text.split_once(':')) else {
            continue;
        };
        if value.trim() == MASK {
            let same = |text: &&str| text.split_once(':').is_some_and(|(other, _)| other == name);
            if let Some(kept) = header_texts(&before["channel"]).find(same) {
                *header = kept.into();
            }
        }
    }
}

/// A subscription as its owner sees it.
pub(crate) fn shape(held: &Held, status: Status, error: &str) -> Value {
    let mut resource = held.terms.resource.clone();
    resource["id"] = held.id.as_str().into();
    resource["meta"]["versionId"] = held.version.to_string().into();
    resource["meta"]["lastUpdated"] = instant::text(held.updated).into();
    resource["status"] = status.name().into();
    resource["end"] = Timestamp(held.ends_at).to_string().into();
    if let Some(members) = resource.as_object_mut() {
        members.remove("error");
    }
    if !error.is_empty() {
        resource["error"] = error.into();
    }
    if let Some(headers) = resource["channel"].get_mut("header").and_then(Value::as_array_mut) {
        for header in headers {
            let name = header.as_str().and_then(|text| text.split_once(':'));
            *header = name.map_or(MASK.into(), |(name, _)| format!("{name}: {MASK}").into());
        }
    }
    resource
}

/// Adds the secret under which messages are signed.
pub(crate) fn show_secret(resource: &mut Value, secret: &str) {
    let shown = json!({ "url": SECRET, "valueString": secret });
    match resource["channel"].get_mut("extension").and_then(Value::as_array_mut) {
        Some(extensions) => extensions.push(shown),
        None => resource["channel"]["extension"] = json!([shown]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn subscription() -> Value {
        json!({
            "resourceType": "Subscription",
            "status": "requested",
            "reason": "to know",
            "criteria": "urn:salus:topic:records",
            "channel": { "type": "rest-hook", "endpoint": "https://receiver.example/hook" },
        })
    }

    #[test]
    fn what_is_left_out_has_the_narrowest_meaning_that_is_of_use() {
        let wanted = Wanted::parse(&subscription(), NOW).unwrap();
        assert_eq!((wanted.topic, wanted.content), (Topic::Records, Content::IdOnly));
        assert_eq!((wanted.heartbeat_s, wanted.filters.len()), (0, 0));
    }

    #[test]
    fn every_subscription_ends() {
        let ends_at = |end: Option<&str>| {
            let mut resource = subscription();
            if let Some(end) = end {
                resource["end"] = end.into();
            }
            Wanted::parse(&resource, NOW).unwrap().ends_at
        };
        let latest = NOW.0 + PERIOD_MAX_S;
        assert_eq!(ends_at(None), latest);
        assert_eq!(ends_at(Some("9999-12-31T23:59:59Z")), latest);
        assert_eq!(ends_at(Some("1970-01-01T01:00:00Z")), 3_600);
        assert_eq!(ends_at(Some("1960-01-01T00:00:00Z")), 0);
    }

    #[test]
    fn filters_name_a_type_and_a_patient() {
        let filter = |text: &str| Filter::parse(text).ok().map(|filter| filter.patient);
        assert_eq!(filter("Observation?patient=Patient/1"), Some(Some("1".into())));
        assert_eq!(filter("Observation?"), Some(None));
        assert_eq!(filter("Patient?_id=1"), Some(Some("1".into())));
        for text in
            ["Observation", "Nothing?", "Observation?code=1", "Observation?patient=Group/1", ""]
        {
            assert_eq!(filter(text), None, "{text}");
        }
    }

    #[test]
    fn headers_are_few_and_not_shown() {
        let mut resource = subscription();
        resource["channel"]["header"] = json!(["Authorization: Bearer planted", "X-Mine: planted"]);
        let wanted = Wanted::parse(&resource, NOW).unwrap();
        assert_eq!(wanted.headers["x-mine"], "planted");
        assert!(!format!("{wanted:?}").contains("planted"), "{wanted:?}");
        for header in
            ["Host: x", "Content-Length: 1", "Webhook-Signature: v1,x", "X-A: b\r\nc: d", "none"]
        {
            resource["channel"]["header"] = json!([header]);
            assert!(Wanted::parse(&resource, NOW).is_err(), "{header}");
        }
    }

    #[test]
    fn every_event_is_of_one_topic_at_most() {
        let mut all: Vec<_> = Topic::ALL.iter().flat_map(|topic| topic.topics()).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
