//! Random histories, seen through FHIR: whatever happened, no path gives a byte of a record that the
//! contracts' own views forbid, and every record that they allow is read (S2, S3).
//!
//! Patients grant, revoke, accept, reject, and end relationships; the hospital countersigns, writes,
//! replaces and deletes, and says in `Provenance` where something is from; the glass is broken; time goes
//! by. After each step some readers try some paths, also pages of searches that they made before. What
//! was begun before goes on meanwhile: exports that were asked for, downloads that were opened and not
//! read, and subscriptions, whose notifications are delivered after each step.
//!
//! A failure names its history. `SALUS_HISTORY_SEED` runs that one again, `SALUS_HISTORY_ROUNDS` sets how
//! many there are.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, Method, Request, StatusCode, header},
    routing::post,
};
use bindings::{Consents, Contract, EmergencyAccess, Relationships};
use common::{
    Answer, BASE, Fhir,
    consortium::{PEOPLE, address, secret, wallet},
    observation,
};
use domain::{
    InstitutionRole, Kind, KindSet, Period, Purpose, PurposeSet, Reader, RecordId, RecordVersion,
    Terms,
};
use fhir::SUBSCRIPTION_FORM;
use ledger::PatientKey;
use notify::{
    Clearance, Notification, Outbox, Webhooks,
    webhook::{LocalTargets, WebhookSettings},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use vault::{Keyring, RootKey};
use workflows::{PatientActor, consent, emergency, record, record::Verdict, relationship};

/// Histories that one run goes through.
const ROUNDS: u64 = 8;

/// Steps of one history.
const STEPS: usize = 45;

/// Readers that try something after each step.
const TRIES: usize = 5;

const HOUR: Duration = Duration::from_secs(3_600);

/// The two patients; the second wants the hospital's signature beside her consents.
const PATIENTS: [(&str, bool); 2] = [("anna", false), ("berta", true)];

/// Institutions that read for themselves.
const INSTITUTIONS: [(&str, InstitutionRole); 2] =
    [("laboratory", InstitutionRole::Laboratory), ("emergency", InstitutionRole::Emergency)];

/// Who may be granted something: these, and whom they employ.
const GRANTEES: [&str; 5] = ["emergency", "laboratory", "consultant", "nurse", "scientist"];

const PURPOSES: [(&str, Purpose); 4] = [
    ("TREAT", Purpose::Treatment),
    ("BTG", Purpose::Emergency),
    ("HPAYMT", Purpose::Payment),
    ("PATRQT", Purpose::PatientRequest),
];

/// The purpose of patients, by its place.
const OWN: usize = 3;

/// Who is told of new records from the beginning, and why.
const SUBSCRIBERS: [(&str, usize, &str); 7] = [
    ("consultant", 0, "full-resource"),
    ("consultant", 2, "id-only"),
    ("nurse", 0, "full-resource"),
    ("laboratory", 0, "full-resource"),
    ("paramedic", 1, "full-resource"),
    ("physician", 0, "id-only"),
    ("patient:anna", OWN, "full-resource"),
];

const EXTENSIONS: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition";

/// How often a job is asked for its state.
const ASKED_MAX: usize = 2_000;

/// What happened to a record last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It stands: proposed or accepted.
    Stands,
    /// Its only version was rejected.
    Rejected,
    /// Something else, after which only some paths lead to it.
    Mixed,
}

/// A record, with the word that stands in it and nowhere else.
#[derive(Clone, Debug)]
struct Filed {
    patient: usize,
    resource_type: &'static str,
    id: String,
    record: RecordId,
    kind: Kind,
    word: String,
    version: u32,
    fate: Fate,
    /// The record that it is about and so names, by its place.
    about: Option<usize>,
}

/// Somebody who reads for a reason: the places of both.
type Asker = (usize, usize);

/// A request: method, path, headers, body.
type Asked = (Method, String, Vec<(&'static str, &'static str)>, String);

/// What came at the receiver of a subscription: the place of that, and the text.
type Received = Arc<Mutex<Vec<(usize, String)>>>;

/// A download that was begun, and of which nothing was read yet.
struct Download {
    asker: Asker,
    path: String,
    body: Body,
}

/// One history.
struct History {
    seed: u64,
    draws: u64,
    fhir: Fhir,
    patients: Vec<PatientActor>,
    patient_ids: Vec<String>,
    records: Vec<Filed>,
    readers: Vec<(String, Reader)>,
    /// Pages that somebody may ask for.
    pages: Vec<(Asker, String)>,
    /// Exports that somebody asked for, and files of those that are done.
    jobs: Vec<(Asker, String)>,
    files: Vec<(Asker, String)>,
    outbox: Outbox,
    webhooks: Webhooks,
    received: Received,
    /// Subscriptions, by the place at which their notifications come.
    subscriptions: Vec<(Asker, String)>,
    /// What the contracts allow since the last step.
    views: Mutex<HashMap<Asker, Arc<Vec<bool>>>>,
    opened: Vec<emergency::Opened>,
    told: Vec<String>,
    /// How often what came out.
    seen: BTreeMap<&'static str, usize>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_gives_what_the_contracts_forbid() {
    let setting = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match setting("SALUS_HISTORY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("SALUS_HISTORY_ROUNDS").unwrap_or(ROUNDS),
    };
    let is_whole = seeds.end - seeds.start >= ROUNDS;
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds {
        let mut history = History::begin(seed).await;
        for _ in 0..STEPS {
            history.step().await;
            history.deliver().await;
            for _ in 0..TRIES {
                history.try_something().await;
            }
        }
        history.fhir.world.assert_clean("hospital").await;
        for (what, times) in history.seen {
            *seen.entry(what).or_default() += times;
        }
    }
    // A history in which nothing may be read, or everything, shows nothing.
    for what in [
        "forbidden",
        "by consent or care",
        "by emergency",
        "own",
        "page",
        "told",
        "told whole",
        "replayed",
        "exported",
        "exported nothing",
        "revoked in between",
        "provenance",
    ] {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(!is_whole || times >= 5, "{what}: {seen:?}");
    }
}

impl History {
    async fn begin(seed: u64) -> Self {
        let fhir = Fhir::found().await;
        let (mut patients, mut patient_ids) = (Vec::new(), Vec::new());
        for (name, countersigned) in PATIENTS {
            let key = PatientKey::Wallet(wallet(&format!("patient {name}")));
            let actor = fhir.world.patient(name, key).await;
            fhir.world.relate("hospital", &actor, countersigned).await;
            let (actor, id) = fhir.patient(name).await;
            patients.push(actor);
            patient_ids.push(id);
        }
        let mut readers = Vec::new();
        for (name, employer, role) in PEOPLE {
            let (member, institution) = (address(name), address(employer));
            readers.push((name.to_owned(), Reader::Professional { member, role, institution }));
        }
        for (name, role) in INSTITUTIONS {
            let reader = Reader::Institution { member: address(name), role };
            fhir.admit(name, reader, Purpose::Treatment);
            readers.push((name.to_owned(), reader));
        }
        for actor in &patients {
            let reader = Reader::Patient { account: actor.account() };
            readers.push((format!("patient:{}", actor.name), reader));
        }
        let (outbox, webhooks) = notifying(&fhir).await;
        let (received, url) = receiver().await;
        let mut history = Self {
            seed,
            draws: 0,
            outbox,
            webhooks,
            received,
            subscriptions: Vec::new(),
            jobs: Vec::new(),
            files: Vec::new(),
            views: Mutex::default(),
            fhir,
            patients,
            patient_ids,
            records: Vec::new(),
            readers,
            pages: Vec::new(),
            opened: Vec::new(),
            told: Vec::new(),
            seen: BTreeMap::new(),
        };
        for (patient, (name, _)) in PATIENTS.into_iter().enumerate() {
            let id = history.patient_ids[patient].clone();
            let word = format!("Family-{name}");
            history.file(patient, "Patient", id, Kind::Demographics, word);
            for what in [0, 1, 2, 0, 1] {
                history.write(patient, what).await;
            }
        }
        history.deliver().await;
        for (name, purpose, content) in SUBSCRIBERS {
            history.subscribe(name, purpose, content, &url).await;
        }
        history.fhir.resources.tend_subscriptions().await.unwrap();
        assert_eq!(std::mem::take(&mut *history.received.lock()).len(), SUBSCRIBERS.len());
        history
    }

    /// Tells somebody of all records that they may read from now on.
    async fn subscribe(&mut self, name: &str, purpose: usize, content: &str, url: &str) {
        let reader = self.readers.iter().position(|(known, _)| known == name).unwrap();
        let endpoint = format!("{url}/{}", self.subscriptions.len());
        let body = json!({
            "resourceType": "Subscription",
            "status": "requested",
            "reason": "to know what is new",
            "criteria": "urn:salus:topic:records",
            "channel": {
                "type": "rest-hook",
                "endpoint": endpoint,
                "payload": "application/fhir+json",
                "_payload": { "extension": [{
                    "url": format!("{EXTENSIONS}/backport-payload-content"),
                    "valueCode": content,
                }] },
            },
        });
        let headers = [("x-purpose-of-use", PURPOSES[purpose].0)];
        let made =
            self.fhir.send(name, Method::POST, "/Subscription", &headers, body.to_string()).await;
        self.subscriptions.push(((reader, purpose), made.expect(201).id()));
    }

    fn file(
        &mut self,
        patient: usize,
        resource_type: &'static str,
        id: String,
        kind: Kind,
        word: String,
    ) {
        let account = self.patients[patient].account();
        let name = [account.as_slice(), resource_type.as_bytes(), b"/", id.as_bytes()].concat();
        let gateway = self.fhir.world.gateway("hospital");
        let record = RecordId(gateway.keyed_digest("salus/record-id/v1", &name));
        let (version, fate, about) = (1, Fate::Stands, None);
        let filed = Filed { patient, resource_type, id, record, kind, word, version, fate, about };
        self.records.push(filed);
    }

    fn below(&mut self, bound: usize) -> usize {
        self.draws += 1;
        let drawn = secret(&format!("history {} {}", self.seed, self.draws));
        let number = u64::from_be_bytes(drawn[..8].try_into().unwrap());
        usize::try_from(number % bound as u64).unwrap()
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn some_kinds(&mut self) -> KindSet {
        let all = [Kind::Demographics, Kind::Laboratory, Kind::Condition, Kind::Medication];
        let kinds: Vec<Kind> = all.into_iter().filter(|_| self.chance(70)).collect();
        KindSet::of(&kinds)
    }

    async fn step(&mut self) {
        let what = match self.below(100) {
            0..10 => self.pass(),
            10..36 => self.grant().await,
            36..48 => self.revoke().await,
            48..56 => self.open().await,
            56..60 => self.end().await,
            60..65 => self.restrict().await,
            65..70 => self.relationship().await,
            70..80 => self.answer().await,
            80..84 => {
                let (patient, what) = (self.below(PATIENTS.len()), self.below(3));
                self.write(patient, what).await
            }
            84..89 => self.say_where_from().await,
            89..95 => self.replace().await,
            _ => self.delete().await,
        };
        self.told.push(what);
        self.views.lock().clear();
    }

    fn pass(&mut self) -> String {
        let hours = [1, 2, 12, 30][self.below(4)];
        self.fhir.advance(HOUR * hours);
        format!("{hours} hours pass")
    }

    async fn grant(&mut self) -> String {
        let (patient, reader) = (self.below(PATIENTS.len()), GRANTEES[self.below(GRANTEES.len())]);
        let place = self.below(self.records.len());
        let scope = self.chance(30).then(|| self.records[place].record);
        let hours = [1, 6, 48][self.below(3)];
        let kinds = self.some_kinds();
        let signs = self.chance(60);
        let world = &self.fhir.world;
        let terms = Terms {
            period: Period::new(world.now(), world.now().after(HOUR * hours)).unwrap(),
            kinds,
            purposes: PurposeSet::of(&[Purpose::Treatment, Purpose::Payment]),
        };
        let (hospital, actor) = (world.gateway("hospital"), &self.patients[patient]);
        let member = address(reader);
        let granted = consent::grant(hospital, actor, member, scope, &terms, world.now()).await;
        let mut told = format!("{} grants {reader} {scope:?} {kinds}", actor.name);
        if let (Ok((version, _)), true) = (&granted, signs) {
            let account = actor.account();
            let signed = consent::countersign(hospital, account, member, scope, *version).await;
            told += &format!(", countersigned: {}", signed.is_ok());
        }
        format!("{told}: {}", granted.is_ok())
    }

    /// Takes back a consent while an export of the one who had it runs, and downloads of theirs are open.
    async fn revoke(&mut self) -> String {
        let (patient, reader) = (self.below(PATIENTS.len()), GRANTEES[self.below(GRANTEES.len())]);
        let place = self.below(self.records.len());
        let scope = self.chance(30).then(|| self.records[place].record);
        let asker = (self.readers.iter().position(|(name, _)| name == reader).unwrap(), 0);
        let mut open = Vec::new();
        for (asker, path) in self.files.clone() {
            if self.readers[asker.0].0 == reader {
                open.extend(self.open_download(asker, path).await);
            }
        }
        self.forget_job(asker.0).await;
        let path = self.some_export(asker.0);
        let job = self.kick_off(asker, &path).await;
        {
            let world = &self.fhir.world;
            let (hospital, actor) = (world.gateway("hospital"), &self.patients[patient]);
            consent::revoke(hospital, actor, address(reader), scope, world.now()).await.unwrap();
        }
        let told = format!("{} revokes {reader} {scope:?}", self.patients[patient].name);
        self.told.push(told.clone());
        self.views.lock().clear();
        for download in open {
            self.end_download(download).await;
        }
        if let Some(job) = job {
            self.end_job(asker, &job).await;
            for (asker, path) in self.files.clone() {
                if path.starts_with(&job) {
                    let download = self.open_download(asker, path).await;
                    self.end_download(download.unwrap()).await;
                }
            }
            *self.seen.entry("revoked in between").or_default() += 1;
        }
        self.told.pop();
        told
    }

    /// A way to export what a reader may read.
    fn some_export(&mut self, reader: usize) -> String {
        let (_, reader) = self.readers[reader];
        match self.below(5) {
            0 => "/Patient/$export".into(),
            1 => "/$export?_type=Observation,Condition".into(),
            2 => "/$export?_type=Provenance,Patient".into(),
            3 => format!("/Group/care-{}/$export", hex::encode(reader.address())),
            _ => "/$export".into(),
        }
    }

    /// Asks for an export, and does not wait; `None` when somebody may not have it at all.
    async fn kick_off(&mut self, asker: Asker, path: &str) -> Option<String> {
        let headers = [("prefer", "respond-async"), ("x-purpose-of-use", PURPOSES[asker.1].0)];
        let token = self.readers[asker.0].0.clone();
        let begun = self.fhir.send(&token, Method::GET, path, &headers, String::new()).await;
        if begun.status != 202 {
            assert!(matches!(begun.status.as_u16(), 403 | 404 | 429), "{}", begun.text);
            return None;
        }
        Some(begun.header("content-location").strip_prefix(BASE).unwrap().to_owned())
    }

    /// Waits for an export that runs, and notes its files. What was there before is forgotten.
    async fn end_job(&mut self, asker: Asker, job: &str) {
        for _ in 0..ASKED_MAX {
            let asked = (Method::GET, job.to_owned(), Vec::new(), String::new());
            let answer = self.ask(asker, &asked).await;
            if answer.status == 202 {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.text);
            self.check(asker, &answer, "the state of an export").await;
            for file in answer.json()["output"].as_array().unwrap() {
                let path = file["url"].as_str().unwrap().strip_prefix(BASE).unwrap();
                self.files.push((asker, path.to_owned()));
            }
            self.jobs.push((asker, job.to_owned()));
            return;
        }
        panic!("an export does not end");
    }

    /// Begins a download, where that can be done.
    async fn open_download(&self, asker: Asker, path: String) -> Option<Download> {
        let request = Request::get(&path)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.readers[asker.0].0))
            .header("x-purpose-of-use", PURPOSES[asker.1].0);
        let request = request.body(Body::empty()).unwrap();
        let response = self.fhir.router.clone().oneshot(request).await.unwrap();
        match response.status().as_u16() {
            200 => Some(Download { asker, path, body: response.into_body() }),
            // Not kept any more, or too many at a time.
            404 | 429 => None,
            other => panic!("{path}: {other}"),
        }
    }

    async fn end_download(&mut self, download: Download) {
        let Download { asker, path, body } = download;
        // Whoever has no part in the network any more gets an error in its midst, and nothing else.
        let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let headers = HeaderMap::new();
        let answer = Answer { status: StatusCode::OK, headers, text };
        self.check(asker, &answer, &format!("the file {path}")).await;
        let what = if answer.text.is_empty() { "exported nothing" } else { "exported" };
        *self.seen.entry(what).or_default() += 1;
    }

    /// Delivers what subscribers are told of, and looks at it.
    async fn deliver(&mut self) {
        let world = &self.fhir.world;
        let (ledger, deployment, now) = (&world.ledger, &world.deployment, world.now());
        self.outbox.follow(ledger, deployment, &|_| true, now).await.unwrap();
        let granted = async |_: Notification| Clearance::Granted;
        self.webhooks.deliver_due(now, granted).await.unwrap();
        let received = std::mem::take(&mut *self.received.lock());
        for (place, text) in received {
            let (asker, _) = self.subscriptions[place];
            let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), text };
            self.check(asker, &answer, "a notification").await;
            let is_whole = answer.text.contains("Planted");
            *self.seen.entry("told").or_default() += 1;
            *self.seen.entry("told whole").or_default() += usize::from(is_whole);
        }
    }

    /// Asks for what a subscriber was told of, once more.
    async fn replay(&mut self) {
        let place = self.below(self.subscriptions.len());
        let (asker, id) = self.subscriptions[place].clone();
        let path = format!("/Subscription/{id}/$events?content=full-resource");
        let answer = self.ask(asker, &(Method::GET, path.clone(), Vec::new(), String::new())).await;
        self.check(asker, &answer, "events of a subscription").await;
        // Asked for with a body, it is the same.
        let body = json!({ "resourceType": "Parameters", "parameter": [
            { "name": "content", "valueCode": "full-resource" },
        ] });
        let json = vec![("content-type", "application/fhir+json")];
        let path = format!("/Subscription/{id}/$events");
        let posted = self.ask(asker, &(Method::POST, path, json, body.to_string())).await;
        self.check(asker, &posted, "events of a subscription").await;
        let entries = |answer: &Answer| answer.json()["entry"].as_array().map(Vec::len);
        assert_eq!(entries(&posted), entries(&answer), "{}", posted.text);
        let is_something = answer.text.contains("\"focus\"");
        *self.seen.entry("replayed").or_default() += usize::from(is_something);
        // What is in an inbox, and so goes out as a stream of events, has no record in it.
        let member = self.readers[asker.0].1.address();
        let inbox = self.outbox.inbox(member, None, 500).await.unwrap();
        let text = serde_json::to_string(&inbox).unwrap();
        let answer = Answer { status: StatusCode::OK, headers: HeaderMap::new(), text };
        self.check(asker, &answer, "an inbox").await;
    }

    /// Looks at the access log: patients see their own, nobody here another's.
    async fn look_at_log(&mut self, asker: Asker) {
        let patient = self.below(PATIENTS.len());
        let id = self.patient_ids[patient].clone();
        let paths = [
            format!("/AuditEvent?patient=Patient/{id}&_include=AuditEvent:entity"),
            "/AuditEvent?_count=20".into(),
        ];
        let path = paths[self.below(2)].clone();
        let answer = self.ask(asker, &(Method::GET, path.clone(), Vec::new(), String::new())).await;
        let is_patient = matches!(self.readers[asker.0].1, Reader::Patient { .. });
        assert_eq!(answer.status == 200, is_patient, "{path}: {}", answer.text);
        self.check(asker, &answer, &format!("GET {path}")).await;
    }

    async fn open(&mut self) -> String {
        let (patient, kinds) = (self.below(PATIENTS.len()), self.some_kinds());
        let world = &self.fhir.world;
        let (department, who) = (world.gateway("emergency"), world.person("paramedic"));
        let account = self.patients[patient].account();
        let opened = emergency::open(department, who, account, kinds, HOUR, "unconscious").await;
        let told = format!("the paramedic opens {patient} {kinds}: {}", opened.is_ok());
        self.opened.extend(opened.map(|(opened, ..)| opened));
        told
    }

    async fn end(&mut self) -> String {
        let Some(opened) = self.opened.pop() else { return "nothing to end".into() };
        let world = &self.fhir.world;
        let (department, who) = (world.gateway("emergency"), world.person("paramedic"));
        let ended = emergency::end(department, who, &opened).await;
        // An opening that is not reviewed keeps its professional from the next one.
        let (officer, verdict) = (world.person("officer"), emergency::Verdict::Justified);
        let reviewed = emergency::review(department, officer, &opened, verdict, "a note").await;
        format!("the opening ends: {}, reviewed: {}", ended.is_ok(), reviewed.is_ok())
    }

    async fn restrict(&mut self) -> String {
        let patient = self.below(PATIENTS.len());
        let kinds = if self.chance(60) { KindSet::EMPTY } else { self.some_kinds() };
        let world = &self.fhir.world;
        let (hospital, actor) = (world.gateway("hospital"), &self.patients[patient]);
        let done = emergency::restrict(hospital, actor, kinds, false, world.now()).await;
        format!("{} closes {kinds} to emergencies: {}", actor.name, done.is_ok())
    }

    /// Ends a relationship, or begins it again.
    async fn relationship(&mut self) -> String {
        let patient = self.below(PATIENTS.len());
        let countersigned = self.chance(50);
        let world = &self.fhir.world;
        let (hospital, actor) = (world.gateway("hospital"), &self.patients[patient]);
        if relationship::end(hospital, actor, world.now()).await.is_ok() {
            return format!("{} ends the relationship", actor.name);
        }
        world.relate("hospital", actor, countersigned).await;
        format!("{} begins the relationship again, countersigned: {countersigned}", actor.name)
    }

    /// A patient accepts or rejects the newest version of a record.
    async fn answer(&mut self) -> String {
        let place = self.below(self.records.len());
        let verdict = if self.chance(60) { Verdict::Accept } else { Verdict::Reject };
        let world = &self.fhir.world;
        let hospital = world.gateway("hospital");
        let Filed { patient, record, version, .. } = self.records[place];
        hospital.gatekeeper.refresh(world.now()).await.unwrap();
        let newest = RecordVersion::try_from(version).unwrap();
        let found = hospital.gatekeeper.inclusion(record, newest).await.unwrap();
        let (anchor, _) = found.unwrap();
        let actor = &self.patients[patient];
        let done = record::answer(hospital, actor, &anchor, verdict, world.now()).await;
        if done.is_ok() && verdict == Verdict::Reject {
            let fate = if version == 1 { Fate::Rejected } else { Fate::Mixed };
            self.records[place].fate = fate;
        }
        format!("{} answers {record} with {verdict:?}: {}", actor.name, done.is_ok())
    }

    fn body(patient: &str, what: usize, word: &str) -> (&'static str, Kind, Value) {
        let subject = json!({ "reference": format!("Patient/{patient}") });
        let (resource_type, kind, mut body) = match what {
            0 => ("Observation", Kind::Laboratory, observation(patient, "2345-7", 5.1)),
            1 => {
                let status = json!({ "coding": [{
                    "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
                    "code": "active",
                }] });
                let body = json!({ "resourceType": "Condition", "subject": subject,
                    "clinicalStatus": status, "code": { "text": "Finding" } });
                ("Condition", Kind::Condition, body)
            }
            _ => {
                let body = json!({ "resourceType": "MedicationRequest", "status": "active",
                    "intent": "order", "subject": subject,
                    "medicationCodeableConcept": { "text": "Tablets" } });
                ("MedicationRequest", Kind::Medication, body)
            }
        };
        body["note"] = json!([{ "text": word }]);
        (resource_type, kind, body)
    }

    async fn write(&mut self, patient: usize, what: usize) -> String {
        let word = format!("Planted{}x", self.records.len());
        let (resource_type, kind, body) = Self::body(&self.patient_ids[patient], what, &word);
        let made = self.fhir.post("physician", &format!("/{resource_type}"), &body).await;
        if made.status == 201 {
            self.file(patient, resource_type, made.id(), kind, word);
        }
        format!("the physician writes a {resource_type} of {patient}: {}", made.status)
    }

    /// Writes where a record is from.
    async fn say_where_from(&mut self) -> String {
        let place = self.below(self.records.len());
        let Filed { patient, resource_type, id, kind, .. } = self.records[place].clone();
        if resource_type == "Provenance" {
            return "nobody asks where the word of where it is from is from".into();
        }
        let word = format!("Planted{}x", self.records.len());
        let body = json!({
            "resourceType": "Provenance",
            "target": [{ "reference": format!("{resource_type}/{id}") }],
            "recorded": "2026-03-04T10:20:30Z",
            "reason": [{ "text": word }],
            "agent": [{ "who": { "display": "the referring practice" } }],
        });
        let made = self.fhir.post("physician", "/Provenance", &body).await;
        if made.status == 201 {
            self.file(patient, "Provenance", made.id(), kind, word);
            self.records.last_mut().unwrap().about = Some(place);
            *self.seen.entry("provenance").or_default() += 1;
        }
        format!("the physician says where {resource_type}/{id} is from: {}", made.status)
    }

    async fn replace(&mut self) -> String {
        let place = self.below(self.records.len());
        if self.records[place].resource_type == "Provenance" {
            return "where something is from stays as it is".into();
        }
        let Filed { patient, resource_type, id, kind, word, .. } = self.records[place].clone();
        let what = match kind {
            Kind::Laboratory => 0,
            Kind::Condition => 1,
            Kind::Medication => 2,
            _ => return "the patient's own resource stays".into(),
        };
        let (_, _, mut body) = Self::body(&self.patient_ids[patient], what, &word);
        body["id"] = id.clone().into();
        body["language"] = "en".into();
        let path = format!("/{resource_type}/{id}");
        let done = self.fhir.put("physician", &path, &body).await;
        if done.status == 200 {
            let filed = &mut self.records[place];
            filed.version += 1;
            filed.fate = if filed.fate == Fate::Stands { Fate::Stands } else { Fate::Mixed };
        }
        format!("the physician replaces {path}: {}", done.status)
    }

    async fn delete(&mut self) -> String {
        let place = self.below(self.records.len());
        let Filed { resource_type, id, .. } = self.records[place].clone();
        if resource_type == "Patient" {
            return "the patient's own resource stays".into();
        }
        let path = format!("/{resource_type}/{id}");
        let done = self.fhir.delete("physician", &path).await;
        if done.status == 204 && self.records[place].fate != Fate::Mixed {
            self.records[place].version += 1;
            self.records[place].fate = Fate::Mixed;
        }
        format!("the physician deletes {path}: {}", done.status)
    }

    /// Whether the contracts allow a read. They do not know what each role may read at all, nor whom
    /// the hospital lists as caring for whom: that is the physician, who registered both patients.
    async fn allowed(&self, reader: &Reader, purpose: Purpose, filed: &Filed) -> bool {
        let patient = self.patients[filed.patient].account();
        let (may_read, institution) = match *reader {
            Reader::Patient { account } => {
                return account == patient && purpose == Purpose::PatientRequest;
            }
            Reader::Professional { role, institution, .. } => (role.may_read(purpose), institution),
            Reader::Institution { member, role } => (role.may_read(purpose), member),
        };
        if !may_read.contains(filed.kind) || filed.fate == Fate::Rejected {
            return false;
        }
        let member = reader.address();
        if purpose == Purpose::Emergency {
            let kind = filed.kind.number();
            let call = EmergencyAccess::permitsCall { patient, professional: member, kind };
            return self.view(Contract::EmergencyAccess, &call).await;
        }
        let steward = address("hospital");
        if purpose == Purpose::Treatment && member == address("physician") {
            let call = Relationships::isActiveCall { patient, steward };
            if self.view(Contract::Relationships, &call).await {
                return true;
            }
        }
        for named in [member, institution] {
            let call = Consents::permitsCall {
                patient,
                steward,
                reader: named,
                record: filed.record.0,
                kind: filed.kind.number(),
                purpose: purpose.number(),
            };
            if self.view(Contract::Consents, &call).await {
                return true;
            }
        }
        false
    }

    async fn view<C>(&self, contract: Contract, call: &C) -> C::Return
    where
        C: alloy_sol_types::SolCall,
    {
        let world = &self.fhir.world;
        let pending = alloy_eips::BlockId::pending();
        world.ledger.call(world.at(contract), call, pending).await.unwrap()
    }

    /// A way to ask for a record: method, path, headers, body.
    fn some_path(&mut self, filed: &Filed) -> Asked {
        let Filed { resource_type, id, patient, .. } = filed;
        let patient = self.patient_ids[*patient].clone();
        let get = |path: String| (Method::GET, path, Vec::new(), String::new());
        match self.below(22) {
            14 => get(format!("/{resource_type}/_history")),
            15 => get(format!("/Provenance?target={resource_type}/{id}")),
            16 => get(format!(
                "/Provenance?patient=Patient/{patient}&_count=2&_include=Provenance:target"
            )),
            17 => get(format!("/{resource_type}?_id={id}&_revinclude=Provenance:target")),
            18 => get("/Observation?_revinclude=Provenance:target&_count=2".into()),
            19 => get(format!("/Consent?patient=Patient/{patient}&_include=Consent:patient")),
            20 => get("/Provenance?_count=3".into()),
            0 => get(format!("/{resource_type}/{id}/_history/1")),
            1 => get(format!("/{resource_type}/{id}/_history")),
            2 => get(format!("/{resource_type}?_id={id}")),
            3 => get(format!("/{resource_type}?_count=1")),
            4 => get(format!("/{resource_type}?_id={id}&_summary=count")),
            5 => get(format!("/{resource_type}?_summary=count")),
            6 => get("/Observation?_include=Observation:subject".into()),
            7 => get(format!(
                "/Patient?_id={patient}&_revinclude=Observation:patient&_revinclude=Condition:patient"
            )),
            8 => get(format!("/Patient/{patient}/$everything")),
            9 => get(format!("/Observation?patient={patient}&_sort=-date&_count=1")),
            10 => get("/MedicationRequest?patient:Patient.family=Family".into()),
            11 => {
                let known = vec![("if-none-match", "W/\"1\"")];
                (Method::GET, format!("/{resource_type}/{id}"), known, String::new())
            }
            12 => {
                let form = vec![("content-type", "application/x-www-form-urlencoded")];
                let body = format!("patient={patient}");
                (Method::POST, "/Condition/_search".into(), form, body)
            }
            13 => {
                let batch = json!({ "resourceType": "Bundle", "type": "batch", "entry": [
                    { "request": { "method": "GET", "url": format!("{resource_type}/{id}") } },
                    { "request": { "method": "GET", "url": format!("Patient/{patient}/$everything") } },
                ] });
                let json = vec![("content-type", "application/fhir+json")];
                (Method::POST, "/".into(), json, batch.to_string())
            }
            _ => (Method::HEAD, format!("/{resource_type}/{id}"), Vec::new(), String::new()),
        }
    }

    async fn try_something(&mut self) {
        let reader = self.below(self.readers.len());
        let place = self.below(self.records.len());
        let filed = self.records[place].clone();
        let is_patient = matches!(self.readers[reader].1, Reader::Patient { .. });
        // What emergencies open comes seldom enough.
        let is_paramedic = self.readers[reader].0 == "paramedic";
        let purpose = match self.below(10) {
            _ if is_patient => OWN,
            0 => 2,
            1 => 1,
            _ if is_paramedic => 1,
            _ => 0,
        };
        let asker = (reader, purpose);
        match self.below(100) {
            0..22 if !self.pages.is_empty() => {
                let place = self.below(self.pages.len());
                let (asker, path) = self.pages[place].clone();
                let asked = (Method::GET, path, Vec::new(), String::new());
                let answer = self.ask(asker, &asked).await;
                self.check(asker, &answer, "a page that was asked for before").await;
                *self.seen.entry("page").or_default() += 1;
                return;
            }
            22..30 => return self.replay().await,
            30..35 => return self.look_at_log(asker).await,
            35..43 => return self.export(asker).await,
            43..50 if !self.files.is_empty() => {
                let place = self.below(self.files.len());
                let (asker, path) = self.files[place].clone();
                if let Some(download) = self.open_download(asker, path).await {
                    self.end_download(download).await;
                }
                return;
            }
            _ => {}
        }
        let asked = self.some_path(&filed);
        let answer = self.ask(asker, &asked).await;
        self.check(asker, &answer, &format!("{} {}", asked.0, asked.1)).await;
        if let Some(next) = next_page(&answer)
            && !asked.1.starts_with("/Consent")
        {
            self.pages.push((asker, next));
        }
        // Each record by its own address: exactly what the contracts say.
        let path = format!("/{}/{}", filed.resource_type, filed.id);
        let asked = (Method::GET, path.clone(), Vec::new(), String::new());
        let answer = self.ask(asker, &asked).await;
        self.check(asker, &answer, &path).await;
        let allowed = self.views(asker).await[place];
        if filed.fate == Fate::Stands {
            let told = || {
                let (name, code) = (&self.readers[reader].0, PURPOSES[purpose].0);
                format!("{name} {code} {path}: {}\n{}", answer.text, self.tell())
            };
            assert_eq!(answer.status == 200, allowed, "{}", told());
            assert_eq!(answer.text.contains(&filed.word), allowed, "{}", told());
        }
        let what = match PURPOSES[purpose].1 {
            _ if !allowed => "forbidden",
            Purpose::PatientRequest => "own",
            Purpose::Emergency => "by emergency",
            _ => "by consent or care",
        };
        *self.seen.entry(what).or_default() += 1;
    }

    /// Exports, and forgets an earlier export of the same reader's.
    async fn export(&mut self, asker: Asker) {
        self.forget_job(asker.0).await;
        let path = self.some_export(asker.0);
        if let Some(job) = self.kick_off(asker, &path).await {
            self.end_job(asker, &job).await;
        }
    }

    async fn forget_job(&mut self, reader: usize) {
        if let Some(place) = self.jobs.iter().position(|(known, _)| known.0 == reader) {
            let (asker, job) = self.jobs.remove(place);
            self.files.retain(|(_, path)| !path.starts_with(&job));
            self.ask(asker, &(Method::DELETE, job, Vec::new(), String::new())).await;
        }
    }

    async fn ask(&self, (reader, purpose): Asker, (method, path, headers, body): &Asked) -> Answer {
        let mut headers = headers.clone();
        headers.push(("x-purpose-of-use", PURPOSES[purpose].0));
        let token = &self.readers[reader].0;
        let answer = self.fhir.send(token, method.clone(), path, &headers, body.clone());
        let mut answer = answer.await;
        // What the client said itself it may be told.
        let said = path.rsplit('/').next().unwrap_or_default();
        for said in said.split(['=', '&', '?']).filter(|said| said.len() > 20) {
            answer.text = answer.text.replace(&format!("_id={said}"), "");
        }
        answer
    }

    /// Which records the contracts allow somebody now.
    async fn views(&self, asker: Asker) -> Arc<Vec<bool>> {
        if let Some(known) = self.views.lock().get(&asker) {
            return Arc::clone(known);
        }
        let (reader, purpose) = (&self.readers[asker.0].1, PURPOSES[asker.1].1);
        let mut all = Vec::with_capacity(self.records.len());
        for filed in &self.records {
            all.push(self.allowed(reader, purpose, filed).await);
        }
        let all = Arc::new(all);
        self.views.lock().insert(asker, Arc::clone(&all));
        all
    }

    /// Nothing of what is forbidden is in the answer.
    async fn check(&self, asker: Asker, answer: &Answer, asked: &str) {
        let allowed = self.views(asker).await;
        let (name, code) = (&self.readers[asker.0].0, PURPOSES[asker.1].0);
        let told = || format!("{name} {code} {asked}: {}\n{}", answer.text, self.tell());
        assert!(!answer.status.is_server_error(), "{}", told());
        let mut allowed_of_type: BTreeMap<&str, usize> = BTreeMap::new();
        for (place, filed) in self.records.iter().enumerate() {
            if allowed[place] {
                *allowed_of_type.entry(filed.resource_type).or_default() += 1;
                continue;
            }
            assert!(!answer.text.contains(&filed.word), "{} leaks: {}", filed.word, told());
            // Patients are referred to by what may be read, and so is what a Provenance is about. Whoever
            // has or had a consent to one record sees that, with the name of the record. No other record
            // is named.
            let about = self.records.iter().zip(allowed.iter());
            let is_named = about.into_iter().any(|(one, may)| *may && one.about == Some(place));
            let is_asked_for = asked.contains(&filed.id) || asked.starts_with("GET /Consent");
            if filed.resource_type != "Patient" && !is_asked_for && !is_named {
                assert!(!answer.text.contains(&filed.id), "{} leaks: {}", filed.id, told());
            }
            let by_itself = asked == format!("GET /{}/{}", filed.resource_type, filed.id)
                || asked == format!("HEAD /{}/{}", filed.resource_type, filed.id);
            if by_itself {
                assert!(answer.status.is_client_error(), "{}: {}", answer.status, told());
            }
        }
        // A total says no more than what is allowed. Of what is made there is as much as there are
        // versions, receipts and grants.
        if let Some((resource_type, _)) =
            asked.strip_prefix("GET /").and_then(|asked| asked.split_once('?'))
            && answer.status == 200
        {
            let total = answer.json()["total"].as_u64().unwrap_or_default();
            let most = match resource_type {
                "AuditEvent" | "Consent" => u64::MAX,
                "Provenance" if !allowed_of_type.is_empty() => u64::MAX,
                _ => allowed_of_type.get(resource_type).copied().unwrap_or_default() as u64,
            };
            assert!(total <= most, "a total of {total}, not {most}: {}", told());
        }
    }

    fn tell(&self) -> String {
        let told = self.told.join("\n  ");
        format!("history SALUS_HISTORY_SEED={}\n  {told}", self.seed)
    }
}

/// What notifies of the hospital's records.
async fn notifying(fhir: &Fhir) -> (Outbox, Webhooks) {
    let database = fhir.world.gateway("hospital").gatekeeper.vault().database().clone();
    let outbox = Outbox::open(&database).await.unwrap();
    let root_key = RootKey::from_bytes(&secret("hospital/root"));
    let keyring = Keyring::open(&database, &root_key).await.unwrap();
    let settings = WebhookSettings { local: LocalTargets::Loopback, ..Default::default() };
    let forms = HashMap::from([(SUBSCRIPTION_FORM.to_owned(), fhir.resources.subscription_form())]);
    let webhooks = Webhooks::open(outbox.clone(), keyring, settings, forms).unwrap();
    fhir.resources.serve_subscriptions(webhooks.clone()).await.unwrap();
    (outbox, webhooks)
}

/// A receiver of notifications, and its address.
async fn receiver() -> (Received, String) {
    async fn receive(State(all): State<Received>, Path(place): Path<usize>, body: Bytes) {
        all.lock().push((place, String::from_utf8(body.to_vec()).unwrap()));
    }
    let received = Received::default();
    let router = Router::new().route("/{place}", post(receive)).with_state(Arc::clone(&received));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (received, url)
}

/// Where the next page of a search is, below the base.
fn next_page(answer: &Answer) -> Option<String> {
    let bundle: Value = serde_json::from_str(&answer.text).ok()?;
    let links = bundle["link"].as_array()?;
    let next = links.iter().find(|link| link["relation"] == "next")?;
    Some(next["url"].as_str()?.strip_prefix(BASE)?.to_owned())
}
