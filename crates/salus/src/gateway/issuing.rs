//! The development issuer of one gateway: who can be picked, and a token in one step.

use std::time::Duration;

use alloy_primitives::Address;
use axum::{
    body::{Body, to_bytes},
    http::{Request, Response, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Timestamp;
use gatekeeper::Entropy;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use smart::issuer::{Client, DevelopmentIssuer, IssuerError, IssuerSettings, Person};
use tower::ServiceExt as _;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::settings::ClientSettings;
use crate::{Error, system::real_time};

/// The client for which [`Tokens`] asks. Its address is nobody's: the code in it is never sent there.
const OWN_CLIENT: &str = "salus";
const OWN_REDIRECT: &str = "http://localhost/salus";

/// What anybody could ask for who signs in.
const SCOPES: &str =
    "openid fhirUser launch/patient patient/*.cruds user/*.cruds patient/*.rs user/*.rs";

/// How long a token serves: long enough to try something out.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The longest answer of the issuer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1_024;

/// Somebody of the network, as the development issuer's page shows them.
pub(crate) struct Somebody {
    /// What they are called.
    pub(crate) name: String,
    /// Their member address, or their account.
    pub(crate) address: Address,
    /// Whether they are a patient.
    pub(crate) is_patient: bool,
}

impl Somebody {
    fn person(self) -> Person {
        let address = self.address.to_string();
        let mut claims = Map::new();
        if self.is_patient {
            claims.insert("patient".into(), json!(address));
        }
        claims.insert("salus_member".into(), json!(address));
        Person { subject: self.name.clone(), name: self.name, claims }
    }
}

/// The development issuer at `url`, whose tokens are for `audience`.
pub(crate) fn development_issuer(
    url: &str,
    audience: &str,
    seed: &Zeroizing<[u8; 32]>,
    people: Vec<Somebody>,
    clients: &[ClientSettings],
    entropy: &Entropy,
) -> Result<DevelopmentIssuer, IssuerError> {
    let client = |id: &str, redirect_uris: Vec<String>| Client {
        id: id.to_owned(),
        redirect_uris,
        keys: None,
        scopes: SCOPES.to_owned(),
        claims: Map::new(),
    };
    let own = client(OWN_CLIENT, vec![OWN_REDIRECT.to_owned()]);
    let others = clients.iter().map(|app| client(&app.id, app.redirect_uris.clone()));
    let settings = IssuerSettings {
        url: url.to_owned(),
        audience: audience.to_owned(),
        signing_seed: seed.clone(),
        people: people.into_iter().map(Somebody::person).collect(),
        clients: std::iter::once(own).chain(others).collect(),
        code_lifetime: Duration::from_secs(60),
        token_lifetime: TOKEN_LIFETIME,
    };
    DevelopmentIssuer::new(settings, entropy.fork(), || Timestamp(real_time()))
}

/// Gives tokens of a development issuer in one step.
pub(crate) struct Tokens {
    pub(crate) issuer: DevelopmentIssuer,
    /// What they are for: the FHIR interface's address.
    pub(crate) audience: String,
}

impl Tokens {
    /// A token for somebody who can be picked, by the same steps that an app takes.
    pub(crate) async fn token_for(
        &self,
        subject: &str,
        entropy: &Entropy,
    ) -> Result<String, Error> {
        let verifier = hex::encode(entropy.bytes::<32>());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let state = hex::encode(entropy.bytes::<8>());
        let picked = [
            ("response_type", "code"),
            ("client_id", OWN_CLIENT),
            ("redirect_uri", OWN_REDIRECT),
            ("scope", "openid patient/*.cruds user/*.cruds"),
            ("state", &state),
            ("aud", &self.audience),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("person", subject),
        ];
        let answer = post(&self.issuer, "/authorize", &picked).await?;
        let location = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok());
        let location = location.and_then(|to| Url::parse(to).ok());
        let code = location.and_then(|to| {
            to.query_pairs().find_map(|(name, value)| (name == "code").then(|| value.into_owned()))
        });
        let code = code.ok_or("the development issuer gave no code")?;
        let exchanged = [
            ("grant_type", "authorization_code"),
            ("client_id", OWN_CLIENT),
            ("redirect_uri", OWN_REDIRECT),
            ("code", &code),
            ("code_verifier", &verifier),
        ];
        let answer = post(&self.issuer, "/token", &exchanged).await?;
        let body = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await?;
        let body: Value = serde_json::from_slice(&body)?;
        let token = body["access_token"].as_str().ok_or("the development issuer gave no token")?;
        Ok(token.to_owned())
    }
}

async fn post(
    issuer: &DevelopmentIssuer,
    path: &str,
    form: &[(&str, &str)],
) -> Result<Response<Body>, Error> {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form))?;
    let answer = issuer.router().oneshot(request).await?;
    if answer.status() == StatusCode::BAD_REQUEST {
        return Err("the development issuer knows nobody of that name".into());
    }
    Ok(answer)
}
