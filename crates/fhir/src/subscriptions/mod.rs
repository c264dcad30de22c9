//! Subscriptions: what comes for somebody, sent to where they want it as FHIR notifications.
//!
//! They are R4 `Subscription`s with the topics of the R5 backport. A subscription belongs to whoever made
//! it; to others it is not there. It is delivered by the webhooks of [`notify`]: in order, at least once,
//! signed, repeats marked. Whether something is told is decided when it is sent, by what its owner may
//! read then (S3): a subscription opens no way to anything that a read at that moment would refuse.
//!
//! A token is short-lived, and what it let its holder read is agreed with the subscription. So no subscription
//! goes on for more than a week: it ends by itself, unless its owner puts it again with a token that is in
//! force then, and that token's scopes count from there on.
//!
//! Of records that were anchored in a batch the chain does not say whose they are. This steward knows its
//! own batches, and tells of them a page at a time, beside the order of the webhooks. A page goes out under
//! what was agreed then; one that does not arrive is sent again like a webhook, and given up like one.
//!
//! What it does not do: tell of other stewards' batches; take FHIR topics of others; send by anything but
//! `rest-hook`.
//!
//! # Source
//!
//! HL7 Subscriptions R5 Backport 1.1.0, for R4.

mod notice;
mod resource;
mod table;

use axum::http::{Method, StatusCode};
use domain::{Address, Purpose, Reader, Timestamp};
use notify::{
    Webhooks,
    webhook::{NewSubscription, SubscribeError, SubscriptionState, WebhookSecret},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    bundle::{Bundle, Entry},
    caller::{Caller, Interaction},
    dispatch::TYPES,
    json::RawObject,
    outcome::FhirError,
    request::{Reply, Request, version_of_tag},
    resources::{Resources, issues_of},
    subscriptions::{
        resource::{Topic, Wanted},
        table::{Held, Status, Told},
    },
};

pub(crate) use notice::form;

/// The name of the form in which notifications of FHIR subscriptions are written.
pub const FORM: &str = "fhir";

/// The parameters that a search for subscriptions takes.
const SEARCHED: &[&str] = &["_id", "status", "criteria", "url", "type", "payload"];

/// What was agreed with whoever made a subscription. It is kept sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// The resource as it came, without what the server sets.
    resource: Value,
    /// Who made it.
    reader: Reader,
    /// Why they want to be told.
    purpose: Purpose,
    /// The only patient that their token was about.
    only: Option<Address>,
    /// What types their token let them read.
    types: Vec<String>,
}

impl Resources {
    /// Serves subscriptions, which `webhooks` delivers: it must know the form [`FORM`], made by
    /// [`Resources::subscription_form`].
    ///
    /// # Errors
    ///
    /// [`vault::MigrateError`] when the tables cannot be made.
    pub async fn serve_subscriptions(&self, webhooks: Webhooks) -> Result<(), vault::MigrateError> {
        self.database().migrate(table::COMPONENT, table::MIGRATIONS).await?;
        // Whoever serves them twice serves the first.
        drop(self.inner.webhooks.set(webhooks));
        Ok(())
    }

    /// In which form notifications are written, under the name [`FORM`].
    #[must_use]
    pub fn subscription_form(&self) -> notify::webhook::Form {
        form(std::sync::Arc::downgrade(&self.inner))
    }

    /// Whether subscriptions are served.
    pub(crate) fn sends_notifications(&self) -> bool {
        self.inner.webhooks.get().is_some()
    }

    fn webhooks(&self) -> Result<&Webhooks, FhirError> {
        self.inner.webhooks.get().ok_or_else(|| {
            let text = "this server sends no notifications";
            FhirError::new(StatusCode::NOT_IMPLEMENTED, "not-supported", text)
        })
    }
}

/// Does what is asked of subscriptions.
pub(crate) async fn handle(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
) -> Result<Reply, FhirError> {
    resources.webhooks()?;
    let segments: Vec<&str> = request.path.iter().skip(1).map(String::as_str).collect();
    match (&request.method, segments.as_slice()) {
        (&Method::POST, []) => create(resources, caller, request).await,
        (_, []) => search(resources, caller, request).await,
        (_, ["$status"]) => {
            caller.require("Subscription", Interaction::Read)?;
            let ids: Vec<&str> = parameters(request, "id").collect();
            let mut held = own(resources, caller).await?;
            held.retain(|held| ids.is_empty() || ids.contains(&held.id.as_str()));
            statuses(resources, &held).await
        }
        (_, [id, "$status"]) => {
            let held = find(resources, caller, id, Interaction::Read).await?;
            statuses(resources, &[held]).await
        }
        (_, [id, "$events"]) => {
            let held = find(resources, caller, id, Interaction::Read).await?;
            notice::events(resources, caller, &held, request).await
        }
        (&Method::PUT, [id]) => update(resources, caller, id, request).await,
        (&Method::DELETE, [id]) => {
            let held = find(resources, caller, id, Interaction::Delete).await?;
            let removed = resources.webhooks()?.unsubscribe(&held.id).await;
            removed.map_err(|error| unexpected(&error))?;
            table::remove(resources.database(), &held.id).await?;
            Ok(Reply::of(StatusCode::NO_CONTENT))
        }
        (_, [id]) => {
            let held = find(resources, caller, id, Interaction::Read).await?;
            shown(resources, StatusCode::OK, &held, None).await
        }
        _ => Err(FhirError::not_found()),
    }
}

/// Somebody's own subscriptions.
async fn own(resources: &Resources, caller: &Caller) -> Result<Vec<Held>, FhirError> {
    Ok(Held::of_owner(resources, caller.reader.address()).await?)
}

/// A subscription of the caller's own. Those of others are not there.
async fn find(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    does: Interaction,
) -> Result<Held, FhirError> {
    caller.require("Subscription", does)?;
    let held = Held::find(resources, id).await?;
    held.filter(|held| held.owner == caller.reader.address()).ok_or_else(FhirError::not_found)
}

/// What a caller agrees to, and what the server makes of it.
fn terms_of(
    caller: &Caller,
    request: &Request,
    before: Option<&Terms>,
    now: Timestamp,
) -> Result<(Terms, Wanted), FhirError> {
    let body = crate::dispatch::body_of(request)?;
    if body.text("resourceType").as_deref() != Some("Subscription") {
        return Err(FhirError::bad_request("the body is no Subscription"));
    }
    let mut resource: Value = serde_json::from_str(&RawObject::to_string(&body))
        .map_err(|_| FhirError::bad_request("the body is not JSON"))?;
    let issues = issues_of(&resource);
    if issues.iter().any(|issue| issue.severity == "error") {
        return Err(FhirError { status: StatusCode::UNPROCESSABLE_ENTITY, issues });
    }
    resource::keep_headers(&mut resource, before.map(|before| &before.resource));
    let wanted = Wanted::parse(&resource, now)?;
    let types = TYPES.iter().filter(|name| caller.allowed.allows(name, Interaction::Read));
    let terms = Terms {
        resource,
        reader: caller.reader,
        purpose: caller.purpose,
        only: caller.patient,
        types: types.map(|name| (*name).to_owned()).collect(),
    };
    Ok((terms, wanted))
}

async fn create(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
) -> Result<Reply, FhirError> {
    caller.require("Subscription", Interaction::Create)?;
    let (terms, wanted) = terms_of(caller, request, None, resources.now())?;
    let mut rng = resources.gatekeeper().entropy().fork();
    let secret = WebhookSecret::make(&mut rng);
    let text = secret.expose_text();
    let new = NewSubscription {
        recipient: caller.reader.address(),
        url: wanted.endpoint.clone(),
        secret,
        topics: wanted.topic.topics().to_vec(),
        after: None,
        form: FORM.into(),
        everybodys: true,
        paused: true,
    };
    let made = resources.webhooks()?.subscribe(new, resources.now(), &mut rng).await;
    let made = made.map_err(not_subscribed)?;
    let held = Held {
        id: made.id,
        owner: caller.reader.address(),
        version: 1,
        updated: resources.now_ms(),
        status: wanted.first_status(),
        error: String::new(),
        heartbeat_s: wanted.heartbeat_s,
        heartbeat_at: 0,
        ends_at: wanted.ends_at,
        terms,
    };
    held.store(resources).await?;
    // What was there before is told to nobody.
    let last_leaf = resources.gatekeeper().last_leaf().await?;
    held.tell(resources.database(), Told::all(last_leaf), 0).await?;
    shown(resources, StatusCode::CREATED, &held, Some(&text)).await
}

async fn update(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    request: &Request,
) -> Result<Reply, FhirError> {
    let before = find(resources, caller, id, Interaction::Update).await?;
    if let Some(tag) = &request.conditions.if_match
        && version_of_tag(tag) != Some(before.version.into())
    {
        return Err(FhirError::precondition("the resource has another version by now"));
    }
    let (terms, wanted) = terms_of(caller, request, Some(&before.terms), resources.now())?;
    if terms.resource["id"].as_str() != Some(id) {
        return Err(FhirError::bad_request("the body's `id` must be the one in the URL"));
    }
    let webhooks = resources.webhooks()?;
    webhooks.check_target(&wanted.endpoint).map_err(not_subscribed)?;
    let topics = wanted.topic.topics().to_vec();
    let held = Held {
        version: before.version + 1,
        updated: resources.now_ms(),
        status: wanted.first_status(),
        error: String::new(),
        heartbeat_s: wanted.heartbeat_s,
        heartbeat_at: 0,
        ends_at: wanted.ends_at,
        terms,
        ..before
    };
    held.store(resources).await?;
    // Until its receiver answered, nothing is sent.
    webhooks.pause(id).await?;
    webhooks.redirect(id, wanted.endpoint.clone(), topics).await.map_err(not_subscribed)?;
    shown(resources, StatusCode::OK, &held, None).await
}

async fn search(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
) -> Result<Reply, FhirError> {
    caller.require("Subscription", Interaction::Search)?;
    if request.strict
        && let Some((name, _)) =
            request.query.iter().find(|(name, _)| !SEARCHED.contains(&name.as_str()))
        && !name.starts_with('_')
    {
        return Err(FhirError::bad_request("a parameter is not known; see /metadata"));
    }
    let mut bundle = Bundle::new("searchset", resources.make_id());
    for held in own(resources, caller).await? {
        let resource = shape(resources, &held).await?;
        let value = |name: &str| match name {
            "_id" => resource["id"].as_str(),
            "url" => resource["channel"]["endpoint"].as_str(),
            "type" => resource["channel"]["type"].as_str(),
            "payload" => resource["channel"]["payload"].as_str(),
            _ => resource[name].as_str(),
        };
        let fits =
            |name: &str, wanted: &str| wanted.split(',').any(|wanted| value(name) == Some(wanted));
        let all = request
            .query
            .iter()
            .all(|(name, wanted)| !SEARCHED.contains(&name.as_str()) || fits(name, wanted));
        if all {
            bundle.entry.push(Entry {
                full_url: Some(format!("{}/Subscription/{}", resources.base(), held.id)),
                resource: Some(notice::raw(&resource)),
                search: Some(json!({ "mode": "match" })),
                ..Entry::default()
            });
        }
    }
    bundle.total = Some(bundle.entry.len());
    Ok(bundle.reply())
}

/// How subscriptions fare, as a bundle.
async fn statuses(resources: &Resources, held: &[Held]) -> Result<Reply, FhirError> {
    let mut bundle = Bundle::new("searchset", resources.make_id());
    for held in held {
        let status = notice::Status {
            held,
            status: status(resources, held).await?.0,
            kind: "query-status",
            total: table::last_number(resources.database(), &held.id).await?,
        };
        bundle.entry.push(Entry {
            full_url: Some(format!("urn:uuid:{}", resources.make_uuid())),
            resource: Some(notice::raw(&status.parameters(resources.base(), Vec::new()))),
            search: Some(json!({ "mode": "match" })),
            ..Entry::default()
        });
    }
    bundle.total = Some(bundle.entry.len());
    Ok(bundle.reply())
}

/// Where a subscription stands: by what it says itself, and by whether it is delivered. What went wrong
/// stands beside it.
async fn status(resources: &Resources, held: &Held) -> Result<(Status, String), FhirError> {
    if held.status != Status::Active {
        return Ok((held.status, held.error.clone()));
    }
    Ok(match resources.webhooks()?.subscription(&held.id).await? {
        Some(sent) => match sent.state {
            SubscriptionState::Active => (Status::Active, sent.failure),
            SubscriptionState::Error => (Status::Error, sent.failure),
            SubscriptionState::Paused | SubscriptionState::Ended => (Status::Off, sent.failure),
        },
        None => (Status::Off, String::new()),
    })
}

/// A subscription as its owner sees it.
async fn shape(resources: &Resources, held: &Held) -> Result<Value, FhirError> {
    let (status, error) = status(resources, held).await?;
    Ok(resource::shape(held, status, &error))
}

async fn shown(
    resources: &Resources,
    code: StatusCode,
    held: &Held,
    secret: Option<&str>,
) -> Result<Reply, FhirError> {
    let mut resource = shape(resources, held).await?;
    if let Some(secret) = secret {
        resource::show_secret(&mut resource, secret);
    }
    let location = format!("Subscription/{}", held.id);
    Ok(Reply {
        version: Some(held.version.into()),
        updated: Some(held.updated),
        location: (code == StatusCode::CREATED).then_some(location),
        body: Some(resource.to_string()),
        ..Reply::of(code)
    })
}

fn parameters<'a>(request: &'a Request, name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = request.query.iter().filter(move |(found, _)| found == name);
    named.flat_map(|(_, value)| value.split(','))
}

fn not_subscribed(error: SubscribeError) -> FhirError {
    match error {
        SubscribeError::Target(error) => FhirError::unprocessable("value", error.to_string()),
        SubscribeError::TooMany { .. } => {
            FhirError::new(StatusCode::CONFLICT, "too-costly", error.to_string())
        }
        SubscribeError::Store(error) => error.into(),
        error => unexpected(&error),
    }
}

/// A fault of ours, told to the log.
fn unexpected(error: &dyn std::error::Error) -> FhirError {
    tracing::error!(%error, "a subscription could not be kept");
    let text = "the gateway could not do this; it is in its log";
    FhirError::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text)
}

/// What the CapabilityStatement says of subscriptions.
pub(crate) fn capability() -> Value {
    let operation = |name: &str, definition: &str| {
        let base = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition";
        json!({ "name": name, "definition": format!("{base}/{definition}") })
    };
    let codes = ["create", "read", "update", "delete", "search-type"];
    let kind = |name: &str| if matches!(name, "criteria") { "string" } else { "token" };
    let parameters = SEARCHED.iter().map(
        |name| json!({ "name": name, "type": if *name == "url" { "uri" } else { kind(name) } }),
    );
    let topics = Topic::ALL.iter().map(|topic| {
        let url = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/\
                   capability-subscriptiontopic-canonical";
        json!({ "url": url, "valueCanonical": topic.canonical() })
    });
    json!({
        "type": "Subscription",
        "extension": topics.collect::<Vec<_>>(),
        "interaction": codes.map(|code| json!({ "code": code })),
        "versioning": "versioned-update",
        "readHistory": false,
        "updateCreate": false,
        "searchParam": parameters.collect::<Vec<_>>(),
        "operation": [
            operation("status", "backport-subscription-status"),
            operation("events", "backport-subscription-events"),
        ],
    })
}
