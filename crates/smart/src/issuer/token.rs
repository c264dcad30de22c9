//! Where codes and assertions become tokens.

use axum::{
    Json,
    extract::{RawForm, State, rejection::RawFormRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    DevelopmentIssuer, Registered, assertion, authorize::grantable, grants::Grant, params::Params,
};
use crate::{Level, Scope, Scopes};

/// Why no token is given.
///
/// # Source
///
/// RFC 6749, section 5.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TokenError {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
}

impl TokenError {
    const fn bad(error: &'static str, description: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, error, description }
    }

    pub(super) const fn request(description: &'static str) -> Self {
        Self::bad("invalid_request", description)
    }

    pub(super) const fn client(description: &'static str) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, error: "invalid_client", description }
    }

    pub(super) const fn busy(description: &'static str) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            error: "temporarily_unavailable",
            description,
        }
    }

    const fn grant(description: &'static str) -> Self {
        Self::bad("invalid_grant", description)
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "error_description": self.description });
        (self.status, Json(body)).into_response()
    }
}

/// Gives a token for a code or an assertion.
pub(super) async fn issue(
    State(issuer): State<DevelopmentIssuer>,
    form: Result<RawForm, RawFormRejection>,
) -> Response {
    let answer = match form {
        Ok(RawForm(form)) => answer(&issuer, &form)
            .map_or_else(IntoResponse::into_response, |body| Json(body).into_response()),
        Err(rejection) => {
            let error = TokenError::request("the request is no form, or too long");
            (rejection.status(), error).into_response()
        }
    };
    ([(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")], answer).into_response()
}

fn answer(issuer: &DevelopmentIssuer, form: &[u8]) -> Result<Value, TokenError> {
    let params = Params::parse(form)
        .ok_or(TokenError::request("a parameter is repeated, or there are too many"))?;
    match params.get("grant_type") {
        Some("authorization_code") => for_code(issuer, &params),
        Some("client_credentials") => for_client(issuer, &params),
        Some(_) => Err(TokenError::bad("unsupported_grant_type", "this grant is not supported")),
        None => Err(TokenError::request("grant_type is missing")),
    }
}

/// A token for the person who was picked.
fn for_code(issuer: &DevelopmentIssuer, params: &Params) -> Result<Value, TokenError> {
    let client = assertion::authenticate(issuer, params)?;
    let code = params.get("code").ok_or(TokenError::request("code is missing"))?;
    let grant = issuer.0.grants.lock().take(code, issuer.now());
    let grant = grant.ok_or(TokenError::grant("the code is unknown, used or expired"))?;
    if grant.client_id != client.client.id {
        return Err(TokenError::grant("the code is another app's"));
    }
    if params.get("redirect_uri") != Some(grant.redirect_uri.as_str()) {
        return Err(TokenError::grant("redirect_uri is not the one of the request for the code"));
    }
    let verifier = params.get("code_verifier").unwrap_or_default();
    if !shows(verifier, &grant.challenge) {
        return Err(TokenError::grant("code_verifier is not the one of the request for the code"));
    }
    // People are fixed when the issuer begins, so whoever was picked is still there.
    let person = issuer.person(&grant.subject);
    let person = person.ok_or(TokenError::grant("nobody of that name can be picked"))?;

    let mut claims = person.claims.clone();
    claims.remove("patient");
    if let Some(patient) = &grant.patient {
        claims.insert("patient".into(), json!(patient));
    }
    let mut body = access(issuer, client, &grant.subject, &grant.scope, claims);
    let scopes = Scopes::parse(&grant.scope).unwrap_or_default();
    if scopes.covers(&Scope::OpenId) {
        body.insert("id_token".into(), json!(id_token(issuer, &grant, &scopes, &person.claims)));
    }
    if let Some(patient) = grant.patient {
        body.insert("patient".into(), json!(patient));
    }
    Ok(Value::Object(body))
}

/// A token for a backend service.
fn for_client(issuer: &DevelopmentIssuer, params: &Params) -> Result<Value, TokenError> {
    let client = assertion::authenticate(issuer, params)?;
    if client.client.keys.is_none() {
        let description = "an app without keys cannot act by itself";
        return Err(TokenError::bad("unauthorized_client", description));
    }
    let scope = params.get("scope").unwrap_or_default();
    let readable = Scopes::parse(scope).is_ok();
    let scopes = grantable(
        client,
        scope,
        |scope| matches!(scope, Scope::Resources(resources) if resources.level() == Level::System),
    );
    if !readable || scopes.is_empty() {
        return Err(TokenError::bad("invalid_scope", "nothing of this can be granted"));
    }
    let claims = client.client.claims.clone();
    Ok(Value::Object(access(issuer, client, &client.client.id, &scopes.join(" "), claims)))
}

/// The answer with an access token in it.
fn access(
    issuer: &DevelopmentIssuer,
    client: &Registered,
    subject: &str,
    scope: &str,
    mut claims: Map<String, Value>,
) -> Map<String, Value> {
    let settings = &issuer.0.settings;
    claims.append(&mut common(issuer, subject, &settings.audience));
    claims.insert("client_id".into(), json!(client.client.id));
    claims.insert("scope".into(), json!(scope));
    claims.insert("jti".into(), json!(issuer.draw()));
    let token = issuer.0.signer.sign("at+jwt", &claims);
    let mut body = Map::new();
    for (name, value) in [
        ("access_token", json!(token)),
        ("token_type", json!("Bearer")),
        ("expires_in", json!(settings.token_lifetime.as_secs())),
        ("scope", json!(scope)),
    ] {
        body.insert(name.into(), value);
    }
    body
}

/// Who signed in, for the app itself.
fn id_token(
    issuer: &DevelopmentIssuer,
    grant: &Grant,
    scopes: &Scopes,
    person: &Map<String, Value>,
) -> String {
    let mut claims = common(issuer, &grant.subject, &grant.client_id);
    if let Some(nonce) = &grant.nonce {
        claims.insert("nonce".into(), json!(nonce));
    }
    if let Some(user) = person.get("fhirUser").filter(|_| scopes.covers(&Scope::FhirUser)) {
        claims.insert("fhirUser".into(), user.clone());
    }
    issuer.0.signer.sign("JWT", &claims)
}

/// The claims of any token.
fn common(issuer: &DevelopmentIssuer, subject: &str, audience: &str) -> Map<String, Value> {
    let (settings, now) = (&issuer.0.settings, issuer.now());
    let mut claims = Map::new();
    for (name, value) in [
        ("iss", json!(settings.url)),
        ("sub", json!(subject)),
        ("aud", json!(audience)),
        ("iat", json!(now.0)),
        ("exp", json!(now.after(settings.token_lifetime).0)),
    ] {
        claims.insert(name.into(), value);
    }
    claims
}

/// Whether `verifier` is what `challenge` is the digest of.
///
/// # Source
///
/// RFC 7636, sections 4.1 and 4.6.
fn shows(verifier: &str, challenge: &str) -> bool {
    let usable = (43..=128).contains(&verifier.len())
        && verifier
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~'));
    let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    usable && bool::from(digest.as_bytes().ct_eq(challenge.as_bytes()))
}
