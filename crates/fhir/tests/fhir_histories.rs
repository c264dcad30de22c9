//! Random histories, seen through FHIR: whatever happened, no path gives a byte of a record that the
//! contracts' own views forbid, and every record that they allow is read (S2, S3).
//!
//! Patients grant, revoke, accept, reject, and end relationships; the hospital countersigns, writes,
//! replaces and deletes; the glass is broken; time goes by. After each step some readers try some paths,
//! also pages of searches that they made before.
//!
//! A failure names its history. `SALUS_HISTORY_SEED` runs that one again, `SALUS_HISTORY_ROUNDS` sets how
//! many there are.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use axum::http::Method;
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
use ledger::PatientKey;
use serde_json::{Value, json};
use workflows::{PatientActor, consent, emergency, record, record::Verdict, relationship};

/// Histories that one run goes through.
const ROUNDS: u64 = 3;

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

const PURPOSES: [(&str, Purpose); 3] =
    [("TREAT", Purpose::Treatment), ("BTG", Purpose::Emergency), ("HPAYMT", Purpose::Payment)];

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
    /// Pages that somebody may ask for: who, why, and where.
    pages: Vec<(usize, usize, String)>,
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
    for what in ["forbidden", "by consent or care", "by emergency", "own", "page"] {
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
        let mut history = Self {
            seed,
            draws: 0,
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
        history
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
        let (version, fate) = (1, Fate::Stands);
        self.records.push(Filed { patient, resource_type, id, record, kind, word, version, fate });
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
            80..86 => {
                let (patient, what) = (self.below(PATIENTS.len()), self.below(3));
                self.write(patient, what).await
            }
            86..95 => self.replace().await,
            _ => self.delete().await,
        };
        self.told.push(what);
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

    async fn revoke(&mut self) -> String {
        let (patient, reader) = (self.below(PATIENTS.len()), GRANTEES[self.below(GRANTEES.len())]);
        let place = self.below(self.records.len());
        let scope = self.chance(30).then(|| self.records[place].record);
        let world = &self.fhir.world;
        let (hospital, actor) = (world.gateway("hospital"), &self.patients[patient]);
        consent::revoke(hospital, actor, address(reader), scope, world.now()).await.unwrap();
        format!("{} revokes {reader} {scope:?}", actor.name)
    }

    async fn open(&mut self) -> String {
        let (patient, kinds) = (self.below(PATIENTS.len()), self.some_kinds());
        let world = &self.fhir.world;
        let (department, who) = (world.gateway("emergency"), world.person("paramedic"));
        let account = self.patients[patient].account();
        let opened = emergency::open(department, who, account, kinds, HOUR, "unconscious").await;
        let told = format!("the paramedic opens {patient} {kinds}: {}", opened.is_ok());
        self.opened.extend(opened.map(|(opened, _)| opened));
        told
    }

    async fn end(&mut self) -> String {
        let Some(opened) = self.opened.pop() else { return "nothing to end".into() };
        let world = &self.fhir.world;
        let (department, who) = (world.gateway("emergency"), world.person("paramedic"));
        let ended = emergency::end(department, who, &opened).await;
        // An opening that is not reviewed keeps its professional from the next one.
        let (officer, verdict) = (world.person("officer"), emergency::Verdict::Justified);
        let note = secret("note");
        let reviewed = emergency::review(department, officer, &opened, verdict, note).await;
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

    async fn replace(&mut self) -> String {
        let place = self.below(self.records.len());
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
    fn some_path(
        &mut self,
        filed: &Filed,
    ) -> (Method, String, Vec<(&'static str, &'static str)>, String) {
        let Filed { resource_type, id, patient, .. } = filed;
        let patient = self.patient_ids[*patient].clone();
        let get = |path: String| (Method::GET, path, Vec::new(), String::new());
        match self.below(15) {
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
            0 => 2,
            1 => 1,
            _ if is_paramedic => 1,
            _ => 0,
        };
        let (code, purpose) =
            if is_patient { ("PATRQT", Purpose::PatientRequest) } else { PURPOSES[purpose] };
        if !self.pages.is_empty() && self.chance(25) {
            let place = self.below(self.pages.len());
            let (reader, purpose, path) = self.pages[place].clone();
            let (code, purpose) = PURPOSES[purpose];
            let answer =
                self.ask(reader, code, &(Method::GET, path, Vec::new(), String::new())).await;
            self.check(reader, purpose, &answer, "a page that was asked for before").await;
            *self.seen.entry("page").or_default() += 1;
            return;
        }
        let asked = self.some_path(&filed);
        let answer = self.ask(reader, code, &asked).await;
        self.check(reader, purpose, &answer, &format!("{} {}", asked.0, asked.1)).await;
        if let Some(next) = next_page(&answer)
            && let Some(place) = PURPOSES.iter().position(|(_, known)| *known == purpose)
        {
            self.pages.push((reader, place, next));
        }
        // Each record by its own address: exactly what the contracts say.
        let path = format!("/{}/{}", filed.resource_type, filed.id);
        let asked = (Method::GET, path.clone(), Vec::new(), String::new());
        let answer = self.ask(reader, code, &asked).await;
        self.check(reader, purpose, &answer, &path).await;
        let allowed = self.allowed(&self.readers[reader].1, purpose, &filed).await;
        if filed.fate == Fate::Stands {
            let told = || {
                format!(
                    "{} {code} {path}: {}\n{}",
                    self.readers[reader].0,
                    answer.text,
                    self.tell()
                )
            };
            assert_eq!(answer.status == 200, allowed, "{}", told());
            assert_eq!(answer.text.contains(&filed.word), allowed, "{}", told());
        }
        let what = match purpose {
            _ if !allowed => "forbidden",
            Purpose::PatientRequest => "own",
            Purpose::Emergency => "by emergency",
            _ => "by consent or care",
        };
        *self.seen.entry(what).or_default() += 1;
    }

    async fn ask(
        &self,
        reader: usize,
        code: &'static str,
        (method, path, headers, body): &(Method, String, Vec<(&'static str, &'static str)>, String),
    ) -> Answer {
        let mut headers = headers.clone();
        headers.push(("x-purpose-of-use", code));
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

    /// Nothing of what is forbidden is in the answer.
    async fn check(&self, reader: usize, purpose: Purpose, answer: &Answer, asked: &str) {
        let (name, reader) = &self.readers[reader];
        let told = || format!("{name} {purpose} {asked}: {}\n{}", answer.text, self.tell());
        assert!(!answer.status.is_server_error(), "{}", told());
        let mut allowed_of_type: BTreeMap<&str, usize> = BTreeMap::new();
        for filed in &self.records {
            if self.allowed(reader, purpose, filed).await {
                *allowed_of_type.entry(filed.resource_type).or_default() += 1;
                continue;
            }
            assert!(!answer.text.contains(&filed.word), "{} leaks: {}", filed.word, told());
            // Patients are referred to by what may be read; no other record is.
            let is_asked_for = asked.contains(&filed.id);
            if filed.resource_type != "Patient" && !is_asked_for {
                assert!(!answer.text.contains(&filed.id), "{} leaks: {}", filed.id, told());
            }
            let by_itself = asked == format!("GET /{}/{}", filed.resource_type, filed.id)
                || asked == format!("HEAD /{}/{}", filed.resource_type, filed.id);
            if by_itself {
                assert!(answer.status.is_client_error(), "{}: {}", answer.status, told());
            }
        }
        // A total says no more than what is allowed.
        if let Some((resource_type, _)) =
            asked.strip_prefix("GET /").and_then(|asked| asked.split_once('?'))
            && answer.status == 200
        {
            let total = answer.json()["total"].as_u64().unwrap_or_default();
            let allowed = allowed_of_type.get(resource_type).copied().unwrap_or_default();
            assert!(total <= allowed as u64, "a total of {total}, not {allowed}: {}", told());
        }
    }

    fn tell(&self) -> String {
        let told = self.told.join("\n  ");
        format!("history SALUS_HISTORY_SEED={}\n  {told}", self.seed)
    }
}

/// Where the next page of a search is, below the base.
fn next_page(answer: &Answer) -> Option<String> {
    let bundle: Value = serde_json::from_str(&answer.text).ok()?;
    let links = bundle["link"].as_array()?;
    let next = links.iter().find(|link| link["relation"] == "next")?;
    Some(next["url"].as_str()?.strip_prefix(BASE)?.to_owned())
}
