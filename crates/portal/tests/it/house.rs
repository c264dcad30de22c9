//! A portal for tests: a process that says what it is told to, interfaces that note who asks, and browsers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy_primitives::{Address, B256, Bytes, hex, keccak256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{InstitutionRole, ProfessionalRole, Reader};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use parking_lot::Mutex;
use portal::{BoxFuture, Demonstration, Home, HomeError, Institution, Picked, Portal};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt as _;

/// Where browsers reach the portal of tests.
pub(crate) const ORIGIN: &str = "http://localhost:8081";

/// What somebody might write into a record.
const PLANTED: &str =
    r#"planted"><img src=x onerror="alert(1)"><script>alert(1)</script><svg onload=alert(1)>"#;

/// Kinds of record with a type of each that is shown.
pub(crate) const KINDS: [(&str, &str); 16] = [
    ("laboratory", "Observation"),
    ("medication", "MedicationRequest"),
    ("allergy", "AllergyIntolerance"),
    ("condition", "Condition"),
    ("immunization", "Immunization"),
    ("vital-sign", "Observation"),
    ("encounter", "Encounter"),
    ("procedure", "Procedure"),
    ("imaging", "ImagingStudy"),
    ("document", "DocumentReference"),
    ("care-plan", "CarePlan"),
    ("order", "ServiceRequest"),
    ("device", "Device"),
    ("social", "FamilyMemberHistory"),
    ("financial", "Coverage"),
    ("research", "ResearchSubject"),
];

const INSTITUTION: Address = Address::repeat_byte(0xaa);
const VERIFIER: Address = Address::repeat_byte(0xbb);

/// Everybody whom the tests' registry knows, and whoever is not signed in.
pub(crate) fn everybody() -> Vec<(&'static str, Option<Reader>)> {
    use ProfessionalRole as Role;
    let professional = |name, byte, role| {
        let member = Address::repeat_byte(byte);
        (name, Some(Reader::Professional { member, role, institution: INSTITUTION }))
    };
    let wallet = PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap().address();
    vec![
        ("nobody", None),
        ("patient", Some(Reader::Patient { account: Address::repeat_byte(1) })),
        ("another patient", Some(Reader::Patient { account: Address::repeat_byte(2) })),
        professional("physician", 3, Role::Physician),
        professional("surgeon", 4, Role::Surgeon),
        professional("nurse", 5, Role::Nurse),
        professional("paramedic", 6, Role::Paramedic),
        professional("pharmacist", 7, Role::Pharmacist),
        professional("scientist", 8, Role::LaboratoryScientist),
        professional("officer", 9, Role::PrivacyOfficer),
        professional("auditor", 10, Role::Auditor),
        professional("adjudicator", 11, Role::Adjudicator),
        professional("researcher", 12, Role::Researcher),
        (
            "wallet",
            Some(Reader::Professional {
                member: wallet,
                role: Role::Physician,
                institution: INSTITUTION,
            }),
        ),
        (
            "institution",
            Some(Reader::Institution { member: INSTITUTION, role: InstitutionRole::Hospital }),
        ),
    ]
}

/// Somebody by name.
pub(crate) fn person(name: &str) -> Reader {
    everybody()
        .into_iter()
        .find(|(known, _)| *known == name)
        .and_then(|(_, reader)| reader)
        .unwrap()
}

/// A portal, and what stands around it.
pub(crate) struct House {
    router: Router,
    home: Arc<TestHome>,
    asked: Arc<Mutex<Vec<String>>>,
}

struct TestHome {
    institution: Institution,
    now_ms: AtomicU64,
    drawn: AtomicU64,
    readers: Mutex<HashMap<Address, Reader>>,
    demonstration: Option<People>,
}

struct People;

impl House {
    /// The portal of a demonstration.
    pub(crate) fn new() -> Self {
        Self::with(Some(People))
    }

    /// The portal of an institution with real people.
    pub(crate) fn real() -> Self {
        Self::with(None)
    }

    fn with(demonstration: Option<People>) -> Self {
        let readers = everybody().into_iter().filter_map(|(_, reader)| reader);
        let home = Arc::new(TestHome {
            institution: Institution {
                name: "hospital".into(),
                role: InstitutionRole::Hospital,
                member: INSTITUTION,
            },
            now_ms: AtomicU64::new(1_795_492_200_000),
            drawn: AtomicU64::new(0),
            readers: Mutex::new(readers.map(|reader| (reader.address(), reader)).collect()),
            demonstration,
        });
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let noting = |answer: fn(&Request) -> Value| {
            let asked = Arc::clone(&asked);
            Router::new().fallback(async move |request: Request| {
                let token = request.headers().get(header::AUTHORIZATION);
                let token = token.map_or("none", |token| token.to_str().unwrap());
                asked.lock().push(token.to_owned());
                Json(answer(&request))
            })
        };
        let portal = Portal::new(Arc::clone(&home) as _, noting(fhir), noting(api), ORIGIN);
        Self { router: portal.router(), home, asked }
    }

    pub(crate) fn browser(&self) -> Browser {
        Browser {
            router: self.router.clone(),
            cookie: String::new(),
            kept: String::new(),
            csrf: String::new(),
        }
    }

    /// With which tokens the interfaces were asked since they were last told to forget.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }

    pub(crate) fn forget_asked(&self) {
        self.asked.lock().clear();
    }

    pub(crate) fn pass(&self, time_ms: u64) {
        self.home.now_ms.fetch_add(time_ms, Ordering::Relaxed);
    }

    pub(crate) fn end_accreditation(&self, who: Address) {
        self.home.readers.lock().remove(&who);
    }

    pub(crate) fn wallet(&self) -> Wallet {
        Wallet(PrivateKeySigner::from_bytes(&B256::repeat_byte(7)).unwrap())
    }

    /// The passkey that the chain knows for everybody's account.
    pub(crate) fn passkey(&self) -> Passkey {
        Passkey(SigningKey::from_slice(&[3; 32]).unwrap())
    }

    pub(crate) fn other_passkey(&self) -> Passkey {
        Passkey(SigningKey::from_slice(&[4; 32]).unwrap())
    }
}

/// A resource in which every text is what somebody planted.
fn planted(resource_type: &str) -> Value {
    let concept = json!({ "text": PLANTED, "coding": [{ "system": PLANTED, "code": PLANTED, "display": PLANTED }] });
    json!({
        "resourceType": resource_type, "id": "x", "status": PLANTED, "code": concept, "type": [concept],
        "class": concept, "category": [concept], "vaccineCode": concept, "medicationCodeableConcept": concept,
        "subject": { "reference": "Patient/x", "display": PLANTED }, "description": PLANTED, "title": PLANTED,
        "name": [{ "text": PLANTED }], "deviceName": [{ "name": PLANTED }], "relationship": concept,
        "valueQuantity": { "value": 1.5, "unit": PLANTED }, "effectiveDateTime": PLANTED,
        "referenceRange": [{ "text": PLANTED }], "interpretation": [concept], "note": [{ "text": PLANTED }],
        "dosageInstruction": [{ "text": PLANTED }], "text": { "status": "generated", "div": PLANTED },
        "content": [{ "attachment": { "contentType": PLANTED, "url": "javascript:alert(1)", "title": PLANTED } }],
        "extension": [{ "url": PLANTED, "valueString": PLANTED }], "identifier": [{ "value": PLANTED }],
        "reaction": [{ "manifestation": [concept] }], "performer": [{ "display": PLANTED }],
    })
}

fn fhir(request: &Request) -> Value {
    let parts: Vec<&str> =
        request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
    match parts[..] {
        [resource_type] => json!({
            "resourceType": "Bundle", "type": "searchset",
            "entry": [{ "resource": planted(resource_type), "search": { "mode": "match" } }],
        }),
        [resource_type, ..] => planted(resource_type),
        [] => Value::Null,
    }
}

fn api(_: &Request) -> Value {
    json!({ "records": [], "notifications": [], "unread": 0, "entries": [], "grants": [], "steps": [] })
}

impl Home for TestHome {
    fn institution(&self) -> &Institution {
        &self.institution
    }

    fn chain_id(&self) -> u64 {
        31_337
    }

    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn random(&self) -> [u8; 32] {
        keccak256(self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes()).0
    }

    fn who(&self, address: Address) -> BoxFuture<'_, Result<Option<Reader>, HomeError>> {
        let reader = self.readers.lock().get(&address).copied();
        Box::pin(async move { Ok(reader) })
    }

    fn member_of_key(&self, _: Address) -> BoxFuture<'_, Result<Option<Address>, HomeError>> {
        Box::pin(async { Ok(None) })
    }

    fn has_signer(&self, _: Address, signer: Bytes) -> BoxFuture<'_, Result<bool, HomeError>> {
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(false);
        let known = [VERIFIER.as_slice(), &point.as_bytes()[1..]].concat();
        Box::pin(async move { Ok(signer == known) })
    }

    fn passkey_verifier(&self) -> Address {
        VERIFIER
    }

    fn token(&self, reader: &Reader) -> Result<String, HomeError> {
        Ok(format!("token-of-{}", reader.address()))
    }

    fn name(&self, _: Address) -> Option<String> {
        None
    }

    fn rpc<'a>(&'a self, _: &'a str, _: Value) -> BoxFuture<'a, Result<Value, HomeError>> {
        Box::pin(async { Ok(Value::Null) })
    }

    fn words(&self, _: Option<Address>, _: &[u8]) -> Value {
        Value::Null
    }

    fn event(&self, _: &Value) -> Value {
        Value::Null
    }

    fn health(&self) -> BoxFuture<'_, Value> {
        Box::pin(async { json!({ "ready": true }) })
    }

    fn demonstration(&self) -> Option<&dyn Demonstration> {
        self.demonstration.as_ref().map(|people| people as &dyn Demonstration)
    }
}

impl Demonstration for People {
    fn people(&self) -> Vec<Picked> {
        let people = everybody().into_iter().filter_map(|(name, reader)| Some((name, reader?)));
        let picked = |(name, reader): (&str, Reader)| Picked {
            name: name.into(),
            address: reader.address(),
            role: "somebody".into(),
            is_here: true,
        };
        people.map(picked).collect()
    }

    fn sign(&self, _: Address, _: B256) -> BoxFuture<'_, Result<Value, HomeError>> {
        Box::pin(async { Err(HomeError("no keys here".into())) })
    }
}

/// A browser with its cookie.
pub(crate) struct Browser {
    router: Router,
    cookie: String,
    kept: String,
    csrf: String,
}

/// What a browser was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }
}

impl Browser {
    pub(crate) fn cookie(&self) -> String {
        self.cookie.clone()
    }

    pub(crate) fn set_cookie(&mut self, cookie: &str) {
        cookie.clone_into(&mut self.cookie);
    }

    /// Goes back to the session after signing in, when a route has begun another.
    pub(crate) fn keep_session(&mut self) {
        self.cookie.clone_from(&self.kept);
    }

    /// Opens the portal as nobody yet.
    pub(crate) async fn open(&mut self) {
        self.get("/sign-in").await;
        self.kept.clone_from(&self.cookie);
    }

    /// Signs in by picking somebody.
    pub(crate) async fn sign_in(&mut self, who: Address) -> Answer {
        self.get("/sign-in").await;
        let answer = self.post("/sign-in/demonstration", &format!("who={who}")).await;
        self.get("/account").await;
        self.kept.clone_from(&self.cookie);
        answer
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let answer = self.send(Method::GET, path, None, "text/html", String::new()).await;
        let csrf = answer.body.split_once(r#"name="salus-csrf" content=""#);
        if let Some((csrf, _)) = csrf.and_then(|(_, rest)| rest.split_once('"')) {
            csrf.clone_into(&mut self.csrf);
        }
        answer
    }

    /// Sends a form of this portal's.
    pub(crate) async fn post(&mut self, path: &str, form: &str) -> Answer {
        self.post_from(Some(ORIGIN), path, form, true).await
    }

    /// Sends a form from somewhere, with or without the session's token.
    pub(crate) async fn post_from(
        &mut self,
        origin: Option<&str>,
        path: &str,
        form: &str,
        with_token: bool,
    ) -> Answer {
        let form = if with_token { format!("csrf={}&{form}", self.csrf) } else { form.to_owned() };
        self.send(Method::POST, path, origin, "application/x-www-form-urlencoded", form).await
    }

    /// Sends JSON, as the script does.
    pub(crate) async fn post_json(&mut self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(ORIGIN), "application/json", body.to_string()).await
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        origin: Option<&str>,
        media_type: &str,
        body: String,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        request =
            request.header(header::USER_AGENT, "tests").header(header::CONTENT_TYPE, media_type);
        if media_type == "application/json" {
            request = request.header(header::ACCEPT, media_type).header("x-salus-csrf", &self.csrf);
        }
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        if !self.cookie.is_empty() {
            request = request.header(header::COOKIE, &self.cookie);
        }
        let response =
            self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        for set in response.headers().get_all(header::SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            if pair.starts_with("__Host-salus=") {
                pair.clone_into(&mut self.cookie);
            }
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, body: String::from_utf8_lossy(&bytes).into_owned() }
    }
}

/// A wallet that somebody's professional key is in.
pub(crate) struct Wallet(PrivateKeySigner);

impl Wallet {
    pub(crate) fn address(&self) -> Address {
        self.0.address()
    }

    pub(crate) fn sign(&self, message: &str) -> String {
        hex::encode_prefixed(self.0.sign_message_sync(message.as_bytes()).unwrap().as_bytes())
    }
}

/// A passkey on somebody's telephone.
pub(crate) struct Passkey(SigningKey);

impl Passkey {
    /// What the browser sends of the passkey's assertion.
    pub(crate) fn answer(&self, origin: &str, challenge: &str, account: Address) -> Value {
        let client = json!({ "type": "webauthn.get", "challenge": challenge, "origin": origin, "crossOrigin": false });
        let client = client.to_string();
        let mut data = Sha256::digest("localhost").to_vec();
        data.extend_from_slice(&[5, 0, 0, 0, 0]);
        let signed = Sha256::digest([&*data, &Sha256::digest(&client)].concat());
        let signature: Signature = self.0.sign_prehash(&signed).unwrap();
        json!({
            "userHandle": URL_SAFE_NO_PAD.encode(account),
            "authenticatorData": URL_SAFE_NO_PAD.encode(data),
            "clientDataJSON": URL_SAFE_NO_PAD.encode(client),
            "signature": URL_SAFE_NO_PAD.encode(signature.to_der()),
        })
    }
}
