//! Webhooks of the institution: where its own systems are told what comes for it.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use fhir::{Caller, Interaction};
use notify::{
    Topic,
    webhook::{NewSubscription, SubscribeError, Subscription, WebhookSecret},
};
use serde::Deserialize;
use serde_json::{Value, json};
use vault::KeyringError;

use super::{
    Answer, Api, Problem,
    acts::{Act, Subject},
    answer, done, json, require_about,
};

impl Api {
    /// The institution's own systems, which alone have webhooks.
    async fn system(&self, headers: &HeaderMap, does: Interaction) -> Result<Caller, Problem> {
        let (caller, _) = self.caller(headers, "Subscription", does).await?;
        require_about(&caller, None)?;
        if self.is_institution(&caller.reader) {
            return Ok(caller);
        }
        Err(Problem::forbidden("webhooks are for the institution's own systems"))
    }

    /// A webhook of the institution.
    async fn webhook(&self, id: &str) -> Result<Subscription, Problem> {
        let found = self.0.notifying.webhooks().subscription(id).await?;
        found.filter(|held| self.is_webhook(held)).ok_or_else(no_such)
    }

    /// Whether it was made here; those in another form belong to the interface that made them.
    fn is_webhook(&self, held: &Subscription) -> bool {
        held.recipient == self.member() && held.form.is_empty()
    }

    /// Written down before it is done: a change that nobody can be asked about must not be. What was then
    /// refused, or failed, was asked for all the same.
    async fn note_webhook(&self, caller: &Caller, name: &'static str) -> Result<(), Problem> {
        let act = Act {
            name,
            actor: caller.reader.address(),
            purpose: caller.purpose,
            patient: None,
            subject: Subject::None,
            outcome: "asked",
        };
        Ok(self.0.acts.note(act, self.now()).await?)
    }
}

fn no_such() -> Problem {
    Problem::not_found("there is no such webhook")
}

/// `GET /api/webhooks`.
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap) -> Answer {
    api.system(&headers, Interaction::Search).await?;
    let mut held = api.0.notifying.webhooks().subscriptions(Some(api.member())).await?;
    held.retain(|held| api.is_webhook(held));
    Ok(answer(StatusCode::OK, &json!({ "webhooks": held })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    url: String,
    #[serde(default)]
    topics: Vec<Topic>,
    after: Option<u64>,
}

/// `POST /api/webhooks`: adds one. Its secret is in this answer and nowhere else.
pub(super) async fn add(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let caller = api.system(&headers, Interaction::Create).await?;
    let New { url, mut topics, after } = json(&headers, body).await?;
    topics.sort_unstable();
    topics.dedup();
    let mut rng = api.0.gateway.gatekeeper.entropy().fork();
    let secret = WebhookSecret::make(&mut rng);
    let shown = secret.expose_text();
    let new = NewSubscription {
        recipient: api.member(),
        url,
        secret,
        topics,
        after,
        form: String::new(),
        everybodys: false,
        paused: false,
    };
    api.note_webhook(&caller, "webhook-add").await?;
    let made = api.0.notifying.webhooks().subscribe(new, api.now(), &mut rng).await;
    let made = made.map_err(not_made)?;
    let mut body = json!(made);
    body["secret"] = Value::from(&**shown);
    Ok(answer(StatusCode::CREATED, &body))
}

fn not_made(error: SubscribeError) -> Problem {
    match error {
        SubscribeError::Target(error) => Problem::unprocessable(error.to_string()),
        SubscribeError::TooMany { .. } => Problem::new(StatusCode::CONFLICT, error.to_string()),
        SubscribeError::UnknownForm | SubscribeError::Keyring(_) | SubscribeError::Store(_) => {
            Problem::internal(&error)
        }
    }
}

/// `GET /api/webhooks/{id}`.
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    api.system(&headers, Interaction::Read).await?;
    Ok(answer(StatusCode::OK, &api.webhook(&id).await?))
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Wanted {
    Active,
    Paused,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    state: Option<Wanted>,
    after: Option<u64>,
}

/// `PATCH /api/webhooks/{id}`: pauses it, lets it go on, or sends again what came after a number.
pub(super) async fn change(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let caller = api.system(&headers, Interaction::Update).await?;
    let change: Change = json(&headers, body).await?;
    api.webhook(&id).await?;
    if matches!((change.state, change.after), (None, None) | (Some(Wanted::Paused), Some(_))) {
        return Err(Problem::bad("say `state`, or `after` to begin again behind a number"));
    }
    api.note_webhook(&caller, "webhook-change").await?;
    let webhooks = api.0.notifying.webhooks();
    let held = match (change.state, change.after) {
        (_, Some(after)) => webhooks.replay(&id, after).await?,
        (Some(Wanted::Paused), None) => webhooks.pause(&id).await?,
        (_, None) => webhooks.resume(&id).await?,
    };
    Ok(answer(StatusCode::OK, &held.ok_or_else(no_such)?))
}

/// `DELETE /api/webhooks/{id}`.
pub(super) async fn remove(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let caller = api.system(&headers, Interaction::Delete).await?;
    api.webhook(&id).await?;
    api.note_webhook(&caller, "webhook-remove").await?;
    let removed = api.0.notifying.webhooks().unsubscribe(&id).await;
    removed.map_err(|error: KeyringError| Problem::internal(&error))?;
    Ok(done())
}
