//! Subscriptions: they are tried, told, replayed and ended, and tell nobody what they may not read (S3).

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use common::{
    Fhir, Only,
    consortium::{address, secret},
    observation,
};
use domain::{Address, Kind, Timestamp};
use fhir::{Interaction, SUBSCRIPTION_FORM};
use notify::{
    Clearance, Notification, Outbox, Webhooks,
    webhook::{Delivered, LocalTargets, WebhookSecret, WebhookSettings},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use vault::{Keyring, RootKey};
use workflows::{PatientActor, consent};

const EXTENSIONS: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition";

/// What came, and what the next ones are answered with.
#[derive(Clone, Default)]
struct Receiver {
    received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
    gate: Arc<Mutex<Option<Gate>>>,
}

/// For the next one that comes: says so, and waits until it may be answered.
type Gate = (oneshot::Sender<()>, oneshot::Receiver<()>);

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    receiver.received.lock().push((headers, body));
    let gate = receiver.gate.lock().take();
    if let Some((came, answer)) = gate {
        came.send(()).unwrap();
        answer.await.unwrap();
    }
    let answer = receiver.answers.lock().pop().unwrap_or(204);
    StatusCode::from_u16(answer).unwrap()
}

/// A hospital that serves subscriptions, and a receiver.
struct Setting {
    fhir: Fhir,
    outbox: Outbox,
    webhooks: Webhooks,
    receiver: Receiver,
    url: String,
    anna: PatientActor,
    patient: String,
}

fn everybody(_: Address) -> bool {
    true
}

async fn granted(_: Notification) -> Clearance {
    Clearance::Granted
}

impl Setting {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let database = fhir.world.gateway("hospital").gatekeeper.vault().database().clone();
        let outbox = Outbox::open(&database).await.unwrap();
        let root_key = RootKey::from_bytes(&secret("hospital/root"));
        let keyring = Keyring::open(&database, &root_key).await.unwrap();
        let settings = WebhookSettings { local: LocalTargets::Loopback, ..Default::default() };
        let forms =
            HashMap::from([(SUBSCRIPTION_FORM.to_owned(), fhir.resources.subscription_form())]);
        let webhooks = Webhooks::open(outbox.clone(), keyring, settings, forms).unwrap();
        fhir.resources.serve_subscriptions(webhooks.clone()).await.unwrap();
        let receiver = Receiver::default();
        let router = Router::new().route("/", post(receive)).with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let (anna, patient) = fhir.patient("anna").await;
        let setting = Self { fhir, outbox, webhooks, receiver, url, anna, patient };
        setting.follow().await;
        setting
    }

    fn now(&self) -> Timestamp {
        self.fhir.world.now()
    }

    async fn follow(&self) {
        let world = &self.fhir.world;
        self.outbox.follow(&world.ledger, &world.deployment, &everybody, self.now()).await.unwrap();
    }

    /// Takes in what is new, and delivers it.
    async fn deliver(&self) -> Delivered {
        self.follow().await;
        self.webhooks.deliver_due(self.now(), granted).await.unwrap()
    }

    /// What came since this was asked last.
    fn received(&self) -> Vec<(HeaderMap, Value)> {
        let received = std::mem::take(&mut *self.receiver.received.lock());
        let value =
            |(headers, body): (HeaderMap, Bytes)| (headers, serde_json::from_slice(&body).unwrap());
        received.into_iter().map(value).collect()
    }

    fn subscription(&self, content: &str) -> Value {
        json!({
            "resourceType": "Subscription",
            "status": "requested",
            "reason": "to know what is new",
            "criteria": "urn:salus:topic:records",
            "channel": {
                "type": "rest-hook",
                "endpoint": self.url,
                "payload": "application/fhir+json",
                "_payload": { "extension": [{
                    "url": format!("{EXTENSIONS}/backport-payload-content"),
                    "valueCode": content,
                }] },
            },
        })
    }

    /// A subscription whose receiver answered; returns its id and secret.
    async fn subscribe(&self, who: &str, resource: &Value) -> (String, WebhookSecret) {
        let made = self.fhir.post(who, "/Subscription", resource).await.expect(201);
        assert_eq!(made.json()["status"], "requested");
        let shown = made.json()["channel"]["extension"].clone();
        let shown =
            shown.as_array().unwrap().iter().find(|one| one["url"] == "urn:salus:webhook-secret");
        let secret = shown.unwrap()["valueString"].as_str().unwrap().parse().unwrap();
        self.fhir.resources.tend_subscriptions().await.unwrap();
        let handshake = self.received();
        assert_eq!(handshake.len(), 1);
        assert_eq!(parameter(&handshake[0].1, "type"), "handshake");
        assert_eq!(parameter(&handshake[0].1, "status"), "requested");
        (made.id(), secret)
    }

    /// Puts so many results into a batch.
    async fn write_batch(&self, count: u32) {
        let entry = |number: u32| {
            let resource = observation(&self.patient, "2345-7", f64::from(number));
            json!({ "resource": resource, "request": { "method": "POST", "url": "Observation" } })
        };
        let entries: Vec<_> = (0..count).map(entry).collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        self.fhir.post("physician", "/", &bundle).await.expect(200);
    }

    async fn tend(&self) {
        self.fhir.resources.tend_subscriptions().await.unwrap();
    }

    /// Does something while the next message waits for its answer.
    async fn tend_and_meanwhile(&self, doing: impl AsyncFnOnce()) {
        let ((came, has_come), (answer, may_answer)) = (oneshot::channel(), oneshot::channel());
        *self.receiver.gate.lock() = Some((came, may_answer));
        let doing = async {
            has_come.await.unwrap();
            doing().await;
            answer.send(()).unwrap();
        };
        tokio::join!(self.tend(), doing);
    }

    /// How many receipts somebody left with Anna.
    async fn receipts(&self, who: &str) -> usize {
        let gatekeeper = &self.fhir.world.gateway("hospital").gatekeeper;
        let receipts = gatekeeper.receipts_of(self.anna.account(), None, 1_000).await.unwrap();
        let (anybody, who) = (receipts.iter(), address(who));
        anybody.filter(|stored| stored.receipt.requester == who).count()
    }

    async fn write(&self, value: f64) -> String {
        let resource = observation(&self.patient, "2345-7", value);
        self.fhir.post("physician", "/Observation", &resource).await.expect(201).id()
    }

    async fn consent(&self, kinds: &[Kind]) {
        let world = &self.fhir.world;
        let (hospital, reader) = (world.gateway("hospital"), address("consultant"));
        let terms = world.terms(kinds);
        consent::grant(hospital, &self.anna, reader, None, &terms, self.now()).await.unwrap();
    }

    async fn revoke(&self) {
        let (hospital, reader) = (self.fhir.world.gateway("hospital"), address("consultant"));
        consent::revoke(hospital, &self.anna, reader, None, self.now()).await.unwrap();
    }

    async fn status(&self, who: &str, id: &str) -> String {
        let read = self.fhir.get(who, &format!("/Subscription/{id}")).await.expect(200);
        read.json()["status"].as_str().unwrap().to_owned()
    }
}

/// A parameter of a notification's status.
fn parameter(bundle: &Value, name: &str) -> String {
    let status = &bundle["entry"][0]["resource"];
    assert_eq!(status["resourceType"], "Parameters");
    let parameters = status["parameter"].as_array().unwrap();
    let found = parameters.iter().find(|parameter| parameter["name"] == name).unwrap();
    let text = ["valueCode", "valueString", "valueCanonical"]
        .iter()
        .find_map(|value| found[*value].as_str());
    text.unwrap().to_owned()
}

/// The numbers and focuses of a notification's events.
fn events(bundle: &Value) -> Vec<(String, String)> {
    let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    let of_events = parameters.iter().filter(|parameter| parameter["name"] == "notification-event");
    of_events
        .map(|event| {
            let part = |name: &str| {
                let parts = event["part"].as_array().unwrap();
                parts.iter().find(|part| part["name"] == name).cloned().unwrap_or_default()
            };
            let number = part("event-number")["valueString"].as_str().unwrap().to_owned();
            let focus =
                part("focus")["valueReference"]["reference"].as_str().unwrap_or("").to_owned();
            (number, focus)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_read_is_told_until_the_revocations_block() {
    let setting = Setting::found().await;
    setting.consent(&[Kind::Laboratory]).await;
    let mut wanted = setting.subscription("id-only");
    wanted["_criteria"] = json!({ "extension": [{
        "url": format!("{EXTENSIONS}/backport-filter-criteria"),
        "valueString": format!("Observation?patient=Patient/{}", setting.patient),
    }] });
    let (id, key) = setting.subscribe("consultant", &wanted).await;
    assert_eq!(setting.status("consultant", &id).await, "active");

    let written = setting.write(5.1).await;
    assert_eq!(setting.deliver().await.arrived, 1);
    let mut received = setting.received();
    let (headers, bundle) = received.pop().unwrap();
    assert!(received.is_empty());
    assert_eq!(bundle["type"], "history");
    assert_eq!(parameter(&bundle, "type"), "event-notification");
    assert_eq!(parameter(&bundle, "topic"), "urn:salus:topic:records");
    assert_eq!(parameter(&bundle, "events-since-subscription-start"), "1");
    let focus = format!("{}/Observation/{written}", common::BASE);
    assert_eq!(events(&bundle), [("1".to_owned(), focus.clone())]);
    assert_eq!(bundle["entry"][1]["fullUrl"], *focus);
    assert!(bundle["entry"][1].get("resource").is_none(), "id-only has no record in it");
    let issues = r4::validate(&bundle);
    assert!(issues.iter().all(|issue| issue.severity != r4::Severity::Error), "{issues:?}");
    let text = |name: &str| headers[name].to_str().unwrap();
    let (name, time) = (text("webhook-id"), Timestamp(text("webhook-timestamp").parse().unwrap()));
    let body = bundle.to_string();
    assert!(!body.contains("5.1") && !body.contains("Family"), "{body}");
    assert_eq!(text("webhook-attempt"), "1");
    assert_eq!(text("content-type"), "application/fhir+json");
    assert!(!key.verify(name, time, b"another body", text("webhook-signature"), time));

    // What the consent does not cover is not told, and neither is anything after the revocation.
    let condition = json!({
        "resourceType": "Condition",
        "subject": { "reference": format!("Patient/{}", setting.patient) },
        "code": { "text": "planted" },
        "clinicalStatus": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active",
        }] },
    });
    setting.fhir.post("physician", "/Condition", &condition).await.expect(201);
    setting.write(5.2).await;
    setting.revoke().await;
    assert_eq!(setting.deliver().await.arrived, 0);
    assert!(setting.received().is_empty());
    let replay = setting.fhir.get("consultant", &format!("/Subscription/{id}/$events")).await;
    assert!(events(&replay.expect(200).json()).is_empty(), "a replay is decided anew");

    // With consent again, what is new is told, and what was passed over stays so.
    setting.consent(&[Kind::Laboratory]).await;
    setting.write(5.3).await;
    assert_eq!(setting.deliver().await.arrived, 1);
    assert_eq!(events(&setting.received()[0].1)[0].0, "2");

    // The patient sees who was told, and who was refused.
    let gatekeeper = &setting.fhir.world.gateway("hospital").gatekeeper;
    let receipts = gatekeeper.receipts_of(setting.anna.account(), None, 100).await.unwrap();
    let of_consultant: Vec<bool> = receipts
        .iter()
        .filter(|stored| stored.receipt.requester == address("consultant"))
        .map(|stored| stored.receipt.outcome.is_allowed())
        .collect();
    assert!(of_consultant.contains(&true) && of_consultant.contains(&false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_resource_is_what_a_read_would_give_and_leaves_a_receipt() {
    let setting = Setting::found().await;
    let mut wanted = setting.subscription("full-resource");
    wanted["channel"]["header"] = json!(["Authorization: Bearer planted-header"]);
    let (id, key) = setting.subscribe("physician", &wanted).await;
    let path = format!("/Subscription/{id}");
    let read = setting.fhir.get("physician", &path).await.expect(200);
    assert!(
        !read.text.contains("planted-header") && !read.text.contains("whsec_"),
        "{}",
        read.text
    );

    let written = setting.write(5.1).await;
    setting.receiver.answers.lock().push(503);
    assert_eq!(setting.deliver().await.failed, 1);
    let (_, first) = setting.received().pop().unwrap();
    setting.webhooks.resume(&id).await.unwrap();
    assert_eq!(setting.deliver().await.arrived, 1);
    let received = std::mem::take(&mut *setting.receiver.received.lock());
    let (headers, bytes) = &received[0];
    let text = |name: &str| headers[name].to_str().unwrap();
    assert_eq!(text("webhook-attempt"), "2", "a repeat says that it is one");
    assert_eq!(text("authorization"), "Bearer planted-header");
    let (name, time) = (text("webhook-id"), Timestamp(text("webhook-timestamp").parse().unwrap()));
    assert!(key.verify(name, time, bytes, text("webhook-signature"), time));
    let bundle: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(events(&bundle), events(&first), "and has the same number");
    let there = setting.fhir.get("physician", &format!("/Observation/{written}")).await.json();
    assert_eq!(bundle["entry"][1]["resource"], there);

    let gatekeeper = &setting.fhir.world.gateway("hospital").gatekeeper;
    let receipts = gatekeeper.receipts_of(setting.anna.account(), None, 100).await.unwrap();
    let given = receipts.iter().filter(|stored| match &stored.receipt.outcome {
        domain::Outcome::Allowed { records, .. } => !records.is_empty(),
        domain::Outcome::Refused { .. } => false,
    });
    assert!(given.count() >= 3, "each attempt and the read");

    // Left as it was shown, the header stays.
    let mut changed = read.json();
    changed["channel"]["endpoint"] = format!("{}?other", setting.url).into();
    setting.fhir.put("physician", &path, &changed).await.expect(200);
    setting.fhir.resources.tend_subscriptions().await.unwrap();
    let (headers, handshake) = setting.received().pop().unwrap();
    assert_eq!(headers["authorization"], "Bearer planted-header");
    assert_eq!(parameter(&handshake, "type"), "handshake");
    // And it goes where it was put, the handshake and what follows.
    let to = setting.webhooks.subscription(&id).await.unwrap().unwrap();
    assert!(to.url.ends_with("?other"), "{to:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_is_its_owners_alone() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let (id, _) = setting.subscribe("physician", &setting.subscription("empty")).await;
    let path = format!("/Subscription/{id}");
    for other in ["nurse", "consultant", "patient:anna"] {
        fhir.get(other, &path).await.expect(404);
        fhir.get(other, &format!("{path}/$status")).await.expect(404);
        fhir.get(other, &format!("{path}/$events")).await.expect(404);
        fhir.delete(other, &path).await.expect(404);
        let mut stolen = setting.subscription("full-resource");
        stolen["id"] = id.as_str().into();
        fhir.put(other, &path, &stolen).await.expect(404);
        assert_eq!(fhir.get(other, "/Subscription").await.expect(200).json()["total"], 0);
    }
    fhir.admit_only("reader", "physician", Only(&[("Observation", Interaction::Read)]));
    fhir.get("reader", &path).await.expect(403);
    fhir.post("reader", "/Subscription", &setting.subscription("empty")).await.expect(403);

    let found = fhir.get("physician", "/Subscription?status=active").await.expect(200);
    assert_eq!(found.names(), [format!("Subscription/{id}")]);
    let none = fhir.get("physician", "/Subscription?criteria=other").await.expect(200);
    assert_eq!(none.json()["total"], 0);
    let status = fhir.get("physician", &format!("{path}/$status")).await.expect(200).json();
    assert_eq!(parameter(&status, "type"), "query-status");
    assert_eq!(parameter(&status, "status"), "active");

    setting.write(1.0).await;
    setting.write(2.0).await;
    assert_eq!(setting.deliver().await.arrived, 2);
    let told = setting.received();
    assert!(told.iter().all(|(_, bundle)| bundle["entry"].as_array().unwrap().len() == 1));
    let replayed = |query: &str| format!("{path}/$events?{query}");
    let all = fhir.get("physician", &replayed("content=id-only")).await.expect(200).json();
    assert_eq!(parameter(&all, "type"), "query-event");
    assert_eq!(events(&all).len(), 2);
    let last = fhir.get("physician", &replayed("eventsSinceNumber=2")).await.expect(200).json();
    assert_eq!(events(&last), [("2".to_owned(), String::new())]);

    fhir.delete("physician", &path).await.expect(204);
    fhir.get("physician", &path).await.expect(404);
    setting.write(3.0).await;
    assert_eq!(setting.deliver().await, Delivered::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receivers_are_tried_and_kept_warm() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    // A receiver that does not answer the handshake is told nothing else.
    let made = fhir.post("physician", "/Subscription", &setting.subscription("empty")).await;
    let id = made.expect(201).id();
    setting.receiver.answers.lock().push(500);
    fhir.resources.tend_subscriptions().await.unwrap();
    assert_eq!(setting.received().len(), 1);
    assert_eq!(setting.status("physician", &id).await, "error");
    setting.write(1.0).await;
    assert_eq!(setting.deliver().await, Delivered::default());

    // Put again, it is tried again, and told what came meanwhile.
    let mut again = setting.subscription("empty");
    again["id"] = id.as_str().into();
    again["channel"]["extension"] = json!([{
        "url": format!("{EXTENSIONS}/backport-heartbeat-period"), "valueUnsignedInt": 10,
    }]);
    let ends = common::consortium::NOW + 30;
    again["end"] = Timestamp(ends).to_string().into();
    fhir.put("physician", &format!("/Subscription/{id}"), &again).await.expect(200);
    fhir.resources.tend_subscriptions().await.unwrap();
    assert_eq!(setting.received().len(), 1);
    assert_eq!(setting.status("physician", &id).await, "active");
    assert_eq!(setting.deliver().await.arrived, 1);
    setting.received();

    let mut kinds = Vec::new();
    for _ in 0..29 {
        fhir.pass();
        fhir.resources.tend_subscriptions().await.unwrap();
        kinds.extend(setting.received().iter().map(|(_, bundle)| parameter(bundle, "type")));
    }
    assert_eq!(kinds, ["heartbeat", "heartbeat"]);
    fhir.pass();
    fhir.resources.tend_subscriptions().await.unwrap();
    assert_eq!(setting.status("physician", &id).await, "off");
    setting.write(2.0).await;
    assert_eq!(setting.deliver().await.arrived, 0);
    assert!(setting.received().is_empty());
}

/// A token is over soon, and so is what was agreed with it, unless it is agreed again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_ends_unless_it_is_wanted_again() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let mut wanted = setting.subscription("empty");
    wanted["end"] = "2099-01-01T00:00:00Z".into();
    let (id, _) = setting.subscribe("physician", &wanted).await;
    let path = format!("/Subscription/{id}");
    let week = std::time::Duration::from_secs(7 * 86_400);
    let shown = fhir.get("physician", &path).await.expect(200).json();
    assert_eq!(shown["end"], setting.now().after(week).to_string());
    setting.write(1.0).await;
    assert_eq!(setting.deliver().await.arrived, 1);

    // Put again before that, it goes on for as long again.
    fhir.advance(week / 2);
    wanted["id"] = id.as_str().into();
    let again = fhir.put("physician", &path, &wanted).await.expect(200).json();
    assert_eq!(again["end"], setting.now().after(week).to_string());
    fhir.resources.tend_subscriptions().await.unwrap();
    fhir.advance(week / 2 + std::time::Duration::from_secs(60));
    setting.write(2.0).await;
    assert_eq!(setting.deliver().await.arrived, 1);

    // And not any longer, whether or not anybody looks after it.
    fhir.advance(week / 2);
    setting.received();
    setting.write(3.0).await;
    assert_eq!(setting.deliver().await.arrived, 0);
    assert!(setting.received().is_empty());
    fhir.resources.tend_subscriptions().await.unwrap();
    assert_eq!(setting.status("physician", &id).await, "off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_must_be_there_to_be_had() {
    let setting = Setting::found().await;
    let refused = async |change: &dyn Fn(&mut Value), status: u16| {
        let mut resource = setting.subscription("id-only");
        change(&mut resource);
        setting.fhir.post("physician", "/Subscription", &resource).await.expect(status);
    };
    refused(&|it| it["criteria"] = "Observation?code=1".into(), 422).await;
    refused(&|it| it["channel"]["type"] = "email".into(), 422).await;
    refused(&|it| it["channel"]["endpoint"] = "http://10.0.0.1/".into(), 422).await;
    refused(&|it| it["channel"]["endpoint"] = "https://169.254.169.254/".into(), 422).await;
    refused(&|it| drop(it["channel"].as_object_mut().unwrap().remove("endpoint")), 422).await;
    refused(&|it| it["channel"]["payload"] = "text/plain".into(), 422).await;
    refused(&|it| it["channel"]["header"] = json!(["Host: elsewhere"]), 422).await;
    refused(&|it| drop(it.as_object_mut().unwrap().remove("reason")), 422).await;
    let statement = setting.fhir.get("", "/metadata").await.expect(200).json();
    let served = statement["rest"][0]["resource"].as_array().unwrap();
    assert!(served.iter().any(|one| one["type"] == "Subscription"));
    assert!(r4::validate(&statement).is_empty());
}

/// The chain says of a batch only its root; the steward's own subscribers are told of what is in it all the
/// same, a page at a time, and of nothing that they may not read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_are_told_of_what_is_in_batches() {
    let setting = Setting::found().await;
    let transaction = async |count: u32| setting.write_batch(count).await;
    let tend = async || setting.fhir.resources.tend_subscriptions().await.unwrap();
    // What was there before is told to nobody.
    transaction(2).await;
    let (own, _) = setting.subscribe("physician", &setting.subscription("id-only")).await;
    let mut filtered = setting.subscription("id-only");
    filtered["_criteria"] = json!({ "extension": [{
        "url": format!("{EXTENSIONS}/backport-filter-criteria"),
        "valueString": "Condition?",
    }] });
    setting.subscribe("physician", &filtered).await;
    let (other, _) = setting.subscribe("consultant", &setting.subscription("id-only")).await;
    assert_ne!(own, other);

    transaction(130).await;
    // The receiver is not there at first; nothing is lost by that, and nothing told twice afterwards.
    setting.receiver.answers.lock().push(503);
    tend().await;
    let refused = setting.received();
    assert_eq!(refused.len(), 1);
    setting.fhir.advance(std::time::Duration::from_secs(61));
    tend().await;
    let pages = setting.received();
    assert_eq!(pages.len(), 2);
    assert_eq!(pages[0].0["webhook-id"], refused[0].0["webhook-id"]);
    assert_eq!(
        pages[0].1["entry"][0]["resource"]["parameter"][0]["valueReference"]["reference"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap(),
        own
    );
    let told: Vec<_> = pages.iter().flat_map(|(_, page)| events(page)).collect();
    let numbers: Vec<_> = told.iter().map(|(number, _)| number.parse::<usize>().unwrap()).collect();
    assert_eq!(numbers, (1..=130).collect::<Vec<_>>());
    let mut focuses: Vec<_> = told.into_iter().map(|(_, focus)| focus).collect();
    focuses.sort_unstable();
    focuses.dedup();
    assert_eq!(focuses.len(), 130);
    tend().await;
    assert!(setting.received().is_empty());

    // Whoever is permitted from now on is told of what comes from now on, and until the revocation.
    setting.consent(&[Kind::Laboratory, Kind::VitalSign]).await;
    transaction(3).await;
    tend().await;
    let mut told: Vec<_> = setting.received().iter().map(|(_, page)| events(page).len()).collect();
    told.sort_unstable();
    assert_eq!(told, [3, 3]);
    setting.revoke().await;
    transaction(4).await;
    tend().await;
    let told: Vec<_> = setting.received().iter().map(|(_, page)| events(page).len()).collect();
    assert_eq!(told, [4]);

    // They are replayed like others, decided anew.
    let path = format!("/Subscription/{own}/$events?eventsSinceNumber=130&eventsUntilNumber=132");
    let replayed = setting.fhir.get("physician", &path).await.expect(200).json();
    let numbers: Vec<_> = events(&replayed).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, ["130", "131", "132"]);
    let path = format!("/Subscription/{other}/$events");
    let replayed = setting.fhir.get("consultant", &path).await.expect(200).json();
    assert!(events(&replayed).is_empty());
}

/// What was agreed binds the next page, not the next go (S3).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_page_goes_out_under_what_is_agreed_then() {
    let setting = Setting::found().await;
    let (id, _) = setting.subscribe("physician", &setting.subscription("id-only")).await;
    let path = format!("/Subscription/{id}");
    setting.write_batch(130).await;
    let mut other = setting.subscription("empty");
    other["id"] = id.as_str().into();
    setting
        .tend_and_meanwhile(async || {
            setting.fhir.put("physician", &path, &other).await.expect(200);
        })
        .await;
    let mut received = setting.received();
    let (_, first) = received.remove(0);
    assert_eq!(events(&first).len(), 100);
    // The new terms are tried before anything else, and then count for all that was not confirmed.
    if received.is_empty() {
        setting.tend().await;
        received = setting.received();
    }
    assert_eq!(parameter(&received.remove(0).1, "type"), "handshake");
    let told: Vec<_> = received.iter().flat_map(|(_, page)| events(page)).collect();
    let numbers: Vec<_> = told.iter().map(|(number, _)| number.parse::<usize>().unwrap()).collect();
    assert_eq!(numbers, (1..=130).collect::<Vec<_>>());
    assert!(told.iter().all(|(_, focus)| focus.is_empty()), "no focus is agreed any more");

    // Nothing follows on what was taken back, or is over.
    setting.write_batch(130).await;
    setting
        .tend_and_meanwhile(async || {
            setting.fhir.delete("physician", &path).await.expect(204);
        })
        .await;
    assert_eq!(setting.received().len(), 1);
    let mut ending = setting.subscription("id-only");
    ending["end"] = setting.now().after(std::time::Duration::from_secs(60)).to_string().into();
    setting.subscribe("physician", &ending).await;
    setting.write_batch(130).await;
    setting
        .tend_and_meanwhile(async || {
            setting.fhir.advance(std::time::Duration::from_secs(61));
        })
        .await;
    assert_eq!(setting.received().len(), 1);
}

/// A receiver takes what comes under a name that it knows for a repeat; nothing new may be lost by that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_with_more_in_it_has_another_name() {
    let setting = Setting::found().await;
    setting.subscribe("physician", &setting.subscription("id-only")).await;
    let name = |page: &(HeaderMap, Value)| page.0["webhook-id"].clone();
    let again = std::time::Duration::from_secs(60);
    setting.write_batch(2).await;
    let mut pages = Vec::new();
    for _ in 0..2 {
        setting.receiver.answers.lock().push(503);
        setting.tend().await;
        setting.fhir.advance(again);
        pages.extend(setting.received());
    }
    assert_eq!(name(&pages[0]), name(&pages[1]), "a repeat");
    setting.write_batch(3).await;
    setting.tend().await;
    pages.extend(setting.received());
    assert_eq!(pages.len(), 3);
    assert_ne!(name(&pages[2]), name(&pages[0]), "more than a repeat");
    assert_eq!(events(&pages[2].1).len(), 5);
    assert_eq!(events(&pages[2].1)[..2], events(&pages[0].1)[..]);
}

/// An endpoint that does not answer fills no log, and is given up (S5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_arrive_is_told_once_and_given_up() {
    let setting = Setting::found().await;
    setting.consent(&[Kind::Laboratory]).await;
    let mut wanted = setting.subscription("id-only");
    wanted["_criteria"] = json!({ "extension": [
        { "url": format!("{EXTENSIONS}/backport-filter-criteria"),
          "valueString": format!("Observation?patient=Patient/{}", setting.patient) },
        { "url": format!("{EXTENSIONS}/backport-filter-criteria"),
          "valueString": format!("Condition?patient=Patient/{}", setting.patient) },
    ] });
    let (id, _) = setting.subscribe("consultant", &wanted).await;
    let condition = |number: u32| {
        json!({
            "resourceType": "Condition",
            "subject": { "reference": format!("Patient/{}", setting.patient) },
            "code": { "text": format!("planted {number}") },
            "clinicalStatus": { "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
                "code": "active",
            }] },
        })
    };
    let entry = |number: u32| {
        let resource = match number % 2 {
            0 => observation(&setting.patient, "2345-7", f64::from(number)),
            _ => condition(number),
        };
        let url = resource["resourceType"].clone();
        json!({ "resource": resource, "request": { "method": "POST", "url": url } })
    };
    let entries: Vec<_> = (0..10).map(entry).collect();
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
    setting.fhir.post("physician", "/", &bundle).await.expect(200);

    let before = setting.receipts("consultant").await;
    setting.receiver.answers.lock().extend([503; 20]);
    setting.tend().await;
    // Five that may be read, and five that may not.
    assert_eq!(setting.receipts("consultant").await, before + 10);
    assert_eq!(setting.received().len(), 1);
    // It is tried again after a time that doubles.
    let mut tried = 0;
    for _ in 0..35 {
        setting.fhir.advance(std::time::Duration::from_secs(1));
        setting.tend().await;
        tried += setting.received().len();
    }
    assert_eq!(tried, 3, "after 5, 15 and 35 seconds");
    for _ in 0..16 {
        assert_eq!(setting.status("consultant", &id).await, "active");
        setting.fhir.advance(std::time::Duration::from_secs(4 * 3_600));
        setting.tend().await;
        assert_eq!(setting.received().len(), 1);
    }
    assert_eq!(setting.receipts("consultant").await, before + 10);
    assert_eq!(setting.status("consultant", &id).await, "error");
    setting.fhir.advance(std::time::Duration::from_secs(4 * 3_600));
    setting.tend().await;
    assert!(setting.received().is_empty());

    // Whoever puts it again is told.
    wanted["id"] = id.as_str().into();
    setting.fhir.put("consultant", &format!("/Subscription/{id}"), &wanted).await.expect(200);
    setting.tend().await;
    let received = setting.received();
    assert_eq!(received.len(), 2);
    assert_eq!(events(&received[1].1).len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_has_more_than_are_allowed() {
    let setting = Setting::found().await;
    let most = WebhookSettings::default().subscriptions_max;
    let resource = setting.subscription("empty");
    let made = (0..most + 4).map(|_| setting.fhir.post("physician", "/Subscription", &resource));
    let made = futures_util::future::join_all(made).await;
    let made = made.iter().map(|answer| answer.status.as_u16());
    let (made, refused): (Vec<_>, Vec<_>) = made.partition(|status| *status == 201);
    assert_eq!((made.len(), refused), (most, vec![409; 4]));
}
