//! HL7 v2 messages over HTTP: a laboratory's own system sends a result, and gets the acknowledgement.
//!
//! What is reported here bears the scientist's signature. So it is for the laboratory's own system, which
//! answers for what its people released there, and for that scientist; a token that is about one patient, or
//! without the scope to create reports, is not enough. Each message leaves a line in the log of
//! [`acts`](super::acts), taken or not.
//!
//! # Source
//!
//! "HL7 over HTTP", as integration engines speak it: one message in a request, its acknowledgement in the
//! answer. Whether the message was taken stands in `MSA-1`; the status says whether it was looked at.

use axum::{
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse as _,
};
use domain::Reader;
use fhir::{Caller, Interaction};
use workflows::laboratory_messages::{MessageDesk, Received};

use super::{
    Answer, Api, Problem,
    acts::{Act, Subject},
    require_about,
};

/// The types by which messages are known. An answer is of the type of its request.
const TYPES: [&str; 3] =
    ["application/hl7-v2", "application/hl7-v2+er7", "x-application/hl7-v2+er7"];

/// The longest body: a message, and the three bytes of a frame.
const MESSAGE_BODY_BYTES_MAX: usize = hl7v2::MESSAGE_BYTES_MAX + 3;

/// `POST /hl7v2`: one message, in a frame or not.
pub(super) async fn take(
    State((api, desk)): State<(Api, MessageDesk)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let (caller, _) = api.caller(&headers, "DiagnosticReport", Interaction::Create).await?;
    require_about(&caller, None)?;
    let is_scientist = matches!(caller.reader, Reader::Professional { member, .. } if member == desk.scientist().member);
    if !api.is_institution(&caller.reader) && !is_scientist {
        let text = "results are sent by the laboratory's own system, and by who reports them";
        return Err(Problem::forbidden(text));
    }
    let media_type = media_type(&headers)?;
    let bytes = to_bytes(body, MESSAGE_BODY_BYTES_MAX).await.map_err(|_| {
        let text = "a message has at most 1 MiB, and comes in time";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    })?;
    // What cannot be answered as a message is answered as a request.
    let found = hl7v2::messages(&bytes).map_err(|error| Problem::bad(error.to_string()))?;
    let [message] = found[..] else {
        return Err(Problem::bad("one message comes in a request"));
    };
    let received = desk.take(message, api.now()).await;
    let received = received.map_err(|error| Problem::internal(&error))?;
    note(&api, &caller, &received).await?;
    let text = received.acknowledgement(&api.0.gateway, api.now());
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn media_type(headers: &HeaderMap) -> Result<&'static str, Problem> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|found| found.to_str().ok());
    let found = found.and_then(|found| found.split(';').next()).unwrap_or_default().trim();
    let known = TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(found));
    known.ok_or_else(|| {
        let text = format!("the body must be of the type {}", TYPES.join(" or "));
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
    })
}

/// Writes down that a message came, by its sender's token; of whom and what it is only when it was taken.
async fn note(api: &Api, caller: &Caller, received: &Received) -> Result<(), Problem> {
    let taken = received.outcome.as_ref().ok();
    let act = Act {
        name: "hl7v2",
        actor: caller.reader.address(),
        purpose: caller.purpose,
        patient: taken.map(|taken| taken.patient),
        subject: taken.map_or(Subject::None, |taken| Subject::Digest(taken.order)),
        outcome: if taken.is_some() { "taken" } else { "refused" },
    };
    Ok(api.0.acts.note(act, api.now()).await?)
}
