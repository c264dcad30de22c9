//! What a FHIR server publishes about where its tokens come from.

use serde_json::{Map, Value, json};

/// What a resource server that reads these scopes can do, whoever issues the tokens.
const OWN_CAPABILITIES: &[&str] =
    &["permission-patient", "permission-user", "permission-v1", "permission-v2"];

/// An authorization server, as clients have to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationServer {
    /// Its name, exactly as in the claim `iss`.
    pub issuer: String,
    /// Where people sign in. Without it there are only backend services.
    pub authorization_endpoint: Option<String>,
    /// Where tokens are had.
    pub token_endpoint: String,
    /// Where its keys are.
    pub jwks_uri: String,
    /// Its grants, such as `authorization_code`.
    pub grant_types: Vec<String>,
    /// How clients say who they are, such as `private_key_jwt`.
    pub client_authentication: Vec<String>,
    /// SMART capabilities that are its own, such as `client-public` and `sso-openid-connect`. Those for
    /// permissions are the FHIR server's and are added.
    pub capabilities: Vec<String>,
}

impl AuthorizationServer {
    /// The part of the metadata that SMART and RFC 8414 have in common.
    pub(crate) fn metadata(&self) -> Map<String, Value> {
        let mut metadata = Map::new();
        let mut set = |name: &str, value: Value| metadata.insert(name.into(), value);
        set("issuer", json!(self.issuer));
        set("jwks_uri", json!(self.jwks_uri));
        set("token_endpoint", json!(self.token_endpoint));
        set("grant_types_supported", json!(self.grant_types));
        set("token_endpoint_auth_methods_supported", json!(self.client_authentication));
        // SMART wants this said even where nobody signs in. `plain` must not be there.
        set("code_challenge_methods_supported", json!(["S256"]));
        if let Some(endpoint) = &self.authorization_endpoint {
            set("authorization_endpoint", json!(endpoint));
            set("response_types_supported", json!(["code"]));
        }
        metadata
    }
}

/// The document at `[base]/.well-known/smart-configuration`.
///
/// It names the authorization server and never the FHIR server, so it is the same under every address
/// of one. `scopes` are examples of what can be granted, which is all that SMART asks for there.
///
/// # Source
///
/// SMART App Launch 2.2.0, Conformance, section "Using Well-Known".
#[must_use]
pub fn discovery(server: &AuthorizationServer, scopes: &[&str]) -> Value {
    let mut document = server.metadata();
    let capabilities: Vec<&str> = server
        .capabilities
        .iter()
        .map(String::as_str)
        .chain(OWN_CAPABILITIES.iter().copied())
        .collect();
    document.insert("capabilities".into(), json!(capabilities));
    document.insert("scopes_supported".into(), json!(scopes));
    Value::Object(document)
}
