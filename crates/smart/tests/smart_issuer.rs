//! The development issuer: a whole launch, a backend service, and whatever must not get a token.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20::ChaCha20Rng;
use common::{NOW, encode, es256, es384, keys, with};
use domain::Timestamp;
use proptest::prelude::*;
use rand_core::SeedableRng as _;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use smart::{
    Interaction, KeySource, Keys, Level, Settings, TrustedIssuer, Verifier,
    issuer::{Client, DevelopmentIssuer, IssuerError, IssuerSettings, Person},
};
use tower::ServiceExt as _;
use url::Url;

const ISSUER: &str = "http://localhost:8081/dev";
const AUDIENCE: &str = "http://localhost:8080/fhir";
const BACK: &str = "http://localhost:3000/back?app=1";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn issuer_settings() -> IssuerSettings {
    let person = |subject: &str, name: &str, claims| Person {
        subject: subject.into(),
        name: name.into(),
        claims: map(claims),
    };
    let client = |id: &str, redirect: &[&str], keys, scopes: &str, claims| Client {
        id: id.into(),
        redirect_uris: redirect.iter().map(|uri| (*uri).to_owned()).collect(),
        keys,
        scopes: scopes.into(),
        claims: map(claims),
    };
    let physician = json!({
        "fhirUser": "Practitioner/cai", "purpose_of_use": "TREAT", "salus_member": "0xaa",
    });
    IssuerSettings {
        url: format!("{ISSUER}/"),
        audience: AUDIENCE.into(),
        signing_seed: [7; 32].into(),
        people: vec![
            person("cai", "Dr <Cai> & \"Co\"", physician),
            person("pat", "Pat", json!({ "fhirUser": "Patient/pat-1", "patient": "pat-1" })),
        ],
        clients: vec![
            client(
                "chart",
                &[BACK, "org.example.chart:/back"],
                None,
                "openid fhirUser launch/patient patient/*.rs user/*.cruds system/*.rs offline_access",
                json!({}),
            ),
            client("other", &[BACK], None, "openid", json!({})),
            client(
                "backend",
                &[],
                Some(keys(&[es384().jwk("k1"), es256().jwk("k2")])),
                "system/*.rs user/*.rs",
                json!({ "purpose_of_use": "HOPERAT", "salus_member": "0xbb" }),
            ),
            client("signing", &[BACK], Some(keys(&[es384().jwk("k1")])), "openid", json!({})),
        ],
        code_lifetime: Duration::from_secs(60),
        token_lifetime: Duration::from_secs(600),
    }
}

/// An issuer whose clock the test sets.
struct World {
    issuer: DevelopmentIssuer,
    router: Router,
    clock: Arc<AtomicU64>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn location(&self) -> Url {
        self.headers[header::LOCATION].to_str().unwrap().parse().unwrap()
    }

    /// A parameter of the address that somebody is sent to.
    fn sent(&self, name: &str) -> Option<String> {
        let location = self.location();
        location.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
    }
}

fn form(params: &Value) -> String {
    let mut text = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in params.as_object().unwrap() {
        text.append_pair(name, value.as_str().unwrap());
    }
    text.finish()
}

fn challenge() -> String {
    encode(Sha256::digest(VERIFIER))
}

fn asked() -> Value {
    json!({
        "response_type": "code",
        "client_id": "chart",
        "redirect_uri": BACK,
        "scope": "openid fhirUser user/*.rs",
        "state": "a b&c",
        "aud": AUDIENCE,
        "code_challenge": challenge(),
        "code_challenge_method": "S256",
        "nonce": "once",
    })
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(AtomicU64::new(NOW));
        let time = Arc::clone(&clock);
        let issuer =
            DevelopmentIssuer::new(issuer_settings(), ChaCha20Rng::from_seed([1; 32]), move || {
                Timestamp(time.load(Ordering::SeqCst))
            });
        let issuer = issuer.unwrap();
        Self { router: issuer.router(), issuer, clock }
    }

    fn wait(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let body = String::from_utf8(body.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, params: &Value) -> Answer {
        self.post_text(path, form(params)).await
    }

    async fn post_text(&self, path: &str, text: String) -> Answer {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "http://localhost:3000");
        self.send(request.body(text.into()).unwrap()).await
    }

    /// Picks somebody and returns the code.
    async fn code(&self, person: &str, changes: Value) -> String {
        let params = with(&with(&asked(), json!({ "person": person })), changes);
        let answer = self.post("/authorize", &params).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        assert_eq!(answer.sent("state").unwrap(), "a b&c");
        answer.sent("code").unwrap_or_else(|| panic!("{}", answer.location()))
    }

    fn exchange(code: &str) -> Value {
        json!({
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": BACK,
            "client_id": "chart",
            "code_verifier": VERIFIER,
        })
    }

    async fn token(&self, params: &Value) -> Answer {
        let answer = self.post("/token", params).await;
        assert_eq!(answer.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
        answer
    }

    /// No token is given, for that reason.
    #[track_caller]
    fn check_refused(answer: &Answer, status: StatusCode, error: &str) {
        assert_eq!((answer.status, answer.json()["error"].as_str()), (status, Some(error)));
        assert!(answer.json().get("access_token").is_none());
    }

    /// A gateway that trusts the issuer.
    fn verifier(&self) -> Verifier {
        let keys = Keys::parse(self.issuer.jwks().to_string().as_bytes()).unwrap();
        let keys = KeySource::Fixed(keys);
        let issuer = TrustedIssuer { issuer: ISSUER.into(), keys, names_members: true };
        Verifier::new(Settings::new(vec![AUDIENCE.into()]), vec![issuer]).unwrap()
    }
}

/// The claims of a token, unchecked.
fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_physician_signs_in_and_is_let_in() {
    let world = World::new();
    let page = world.get(&format!("/authorize?{}", form(&asked()))).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("For development only"));
    assert!(page.body.contains("Dr &lt;Cai&gt; &amp; &quot;Co&quot;"), "{}", page.body);
    assert!(page.body.contains("value=\"a b&amp;c\""));
    assert!(!page.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    assert_eq!(page.headers[header::CACHE_CONTROL], "no-store");

    let code = world.code("cai", json!({})).await;
    let answer = world.token(&World::exchange(&code)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 600);
    assert_eq!(body["scope"], "openid fhirUser user/*.rs");
    assert!(body.get("patient").is_none() && body.get("refresh_token").is_none());

    let token = body["access_token"].as_str().unwrap();
    let caller = world.verifier().verify(token, Timestamp(NOW + 1)).await.unwrap();
    assert_eq!(caller.subject, "cai");
    assert_eq!(caller.client_id, "chart");
    assert_eq!(caller.fhir_user.as_deref(), Some("Practitioner/cai"));
    assert_eq!(caller.purpose_of_use.as_deref(), Some("TREAT"));
    assert_eq!(caller.member.as_deref(), Some("0xaa"));
    assert_eq!(caller.patient, None);
    assert_eq!(caller.expires, Timestamp(NOW + 600));
    assert_eq!(caller.demand(Level::User, "Observation", Interaction::Search), Ok(()));
    assert!(caller.demand(Level::User, "Observation", Interaction::Create).is_err());

    // What the app learns is for the app, and opens nothing.
    let id_token = body["id_token"].as_str().unwrap();
    let said = claims(id_token);
    assert_eq!(said["aud"], "chart");
    assert_eq!(said["nonce"], "once");
    assert_eq!(said["fhirUser"], "Practitioner/cai");
    assert!(world.verifier().verify(id_token, Timestamp(NOW + 1)).await.is_err());
}

#[tokio::test]
async fn a_patient_is_their_own_context_and_others_name_one() {
    let world = World::new();
    let scope = json!({ "scope": "launch/patient patient/*.rs offline_access" });
    let named = with(&scope, json!({ "patient": "pat-2" }));
    for (person, changes, expected) in
        [("pat", &scope, "pat-1"), ("pat", &named, "pat-1"), ("cai", &named, "pat-2")]
    {
        let code = world.code(person, changes.clone()).await;
        let body = world.token(&World::exchange(&code)).await.json();
        assert_eq!(body["patient"], expected);
        assert_eq!(body["scope"], "launch/patient patient/*.rs");
        assert!(body.get("id_token").is_none());
        assert_eq!(claims(body["access_token"].as_str().unwrap())["patient"], expected);
    }
    // Without the scope the patient is not named either.
    let code = world.code("pat", json!({ "scope": "user/*.rs" })).await;
    let body = world.token(&World::exchange(&code)).await.json();
    assert!(claims(body["access_token"].as_str().unwrap()).get("patient").is_none());
    // Without a patient there is no scope.
    let params = with(&with(&asked(), scope), json!({ "person": "cai" }));
    let answer = world.post("/authorize", &params).await;
    assert_eq!(answer.sent("error").as_deref(), Some("invalid_scope"));
    let params = with(&params, json!({ "patient": "../x" }));
    assert_eq!(world.post("/authorize", &params).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_app_of_its_own_scheme_is_sent_back_to() {
    let world = World::new();
    let uri = json!({ "redirect_uri": "org.example.chart:/back" });
    let code = world.code("cai", uri.clone()).await;
    let answer = world.token(&with(&World::exchange(&code), uri)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn nobody_is_sent_to_an_address_that_is_not_the_apps() {
    let world = World::new();
    for changes in [
        json!({ "client_id": "nobody" }),
        json!({ "client_id": null }),
        json!({ "redirect_uri": "http://localhost:3000/back" }),
        json!({ "redirect_uri": "http://localhost:3000/back?app=1&x=2" }),
        json!({ "redirect_uri": "http://LOCALHOST:3000/back?app=1" }),
        json!({ "redirect_uri": "http://evil.example/" }),
        json!({ "redirect_uri": null }),
        json!({ "client_id": "other", "redirect_uri": "org.example.chart:/back" }),
    ] {
        let params = with(&with(&asked(), json!({ "person": "cai" })), changes.clone());
        for answer in [
            world.get(&format!("/authorize?{}", form(&params))).await,
            world.post("/authorize", &params).await,
        ] {
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{changes}");
            assert!(!answer.headers.contains_key(header::LOCATION), "{changes}");
        }
    }
    let twice = format!("{}&redirect_uri=http%3A%2F%2Fevil.example%2F", form(&asked()));
    let answer = world.get(&format!("/authorize?{twice}")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_an_app_asks_for_must_make_sense() {
    let world = World::new();
    for (changes, expected) in [
        (json!({ "response_type": "token" }), "unsupported_response_type"),
        (json!({ "response_type": null }), "unsupported_response_type"),
        (json!({ "state": null }), "invalid_request"),
        (json!({ "aud": "http://evil.example/fhir" }), "invalid_request"),
        (json!({ "aud": null }), "invalid_request"),
        (json!({ "code_challenge_method": "plain" }), "invalid_request"),
        (json!({ "code_challenge_method": null }), "invalid_request"),
        (json!({ "code_challenge": null }), "invalid_request"),
        (json!({ "code_challenge": "short" }), "invalid_request"),
        (json!({ "code_challenge": "!".repeat(43) }), "invalid_request"),
        (json!({ "nonce": "x".repeat(2_000) }), "invalid_request"),
        (json!({ "scope": null }), "invalid_scope"),
        (json!({ "scope": "system/*.rs" }), "invalid_scope"),
        (json!({ "scope": "patient/*.cruds" }), "invalid_scope"),
        (json!({ "scope": "a ".repeat(200) }), "invalid_scope"),
    ] {
        let params = with(&with(&asked(), json!({ "person": "cai" })), changes.clone());
        let answer = world.post("/authorize", &params).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{changes}");
        assert_eq!(answer.sent("error").as_deref(), Some(expected), "{changes}");
        assert_eq!(answer.sent("code"), None);
        assert!(answer.location().as_str().starts_with(BACK));
        assert_eq!(answer.sent("state").is_some(), changes.get("state").is_none());
    }
    let nobody = with(&asked(), json!({ "person": "somebody" }));
    assert_eq!(world.post("/authorize", &nobody).await.status, StatusCode::BAD_REQUEST);
    // A link cannot pick for whoever follows it.
    let link = with(&asked(), json!({ "person": "cai" }));
    let answer = world.get(&format!("/authorize?{}", form(&link))).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("<form"));
}

#[tokio::test]
async fn a_code_serves_once_briefly_and_only_whom_it_is_for() {
    let world = World::new();
    let bad = StatusCode::BAD_REQUEST;
    let other = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX";
    for (changes, status, expected) in [
        (json!({ "code_verifier": other }), bad, "invalid_grant"),
        (json!({ "code_verifier": null }), bad, "invalid_grant"),
        (json!({ "code_verifier": challenge() }), bad, "invalid_grant"),
        (json!({ "redirect_uri": "org.example.chart:/back" }), bad, "invalid_grant"),
        (json!({ "redirect_uri": null }), bad, "invalid_grant"),
        (json!({ "client_id": "other" }), bad, "invalid_grant"),
        (json!({ "client_id": "signing" }), StatusCode::UNAUTHORIZED, "invalid_client"),
        (json!({ "client_id": "nobody" }), StatusCode::UNAUTHORIZED, "invalid_client"),
        (json!({ "client_id": null }), StatusCode::UNAUTHORIZED, "invalid_client"),
        (json!({ "code": "x" }), bad, "invalid_grant"),
        (json!({ "code": null }), bad, "invalid_request"),
        (json!({ "grant_type": "password" }), bad, "unsupported_grant_type"),
        (json!({ "grant_type": "client_credentials" }), bad, "unauthorized_client"),
        (json!({ "grant_type": null }), bad, "invalid_request"),
    ] {
        let code = world.code("cai", json!({})).await;
        let answer = world.token(&with(&World::exchange(&code), changes)).await;
        World::check_refused(&answer, status, expected);
    }

    let code = world.code("cai", json!({})).await;
    assert_eq!(world.token(&World::exchange(&code)).await.status, StatusCode::OK);
    World::check_refused(&world.token(&World::exchange(&code)).await, bad, "invalid_grant");

    // Who showed a code wrongly has used it up.
    let code = world.code("cai", json!({})).await;
    let wrong = with(&World::exchange(&code), json!({ "code_verifier": other }));
    World::check_refused(&world.token(&wrong).await, bad, "invalid_grant");
    World::check_refused(&world.token(&World::exchange(&code)).await, bad, "invalid_grant");

    let code = world.code("cai", json!({})).await;
    world.wait(60);
    World::check_refused(&world.token(&World::exchange(&code)).await, bad, "invalid_grant");

    let code = world.code("cai", json!({})).await;
    let twice = format!("{}&code={code}", form(&World::exchange(&code)));
    World::check_refused(&world.post_text("/token", twice).await, bad, "invalid_request");
}

#[tokio::test]
async fn codes_are_bounded_and_make_room_when_they_expire() {
    let world = World::new();
    let params = with(&asked(), json!({ "person": "cai" }));
    for _ in 0..1_024 {
        assert!(world.post("/authorize", &params).await.sent("code").is_some());
    }
    let full = world.post("/authorize", &params).await;
    assert_eq!(full.sent("error").as_deref(), Some("temporarily_unavailable"));
    world.wait(60);
    assert!(world.post("/authorize", &params).await.sent("code").is_some());
}

fn asserted() -> Value {
    json!({
        "iss": "backend", "sub": "backend", "aud": format!("{ISSUER}/token"),
        "exp": NOW + 240, "jti": "one",
    })
}

fn by_assertion(assertion: &str) -> Value {
    json!({
        "grant_type": "client_credentials",
        "scope": "system/*.rs user/*.rs system/Task.cruds",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    })
}

fn assertion(changes: Value) -> String {
    let header = json!({ "alg": "ES384", "kid": "k1", "typ": "JWT" });
    es384().sign(&header, &with(&asserted(), changes))
}

#[tokio::test]
async fn a_backend_service_gets_a_token_of_its_own() {
    let world = World::new();
    let answer = world.token(&by_assertion(&assertion(json!({})))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let body = answer.json();
    // Only for the system, and only what the client may have.
    assert_eq!(body["scope"], "system/*.rs");
    let token = body["access_token"].as_str().unwrap();
    let caller = world.verifier().verify(token, Timestamp(NOW + 1)).await.unwrap();
    assert_eq!((caller.subject.as_str(), caller.client_id.as_str()), ("backend", "backend"));
    assert_eq!(caller.member.as_deref(), Some("0xbb"));
    assert_eq!(caller.demand(Level::System, "Patient", Interaction::Read), Ok(()));

    let replayed = world.token(&by_assertion(&assertion(json!({})))).await;
    World::check_refused(&replayed, StatusCode::UNAUTHORIZED, "invalid_client");
    // Not even after it has expired, when it is forgotten.
    world.wait(270);
    let replayed = world.token(&by_assertion(&assertion(json!({})))).await;
    World::check_refused(&replayed, StatusCode::UNAUTHORIZED, "invalid_client");
}

#[tokio::test]
async fn an_assertion_that_does_not_hold_gets_nothing() {
    let world = World::new();
    let none = common::message(&json!({ "alg": "none", "kid": "k1" }), &asserted());
    let of = |pair: common::Pair, kid: &str, typ: &str| {
        pair.sign(&json!({ "alg": pair.name(), "kid": kid, "typ": typ }), &asserted())
    };
    for (name, assertion) in [
        ("expired", assertion(json!({ "exp": NOW - 30 }))),
        ("not yet valid", assertion(json!({ "nbf": NOW + 60 }))),
        ("valid for an hour", assertion(json!({ "exp": NOW + 3_600 }))),
        ("without end", assertion(json!({ "exp": null }))),
        ("for another address", assertion(json!({ "aud": ISSUER }))),
        ("for nobody", assertion(json!({ "aud": null }))),
        ("without jti", assertion(json!({ "jti": null }))),
        ("long jti", assertion(json!({ "jti": "x".repeat(256) }))),
        ("another subject", assertion(json!({ "sub": "signing" }))),
        ("no subject", assertion(json!({ "sub": null }))),
        ("unknown client", assertion(json!({ "iss": "nobody", "sub": "nobody" }))),
        ("public client", assertion(json!({ "iss": "chart", "sub": "chart" }))),
        ("unknown key", of(es384(), "k9", "JWT")),
        ("another key", of(es256(), "k1", "JWT")),
        ("an access token", of(es384(), "k1", "at+jwt")),
        ("alg none", format!("{none}.")),
        ("tampered", format!("{}AAAA", assertion(json!({})))),
        ("garbage", "garbage".into()),
    ] {
        let answer = world.token(&by_assertion(&assertion)).await;
        assert_eq!(answer.json()["error"], "invalid_client", "{name}");
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    let good = || by_assertion(&assertion(json!({})));
    let unauthorized = StatusCode::UNAUTHORIZED;
    for (changes, status, expected) in [
        (json!({ "client_id": "signing" }), unauthorized, "invalid_client"),
        (json!({ "client_assertion_type": "x" }), StatusCode::BAD_REQUEST, "invalid_request"),
        (
            json!({ "client_assertion": null, "client_id": "backend" }),
            unauthorized,
            "invalid_client",
        ),
    ] {
        World::check_refused(&world.token(&with(&good(), changes)).await, status, expected);
    }
    // None of these used the good one up.
    let scope = with(&good(), json!({ "scope": "user/*.rs" }));
    World::check_refused(&world.token(&scope).await, StatusCode::BAD_REQUEST, "invalid_scope");
}

#[tokio::test]
async fn an_app_with_keys_must_sign_for_its_codes() {
    let world = World::new();
    let asked = json!({ "client_id": "signing", "scope": "openid" });
    let code = world.code("cai", asked.clone()).await;
    let named = with(&World::exchange(&code), json!({ "client_id": "signing" }));
    let refused = world.token(&named).await;
    World::check_refused(&refused, StatusCode::UNAUTHORIZED, "invalid_client");

    let assertion = assertion(json!({ "iss": "signing", "sub": "signing" }));
    let signed = with(&named, by_assertion(&assertion));
    let signed = with(&signed, json!({ "grant_type": "authorization_code", "scope": null }));
    assert_eq!(world.token(&signed).await.status, StatusCode::OK);
}

#[tokio::test]
async fn it_says_where_everything_is() {
    let world = World::new();
    for path in ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"] {
        let answer = world.get(path).await;
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let document = answer.json();
        assert_eq!(document["issuer"], ISSUER);
        assert_eq!(document["authorization_endpoint"], format!("{ISSUER}/authorize"));
        assert_eq!(document["token_endpoint"], format!("{ISSUER}/token"));
        assert_eq!(document["jwks_uri"], format!("{ISSUER}/jwks"));
        assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    }
    let published = world.get("/jwks").await;
    assert_eq!(published.json(), world.issuer.jwks());
    assert!(published.json()["keys"][0].get("d").is_none());
    let about = world.get("/").await;
    assert!(about.body.contains("For development only"));
    assert!(!format!("{:?}", world.issuer).contains('7'));
}

#[tokio::test]
async fn browsers_may_ask_for_tokens_from_elsewhere_and_for_nothing_else() {
    let world = World::new();
    let preflight = |path: &str| {
        Request::builder()
            .method(Method::OPTIONS)
            .uri(path)
            .header(header::ORIGIN, "http://localhost:3000")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .body(Body::empty())
            .unwrap()
    };
    let token = world.send(preflight("/token")).await;
    assert_eq!(token.status, StatusCode::OK);
    assert_eq!(token.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    assert_eq!(token.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "POST");
    let authorize = world.send(preflight("/authorize")).await;
    assert_eq!(authorize.status, StatusCode::METHOD_NOT_ALLOWED);
    assert!(!authorize.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
}

#[tokio::test]
async fn requests_are_bounded_and_must_be_forms() {
    let world = World::new();
    let long = world.post_text("/token", format!("code={}", "x".repeat(40_000))).await;
    World::check_refused(&long, StatusCode::PAYLOAD_TOO_LARGE, "invalid_request");
    let request = Request::post("/token").header(header::CONTENT_TYPE, "application/json");
    let answer = world.send(request.body("{}".into()).unwrap()).await;
    World::check_refused(&answer, StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request");
    let many = (0..100).map(|number| format!("p{number}=1")).collect::<Vec<_>>().join("&");
    let answer = world.post_text("/token", many).await;
    World::check_refused(&answer, StatusCode::BAD_REQUEST, "invalid_request");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_tokens() {
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let world = World::new();
        let code = world.code("cai", json!({})).await;
        tokens.push(world.token(&World::exchange(&code)).await.body);
    }
    assert_eq!(tokens[0], tokens[1]);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let new = |change: fn(&mut IssuerSettings)| {
        let mut settings = issuer_settings();
        change(&mut settings);
        let rng = ChaCha20Rng::from_seed([1; 32]);
        DevelopmentIssuer::new(settings, rng, || Timestamp(NOW)).map(drop).unwrap_err()
    };
    let error = new(|settings| settings.url = "localhost".into());
    assert!(matches!(error, IssuerError::Address));
    let error = new(|settings| settings.url = "http://localhost/?x".into());
    assert!(matches!(error, IssuerError::Address));
    let error = new(|settings| settings.people[0].subject = "pat".into());
    assert!(matches!(error, IssuerError::Repeated { .. }));
    let error = new(|settings| settings.clients[0].id = "other".into());
    assert!(matches!(error, IssuerError::Repeated { .. }));
    let error = new(|settings| settings.people[0].claims = map(json!({ "scope": "x" })));
    assert!(matches!(error, IssuerError::ReservedClaim { .. }));
    let error = new(|settings| settings.clients[1].redirect_uris.clear());
    assert!(matches!(error, IssuerError::UselessClient { .. }));
    let error = new(|settings| settings.clients[2].keys = Some(Keys::default()));
    assert!(matches!(error, IssuerError::UselessClient { .. }));
    let error = new(|settings| settings.clients[0].scopes = "x ".repeat(999));
    assert!(matches!(error, IssuerError::Scopes { .. }));
    for uri in ["/back", "javascript:alert(1)", "data:text/html,x", "http://localhost/#x"] {
        let mut settings = issuer_settings();
        settings.clients[0].redirect_uris[0] = uri.into();
        let rng = ChaCha20Rng::from_seed([1; 32]);
        let error = DevelopmentIssuer::new(settings, rng, || Timestamp(NOW)).map(drop);
        assert!(matches!(error, Err(IssuerError::RedirectUri { .. })), "{uri}");
    }
}

proptest! {
    #[test]
    fn forms_at_random_get_neither_code_nor_token(text in "[ -~]{0,200}", any in ".{0,200}") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            for path in ["/authorize", "/token"] {
                for form in [text.clone(), any.clone(), format!("grant_type=client_credentials&{text}")] {
                    let answer = world.post_text(path, form).await;
                    assert!(answer.status.is_client_error(), "{path}");
                }
            }
        });
    }
}
