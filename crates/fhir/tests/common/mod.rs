//! One institution's FHIR interface over the consortium of the workflows' tests, and a client that speaks
//! to it without a network.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../../workflows/tests/common/mod.rs"]
pub mod consortium;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use domain::{Address, Purpose, Reader};
use fhir::{
    ACCOUNT_SYSTEM, AllowAll, Allowed, Authenticator, Caller, FhirError, Interaction,
    PURPOSE_HEADER, Patients, Resources, purpose_of_code, router,
};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use workflows::{Gateway, PatientActor};

use consortium::{NOW, World, secret};

/// The URL that the interface believes to have.
pub const BASE: &str = "http://salus.test/fhir";

/// A gateway that is asked as somebody: `Bearer NAME` is that person, `Bearer patient:NAME` a patient.
pub struct Fhir {
    pub world: World,
    pub router: Router,
    pub resources: Resources,
    clock: Arc<AtomicI64>,
    /// What is done whenever somebody looks at the clock.
    pub at_each_look: Arc<parking_lot::Mutex<Option<Look>>>,
    tokens: Arc<parking_lot::RwLock<HashMap<String, Caller>>>,
    // Removed when the tests are done with it.
    _dir: tempfile::TempDir,
}

/// Something that is done when somebody looks at the clock.
pub type Look = Box<dyn FnMut() + Send>;

struct Tokens(Arc<parking_lot::RwLock<HashMap<String, Caller>>>);

impl Authenticator for Tokens {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<Caller, FhirError>> {
        Box::pin(async move {
            let unknown = || FhirError::new(StatusCode::UNAUTHORIZED, "login", "a token is needed");
            let header = headers.get(header::AUTHORIZATION).ok_or_else(unknown)?;
            let token = header.to_str().unwrap().strip_prefix("Bearer ").ok_or_else(unknown)?;
            let mut caller = self.0.read().get(token).cloned().ok_or_else(unknown)?;
            if let Some(purpose) = headers.get(PURPOSE_HEADER) {
                caller.purpose = purpose_of_code(purpose.to_str().unwrap()).unwrap();
            }
            Ok(caller)
        })
    }
}

/// Patients who are named by their account, and have a relationship.
struct Named(Gateway);

impl Patients for Named {
    fn account_of<'a>(
        &'a self,
        patient: &'a Value,
    ) -> BoxFuture<'a, Result<Option<Address>, FhirError>> {
        Box::pin(async move {
            let identifiers = patient["identifier"].as_array().cloned().unwrap_or_default();
            let account = identifiers
                .iter()
                .find(|identifier| identifier["system"] == ACCOUNT_SYSTEM)
                .and_then(|identifier| identifier["value"].as_str()?.parse().ok());
            let Some(account) = account else { return Ok(None) };
            let projection = self.0.gatekeeper.projection().await;
            let held = projection.consents.relationship(account, self.0.member());
            Ok(held.is_some_and(|held| held.state.is_some()).then_some(account))
        })
    }
}

/// What a token of these tests allows.
pub struct Only(pub &'static [(&'static str, Interaction)]);

impl Allowed for Only {
    fn allows(&self, resource_type: &str, interaction: Interaction) -> bool {
        self.0.contains(&(resource_type, interaction))
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The resources of a bundle, as `Type/id`.
    pub fn names(&self) -> Vec<String> {
        let bundle = self.json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        let name = |entry: &Value| {
            let resource = &entry["resource"];
            let text = |member: &str| resource[member].as_str().unwrap().to_owned();
            format!("{}/{}", text("resourceType"), text("id"))
        };
        entries.iter().map(name).collect()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }
}

impl Fhir {
    /// The hospital's interface.
    pub async fn found() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let gateway = world.gateway("hospital").clone();
        let clock = Arc::new(AtomicI64::new(i64::try_from(NOW).unwrap() * 1_000));
        let time = Arc::clone(&clock);
        let at_each_look = Arc::new(parking_lot::Mutex::new(None::<Look>));
        let looks = Arc::clone(&at_each_look);
        let resources = Resources::open(
            gateway.clone(),
            Arc::new(Named(gateway)),
            secret("index").0,
            secret("directory").0,
            move || {
                if let Some(look) = &mut *looks.lock() {
                    look();
                }
                time.load(Ordering::SeqCst)
            },
            BASE,
        )
        .await
        .unwrap();
        let tokens = Arc::new(parking_lot::RwLock::new(HashMap::new()));
        let router = router(resources.clone(), Arc::new(Tokens(Arc::clone(&tokens))));
        let fhir = Self { world, router, resources, clock, at_each_look, tokens, _dir: dir };
        for (name, institution, role) in consortium::PEOPLE {
            let reader = Reader::Professional {
                member: consortium::address(name),
                role,
                institution: consortium::address(institution),
            };
            fhir.admit(name, reader, Purpose::Treatment);
        }
        fhir
    }

    /// The same with the interface of another institution of this world, which takes the same tokens.
    pub async fn interface_of(&self, gateway: &Gateway) -> (Resources, Router) {
        let time = Arc::clone(&self.clock);
        let resources = Resources::open(
            gateway.clone(),
            Arc::new(Named(gateway.clone())),
            secret("index").0,
            secret("directory").0,
            move || time.load(Ordering::SeqCst),
            BASE,
        );
        let resources = resources.await.unwrap();
        let router = router(resources.clone(), Arc::new(Tokens(Arc::clone(&self.tokens))));
        (resources, router)
    }

    /// Gives out a token for a reader.
    pub fn admit(&self, token: &str, reader: Reader, purpose: Purpose) {
        let caller = Caller { reader, purpose, allowed: Arc::new(AllowAll), patient: None };
        self.tokens.write().insert(token.into(), caller);
    }

    /// Gives out a token that allows only so much.
    pub fn admit_only(&self, token: &str, as_of: &str, only: Only) {
        let caller = Caller { allowed: Arc::new(only), ..self.tokens.read()[as_of].clone() };
        self.tokens.write().insert(token.into(), caller);
    }

    /// Lets a second go by.
    pub fn pass(&self) {
        self.clock.fetch_add(1_000, Ordering::SeqCst);
    }

    /// Lets time go by, on chain too.
    pub fn advance(&self, time: std::time::Duration) {
        self.world.pass(time);
        self.clock.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// A patient with an account, a relationship, a `Patient` resource that the physician made, and a
    /// token `patient:NAME`.
    pub async fn patient(&self, name: &str) -> (PatientActor, String) {
        let actor = self.world.meet(name).await;
        let account = actor.account();
        self.admit(
            &format!("patient:{name}"),
            Reader::Patient { account },
            Purpose::PatientRequest,
        );
        let gatekeeper = &self.world.gateway("hospital").gatekeeper;
        gatekeeper.refresh(self.world.now()).await.unwrap();
        let patient = json!({
            "resourceType": "Patient",
            "identifier": [{ "system": ACCOUNT_SYSTEM, "value": account.to_string() }],
            "name": [{ "family": format!("Family-{name}"), "given": ["Given"] }],
            "gender": "female",
            "birthDate": "1974-12-25",
        });
        let made = self.post("physician", "/Patient", &patient).await.expect(201);
        let id = made.id();
        (actor, id)
    }

    pub async fn send(
        &self,
        token: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !body.is_empty() && !has_type {
            request = request.header(header::CONTENT_TYPE, "application/fhir+json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(token, Method::GET, path, &[], String::new()).await
    }

    pub async fn post(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.send(token, Method::POST, path, &[], body.to_string()).await
    }

    pub async fn put(&self, token: &str, path: &str, body: &Value) -> Answer {
        self.send(token, Method::PUT, path, &[], body.to_string()).await
    }

    pub async fn delete(&self, token: &str, path: &str) -> Answer {
        self.send(token, Method::DELETE, path, &[], String::new()).await
    }
}

/// A laboratory result of a patient.
pub fn observation(patient: &str, code: &str, value: f64) -> Value {
    json!({
        "resourceType": "Observation",
        "status": "final",
        "category": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory",
        }] }],
        "code": { "coding": [{ "system": "http://loinc.org", "code": code }] },
        "subject": { "reference": format!("Patient/{patient}") },
        "effectiveDateTime": "2026-03-04T10:20:30Z",
        "valueQuantity": {
            "value": value, "unit": "mmol/L",
            "system": "http://unitsofmeasure.org", "code": "mmol/L",
        },
    })
}
