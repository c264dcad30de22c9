//! Where an app sends people, and where they are sent back from.

use axum::{
    extract::{RawForm, State, rejection::RawFormRejection},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use url::Url;

use super::{DevelopmentIssuer, Person, Registered, grants::Grant, page, params::Params};
use crate::{Level, Scope, Scopes, claims::is_id};

/// What can be granted, as examples.
pub(super) const SCOPES: &[&str] = &[
    "openid",
    "fhirUser",
    "launch/patient",
    "patient/*.rs",
    "patient/*.cruds",
    "user/*.rs",
    "user/*.cruds",
    "system/*.rs",
    "system/*.cruds",
];

/// The longest `state` or `nonce`, in bytes.
const STATE_BYTES_MAX: usize = 1_024;

/// What an app asks for, once that makes sense.
struct Asked<'a> {
    client: &'a Registered,
    redirect: Back<'a>,
    challenge: &'a str,
    nonce: Option<&'a str>,
    /// Which scopes could be granted, depending on who is picked.
    scopes: Vec<&'a str>,
}

/// Where the answer goes.
#[derive(Clone, Copy)]
struct Back<'a> {
    uri: &'a str,
    state: Option<&'a str>,
}

impl Back<'_> {
    fn with(self, answer: &[(&str, &str)]) -> Response {
        let Ok(mut uri) = Url::parse(self.uri) else { return page_error("the app is unknown") };
        {
            let mut query = uri.query_pairs_mut();
            query.extend_pairs(answer);
            if let Some(state) = self.state {
                query.append_pair("state", state);
            }
        }
        page::guarded(Redirect::to(uri.as_str()))
    }

    fn refuse(self, error: &str, description: &str) -> Response {
        self.with(&[("error", error), ("error_description", description)])
    }
}

/// Says it to the person, because the app's address cannot be trusted to be the app's.
fn page_error(message: &str) -> Response {
    page::guarded((StatusCode::BAD_REQUEST, axum::response::Html(page::refused(message))))
}

/// Shows who can be picked.
pub(super) async fn show(
    State(issuer): State<DevelopmentIssuer>,
    form: Result<RawForm, RawFormRejection>,
) -> Response {
    answer(&issuer, form, false)
}

/// Takes who was picked. Without a pick it shows the page, as an app may send its request by POST.
pub(super) async fn choose(
    State(issuer): State<DevelopmentIssuer>,
    form: Result<RawForm, RawFormRejection>,
) -> Response {
    answer(&issuer, form, true)
}

fn answer(
    issuer: &DevelopmentIssuer,
    form: Result<RawForm, RawFormRejection>,
    may_pick: bool,
) -> Response {
    let form = match form {
        Ok(RawForm(form)) => form,
        Err(rejection) => return page::guarded(rejection.into_response()),
    };
    let Some(params) = Params::parse(&form) else {
        return page_error("a parameter is repeated, or there are too many");
    };
    let asked = match read(issuer, &params) {
        Ok(asked) => asked,
        Err(refusal) => return refusal,
    };
    match params.get("person") {
        Some(subject) if may_pick => match issuer.person(subject) {
            Some(person) => grant(issuer, &asked, person, params.get("patient")),
            None => page_error("nobody of that name can be picked"),
        },
        _ => {
            let people = &issuer.0.settings.people;
            let wants_patient = asked.scopes.iter().any(|scope| needs_patient(scope));
            let body =
                page::pick(&asked.client.client.id, &asked.scopes, people, wants_patient, &params);
            page::guarded(axum::response::Html(body))
        }
    }
}

/// Checks what an app asks for. The error is the answer.
#[expect(clippy::result_large_err, reason = "it is the answer, made once a request")]
fn read<'a>(issuer: &'a DevelopmentIssuer, params: &'a Params) -> Result<Asked<'a>, Response> {
    // Until both of these are known to belong together, nobody is sent anywhere.
    let client = params.get("client_id").and_then(|id| issuer.client(id));
    let client = client.ok_or_else(|| page_error("the app is unknown"))?;
    let uri = params.get("redirect_uri");
    let uri = uri.filter(|uri| client.client.redirect_uris.iter().any(|known| known == uri));
    let uri = uri.ok_or_else(|| page_error("the address to go back to is not the app's"))?;
    let state = params.get("state").filter(|state| state.len() <= STATE_BYTES_MAX);
    let redirect = Back { uri, state };
    let invalid = |description| redirect.refuse("invalid_request", description);

    if params.get("response_type") != Some("code") {
        return Err(redirect.refuse("unsupported_response_type", "only codes are given"));
    }
    if state.is_none() {
        return Err(invalid("state is missing or too long"));
    }
    // Apps differ in whether they write the last slash.
    let bare = |address: &'a str| address.trim_end_matches('/');
    if params.get("aud").map(bare) != Some(bare(&issuer.0.settings.audience)) {
        return Err(invalid("aud is not the FHIR server that tokens are for"));
    }
    if params.get("code_challenge_method") != Some("S256") {
        return Err(invalid("code_challenge_method must be S256"));
    }
    let challenge = params.get("code_challenge").filter(|text| is_digest(text));
    let challenge = challenge.ok_or_else(|| invalid("code_challenge is no SHA-256 digest"))?;
    let nonce = params.get("nonce");
    if nonce.is_some_and(|nonce| nonce.len() > STATE_BYTES_MAX) {
        return Err(invalid("nonce is too long"));
    }
    let scope = params.get("scope").unwrap_or_default();
    if Scopes::parse(scope).is_err() {
        return Err(redirect.refuse("invalid_scope", "there are too many scopes"));
    }
    let scopes = grantable(client, scope, |scope| match scope {
        // Nobody signs in for the system, and there are no refresh tokens and no launches from elsewhere.
        Scope::Resources(resources) => resources.level() != Level::System,
        Scope::OpenId | Scope::FhirUser | Scope::Profile | Scope::LaunchPatient => true,
        Scope::Launch | Scope::LaunchEncounter => false,
        Scope::OfflineAccess | Scope::OnlineAccess => false,
    });
    if scopes.is_empty() {
        return Err(redirect.refuse("invalid_scope", "nothing of this can be granted"));
    }
    Ok(Asked { client, redirect, challenge, nonce, scopes })
}

/// Those of the scopes asked for that the client may have and `keep` keeps, as they were written.
pub(super) fn grantable<'a>(
    client: &Registered,
    asked: &'a str,
    keep: impl Fn(&Scope) -> bool,
) -> Vec<&'a str> {
    let granted = |text: &&str| {
        Scope::parse(text).is_some_and(|scope| client.scopes.covers(&scope) && keep(&scope))
    };
    asked.split_ascii_whitespace().filter(granted).collect()
}

/// Whether a scope means nothing without a patient in context.
fn needs_patient(scope: &str) -> bool {
    match Scope::parse(scope) {
        Some(Scope::Resources(resources)) => resources.level() == Level::Patient,
        Some(Scope::LaunchPatient) => true,
        _ => false,
    }
}

/// Sends the person back with a code for what they were picked for.
fn grant(
    issuer: &DevelopmentIssuer,
    asked: &Asked<'_>,
    person: &Person,
    picked_patient: Option<&str>,
) -> Response {
    // Who is a patient sees themselves. Others name the patient in whose context they work.
    let own = person.claims.get("patient").and_then(|patient| patient.as_str());
    let patient = own.or(picked_patient);
    if patient.is_some_and(|patient| !is_id(patient)) {
        return page_error("that is no id of a patient");
    }
    let scopes: Vec<&str> =
        asked.scopes.iter().copied().filter(|s| patient.is_some() || !needs_patient(s)).collect();
    if scopes.is_empty() {
        return asked.redirect.refuse("invalid_scope", "nothing can be granted without a patient");
    }
    let patient = patient.filter(|_| scopes.iter().any(|scope| needs_patient(scope)));
    let now = issuer.now();
    let grant = Grant {
        client_id: asked.client.client.id.clone(),
        redirect_uri: asked.redirect.uri.to_owned(),
        challenge: asked.challenge.to_owned(),
        subject: person.subject.clone(),
        patient: patient.map(str::to_owned),
        scope: scopes.join(" "),
        nonce: asked.nonce.map(str::to_owned),
        expires: now.after(issuer.0.settings.code_lifetime),
    };
    let code = issuer.draw();
    if issuer.0.grants.lock().insert(&code, grant, now) {
        asked.redirect.with(&[("code", &code)])
    } else {
        asked.redirect.refuse("temporarily_unavailable", "too many codes are out")
    }
}

/// Whether it has the form of a SHA-256 digest in base64url: 43 letters (RFC 7636, section 4.2).
fn is_digest(text: &str) -> bool {
    text.len() == 43
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
