//! One message to one receiver.

use std::fmt;

use alloy_primitives::B256;
use domain::Timestamp;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Serialize;
use url::Url;

use super::{
    signature::WebhookSecret,
    subscription::Subscription,
    target::{TargetError, Targets, is_forbidden},
};
use crate::Notification;

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// To whom.
    pub subscription: &'a Subscription,
    /// What.
    pub notification: &'a Notification,
    /// The how-manieth time, at least. Above 1 the receiver may have it already.
    pub attempt: u64,
    /// When it is sent.
    pub now: Timestamp,
}

/// What stands on a message, whatever is in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) url: &'a str,
    pub(crate) id: B256,
    pub(crate) attempt: u64,
}

/// A message as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// Its media type.
    pub content_type: &'static str,
    /// The bytes, which are signed.
    pub bytes: Vec<u8>,
    /// Further headers that the receiver wants.
    pub headers: HeaderMap,
}

/// The message of this crate's own form.
#[derive(Serialize)]
struct Plain<'a> {
    r#type: &'static str,
    timestamp: String,
    attempt: u64,
    data: &'a Notification,
}

impl Message<'_> {
    /// The message in this crate's own form:
    ///
    /// ```text
    /// {"type":"record-proposed","timestamp":"2027-01-15T08:00:00Z","attempt":1,"data":{…}}
    /// ```
    ///
    /// # Source
    ///
    /// Standard Webhooks, "Payload structure".
    #[must_use]
    pub fn to_plain(&self) -> Body {
        let plain = Plain {
            r#type: self.notification.topic.name(),
            timestamp: self.notification.time.to_string(),
            attempt: self.attempt,
            data: self.notification,
        };
        let bytes = serde_json::to_vec(&plain).expect("a notification has a JSON form");
        Body { content_type: "application/json", bytes, headers: HeaderMap::new() }
    }
}

/// Why a message did not arrive, as far as operators need it; no address, URL or answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    Target(TargetError),
    NoSecret,
    NoForm,
    TimedOut,
    Unreachable,
    Status(StatusCode),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target(error) => write!(f, "{error}"),
            Self::NoSecret => f.write_str("the secret is not in the keyring or does not open"),
            Self::NoForm => f.write_str("this program does not know the form"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Unreachable => f.write_str("no connection, or it broke"),
            Self::Status(status) => write!(f, "status {}", status.as_u16()),
        }
    }
}

impl Failure {
    /// Whether trying again is of no use.
    pub(crate) fn is_final(self) -> bool {
        // "410 Gone" is how a receiver says that it wants no more.
        matches!(self, Self::Status(StatusCode::GONE) | Self::NoSecret | Self::NoForm)
            || matches!(self, Self::Target(error) if error != TargetError::Forbidden)
    }
}

/// Sends a message; it arrived when the receiver answers with a status of the 2xx family. Of the answer
/// nothing but the status is read.
pub(crate) async fn send(
    targets: &Targets,
    secret: &WebhookSecret,
    envelope: Envelope<'_>,
    body: Body,
    now: Timestamp,
) -> Result<(), Failure> {
    let url: Url = targets.parse(envelope.url).map_err(Failure::Target)?;
    let id = hex::encode(envelope.id);
    let signature = secret.sign(&id, now, &body.bytes);
    let request = targets
        .client(&url)
        .post(url)
        .headers(body.headers)
        .header(CONTENT_TYPE, HeaderValue::from_static(body.content_type))
        .header("webhook-id", id)
        .header("webhook-timestamp", now.0)
        .header("webhook-signature", signature)
        .header("webhook-attempt", envelope.attempt)
        .body(body.bytes);
    match request.send().await.as_ref().map(Response::status) {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => Err(Failure::Status(status)),
        Err(error) if is_forbidden(error) => Err(Failure::Target(TargetError::Forbidden)),
        Err(error) if error.is_timeout() => Err(Failure::TimedOut),
        Err(_) => Err(Failure::Unreachable),
    }
}
