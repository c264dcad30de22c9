//! Scopes: what they allow, what they do not, and what is published about them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;
use serde_json::json;
use smart::{
    AuthorizationServer, Interaction, Level, Reach, SCOPES_BYTES_MAX, SCOPES_MAX, Scope,
    ScopeError, Scopes, discovery,
};

#[track_caller]
fn check_scopes(scopes: &str, level: Level, resource_type: &str, expected: &str) {
    use Interaction::{Create, Delete, Read, Search, Update};
    let scopes = Scopes::parse(scopes).unwrap();
    let allowed: String = [(Create, 'c'), (Read, 'r'), (Update, 'u'), (Delete, 'd'), (Search, 's')]
        .into_iter()
        .filter(|(interaction, _)| scopes.allows(level, resource_type, *interaction))
        .map(|(_, letter)| letter)
        .collect();
    assert_eq!(allowed, expected);
}

#[test]
fn scopes_allow_what_they_say() {
    use Level::{Patient, System, User};
    check_scopes("patient/Observation.rs", Patient, "Observation", "rs");
    check_scopes("patient/Observation.rs", Patient, "Condition", "");
    check_scopes("patient/Observation.rs", User, "Observation", "");
    check_scopes("patient/Observation.rs", System, "Observation", "");
    check_scopes("user/*.cruds", User, "Binary", "cruds");
    check_scopes("user/*.cruds", User, "*", "cruds");
    check_scopes("user/Patient.cruds", User, "*", "");
    check_scopes("system/*.rs system/Task.cu", System, "Task", "crus");
    // Version 1.
    check_scopes("patient/*.read", Patient, "Condition", "rs");
    check_scopes("user/Condition.write", User, "Condition", "cud");
    check_scopes("system/*.*", System, "Condition", "cruds");
    // Among others that are not ours.
    check_scopes("api://x/.default profile  user/*.r email", User, "Patient", "r");
}

#[test]
fn scopes_that_are_not_understood_grant_nothing() {
    for scope in [
        "",
        "user/*.",
        "user/*.sr",
        "user/*.rr",
        "user/*.rsx",
        "user/*.READ",
        "user/.rs",
        "user/**.rs",
        "user/patient.rs",
        "user/Pat-ient.rs",
        "User/*.rs",
        "practitioner/*.rs",
        "user/Patient",
        "user/Patient/1.rs",
        "user/*.rs?",
        "user/*.rs?category",
        "user/*.rs?=x",
        "user/*.read?category=x",
        "user/*.rs?a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1",
    ] {
        let scopes = Scopes::parse(scope).unwrap();
        assert!(scopes.as_slice().is_empty(), "{scope}");
    }
}

#[test]
fn a_restricted_scope_is_not_widened() {
    let text = "patient/Observation.rs?category=http://x|laboratory&status=final \
                patient/Observation.r?code=a%20b";
    let scopes = Scopes::parse(text).unwrap();
    assert!(!scopes.allows(Level::Patient, "Observation", Interaction::Read));
    let Reach::Only(restrictions) = scopes.reach(Level::Patient, "Observation", Interaction::Read)
    else {
        panic!("restricted")
    };
    let parameters: Vec<_> = restrictions.iter().flat_map(|each| each.parameters()).collect();
    let expected = [("category", "http://x|laboratory"), ("status", "final"), ("code", "a b")];
    assert!(
        parameters
            .iter()
            .zip(expected)
            .all(|(found, (name, value))| { found.0 == name && found.1 == value })
    );
    assert_eq!(parameters.len(), 3);
    let search = scopes.reach(Level::Patient, "Observation", Interaction::Search);
    assert!(matches!(search, Reach::Only(restrictions) if restrictions.len() == 1));
    let create = scopes.reach(Level::Patient, "Observation", Interaction::Create);
    assert_eq!(create, Reach::Nothing);

    let both = Scopes::parse(&format!("{text} patient/*.r")).unwrap();
    assert!(both.allows(Level::Patient, "Observation", Interaction::Read));
    assert!(!both.allows(Level::Patient, "Observation", Interaction::Search));
}

#[test]
fn scopes_have_bounds() {
    let parse = |text: &str| Scopes::parse(text);
    assert_eq!(parse(&"a".repeat(SCOPES_BYTES_MAX + 1)), Err(ScopeError::TooLong));
    assert_eq!(parse(&"a ".repeat(SCOPES_MAX + 1)), Err(ScopeError::TooMany));
    assert!(parse(&"a ".repeat(SCOPES_MAX)).is_ok());
}

#[test]
fn context_scopes_are_recognised() {
    let text = "launch launch/patient launch/encounter openid fhirUser profile offline_access \
                online_access";
    let scopes = Scopes::parse(text).unwrap();
    assert_eq!(scopes.as_slice().len(), 8);
    assert!(text.split(' ').all(|word| scopes.covers(&Scope::parse(word).unwrap())));
    assert!(!scopes.covers(&Scope::parse("user/*.r").unwrap()));
}

#[test]
fn the_discovery_document_has_what_smart_wants() {
    let server = AuthorizationServer {
        issuer: "https://idp.example".into(),
        authorization_endpoint: Some("https://idp.example/authorize".into()),
        token_endpoint: "https://idp.example/token".into(),
        jwks_uri: "https://idp.example/jwks".into(),
        grant_types: vec!["authorization_code".into()],
        client_authentication: vec!["private_key_jwt".into()],
        capabilities: vec!["client-public".into()],
    };
    let document = discovery(&server, &["patient/*.rs"]);
    assert_eq!(
        document,
        json!({
            "issuer": "https://idp.example",
            "jwks_uri": "https://idp.example/jwks",
            "authorization_endpoint": "https://idp.example/authorize",
            "token_endpoint": "https://idp.example/token",
            "grant_types_supported": ["authorization_code"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "scopes_supported": ["patient/*.rs"],
            "capabilities": [
                "client-public", "permission-patient", "permission-user", "permission-v1",
                "permission-v2",
            ],
        })
    );
    let backend = AuthorizationServer { authorization_endpoint: None, ..server };
    let document = discovery(&backend, &[]);
    assert!(document.get("authorization_endpoint").is_none());
    assert!(document.get("response_types_supported").is_none());
}

proptest! {
    #[test]
    fn scopes_at_random_do_not_panic(text in "[ a-zA-Z/*.?=&%|]{0,200}", any in ".{0,200}") {
        for text in [text, any] {
            let scopes = Scopes::parse(&text).unwrap();
            let _ = scopes.allows(Level::User, "Patient", Interaction::Read);
        }
    }
}
