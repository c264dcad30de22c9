//! Devices: attested, bound by consent, and every batch of readings that they sign (V1 to V7 of
//! `Devices.sol`), a simulated fleet included.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod journal;

use std::time::{Duration, Instant};

use alloy_primitives::{B256, U256, aliases::U24};
use bindings::{
    PatientAccount, PatientAccounts,
    patient_account::{Recover, deadline, guardians_digest, recover_digest},
};
use common::{CHAIN_ID, DAY, HOUR, World, address, passkey, refusal, secret, wallet};
use domain::{InstitutionRole, Kind, KindSet, ProfessionalRole, Timestamp};
use journal::Journal;
use ledger::{Patient, PatientKey};
use tempfile::TempDir;
use vault::{Kem, SecretKey};
use workflows::{
    Gateway, PatientActor, Step, WorkflowError, access,
    device::{
        self, Described, DeviceKey, Limit, Machine, Measured, Model, Offered, Plan, Position,
        ReadingsRecord, Samples, SignedBatch, Terms,
        simulator::{Settings, Simulation},
    },
    record,
};
use zeroize::Zeroizing;

/// A hospital that runs devices of a maker, under a regulator, and a patient whose records it keeps.
struct Scene {
    world: World,
    maker: Gateway,
    regulator: Gateway,
    patient: PatientActor,
    _dir: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let maker = world.admit("maker", InstitutionRole::DeviceMaker).await;
        let regulator = world.admit("regulator", InstitutionRole::Regulator).await;
        let patient = world.patient("P001", passkey("P001")).await;
        world.relate("hospital", &patient, false).await;
        let keeper = &world.gateway("hospital").gatekeeper;
        let physician = world.person("physician").member;
        keeper.join_care_team(patient.account(), physician, world.now()).await.unwrap();
        device::accept_firmware(&maker, &model(), "1.0").await.unwrap();
        Self { world, maker, regulator, patient, _dir: dir }
    }

    fn hospital(&self) -> &Gateway {
        self.world.gateway("hospital")
    }

    async fn enrolled(&self, name: &str) -> Machine {
        let machine = machine(name);
        device::register(self.hospital(), &machine).await.unwrap();
        let attested = device::attest(&self.maker, &machine, self.world.now()).await.unwrap();
        device::enrol(self.hospital(), &machine, &attested).await.unwrap();
        machine
    }

    fn terms(&self) -> Terms {
        Terms { until: self.world.now().after(30 * DAY), gap: 3_600 }
    }

    /// Orders, offers and accepts.
    async fn bind(&self, machine: &Machine, patient: &PatientActor) -> Position {
        let (hospital, now) = (self.hospital(), self.world.now());
        let (physician, terms) = (self.world.person("physician"), self.terms());
        device::order(hospital, physician, patient, machine.member, &plan(), terms, now)
            .await
            .unwrap();
        let (binding, _) =
            device::offer(hospital, patient.account(), machine.member, terms).await.unwrap();
        device::accept_binding(hospital, patient, machine.member, binding, now).await.unwrap();
        self.position(machine).await
    }

    async fn bound(&self, name: &str) -> (Machine, Position) {
        let machine = self.enrolled(name).await;
        let position = self.bind(&machine, &self.patient).await;
        (machine, position)
    }

    async fn position(&self, machine: &Machine) -> Position {
        let held = device::standing(self.hospital(), machine.member).await.unwrap();
        held.position(machine.member)
    }

    /// What the device says of the time from its last batch to now, in samples of a minute.
    fn sign(&self, machine: &Machine, position: &Position, values: &[&str]) -> SignedBatch {
        self.sign_from(machine, position, position.since, values)
    }

    fn sign_from(
        &self,
        machine: &Machine,
        position: &Position,
        from: Timestamp,
        values: &[&str],
    ) -> SignedBatch {
        let (hospital, seed) = (self.hospital(), secret(&format!("seed {}", position.sequence)));
        SignedBatch::sign(machine, hospital, position, &plan(), from, series(values), seed).unwrap()
    }

    async fn bring(&self, signed: &SignedBatch) -> Result<Vec<Step>, WorkflowError> {
        let now = self.world.now();
        let (_, steps) =
            device::bring(self.hospital(), &self.patient, &plan(), signed, now).await?;
        Ok(steps)
    }

    /// Waits until so many samples were taken, and brings them.
    async fn measure(&self, machine: &Machine, values: &[&str]) -> Vec<Step> {
        let position = self.position(machine).await;
        self.world.pass(MINUTE * u32::try_from(values.len()).unwrap());
        self.bring(&self.sign(machine, &position, values)).await.unwrap()
    }

    /// What the hospital sealed and anchored, which must agree.
    async fn versions(&self) -> u64 {
        let report = self.world.assert_clean("hospital").await;
        assert_eq!(report.versions, report.anchors);
        report.versions
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn model() -> Model {
    Model { maker: address("maker"), name: "Patch 1".into() }
}

fn key(name: &str) -> DeviceKey {
    DeviceKey::from_secret(&secret(name).0).unwrap()
}

fn machine(name: &str) -> Machine {
    Machine::new(key(name), model(), format!("SN-{name}"), "1.0")
}

/// The heart rate each minute, with the usual range of 51 to 90.
fn plan() -> Plan {
    Plan::usual(&["heart-rate"], 60).unwrap()
}

fn series(values: &[&str]) -> Vec<Samples> {
    let values = values.iter().map(|value| Measured::parse(value)).collect();
    vec![Samples { metric: "8867-4".into(), values }]
}

fn operations(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.operation).collect()
}

#[track_caller]
fn refused_as<T>(outcome: Result<T, WorkflowError>, reason: &str) {
    let text = refusal(outcome);
    assert!(text.contains(reason), "{text}");
}

/// The checker refuses before the chain is asked.
#[track_caller]
fn invalid<T>(outcome: Result<T, WorkflowError>, reason: &str) {
    match outcome {
        Err(WorkflowError::Invalid(text)) => assert!(text.contains(reason), "{text}"),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_is_attested_bound_and_every_reading_is_provable() {
    let scene = Scene::new().await;
    let (hospital, patient, now) = (scene.hospital(), &scene.patient, scene.world.now());
    let machine = scene.enrolled("patch").await;
    let (physician, nurse) = (scene.world.person("physician"), scene.world.person("nurse"));
    let limits = vec![
        Limit::usual("heart-rate").unwrap(),
        Limit::of(
            "body-temperature",
            Measured::parse("35.5").unwrap(),
            Measured::parse("38.5").unwrap(),
            "the ward's own",
        )
        .unwrap(),
    ];
    let plan = Plan::new(limits, 60).unwrap();
    let terms = scene.terms();
    let (order, _) = device::order(hospital, physician, patient, machine.member, &plan, terms, now)
        .await
        .unwrap();
    let (binding, _) =
        device::offer(hospital, patient.account(), machine.member, terms).await.unwrap();
    assert_eq!(device::plan_record(machine.member, binding, patient.account()), order.record);
    let opened = record::verify(hospital, patient, &order).await.unwrap();
    assert!(String::from_utf8(opened).unwrap().contains("the ward's own"));
    let step =
        device::accept_binding(hospital, patient, machine.member, binding, now).await.unwrap();
    assert_eq!(step.operation, "device.accept-binding");
    let described = Described::of(&machine, "Maker of patches");
    let (_, steps) = device::file(hospital, nurse, patient, &described, &plan, now).await.unwrap();
    assert_eq!(steps.len(), 3);
    let read = device::plan_of(
        hospital,
        physician.member,
        patient.account(),
        (machine.member, binding),
        now,
    );
    assert_eq!(read.await.unwrap(), plan);

    // Three minutes of two metrics, once nothing, twice out of range.
    scene.world.pass(3 * MINUTE);
    let position = scene.position(&machine).await;
    let values = |metric: &str, values: [&str; 3]| Samples {
        metric: metric.into(),
        values: values.map(Measured::parse).into(),
    };
    let series =
        vec![values("8867-4", ["72", "", "140"]), values("8310-5", ["36.6", "36.7", "39"])];
    let (from, seed) = (position.since, secret("a seed"));
    let signed =
        SignedBatch::sign(&machine, hospital, &position, &plan, from, series, seed).unwrap();
    assert_eq!((signed.count, signed.out_of_range), (5, 2));
    assert!(!format!("{signed:?}").contains("140"), "{signed:?}");
    // It comes as JSON from the device.
    let text = serde_json::to_string(&signed).unwrap();
    let signed: SignedBatch = serde_json::from_str(&text).unwrap();
    let now = scene.world.now();
    let (record, steps) = device::bring(hospital, patient, &plan, &signed, now).await.unwrap();
    assert_eq!(operations(&steps), ["record.propose", "device.anchor-alert"]);
    assert_eq!(record, device::batch_record(machine.member, signed.root));
    let anchored = device::anchored(hospital, machine.member, Some(0)).await.unwrap();
    assert_eq!((anchored[0].root, anchored[0].count), (signed.root, 5));
    // Order, device, two metrics, batch.
    assert_eq!(scene.versions().await, 5);

    // The patient opens all of it, and it is R4.
    let keeper = &hospital.gatekeeper;
    let (answered, _) = access::ask_as_patient(keeper, patient, KindSet::ALL, now).await.unwrap();
    assert_eq!(answered.records.len(), 5);
    for found in &answered.records {
        let resource: serde_json::Value = serde_json::from_str(found.body.get()).unwrap();
        let issues = r4::validate(&resource);
        assert!(issues.is_empty(), "{} {issues:?}", resource["resourceType"]);
    }
    let batch = answered.records.iter().find(|found| found.record == record).unwrap();
    assert_eq!(batch.kind, Kind::VitalSign);

    // Each reading is proven by itself, and no other.
    let readings = ReadingsRecord::parse(batch.body.get().as_bytes()).unwrap();
    assert_eq!(readings.readings().count(), 5);
    for index in 0..5 {
        let proof = readings.prove(index).unwrap();
        assert!(device::verify(hospital, &proof).await.unwrap());
        let text = serde_json::to_string(&proof).unwrap();
        let mut forged: device::ReadingProof = serde_json::from_str(&text).unwrap();
        forged.reading.value = Measured::parse("73").unwrap();
        assert!(!device::verify(hospital, &forged).await.unwrap());
        let mut later = proof.clone();
        later.reading.time = later.reading.time.after(MINUTE);
        assert!(!device::verify(hospital, &later).await.unwrap());
        let elsewhere = device::ReadingProof { sequence: 1, ..proof.clone() };
        assert!(!device::verify(hospital, &elsewhere).await.unwrap());
        let long = device::ReadingProof { proof: vec![B256::ZERO; 99], ..proof };
        assert!(!device::verify(hospital, &long).await.unwrap());
    }
    assert!(readings.prove(5).is_none());
    assert!(!format!("{readings:?}").contains("72"));

    // The alert is seen, and the timelines have every step.
    device::acknowledge(hospital, nurse, machine.member, 0).await.unwrap();
    device::unbind_by_patient(hospital, patient, machine.member, now).await.unwrap();
    device::decommission(hospital, machine.member).await.unwrap();
    keeper.refresh(now).await.unwrap();
    let told = |timeline: &gatekeeper::Timeline| -> Vec<String> {
        assert!(timeline.is_checked());
        timeline
            .steps
            .iter()
            .filter(|step| step.contract != "Records")
            .map(|step| step.what.clone())
            .collect()
    };
    let timeline = told(&keeper.timeline(machine.member.into_word()).await.unwrap());
    let begins = [
        "device entered",
        "device enrolled",
        "offered to be measured",
        "measured by",
        "5 readings anchored, batch 0",
        "alert: 2 readings of batch 0",
        "alert of batch 0 acknowledged",
        "measured by",
        "device put out of force",
    ];
    assert_eq!(timeline.len(), begins.len(), "{timeline:?}");
    for (line, begin) in timeline.iter().zip(begins) {
        assert!(line.starts_with(begin), "{line}");
    }
    let timeline = told(&keeper.patient_timeline(patient.account()).await.unwrap());
    assert!(timeline.iter().any(|line| line == "alert of batch 0 acknowledged"), "{timeline:?}");
    let timeline = told(&keeper.timeline(model().id()).await.unwrap());
    assert_eq!(timeline, ["firmware accepted for a model"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enrolment_takes_maker_device_and_operator() {
    let scene = Scene::new().await;
    let (hospital, now) = (scene.hospital(), scene.world.now());
    let first = machine("first");
    let attested = device::attest(&scene.maker, &first, now).await.unwrap();
    refused_as(device::enrol(hospital, &first, &attested).await, "NotDevice");
    device::register(hospital, &first).await.unwrap();
    refused_as(device::register(hospital, &first).await, "AlreadySigner");
    // Another institution runs no device of this one.
    let laboratory = scene.world.gateway("laboratory");
    refused_as(device::enrol(laboratory, &first, &attested).await, "NotOperator");
    // What the maker attested is another device.
    let second = machine("second");
    device::register(hospital, &second).await.unwrap();
    refused_as(device::enrol(hospital, &second, &attested).await, "InvalidSignature");
    // Somebody else's key says which firmware the device runs.
    let stolen = Machine { key: key("a thief"), ..machine("first") };
    refused_as(device::enrol(hospital, &stolen, &attested).await, "InvalidSignature");
    // A maker attests its own devices only, and a device of another maker is none of its models.
    let other = Model { maker: address("regulator"), name: "Patch 1".into() };
    let foreign = Machine::new(key("foreign"), other, "SN-foreign", "1.0");
    invalid(device::attest(&scene.maker, &foreign, now).await, "did not make");
    invalid(device::accept_firmware(&scene.maker, &foreign.model, "1.0").await, "its maker");
    device::register(hospital, &foreign).await.unwrap();
    refused_as(device::enrol(hospital, &foreign, &attested).await, "WrongInstitution");
    let renamed = Model { maker: address("maker"), name: "Patch 2".into() };
    let renamed = Machine { model: renamed, ..machine("first") };
    refused_as(device::enrol(hospital, &renamed, &attested).await, "ModelDiffers");
    // Firmware that its maker does not accept.
    let old = Machine { firmware: "0.9".into(), ..machine("first") };
    refused_as(device::enrol(hospital, &old, &attested).await, "FirmwareRefused");
    // Too late.
    scene.world.pass(HOUR);
    refused_as(device::enrol(hospital, &first, &attested).await, "Expired");
    let now = scene.world.now();
    let attested = device::attest(&scene.maker, &first, now).await.unwrap();
    device::enrol(hospital, &first, &attested).await.unwrap();
    refused_as(device::enrol(hospital, &first, &attested).await, "AlreadyEnrolled");
    // V6: the same serial number comes once.
    let copied = Machine { serial: first.serial.clone(), ..machine("second") };
    let attested = device::attest(&scene.maker, &copied, now).await.unwrap();
    refused_as(device::enrol(hospital, &copied, &attested).await, "AlreadyEnrolled");
    let unknown = device::standing(hospital, address("nobody")).await;
    assert!(matches!(unknown, Err(WorkflowError::Unknown { what: "device", .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_measured_without_their_consent() {
    let scene = Scene::new().await;
    let (hospital, patient, now) = (scene.hospital(), &scene.patient, scene.world.now());
    let machine = scene.enrolled("patch").await;
    let (device, terms) = (machine.member, scene.terms());
    let stranger = scene.world.patient("P002", passkey("P002")).await;
    refused_as(device::offer(hospital, stranger.account(), device, terms).await, "NotActive");
    scene.world.relate("hospital", &stranger, false).await;
    let order = async |who: &str| {
        let person = scene.world.person(who);
        device::order(hospital, person, patient, device, &plan(), terms, now).await
    };
    for who in ["nurse", "scientist"] {
        invalid(order(who).await, "a doctor");
    }
    let laboratory = scene.world.gateway("laboratory");
    refused_as(device::offer(laboratory, patient.account(), device, terms).await, "NotOperator");
    let position = scene.position(&machine).await;
    scene.world.pass(5 * MINUTE);
    let early = scene.sign(&machine, &Position { since: now, ..position }, &["70"]);
    refused_as(scene.bring(&early).await, "NotBound");
    assert_eq!(scene.versions().await, 0, "what is refused leaves nothing behind");

    let (first, _) = device::offer(hospital, patient.account(), device, terms).await.unwrap();
    let accept = async |who: &PatientActor, binding| {
        device::accept_binding(hospital, who, device, binding, scene.world.now()).await
    };
    refused_as(accept(&stranger, first).await, "NotOffered");
    let offered = Offered { patient: patient.account(), binding: first, terms };
    assert_eq!(device::offered(hospital, device).await.unwrap(), Some(offered));
    // The patient declines, and the offer is gone.
    device::unbind_by_patient(hospital, patient, device, now).await.unwrap();
    refused_as(accept(patient, first).await, "NotOffered");
    let (second, _) = device::offer(hospital, patient.account(), device, terms).await.unwrap();
    refused_as(accept(patient, first).await, "NotOffered");
    accept(patient, second).await.unwrap();
    refused_as(device::offer(hospital, stranger.account(), device, terms).await, "StillBound");
    let foreign = device::unbind_by_patient(hospital, &stranger, device, now).await;
    refused_as(foreign, "NotParty");
    refused_as(device::unbind(laboratory, device).await, "NotParty");
    // What was measured before the binding is nobody's, and nothing is sealed in another's name.
    let position = scene.position(&machine).await;
    let before = scene.sign_from(&machine, &position, now, &["70"]);
    refused_as(scene.bring(&before).await, "InvalidTime");
    scene.world.pass(MINUTE);
    let batch = scene.sign(&machine, &position, &["70"]);
    let wrong = device::bring(hospital, &stranger, &plan(), &batch, scene.world.now()).await;
    invalid(wrong, "another patient's");
    let described = Described::of(&machine, "Maker");
    let nurse = scene.world.person("nurse");
    let wrong = device::file(hospital, nurse, &stranger, &described, &plan(), now).await;
    invalid(wrong, "another patient's");
    assert_eq!(scene.versions().await, 0);
    scene.bring(&batch).await.unwrap();
    // An offer that nobody took in time.
    device::unbind(hospital, device).await.unwrap();
    let soon = Terms { until: scene.world.now().after(MINUTE), gap: 60 };
    let (third, _) = device::offer(hospital, patient.account(), device, soon).await.unwrap();
    scene.world.pass(MINUTE);
    refused_as(accept(patient, third).await, "NotOffered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_reordered_and_forged_batches_are_refused() {
    let scene = Scene::new().await;
    let (machine, position) = scene.bound("patch").await;
    scene.world.pass(10 * MINUTE);
    let first = scene.sign(&machine, &position, &["70", "71"]);
    let next = position.after(&first);
    let second = scene.sign(&machine, &next, &["72", "73"]);
    let before = scene.versions().await;
    // Reordered: the second before the first.
    refused_as(scene.bring(&second).await, "WrongSequence");
    let skipped = Position { sequence: 0, ..next };
    refused_as(scene.bring(&scene.sign(&machine, &skipped, &["72"])).await, "Fork");
    assert_eq!(scene.versions().await, before);
    scene.bring(&first).await.unwrap();
    // Replayed, and of a time that was told already.
    refused_as(scene.bring(&first).await, "WrongSequence");
    let again = scene.sign_from(&machine, &next, first.from, &["70", "71"]);
    refused_as(scene.bring(&again).await, "InvalidTime");
    let future = scene.sign_from(&machine, &next, scene.world.now(), &["70"]);
    refused_as(scene.bring(&future).await, "InvalidTime");
    // Forged: by somebody else's key, by another device, or with other readings.
    let thief = Machine { key: key("a thief"), ..clone_of(&machine) };
    refused_as(scene.bring(&scene.sign(&thief, &next, &["72", "73"])).await, "InvalidSignature");
    let (other, at) = scene.bound("another patch").await;
    let theirs = Position { device: machine.member, ..at };
    let signed = scene.sign(&other, &theirs, &["72"]);
    let mixed = SignedBatch { device: machine.member, ..signed };
    invalid(scene.bring(&mixed).await, "not those that were signed");
    let changed = SignedBatch { series: series(&["72", "74"]), ..second.clone() };
    invalid(scene.bring(&changed).await, "not those that were signed");
    let renewed = scene.sign(&machine, &next, &["72", "74"]);
    let resigned = SignedBatch { signature: second.signature.clone(), ..renewed };
    refused_as(scene.bring(&resigned).await, "InvalidSignature");
    let fewer = SignedBatch { count: 1, ..second.clone() };
    invalid(scene.bring(&fewer).await, "not those that were signed");
    let calm = scene.sign(&machine, &next, &["72", "140"]);
    invalid(scene.bring(&SignedBatch { out_of_range: 0, ..calm }).await, "out of range");
    let longer = SignedBatch { to: second.to.after(MINUTE), ..second.clone() };
    invalid(scene.bring(&longer).await, "not of the times");
    // Not what was ordered.
    let hospital = scene.hospital();
    let temperature = Plan::usual(&["body-temperature"], 60).unwrap();
    invalid(second.check(&temperature), "not what was ordered");
    let empty =
        SignedBatch::sign(&machine, hospital, &next, &plan(), next.since, series(&[]), B256::ZERO);
    invalid(empty, "samples");
    let silent = series(&["", ""]);
    let silent =
        SignedBatch::sign(&machine, hospital, &next, &plan(), next.since, silent, B256::ZERO);
    invalid(silent, "has a value");
    let endless = series(&vec!["70"; device::SAMPLES_MAX + 1]);
    let endless =
        SignedBatch::sign(&machine, hospital, &next, &plan(), next.since, endless, B256::ZERO);
    invalid(endless, "samples");
    // The right one is still taken, by who runs the device.
    let laboratory = scene.world.gateway("laboratory");
    scene.world.relate("laboratory", &scene.patient, false).await;
    let now = scene.world.now();
    let foreign = device::bring(laboratory, &scene.patient, &plan(), &second, now).await;
    invalid(foreign, "another institution");
    scene.bring(&second).await.unwrap();
}

/// The same device, as a test has it twice.
fn clone_of(machine: &Machine) -> Machine {
    Machine {
        member: machine.member,
        model: machine.model.clone(),
        serial: machine.serial.clone(),
        firmware: machine.firmware.clone(),
        key: key("to be replaced"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readings_end_with_the_binding_to_the_second() {
    let scene = Scene::new().await;
    let (hospital, patient) = (scene.hospital(), &scene.patient);
    let machine = scene.enrolled("patch").await;
    let until = scene.world.now().after(10 * MINUTE);
    let terms = Terms { until, gap: 3_600 };
    let account = patient.account();
    let (binding, _) = device::offer(hospital, account, machine.member, terms).await.unwrap();
    let now = scene.world.now();
    device::accept_binding(hospital, patient, machine.member, binding, now).await.unwrap();
    let position = scene.position(&machine).await;
    scene.world.pass(20 * MINUTE);
    let held = device::standing(hospital, machine.member).await.unwrap();
    assert!(held.is_bound(Timestamp(until.0 - 1)) && !held.is_bound(until));
    // One second beyond, and then to the last second.
    let late = Timestamp(until.0 - 59);
    refused_as(
        scene.bring(&scene.sign_from(&machine, &position, late, &["70"])).await,
        "InvalidTime",
    );
    let last = Timestamp(until.0 - 60);
    scene.bring(&scene.sign_from(&machine, &position, last, &["70"])).await.unwrap();
    // A device that is bound anew brings nothing of before.
    let (binding, _) =
        device::offer(hospital, account, machine.member, scene.terms()).await.unwrap();
    let now = scene.world.now();
    device::accept_bindings(hospital, patient, &[(machine.member, binding)], now).await.unwrap();
    let position = scene.position(&machine).await;
    let old = Position { binding: binding - 1, ..position };
    scene.world.pass(MINUTE);
    refused_as(scene.bring(&scene.sign(&machine, &old, &["70"])).await, "NotBound");
    scene.bring(&scene.sign(&machine, &position, &["70"])).await.unwrap();
    invalid(device::accept_bindings(hospital, patient, &[], now).await, "in one signature");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_are_seen_by_clinicians_of_the_operator() {
    let scene = Scene::new().await;
    let hospital = scene.hospital();
    let (machine, _) = scene.bound("patch").await;
    let device = machine.member;
    scene.measure(&machine, &["70", "90", "51"]).await;
    assert!(device::alerts(hospital, device).await.unwrap().is_empty(), "the bounds are in range");
    let steps = scene.measure(&machine, &["91", "50.9", "70"]).await;
    assert_eq!(operations(&steps), ["record.propose", "device.anchor-alert"]);
    let alerts = device::alerts(hospital, device).await.unwrap();
    assert_eq!((alerts.len(), alerts[0].sequence, alerts[0].out_of_range), (1, 1, 2));
    assert_eq!(alerts[0].patient, scene.patient.account());
    assert!(!alerts[0].is_overdue(scene.world.now()));
    scene.world.pass(HOUR);
    let alerts = device::alerts(hospital, device).await.unwrap();
    assert!(alerts[0].is_overdue(scene.world.now()));
    for who in ["scientist", "pharmacist", "consultant", "officer"] {
        let person = scene.world.person(who);
        refused_as(device::acknowledge(hospital, person, device, 1).await, "NotAllowed");
    }
    let nurse = scene.world.person("nurse");
    refused_as(device::acknowledge(hospital, nurse, device, 0).await, "NothingToAcknowledge");
    device::acknowledge(hospital, nurse, device, 1).await.unwrap();
    refused_as(device::acknowledge(hospital, nurse, device, 1).await, "NothingToAcknowledge");
    let alerts = device::alerts(hospital, device).await.unwrap();
    assert_eq!(alerts[0].acknowledged_by, Some(nurse.member));
    assert!(!alerts[0].is_overdue(scene.world.now()));
    // A gap of longer than an hour is told when the device speaks again.
    assert!(!device::is_silent(hospital, device).await.unwrap());
    scene.world.pass(2 * HOUR);
    assert!(device::is_silent(hospital, device).await.unwrap());
    let position = scene.position(&machine).await;
    let from = Timestamp(scene.world.now().0 - 60);
    scene.bring(&scene.sign_from(&machine, &position, from, &["70"])).await.unwrap();
    assert!(!device::is_silent(hospital, device).await.unwrap());
    let keeper = &hospital.gatekeeper;
    let timeline = keeper.patient_timeline(scene.patient.account()).await.unwrap();
    assert!(timeline.steps.iter().any(|step| step.what.starts_with("alert: no readings from")));
    // The device is at somebody else now, and the alert is still of whom it measured then.
    device::unbind(hospital, device).await.unwrap();
    let second = scene.world.patient("P002", passkey("P002")).await;
    scene.world.relate("hospital", &second, false).await;
    scene.bind(&machine, &second).await;
    let of_alert = async |sequence| device::patient_of_alert(hospital, device, sequence).await;
    assert_eq!(of_alert(1).await.unwrap(), scene.patient.account());
    assert!(matches!(of_alert(0).await, Err(WorkflowError::Unknown { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_is_what_was_ordered_also_after_it_broke_off() {
    let scene = Scene::new().await;
    let (hospital, patient) = (scene.hospital(), &scene.patient);
    let (physician, account) = (scene.world.person("physician"), patient.account());
    let (machine, terms) = (scene.enrolled("patch").await, scene.terms());
    let (device, now) = (machine.member, scene.world.now());
    let other = Plan::usual(&["body-temperature"], 60).unwrap();
    let shorter = Terms { gap: 60, ..terms };
    // It breaks off after the order: nothing of it holds up another patient, or another order.
    let order = async |plan: &Plan, terms| {
        device::order(hospital, physician, patient, device, plan, terms, now).await.unwrap().0
    };
    let first = order(&plan(), terms).await;
    let second = scene.world.patient("P002", passkey("P002")).await;
    scene.world.relate("hospital", &second, false).await;
    let (theirs, binding, _) =
        device::order_and_offer(hospital, physician, &second, device, &plan(), terms, now)
            .await
            .unwrap();
    assert_eq!((theirs.patient, binding), (second.account(), 1));
    // What is offered under other terms than the patient reads is not accepted.
    order(&plan(), terms).await;
    let (binding, _) = device::offer(hospital, account, device, shorter).await.unwrap();
    let accept = async |binding| {
        device::accept_binding(hospital, patient, device, binding, scene.world.now()).await
    };
    invalid(accept(binding).await, "other terms");
    let later = Terms { until: terms.until.after(HOUR), ..terms };
    let early = order(&plan(), terms).await;
    let (ordered, binding, steps) =
        device::order_and_offer(hospital, physician, patient, device, &other, later, now)
            .await
            .unwrap();
    assert_eq!(operations(&steps), ["record.amend", "device.offer-binding"]);
    assert_ne!(first.record, ordered.record);
    assert_eq!((ordered.record, ordered.version.get()), (early.record, 2));
    // An order that the patient rejected is not accepted by accepting the device.
    record::answer(hospital, patient, &ordered, record::Verdict::Reject, now).await.unwrap();
    invalid(accept(binding).await, "other terms");
    let (_, binding, _) =
        device::order_and_offer(hospital, physician, patient, device, &other, later, now)
            .await
            .unwrap();
    accept(binding).await.unwrap();
    let read = async |who: &str| {
        let (who, now) = (scene.world.person(who).member, scene.world.now());
        device::plan_of(hospital, who, account, (device, binding), now).await
    };
    assert_eq!(read("physician").await.unwrap(), other);
    // Whoever is refused leaves a receipt.
    let nurse = scene.world.person("nurse").member;
    invalid(read("nurse").await, "care team");
    let receipts = hospital.gatekeeper.receipts_of(account, None, 100).await.unwrap();
    let refused = |outcome: &domain::Outcome| matches!(outcome, domain::Outcome::Refused { .. });
    let of_nurse = receipts.iter().filter(|stored| stored.receipt.requester == nurse);
    assert_eq!(of_nurse.filter(|stored| refused(&stored.receipt.outcome)).count(), 1);

    // Filing goes on where it broke off, and takes no text without end.
    let described = Described::of(&machine, "Maker");
    let file = async |described: &Described, plan: &Plan| {
        device::file(hospital, physician, patient, described, plan, scene.world.now()).await
    };
    for text in ["", " ", &"x".repeat(201)] {
        let maker = Described { maker_name: text.into(), ..described.clone() };
        invalid(file(&maker, &other).await, "maker's name");
        let serial = Described { serial: text.into(), ..described.clone() };
        invalid(file(&serial, &other).await, "serial number");
    }
    let (filed, steps) = file(&described, &other).await.unwrap();
    assert_eq!(steps.len(), 2);
    let wider = Plan::usual(&["body-temperature", "heart-rate"], 60).unwrap();
    let (again, steps) = file(&described, &wider).await.unwrap();
    assert_eq!((again, steps.len()), (filed, 1));
    assert!(file(&described, &wider).await.unwrap().1.is_empty());
    scene.versions().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn recalled_firmware_and_quarantine_stop_a_device() {
    let scene = Scene::new().await;
    let (hospital, maker, regulator) = (scene.hospital(), &scene.maker, &scene.regulator);
    let (machine, position) = scene.bound("patch").await;
    let (device, model) = (machine.member, model());
    scene.world.pass(HOUR);
    let batch = scene.sign(&machine, &position, &["70"]);
    refused_as(
        device::withdraw_firmware(
            hospital,
            &Model { maker: hospital.member(), ..model.clone() },
            "1.0",
        )
        .await,
        "WrongInstitution",
    );
    refused_as(
        device::recall_firmware(maker, &model, "1.0", "overheats").await,
        "WrongInstitution",
    );
    device::withdraw_firmware(maker, &model, "1.0").await.unwrap();
    refused_as(scene.bring(&batch).await, "FirmwareRefused");
    device::accept_firmware(maker, &model, "1.0").await.unwrap();
    // V7: what a regulator recalled, no maker accepts.
    device::recall_firmware(regulator, &model, "1.0", "overheats").await.unwrap();
    device::accept_firmware(maker, &model, "1.0").await.unwrap();
    assert!(!device::is_accepted(hospital, &model, "1.0").await.unwrap());
    refused_as(scene.bring(&batch).await, "FirmwareRefused");
    let now = scene.world.now();
    refused_as(device::update_firmware(hospital, &machine, "1.1", now).await, "FirmwareRefused");
    device::accept_firmware(maker, &model, "1.1").await.unwrap();
    let thief = Machine { key: key("a thief"), ..clone_of(&machine) };
    refused_as(device::update_firmware(hospital, &thief, "1.1", now).await, "InvalidSignature");
    device::update_firmware(hospital, &machine, "1.1", now).await.unwrap();
    scene.bring(&batch).await.unwrap();
    refused_as(device::lift_recall(maker, &model, "1.0").await, "WrongInstitution");
    device::lift_recall(regulator, &model, "1.0").await.unwrap();
    assert!(device::is_accepted(hospital, &model, "1.0").await.unwrap());

    // V4: each lifts what it imposed.
    let laboratory = scene.world.gateway("laboratory");
    refused_as(device::quarantine(laboratory, device, "odd").await, "NotOperator");
    let position = scene.position(&machine).await;
    let batch = scene.sign(&machine, &position, &["70"]);
    for by in [hospital, maker, regulator] {
        device::quarantine(by, device, "reads too low").await.unwrap();
    }
    let held = device::standing(hospital, device).await.unwrap();
    assert_eq!(held.quarantine.by(), ["operator", "maker", "regulator"]);
    for by in [hospital, maker, regulator] {
        refused_as(scene.bring(&batch).await, "InQuarantine");
        device::lift_quarantine(by, device).await.unwrap();
        refused_as(device::lift_quarantine(by, device).await, "NotQuarantined");
    }
    scene.bring(&batch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_key_and_a_device_out_of_force_sign_nothing() {
    let scene = Scene::new().await;
    let hospital = scene.hospital();
    let (mut machine, position) = scene.bound("patch").await;
    let device = machine.member;
    scene.world.pass(HOUR);
    let old = scene.sign(&machine, &position, &["70"]);
    let now = scene.world.now();
    let step = device::rotate(hospital, &mut machine, key("the next key"), now).await.unwrap();
    assert_eq!(step.operation, "registry.rotate-key");
    assert_eq!(machine.member, device, "it is known by its first address for life");
    assert_eq!(device::signer_of(hospital, device).await.unwrap(), machine.key.address());
    refused_as(scene.bring(&old).await, "InvalidSignature");
    let new = scene.sign(&machine, &position, &["70"]);
    scene.bring(&new).await.unwrap();
    let mut former = Machine { key: key("patch"), ..clone_of(&machine) };
    refused_as(device::rotate(hospital, &mut former, key("another"), now).await, "NotSigner");
    // A key that is somebody's is nobody else's.
    let taken = device::rotate(hospital, &mut machine, key("physician"), now).await;
    refused_as(taken, "AlreadySigner");
    device::rotate(hospital, &mut machine, key("a third key"), now).await.unwrap();

    let laboratory = scene.world.gateway("laboratory");
    refused_as(device::decommission(laboratory, device).await, "NotOperator");
    let position = scene.position(&machine).await;
    let batch = scene.sign(&machine, &position, &["70"]);
    device::decommission(hospital, device).await.unwrap();
    refused_as(scene.bring(&batch).await, "NotDevice");
    refused_as(device::decommission(hospital, device).await, "NotOperator");
    refused_as(device::rotate(hospital, &mut machine, key("a fourth"), now).await, "NotSigner");
    let terms = scene.terms();
    let offered = device::offer(hospital, scene.patient.account(), device, terms).await;
    refused_as(offered, "NotDevice");
    // V3: it is taken from its patient all the same.
    device::unbind(hospital, device).await.unwrap();
    scene.versions().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_batches_than_an_hour_takes_are_refused() {
    let scene = Scene::new().await;
    let (machine, mut position) = scene.bound("patch").await;
    scene.world.pass(3 * HOUR);
    for _ in 0..120 {
        let signed = scene.sign(&machine, &position, &["70"]);
        scene.bring(&signed).await.unwrap();
        position = position.after(&signed);
    }
    let signed = scene.sign(&machine, &position, &["70"]);
    refused_as(scene.bring(&signed).await, "TooManyBatches");
    scene.world.pass(HOUR);
    scene.bring(&signed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expelled_operator_or_patient_with_another_key_changes_who_may() {
    let scene = Scene::new().await;
    let (hospital, verifier) =
        (scene.hospital(), scene.world.at(bindings::Contract::WebAuthnVerifier));
    // A patient with a guardian, who loses the telephone between the offer and the acceptance.
    let guardian = PatientKey::Wallet(wallet("guardian"));
    let (salt, signers) = (secret("salt"), vec![guardian.signer(verifier)]);
    let create = PatientAccounts::createCall {
        guardians: guardians_digest(salt, 1, &signers),
        recoveryDelay: U24::from(86_400),
        ..ledger::creation(passkey("lost phone").signer(verifier), B256::ZERO)
    };
    let factory = scene.world.at(bindings::Contract::PatientAccounts);
    let made = hospital.sender().send(factory, &create).await.unwrap();
    let account = made.events::<PatientAccounts::AccountCreated>()[0].account;
    let actor = |key: &str| PatientActor {
        name: "P009".into(),
        patient: Patient::new(account, verifier, passkey(key)),
        secret: SecretKey::derive(Kem::X25519, &secret("P009/hpke")),
    };
    let (lost, found) = (actor("lost phone"), actor("new phone"));
    scene.world.relate("hospital", &lost, false).await;
    let machine = scene.enrolled("patch").await;
    let device = machine.member;
    let (binding, _) = device::offer(hospital, account, device, scene.terms()).await.unwrap();
    let until = deadline(scene.world.now().after(HOUR));
    let new_signer = passkey("new phone").signer(verifier);
    let message = Recover { newSigner: new_signer.clone(), nonce: U256::ZERO, deadline: until };
    let propose = PatientAccount::proposeRecoveryCall {
        newSigner: new_signer.clone(),
        set: PatientAccount::GuardianSet { salt, threshold: 1, signers },
        deadline: until,
        signatures: vec![guardian.sign(recover_digest(CHAIN_ID, account, &message))],
    };
    hospital.sender().send(account, &propose).await.unwrap();
    scene.world.pass(2 * DAY);
    let finish = PatientAccount::finishRecoveryCall { newSigner: new_signer };
    hospital.sender().send(account, &finish).await.unwrap();
    let now = scene.world.now();
    refusal(device::accept_binding(hospital, &lost, device, binding, now).await);
    device::accept_binding(hospital, &found, device, binding, now).await.unwrap();
    let held = device::standing(hospital, device).await.unwrap();
    assert_eq!(held.patient, account);
    refusal(device::unbind_by_patient(hospital, &lost, device, now).await);
    device::unbind_by_patient(hospital, &found, device, now).await.unwrap();

    // A maker that is expelled attests nothing any more, and its devices measure on.
    let (patch, position) = scene.bound("a patch of before").await;
    let late = Machine::new(key("late"), model(), "SN-late", "1.0");
    device::register(hospital, &late).await.unwrap();
    scene.world.expel("maker").await;
    let attested = device::attest(&scene.maker, &late, scene.world.now()).await.unwrap();
    refusal(device::enrol(hospital, &late, &attested).await);
    scene.world.pass(MINUTE);
    scene.bring(&scene.sign(&patch, &position, &["70"])).await.unwrap();
    let surgeon = scene.world.engage("surgeon", "hospital", ProfessionalRole::Surgeon).await;
    let missing = device::acknowledge(hospital, &surgeon, patch.member, 0).await;
    refused_as(missing, "NothingToAcknowledge");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_devices_measure_and_everything_comes_out_again() {
    const DEVICES: usize = 2_000;
    let scene = Scene::new().await;
    let hospital = scene.hospital();
    let second = scene.world.patient("P002", passkey("P002")).await;
    scene.world.relate("hospital", &second, false).await;
    let patients = [&scene.patient, &second];
    let settings = || Settings {
        seed: 7,
        devices: DEVICES,
        model: model(),
        firmware: "1.0".into(),
        plan: Plan::usual(&["heart-rate", "oxygen-saturation"], 1).unwrap(),
        terms: scene.terms(),
        out_of_range: 20,
    };
    let begun = Instant::now();
    let with = |secret: &str, settings: Settings| {
        let secret = Zeroizing::new(common::secret(secret).0);
        Simulation::new(secret, hospital, &scene.maker, &patients, settings)
    };
    let simulate = || with("the fleet's", settings()).unwrap();
    let mut fleet = simulate();
    let steps = fleet.begin(scene.world.now()).await.unwrap();
    // Registered, enrolled, offered; two patients sign for a hundred at a time.
    assert_eq!(steps.len(), 3 * DEVICES + DEVICES / 100);
    assert!(fleet.begin(scene.world.now()).await.unwrap().is_empty(), "they are there");
    let (nothing, _) = fleet.round(5, scene.world.now()).await.unwrap();
    assert_eq!((nothing.batches, nothing.waiting), (0, DEVICES as u64));
    let mut total = 0;
    for round in 0..2 {
        scene.world.pass(Duration::from_secs(30));
        let (tally, steps) = fleet.round(5, scene.world.now()).await.unwrap();
        assert_eq!((tally.batches, tally.readings), (DEVICES as u64, 10 * DEVICES as u64));
        assert!(tally.alerts > 10 && tally.alerts < DEVICES as u64 / 2, "{tally:?}");
        assert_eq!(steps.len(), DEVICES + DEVICES / 1_000);
        total += tally.alerts;
        let device = fleet.addresses().nth(round).unwrap();
        let held = device::standing(hospital, device).await.unwrap();
        assert_eq!(held.batches, round as u64 + 1);
    }
    println!("{DEVICES} devices, 2 rounds, {total} alerts, {:?}", begun.elapsed());
    assert_eq!(scene.versions().await, 2 * DEVICES as u64);

    // Another run with the same seed is the same fleet, and says the same of the same time.
    let mut again = simulate();
    assert!(again.begin(scene.world.now()).await.unwrap().is_empty());
    scene.world.pass(Duration::from_secs(10));
    let now = scene.world.now();
    let mut twin = simulate();
    twin.begin(now).await.unwrap();
    assert_eq!(again.measure(3, now).unwrap(), twin.measure(3, now).unwrap());
    let (_, mut batches): (Vec<usize>, Vec<SignedBatch>) =
        again.measure(3, now).unwrap().into_iter().unzip();
    // What one of many forges stops before anything of theirs is sealed.
    let plan = settings().plan;
    batches[1].root = B256::repeat_byte(1);
    let of = |index: usize| patients[index % 2];
    let batches: Vec<_> =
        batches.into_iter().enumerate().map(|(index, batch)| (of(index), &plan, batch)).collect();
    invalid(device::bring_all(hospital, &batches, now).await, "not those that were signed");
    assert_eq!(scene.versions().await, 2 * DEVICES as u64);
    let none = Settings { devices: 0, ..settings() };
    assert!(with("the fleet's", none).is_err());
    // Who knows the seed alone has none of the keys.
    let few = || Settings { devices: 3, ..settings() };
    let (own, thief) = (with("the fleet's", few()).unwrap(), with("a thief's", few()).unwrap());
    let own: Vec<_> = own.addresses().collect();
    assert_eq!(own, fleet.addresses().take(3).collect::<Vec<_>>());
    assert!(thief.addresses().all(|address| !own.contains(&address)));
}

/// From a device's registration to its first readings.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn device_costs_what_the_file_says() {
    let scene = Scene::new().await;
    let journal = Journal::new(&scene.world);
    let (machine, _) = scene.bound("patch").await;
    scene.measure(&machine, &["72", "75"]).await;
    journal.assert_listed(
        &scene.world,
        "device",
        "A device is registered, attested, bound to a patient, and brings its first readings.",
    );
}
