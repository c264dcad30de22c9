//! How fast one institution's FHIR interface is over HTTP, with consent decided and the access log written
//! for every read. Prints one JSON object per line; `cargo xtask bench gateway` makes a table of them.
//!
//! Server and load generator share this process and its processors, and talk over loopback. Every request
//! carries a signed token that is verified, is decided by the gatekeeper against a chain of its own, and
//! what is read leaves a signed receipt on the disk. What `salus gateway` adds around that is not here: its
//! limits, its figures and the line in its log.
//!
//! What enforcement costs is taken against `/bare`: the same records at the same time over the same HTTP,
//! with the same token check, the same look-up and the same decryption, but without bringing what is known
//! of the chain up to date, without asking for consent, and without a receipt. It exists only here.
//!
//! Settings: `SALUS_BENCH_SECONDS` (8, for each part), `SALUS_BENCH_CONNECTIONS` (16), and
//! `SALUS_BENCH_PARTS` (`mix,bundles,search,reads`). With
//! `SALUS_TEST_STORE=postgres` vaults are in the cluster that `SALUS_TEST_POSTGRES` names.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::{Fhir, consortium, observation};
use domain::{Address, Facts, Purpose, Reader, RecordId, Request, Timestamp, decide};
use fhir::{AllowAll, Authenticator, Caller, FhirError, RawObject, router};
use futures_util::future::{BoxFuture, join_all};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Value, json};
use smart::{KeySource, Keys, TrustedIssuer, Verifier};
use sqlx::Row as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use workflows::Gateway;

/// How many patients there are.
const PATIENTS: usize = 32;

/// How many laboratory results each has.
const RESULTS_EACH: usize = 24;

/// How many resources one imported bundle has.
const BUNDLE: usize = 200;

/// How long the document that is read is, in bytes.
const DOCUMENT_BYTES: usize = 1 << 20;

const ISSUER: &str = "http://salus.test/auth";

/// The nine types of the mix.
const TYPES: [&str; 9] = [
    "Patient",
    "Location",
    "Organization",
    "Practitioner",
    "Encounter",
    "Observation",
    "MedicationRequest",
    "Claim",
    "ExplanationOfBenefit",
];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let bench = Bench::begin().await;
        let parts = std::env::var("SALUS_BENCH_PARTS").unwrap_or("mix,bundles,search,reads".into());
        for part in parts.split(',') {
            match part {
                "mix" => bench.mix().await,
                "bundles" => bench.bundles().await,
                "search" => bench.search().await,
                "reads" => bench.reads().await,
                _ => panic!("there is no part {part}"),
            }
        }
    });
}

/// Signs tokens as an identity provider would.
struct Issuing {
    key: SigningKey,
    issued_at: u64,
}

impl Issuing {
    fn new(now: Timestamp) -> Self {
        let key = SigningKey::from_slice(consortium::secret("issuer").as_slice()).unwrap();
        Self { key, issued_at: now.0 }
    }

    fn keys(&self) -> Keys {
        let point = self.key.verifying_key().to_encoded_point(false);
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (x, y) = (text(point.x().unwrap()), text(point.y().unwrap()));
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": "1", "x": x, "y": y });
        Keys::parse(json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
    }

    fn token(&self, member: Address) -> String {
        let header = json!({ "alg": "ES256", "kid": "1", "typ": "at+jwt" });
        let claims = json!({
            "iss": ISSUER, "sub": "somebody", "aud": common::BASE,
            "iat": self.issued_at, "exp": self.issued_at + 86_400,
            "client_id": "bench", "scope": "user/*.cruds", "salus_member": member.to_string(),
        });
        let text = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", text(&header), text(&claims));
        let signature: Signature = self.key.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

/// Tells who asks as `salus gateway` does: by the token, and by the registry as it is now.
struct Tokens {
    gateway: Gateway,
    verifier: Verifier,
    now: Timestamp,
}

impl Tokens {
    async fn member(&self, headers: &HeaderMap) -> Result<Address, FhirError> {
        let token = self.verifier.verify_request(headers, self.now).await;
        let token = token
            .map_err(|refusal| FhirError::new(refusal.status(), "login", refusal.to_string()))?;
        Ok(token.member.unwrap().parse().unwrap())
    }
}

impl Authenticator for Tokens {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<Caller, FhirError>> {
        Box::pin(async move {
            let member = self.member(headers).await?;
            let gatekeeper = &self.gateway.gatekeeper;
            gatekeeper.refresh(self.now).await.unwrap();
            let projection = gatekeeper.projection().await;
            let (reader, purpose) = match projection.registry.reader(&member, self.now) {
                Some(reader) => (reader, Purpose::Treatment),
                None => (Reader::Patient { account: member }, Purpose::PatientRequest),
            };
            Ok(Caller { reader, purpose, allowed: Arc::new(AllowAll), patient: None })
        })
    }
}

/// A connection that is kept, and what was measured over it.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer: its status, and where its body is in the client's buffer.
struct Got {
    status: u16,
    body: Vec<u8>,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    async fn send(&mut self, token: &str, method: &str, path: &str, body: &str) -> Got {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: salus.test\r\nauthorization: Bearer {token}\r\n"
        );
        if !body.is_empty() {
            request += "content-type: application/fhir+json\r\n";
        }
        request += &format!("content-length: {}\r\n\r\n", body.len());
        request += body;
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.buffer.clear();
        let head = loop {
            let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            self.more().await;
        };
        let text = std::str::from_utf8(&self.buffer[..head]).unwrap().to_lowercase();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        while self.buffer.len() < head + length {
            self.more().await;
        }
        Got { status, body: self.buffer[head..head + length].to_vec() }
    }

    async fn more(&mut self) {
        let count = self.stream.read_buf(&mut self.buffer).await.unwrap();
        assert!(count > 0, "the server hung up");
    }

    /// Sends, takes the time, and requires a status.
    async fn timed(
        &mut self,
        times: &mut Times,
        class: &'static str,
        expected: u16,
        (token, method, path, body): (&str, &str, &str, &str),
    ) -> Got {
        let started = Instant::now();
        let got = self.send(token, method, path, body).await;
        times.entry(class).or_default().push(started.elapsed());
        let text = || String::from_utf8_lossy(&got.body[..got.body.len().min(500)]).into_owned();
        assert_eq!(got.status, expected, "{method} {path}: {}", text());
        got
    }
}

/// How long requests took, by class.
type Times = BTreeMap<&'static str, Vec<Duration>>;

/// Somebody on whom one connection works, and who asks.
struct Patient {
    id: String,
    token: String,
    account: Address,
}

struct Bench {
    address: SocketAddr,
    fhir: Fhir,
    physician: String,
    hospital: String,
    patients: Vec<Patient>,
    documents: Vec<String>,
    connections: usize,
    time: Duration,
}

impl Bench {
    async fn begin() -> Self {
        let fhir = Fhir::found().await;
        let gateway = fhir.world.gateway("hospital").clone();
        let now = fhir.world.now();
        let issuing = Issuing::new(now);
        let trusted = TrustedIssuer {
            issuer: ISSUER.into(),
            keys: KeySource::Fixed(issuing.keys()),
            names_members: true,
        };
        let settings = smart::Settings::new(vec![common::BASE.into()]);
        let tokens = || Tokens {
            gateway: gateway.clone(),
            verifier: Verifier::new(settings.clone(), vec![trusted.clone()]).unwrap(),
            now,
        };
        let bare =
            Router::new().route("/{resource_type}/{id}", get(bare)).with_state(Arc::new(tokens()));
        let served = router(fhir.resources.clone(), Arc::new(tokens()));
        let app = Router::new().nest("/fhir", served).nest("/bare", bare);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });

        let hospital = consortium::address("hospital");
        let mut bench = Self {
            address,
            physician: issuing.token(consortium::address("physician")),
            hospital: issuing.token(hospital),
            patients: Vec::new(),
            documents: Vec::new(),
            connections: usize::try_from(setting("SALUS_BENCH_CONNECTIONS", 16)).unwrap(),
            time: Duration::from_secs(setting("SALUS_BENCH_SECONDS", 8)),
            fhir,
        };
        for number in 0..PATIENTS {
            let (actor, id) = bench.fhir.patient(&format!("p{number:03}")).await;
            let account = actor.account();
            bench.patients.push(Patient { id, token: issuing.token(account), account });
        }
        bench.fill().await;
        bench
    }

    /// What searches find and reads read.
    async fn fill(&mut self) {
        let mut client = Client::connect(self.address).await;
        let mut times = Times::new();
        for patient in &self.patients {
            let mut entries: Vec<Value> =
                (0..RESULTS_EACH).map(|n| result(&patient.id, n)).collect();
            entries.extend(
                ["Encounter", "MedicationRequest"].map(|name| resource(name, &patient.id, 0)),
            );
            let bundle = transaction(&entries);
            let call = (&*self.physician, "POST", "/fhir", &*bundle);
            client.timed(&mut times, "fill", 200, call).await;
        }
        for number in 0..8 {
            let mut text = String::with_capacity(DOCUMENT_BYTES);
            for block in 0_u64.. {
                let name = format!("document {number} {block}");
                text += &URL_SAFE_NO_PAD.encode(consortium::secret(&name));
                if text.len() >= DOCUMENT_BYTES {
                    break;
                }
            }
            text.truncate(DOCUMENT_BYTES / 4 * 4);
            let patient = &self.patients[number];
            let document = json!({
                "resourceType": "DocumentReference", "status": "current",
                "subject": { "reference": format!("Patient/{}", patient.id) },
                "content": [{ "attachment": {
                    "contentType": "application/pdf",
                    "data": text.replace('-', "+").replace('_', "/"),
                } }],
            });
            let call =
                (&*self.physician, "POST", "/fhir/DocumentReference", &*document.to_string());
            let made = client.timed(&mut times, "fill", 201, call).await.json();
            self.documents.push(made["id"].as_str().unwrap().to_owned());
        }
    }

    /// Lets every connection do its work until the time is over; gives what it took, and how long all of it was.
    async fn drive<'a, F>(
        &'a self,
        connections: usize,
        work: impl Fn(usize, Client, Instant) -> F,
    ) -> (Times, Duration)
    where
        F: Future<Output = Times> + 'a,
    {
        let started = Instant::now();
        let deadline = started + self.time;
        let mut working = Vec::new();
        for number in 0..connections {
            working.push(work(number, Client::connect(self.address).await, deadline));
        }
        let mut all = Times::new();
        for times in join_all(working).await {
            for (class, times) in times {
                all.entry(class).or_default().extend(times);
            }
        }
        (all, started.elapsed())
    }

    /// Creates, reads, replaces, reads and deletes resources of the nine types.
    async fn mix(&self) {
        let (times, took) = self
            .drive(self.connections, async |number, mut client: Client, deadline| {
                let mut times = Times::new();
                let patient = &self.patients[number % PATIENTS];
                for round in 0.. {
                    for name in TYPES {
                        if Instant::now() >= deadline {
                            return times;
                        }
                        self.life(&mut client, &mut times, (name, patient), round).await;
                    }
                }
                times
            })
            .await;
        report_rate("CRUD mix over 9 types", &times, took, "req/s", 1.0, Some(5_212.0));
        for class in ["create", "read", "update", "delete"] {
            report_times(
                &format!("CRUD mix, {class}"),
                &times[class],
                (class == "read").then_some(("p99", 35.0)),
            );
        }
    }

    /// The life of one resource. Bills are written by the hospital's system, and read by the patient.
    async fn life(
        &self,
        client: &mut Client,
        times: &mut Times,
        (name, patient): (&str, &Patient),
        round: usize,
    ) {
        let is_bill = ["Claim", "ExplanationOfBenefit"].contains(&name);
        let writer = if is_bill { &*self.hospital } else { &*self.physician };
        let reader = if is_bill { &*patient.token } else { &*self.physician };
        let mut body = resource(name, &patient.id, round);
        if name == "Patient" {
            body["identifier"] = json!([{
                "system": fhir::ACCOUNT_SYSTEM, "value": patient.account.to_string(),
            }]);
        }
        let path = format!("/fhir/{name}");
        let call = (writer, "POST", &*path, &*body.to_string());
        let made = client.timed(times, "create", 201, call).await.json();
        let path = format!("{path}/{}", made["id"].as_str().unwrap());
        client.timed(times, "read", 200, (reader, "GET", &path, "")).await;
        body["id"] = made["id"].clone();
        body["language"] = "en".into();
        client.timed(times, "update", 200, (writer, "PUT", &path, &body.to_string())).await;
        client.timed(times, "read", 200, (reader, "GET", &path, "")).await;
        client.timed(times, "delete", 204, (writer, "DELETE", &path, "")).await;
    }

    /// Transactions of many resources about one patient each.
    async fn bundles(&self) {
        let connections = self.connections.min(4);
        let (times, took) = self
            .drive(connections, async |number, mut client: Client, deadline| {
                let mut times = Times::new();
                // They belong to patients on whom no search of this program is.
                let patient = &self.patients[PATIENTS - 1 - number];
                for round in 0.. {
                    if Instant::now() >= deadline {
                        break;
                    }
                    let entries: Vec<Value> =
                        (0..BUNDLE).map(|n| result(&patient.id, round * BUNDLE + n)).collect();
                    let body = transaction(&entries);
                    let call = (&*self.physician, "POST", "/fhir", &*body);
                    client.timed(&mut times, "bundle", 200, call).await;
                }
                times
            })
            .await;
        let name = format!("import by transactions of {BUNDLE}");
        report_rate(&name, &times, took, "resources/s", BUNDLE as f64, Some(5_000.0));
        report_times(&name, &times["bundle"], None);
    }

    /// Searches about one patient each, in six families.
    async fn search(&self) {
        let (times, took) = self
            .drive(self.connections, async |number, mut client: Client, deadline| {
                let mut times = Times::new();
                for round in number.. {
                    let place = round % (PATIENTS - 4);
                    let id = &self.patients[place].id;
                    for (family, query) in [
                        ("string", format!("Patient?family=family-p{place:03}")),
                        ("token", format!("Observation?patient={id}&code=http://loinc.org|2345-{}", round % 8)),
                        ("date", format!("Observation?patient={id}&date=ge2026-03-10&date=lt2026-03-14")),
                        ("reference", format!("Encounter?subject=Patient/{id}")),
                        ("quantity", format!("Observation?patient={id}&value-quantity=gt20||mmol/L")),
                        ("composite", format!("Observation?patient={id}&code-value-quantity=http://loinc.org|2345-1$gt3")),
                        ("include", format!("MedicationRequest?patient={id}&_include=MedicationRequest:patient")),
                    ] {
                        if Instant::now() >= deadline {
                            return times;
                        }
                        let path = format!("/fhir/{}", query.replace('|', "%7C"));
                        let call = (&*self.physician, "GET", &*path, "");
                        let found = client.timed(&mut times, family, 200, call).await;
                        let text = String::from_utf8_lossy(&found.body);
                        assert!(!text.contains("\"total\":0"), "{path} finds nothing");
                    }
                }
                times
            })
            .await;
        report_rate("search in six families", &times, took, "req/s", 1.0, Some(3_404.0));
        let all: Vec<Duration> = times.values().flatten().copied().collect();
        report_times("search in six families", &all, None);
        for (family, times) in &times {
            report(
                &format!("search, {family}, p50"),
                milliseconds(quantile(times, 0.5)),
                "ms",
                None,
            );
        }
    }

    /// Reads of short and long records, with and without enforcement, turn by turn.
    async fn reads(&self) {
        let mut client = Client::connect(self.address).await;
        let mut times = Times::new();
        let deadline = Instant::now() + self.time * 2;
        // About one patient: among all patients' there are more than a search looks through.
        let path = format!("/fhir/Observation?patient={}&_count=8", self.patients[0].id);
        let found = client.send(&self.physician, "GET", &path, "").await.json();
        let short: Vec<String> = found["entry"]
            .as_array()
            .unwrap_or_else(|| panic!("the observations are listed, not {found}"))
            .iter()
            .map(|entry| entry["resource"]["id"].as_str().unwrap().to_owned())
            .collect();
        for round in 0.. {
            if Instant::now() >= deadline {
                break;
            }
            let long =
                format!("DocumentReference/{}", self.documents[round % self.documents.len()]);
            let short = format!("Observation/{}", short[round % short.len()]);
            for (class, path) in [
                ("long", format!("/fhir/{long}")),
                ("long, bare", format!("/bare/{long}")),
                ("short", format!("/fhir/{short}")),
                ("short, bare", format!("/bare/{short}")),
            ] {
                let got =
                    client.timed(&mut times, class, 200, (&self.physician, "GET", &path, "")).await;
                assert!(!class.starts_with("long") || got.body.len() >= DOCUMENT_BYTES);
            }
        }
        report_times("authorised read of 1 MB", &times["long"], Some(("p50", 20.0)));
        report_times("the same without enforcement", &times["long, bare"], None);
        report_price("price of enforcement, 1 MB, p50", &times["long"], &times["long, bare"]);
        report_times("authorised read of a short record", &times["short"], None);
        report_times("the same without enforcement", &times["short, bare"], None);
        report_price(
            "price of enforcement, short record, p50",
            &times["short"],
            &times["short, bare"],
        );
        let mut rates = HashMap::new();
        for base in ["/fhir", "/bare"] {
            let paths: Vec<String> =
                short.iter().map(|id| format!("{base}/Observation/{id}")).collect();
            let (times, took) = self
                .drive(self.connections, async |number, mut client: Client, deadline| {
                    let mut times = Times::new();
                    for round in number.. {
                        if Instant::now() >= deadline {
                            break;
                        }
                        let call = (&*self.physician, "GET", &*paths[round % paths.len()], "");
                        client.timed(&mut times, "read", 200, call).await;
                    }
                    times
                })
                .await;
            let rate = times["read"].len() as f64 / took.as_secs_f64();
            let name = format!("reads of short records, {} at once", self.connections);
            let name = if base == "/bare" { format!("{name}, without enforcement") } else { name };
            report(&name, rate, "req/s", None);
            rates.insert(base, rate);
        }
        let price = (1.0 - rates["/fhir"] / rates["/bare"]) * 100.0;
        report("price of enforcement, short records, of the rate", price, "%", Some((15.0, true)));
    }
}

/// A read as it would be if everybody could read everything and nobody asked who did.
async fn bare(
    State(tokens): State<Arc<Tokens>>,
    Path((resource_type, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    if let Err(error) = tokens.member(&headers).await {
        return error.into_response();
    }
    let vault = tokens.gateway.gatekeeper.vault();
    let text = "select record, version from fhir_resources where type = $1 and id = $2";
    let row = sqlx::query(text).bind(resource_type).bind(id.clone());
    let row = row.fetch_one(vault.database().readers()).await.unwrap();
    let record = RecordId(row.get::<Vec<u8>, _>(0).as_slice().try_into().unwrap());
    let entries = vault.versions_of(&[record]).await.unwrap();
    let entry = entries.last().unwrap();
    // The vault opens nothing without a permit. That of the patients themselves asks for no facts.
    let request = Request {
        reader: Reader::Patient { account: entry.patient },
        patient: entry.patient,
        steward: tokens.gateway.member(),
        record,
        kind: entry.header.kind,
        purpose: Purpose::PatientRequest,
        time: tokens.now,
    };
    let permit = decide(&request, &Facts::default()).unwrap();
    let opened = vault.open(permit, Some(entry.header.version)).await.unwrap();
    let mut body = RawObject::parse(opened.body()).unwrap();
    body.set("id", &id, "resourceType");
    let meta = json!({ "versionId": row.get::<i64, _>(1).to_string() });
    body.set("meta", &meta, "id");
    let content_type = [(header::CONTENT_TYPE, "application/fhir+json; charset=utf-8")];
    (StatusCode::OK, content_type, body.to_string()).into_response()
}

/// A resource of the mix.
fn resource(name: &str, patient: &str, number: usize) -> Value {
    let subject = json!({ "reference": format!("Patient/{patient}") });
    let code = |system: &str, code: &str| json!({ "coding": [{ "system": system, "code": code }] });
    let hl7 = |name: &str| format!("http://terminology.hl7.org/CodeSystem/{name}");
    let mut resource = match name {
        "Patient" => {
            json!({ "name": [{ "family": format!("Mixed-{number}") }], "gender": "other" })
        }
        "Location" => json!({ "name": format!("Ward {number}"), "status": "active" }),
        "Organization" => json!({ "name": format!("Clinic {number}"), "active": true }),
        "Practitioner" => json!({ "name": [{ "family": format!("Doctor-{number}") }] }),
        "Encounter" => json!({
            "status": "finished", "subject": subject,
            "class": { "system": hl7("v3-ActCode"), "code": "AMB" },
            "period": { "start": "2026-03-04T10:00:00Z", "end": "2026-03-04T10:30:00Z" },
        }),
        "Observation" => observation(patient, "2345-7", 5.5),
        "MedicationRequest" => json!({
            "status": "active", "intent": "order", "subject": subject,
            "medicationCodeableConcept": code("http://www.nlm.nih.gov/research/umls/rxnorm", "860975"),
            "authoredOn": "2026-03-04T10:20:30Z",
        }),
        "Claim" => json!({
            "status": "active", "use": "claim", "patient": subject, "created": "2026-03-04",
            "type": code(&hl7("claim-type"), "professional"),
            "provider": { "display": "Hospital" },
            "priority": code(&hl7("processpriority"), "normal"),
            "insurance": [{ "sequence": 1, "focal": true, "coverage": { "display": "Public" } }],
        }),
        "ExplanationOfBenefit" => json!({
            "status": "active", "use": "claim", "patient": subject, "created": "2026-03-04",
            "type": code(&hl7("claim-type"), "professional"),
            "insurer": { "display": "Insurer" }, "provider": { "display": "Hospital" },
            "outcome": "complete",
            "insurance": [{ "focal": true, "coverage": { "display": "Public" } }],
        }),
        _ => unreachable!("the mix has no {name}"),
    };
    resource["resourceType"] = name.into();
    resource
}

/// A laboratory result unlike its neighbours.
fn result(patient: &str, number: usize) -> Value {
    let mut result = observation(patient, &format!("2345-{}", number % 8), number as f64 + 0.5);
    result["effectiveDateTime"] = format!("2026-03-{:02}T10:20:30Z", number % 28 + 1).into();
    result
}

fn transaction(resources: &[Value]) -> String {
    let entries: Vec<Value> = resources
        .iter()
        .map(|resource| {
            let request = json!({ "method": "POST", "url": resource["resourceType"] });
            json!({ "resource": resource, "request": request })
        })
        .collect();
    json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries }).to_string()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The time below which this share of the times is.
fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share is below 1"
    )]
    let place = (sorted.len() as f64 * share) as usize;
    sorted[place.min(sorted.len() - 1)]
}

/// Prints one figure, with a goal and whether it is one not to go beyond.
fn report(name: &str, value: f64, unit: &str, goal: Option<(f64, bool)>) {
    let mut row = json!({ "name": name, "value": value, "unit": unit });
    if let Some((goal, at_most)) = goal {
        row["goal"] = goal.into();
        row["at_most"] = at_most.into();
    }
    println!("{row}");
}

fn report_rate(
    name: &str,
    times: &Times,
    took: Duration,
    unit: &str,
    each: f64,
    goal: Option<f64>,
) {
    let count: usize = times.values().map(Vec::len).sum();
    let rate = count as f64 * each / took.as_secs_f64();
    report(name, rate, unit, goal.map(|goal| (goal, false)));
}

fn report_times(name: &str, times: &[Duration], goal: Option<(&str, f64)>) {
    for (quantile_name, share) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        let goal = goal.filter(|(name, _)| *name == quantile_name).map(|(_, goal)| (goal, true));
        let value = milliseconds(quantile(times, share));
        report(&format!("{name}, {quantile_name}"), value, "ms", goal);
    }
}

fn report_price(name: &str, with: &[Duration], without: &[Duration]) {
    let ratio = milliseconds(quantile(with, 0.5)) / milliseconds(quantile(without, 0.5));
    report(name, (ratio - 1.0) * 100.0, "%", Some((15.0, true)));
}
