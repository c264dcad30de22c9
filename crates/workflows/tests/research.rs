//! The research exchange: whoever did not consent is in nothing, few people are never told of, an extract names
//! nobody, and money neither comes nor goes (X1 to X8 of `DataExchange.sol`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod journal;

use std::{collections::BTreeSet, fs, path::PathBuf, sync::Arc};

use alloy_primitives::{Address, B256, U256};
use bindings::{Contract, DataExchange, PaymentToken, Registry};
use common::{DAY, HOUR, World, address, refusal, wallet};
use domain::{
    InstitutionRole, Kind, KindSet, Period, ProfessionalRole, Purpose, PurposeSet, RecordVersion,
    Terms, Timestamp,
};
use gatekeeper::{Actor, Along};
use journal::Journal;
use ledger::PatientKey;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use vault::{Content, NewRecord, StoreError};
use workflows::{
    Catalogue, Gateway, PatientActor, Person, Step, Study, WorkflowError,
    access::{self, Wanted},
    consent,
    import::Later,
    research::{self, Count, Criterion, Document, Price, Standing, State, Withheld, deidentify},
};

const SNOMED: &str = "http://snomed.info/sct";
const HYPERTENSION: &str = "38341003";
const ASTHMA: &str = "195967001";
const GOUT: &str = "90560007";

/// What an extract costs, and what of it the patients get.
const PRICE: Price = Price { amount: 10_003, patient_share: 4_000 };

/// What the institute pays in at the beginning.
const PAID_IN: u128 = 1_000_000;

/// A study of an institute, a hospital as source, and volunteers whose records the hospital keeps.
struct Scene {
    world: World,
    institute: Gateway,
    regulator: Gateway,
    people: Vec<Person>,
    volunteers: Vec<PatientActor>,
    until: Timestamp,
    protocol: Document,
    study: B256,
    terms: Document,
    offer: B256,
    _dir: TempDir,
}

impl Scene {
    /// With so many volunteers, who have not consented yet.
    async fn new(volunteers: usize) -> Self {
        use ProfessionalRole::{Auditor, PrivacyOfficer, Researcher};
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let institute = world.admit("institute", InstitutionRole::Research).await;
        let regulator = world.admit("regulator", InstitutionRole::Regulator).await;
        let mut people = Vec::new();
        for (name, employer, role) in [
            ("researcher", "institute", Researcher),
            ("auditor", "regulator", Auditor),
            ("hospital-officer", "hospital", PrivacyOfficer),
        ] {
            people.push(world.engage(name, employer, role).await);
        }
        let call = Registry::setProfileCall {
            hpkeKey: institute.secret.public_key().to_bytes().into(),
            endpoint: "salus://institute".into(),
            peerId: B256::ZERO,
        };
        institute.sender().send(world.at(Contract::Registry), &call).await.unwrap();
        let call =
            PaymentToken::transferCall { to: address("institute"), value: U256::from(PAID_IN) };
        world.sender("hospital").send(world.at(Contract::PaymentToken), &call).await.unwrap();
        steps_are_listed(&research::pay_in(&institute, PAID_IN).await.unwrap());

        let mut scene = Self {
            until: world.now().after(100 * DAY),
            world,
            institute,
            regulator,
            people,
            volunteers: Vec::new(),
            protocol: Document::read(b"{\"resourceType\":\"Basic\"}".into()).unwrap(),
            study: B256::ZERO,
            terms: Document::read(b"{\"resourceType\":\"Basic\"}".into()).unwrap(),
            offer: B256::ZERO,
            _dir: dir,
        };
        for number in 0..volunteers {
            scene.volunteer(number).await;
        }
        (scene.study, scene.protocol) = scene.approved().await;
        let source = scene.world.gateway("hospital");
        scene.terms = Document::terms(source, &["never tried to tell who it is about"]).unwrap();
        let dataset = Document::dataset(source, "conditions", "what was diagnosed").unwrap();
        valid(&dataset);
        valid(&scene.terms);
        let (offer, step) = research::offer(source, &dataset, &scene.terms, PRICE).await.unwrap();
        steps_are_listed(&[step]);
        scene.offer = offer;
        scene
    }

    fn source(&self) -> &Gateway {
        self.world.gateway("hospital")
    }

    fn person(&self, name: &str) -> &Person {
        let found = self.people.iter().find(|person| person.name == name);
        found.unwrap_or_else(|| self.world.person(name))
    }

    fn now(&self) -> Timestamp {
        self.world.now()
    }

    /// One more volunteer, with what [`conditions_of`] says.
    async fn volunteer(&mut self, number: usize) {
        let name = format!("volunteer {number}");
        let actor = self.world.patient(&name, PatientKey::Wallet(wallet(&name))).await;
        self.world.relate("hospital", &actor, false).await;
        let source = self.source();
        let mut records = Vec::new();
        for code in conditions_of(number) {
            let resource = condition(code, number, actor.account());
            records.push(self.record(&actor, Kind::Condition, &resource));
        }
        source.gatekeeper.put_and_anchor(records).await.unwrap();
        self.volunteers.push(actor);
    }

    fn record(&self, patient: &PatientActor, kind: Kind, resource: &Value) -> NewRecord {
        NewRecord {
            record: self.source().make_record_id(),
            version: RecordVersion::FIRST,
            patient: patient.account(),
            kind,
            content: Content::FhirJson,
            author: self.person("physician").member,
            created: self.now(),
            body: serde_json::to_vec(resource).unwrap(),
        }
    }

    fn protocol_of(&self, title: &str) -> Document {
        self.protocol_about(title, &[Kind::Condition], self.until)
    }

    fn protocol_about(&self, title: &str, kinds: &[Kind], until: Timestamp) -> Document {
        let (about, kinds) = ((title, "how often conditions occur together"), KindSet::of(kinds));
        let protocol =
            Document::protocol(&self.institute, self.person("researcher"), about, kinds, until);
        protocol.unwrap()
    }

    async fn propose(&self, protocol: &Document) -> B256 {
        self.propose_until(protocol, self.until).await
    }

    async fn propose_until(&self, protocol: &Document, until: Timestamp) -> B256 {
        let researcher = self.person("researcher");
        let proposed = research::propose(&self.institute, researcher, protocol, until).await;
        let (study, step) = proposed.unwrap();
        steps_are_listed(&[step]);
        study
    }

    /// A study that its committee approved.
    async fn approved(&self) -> (B256, Document) {
        let protocol = self.protocol_of("Conditions");
        valid(&protocol);
        (self.approve_until(&protocol, self.until).await, protocol)
    }

    async fn approve_until(&self, protocol: &Document, until: Timestamp) -> B256 {
        let study = self.propose_until(protocol, until).await;
        for (gateway, who) in [(self.source(), "hospital-officer"), (&self.regulator, "auditor")] {
            let person = self.person(who);
            let (_, step) =
                research::approve(gateway, person, study, protocol, "sound").await.unwrap();
            steps_are_listed(&[step]);
        }
        let held = research::study(self.source(), study).await.unwrap();
        assert_eq!((held.standing, held.approvals), (Standing::Approved, 2));
        study
    }

    async fn opt_in(&self, patient: &PatientActor) {
        let opted =
            research::opt_in(self.source(), patient, self.study, &self.protocol, self.now()).await;
        steps_are_listed(&[opted.unwrap()]);
    }

    async fn all_opt_in(&self) {
        for volunteer in &self.volunteers {
            self.opt_in(volunteer).await;
        }
    }

    async fn withdraw(&self, patient: &PatientActor) {
        let withdrawn =
            research::withdraw(self.source(), patient, self.study, self.now()).await.unwrap();
        steps_are_listed(&[withdrawn]);
    }

    fn question(&self, codes: &[&str]) -> Document {
        let criterion = |code: &&str| format_criterion(code).parse::<Criterion>().unwrap();
        let criteria: Vec<_> = codes.iter().map(criterion).collect();
        let question = Document::question(&self.institute, &criteria).unwrap();
        assert_eq!(question.criteria().unwrap(), criteria);
        valid(&question);
        question
    }

    async fn count(&self, codes: &[&str]) -> Result<Count, WorkflowError> {
        let (source, researcher) = (self.source(), self.person("researcher"));
        let question = self.question(codes);
        let asked = research::ask(source, researcher, self.study, question).await?;
        let counted =
            research::count(source, self.study, &self.protocol, &asked, self.now()).await?;
        steps_are_listed(&[counted.1]);
        Ok(counted.0)
    }

    async fn order(&self, codes: &[&str]) -> (B256, Document) {
        let question = self.question(codes);
        let ordered =
            research::order(&self.institute, self.study, self.offer, &self.terms, &question).await;
        let (id, step) = ordered.unwrap();
        steps_are_listed(&[step]);
        (id, question)
    }

    async fn deliver(&self, id: B256, question: &Document) -> Result<Vec<u8>, WorkflowError> {
        let delivered =
            research::deliver(self.source(), id, &self.protocol, question, self.now()).await?;
        steps_are_listed(&delivered.1);
        Ok(delivered.0)
    }

    /// The extract that an order comes to, opened.
    async fn extract(&self, codes: &[&str]) -> (B256, Value) {
        let (id, question) = self.order(codes).await;
        let sealed = self.deliver(id, &question).await.unwrap();
        let opened = research::open(&self.institute, id, &sealed).await.unwrap();
        (id, serde_json::from_slice(&opened).unwrap())
    }

    /// What was read of a patient for research, by how many records each receipt names.
    async fn receipts(&self, patient: &PatientActor) -> Vec<usize> {
        let keeper = &self.source().gatekeeper;
        let receipts = keeper.receipts_of(patient.account(), None, 20).await.unwrap();
        let research = receipts.iter().filter(|found| found.receipt.purpose == Purpose::Research);
        let opened = |outcome: &domain::Outcome| match outcome {
            domain::Outcome::Allowed { records, basis: Some(domain::Basis::Consent { .. }) } => {
                records.len()
            }
            other => panic!("{other:?}"),
        };
        let mut counts: Vec<_> = research.map(|found| opened(&found.receipt.outcome)).collect();
        counts.sort_unstable();
        counts
    }

    async fn state(&self, id: B256) -> State {
        research::order_of(self.source(), id).await.unwrap().state
    }

    async fn balance(&self, holder: Address) -> u128 {
        research::balance(self.source(), holder).await.unwrap().to()
    }

    /// X5: what all holders have, and what is set aside, is what was paid in.
    async fn money_is_conserved(&self, set_aside: u128) {
        let mut sum = set_aside;
        for holder in [self.institute.member(), self.source().member()] {
            sum += self.balance(holder).await;
        }
        for volunteer in &self.volunteers {
            sum += self.balance(volunteer.account()).await;
        }
        let held = DataExchange::heldCall {};
        let at = self.world.at(Contract::DataExchange);
        let held: U256 = self.world.ledger.call(at, &held, Default::default()).await.unwrap();
        assert_eq!((held, sum), (U256::from(PAID_IN), PAID_IN));
    }
}

/// With hypertension are volunteers 0 to 5, with asthma 5 and more, with gout 6 and 7.
fn conditions_of(number: usize) -> Vec<&'static str> {
    let mut codes = Vec::new();
    codes.extend((number < 6).then_some(HYPERTENSION));
    codes.extend((number >= 5).then_some(ASTHMA));
    codes.extend((6..8).contains(&number).then_some(GOUT));
    codes
}

/// A condition, with whatever else could say whose it is.
fn condition(code: &str, number: usize, patient: Address) -> Value {
    json!({
        "resourceType": "Condition",
        "id": format!("record-{number}-{code}"),
        "identifier": [{ "system": "urn:oid:1.2.3", "value": format!("MRN-55{number:03}") }],
        "text": { "status": "generated", "div": format!(
            "<div xmlns=\"http://www.w3.org/1999/xhtml\">Maria Muster{number} of Musterdorf</div>"
        ) },
        "clinicalStatus": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
            "code": "active",
        }] },
        "code": {
            "coding": [
                { "system": SNOMED, "code": code, "display": format!("as told by Muster{number}") },
                { "system": "urn:oid:1.2.3.4", "code": format!("LOCAL-{number}") },
            ],
            "text": format!("Muster{number} has this since long"),
        },
        "subject": { "reference": format!("Patient/{patient}"), "display": format!("Muster{number}") },
        "onsetDateTime": format!("2025-{:02}-17", number % 12 + 1),
        "recordedDate": format!("2026-03-{:02}T09:41:07Z", number + 1),
        "recorder": { "reference": "Practitioner/0x11", "display": "Dr Planted" },
        "note": [{ "text": format!("telephone 0555-{number:04}") }],
        "extension": [{ "url": "https://example.org/photo", "valueString": "planted words" }],
    })
}

/// `!code` for those without.
fn format_criterion(code: &str) -> String {
    match code.strip_prefix('!') {
        Some(code) => format!("!{SNOMED}|{code}"),
        None => format!("{SNOMED}|{code}"),
    }
}

/// A document is FHIR R4.
#[track_caller]
fn valid(document: &Document) {
    valid_resource(&serde_json::from_slice(document.bytes()).unwrap());
}

#[track_caller]
fn valid_resource(resource: &Value) {
    let issues = r4::validate(resource).into_iter();
    let errors: Vec<_> = issues.filter(|issue| issue.severity == r4::Severity::Error).collect();
    assert!(errors.is_empty(), "{resource:#}: {errors:?}");
}

/// Every step's operation has its gas in the table, unless that is just being written.
#[track_caller]
fn steps_are_listed(steps: &[Step]) {
    if std::env::var_os("SALUS_WRITE_GAS").is_some() {
        return;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts/gas.json");
    let listed: Vec<Value> = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let listed: BTreeSet<&str> = listed.iter().map(|one| one["name"].as_str().unwrap()).collect();
    for step in steps {
        assert!(listed.contains(step.operation), "{} is not in gas.json", step.operation);
    }
}

#[track_caller]
fn refused_as<T>(outcome: Result<T, WorkflowError>, reason: &str) {
    let text = refusal(outcome);
    assert!(text.contains(reason), "{text}");
}

#[track_caller]
fn withheld<T: std::fmt::Debug>(outcome: Result<T, WorkflowError>, reason: Withheld) {
    match outcome {
        Err(WorkflowError::Withheld(withheld)) => assert_eq!(withheld, reason),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn invalid<T: std::fmt::Debug>(outcome: Result<T, WorkflowError>) {
    assert!(matches!(outcome, Err(WorkflowError::Invalid(_))), "{outcome:?}");
}

/// The pseudonyms in an extract.
fn subjects(extract: &Value) -> BTreeSet<String> {
    let entries = extract["entry"].as_array().unwrap().iter();
    let subject =
        |entry: &Value| entry["resource"]["subject"]["reference"].as_str().unwrap().into();
    entries.map(subject).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_study_counts_buys_and_uses_what_patients_consented_to() {
    let scene = Scene::new(12).await;
    let (world, source) = (&scene.world, scene.source());
    scene.all_opt_in().await;
    assert_eq!(scene.count(&[]).await.unwrap(), Count::AtLeast(10));
    assert_eq!(scene.count(&[HYPERTENSION]).await.unwrap(), Count::AtLeast(5));
    assert_eq!(scene.count(&[GOUT]).await.unwrap(), Count::Suppressed);

    let (id, question) = scene.order(&[]).await;
    scene.money_is_conserved(PRICE.amount).await;
    let sealed = scene.deliver(id, &question).await.unwrap();
    assert_eq!(research::sealed(source, id).await.unwrap(), sealed);
    let opened = research::open(&scene.institute, id, &sealed).await.unwrap();
    let extract: Value = serde_json::from_slice(&opened).unwrap();
    valid_resource(&extract);
    assert_eq!(subjects(&extract).len(), 12);

    // The very bytes are held against the chain.
    assert!(research::verify(source, id, &sealed).await.unwrap());
    let mut changed = sealed.clone();
    changed[100] ^= 1;
    for wrong in [changed.as_slice(), &[], &opened] {
        assert!(!research::verify(source, id, wrong).await.unwrap());
        invalid(research::open(&scene.institute, id, wrong).await);
    }
    // Nobody else opens it.
    let other = Gateway { secret: scene.regulator.secret.clone(), ..scene.institute.clone() };
    invalid(research::open(&other, id, &sealed).await);

    let researcher = scene.person("researcher");
    for what_for in ["first analysis", "second analysis"] {
        let used = research::record_use(&scene.institute, researcher, id, what_for, 0).await;
        steps_are_listed(&[used.unwrap().1]);
    }
    let uses = research::uses(source, id).await.unwrap();
    assert_eq!(uses.iter().map(|used| used.number).collect::<Vec<_>>(), [1, 2]);
    assert!(uses.iter().all(|used| used.by == researcher.member));

    steps_are_listed(&[research::settle(&scene.institute, id).await.unwrap()]);
    let held = research::order_of(source, id).await.unwrap();
    // 4,001 of 10,003 are the patients'; 12 times 333 are paid, and 5 go back.
    assert_eq!((held.for_each, held.patients), (333, 12));
    assert_eq!(scene.balance(source.member()).await, 6_002);
    scene.money_is_conserved(12 * 333).await;
    let (first, second) = (&scene.volunteers[0], &scene.volunteers[1]);
    let claim = |patient| research::claim_share(source, patient, id, scene.now());
    steps_are_listed(&[claim(first).await.unwrap()]);
    refused_as(claim(first).await, "AlreadyPaid");
    assert_eq!(scene.balance(first.account()).await, 333);
    claim(second).await.unwrap();
    scene.money_is_conserved(10 * 333).await;
    let to = address("nobody");
    let out = research::pay_out_to(source, second, to, 333, scene.now()).await.unwrap();
    steps_are_listed(&[out]);
    world.pass(365 * DAY);
    steps_are_listed(&[research::return_shares(&scene.regulator, id).await.unwrap()]);
    refused_as(research::return_shares(&scene.regulator, id).await, "NoAmount");
    refused_as(claim(&scene.volunteers[2]).await, "InvalidTime");
    assert_eq!(scene.balance(scene.institute.member()).await, PAID_IN - 6_002 - 2 * 333);

    // Everybody in the extract was told, in a record of their own that they open with their own key.
    let told = world.held(first.account()).await;
    assert_eq!(told.iter().filter(|entry| entry.header.kind == Kind::Research).count(), 1);
    let answered = access::ask_as_patient(
        &source.gatekeeper,
        first,
        KindSet::of(&[Kind::Research]),
        scene.now(),
    );
    let (answered, _) = answered.await.unwrap();
    let subject: Value = serde_json::from_str(answered.records[0].body.get()).unwrap();
    valid_resource(&subject);
    let salt = research::share(source, id, first.account()).await.unwrap().salt;
    assert_eq!(subject["identifier"][1]["value"], salt.to_string());
    world.assert_clean("hospital").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_read_for_research_leaves_a_receipt_and_the_institute_reads_nothing() {
    let scene = Scene::new(6).await;
    let source = scene.source();
    scene.all_opt_in().await;
    scene.count(&[]).await.unwrap();
    scene.extract(&[]).await;
    let patient = scene.volunteers[0].account();
    let first = scene.receipts(&scene.volunteers[0]).await;
    assert_eq!(first, [0, 0, 1], "of the count, of the look at who is meant, of what was given");

    // Whoever was looked at and is in nothing has a receipt as well.
    let (few, question) = scene.order(&[ASTHMA]).await;
    withheld(scene.deliver(few, &question).await, Withheld::TooFew);
    let receipts = scene.receipts(&scene.volunteers[0]).await;
    assert_eq!(receipts, [0, 0, 1, 1], "the record that was looked at is named");

    // Consent to the study is not consent to be read by who runs it.
    let wanted = Wanted {
        patient,
        kinds: KindSet::of(&[Kind::Condition]),
        record: None,
        purpose: Purpose::Research,
    };
    let researcher = scene.person("researcher");
    let asked = access::ask(&source.gatekeeper, researcher, &wanted, scene.now()).await;
    refused_as(asked, "no consent in force");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_only_looked_at_has_a_receipt() {
    let scene = Scene::new(12).await;
    scene.all_opt_in().await;
    let (with, without) = (&scene.volunteers[0], &scene.volunteers[11]);
    let (_, extract) = scene.extract(&[HYPERTENSION]).await;
    assert_eq!(subjects(&extract).len(), 6);
    assert_eq!(scene.receipts(with).await, [1, 1], "looked at, and given");
    assert_eq!(scene.receipts(without).await, [1], "looked at, and left out");
    let (withheld_order, question) = scene.order(&[&format!("!{GOUT}")]).await;
    withheld(scene.deliver(withheld_order, &question).await, Withheld::TooClose);
    assert_eq!(scene.receipts(with).await, [1, 1, 1]);
    assert_eq!(scene.receipts(without).await, [1, 1]);
}

/// Takes nothing, as when a database fails.
struct Failing;

impl Catalogue for Failing {
    fn along(&self, _: &NewRecord) -> Along<'static> {
        Box::new(|_| {
            Box::pin(async { Err(StoreError::Corrupt { what: "what this test has of it" }) })
        })
    }

    fn keep_study<'a>(&'a self, _: Study<'a>) -> Later<'a, ()> {
        Box::pin(async { Err(StoreError::Corrupt { what: "what this test has of it" }) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_broke_off_after_the_chain_had_it_is_finished_once() {
    let scene = Scene::new(6).await;
    scene.all_opt_in().await;
    let (id, question) = scene.order(&[]).await;
    let told = async |patient: &PatientActor| {
        let held = scene.world.held(patient.account()).await;
        held.iter().filter(|entry| entry.header.kind == Kind::Research).count()
    };
    let broken = Gateway { catalogue: Some(Arc::new(Failing)), ..scene.source().clone() };
    let failed = research::deliver(&broken, id, &scene.protocol, &question, scene.now()).await;
    assert!(failed.is_err() && scene.state(id).await == State::Delivered);
    assert_eq!(told(&scene.volunteers[0]).await, 0);

    let sealed = scene.deliver(id, &question).await.unwrap();
    assert!(research::verify(scene.source(), id, &sealed).await.unwrap());
    assert_eq!(research::sealed(scene.source(), id).await.unwrap(), sealed);
    let again = research::deliver(scene.source(), id, &scene.protocol, &question, scene.now());
    let (again, steps) = again.await.unwrap();
    assert_eq!((again, steps.len()), (sealed, 0));
    let steps = research::tell_patients(scene.source(), id, scene.now()).await.unwrap();
    assert!(steps.is_empty());
    for volunteer in &scene.volunteers {
        assert_eq!(told(volunteer).await, 1);
    }
    scene.world.assert_clean("hospital").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_count_that_was_not_sent_is_asked_for_again() {
    let scene = Scene::new(12).await;
    scene.all_opt_in().await;
    let (source, researcher) = (scene.source(), scene.person("researcher"));
    let asked = async |question: &Document| {
        let question = question.clone();
        research::ask(source, researcher, scene.study, question).await.unwrap()
    };
    let question = scene.question(&[HYPERTENSION]);
    // Remembered and not sent: the source has no ether.
    for bit in (0..80).rev() {
        let _ = source.sender().transfer(address("nobody"), U256::from(1) << bit).await;
    }
    let signed = asked(&question).await;
    let counted = research::count(source, scene.study, &scene.protocol, &signed, scene.now());
    assert!(counted.await.is_err());
    let ether = U256::from(10).pow(U256::from(21));
    scene.institute.sender().transfer(source.member(), ether).await.unwrap();
    let signed = asked(&question).await;
    let counted = research::count(source, scene.study, &scene.protocol, &signed, scene.now());
    assert_eq!(counted.await.unwrap().0, Count::AtLeast(5));
    withheld(scene.count(&[HYPERTENSION]).await, Withheld::TooClose);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_withdraws_is_in_no_later_count_and_no_later_extract() {
    let scene = Scene::new(12).await;
    let source = scene.source();
    scene.all_opt_in().await;
    let (first, all) = scene.extract(&[]).await;
    assert_eq!(subjects(&all).len(), 12);
    let gone = &scene.volunteers[0];
    let (second, question) = scene.order(&[]).await;
    scene.withdraw(gone).await;
    // It never fails, and counts once.
    scene.withdraw(gone).await;
    let held = research::study(source, scene.study).await.unwrap();
    assert_eq!(held.withdrawals, 1);

    let sealed = scene.deliver(second, &question).await.unwrap();
    let opened = research::open(&scene.institute, second, &sealed).await.unwrap();
    let rest: Value = serde_json::from_slice(&opened).unwrap();
    let (before, after) = (subjects(&all), subjects(&rest));
    assert_eq!((after.len(), after.is_subset(&before)), (11, true), "pseudonyms are the study's");
    let unknown = research::share(source, second, gone.account()).await;
    assert!(matches!(unknown, Err(WorkflowError::Unknown { .. })));
    // Who went alone is not told of by a count; how many there are still, is public.
    withheld(scene.count(&[HYPERTENSION]).await, Withheld::TooSoon);
    withheld(scene.count(&[GOUT]).await, Withheld::TooSoon);
    assert_eq!(scene.count(&[]).await.unwrap(), Count::AtLeast(10));
    scene.withdraw(&scene.volunteers[1]).await;
    scene.withdraw(&scene.volunteers[3]).await;
    assert_eq!(scene.count(&[]).await.unwrap(), Count::AtLeast(5));

    // What was delivered before is used by who knows of the withdrawals alone.
    let researcher = scene.person("researcher");
    let unaware = research::record_use(&scene.institute, researcher, first, "more", 0).await;
    refused_as(unaware, "WithdrawalsUnseen");
    research::record_use(&scene.institute, researcher, first, "more", 3).await.unwrap();
    // The share of what was delivered while consent stood stays theirs.
    research::settle(&scene.institute, first).await.unwrap();
    research::claim_share(source, gone, first, scene.now()).await.unwrap();

    // The grant to the source ended with the last study of it.
    source.gatekeeper.refresh(scene.now()).await.unwrap();
    let projection = source.gatekeeper.projection().await;
    assert!(projection.consents.grants(gone.account()).is_empty());
    assert!(!projection.consents.grants(scene.volunteers[2].account()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_cohorts_and_small_differences_are_not_told() {
    let scene = Scene::new(12).await;
    scene.all_opt_in().await;
    assert_eq!(scene.count(&[GOUT]).await.unwrap(), Count::Suppressed);
    assert_eq!(scene.count(&[ASTHMA]).await.unwrap(), Count::AtLeast(5));
    // Asthma has seven, two of them with gout: five differ, and are told.
    withheld(scene.count(&[ASTHMA, &format!("!{HYPERTENSION}")]).await, Withheld::TooClose);
    withheld(scene.count(&[&format!("!{GOUT}")]).await, Withheld::TooClose);
    withheld(scene.count(&[ASTHMA]).await, Withheld::TooClose);
    // Nobody has the one, so everybody has not: that is told as little.
    withheld(scene.count(&["!1"]).await, Withheld::TooClose);
    assert_eq!(scene.count(&["1"]).await.unwrap(), Count::Suppressed);
    // An extract of few is none, and the price stays set aside until it is reclaimed.
    let (id, question) = scene.order(&[GOUT]).await;
    withheld(scene.deliver(id, &question).await, Withheld::TooFew);
    assert_eq!(scene.state(id).await, State::Placed);
    let reclaimed = research::reclaim(&scene.institute, id).await;
    refused_as(reclaimed, "InvalidTime");
    scene.world.pass(30 * DAY);
    refused_as(scene.deliver(id, &question).await, "InvalidTime");
    steps_are_listed(&[research::reclaim(&scene.regulator, id).await.unwrap()]);
    assert_eq!(scene.state(id).await, State::Refunded);
    scene.money_is_conserved(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_extracts_do_not_single_anybody_out() {
    let scene = Scene::new(12).await;
    scene.all_opt_in().await;
    let (_, some) = scene.extract(&[HYPERTENSION]).await;
    assert_eq!(subjects(&some).len(), 6);
    // The one who has asthma as well would be who is missing.
    let (id, question) = scene.order(&[HYPERTENSION, &format!("!{ASTHMA}")]).await;
    withheld(scene.deliver(id, &question).await, Withheld::TooClose);
    withheld(scene.count(&[HYPERTENSION, &format!("!{ASTHMA}")]).await, Withheld::TooClose);
    // The same again, and all, say nothing of anybody.
    scene.extract(&[HYPERTENSION]).await;
    scene.extract(&[]).await;
    // Whoever goes on trying is not answered any more; what everybody can count is.
    for _ in 0..6 {
        withheld(scene.deliver(id, &question).await, Withheld::TooClose);
    }
    for code in 1..8 {
        let nobody_has = format!("!{code}");
        withheld(scene.count(&[&nobody_has, &format!("!{GOUT}")]).await, Withheld::TooClose);
    }
    withheld(scene.count(&[ASTHMA]).await, Withheld::TooMany);
    scene.count(&[]).await.unwrap();
    scene.extract(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_are_of_the_studys_researchers_and_for_one_source() {
    let scene = Scene::new(6).await;
    scene.all_opt_in().await;
    let (source, protocol, now) = (scene.source(), &scene.protocol, scene.now());
    for who in ["physician", "auditor", "hospital-officer"] {
        let asked = research::ask(source, scene.person(who), scene.study, scene.question(&[]));
        let asked = asked.await.unwrap();
        invalid(research::count(source, scene.study, protocol, &asked, now).await);
    }
    let researcher = scene.person("researcher");
    let ask = |at, study| research::ask(at, researcher, study, scene.question(&[]));
    let elsewhere = ask(scene.world.gateway("laboratory"), scene.study).await.unwrap();
    invalid(research::count(source, scene.study, protocol, &elsewhere, now).await);
    let (other, other_protocol) = scene.approved().await;
    let of_other = ask(source, other).await.unwrap();
    invalid(research::count(source, scene.study, protocol, &of_other, now).await);
    // Nobody consented to the other study: it has nobody to count.
    let counted = research::count(source, other, &other_protocol, &of_other, now).await.unwrap();
    assert_eq!(counted.0, Count::Suppressed);
    let asked = ask(source, scene.study).await.unwrap();
    research::count(source, scene.study, protocol, &asked, now).await.unwrap();
    let again = research::count(source, scene.study, protocol, &asked, now).await;
    refused_as(again, "AlreadyAnswered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_seen_is_agreed_to() {
    let scene = Scene::new(1).await;
    let (source, patient, now) = (scene.source(), &scene.volunteers[0], scene.now());
    let other = scene.protocol_of("Conditions");
    assert_ne!(other.digest(), scene.protocol.digest(), "each has a number of its own");
    invalid(research::opt_in(source, patient, scene.study, &other, now).await);
    let study = scene.propose(&other).await;
    let officer = scene.person("hospital-officer");
    invalid(research::approve(source, officer, study, &scene.protocol, "sound").await);
    // A protocol that says another end, or another sponsor, than the chain is agreed to by nobody.
    let shorter = scene.protocol_about("Conditions", &[Kind::Condition], now.after(DAY));
    let long = scene.propose(&shorter).await;
    invalid(research::approve(source, officer, long, &shorter, "sound").await);
    let kinds = KindSet::of(&[Kind::Condition]);
    let researcher = scene.person("researcher");
    let sponsored =
        Document::protocol(&scene.regulator, researcher, ("Conditions", "why"), kinds, scene.until);
    let sponsored = sponsored.unwrap();
    let elsewhere = scene.propose(&sponsored).await;
    invalid(research::approve(source, officer, elsewhere, &sponsored, "sound").await);
    invalid(research::opt_in(source, patient, elsewhere, &sponsored, now).await);
    // Before it is approved, nobody consents to it.
    refused_as(research::opt_in(source, patient, study, &other, now).await, "WrongStanding");

    let question = scene.question(&[]);
    let other_terms = Document::terms(source, &["as you like"]).unwrap();
    let ordered =
        research::order(&scene.institute, scene.study, scene.offer, &other_terms, &question).await;
    invalid(ordered);
    // An offer of other terms is another offer, and each is ordered under its own.
    let dataset = Document::dataset(source, "conditions", "what was diagnosed").unwrap();
    let offered = research::offer(source, &dataset, &other_terms, PRICE).await.unwrap();
    let ordered =
        research::order(&scene.institute, scene.study, offered.0, &scene.terms, &question).await;
    invalid(ordered);
    steps_are_listed(&[research::close_offer(source, scene.offer).await.unwrap()]);
    let ordered =
        research::order(&scene.institute, scene.study, scene.offer, &scene.terms, &question).await;
    refused_as(ordered, "OfferNotOpen");
    refused_as(research::close_offer(&scene.institute, offered.0).await, "NotParty");
    // What a study is not a protocol of, it has no kinds of.
    invalid(scene.terms.protocol_kinds());
    invalid(scene.protocol.criteria());
    for wrong in [b"".as_slice(), b"[]", b"{}", b"not json", &vec![b' '; 70_000]] {
        invalid(Document::read(wrong.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consent_to_treat_is_not_widened_and_two_studies_share_one_grant() {
    let scene = Scene::new(2).await;
    let (source, now) = (scene.source(), scene.now());
    let (treated, willing) = (&scene.volunteers[0], &scene.volunteers[1]);
    let terms = Terms {
        period: Period::new(now, now.after(DAY)).unwrap(),
        kinds: KindSet::of(&[Kind::Laboratory]),
        purposes: PurposeSet::of(&[Purpose::Treatment]),
    };
    consent::grant(source, treated, source.member(), None, &terms, now).await.unwrap();
    let study = scene.study;
    invalid(research::opt_in(source, treated, study, &scene.protocol, now).await);

    // Another study, of other kinds and for a shorter time.
    let until = now.after(30 * DAY);
    let protocol = scene.protocol_about("Results", &[Kind::Laboratory], until);
    let other = scene.approve_until(&protocol, until).await;
    scene.opt_in(willing).await;
    research::opt_in(source, willing, other, &protocol, now).await.unwrap();
    let granted = async |to: &Gateway| {
        source.gatekeeper.refresh(now).await.unwrap();
        let projection = source.gatekeeper.projection().await;
        let grants = projection.consents.grants(willing.account()).iter();
        let own = grants.filter(|grant| grant.reader == to.member());
        let terms = own.map(|grant| (grant.terms.kinds, grant.terms.period.closes_at()));
        terms.collect::<Vec<_>>()
    };
    let both = KindSet::of(&[Kind::Condition, Kind::Laboratory]);
    assert_eq!(granted(source).await, [(both, scene.until)]);
    scene.withdraw(willing).await;
    let left = (KindSet::of(&[Kind::Laboratory]), until);
    assert_eq!(granted(source).await, [left], "exactly what the other study wants");
    research::withdraw(source, willing, other, now).await.unwrap();
    assert_eq!(granted(source).await, []);

    // A study that is let use data through another source needs nothing of this one.
    let emergency = scene.world.gateway("emergency");
    scene.opt_in(willing).await;
    research::opt_in(emergency, willing, other, &protocol, now).await.unwrap();
    scene.withdraw(willing).await;
    assert_eq!((granted(source).await, granted(emergency).await), (vec![], vec![left]));

    // What would be over when it comes, and then fail with the withdrawal, is not granted anew.
    scene.opt_in(willing).await;
    research::opt_in(source, willing, other, &protocol, now).await.unwrap();
    scene.world.pass(30 * DAY - HOUR);
    let late = research::withdraw(source, willing, scene.study, scene.now()).await;
    late.unwrap();
    assert_eq!(granted(source).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_refused_to_everybody_else() {
    let scene = Scene::new(6).await;
    scene.all_opt_in().await;
    let (source, institute, regulator) = (scene.source(), &scene.institute, &scene.regulator);
    let (study, until) = (scene.study, scene.now().after(DAY));
    for who in ["physician", "auditor", "hospital-officer"] {
        let person = scene.person(who);
        let proposed = research::propose(source, person, &scene.protocol, until).await;
        refused_as(proposed, "NotAllowed");
        if who != "auditor" {
            refused_as(research::end(source, person, study, "why").await, "NotAllowed");
        }
    }
    let researcher = scene.person("researcher");
    for wrong in [scene.now(), scene.now().after(11 * 366 * DAY)] {
        let proposed = research::propose(institute, researcher, &scene.protocol, wrong).await;
        refused_as(proposed, "InvalidTime");
    }
    let open = scene.propose(&scene.protocol).await;
    for (gateway, who) in [(source, "physician"), (institute, "researcher")] {
        let approved =
            research::approve(gateway, scene.person(who), open, &scene.protocol, "yes").await;
        refused_as(approved, "NotAllowed");
    }
    let officer = scene.person("hospital-officer");
    research::approve(source, officer, open, &scene.protocol, "yes").await.unwrap();
    let again = research::approve(source, officer, open, &scene.protocol, "yes").await;
    refused_as(again, "AlreadyApproved");

    let question = scene.question(&[]);
    for gateway in [source, regulator] {
        let ordered = research::order(gateway, study, scene.offer, &scene.terms, &question).await;
        refused_as(ordered, "NotParty");
    }
    let (id, question) = scene.order(&[]).await;
    // Only the source delivers; whoever reads nothing of these patients says so before it reads.
    let laboratory = scene.world.gateway("laboratory");
    let delivered =
        research::deliver(laboratory, id, &scene.protocol, &question, scene.now()).await;
    refused_as(delivered, "NotParty");
    invalid(scene.deliver(id, &scene.question(&[])).await);
    for early in [
        research::settle(institute, id).await.map(drop),
        research::dispute(institute, id, "why").await.map(drop),
        research::record_use(institute, researcher, id, "why", 0).await.map(drop),
        research::resolve(regulator, scene.person("auditor"), id, true).await.map(drop),
    ] {
        refused_as(early, "WrongState");
    }
    let sealed = scene.deliver(id, &question).await.unwrap();
    assert_eq!(scene.deliver(id, &question).await.unwrap(), sealed, "it is delivered once");
    refused_as(research::settle(source, id).await, "NotParty");
    refused_as(research::dispute(source, id, "why").await, "NotParty");
    let used = research::record_use(source, scene.person("physician"), id, "why", 0).await;
    refused_as(used, "NotAllowed");
    let patient = &scene.volunteers[0];
    let claimed = research::claim_share(source, patient, id, scene.now()).await;
    refused_as(claimed, "WrongState");
    let place = research::share(source, id, patient.account()).await.unwrap();
    let challenged = research::challenge(regulator, id, patient.account(), &place).await;
    refused_as(challenged, "WrongConsent");
    let other = scene.volunteers[1].account();
    refused_as(research::challenge(regulator, id, other, &place).await, "NotInExtract");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dispute_is_decided_by_a_regulator_and_money_goes_where_it_says() {
    let scene = Scene::new(6).await;
    scene.all_opt_in().await;
    let (source, institute, regulator) = (scene.source(), &scene.institute, &scene.regulator);
    let auditor = scene.person("auditor");
    for refund in [true, false] {
        let before = scene.balance(institute.member()).await;
        let (id, _) = scene.extract(&[]).await;
        let disputed = research::dispute(institute, id, "it is empty").await.unwrap();
        steps_are_listed(&[disputed.1]);
        refused_as(research::settle(institute, id).await, "WrongState");
        let officer = scene.person("hospital-officer");
        refused_as(research::resolve(source, officer, id, refund).await, "NotAllowed");
        let resolved = research::resolve(regulator, auditor, id, refund).await.unwrap();
        steps_are_listed(&[resolved]);
        let after = scene.balance(institute.member()).await;
        if refund {
            assert_eq!((scene.state(id).await, after), (State::Refunded, before));
            scene.money_is_conserved(0).await;
        } else {
            assert_eq!(scene.state(id).await, State::Settled);
            // Six times 666, and five that the division leaves over.
            assert_eq!(before - after, PRICE.amount - 5);
            scene.money_is_conserved(6 * 666).await;
        }
    }
    let (id, _) = scene.extract(&[]).await;
    scene.world.pass(14 * DAY);
    refused_as(research::dispute(institute, id, "too late").await, "InvalidTime");
    // Then anybody may settle.
    research::settle(regulator, id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prices_of_all_sizes_are_paid_or_refused() {
    let scene = Scene::new(5).await;
    scene.all_opt_in().await;
    let source = scene.source();
    let dataset = Document::dataset(source, "conditions", "what was diagnosed").unwrap();
    let offer = async |amount, patient_share| {
        let price = Price { amount, patient_share };
        research::offer(source, &dataset, &scene.terms, price).await.map(|(id, _)| id)
    };
    refused_as(offer(1, 10_001).await, "InvalidShare");
    let question = scene.question(&[]);
    let order = async |offer| {
        let ordered =
            research::order(&scene.institute, scene.study, offer, &scene.terms, &question).await;
        ordered.map(|(id, _)| id)
    };
    let absurd = offer(u128::MAX, 10_000).await.unwrap_err().to_string();
    assert_eq!(absurd, "a price is at most 999999999999999");
    for amount in [999_999_999_999_999, PAID_IN + 1] {
        let offer = offer(amount, 10_000).await.unwrap();
        refused_as(order(offer).await, "InsufficientBalance");
    }
    for (amount, patient_share) in [(0, 5_000), (1, 10_000), (PAID_IN - 1, 10_000)] {
        let id = order(offer(amount, patient_share).await.unwrap()).await.unwrap();
        scene.deliver(id, &question).await.unwrap();
        research::settle(&scene.institute, id).await.unwrap();
        let held = research::order_of(source, id).await.unwrap();
        assert_eq!(held.for_each, amount / 5);
        scene.money_is_conserved(held.for_each * 5).await;
        for volunteer in &scene.volunteers {
            research::claim_share(source, volunteer, id, scene.now()).await.unwrap();
        }
        scene.money_is_conserved(0).await;
        let paid = scene.balance(scene.volunteers[0].account()).await;
        let back = scene.balance(scene.institute.member()).await;
        assert_eq!(paid * 5 + back, PAID_IN);
        // All of it goes back, so that the next one can be paid.
        for volunteer in &scene.volunteers {
            let (to, amount) = (source.member(), scene.balance(volunteer.account()).await);
            if amount > 0 {
                research::pay_out_to(source, volunteer, to, amount, scene.now()).await.unwrap();
            }
        }
        let missing = PAID_IN - back;
        if missing > 0 {
            let call =
                PaymentToken::transferCall { to: address("institute"), value: U256::from(missing) };
            let token = scene.world.at(Contract::PaymentToken);
            scene.world.sender("hospital").send(token, &call).await.unwrap();
            research::pay_in(&scene.institute, missing).await.unwrap();
        }
    }
    let out = research::pay_out(&scene.institute, PAID_IN + 1).await;
    refused_as(out, "InsufficientBalance");
    steps_are_listed(&[research::pay_out(&scene.institute, PAID_IN).await.unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expelled_buyer_gets_nothing_more_and_a_regulator_decides() {
    let scene = Scene::new(6).await;
    scene.all_opt_in().await;
    let (source, institute) = (scene.source(), &scene.institute);
    let (delivered, _) = scene.extract(&[]).await;
    let (placed, question) = scene.order(&[]).await;
    scene.world.expel("institute").await;
    refused_as(scene.deliver(placed, &question).await, "NotInForce");
    let researcher = scene.person("researcher");
    refusal(research::record_use(institute, researcher, delivered, "more", 0).await);
    refusal(research::settle(institute, delivered).await);
    refusal(research::dispute(institute, delivered, "too late").await);
    let asked = research::ask(source, researcher, scene.study, scene.question(&[])).await.unwrap();
    let counted = research::count(source, scene.study, &scene.protocol, &asked, scene.now()).await;
    invalid(counted);
    let auditor = scene.person("auditor");
    research::resolve(&scene.regulator, auditor, delivered, false).await.unwrap();
    let patient = &scene.volunteers[0];
    research::claim_share(source, patient, delivered, scene.now()).await.unwrap();
    scene.withdraw(patient).await;
    scene.world.pass(30 * DAY);
    research::reclaim(&scene.regulator, placed).await.unwrap();
    // Its money is still its own.
    let left = scene.balance(institute.member()).await;
    research::pay_out(institute, left).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_study_that_ended_gets_nothing() {
    let scene = Scene::new(6).await;
    scene.all_opt_in().await;
    let (id, question) = scene.order(&[]).await;
    let (researcher, institute) = (scene.person("researcher"), &scene.institute);
    let ended = research::end(institute, researcher, scene.study, "enough").await.unwrap();
    steps_are_listed(&[ended.1]);
    refused_as(scene.deliver(id, &question).await, "WrongStanding");
    refused_as(scene.count(&[]).await, "WrongStanding");
    let (source, now) = (scene.source(), scene.now());
    let patient = &scene.volunteers[0];
    let late = research::opt_in(source, patient, scene.study, &scene.protocol, now).await;
    refused_as(late, "WrongStanding");
    scene.withdraw(patient).await;
    let again = research::end(institute, researcher, scene.study, "enough").await;
    refused_as(again, "WrongStanding");

    let (study, protocol) = scene.approved().await;
    scene.world.pass(100 * DAY);
    let late = research::opt_in(source, patient, study, &protocol, scene.now()).await;
    refused_as(late, "StudyOver");
    let unknown = B256::repeat_byte(7);
    for missing in [
        research::study(source, unknown).await.map(drop),
        research::offered(source, unknown).await.map(drop),
        research::order_of(source, unknown).await.map(drop),
        research::verify(source, unknown, b"x").await.map(drop),
        research::sealed(source, unknown).await.map(drop),
        research::opt_in(source, patient, unknown, &protocol, scene.now()).await.map(drop),
    ] {
        assert!(matches!(missing, Err(WorkflowError::Unknown { .. })), "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extract_names_nobody() {
    let scene = Scene::new(6).await;
    // Besides, what the source has and nobody reads for research, and what a bad record hides in good fields.
    let patient = &scene.volunteers[0];
    let demographics = json!({
        "resourceType": "Patient",
        "name": [{ "family": "Planted", "given": ["Word"] }],
        "birthDate": "1931-05-06",
    });
    let mut hiding = condition(HYPERTENSION, 0, patient.account());
    hiding["code"]["coding"] = json!([
        { "system": SNOMED, "code": HYPERTENSION },
        { "system": SNOMED, "code": "Planted" },
        { "system": "http://loinc.org", "code": "MRN-77777" },
    ]);
    let records = vec![
        scene.record(patient, Kind::Demographics, &demographics),
        scene.record(patient, Kind::Condition, &hiding),
    ];
    scene.source().gatekeeper.put_and_anchor(records).await.unwrap();
    scene.all_opt_in().await;
    let (_, extract) = scene.extract(&[]).await;
    let text = extract.to_string();
    let mut planted = vec!["Planted".into(), "MRN-".into(), "Maria".into(), "1931".into()];
    for (number, volunteer) in scene.volunteers.iter().enumerate() {
        planted.push(format!("Muster{number}"));
        planted.push(format!("LOCAL-{number}"));
        planted.push(format!("0555-{number:04}"));
        planted.push(format!("record-{number}"));
        planted.push(format!("2025-{:02}", number % 12 + 1));
        planted.push(format!("2026-03-{:02}", number + 1));
        planted.push(volunteer.account().to_string());
        planted.push(format!("{:x}", volunteer.account()));
    }
    planted.extend(
        ["Musterdorf", "09:41", "planted words", "Practitioner", "example.org"].map(String::from),
    );
    for word in planted {
        assert!(!text.to_lowercase().contains(&word.to_lowercase()), "{word} in {text}");
    }
    assert_eq!(subjects(&extract).len(), 6);
    assert!(text.contains("\"2026\""), "years stay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_tells_a_study_from_first_to_last_step() {
    let scene = Scene::new(6).await;
    scene.all_opt_in().await;
    scene.count(&[]).await.unwrap();
    let (id, _) = scene.extract(&[]).await;
    let (researcher, source) = (scene.person("researcher"), scene.source());
    research::record_use(&scene.institute, researcher, id, "analysis", 0).await.unwrap();
    research::settle(&scene.institute, id).await.unwrap();
    let patient = &scene.volunteers[0];
    research::claim_share(source, patient, id, scene.now()).await.unwrap();
    scene.withdraw(patient).await;
    research::end(&scene.institute, researcher, scene.study, "enough").await.unwrap();
    let keeper = &source.gatekeeper;
    keeper.refresh(scene.now()).await.unwrap();
    let timeline = keeper.timeline(scene.study).await.unwrap();
    assert!(timeline.is_checked());
    let told: Vec<_> = timeline
        .steps
        .iter()
        .map(|step| step.what.split([',', ';', ':']).next().unwrap())
        .collect();
    let approved = |gateway: &Gateway| format!("study approved for {}", gateway.member());
    let (officer, auditor) = (approved(source), approved(&scene.regulator));
    let mut expected = vec!["study proposed", officer.as_str(), auditor.as_str()];
    expected.extend(["consent to a study"; 6]);
    expected.extend([
        "cohort counted",
        "extract ordered for 10003",
        "extract of 6 patients delivered",
        "use 1 of the extract recorded",
        "order settled",
        "share of 666 taken",
        "consent to a study withdrawn",
        "study ended",
    ]);
    assert_eq!(told, expected);
    let own = keeper.patient_timeline(patient.account()).await.unwrap();
    let own = own.steps.iter().filter(|step| step.contract == Contract::DataExchange.name());
    let actors: Vec<_> = own.map(|step| step.actor).collect();
    assert_eq!(actors, [Actor::Patient(patient.account()); 3]);
    let offered = keeper.timeline(scene.offer).await.unwrap();
    assert_eq!(offered.steps.first().unwrap().what, "data offered for research");
    assert_eq!(offered.steps.last().unwrap().what, "share of 666 taken");
}

/// A word that stands for a name: unlike any code, status or system.
fn name() -> impl Strategy<Value = String> {
    "[A-Z][a-z]{7,12} [A-Z][a-z]{7,12}"
}

proptest! {
    /// Whatever is written where in a condition, only types, fields, codes and years of the rules come through.
    #[test]
    fn nothing_free_comes_through(
        names in prop::collection::vec(name(), 6),
        numbers in prop::collection::vec(100_000_000_u32..999_999_999, 6),
        day in 1..29_u8,
    ) {
        let resource = |index: usize| json!({
            "resourceType": "Condition",
            "id": numbers[index].to_string(),
            "code": {
                "coding": [{
                    "system": SNOMED,
                    "code": HYPERTENSION,
                    "display": names[index],
                    "version": names[index],
                }],
                "text": names[index],
            },
            "subject": { "reference": format!("Patient/{}", numbers[index]), "display": names[index] },
            "recordedDate": format!("2026-04-{day:02}"),
            "note": [{ "text": names[index], "authorString": names[index] }],
            "contained": [{ "resourceType": "Patient", "name": [{ "text": names[index] }] }],
            "stage": [{ "summary": { "text": names[index] } }],
            "abatementString": names[index],
        });
        let all: Vec<_> = (0..6_u8)
            .map(|index| (Address::repeat_byte(index + 1), resource(usize::from(index))))
            .collect();
        let made = deidentify(&all, |patient| format!("p{}", patient[0]));
        prop_assert_eq!(made.len(), 6);
        let text = json!(made.into_iter().map(|(_, one)| one).collect::<Vec<_>>()).to_string();
        for index in 0..6 {
            prop_assert!(!text.contains(&names[index]));
            prop_assert!(!text.contains(&numbers[index].to_string()));
        }
        prop_assert!(!text.contains("2026-"));
    }

    /// Whatever a record or a document is, it is taken apart without a panic, and nothing of a type, field or system
    /// that is not in the rules comes through.
    #[test]
    fn anything_is_taken_apart(value in anything(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let all: Vec<_> =
            (0..5_u8).map(|index| (Address::repeat_byte(index + 1), value.clone())).collect();
        for (_, made) in deidentify(&all, |patient| format!("p{}", patient[0])) {
            prop_assert!(!made.to_string().contains("a word"));
        }
        for text in [serde_json::to_vec(&value).unwrap(), bytes] {
            if let Ok(document) = Document::read(text) {
                let _ = (document.criteria(), document.protocol_kinds(), document.digest());
            }
        }
    }
}

/// JSON with the names and words that records and documents are made of.
fn anything() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 14] = [
        "resourceType",
        "status",
        "code",
        "coding",
        "system",
        "subject",
        "valueQuantity",
        "value",
        "focus",
        "characteristic",
        "recordedDate",
        "exclude",
        "actual",
        "verificationStatus",
    ];
    const WORDS: [&str; 9] = [
        "Condition",
        "Observation",
        "Group",
        "ResearchStudy",
        "final",
        SNOMED,
        HYPERTENSION,
        "2026-01-01",
        "a word",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(WORDS.as_slice()).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        let fields =
            prop::collection::vec((prop::sample::select(NAMES.as_slice()), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            fields.prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

/// A study, and one of the patients in it: what the other eleven consent to and get costs as much for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn research_costs_what_the_file_says() {
    let mut scene = Scene::new(12).await;
    let mut journal = Journal::new(&scene.world);
    (scene.study, scene.protocol) = scene.approved().await;
    scene.opt_in(&scene.volunteers[0]).await;
    journal.take(&scene.world);
    for volunteer in &scene.volunteers[1..] {
        scene.opt_in(volunteer).await;
    }
    journal.skip(&scene.world);
    scene.count(&[]).await.unwrap();
    let (id, question) = scene.order(&[]).await;
    scene.deliver(id, &question).await.unwrap();
    let researcher = scene.person("researcher");
    research::record_use(&scene.institute, researcher, id, "analysis", 0).await.unwrap();
    research::settle(&scene.institute, id).await.unwrap();
    let first = &scene.volunteers[0];
    research::claim_share(scene.source(), first, id, scene.now()).await.unwrap();
    journal.assert_listed(&scene.world, "research", "A study is approved, consented to by one patient, and buys, uses and pays for one extract.");
}
