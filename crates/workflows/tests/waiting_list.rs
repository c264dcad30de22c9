//! Waiting lists: each step by who may take it, in the order that the contract draws, and a census whose
//! rows are provable and whose total comes out again (Q1 to Q5 of `WaitingLists.sol`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod journal;

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command, sync::Arc};

use alloy_consensus::{SignableTransaction as _, TypedTransaction};
use alloy_primitives::{Address, B256, U256};
use bindings::{Contract, WaitingLists};
use common::{DAY, HOUR, World, passkey, refusal, wallet};
use domain::Timestamp;
use gatekeeper::Actor;
use journal::Journal;
use ledger::{Answering, PrivateKeySigner, Sender, SignerSync as _, Submitted, Wallet};
use tempfile::TempDir;
use workflows::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    census::{self, Census, Reading, Reference, RowProof, StatedRow},
    waiting_list::{self, Listing, Referral, State},
};

/// Everybody who is no doctor of the hospital, the nurse last.
const OTHERS: [&str; 6] =
    ["scientist", "pharmacist", "paramedic", "officer", "consultant", "nurse"];

/// A consortium with one patient, whose records the hospital keeps.
struct Scene {
    world: World,
    patient: PatientActor,
    _dir: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let patient = world.patient("P001", passkey("P001")).await;
        world.relate("hospital", &patient, false).await;
        Self { world, patient, _dir: dir }
    }

    fn referral(&self) -> Referral {
        Referral::new(self.world.gateway("hospital"), "Cardiology", "palpitations")
    }

    async fn refer_as(
        &self,
        at: &str,
        who: &str,
        to: Address,
        referral: &Referral,
    ) -> Result<B256, WorkflowError> {
        let (from, person) = (self.world.gateway(at), self.world.person(who));
        let now = self.world.now();
        let referred = waiting_list::refer(from, person, &self.patient, to, referral, now).await?;
        steps_are_listed(&referred.1);
        Ok(referred.0.record.0)
    }

    async fn refer(&self, referral: &Referral) -> Result<B256, WorkflowError> {
        let hospital = self.world.gateway("hospital").member();
        self.refer_as("hospital", "physician", hospital, referral).await
    }

    async fn prioritise(&self, who: &str, id: B256, priority: u8) -> Result<(), WorkflowError> {
        let (hospital, person) = (self.world.gateway("hospital"), self.world.person(who));
        let step = waiting_list::prioritise(hospital, person, id, priority).await?;
        steps_are_listed(&[step]);
        Ok(())
    }

    /// Gives an appointment in an hour.
    async fn schedule(&self, who: &str, id: B256) -> Result<(), WorkflowError> {
        let (hospital, person) = (self.world.gateway("hospital"), self.world.person(who));
        let now = self.world.now();
        let scheduled =
            waiting_list::schedule(hospital, person, &self.patient, id, now.after(HOUR), now);
        steps_are_listed(&scheduled.await?.1);
        Ok(())
    }

    async fn attend(&self, who: &str, id: B256) -> Result<(), WorkflowError> {
        let (hospital, person) = (self.world.gateway("hospital"), self.world.person(who));
        let step = waiting_list::attend(hospital, person, id).await?;
        steps_are_listed(&[step]);
        Ok(())
    }

    async fn miss(&self, who: &str, id: B256) -> Result<(), WorkflowError> {
        let (hospital, person) = (self.world.gateway("hospital"), self.world.person(who));
        let step = waiting_list::miss(hospital, person, id).await?;
        steps_are_listed(&[step]);
        Ok(())
    }

    async fn remove(&self, who: &str, id: B256) -> Result<(), WorkflowError> {
        let (hospital, person) = (self.world.gateway("hospital"), self.world.person(who));
        let (patient, now) = (&self.patient, self.world.now());
        let removed =
            waiting_list::remove(hospital, person, patient, id, "no longer needed", now).await?;
        steps_are_listed(&removed.1);
        Ok(())
    }

    async fn leave(&self, patient: &PatientActor, id: B256) -> Result<(), WorkflowError> {
        let (hospital, now) = (self.world.gateway("hospital"), self.world.now());
        let left = waiting_list::leave(hospital, patient, id, "treated elsewhere", now).await?;
        steps_are_listed(&[left.1]);
        Ok(())
    }

    async fn listing(&self, id: B256) -> Listing {
        waiting_list::listing(self.world.gateway("hospital"), id).await.unwrap()
    }

    /// A listing that got as far as this.
    async fn listed(&self, state: State) -> B256 {
        let id = self.refer(&self.referral()).await.unwrap();
        if state == State::Removed {
            self.remove("physician", id).await.unwrap();
        } else if state != State::Listed {
            self.prioritise("physician", id, 2).await.unwrap();
            if state != State::Prioritised {
                self.schedule("nurse", id).await.unwrap();
            }
            if state == State::Attended {
                self.world.pass(HOUR);
                self.attend("nurse", id).await.unwrap();
            }
        }
        assert_eq!(self.listing(id).await.state, state);
        id
    }

    /// How much the hospital keeps, vault and chain agreeing.
    async fn versions(&self) -> u64 {
        let report = self.world.assert_clean("hospital").await;
        assert_eq!(report.versions, report.anchors);
        report.versions
    }
}

/// Every step's operation has its gas in the table.
#[track_caller]
fn steps_are_listed(steps: &[Step]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../contracts/gas.json");
    let listed: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
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

/// The wallet of somebody who takes their time: before they sign, the patient leaves the list.
struct Slow {
    key: PrivateKeySigner,
    hospital: Gateway,
    patient: PatientActor,
    id: B256,
    now: Timestamp,
}

impl Wallet for Slow {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn submit(&self, transaction: TypedTransaction) -> Answering<'_, Submitted> {
        Box::pin(async move {
            let Self { key, hospital, patient, id, now } = self;
            waiting_list::leave(hospital, patient, *id, "treated elsewhere", *now).await.unwrap();
            let signature = key.sign_hash_sync(&transaction.signature_hash()).unwrap();
            Ok(Submitted::Signature(signature))
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_a_step_that_is_refused_in_the_end_is_taken_back() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let id = scene.refer(&scene.referral()).await.unwrap();
    scene.prioritise("physician", id, 2).await.unwrap();
    let (hospital, now) = (world.gateway("hospital"), world.now());
    let slow = Slow {
        key: wallet("nurse"),
        hospital: hospital.clone(),
        patient: world.patient("P001", passkey("P001")).await,
        id,
        now,
    };
    let sender = Sender::elsewhere(world.ledger.clone(), Arc::new(slow));
    let nurse = Person { sender, ..world.person("nurse").clone() };
    let at = now.after(HOUR);
    let late = waiting_list::schedule(hospital, &nurse, &scene.patient, id, at, now).await;
    refused_as(late.map(|_| ()), "WrongState");
    hospital.gatekeeper.refresh(now).await.unwrap();
    let timeline = hospital.gatekeeper.patient_timeline(scene.patient.account()).await.unwrap();
    let last = &timeline.steps.last().unwrap().what;
    assert_eq!(last, "record withdrawn");
    let report = world.assert_clean("hospital").await;
    assert_eq!(report.versions, report.anchors);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_patient_is_referred_misses_one_appointment_and_attends_the_next() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let begun = world.now();
    let referral = scene.referral();
    let id = scene.refer(&referral).await.unwrap();
    let listed = scene.listing(id).await;
    assert_eq!((listed.state, listed.priority, listed.appointment_at), (State::Listed, None, None));
    assert_eq!((listed.patient, listed.listed_at), (scene.patient.account(), begun));
    assert_eq!(listed.referrer, world.person("physician").member);

    scene.prioritise("physician", id, 3).await.unwrap();
    scene.prioritise("physician", id, 1).await.unwrap();
    assert_eq!(scene.listing(id).await.priority, Some(1));
    world.pass(30 * DAY);
    scene.schedule("nurse", id).await.unwrap();
    scene.schedule("physician", id).await.unwrap();
    assert_eq!(scene.listing(id).await.appointment_at, Some(world.now().after(HOUR)));
    refused_as(scene.attend("nurse", id).await, "InvalidTime");
    refused_as(scene.miss("nurse", id).await, "InvalidTime");
    world.pass(HOUR);
    scene.miss("nurse", id).await.unwrap();
    let missed = scene.listing(id).await;
    assert_eq!((missed.state, missed.missed, missed.appointment_at), (State::Prioritised, 1, None));
    scene.schedule("nurse", id).await.unwrap();
    world.pass(HOUR);
    scene.attend("nurse", id).await.unwrap();
    let attended = scene.listing(id).await;
    // Q2: waiting is counted from the first day.
    assert_eq!((attended.state, attended.listed_at), (State::Attended, begun));
    // The referral, and three appointments.
    assert_eq!(scene.versions().await, 4);

    let keeper = &world.gateway("hospital").gatekeeper;
    keeper.refresh(world.now()).await.unwrap();
    let timeline = keeper.patient_timeline(scene.patient.account()).await.unwrap();
    assert!(timeline.is_checked());
    let (physician, nurse) = (world.person("physician").member, world.person("nurse").member);
    let told: Vec<_> = timeline
        .steps
        .iter()
        .filter(|step| step.contract == Contract::WaitingLists.name())
        .map(|step| {
            assert_eq!(step.subject, Some(id));
            (step.what.split(['0', '1', '2', '3']).next().unwrap().trim(), step.actor)
        })
        .collect();
    let expected = [
        ("referred to the waiting list of", physician),
        ("waits with priority", physician),
        ("waits with priority", physician),
        ("appointment at", nurse),
        ("appointment at", physician),
        ("did not come to the appointment, time", nurse),
        ("appointment at", nurse),
        ("came to the appointment, after", nurse),
    ];
    assert_eq!(told, expected.map(|(what, who)| (what, Actor::Member(who))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_refused_to_everybody_else() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let hospital = world.gateway("hospital").member();
    let before = scene.versions().await;
    for (who, at) in [
        ("nurse", "hospital"),
        ("scientist", "laboratory"),
        ("pharmacist", "pharmacy"),
        ("paramedic", "emergency"),
        ("officer", "emergency"),
    ] {
        let referred = scene.refer_as(at, who, hospital, &scene.referral()).await;
        refused_as(referred, "NotAllowed");
    }
    // A doctor, but of an institution that keeps nothing of the patient.
    let referred = scene.refer_as("emergency", "consultant", hospital, &scene.referral()).await;
    refused_as(referred, "NotActive");
    let laboratory = world.gateway("laboratory").member();
    let referred = scene.refer_as("hospital", "physician", laboratory, &scene.referral()).await;
    refused_as(referred, "NotHospital");
    assert_eq!(scene.versions().await, before, "what is refused leaves nothing behind");

    let id = scene.listed(State::Listed).await;
    for who in OTHERS {
        refused_as(scene.prioritise(who, id, 1).await, "NotAllowed");
        refused_as(scene.remove(who, id).await, "NotAllowed");
    }
    for priority in [0, 5, 255] {
        refused_as(scene.prioritise("physician", id, priority).await, "InvalidPriority");
    }
    scene.prioritise("physician", id, 4).await.unwrap();
    let [others @ .., "nurse"] = OTHERS.as_slice() else { unreachable!("the nurse is last") };
    for who in others {
        refused_as(scene.schedule(who, id).await, "NotAllowed");
    }
    let (physician, now) = (world.person("physician"), world.now());
    let keeper = world.gateway("hospital");
    for wrong in [domain::Timestamp(now.0 - 1), now.after(733 * DAY)] {
        let patient = &scene.patient;
        let scheduled = waiting_list::schedule(keeper, physician, patient, id, wrong, now).await;
        refused_as(scheduled, "InvalidTime");
    }
    let before = scene.versions().await;
    scene.schedule("nurse", id).await.unwrap();
    assert_eq!(scene.versions().await, before + 1);
    world.pass(HOUR);
    for who in others {
        refused_as(scene.attend(who, id).await, "NotAllowed");
        refused_as(scene.miss(who, id).await, "NotAllowed");
    }

    // Nobody's record is sealed to somebody else, and nobody else leaves.
    let other = world.patient("P002", passkey("P002")).await;
    world.relate("hospital", &other, false).await;
    let at = world.now().after(HOUR);
    let wrong = waiting_list::schedule(keeper, physician, &other, id, at, world.now()).await;
    assert!(matches!(wrong, Err(WorkflowError::Invalid(_))));
    let wrong = waiting_list::remove(keeper, physician, &other, id, "why", world.now()).await;
    assert!(matches!(wrong, Err(WorkflowError::Invalid(_))));
    refusal(scene.leave(&other, id).await);
    assert_eq!(scene.listing(id).await.state, State::Scheduled);
    assert_eq!(scene.versions().await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_refused_in_every_other_state() {
    use State::{Attended, Listed, Prioritised, Removed, Scheduled};
    let scene = Scene::new().await;
    for state in [Listed, Prioritised, Scheduled, Attended, Removed] {
        let id = scene.listed(state).await;
        scene.world.pass(HOUR);
        let before = scene.versions().await;
        if !matches!(state, Listed | Prioritised) {
            refused_as(scene.prioritise("physician", id, 1).await, "WrongState");
        }
        if !matches!(state, Prioritised | Scheduled) {
            refused_as(scene.schedule("nurse", id).await, "WrongState");
        }
        if state != Scheduled {
            refused_as(scene.attend("nurse", id).await, "WrongState");
            refused_as(scene.miss("nurse", id).await, "WrongState");
        }
        if matches!(state, Attended | Removed) {
            refused_as(scene.remove("physician", id).await, "WrongState");
            refused_as(scene.leave(&scene.patient, id).await, "WrongState");
        }
        assert_eq!(scene.listing(id).await.state, state);
        assert_eq!(scene.versions().await, before);
        if !matches!(state, Attended | Removed) {
            scene.leave(&scene.patient, id).await.unwrap();
            assert_eq!(scene.listing(id).await.state, Removed);
        }
    }
    let unknown = B256::repeat_byte(7);
    refused_as(scene.prioritise("physician", unknown, 1).await, "WrongState");
    let listing = waiting_list::listing(scene.world.gateway("hospital"), unknown).await;
    assert!(matches!(listing, Err(WorkflowError::Unknown { .. })));
}

/// Q1: also when two doctors try at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_referral_is_listed_once_at_a_time() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let hospital = world.gateway("hospital").member();
    world.relate("emergency", &scene.patient, false).await;
    let referral = scene.referral();
    let (one, other) = tokio::join!(
        scene.refer(&referral),
        scene.refer_as("emergency", "consultant", hospital, &referral)
    );
    assert!(one.is_ok() != other.is_ok(), "exactly one is on the list: {one:?} {other:?}");
    let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
    refused_as(lost, "StillLive");
    let first = won.unwrap();
    refused_as(scene.refer(&referral).await, "StillLive");
    let another = scene.refer(&scene.referral()).await.unwrap();
    assert_ne!(another, first);
    scene.leave(&scene.patient, first).await.unwrap();
    let second = scene.refer(&referral).await.unwrap();
    assert_ne!(second, first);
    refused_as(scene.refer(&referral).await, "StillLive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_referred_from_elsewhere_can_end_the_waiting() {
    let scene = Scene::new().await;
    let world = &scene.world;
    world.relate("emergency", &scene.patient, false).await;
    let (from, consultant) = (world.gateway("emergency"), world.person("consultant"));
    let hospital = world.gateway("hospital").member();
    let id = scene.refer_as("emergency", "consultant", hospital, &scene.referral()).await.unwrap();
    refused_as(scene.prioritise("consultant", id, 1).await, "NotAllowed");
    scene.prioritise("physician", id, 1).await.unwrap();
    let (patient, now) = (&scene.patient, world.now());
    let removed = waiting_list::remove(from, consultant, patient, id, "recovered", now).await;
    steps_are_listed(&removed.unwrap().1);
    assert_eq!(scene.listing(id).await.state, State::Removed);
    world.assert_clean("emergency").await;
}

const ROWS: &str = "Archive_Date,Hospital_HIPE,Specialty_HIPE,Speciality,Adult_Child,Age_Profile,\
                    Time_Bands,Total\n\
                    31/01/2024,0999,0100,Cardiology,Adult,16-64, 0-3 Months,41\n\
                    31/01/2024,0999,0100,Cardiology,Adult,65+,18 Months +,58\n\
                    31/01/2024,0999,0600,ENT,Child,0-15, 0-3 Months,37\n\
                    31/01/2024,0999,NULL,Rare,,, 0-3 Months,1\n\
                    31/01/2024,0999,0600,ENT,Child,0-15, 0-3 Months,37\n";

#[track_caller]
fn census_of(text: &str) -> Census {
    let mut reading = Reading::default();
    reading.read("made-up.csv", text.as_bytes(), None);
    assert_eq!(reading.problems, []);
    let mut censuses = Census::all_of(reading.entries);
    assert_eq!(censuses.len(), 1);
    censuses.remove(0)
}

/// Whether the contract finds the total of these rows to be what was published.
async fn is_total(world: &World, reference: &Reference, census: &Census) -> bool {
    let call = WaitingLists::isTotalCall {
        publisher: reference.publisher,
        hospital: reference.hospital.to_word(),
        month: reference.month.number(),
        version: U256::from(reference.version),
        rows: census.entries().iter().map(|entry| entry.stated().to_row()).collect(),
    };
    world.ledger.call(world.at(Contract::WaitingLists), &call, Default::default()).await.unwrap()
}

/// Whether the contract finds the row in the census.
async fn is_row(world: &World, proof: &RowProof) -> bool {
    let census = &proof.census;
    let call = WaitingLists::isRowCall {
        publisher: census.publisher,
        hospital: census.hospital.to_word(),
        month: census.month.number(),
        version: U256::from(census.version),
        number: proof.number,
        row: proof.row.to_row(),
        proof: proof.proof.clone(),
    };
    world.ledger.call(world.at(Contract::WaitingLists), &call, Default::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_of_a_census_is_provable_and_no_other() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let hospital = world.gateway("hospital");
    let census = census_of(ROWS);
    let (reference, step) = census::anchor(hospital, &census).await.unwrap();
    steps_are_listed(&[step]);
    assert_eq!((reference.version, reference.publisher), (1, hospital.member()));
    let anchored = census::anchored(hospital, &reference).await.unwrap();
    assert_eq!(anchored.sum, census.sum().unwrap());
    assert_eq!((anchored.sum.rows, anchored.sum.total), (5, 174));
    assert_eq!(anchored.published_at, world.now());

    // Whoever reads the chain elsewhere finds the same.
    let reader = world.gateway("laboratory");
    for number in 0..anchored.sum.rows {
        let proof = census.prove(&reference, number).unwrap();
        let text = serde_json::to_string(&proof).unwrap();
        let proof: RowProof = serde_json::from_str(&text).unwrap();
        assert!(census::verify(reader, &proof).await.unwrap());
        assert!(is_row(world, &proof).await);
        let more = StatedRow { count: proof.row.count + 1, ..proof.row.clone() };
        let mut other = proof.row.clone();
        other.band.time = "9-12 Months".into();
        for row in [more, other] {
            let forged = RowProof { row, ..proof.clone() };
            assert!(!census::verify(reader, &forged).await.unwrap());
            assert!(!is_row(world, &forged).await);
        }
        let moved = RowProof { number: proof.number + 1, ..proof.clone() };
        assert!(!census::verify(reader, &moved).await.unwrap());
        assert!(!is_row(world, &moved).await);
        let census = Reference { version: 2, ..reference.clone() };
        let elsewhere = RowProof { census, ..proof };
        let unknown = census::verify(reader, &elsewhere).await;
        assert!(matches!(unknown, Err(WorkflowError::Unknown { .. })));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_a_missing_and_an_added_row_are_found() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let hospital = world.gateway("hospital");
    let census = census_of(ROWS);
    let (reference, _) = census::anchor(hospital, &census).await.unwrap();
    let line = "31/01/2024,0999,0600,ENT,Child,0-15, 0-3 Months,37\n";
    let cases = [
        (ROWS.to_owned(), (0, 0, 0)),
        (ROWS.replacen(",41\n", ",42\n", 1), (1, 0, 0)),
        // One person moved: the total is the same, the root is not.
        (ROWS.replacen(",41\n", ",42\n", 1).replacen(",58\n", ",57\n", 1), (2, 0, 0)),
        (ROWS.replacen(line, "", 1), (0, 1, 0)),
        (format!("{ROWS}{line}"), (0, 0, 1)),
        (ROWS.replacen("0100", "0101", 1), (0, 1, 1)),
        (ROWS.replacen("Rare", "Other", 1), (0, 1, 1)),
    ];
    for (text, expected) in cases {
        let other = census_of(&text);
        let recount = census::recount(hospital, &reference, &other).await.unwrap();
        assert_eq!(recount.is_same(), expected == (0, 0, 0), "{text}");
        assert_eq!(is_total(world, &reference, &other).await, recount.is_same(), "{text}");
        let found = census.differences(&other);
        let counts = (found.changed.len(), found.missing.len(), found.added.len());
        assert_eq!(counts, expected, "{text}");
    }

    // Q4: a correction stands beside what it corrects.
    let corrected = census_of(&ROWS.replacen(",41\n", ",42\n", 1));
    let (second, _) = census::anchor(hospital, &corrected).await.unwrap();
    assert_eq!(second.version, 2);
    let (number, month) = (census.hospital(), census.month());
    let newest = census::versions(hospital, hospital.member(), number, month).await.unwrap();
    assert_eq!(newest, 2);
    assert!(census::recount(hospital, &reference, &census).await.unwrap().is_same());
    assert!(census::recount(hospital, &second, &corrected).await.unwrap().is_same());
    assert!(!census::recount(hospital, &second, &census).await.unwrap().is_same());

    let elsewhere = census_of(&ROWS.replace("0999", "0998"));
    let wrong = census::recount(hospital, &reference, &elsewhere).await;
    assert!(matches!(wrong, Err(WorkflowError::Invalid(_))));
    let future = census_of(&ROWS.replace("31/01/2024", "28/02/2027"));
    refused_as(census::anchor(hospital, &future).await, "InvalidMonth");
}

/// A published file, unpacked; nothing where the data or the program xz is not there.
fn published(name: &str) -> Option<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/ntpf");
    let unpacked = Command::new("xz").arg("-dc").arg(path.join(name)).output().ok()?;
    unpacked.status.success().then_some(unpacked.stdout)
}

/// Rows and people of each, as the data's own notes and a reader of another make count them.
const PUBLISHED: [(&str, usize, u64); 5] = [
    ("OP Waiting List By Group Hospital 2020 (Jan only).csv.xz", 6_706, 556_770),
    ("op_2018_hospital_recovered.csv.xz", 82_953, 6_127_911),
    ("Op_WL 2019.csv.xz", 80_236, 6_667_542),
    ("IN_WL 2018.csv.xz", 55_377, 911_582),
    ("IN_WL 2021.csv.xz", 15_887, 242_365),
];

#[test]
fn published_files_are_read_whole() {
    for (name, rows, people) in PUBLISHED {
        let Some(bytes) = published(name) else {
            println!("SKIPPED: ../shared/data or the program xz is not there");
            return;
        };
        let mut reading = Reading::default();
        reading.read(name, &bytes, Some(&"0999".parse().unwrap()));
        assert_eq!(reading.problems, [], "{name}");
        let total: u64 = reading.entries.iter().map(|entry| u64::from(entry.count)).sum();
        assert_eq!((reading.entries.len(), total), (rows, people), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_month_is_anchored_and_its_total_comes_out_again() {
    let (name, rows, people) = PUBLISHED[0];
    let Some(bytes) = published(name) else {
        println!("SKIPPED: ../shared/data or the program xz is not there");
        return;
    };
    let scene = Scene::new().await;
    let world = &scene.world;
    let hospital = world.gateway("hospital");
    let mut reading = Reading::default();
    reading.read(name, &bytes, None);
    let censuses = Census::all_of(reading.entries);
    assert_eq!(censuses.len(), 44);
    let (mut total, mut count) = (0, 0);
    for census in &censuses {
        let (reference, _) = census::anchor(hospital, census).await.unwrap();
        assert_eq!(reference.month.number(), 202_001);
        let recount = census::recount(hospital, &reference, census).await.unwrap();
        assert!(recount.is_same());
        assert!(is_total(world, &reference, census).await);
        total += recount.published.total;
        count += usize::try_from(recount.published.rows).unwrap();
        let last = census.sum().unwrap().rows - 1;
        for number in [0, last / 2, last] {
            let proof = census.prove(&reference, number).unwrap();
            assert!(census::verify(hospital, &proof).await.unwrap());
            assert!(is_row(world, &proof).await);
        }
    }
    assert_eq!((count, total), (rows, people));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_costs_what_the_file_says() {
    let scene = Scene::new().await;
    let journal = Journal::new(&scene.world);
    let id = scene.refer(&scene.referral()).await.unwrap();
    scene.prioritise("physician", id, 2).await.unwrap();
    scene.schedule("nurse", id).await.unwrap();
    scene.world.pass(HOUR);
    scene.attend("nurse", id).await.unwrap();
    journal.assert_listed(
        &scene.world,
        "waiting-list",
        "A patient is referred, prioritised, given an appointment, and comes.",
    );
}
