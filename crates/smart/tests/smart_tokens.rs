//! Access tokens: who is let in as whom, and every way of not being let in.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header::LOCATION},
    response::{IntoResponse, Response},
    routing::get,
};
use common::{NOW, at, eddsa, encode, es256, es384, keys, message, rs256, rs384, with};
use domain::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey};
use parking_lot::Mutex;
use proptest::prelude::*;
use serde_json::{Value, json};
use smart::{
    Caller, Interaction, KeySource, Keys, KeysError, Level, Refusal, SCOPES_MAX, Settings,
    SetupError, TOKEN_BYTES_MAX, TrustedIssuer, Verifier, bearer,
};
use tokio::{net::TcpListener, sync::Notify};

const ISSUER: &str = "https://idp.example";
const STRANGE_ISSUER: &str = "https://partner.example";
const AUDIENCE: &str = "https://hospital.example/fhir";

fn claims() -> Value {
    json!({
        "iss": ISSUER,
        "sub": "dr-cai",
        "aud": AUDIENCE,
        "iat": NOW,
        "exp": NOW + 300,
        "client_id": "growth-chart",
        "scope": "openid user/*.rs",
    })
}

fn trusted(issuer: &str, keys: KeySource, names_members: bool) -> TrustedIssuer {
    TrustedIssuer { issuer: issuer.into(), keys, names_members }
}

/// Trusts one issuer with a key of each algorithm, and another that may not name members.
fn verifier() -> Verifier {
    let known = keys(&[
        es256().jwk("es256"),
        es384().jwk("es384"),
        rs256().jwk("rs256"),
        rs384().jwk("rs384"),
        eddsa().jwk("eddsa"),
    ]);
    let partner = keys(&[es256().jwk("es256")]);
    let issuers = vec![
        trusted(ISSUER, KeySource::Fixed(known), true),
        trusted(STRANGE_ISSUER, KeySource::Fixed(partner), false),
    ];
    Verifier::new(Settings::new(vec![AUDIENCE.into()]), issuers).unwrap()
}

async fn verify(token: &str) -> Result<Caller, Refusal> {
    verifier().verify(token, at(1)).await
}

/// The answer to these claims, well signed.
async fn verify_claims(changes: Value) -> Result<Caller, Refusal> {
    verify(&es256().token("es256", &with(&claims(), changes))).await
}

#[tokio::test]
async fn each_algorithm_is_believed_under_its_own_key() {
    for pair in [es256(), es384(), rs256(), rs384(), eddsa()] {
        let kid = pair.name().to_ascii_lowercase();
        let caller = verify(&pair.token(&kid, &claims())).await.unwrap();
        assert_eq!(caller.subject, "dr-cai", "{kid}");
    }
}

#[tokio::test]
async fn a_caller_is_what_the_token_says() {
    let caller = verify_claims(json!({
        "scope": "launch/patient patient/Observation.rs",
        "patient": "Patient/pat-1",
        "fhirUser": "Practitioner/cai",
        "extensions": { "ihe_iua": { "purpose_of_use": [
            { "system": "urn:oid:2.16.840.1.113883.5.8", "code": "TREAT" },
        ] } },
        "salus_member": "0x00000000000000000000000000000000000000aa",
        "jti": "1",
    }))
    .await
    .unwrap();
    assert_eq!(caller.issuer, ISSUER);
    assert_eq!(caller.client_id, "growth-chart");
    assert_eq!(caller.patient.as_deref(), Some("pat-1"));
    assert_eq!(caller.fhir_user.as_deref(), Some("Practitioner/cai"));
    assert_eq!(caller.purpose_of_use.as_deref(), Some("TREAT"));
    assert_eq!(caller.member.as_deref(), Some("0x00000000000000000000000000000000000000aa"));
    assert_eq!(caller.expires, at(300));

    let demand = |level, interaction| caller.demand(level, "Observation", interaction);
    assert_eq!(demand(Level::Patient, Interaction::Read), Ok(()));
    assert_eq!(demand(Level::Patient, Interaction::Update), Err(Refusal::InsufficientScope));
    assert_eq!(demand(Level::User, Interaction::Read), Err(Refusal::InsufficientScope));

    let shown = format!("{caller:?}");
    for personal in ["dr-cai", "pat-1", "Practitioner/cai", "0x00"] {
        assert!(!shown.contains(personal), "{shown}");
    }
}

#[tokio::test]
async fn a_scope_for_a_patient_reaches_nothing_without_one() {
    let caller = verify_claims(json!({ "scope": "patient/*.cruds" })).await.unwrap();
    let refused = caller.demand(Level::Patient, "Observation", Interaction::Read);
    assert_eq!(refused, Err(Refusal::InsufficientScope));
}

#[tokio::test]
async fn other_issuers_ways_of_writing_the_same_are_read() {
    for changes in [
        json!({ "aud": ["https://elsewhere.example", AUDIENCE] }),
        json!({ "client_id": null, "azp": "growth-chart" }),
        json!({ "scope": null, "scp": ["openid", "user/*.rs"] }),
        json!({ "scope": null, "scp": "user/*.rs" }),
        json!({ "exp": NOW as f64 + 299.5, "iat": NOW as f64 + 0.25 }),
        json!({ "iat": null }),
        json!({ "purpose_of_use": [{ "code": "TREAT" }] }),
    ] {
        let caller = verify_claims(changes.clone()).await;
        let caller = caller.unwrap_or_else(|refusal| panic!("{changes}: {refusal}"));
        assert!(caller.scopes.allows(Level::User, "Patient", Interaction::Search));
    }
    let header = json!({ "alg": "ES256", "kid": "es256" });
    assert!(verify(&es256().sign(&header, &claims())).await.is_ok());
    let header = json!({ "alg": "ES256", "kid": "es256", "typ": "application/AT+JWT" });
    assert!(verify(&es256().sign(&header, &claims())).await.is_ok());
}

#[tokio::test]
async fn members_are_believed_of_issuers_that_may_name_them_only() {
    let member = json!({ "salus_member": "0xaa", "iss": STRANGE_ISSUER });
    assert_eq!(verify_claims(member).await.unwrap().member, None);
    let garbage = json!({ "salus_member": { "deep": [1] }, "iss": STRANGE_ISSUER });
    assert_eq!(verify_claims(garbage.clone()).await.unwrap().member, None);
    let garbage = with(&garbage, json!({ "iss": ISSUER }));
    let expected = Refusal::Claim { claim: "salus_member" };
    assert_eq!(verify_claims(garbage).await.unwrap_err(), expected);
}

#[tokio::test]
async fn claims_that_do_not_hold_are_refused() {
    let claim = |claim| Refusal::Claim { claim };
    let coding = |system: &str| json!([{ "system": system, "code": "TREAT" }]);
    for (changes, expected) in [
        (json!({ "exp": NOW - 30 }), Refusal::Expired),
        (json!({ "exp": 0 }), Refusal::Expired),
        (json!({ "exp": null }), claim("exp")),
        (json!({ "exp": "soon" }), Refusal::Malformed),
        (json!({ "exp": -1 }), Refusal::Malformed),
        (json!({ "exp": 1e300 }), Refusal::Malformed),
        (json!({ "nbf": NOW + 32 }), Refusal::NotYetValid),
        (json!({ "iat": NOW + 32 }), Refusal::NotYetValid),
        (json!({ "aud": "https://elsewhere.example/fhir" }), Refusal::Audience),
        (json!({ "aud": "https://hospital.example/fhir/" }), Refusal::Audience),
        (json!({ "aud": [] }), Refusal::Audience),
        (json!({ "aud": null }), Refusal::Audience),
        (json!({ "iss": "https://idp.example/" }), Refusal::UnknownIssuer),
        (json!({ "iss": null }), Refusal::UnknownIssuer),
        (json!({ "sub": null }), claim("sub")),
        (json!({ "sub": "" }), claim("sub")),
        (json!({ "sub": "a\nb" }), claim("sub")),
        (json!({ "sub": "a".repeat(256) }), claim("sub")),
        (json!({ "client_id": null }), claim("client_id")),
        (json!({ "scope": null }), claim("scope")),
        (json!({ "scope": "a ".repeat(SCOPES_MAX + 1) }), claim("scope")),
        (json!({ "patient": "Group/1" }), claim("patient")),
        (json!({ "patient": "../1" }), claim("patient")),
        (json!({ "patient": ["a", "b"] }), Refusal::Malformed),
        (json!({ "purpose_of_use": ["TREAT", "HRESCH"] }), claim("purpose_of_use")),
        (json!({ "purpose_of_use": "see chart" }), claim("purpose_of_use")),
        (json!({ "purpose_of_use": coding("urn:oid:1.2.3") }), claim("purpose_of_use")),
        (
            json!({
                "purpose_of_use": "TREAT",
                "extensions": { "ihe_iua": { "purpose_of_use": "HRESCH" } },
            }),
            claim("purpose_of_use"),
        ),
    ] {
        let refusal = verify_claims(changes.clone()).await.unwrap_err();
        assert_eq!(refusal, expected, "{changes}");
        assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(refusal.code(), Some("invalid_token"));
    }
}

#[tokio::test]
async fn the_leeway_is_for_both_ends_and_no_longer() {
    let token = es256().token("es256", &with(&claims(), json!({ "nbf": NOW })));
    let verifier = verifier();
    let at = |time| verifier.verify(&token, Timestamp(time));
    assert_eq!(at(NOW - 31).await.unwrap_err(), Refusal::NotYetValid);
    assert!(at(NOW - 30).await.is_ok());
    assert!(at(NOW + 329).await.is_ok());
    assert_eq!(at(NOW + 330).await.unwrap_err(), Refusal::Expired);
    assert_eq!(at(u64::MAX).await.unwrap_err(), Refusal::Expired);
}

/// A token whose shared secret is the public key, as every client can read it.
fn confused(secret: &[u8]) -> String {
    let message = message(&json!({ "alg": "HS256", "kid": "es256" }), &claims());
    let secret = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &secret, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

#[tokio::test]
async fn tokens_that_are_not_what_they_should_be_are_refused() {
    let good = es256().token("es256", &claims());
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    let wider = encode(with(&claims(), json!({ "scope": "system/*.cruds" })).to_string());
    let header_of = |header: Value| es256().sign(&header, &claims());
    let none = message(&json!({ "alg": "none", "kid": "es256" }), &claims());
    let jwk = es256().jwk("es256");
    let point: Vec<u8> =
        ["x", "y"].map(|part| jwk[part].as_str().unwrap().to_owned()).concat().into();
    let zeros = encode([0; 64]);

    for (name, token, expected) in [
        ("nothing", String::new(), Refusal::Malformed),
        ("no dots", "token".into(), Refusal::Malformed),
        ("one dot", format!("{header}.{payload}"), Refusal::Malformed),
        ("three dots", format!("{good}.{payload}"), Refusal::Malformed),
        ("alg none", format!("{none}."), Refusal::Algorithm),
        ("alg none, signed", format!("{none}.{signature}"), Refusal::Algorithm),
        ("no signature", format!("{signed}."), Refusal::Signature),
        ("zeros as signature", format!("{signed}.{zeros}"), Refusal::Signature),
        ("half a signature", format!("{signed}.{}", &signature[..40]), Refusal::Signature),
        ("other claims", format!("{header}.{wider}.{signature}"), Refusal::Signature),
        (
            "other header",
            format!("{}.{payload}.{signature}", encode(r#"{"alg":"ES256","kid":"es256"}"#)),
            Refusal::Signature,
        ),
        ("padding", format!("{signed}.{signature}=="), Refusal::Malformed),
        ("HS256 by the public key", confused(&point), Refusal::Algorithm),
        ("HS256 by its JSON", confused(jwk.to_string().as_bytes()), Refusal::Algorithm),
        ("key of another algorithm", es256().token("rs256", &claims()), Refusal::Algorithm),
        ("key of another curve", es384().token("es256", &claims()), Refusal::Algorithm),
        ("key of another hash", rs384().token("rs256", &claims()), Refusal::Algorithm),
        (
            "unknown algorithm",
            header_of(json!({ "alg": "PS256", "kid": "rs256" })),
            Refusal::Algorithm,
        ),
        (
            "algorithm in lower case",
            header_of(json!({ "alg": "es256", "kid": "es256" })),
            Refusal::Algorithm,
        ),
        ("unknown kid", es256().token("elsewhere", &claims()), Refusal::UnknownKey),
        ("no kid", header_of(json!({ "alg": "ES256" })), Refusal::UnknownKey),
        ("no algorithm", header_of(json!({ "kid": "es256" })), Refusal::Malformed),
        (
            "crit",
            header_of(json!({ "alg": "ES256", "kid": "es256", "crit": ["b64"], "b64": false })),
            Refusal::Malformed,
        ),
        (
            "its own key",
            header_of(json!({ "alg": "ES256", "kid": "mine", "jwk": jwk })),
            Refusal::UnknownKey,
        ),
        (
            "token for signing out",
            header_of(json!({ "alg": "ES256", "kid": "es256", "typ": "logout+jwt" })),
            Refusal::WrongType,
        ),
        ("array as claims", es256().token("es256", &json!(["x"])), Refusal::Malformed),
        (
            "too long",
            format!("{}.{payload}.{signature}", "A".repeat(TOKEN_BYTES_MAX)),
            Refusal::TooLong,
        ),
    ] {
        assert_eq!(verify(&token).await.unwrap_err(), expected, "{name}");
    }

    // A key that another issuer shares opens nothing under a name that is not its own.
    let strange = es384().token("es384", &with(&claims(), json!({ "iss": STRANGE_ISSUER })));
    assert_eq!(verify(&strange).await.unwrap_err(), Refusal::UnknownKey);
    // Claims that stand twice are read by nobody, lest two read different ones.
    let twice = r#"{"iss":"https://idp.example","iss":"https://partner.example"}"#;
    let twice = format!("{header}.{}.{signature}", encode(twice));
    assert_eq!(verify(&twice).await.unwrap_err(), Refusal::Malformed);
}

#[test]
fn a_refusal_says_what_to_do_and_nothing_of_the_token() {
    let challenge = |refusal: Refusal| (refusal.status().as_u16(), refusal.challenge());
    assert_eq!(challenge(Refusal::Missing), (401, "Bearer realm=\"fhir\"".into()));
    assert_eq!(
        challenge(Refusal::Expired),
        (
            401,
            "Bearer realm=\"fhir\", error=\"invalid_token\", \
             error_description=\"the token has expired\""
                .into()
        )
    );
    let insufficient = challenge(Refusal::InsufficientScope);
    assert!(insufficient.0 == 403 && insufficient.1.contains("error=\"insufficient_scope\""));
    assert_eq!(challenge(Refusal::KeysUnavailable).0, 503);
    for refusal in
        [Refusal::TooLong, Refusal::Algorithm, Refusal::Claim { claim: "purpose_of_use" }]
    {
        let text = refusal.challenge();
        assert!(HeaderValue::from_str(&text).is_ok());
        assert_eq!(text.matches('"').count(), 6, "{text}");
    }
}

#[test]
fn a_token_is_taken_from_one_header_only() {
    let of = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("authorization", HeaderValue::from_str(value).unwrap());
        }
        bearer(&headers).map(str::to_owned)
    };
    assert_eq!(of(&["Bearer abc"]), Ok("abc".into()));
    assert_eq!(of(&["bearer  abc "]), Ok("abc".into()));
    assert_eq!(of(&[]), Err(Refusal::Missing));
    assert_eq!(of(&["Basic abc"]), Err(Refusal::Missing));
    assert_eq!(of(&["Bearer"]), Err(Refusal::Missing));
    assert_eq!(of(&["Bearer abc", "Bearer def"]), Err(Refusal::Malformed));
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let fixed = || KeySource::Fixed(keys(&[es256().jwk("1")]));
    let url = |text: &str| KeySource::Url(text.parse().unwrap());
    let new = |audiences: &[&str], issuers| {
        let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        Verifier::new(Settings::new(audiences), issuers).map(drop)
    };
    let with_keys = |keys| new(&[AUDIENCE], vec![trusted(ISSUER, keys, false)]);

    assert!(matches!(new(&[], vec![trusted(ISSUER, fixed(), false)]), Err(SetupError::NoAudience)));
    assert!(matches!(new(&[AUDIENCE], vec![]), Err(SetupError::NoIssuer)));
    let twice = vec![trusted(ISSUER, fixed(), false), trusted(ISSUER, fixed(), true)];
    assert!(matches!(new(&[AUDIENCE], twice), Err(SetupError::RepeatedIssuer { .. })));
    let none = KeySource::Fixed(Keys::default());
    assert!(matches!(with_keys(none), Err(SetupError::NoKeys { .. })));
    for address in ["http://idp.example/jwks", "http://127.0.0.1.example/jwks", "ftp://localhost/"]
    {
        assert!(matches!(with_keys(url(address)), Err(SetupError::KeysAddress)), "{address}");
    }
    for address in ["http://localhost:1/jwks", "http://127.0.0.1:1/jwks", "http://[::1]:1/jwks"] {
        assert!(with_keys(url(address)).is_ok(), "{address}");
    }
}

#[test]
fn keys_that_are_of_no_use_are_left_out() {
    let check = |jwk: Value, usable: bool| {
        assert_eq!(keys(std::slice::from_ref(&jwk)).len(), usize::from(usable), "{jwk}");
    };
    let (ec, rsa, ed) = (es256().jwk("1"), rs256().jwk("1"), eddsa().jwk("1"));
    check(with(&ec, json!({ "use": "sig", "key_ops": ["verify"] })), true);
    check(with(&ec, json!({ "alg": null })), true);
    check(with(&rsa, json!({ "alg": null })), true);
    check(with(&ed, json!({ "alg": null })), true);

    check(with(&ec, json!({ "use": "enc" })), false);
    check(with(&ec, json!({ "key_ops": ["encrypt"] })), false);
    check(with(&ec, json!({ "kid": null })), false);
    check(with(&ec, json!({ "kid": "" })), false);
    check(with(&ec, json!({ "alg": "HS256" })), false);
    check(with(&ec, json!({ "alg": "ES384" })), false);
    check(with(&ec, json!({ "crv": "P-384" })), false);
    check(with(&ec, json!({ "crv": "secp256k1", "alg": null })), false);
    check(with(&ec, json!({ "d": "AQ" })), false);
    check(with(&ec, json!({ "x": encode([1; 32]) })), false);
    check(with(&ec, json!({ "x": "!" })), false);
    check(with(&rsa, json!({ "alg": "PS256" })), false);
    check(with(&rsa, json!({ "n": encode([255; 128]) })), false);
    check(with(&rsa, json!({ "n": encode([0; 256]) })), false);
    check(with(&rsa, json!({ "e": "" })), false);
    check(with(&ed, json!({ "x": encode([1; 31]) })), false);
    check(with(&ed, json!({ "crv": "Ed448" })), false);
    check(json!({ "kty": "oct", "kid": "1", "alg": "HS256", "k": "c2VjcmV0" }), false);
    check(json!("key"), false);

    assert!(matches!(Keys::parse(b"[]"), Err(KeysError::Malformed(_))));
    let many = json!({ "keys": vec![0; 65] }).to_string();
    assert!(matches!(Keys::parse(many.as_bytes()), Err(KeysError::TooMany)));
    assert!(Keys::parse(br#"{"keys":[]}"#).unwrap().is_empty());
}

#[tokio::test]
async fn an_rsa_key_without_algorithm_is_for_both_hashes() {
    let known = keys(&[with(&rs256().jwk("rsa"), json!({ "alg": null }))]);
    let issuers = vec![trusted(ISSUER, KeySource::Fixed(known), false)];
    let verifier = Verifier::new(Settings::new(vec![AUDIENCE.into()]), issuers).unwrap();
    for pair in [rs256(), rs384()] {
        assert!(verifier.verify(&pair.token("rsa", &claims()), at(1)).await.is_ok());
    }
}

/// What an issuer's address answers, and how often it was asked.
#[derive(Clone)]
struct Published {
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    began: Arc<Notify>,
}

#[derive(Clone)]
enum Answer {
    Keys(Vec<Value>),
    Text(String),
    Status(StatusCode),
    Elsewhere,
    Never,
    /// Keys, once the test lets them go.
    Held(Arc<Notify>, Vec<Value>),
}

async fn published(State(published): State<Published>) -> Response {
    published.asked.fetch_add(1, Ordering::SeqCst);
    published.began.notify_one();
    let answer = published.answer.lock().clone();
    match answer {
        Answer::Keys(keys) => json!({ "keys": keys }).to_string().into_response(),
        Answer::Text(text) => text.into_response(),
        Answer::Status(status) => status.into_response(),
        Answer::Elsewhere => (StatusCode::FOUND, [(LOCATION, "/other")]).into_response(),
        Answer::Never => std::future::pending().await,
        Answer::Held(released, keys) => {
            released.notified().await;
            json!({ "keys": keys }).to_string().into_response()
        }
    }
}

impl Published {
    fn set(&self, answer: Answer) {
        *self.answer.lock() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Serves keys, and a verifier that fetches them.
    async fn serve(answer: Answer, settings: Settings) -> (Self, Verifier) {
        let this = Self {
            answer: Arc::new(Mutex::new(answer)),
            asked: Arc::default(),
            began: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let other = json!({ "keys": [es256().jwk("1")] }).to_string();
        let router = Router::new()
            .route("/jwks", get(published))
            .route("/other", get(|| async { other }))
            .with_state(this.clone());
        tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
        let url = format!("http://{address}/jwks").parse().unwrap();
        let issuers = vec![trusted(ISSUER, KeySource::Url(url), false)];
        (this, Verifier::new(settings, issuers).unwrap())
    }
}

fn settings() -> Settings {
    Settings::new(vec![AUDIENCE.into()])
}

/// Claims that hold all day.
fn long_claims() -> Value {
    with(&claims(), json!({ "exp": NOW + 86_400 }))
}

#[tokio::test]
async fn an_unknown_key_is_fetched_at_most_once_an_interval() {
    let (issuer, verifier) =
        Published::serve(Answer::Keys(vec![es256().jwk("1")]), settings()).await;
    let token = |kid| es256().token(kid, &long_claims());
    assert!(verifier.verify(&token("1"), at(0)).await.is_ok());
    assert!(verifier.verify(&token("1"), at(1)).await.is_ok());
    assert_eq!(issuer.asked(), 1);

    // Whoever makes up names of keys does not make us ask.
    for second in 0..59 {
        let refusal = verifier.verify(&token("2"), at(second)).await.unwrap_err();
        assert_eq!(refusal, Refusal::UnknownKey);
    }
    assert_eq!(issuer.asked(), 1);

    issuer.set(Answer::Keys(vec![es256().jwk("1"), es256().jwk("2")]));
    assert!(verifier.verify(&token("2"), at(60)).await.is_ok());
    assert!(verifier.verify(&token("1"), at(61)).await.is_ok());
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_fetch_once() {
    let (issuer, verifier) =
        Published::serve(Answer::Keys(vec![es256().jwk("1")]), settings()).await;
    let (verifier, token) = (Arc::new(verifier), es256().token("1", &claims()));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token) = (Arc::clone(&verifier), token.clone());
            tokio::spawn(async move { verifier.verify(&token, at(1)).await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap().is_ok());
    }
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_fetch_running() {
    let released = Arc::new(Notify::new());
    let held = Answer::Held(Arc::clone(&released), vec![es256().jwk("1")]);
    let (issuer, verifier) = Published::serve(held, settings()).await;
    let token = es256().token("1", &claims());
    tokio::select! {
        _ = verifier.verify(&token, at(1)) => panic!("there are no keys yet"),
        () = issuer.began.notified() => {} // And the caller is gone.
    }
    released.notify_one();
    assert!(verifier.verify(&token, at(1)).await.is_ok());
    assert_eq!(issuer.asked(), 1);
}

#[tokio::test]
async fn old_keys_serve_on_when_a_fetch_fails() {
    let settings = Settings { fetch_timeout: Duration::from_millis(300), ..settings() };
    let (issuer, verifier) = Published::serve(Answer::Keys(vec![es256().jwk("1")]), settings).await;
    let token = |kid| es256().token(kid, &long_claims());
    assert!(verifier.verify(&token("1"), at(0)).await.is_ok());

    let huge = json!({ "keys": [es256().jwk("2")], "more": "x".repeat(300 * 1_024) });
    let failures = [
        Answer::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Answer::Text("<html>".into()),
        Answer::Text(huge.to_string()),
        Answer::Elsewhere,
        Answer::Never,
    ];
    for (hour, failure) in (2..).zip(failures) {
        issuer.set(failure);
        let now = at(hour * 3_600);
        assert!(verifier.verify(&token("1"), now).await.is_ok());
        // Nobody can tell whether there is such a key now, so the client is not told to give up.
        let refusal = verifier.verify(&token("2"), now).await.unwrap_err();
        assert_eq!(refusal, Refusal::KeysUnavailable);
    }
    assert_eq!(issuer.asked(), 6);
}

#[tokio::test]
async fn a_withdrawn_key_stops_serving() {
    let (issuer, verifier) =
        Published::serve(Answer::Keys(vec![es256().jwk("1")]), settings()).await;
    let token = es256().token("1", &long_claims());
    assert!(verifier.verify(&token, at(0)).await.is_ok());
    issuer.set(Answer::Keys(vec![]));
    assert!(verifier.verify(&token, at(3_599)).await.is_ok());
    assert_eq!(verifier.verify(&token, at(3_600)).await.unwrap_err(), Refusal::UnknownKey);
}

#[tokio::test]
async fn without_keys_the_answer_is_to_come_back() {
    let down = Answer::Status(StatusCode::BAD_GATEWAY);
    let (issuer, verifier) = Published::serve(down, settings()).await;
    let token = es256().token("1", &long_claims());
    assert_eq!(verifier.issuers_without_keys(at(0)).await, [ISSUER]);
    assert_eq!(verifier.verify(&token, at(1)).await.unwrap_err(), Refusal::KeysUnavailable);
    issuer.set(Answer::Keys(vec![es256().jwk("1")]));
    assert!(verifier.issuers_without_keys(at(60)).await.is_empty());
    assert!(verifier.verify(&token, at(61)).await.is_ok());
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn keys_in_a_file_may_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let source = KeySource::File(path.clone());
    let verifier = Verifier::new(settings(), vec![trusted(ISSUER, source, false)]).unwrap();
    let token = |kid| es256().token(kid, &long_claims());
    assert_eq!(verifier.verify(&token("1"), at(0)).await.unwrap_err(), Refusal::KeysUnavailable);
    for (minute, kid) in [(1, "1"), (2, "2")] {
        std::fs::write(&path, json!({ "keys": [es256().jwk(kid)] }).to_string()).unwrap();
        assert!(verifier.verify(&token(kid), at(minute * 60)).await.is_ok());
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn bytes_at_random_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(block(verify(&String::from_utf8_lossy(&bytes))).is_err());
        let _ = Keys::parse(&bytes);
    }

    #[test]
    fn claims_and_headers_at_random_are_refused(header in ".{0,80}", claims in ".{0,80}") {
        let token = format!("{}.{}.{}", encode(header), encode(claims), encode([0; 64]));
        prop_assert!(block(verify(&token)).is_err());
    }

    #[test]
    fn a_token_with_one_byte_changed_is_refused(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let token = eddsa().token("eddsa", &claims());
        let mut changed = token.clone().into_bytes();
        let place = place.index(changed.len());
        changed[place] = byte;
        if let Ok(changed) = String::from_utf8(changed) && changed != token {
            prop_assert!(block(verify(&changed)).is_err());
        }
    }
}
