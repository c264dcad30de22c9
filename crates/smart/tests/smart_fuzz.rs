//! Spoiled tokens: what is not signed is not believed, what is signed and makes no sense is refused, and
//! no refusal holds anything of a token (S1).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;

use common::{NOW, at, es256, keys};
use mutations::{PLANTED, fuzz, json_of, text};
use proptest::prelude::*;
use serde_json::{Value, json};
use smart::{KeySource, Refusal, Settings, TrustedIssuer, Verifier};

const ISSUER: &str = "https://idp.example";
const AUDIENCE: &str = "https://hospital.example/fhir";

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": PLANTED, "aud": [AUDIENCE, "https://other.example"],
        "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": PLANTED, "client_id": "app",
        "scope": "openid fhirUser launch/patient user/*.rs patient/Observation.cruds?category=x|y",
        "patient": PLANTED, "fhirUser": format!("Practitioner/{PLANTED}"),
        "purpose_of_use": [{ "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "TREAT" }],
        "extensions": { "ihe_iua": { "purpose_of_use": [] } },
        "salus_member": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    })
}

fn verifier() -> Verifier {
    let keys = KeySource::Fixed(keys(&[es256().jwk("es256")]));
    let issuer = TrustedIssuer { issuer: ISSUER.into(), keys, names_members: true };
    Verifier::new(Settings::new(vec![AUDIENCE.into()]), vec![issuer]).unwrap()
}

fn verify(verifier: &Verifier, token: &str) -> Result<smart::Caller, Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(verifier.verify(token, at(1)))
}

fn check_refusal(refusal: Refusal) -> Result<(), TestCaseError> {
    let told = format!("{refusal} {refusal:?} {}", refusal.challenge());
    prop_assert!(!told.contains(PLANTED) && told.len() < 1_000, "{told}");
    prop_assert!(refusal.status().is_client_error(), "{told}");
    Ok(())
}

#[test]
fn signed_tokens_with_spoiled_claims_grant_nothing_that_they_do_not_say() {
    let (verifier, pair) = (verifier(), es256());
    let header = json!({ "alg": "ES256", "kid": "es256", "typ": "at+jwt" });
    verify(&verifier, &pair.sign(&header, &claims())).unwrap();
    fuzz(600, (json_of(vec![header]), json_of(vec![claims()])), |(header, claims)| {
        let caller = match verify(&verifier, &pair.sign(&header, &claims)) {
            Ok(caller) => caller,
            Err(refusal) => return check_refusal(refusal),
        };
        // Whoever got in is whom the token names, for us, and in time.
        prop_assert_eq!(&claims["iss"], ISSUER);
        prop_assert_eq!(&claims["sub"], &json!(caller.subject));
        prop_assert!(claims["aud"].to_string().contains(AUDIENCE));
        prop_assert!(claims["exp"].as_f64().is_some_and(|end| end + 30.0 > NOW as f64));
        prop_assert_eq!(&header["alg"], "ES256");
        if let Some(member) = &caller.member {
            prop_assert_eq!(&claims["salus_member"], &json!(member));
        }
        // A Debug text is for logs.
        let told = format!("{caller:?}");
        prop_assert!(!told.contains(PLANTED), "{told}");
        Ok(())
    });
}

#[test]
fn a_token_is_believed_to_the_letter_or_not_at_all() {
    let (verifier, pair) = (verifier(), es256());
    let token = pair.token("es256", &claims());
    fuzz(600, text(&[&token]), |spoiled| {
        match verify(&verifier, &spoiled) {
            Ok(_) => prop_assert_eq!(&spoiled, &token),
            Err(refusal) => check_refusal(refusal)?,
        }
        Ok(())
    });
}
