//! Trials: a protocol that cannot change behind the patients' backs, arms that nobody can steer or know too soon,
//! and results that belong to the data as it was locked (R1 to R7 of `Trials.sol`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod journal;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex, PoisonError},
};

use alloy_consensus::{SignableTransaction as _, TypedTransaction};
use alloy_primitives::{Address, B256, Bytes, U256, aliases::U24};
use bindings::{
    Contract, PatientAccount, PatientAccounts, Registry, Trials,
    patient_account::{Recover, deadline, guardians_digest, recover_digest},
};
use common::{CHAIN_ID, DAY, HOUR, World, address, passkey, refusal, secret, wallet};
use domain::{
    InstitutionRole, Kind, KindSet, Period, ProfessionalRole, Purpose, PurposeSet, Terms, Timestamp,
};
use journal::Journal;
use ledger::{
    Answering, Ledger, Patient, Policy, PrivateKeySigner, Sender, SignerSync as _, Submitted,
    Wallet,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use workflows::{
    Gateway, PatientActor, Person, Step, WorkflowError, access, consent,
    trial::{
        self, AdverseEvent, Agreement, Criterion, Data, Difference, Dossier, Endpoint, Finding,
        Item, Nonce, Outcome, Protocol, Rank, Reported, Results, Screening, Seed, Seeds, Standing,
        State, arm_for, may_know,
    },
};

/// A hospital as site, an institute as sponsor, a regulator, and two patients whose records the hospital keeps.
struct Scene {
    world: World,
    institute: Gateway,
    regulator: Gateway,
    people: Vec<Person>,
    patient: PatientActor,
    other: PatientActor,
    _dir: TempDir,
}

impl Scene {
    async fn new() -> Self {
        use ProfessionalRole::{Auditor, Pharmacist, Researcher};
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let institute = world.admit("institute", InstitutionRole::Research).await;
        let regulator = world.admit("regulator", InstitutionRole::Regulator).await;
        let mut people = Vec::new();
        for (name, employer, role) in [
            ("researcher", "institute", Researcher),
            ("auditor", "regulator", Auditor),
            ("trial-pharmacist", "hospital", Pharmacist),
        ] {
            people.push(world.engage(name, employer, role).await);
        }
        let patient = world.patient("P001", passkey("P001")).await;
        let other = world.patient("P002", passkey("P002")).await;
        for one in [&patient, &other] {
            world.relate("hospital", one, false).await;
        }
        Self { world, institute, regulator, people, patient, other, _dir: dir }
    }

    fn hospital(&self) -> &Gateway {
        self.world.gateway("hospital")
    }

    fn person(&self, name: &str) -> &Person {
        let found = self.people.iter().find(|person| person.name == name);
        found.unwrap_or_else(|| self.world.person(name))
    }

    fn now(&self) -> Timestamp {
        self.world.now()
    }

    async fn register(&self, protocol: &Protocol) -> Dossier {
        let researcher = self.person("researcher");
        trial::register(&self.institute, researcher, protocol, None).await.unwrap().0
    }

    async fn approve(&self, dossier: &Dossier) -> Result<Step, WorkflowError> {
        trial::approve(&self.regulator, self.person("auditor"), dossier, None).await
    }

    /// A trial at which the hospital takes part.
    async fn recruiting(&self) -> Dossier {
        let dossier = self.register(&protocol()).await;
        self.approve(&dossier).await.unwrap();
        let (researcher, site) = (self.person("researcher"), self.hospital().member());
        trial::invite(&self.institute, researcher, dossier.trial, site).await.unwrap();
        trial::join(self.hospital(), dossier.trial).await.unwrap();
        dossier
    }

    async fn consent(
        &self,
        patient: &PatientActor,
        dossier: &Dossier,
        nonce: &Nonce,
    ) -> Result<Step, WorkflowError> {
        let agreement = Agreement {
            site: self.hospital().member(),
            version: dossier.version,
            commitment: nonce.commitment(),
        };
        trial::consent(self.hospital(), patient, dossier.trial, &agreement, self.now()).await
    }

    async fn screen(
        &self,
        who: &str,
        patient: &PatientActor,
        dossier: &Dossier,
        answers: &[(&str, bool)],
    ) -> Result<Screening, WorkflowError> {
        let (site, person) = (self.hospital(), self.person(who));
        trial::screen(site, person, patient, dossier, answers, self.now()).await
    }

    async fn open(
        &self,
        patient: &PatientActor,
        id: B256,
        nonce: &Nonce,
    ) -> Result<Step, WorkflowError> {
        trial::open_nonce(self.hospital(), patient, id, nonce, self.now()).await
    }

    /// Both seeds as they come to the pharmacist: sealed, and held against the chain.
    async fn seeds(&self, id: B256) -> Seeds {
        let pharmacist = self.person("trial-pharmacist");
        trial::enter_key(self.hospital(), pharmacist, self.now()).await.unwrap();
        let network = self.hospital().gatekeeper.domain();
        let mut seeds = Vec::new();
        for party in [&self.institute, &self.regulator] {
            let seed = Seed::derive(party, id);
            let sealed = seed.seal_for(party, id, pharmacist.member, self.now()).await.unwrap();
            let about = (id, party.member());
            seeds.push(Seed::open(&pharmacist.secret, network, about, &sealed).unwrap());
        }
        let [sponsor, custodian] = seeds.try_into().unwrap();
        Seeds::gather(self.hospital(), id, sponsor, custodian).await.unwrap()
    }

    async fn allocate(
        &self,
        who: &str,
        patient: &PatientActor,
        id: B256,
    ) -> Result<u8, WorkflowError> {
        let (site, account) = (self.hospital(), patient.account());
        let allocation =
            self.seeds(id).await.allocation(site, self.person("trial-pharmacist"), account).await?;
        trial::allocate(site, self.person(who), id, account, allocation.commitment).await?;
        Ok(allocation.arm)
    }

    async fn is_right(&self, id: B256, patient: &PatientActor) -> bool {
        let account = patient.account();
        let salt = trial::allocation_salt(self.person("trial-pharmacist"), id, account);
        trial::is_allocated_rightly(self.hospital(), id, account, salt).await.unwrap()
    }

    /// A subject for whom data can be entered.
    async fn subject(&self, patient: &PatientActor, dossier: &Dossier) -> Nonce {
        let nonce = Nonce::make(self.hospital().gatekeeper.entropy());
        self.consent(patient, dossier, &nonce).await.unwrap();
        assert!(self.screen("physician", patient, dossier, FITS).await.unwrap().is_eligible);
        self.open(patient, dossier.trial, &nonce).await.unwrap();
        self.allocate("trial-pharmacist", patient, dossier.trial).await.unwrap();
        nonce
    }

    async fn enter(
        &self,
        who: &str,
        patient: &PatientActor,
        id: B256,
    ) -> Result<B256, WorkflowError> {
        let (site, person) = (self.hospital(), self.person(who));
        let (anchor, _) = trial::enter(site, person, patient, id, &visit(), self.now()).await?;
        Ok(anchor.digest.0)
    }

    async fn report(
        &self,
        who: &str,
        id: B256,
        event: &AdverseEvent,
    ) -> Result<Reported, WorkflowError> {
        let (site, person) = (self.hospital(), self.person(who));
        trial::report_adverse_event(site, person, &self.patient, id, event, self.now()).await
    }

    async fn acknowledge(&self, who: &str, id: B256, number: U256) -> Result<Step, WorkflowError> {
        trial::acknowledge(&self.institute, self.person(who), id, number).await
    }

    async fn unblind(&self, who: &str, id: B256) -> Result<(), WorkflowError> {
        let (site, person) = (self.hospital(), self.person(who));
        trial::unblind(site, person, &self.patient, id, "a reaction to treat", self.now()).await?;
        Ok(())
    }

    async fn lock(&self, who: &str, id: B256) -> Result<Data, WorkflowError> {
        Ok(trial::lock(&self.institute, self.person(who), id).await?.0)
    }

    async fn reveal(&self, id: B256) {
        for (party, who) in [(&self.institute, "researcher"), (&self.regulator, "auditor")] {
            trial::reveal(party, self.person(who), id, None).await.unwrap();
        }
    }

    async fn publish(
        &self,
        dossier: &Dossier,
        outcomes: Vec<Outcome>,
    ) -> Result<Results, WorkflowError> {
        let (institute, researcher) = (&self.institute, self.person("researcher"));
        Ok(trial::publish(institute, researcher, dossier, outcomes).await?.0)
    }

    async fn check(&self, dossier: &Dossier, results: Option<&Results>) -> Vec<Difference> {
        trial::check(self.hospital(), dossier, results).await.unwrap()
    }

    async fn state(&self, id: B256) -> State {
        trial::trial_of(self.hospital(), id).await.unwrap().0
    }

    async fn standing(&self, id: B256) -> Standing {
        trial::subject_of(self.hospital(), id, self.patient.account()).await.unwrap().0
    }

    /// What the hospital sealed and anchored, which must agree.
    async fn versions(&self) -> u64 {
        let report = self.world.assert_clean("hospital").await;
        assert_eq!(report.versions, report.anchors);
        report.versions
    }
}

/// Answers with which a patient takes part.
const FITS: &[(&str, bool)] = &[("adult", true), ("pregnant", false)];

fn protocol() -> Protocol {
    let endpoint = |name: &str, rank| Endpoint { name: name.into(), rank };
    let criterion = |key: &str, text: &str, excludes| Criterion {
        key: key.into(),
        text: text.into(),
        excludes,
    };
    Protocol {
        title: "Drug A against placebo in hypertension".into(),
        description: "one tablet a day for twelve weeks".into(),
        arms: vec!["drug A".into(), "placebo".into()],
        endpoints: vec![
            endpoint("blood pressure after twelve weeks", Rank::Primary),
            endpoint("death from any cause", Rank::Secondary),
        ],
        criteria: vec![
            criterion("adult", "18 or older", false),
            criterion("pregnant", "pregnant or nursing", true),
        ],
    }
}

fn visit() -> Vec<Item> {
    let item =
        |key: &str, text: &str, finding| Item { key: key.into(), text: text.into(), finding };
    let pressure = Finding::Quantity { value: 131.5, unit: "mmHg".into() };
    vec![
        item("systolic", "systolic blood pressure", pressure),
        item("taken", "were all tablets taken?", Finding::Is(true)),
        item("remarks", "anything else", Finding::Text("dizzy in the morning".into())),
    ]
}

fn outcomes() -> Vec<Outcome> {
    let outcome = |(endpoint, result): (&str, &str)| Outcome {
        endpoint: endpoint.into(),
        result: result.into(),
    };
    [("blood pressure after twelve weeks", "lower by 8 mmHg"), ("death from any cause", "none")]
        .map(outcome)
        .into()
}

fn operations(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.operation).collect()
}

#[track_caller]
fn refused_as<T>(outcome: Result<T, WorkflowError>, reason: &str) {
    let text = refusal(outcome);
    assert!(text.contains(reason), "{text}");
}

/// What was found wrong before the chain was asked.
#[track_caller]
fn invalid<T>(outcome: Result<T, WorkflowError>, reason: &str) {
    match outcome {
        Err(WorkflowError::Invalid(text)) => assert!(text.contains(reason), "{text}"),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_goes_from_its_protocol_to_its_results() {
    let scene = Scene::new().await;
    let (hospital, patient) = (scene.hospital(), &scene.patient);
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    assert!(r4::validate(&dossier.study).is_empty(), "{:?}", r4::validate(&dossier.study));

    // The sponsor's document comes to the site sealed, and the patient reads it before they consent.
    let network = hospital.gatekeeper.domain();
    let sealed = dossier.seal_for(&scene.institute, &hospital.secret.public_key());
    let read = Dossier::open(&hospital.secret, network, &sealed).unwrap();
    assert_eq!(read, dossier);
    invalid(Dossier::open(&patient.secret, network, &sealed), "answer is for another key");
    assert_eq!(scene.check(&read, None).await, []);

    let nonce = Nonce::make(hospital.gatekeeper.entropy());
    let step = scene.consent(patient, &read, &nonce).await.unwrap();
    assert_eq!(step.operation, "trial.consent");
    let physician = scene.person("physician");
    let filed = trial::file_consent(hospital, physician, patient, &read, scene.now()).await;
    assert_eq!(filed.unwrap().1.operation, "record.propose");
    let screened = scene.screen("physician", patient, &read, FITS).await.unwrap();
    assert_eq!(operations(&screened.steps), ["record.propose", "trial.screen"]);
    assert_eq!(scene.standing(id).await, Standing::Enrolled);
    scene.open(patient, id, &nonce).await.unwrap();
    let arm = scene.allocate("trial-pharmacist", patient, id).await.unwrap();
    let first = scene.enter("nurse", patient, id).await.unwrap();

    // R4: a new version is in force, and nothing is entered before the patient consented to it.
    let shorter = Protocol { description: "for eight weeks".into(), ..protocol() };
    let researcher = scene.person("researcher");
    let (amended, _) =
        trial::propose_amendment(&scene.institute, researcher, &dossier, &shorter).await.unwrap();
    let auditor = scene.person("auditor");
    trial::approve_amendment(&scene.regulator, auditor, &amended).await.unwrap();
    refused_as(scene.enter("nurse", patient, id).await, "ConsentOutdated");
    let again = scene.consent(patient, &amended, &nonce).await.unwrap();
    assert_eq!(again.operation, "trial.consent-again");
    let second = scene.enter("physician", patient, id).await.unwrap();
    // Each version that was in force stays to be checked.
    for version in [&dossier, &amended] {
        assert_eq!(scene.check(version, None).await, []);
    }

    let event = AdverseEvent { what: "a fall".into(), is_serious: true, aware_at: scene.now() };
    let reported = scene.report("physician", id, &event).await.unwrap();
    assert_eq!((reported.number, reported.is_late), (U256::ZERO, false));
    scene.acknowledge("researcher", id, reported.number).await.unwrap();

    let data = scene.lock("researcher", id).await.unwrap();
    let digests: Vec<_> = data.entries.iter().map(|entry| (entry.visit, entry.digest)).collect();
    assert_eq!(digests, [(1, first), (2, second)]);
    scene.reveal(id).await;
    assert_eq!(trial::arm_of(hospital, id, patient.account()).await.unwrap(), arm);
    assert!(scene.is_right(id, patient).await);
    let results = scene.publish(&amended, outcomes()).await.unwrap();
    assert_eq!((results.entries, results.used), (2, 2));
    assert_eq!(scene.state(id).await, State::Published);
    let published = Results::read(&results.to_bytes()).unwrap();
    assert_eq!(scene.check(&amended, Some(&published)).await, []);
    // R5: once. Whoever lost the file publishes the same again, and has it without another step.
    let mut better = outcomes();
    better[0].result = "lower by 18 mmHg".into();
    refused_as(scene.publish(&amended, better).await, "WrongState");
    let again = trial::publish(&scene.institute, researcher, &amended, outcomes()).await.unwrap();
    assert!(again.1.is_none());
    assert_eq!(again.0, results);

    // Form, screening, two visits, and the fall; the patient opens all of them.
    assert_eq!(scene.versions().await, 5);
    let keeper = &hospital.gatekeeper;
    let own = access::ask_as_patient(keeper, patient, KindSet::ALL, scene.now()).await.unwrap().0;
    assert_eq!(own.records.len(), 5);

    // The sponsor reads what the patient lets them read, for research.
    let wanted = access::Wanted {
        patient: patient.account(),
        kinds: KindSet::of(&[Kind::Research, Kind::Social]),
        record: None,
        purpose: Purpose::Research,
    };
    let asked = access::ask(keeper, researcher, &wanted, scene.now()).await;
    refusal(asked.map(drop));
    let terms = Terms {
        period: Period::new(scene.now(), scene.now().after(DAY)).unwrap(),
        kinds: wanted.kinds,
        purposes: PurposeSet::of(&[Purpose::Research]),
    };
    consent::grant(hospital, patient, researcher.member, None, &terms, scene.now()).await.unwrap();
    let (answered, _) = access::ask(keeper, researcher, &wanted, scene.now()).await.unwrap();
    let of = |digest: B256| answered.records.iter().any(|found| found.digest.0 == digest);
    assert!(of(first) && of(second));

    // The timeline has every step, each borne out by its block.
    let timeline = keeper.timeline(id).await.unwrap();
    assert!(timeline.is_checked());
    let said: Vec<_> = timeline.steps.iter().filter(|step| step.contract == "Trials").collect();
    assert_eq!(said.first().unwrap().what, "trial registered, with 2 arms");
    assert_eq!(said.last().unwrap().what, "results of the trial published");
    // Registered, approved, site invited and joined; consent, screening, nonce, arm, visit; version asked for and
    // in force; consent, visit; event and acknowledgement; lock, two seeds, results.
    assert_eq!(said.len(), 4 + 5 + 2 + 2 + 2 + 4);
    let own = keeper.patient_timeline(patient.account()).await.unwrap();
    assert!(own.steps.iter().any(|step| step.what.starts_with("enrolled")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_belongs_to_somebody() {
    let scene = Scene::new().await;
    let (patient, hospital) = (&scene.patient, scene.hospital());
    for who in ["physician", "auditor", "nurse"] {
        let registered =
            trial::register(&scene.institute, scene.person(who), &protocol(), None).await;
        refused_as(registered, "NotAllowed");
    }
    let dossier = scene.register(&protocol()).await;
    let id = dossier.trial;
    for who in ["researcher", "physician"] {
        let approved = trial::approve(&scene.regulator, scene.person(who), &dossier, None).await;
        refused_as(approved, "NotAllowed");
    }
    scene.approve(&dossier).await.unwrap();
    refused_as(trial::join(hospital, id).await, "NotInvited");
    let site = hospital.member();
    let physician = scene.person("physician");
    refused_as(trial::invite(hospital, physician, id, site).await, "NotAllowed");
    let researcher = scene.person("researcher");
    trial::invite(&scene.institute, researcher, id, site).await.unwrap();
    // Invited, but not there yet.
    let nonce = Nonce::make(hospital.gatekeeper.entropy());
    refused_as(scene.consent(patient, &dossier, &nonce).await, "NotSite");
    refused_as(trial::join(scene.world.gateway("pharmacy"), id).await, "NotInvited");
    trial::join(hospital, id).await.unwrap();
    scene.consent(patient, &dossier, &nonce).await.unwrap();

    // A form is filed of a consent to this version, by who can say what was told.
    let file = async |who: &str, whom: &PatientActor| {
        trial::file_consent(hospital, scene.person(who), whom, &dossier, scene.now()).await
    };
    invalid(file("nurse", patient).await, "says what the patient was told");
    invalid(file("physician", &scene.other).await, "says what the patient was told");
    let later = Dossier { version: 2, ..dossier.clone() };
    let filed = trial::file_consent(hospital, physician, patient, &later, scene.now()).await;
    invalid(filed, "no consent of the patient to this version");
    let changed = with(&dossier, "/description", json!("other words"));
    let filed = trial::file_consent(hospital, physician, patient, &changed, scene.now()).await;
    invalid(filed, "not the protocol that was fixed");
    file("physician", patient).await.unwrap();
    invalid(file("physician", patient).await, "filed before");

    let before = scene.versions().await;
    // The consultant is a physician of another institution, which is no site.
    for who in ["nurse", "consultant", "researcher", "trial-pharmacist"] {
        refused_as(scene.screen(who, patient, &dossier, FITS).await, "NotAllowed");
    }
    assert_eq!(scene.versions().await, before, "what is refused leaves nothing behind");
    scene.screen("physician", patient, &dossier, FITS).await.unwrap();
    refused_as(scene.open(&scene.other, id, &nonce).await, "WrongStanding");
    scene.open(patient, id, &nonce).await.unwrap();
    for who in ["physician", "pharmacist"] {
        refused_as(scene.allocate(who, patient, id).await, "NotAllowed");
    }
    scene.allocate("trial-pharmacist", patient, id).await.unwrap();
    refused_as(scene.allocate("trial-pharmacist", patient, id).await, "AlreadyAllocated");
    for who in ["trial-pharmacist", "consultant", "researcher"] {
        refused_as(scene.enter(who, patient, id).await, "NotAllowed");
    }
    let event = AdverseEvent { what: "a rash".into(), is_serious: false, aware_at: scene.now() };
    refused_as(scene.report("trial-pharmacist", id, &event).await, "NotAllowed");
    scene.report("nurse", id, &event).await.unwrap();
    refused_as(scene.unblind("nurse", id).await, "NotAllowed");
    refused_as(scene.unblind("consultant", id).await, "NotAllowed");
    let softer = Protocol { criteria: protocol().criteria[..1].to_vec(), ..protocol() };
    let proposed = trial::propose_amendment(hospital, physician, &dossier, &softer).await;
    refused_as(proposed, "NotAllowed");
    for who in ["physician", "auditor"] {
        refused_as(scene.lock(who, id).await, "NotAllowed");
    }
    refused_as(trial::stop(hospital, physician, id, "no more drug").await, "NotAllowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_step_comes_before_its_turn() {
    let scene = Scene::new().await;
    let (patient, hospital) = (&scene.patient, scene.hospital());
    let dossier = scene.register(&protocol()).await;
    let id = dossier.trial;
    let nonce = Nonce::make(hospital.gatekeeper.entropy());
    refused_as(scene.consent(patient, &dossier, &nonce).await, "WrongState");
    refused_as(scene.lock("researcher", id).await, "WrongState");
    scene.approve(&dossier).await.unwrap();
    refused_as(scene.approve(&dossier).await, "WrongState");
    let researcher = scene.person("researcher");
    trial::invite(&scene.institute, researcher, id, hospital.member()).await.unwrap();
    trial::join(hospital, id).await.unwrap();

    // Nobody is screened without consent, has an arm without being enrolled, or data without an arm.
    let before = scene.versions().await;
    refused_as(scene.screen("physician", patient, &dossier, FITS).await, "WrongStanding");
    scene.consent(patient, &dossier, &nonce).await.unwrap();
    refused_as(scene.open(patient, id, &nonce).await, "WrongStanding");
    refused_as(scene.enter("nurse", patient, id).await, "WrongStanding");
    assert_eq!(scene.versions().await, before, "what is refused leaves nothing behind");
    scene.screen("physician", patient, &dossier, FITS).await.unwrap();
    refused_as(scene.screen("physician", patient, &dossier, FITS).await, "WrongStanding");
    invalid(scene.allocate("trial-pharmacist", patient, id).await, "did not open the nonce");
    let pharmacist = scene.person("trial-pharmacist");
    let guessed = trial::allocate(hospital, pharmacist, id, patient.account(), secret("a guess"));
    refused_as(guessed.await, "NonceSealed");
    // An opening that does not match.
    let another = Nonce::from_bytes(secret("another nonce"));
    refused_as(scene.open(patient, id, &another).await, "NonceRefused");
    scene.open(patient, id, &nonce).await.unwrap();
    refused_as(scene.open(patient, id, &nonce).await, "NonceRefused");
    refused_as(scene.enter("nurse", patient, id).await, "NotAllocated");
    scene.allocate("trial-pharmacist", patient, id).await.unwrap();
    scene.enter("nurse", patient, id).await.unwrap();

    // R3 and R5: seeds only after the lock, results only after both.
    let reveal = async || trial::reveal(&scene.institute, researcher, id, None).await;
    invalid(reveal().await, "once the data is locked");
    refused_as(scene.publish(&dossier, outcomes()).await, "WrongState");
    scene.lock("researcher", id).await.unwrap();
    refused_as(scene.lock("researcher", id).await, "WrongState");
    refused_as(scene.enter("nurse", patient, id).await, "WrongState");
    refused_as(scene.consent(&scene.other, &dossier, &nonce).await, "WrongState");
    assert_eq!(reveal().await.unwrap().operation, "trial.reveal");
    refused_as(reveal().await, "SeedRefused");
    refused_as(scene.publish(&dossier, outcomes()).await, "WrongState");
    refused_as(trial::stop(&scene.institute, researcher, id, "too late").await, "WrongState");
    let auditor = scene.person("auditor");
    let last = trial::reveal(&scene.regulator, auditor, id, None).await.unwrap();
    assert_eq!(last.operation, "trial.reveal-last");
    scene.publish(&dossier, outcomes()).await.unwrap();
    let unknown = trial::trial_of(hospital, secret("no trial")).await;
    assert!(matches!(unknown, Err(WorkflowError::Unknown { what: "trial", .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_decide_who_is_enrolled_by_the_criteria_in_force() {
    let scene = Scene::new().await;
    let patient = &scene.patient;
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    let nonce = Nonce::make(scene.hospital().gatekeeper.entropy());
    scene.consent(patient, &dossier, &nonce).await.unwrap();
    let screen = async |answers: &[(&str, bool)]| {
        scene.screen("physician", patient, &dossier, answers).await
    };
    invalid(screen(&[("adult", true)]).await, "takes exactly one answer");
    invalid(screen(&[("adult", true), ("adult", true), ("pregnant", false)]).await, "exactly one");
    let unknown = [("adult", true), ("pregnant", false), ("healthy", true)];
    invalid(screen(&unknown).await, "to no criterion");

    // Softer criteria than those that were fixed do not count.
    let mut softer = dossier.clone();
    softer.study["contained"][0]["characteristic"].as_array_mut().unwrap().truncate(1);
    let before = scene.versions().await;
    let screened = scene.screen("physician", patient, &softer, &[("adult", true)]).await;
    refused_as(screened, "CriteriaDiffer");
    assert_eq!(scene.versions().await, before);

    let screened = screen(&[("adult", true), ("pregnant", true)]).await.unwrap();
    assert!(!screened.is_eligible);
    assert_eq!(scene.standing(id).await, Standing::Excluded);
    refused_as(scene.consent(patient, &dossier, &nonce).await, "WrongStanding");
    refused_as(scene.open(patient, id, &nonce).await, "WrongStanding");

    // Whoever consented before the criteria changed is screened after consenting again.
    scene.consent(&scene.other, &dossier, &nonce).await.unwrap();
    let changed = Protocol { criteria: protocol().criteria[..1].to_vec(), ..protocol() };
    let (institute, researcher) = (&scene.institute, scene.person("researcher"));
    let (amended, _) =
        trial::propose_amendment(institute, researcher, &dossier, &changed).await.unwrap();
    // The newest that was asked for is what can be approved.
    let (again, _) =
        trial::propose_amendment(institute, researcher, &dossier, &changed).await.unwrap();
    let auditor = scene.person("auditor");
    let approved = trial::approve_amendment(&scene.regulator, auditor, &amended).await;
    refused_as(approved, "DataDiffers");
    trial::approve_amendment(&scene.regulator, auditor, &again).await.unwrap();
    assert_eq!(scene.check(&again, None).await, []);
    assert_eq!(
        scene.check(&amended, None).await,
        [Difference::Protocol(2), Difference::Criteria],
        "it was asked for, and never in force"
    );
    let old = scene.screen("physician", &scene.other, &dossier, FITS).await;
    refused_as(old, "CriteriaDiffer");
    let adult = &FITS[..1];
    let early = scene.screen("physician", &scene.other, &again, adult).await;
    refused_as(early, "ConsentOutdated");
    refused_as(scene.consent(&scene.other, &dossier, &nonce).await, "VersionDiffers");
    scene.consent(&scene.other, &again, &nonce).await.unwrap();
    assert!(scene.screen("physician", &scene.other, &again, adult).await.unwrap().is_eligible);
}

/// The same document with other words at one place.
fn with(dossier: &Dossier, pointer: &str, value: Value) -> Dossier {
    let mut changed = dossier.clone();
    *changed.study.pointer_mut(pointer).unwrap() = value;
    changed
}

/// The same document as of another trial.
fn of_trial(dossier: &Dossier, trial: B256) -> Dossier {
    with(&Dossier { trial, ..dossier.clone() }, "/id", json!(format!("{trial:x}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_endpoint_is_found_before_and_after_the_lock() {
    use Difference as D;
    let scene = Scene::new().await;
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    scene.subject(&scene.patient, &dossier).await;
    scene.enter("nurse", &scene.patient, id).await.unwrap();
    let name = "/objective/0/name";
    let moved = with(&dossier, name, json!("quality of life after twelve weeks"));

    // An honest program does not ask for it, and the regulator's does not approve what a dishonest one asked for.
    let others = Protocol {
        endpoints: vec![Endpoint { name: "quality of life".into(), rank: Rank::Primary }],
        ..protocol()
    };
    let (institute, researcher) = (&scene.institute, scene.person("researcher"));
    let asked = trial::propose_amendment(institute, researcher, &dossier, &others).await;
    invalid(asked, "endpoints and arms cannot be changed");
    let call = Trials::proposeAmendmentCall {
        id,
        protocol: moved.protocol_digest(),
        criteria: moved.criteria_digest(),
    };
    researcher.sender.send(scene.world.at(Contract::Trials), &call).await.unwrap();
    let auditor = scene.person("auditor");
    let approved = trial::approve_amendment(&scene.regulator, auditor, &moved).await;
    invalid(approved, "endpoints and arms cannot be changed");

    scene.lock("researcher", id).await.unwrap();
    scene.reveal(id).await;
    assert_eq!(scene.check(&moved, None).await, [D::Protocol(1), D::Endpoints]);
    // Results for other endpoints: as others, left out, added, or in another order.
    refused_as(
        scene
            .publish(&moved, {
                let mut outcomes = outcomes();
                outcomes[0].endpoint = "quality of life after twelve weeks".into();
                outcomes
            })
            .await,
        "EndpointsDiffer",
    );
    for wrong in [
        outcomes()[..1].to_vec(),
        outcomes().into_iter().rev().collect(),
        [outcomes(), outcomes()].concat(),
        Vec::new(),
    ] {
        invalid(scene.publish(&dossier, wrong).await, "one outcome for each endpoint");
    }
    let early = Results {
        trial: id,
        salt: B256::ZERO,
        endpoints: dossier.endpoints_digest(),
        data: trial::data_of(scene.hospital(), id).await.unwrap().head,
        entries: 1,
        used: 1,
        outcomes: outcomes(),
    };
    assert_eq!(scene.check(&dossier, Some(&early)).await, [D::Unpublished]);
    let results = scene.publish(&dossier, outcomes()).await.unwrap();
    assert_eq!(scene.check(&dossier, Some(&results)).await, []);

    // What is shown afterwards is held against what was published.
    let mut renamed = results.clone();
    renamed.outcomes[0].endpoint = "quality of life after twelve weeks".into();
    assert_eq!(scene.check(&dossier, Some(&renamed)).await, [D::Outcomes, D::Results]);
    let both = [D::Protocol(1), D::Endpoints, D::Results];
    assert_eq!(scene.check(&moved, Some(&renamed)).await, both);
    let mut better = results.clone();
    better.outcomes[0].result = "lower by 18 mmHg".into();
    assert_eq!(scene.check(&dossier, Some(&better)).await, [D::Results]);
    let of_other_data = Results { data: secret("other data"), ..results.clone() };
    assert_eq!(scene.check(&dossier, Some(&of_other_data)).await, [D::Data, D::Results]);
    let fewer = Results { used: 0, ..results.clone() };
    assert_eq!(scene.check(&dossier, Some(&fewer)).await, [D::Used, D::Results]);
    let text = "18 years or older";
    let softer = with(&dossier, "/contained/0/characteristic/0/code/text", json!(text));
    assert_eq!(scene.check(&softer, None).await, [D::Protocol(1), D::Criteria]);
    let third = with(&dossier, "/arm", json!([{ "name": "a" }, { "name": "b" }, { "name": "c" }]));
    assert_eq!(scene.check(&third, None).await, [D::Protocol(1), D::Arms]);
    let never = Dossier { version: 2, ..dossier.clone() };
    assert_eq!(scene.check(&never, None).await, [D::NoVersion(2)]);
    let salted = Dossier {
        salts: trial::Salts { endpoints: secret("another salt"), ..dossier.salts },
        ..dossier.clone()
    };
    assert_eq!(scene.check(&salted, None).await, [D::Endpoints]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_regulator_approves_is_what_it_read() {
    let scene = Scene::new().await;
    let (institute, researcher) = (&scene.institute, scene.person("researcher"));
    let dossier = scene.register(&protocol()).await;
    let another = with(&dossier, "/description", json!("two tablets a day"));
    refused_as(scene.approve(&another).await, "DataDiffers");

    // Endpoints that were registered beside others in the protocol.
    let moved = with(&dossier, "/objective/0/name", json!("quality of life"));
    let salt = secret("a trial of two tales");
    let trial = bindings::convert::make_id(researcher.member, salt);
    let [told, fixed] = [&dossier, &moved].map(|one| of_trial(one, trial));
    let call = Trials::registerCall {
        salt,
        design: Trials::Design {
            protocol: told.protocol_digest(),
            endpoints: fixed.endpoints_digest(),
            criteria: told.criteria_digest(),
            arms: 2,
        },
        commitment: Seed::derive(institute, trial).commitment(trial, institute.member()),
    };
    researcher.sender.send(scene.world.at(Contract::Trials), &call).await.unwrap();
    invalid(scene.approve(&told).await, "not what the protocol says");
    assert_eq!(scene.check(&told, None).await, [Difference::Endpoints]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arms_are_those_of_the_contract_and_a_wrong_one_shows() {
    let scene = Scene::new().await;
    let hospital = scene.hospital();
    let at = scene.world.at(Contract::Trials);
    for (index, arms) in (2..=16).chain([2, 3]).enumerate() {
        let word = |name: &str| secret(&format!("{name} {index}"));
        let (sponsor, custodian, id) = (word("sponsor"), word("custodian"), word("trial"));
        let (nonce, patient) = (word("nonce"), address(&format!("patient {index}")));
        let call = Trials::armForCall {
            sponsorSeed: sponsor,
            custodianSeed: custodian,
            id,
            patient,
            nonce,
            arms: U256::from(arms),
        };
        let expected = scene.world.ledger.call(at, &call, Default::default()).await.unwrap();
        let arm = arm_for([sponsor, custodian], id, patient, nonce, arms);
        assert_eq!(U256::from(arm), expected);
        let seed = Seed::from_bytes(sponsor);
        let call = Trials::commitmentOfCall { id, party: patient, seed: sponsor };
        let expected = scene.world.ledger.call(at, &call, Default::default()).await.unwrap();
        assert_eq!(seed.commitment(id, patient), expected);
    }

    // A pharmacist who handed out something else is found once everybody is unblinded.
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    scene.subject(&scene.patient, &dossier).await;
    let nonce = Nonce::make(hospital.gatekeeper.entropy());
    scene.consent(&scene.other, &dossier, &nonce).await.unwrap();
    scene.screen("physician", &scene.other, &dossier, FITS).await.unwrap();
    scene.open(&scene.other, id, &nonce).await.unwrap();
    let (account, pharmacist) = (scene.other.account(), scene.person("trial-pharmacist"));
    let right = scene.seeds(id).await.allocation(hospital, pharmacist, account).await.unwrap();
    let salt = trial::allocation_salt(pharmacist, id, account);
    assert_eq!(trial::commit(id, account, right.arm, salt), right.commitment);
    let wrong = trial::commit(id, account, 1 - right.arm, salt);
    trial::allocate(hospital, pharmacist, id, account, wrong).await.unwrap();
    scene.lock("researcher", id).await.unwrap();
    assert!(trial::arm_of(hospital, id, account).await.is_err(), "nobody knows it yet");
    scene.reveal(id).await;
    assert_eq!(trial::arm_of(hospital, id, account).await.unwrap(), right.arm);
    assert!(!scene.is_right(id, &scene.other).await);
    assert!(scene.is_right(id, &scene.patient).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeds_serve_one_trial_and_one_party_once() {
    let scene = Scene::new().await;
    let (institute, researcher) = (&scene.institute, scene.person("researcher"));
    let auditor = scene.person("auditor");
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    let other = scene.register(&protocol()).await;
    assert_ne!(
        Seed::derive(institute, id).commitment(id, institute.member()),
        Seed::derive(institute, other.trial).commitment(id, institute.member()),
    );

    // A seed goes to a pharmacist of a site, to the key that the registry has of them.
    let pharmacist = scene.person("trial-pharmacist");
    let network = institute.gatekeeper.domain();
    let seal = async |trial, who: &str| {
        let member = scene.person(who).member;
        Seed::derive(institute, trial).seal_for(institute, trial, member, scene.now()).await
    };
    invalid(seal(id, "trial-pharmacist").await, "has entered no key");
    for who in ["trial-pharmacist", "pharmacist", "nurse"] {
        let entered = trial::enter_key(institute, scene.person(who), scene.now()).await.unwrap();
        assert_eq!(entered.unwrap().operation, "registry.set-profile");
    }
    let again = trial::enter_key(institute, pharmacist, scene.now()).await.unwrap();
    assert!(again.is_none(), "it stands there");
    invalid(seal(id, "nurse").await, "seeds go to pharmacists");
    invalid(seal(id, "pharmacist").await, "is no site of the trial");
    invalid(seal(other.trial, "trial-pharmacist").await, "is no site of the trial");

    // The pharmacist takes no seed of another trial or party for one of this.
    let sealed = seal(id, "trial-pharmacist").await.unwrap();
    assert!(
        Seed::open(&scene.person("nurse").secret, network, (id, institute.member()), &sealed)
            .is_err()
    );
    let open = |trial, party| Seed::open(&pharmacist.secret, network, (trial, party), &sealed);
    assert!(open(id, institute.member()).is_ok());
    invalid(open(other.trial, institute.member()), "no seed of this party");
    invalid(open(id, scene.regulator.member()), "no seed of this party");
    let wrong = Seeds::gather(
        scene.hospital(),
        id,
        Seed::derive(&scene.regulator, id),
        Seed::derive(institute, id),
    );
    invalid(wrong.await.map(drop), "not the one that its party committed to");

    scene.lock("researcher", id).await.unwrap();
    // An opening that does not match: another trial's seed, another's, and none.
    for seed in [
        Seed::derive(institute, other.trial),
        Seed::derive(&scene.regulator, id),
        Seed::from_bytes(secret("a seed")),
    ] {
        let revealed = trial::reveal(institute, researcher, id, Some(seed)).await;
        invalid(revealed, "not the seed that was committed to");
    }
    let none = Seed::from_bytes(B256::ZERO);
    let revealed = trial::reveal(institute, researcher, id, Some(none.clone())).await;
    invalid(revealed, "not the seed that was committed to");
    scene.reveal(id).await;

    // What was revealed once is known to everybody, and is not committed to again.
    let known = Seed::derive(institute, id);
    let again = trial::register(institute, researcher, &protocol(), Some(known.clone())).await;
    invalid(again, "this seed is known already");
    let copied = trial::approve(&scene.regulator, auditor, &other, Some(known)).await;
    invalid(copied, "this seed is known already");
    let empty = trial::approve(&scene.regulator, auditor, &other, Some(none)).await;
    invalid(empty, "this seed is known already");
    scene.approve(&other).await.unwrap();
}

/// An endpoint that notes what it is asked, and answers 1.
fn overheard() -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heard = Arc::new(Mutex::new(String::new()));
    let notes = Arc::clone(&heard);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut length, mut line) = (0, String::new());
            while stream.read_line(&mut line).unwrap() > 2 {
                let header = std::mem::take(&mut line).to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let asked: Value = serde_json::from_slice(&body).unwrap();
            notes.lock().unwrap_or_else(PoisonError::into_inner).push_str(&asked.to_string());
            let reply = json!({ "jsonrpc": "2.0", "id": asked["id"], "result": "0x1" }).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
            let length = reply.len();
            let stream = stream.get_mut();
            write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{reply}").unwrap();
        }
    });
    (url, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_endpoint_hears_a_seed_before_the_lock_or_of_who_may_not_reveal_it() {
    let scene = Scene::new().await;
    let (institute, researcher) = (&scene.institute, scene.person("researcher"));
    let bytes = secret("the institute's seed");
    let seed = || Some(Seed::from_bytes(bytes));
    let registered = trial::register(institute, researcher, &protocol(), seed()).await;
    let dossier = registered.unwrap().0;
    let id = dossier.trial;
    scene.approve(&dossier).await.unwrap();
    let (url, heard) = overheard();
    let reveal = async |party: &Gateway, who: &str| {
        let ledger = Ledger::connect(&url, Policy::default()).await.unwrap();
        let sender = Sender::new(ledger, wallet(who));
        let person = Person { sender, ..scene.person(who).clone() };
        trial::reveal(party, &person, id, seed()).await
    };
    let told = || {
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.contains(&format!("{bytes:x}"))
    };
    for who in ["researcher", "nurse"] {
        invalid(reveal(institute, who).await, "once the data is locked");
    }
    scene.lock("researcher", id).await.unwrap();
    for who in ["nurse", "physician", "trial-pharmacist", "auditor"] {
        invalid(reveal(institute, who).await, "reveal seeds");
    }
    invalid(reveal(scene.hospital(), "researcher").await, "reveal seeds");
    // Another's seed: it is not what this party committed to.
    invalid(reveal(&scene.regulator, "auditor").await, "committed to");
    assert!(!told(), "the seed is in no call");
    assert!(reveal(institute, "researcher").await.is_err(), "this endpoint is no chain");
    assert!(told(), "whoever may reveal it now asks the contract");
}

/// The upper quantile of chi-square at 10^-6, by degrees of freedom: how seldom fair arms would go beyond. Nine
/// comparisons are made with these bounds, so fair arms would fail one of them in 1 of 111,111 choices of the
/// fixed seeds below; these have been chosen, and always give the same.
const CHI_SQUARE: [(usize, f64); 4] = [(1, 23.93), (2, 27.64), (8, 42.71), (15, 56.50)];

#[track_caller]
fn assert_fair(counts: &[u64]) {
    let freedom = counts.len() - 1;
    let (_, bound) = CHI_SQUARE.into_iter().find(|(known, _)| *known == freedom).unwrap();
    let total: u64 = counts.iter().sum();
    let expected = total as f64 / counts.len() as f64;
    assert!(expected > 1_000.0, "too few for the distribution to hold");
    let deviation = |count: &u64| (*count as f64 - expected).powi(2) / expected;
    let found: f64 = counts.iter().map(deviation).sum();
    assert!(found < bound, "chi-square of {found:.1} over {counts:?}");
}

fn word(name: &str, number: u64) -> B256 {
    secret(&format!("{name} {number}"))
}

fn account(number: u64) -> Address {
    Address::from_word(word("patient", number))
}

#[test]
fn no_arm_is_likelier_than_another() {
    let trial = secret("a trial");
    for arms in [2_u8, 3, 16] {
        let label = u64::from(arms);
        // Over subjects of one trial, with the seeds that it has.
        let seeds = [word("sponsor", label), word("custodian", label)];
        let mut counts = vec![0; usize::from(arms)];
        for number in 0..48_000 {
            let arm = arm_for(seeds, trial, account(number), word("nonce", number), arms);
            counts[usize::from(arm)] += 1;
        }
        assert_fair(&counts);
        // Over seeds, for one subject.
        let (patient, nonce) = (account(label), word("nonce", label));
        let mut counts = vec![0; usize::from(arms)];
        for number in 0..48_000 {
            let seeds = [word("sponsor", number), word("custodian", number)];
            counts[usize::from(arm_for(seeds, trial, patient, nonce, arms))] += 1;
        }
        assert_fair(&counts);
    }
}

#[test]
fn who_chooses_a_share_chooses_no_arm() {
    let trial = secret("a trial");
    // The sponsor tries seeds until one would give arm 0 to the first patients, had the regulator and they what it
    // thinks; then the shares are what they are.
    let (mut by_sponsor, mut by_patient) = ([0; 2], [0; 2]);
    for number in 0..4_000 {
        let (patient, nonce) = (account(number), word("nonce", number));
        let custodian = word("custodian", number);
        let guess = (word("guessed seed", number), word("guessed nonce", number));
        let tried = (0..).map(|attempt| word(&format!("seed for {number}"), attempt));
        let mut fits =
            tried.clone().filter(|seed| arm_for([*seed, guess.0], trial, patient, guess.1, 2) == 0);
        let chosen = fits.next().unwrap();
        by_sponsor[usize::from(arm_for([chosen, custodian], trial, patient, nonce, 2))] += 1;
        // A patient chooses a nonce likewise, knowing one seed and guessing the other.
        let sponsor = word("sponsor", number);
        let mut fits =
            tried.filter(|nonce| arm_for([sponsor, guess.0], trial, patient, *nonce, 2) == 0);
        let chosen = fits.next().unwrap();
        by_patient[usize::from(arm_for([sponsor, custodian], trial, patient, chosen, 2))] += 1;
    }
    assert_fair(&by_sponsor);
    assert_fair(&by_patient);
}

#[test]
fn the_arm_of_one_says_nothing_of_the_next() {
    let (trial, seeds) = (secret("a trial"), [secret("sponsor"), secret("custodian")]);
    let arm = |number| arm_for(seeds, trial, account(number), word("nonce", number), 3);
    let mut pairs = [0; 9];
    for number in 0..24_000 {
        pairs[usize::from(3 * arm(2 * number) + arm(2 * number + 1))] += 1;
    }
    assert_fair(&pairs);
}

#[test]
fn who_may_know_an_arm() {
    use ProfessionalRole::{Nurse, Pharmacist, Physician, Researcher};
    let mut table = String::new();
    for state in [State::Recruiting, State::Locked, State::Stopped, State::Unblinded] {
        for role in [Physician, Nurse, Pharmacist, Researcher] {
            let cell = |is_unblinded, is_of_site| {
                if may_know(state, is_unblinded, role, is_of_site) { "yes" } else { "no" }
            };
            table += &format!(
                "{:<10} {:<10} site {:<3} site, subject unblinded {:<3} elsewhere {:<3} {}\n",
                state.name(),
                role.name(),
                cell(false, true),
                cell(true, true),
                cell(false, false),
                cell(true, false),
            );
        }
    }
    let blinded = |state: &str| {
        format!(
            "{state:<10} physician  site no  site, subject unblinded yes elsewhere no  no\n\
             {state:<10} nurse      site no  site, subject unblinded no  elsewhere no  no\n\
             {state:<10} pharmacist site yes site, subject unblinded yes elsewhere no  no\n\
             {state:<10} researcher site no  site, subject unblinded no  elsewhere no  no\n"
        )
    };
    let mut expected: String = ["recruiting", "locked", "stopped"].map(blinded).concat();
    for role in ["physician", "nurse", "pharmacist", "researcher"] {
        expected += &format!(
            "unblinded  {role:<10} site yes site, subject unblinded yes elsewhere yes yes\n"
        );
    }
    assert_eq!(table, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_told_an_arm_but_who_may_know_it() {
    let scene = Scene::new().await;
    let (hospital, account) = (scene.hospital(), scene.patient.account());
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    scene.subject(&scene.patient, &dossier).await;
    let seeds = scene.seeds(id).await;
    let tell = async |who: &str| seeds.tell(hospital, scene.person(who), account).await;
    let arm = tell("trial-pharmacist").await.unwrap();
    for who in ["physician", "nurse", "consultant", "researcher", "auditor", "pharmacist"] {
        invalid(tell(who).await, "the trial is blinded");
    }
    scene.enter("nurse", &scene.patient, id).await.unwrap();
    scene.unblind("physician", id).await.unwrap();
    // Nothing that is sealed names it, so no reader finds it: neither screening, nor visit, nor unblinding.
    let keeper = &hospital.gatekeeper;
    let own = access::ask_as_patient(keeper, &scene.patient, KindSet::ALL, scene.now()).await;
    let own = own.unwrap().0;
    assert_eq!(own.records.len(), 3);
    let mut names = protocol().arms;
    names.push("arm".into());
    for found in &own.records {
        let said = found.body.get().to_lowercase();
        assert!(names.iter().all(|name| !said.contains(&name.to_lowercase())), "{said}");
    }
    assert_eq!(tell("physician").await.unwrap(), arm);
    for who in ["nurse", "consultant", "researcher"] {
        invalid(tell(who).await, "the trial is blinded");
    }
    // Whoever says that they are somebody else is asked about in the registry.
    let posing = Person { role: ProfessionalRole::Pharmacist, ..scene.person("nurse").clone() };
    invalid(seeds.tell(hospital, &posing, account).await, "the trial is blinded");
    let (_, subject) = trial::subject_of(hospital, id, account).await.unwrap();
    assert!(subject.unblinded, "the results show it");
    revoke(&scene, "physician").await;
    invalid(tell("physician").await, "no professional now");

    scene.lock("researcher", id).await.unwrap();
    scene.reveal(id).await;
    assert_eq!(tell("researcher").await.unwrap(), arm);
    assert_eq!(tell("nurse").await.unwrap(), arm);
}

/// The hospital takes somebody's accreditation away.
async fn revoke(scene: &Scene, who: &str) {
    let call = Registry::revokeAccreditationCall { member: scene.person(who).member };
    let registry = scene.world.at(Contract::Registry);
    scene.hospital().sender().send(registry, &call).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_serious_event_is_late_from_the_first_second_after_a_day() {
    let scene = Scene::new().await;
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    scene.subject(&scene.patient, &dossier).await;
    let aware_at = scene.now();
    let event = |is_serious| AdverseEvent { what: "a fall".into(), is_serious, aware_at };
    let future = AdverseEvent { aware_at: aware_at.after(HOUR), ..event(true) };
    refused_as(scene.report("nurse", id, &future).await, "NotYet");
    let empty = AdverseEvent { what: " ".into(), ..event(true) };
    invalid(scene.report("nurse", id, &empty).await, "is empty");

    scene.world.pass(DAY);
    let reported = scene.report("nurse", id, &event(true)).await.unwrap();
    assert!(!reported.is_late, "R7: the last second counts");
    scene.world.pass(std::time::Duration::from_secs(1));
    let late = scene.report("nurse", id, &event(true)).await.unwrap();
    assert!(late.is_late, "R7: the next one does not");
    let minor = scene.report("nurse", id, &event(false)).await.unwrap();
    assert!(!minor.is_late, "what is not serious has no clock");

    // The sponsor has a day, too.
    let overdue = async |number| trial::is_overdue(scene.hospital(), id, number).await.unwrap();
    scene.world.pass(DAY - std::time::Duration::from_secs(2));
    assert!(!overdue(reported.number).await);
    scene.world.pass(std::time::Duration::from_secs(1));
    assert!(overdue(reported.number).await && !overdue(late.number).await);
    scene.world.pass(std::time::Duration::from_secs(1));
    assert!(overdue(late.number).await && !overdue(minor.number).await);
    refused_as(scene.lock("researcher", id).await, "Unacknowledged");
    refused_as(scene.acknowledge("physician", id, late.number).await, "NotAllowed");
    refused_as(scene.acknowledge("researcher", id, minor.number).await, "NothingToAcknowledge");
    for number in [reported.number, late.number] {
        scene.acknowledge("researcher", id, number).await.unwrap();
        refused_as(scene.acknowledge("researcher", id, number).await, "NothingToAcknowledge");
        assert!(!overdue(number).await);
    }
    let none = trial::is_overdue(scene.hospital(), id, U256::from(3)).await;
    assert!(matches!(none, Err(WorkflowError::Unknown { .. })));
    let all = trial::adverse_events(scene.hospital(), id).await.unwrap();
    let said: Vec<_> = all.iter().map(|(event, _)| (event.serious, event.late)).collect();
    assert_eq!(said, [(true, false), (true, true), (false, false)]);
    scene.lock("researcher", id).await.unwrap();
    // Safety has no end.
    scene.report("physician", id, &event(true)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_of_another_trial_is_none_of_this() {
    let scene = Scene::new().await;
    let (patient, hospital) = (&scene.patient, scene.hospital());
    let (first, second) = (scene.recruiting().await, scene.recruiting().await);
    let nonce = scene.subject(patient, &first).await;
    let before = scene.versions().await;
    let id = second.trial;
    refused_as(scene.screen("physician", patient, &second, FITS).await, "WrongStanding");
    refused_as(scene.open(patient, id, &nonce).await, "WrongStanding");
    refused_as(scene.enter("nurse", patient, id).await, "WrongStanding");
    refused_as(scene.unblind("physician", id).await, "WrongStanding");
    let event = AdverseEvent { what: "a fall".into(), is_serious: true, aware_at: scene.now() };
    refused_as(scene.report("physician", id, &event).await, "WrongStanding");
    // The other trial's criteria do not serve, nor does a form of its consent.
    scene.consent(patient, &second, &nonce).await.unwrap();
    let mixed = Dossier { trial: id, ..first.clone() };
    invalid(scene.screen("physician", patient, &mixed, FITS).await, "no criteria to read");
    let mixed = of_trial(&first, id);
    refused_as(scene.screen("physician", patient, &mixed, FITS).await, "CriteriaDiffer");
    let physician = scene.person("physician");
    let other = &scene.other;
    let filed = trial::file_consent(hospital, physician, other, &second, scene.now()).await;
    invalid(filed, "says what the patient was told");
    assert_eq!(scene.versions().await, before, "what is refused leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_struck_off_enters_nothing_more_and_the_trial_goes_on() {
    let scene = Scene::new().await;
    let patient = &scene.patient;
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    scene.subject(patient, &dossier).await;
    scene.enter("nurse", patient, id).await.unwrap();
    revoke(&scene, "nurse").await;
    let before = scene.versions().await;
    refusal(scene.enter("nurse", patient, id).await);
    assert_eq!(scene.versions().await, before, "what is refused leaves nothing behind");
    scene.enter("physician", patient, id).await.unwrap();
    // A whole site that is voted out enters nothing more, and holds nobody up.
    scene.world.expel("hospital").await;
    refusal(scene.enter("physician", patient, id).await);
    let data = scene.lock("researcher", id).await.unwrap();
    assert_eq!(data.entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_goes_on_after_their_account_was_recovered() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let verifier = world.at(Contract::WebAuthnVerifier);
    let guardians = ["mother", "friend"].map(passkey);
    let signers: Vec<Bytes> = guardians.iter().map(|key| key.signer(verifier)).collect();
    let salt = secret("salt of the guardians");
    let create = PatientAccounts::createCall {
        guardians: guardians_digest(salt, 2, &signers),
        recoveryDelay: U24::from(86_400),
        ..ledger::creation(passkey("lost phone").signer(verifier), B256::ZERO)
    };
    let relay = world.sender("hospital");
    let made = relay.send(world.at(Contract::PatientAccounts), &create).await.unwrap();
    let account = made.events::<PatientAccounts::AccountCreated>()[0].account;
    let actor = |phone: &str| PatientActor {
        name: phone.into(),
        patient: Patient::new(account, verifier, passkey(phone)),
        secret: vault::SecretKey::derive(vault::Kem::X25519, &secret("on paper")),
    };
    let lost = actor("lost phone");
    world.relate("hospital", &lost, false).await;
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    let nonce = Nonce::derive(&lost, id);
    assert_ne!(nonce.expose(), Nonce::derive(&lost, secret("another trial")).expose());
    assert_ne!(nonce.expose(), Nonce::derive(&scene.patient, id).expose());
    scene.consent(&lost, &dossier, &nonce).await.unwrap();
    scene.screen("physician", &lost, &dossier, FITS).await.unwrap();

    let new_signer = passkey("new phone").signer(verifier);
    let until = world.now().after(HOUR);
    let message =
        Recover { newSigner: new_signer.clone(), nonce: U256::ZERO, deadline: deadline(until) };
    let digest = recover_digest(CHAIN_ID, account, &message);
    let propose = PatientAccount::proposeRecoveryCall {
        newSigner: new_signer.clone(),
        set: PatientAccount::GuardianSet { salt, threshold: 2, signers },
        deadline: deadline(until),
        signatures: guardians.iter().map(|key| key.sign(digest)).collect(),
    };
    relay.send(account, &propose).await.unwrap();
    world.pass(2 * DAY);
    let finish = PatientAccount::finishRecoveryCall { newSigner: new_signer };
    relay.send(account, &finish).await.unwrap();

    // The lost key opens nothing, the new one what the patient committed to with the old: the nonce was on no phone.
    refusal(scene.open(&lost, id, &nonce).await);
    let found = actor("new phone");
    scene.open(&found, id, &Nonce::derive(&found, id)).await.unwrap();
    scene.allocate("trial-pharmacist", &found, id).await.unwrap();
    scene.enter("nurse", &found, id).await.unwrap();
    trial::withdraw(scene.hospital(), &found, id, true, scene.now()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawal_is_final_and_its_data_is_not_used() {
    let scene = Scene::new().await;
    let (patient, other, hospital) = (&scene.patient, &scene.other, scene.hospital());
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    let nonce = scene.subject(patient, &dossier).await;
    scene.subject(other, &dossier).await;
    for one in [patient, other] {
        scene.enter("nurse", one, id).await.unwrap();
    }
    trial::withdraw(hospital, patient, id, false, scene.now()).await.unwrap();
    trial::withdraw(hospital, other, id, true, scene.now()).await.unwrap();
    // It never fails, and what was forbidden stays so.
    trial::withdraw(hospital, patient, id, true, scene.now()).await.unwrap();
    assert_eq!(scene.standing(id).await, Standing::Withdrawn);
    refused_as(scene.enter("nurse", patient, id).await, "WrongStanding");
    refused_as(scene.consent(patient, &dossier, &nonce).await, "WrongStanding");
    let event = AdverseEvent { what: "a fall".into(), is_serious: false, aware_at: scene.now() };
    scene.report("nurse", id, &event).await.unwrap();

    let data = scene.lock("researcher", id).await.unwrap();
    let usable: Vec<_> =
        data.entries.iter().map(|entry| (entry.patient, entry.is_usable)).collect();
    assert_eq!(usable, [(patient.account(), false), (other.account(), true)]);
    scene.reveal(id).await;
    let results = scene.publish(&dossier, outcomes()).await.unwrap();
    assert_eq!((results.entries, results.used), (2, 1));
    // Who forbids it later does not make results wrong that were there, and they can be had again.
    trial::withdraw(hospital, other, id, false, scene.now()).await.unwrap();
    assert_eq!(scene.check(&dossier, Some(&results)).await, []);
    assert_eq!(scene.publish(&dossier, outcomes()).await.unwrap(), results);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_form_is_filed_of_a_consent_that_does_not_stand() {
    let scene = Scene::new().await;
    let (patient, hospital) = (&scene.patient, scene.hospital());
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    let file = async |whom: &PatientActor, dossier: &Dossier| {
        let physician = scene.person("physician");
        trial::file_consent(hospital, physician, whom, dossier, scene.now()).await
    };
    scene.consent(patient, &dossier, &Nonce::derive(patient, id)).await.unwrap();
    let (institute, researcher) = (&scene.institute, scene.person("researcher"));
    let shorter = Protocol { description: "for eight weeks".into(), ..protocol() };
    let (amended, _) =
        trial::propose_amendment(institute, researcher, &dossier, &shorter).await.unwrap();
    let auditor = scene.person("auditor");
    trial::approve_amendment(&scene.regulator, auditor, &amended).await.unwrap();
    invalid(file(patient, &amended).await, "no consent of the patient to this version");
    let (first, _) = file(patient, &dossier).await.unwrap();
    scene.consent(patient, &amended, &Nonce::derive(patient, id)).await.unwrap();
    let (second, _) = file(patient, &amended).await.unwrap();
    assert_ne!(first.record, second.record, "each version has a form");
    trial::withdraw(hospital, patient, id, true, scene.now()).await.unwrap();
    let before = scene.versions().await;
    invalid(file(patient, &amended).await, "no consent of the patient to this version");

    let other = &scene.other;
    scene.consent(other, &amended, &Nonce::derive(other, id)).await.unwrap();
    trial::withdraw(hospital, other, id, true, scene.now()).await.unwrap();
    invalid(file(other, &amended).await, "no consent of the patient to this version");
    assert_eq!(scene.versions().await, before, "what is refused leaves nothing behind");
}

/// A researcher's wallet, which takes its time: a subject withdraws before it signs.
struct Slow {
    key: PrivateKeySigner,
    site: Gateway,
    subject: Mutex<Option<PatientActor>>,
    id: B256,
    now: Timestamp,
}

impl Wallet for Slow {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn submit(&self, transaction: TypedTransaction) -> Answering<'_, Submitted> {
        Box::pin(async move {
            let subject = self.subject.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(subject) = subject {
                trial::withdraw(&self.site, &subject, self.id, false, self.now).await.unwrap();
            }
            let signature = self.key.sign_hash_sync(&transaction.signature_hash()).unwrap();
            Ok(Submitted::Signature(signature))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_withdraws_while_results_are_signed_is_not_used() {
    let scene = Scene::new().await;
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    for one in [&scene.patient, &scene.other] {
        scene.subject(one, &dossier).await;
        scene.enter("nurse", one, id).await.unwrap();
    }
    scene.lock("researcher", id).await.unwrap();
    scene.reveal(id).await;
    let slow = Slow {
        key: wallet("researcher"),
        site: scene.hospital().clone(),
        subject: Mutex::new(Some(scene.world.patient("P002", passkey("P002")).await)),
        id,
        now: scene.now(),
    };
    let sender = Sender::elsewhere(scene.world.ledger.clone(), Arc::new(slow));
    let researcher = Person { sender, ..scene.person("researcher").clone() };
    let publish =
        async || trial::publish(&scene.institute, &researcher, &dossier, outcomes()).await;
    invalid(publish().await, "a subject withdrew meanwhile");
    assert_eq!(scene.state(id).await, State::Unblinded, "nothing was sent");
    let (results, _) = publish().await.unwrap();
    assert_eq!((results.entries, results.used), (2, 1));
    assert_eq!(scene.check(&dossier, Some(&results)).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_trial_stays_stopped() {
    let scene = Scene::new().await;
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    scene.subject(&scene.patient, &dossier).await;
    let auditor = scene.person("auditor");
    let (salt, step) = trial::stop(&scene.regulator, auditor, id, "too many events").await.unwrap();
    assert_eq!(step.operation, "trial.stop");
    // The reason can be shown to be these words, and cannot be guessed without the salt.
    let stopped = step_event(&scene, id).await;
    let digest = domain::RecordDigest::of(&[salt.as_slice(), b"too many events"].concat());
    assert_eq!(stopped, digest.0);
    assert_ne!(stopped, domain::RecordDigest::of(b"too many events").0);
    assert_eq!(scene.state(id).await, State::Stopped);
    refused_as(scene.enter("nurse", &scene.patient, id).await, "WrongState");
    refused_as(scene.lock("researcher", id).await, "WrongState");
    let nonce = Nonce::make(scene.hospital().gatekeeper.entropy());
    refused_as(scene.consent(&scene.other, &dossier, &nonce).await, "WrongState");
    trial::withdraw(scene.hospital(), &scene.patient, id, true, scene.now()).await.unwrap();
}

/// The reason's digest of a trial that was stopped.
async fn step_event(scene: &Scene, id: B256) -> B256 {
    use alloy_sol_types::SolEvent as _;
    let filter = alloy_rpc_types_eth::Filter::new()
        .address(scene.world.at(Contract::Trials))
        .event_signature(Trials::TrialStopped::SIGNATURE_HASH)
        .topic1(id)
        .from_block(0);
    let logs = scene.world.ledger.logs(&filter).await.unwrap();
    Trials::TrialStopped::decode_log(&logs[0].inner).unwrap().data.reason
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_tells_what_was_written() {
    let scene = Scene::new().await;
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    let (hospital, nurse) = (scene.hospital(), scene.person("nurse"));
    let item = |text: &str, finding| Item { key: "k".into(), text: text.into(), finding };
    let bad = [
        vec![],
        vec![item("planted", Finding::Is(true)); 101],
        vec![item("planted", Finding::Text(" ".into()))],
        vec![item("planted", Finding::Text("planted".repeat(1_000)))],
        vec![item("planted", Finding::Quantity { value: f64::NAN, unit: "planted".into() })],
        vec![item(&"planted".repeat(1_000), Finding::Is(true))],
        // The chain's word: no subject.
        vec![item("planted", Finding::Text("planted".into()))],
    ];
    for items in bad {
        let entered = trial::enter(hospital, nurse, &scene.patient, id, &items, scene.now()).await;
        let error = entered.unwrap_err();
        assert!(!format!("{error:?} {error}").contains("planted"), "{error:?}");
    }
    assert!(!format!("{:?}", Seed::from_bytes(secret("planted"))).contains("0x"));
    assert!(!format!("{:?}", Nonce::from_bytes(secret("planted"))).contains("0x"));
    assert_eq!(scene.versions().await, 0);
}

/// A whole trial with one site and one subject who comes once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trial_costs_what_the_file_says() {
    let scene = Scene::new().await;
    let (hospital, patient) = (scene.hospital(), &scene.patient);
    let journal = Journal::new(&scene.world);
    let dossier = scene.recruiting().await;
    let id = dossier.trial;
    // What a nonce is made of comes from a seed, so the gas is the same each time.
    let nonce = Nonce::make(hospital.gatekeeper.entropy());
    scene.consent(patient, &dossier, &nonce).await.unwrap();
    let physician = scene.person("physician");
    trial::file_consent(hospital, physician, patient, &dossier, scene.now()).await.unwrap();
    scene.screen("physician", patient, &dossier, FITS).await.unwrap();
    scene.open(patient, id, &nonce).await.unwrap();
    scene.allocate("trial-pharmacist", patient, id).await.unwrap();
    scene.enter("nurse", patient, id).await.unwrap();
    scene.lock("researcher", id).await.unwrap();
    scene.reveal(id).await;
    scene.publish(&dossier, outcomes()).await.unwrap();
    journal.assert_listed(
        &scene.world,
        "trial",
        "A trial with one site and one subject who comes once, from its protocol to its results.",
    );
}
