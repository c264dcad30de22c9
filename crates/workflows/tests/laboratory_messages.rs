//! Results as HL7 v2 messages: versions of one record, each message once, and nothing left behind by what is
//! refused.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use bindings::{Contract, Registry};
use common::{HOUR, World, passkey, secret};
use domain::{Kind, KindSet, Purpose, RecordId, RecordVersion};
use hl7v2::{Code, Number};
use ledger::{LabOrder, LabOrderState};
use serde_json::{Value, json};
use tempfile::TempDir;
use vault::{Content, NewRecord};
use workflows::{
    Gateway, PatientActor, Person, Step,
    access::{self, Wanted},
    consent, laboratory,
    laboratory_messages::{MessageDesk, NumberDigest, Received},
};

const SYSTEM: &str = "urn:oid:1.2.3.4";

/// A laboratory that registered a patient under a number, and its desk for messages.
struct Scene {
    world: World,
    patient: PatientActor,
    other: PatientActor,
    desk: MessageDesk,
    _dir: TempDir,
}

fn digest(gateway: &Gateway, number: &Number) -> B256 {
    let text = format!("{}|{}", number.system, number.value);
    gateway.keyed_digest("numbers in this test", text.as_bytes())
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let patient = world.patient("P001", passkey("P001")).await;
        let other = world.patient("P002", passkey("P002")).await;
        for (patient, number) in [(&patient, "A-17"), (&other, "A-18")] {
            for steward in ["hospital", "laboratory"] {
                world.relate(steward, patient, false).await;
            }
            let number = Number { system: SYSTEM.into(), value: number.into() };
            let call = Registry::bindIdentityCall {
                digest: digest(world.gateway("laboratory"), &number),
                account: patient.account(),
            };
            world.sender("laboratory").send(world.at(Contract::Registry), &call).await.unwrap();
        }
        let numbers: NumberDigest = Arc::new(digest);
        let (gateway, scientist) = (world.gateway("laboratory"), world.person("scientist"));
        let desk = MessageDesk::open(gateway, scientist, numbers, None).await.unwrap();
        Self { world, patient, other, desk, _dir: dir }
    }

    fn laboratory(&self) -> &Gateway {
        self.world.gateway("laboratory")
    }

    fn person(&self, name: &str) -> &Person {
        self.world.person(name)
    }

    async fn order(&self) -> B256 {
        let (hospital, code) = (self.world.gateway("hospital"), json!({ "text": "potassium" }));
        let (physician, now) = (self.person("physician"), self.world.now());
        let ordered = laboratory::order(
            hospital,
            physician,
            &self.patient,
            self.laboratory().member(),
            &code,
            now,
        );
        ordered.await.unwrap().0.record.0
    }

    async fn collected(&self) -> B256 {
        let id = self.order().await;
        let (hospital, nurse) = (self.world.gateway("hospital"), self.person("nurse"));
        laboratory::collect(hospital, nurse, id, secret("a specimen")).await.unwrap();
        id
    }

    async fn take(&self, message: &str) -> Received {
        self.desk.take(message.as_bytes(), self.world.now()).await.unwrap()
    }

    /// The steps of a message that is taken.
    #[track_caller]
    fn taken(received: &Received) -> Vec<&'static str> {
        let taken = received.outcome.as_ref().unwrap();
        taken.steps.iter().map(|step: &Step| step.operation).collect()
    }

    /// Takes a message that is refused, and leaves nothing behind.
    async fn refused(&self, message: &str, code: Code, place: &str) -> String {
        let before = self.versions().await;
        let received = self.take(message).await;
        let error = *received.outcome.as_ref().unwrap_err();
        assert_eq!((error.code, error.place.to_string().as_str()), (code, place), "{error}");
        assert_eq!(self.versions().await, before, "what is refused leaves nothing behind");
        received.acknowledgement(self.laboratory(), self.world.now())
    }

    async fn versions(&self) -> u64 {
        self.world.assert_clean("laboratory").await.versions
    }

    async fn held(&self, id: B256) -> LabOrder {
        let keeper = &self.laboratory().gatekeeper;
        keeper.refresh(self.world.now()).await.unwrap();
        keeper.projection().await.workflows.lab_order(&id).unwrap().clone()
    }

    /// What the patient reads at the laboratory.
    async fn report(&self) -> Value {
        let (keeper, now) = (&self.laboratory().gatekeeper, self.world.now());
        let (answered, _) =
            access::ask_as_patient(keeper, &self.patient, KindSet::ALL, now).await.unwrap();
        assert_eq!(answered.records.len(), 1);
        serde_json::from_str(answered.records[0].body.get()).unwrap()
    }
}

/// A message about an order: `number` names the patient.
struct Sent<'a> {
    control: &'a str,
    order: B256,
    number: &'a str,
    status: &'a str,
    value: &'a str,
    flag: &'a str,
}

impl Sent<'_> {
    fn text(&self) -> String {
        let Self { control, order, number, status, value, flag } = self;
        let observed = if *status == "P" { "P" } else { "F" };
        format!(
            "MSH|^~\\&|LIS|LAB|SALUS|LAB|20261123090000+0100||ORU^R01^ORU_R01|{control}|P|2.5.1\r\
             PID|1||{number}^^^&1.2.3.4&ISO||Planted^Name\r\
             ORC|RE|{order}\r\
             OBR|1|{order}|F-1|2823-3^Potassium^LN|||20261123081500||||||||||||||||||{status}\r\
             OBX|1|NM|2823-3^Potassium^LN||{value}|mmol/L^^UCUM|3.5-5.0|{flag}|||{observed}\r"
        )
    }
}

fn sent<'a>(control: &'a str, order: B256, status: &'a str, value: &'a str) -> Sent<'a> {
    Sent { control, order, number: "A-17", status, value, flag: "N" }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_versions_of_one_result() {
    let scene = Scene::new().await;
    let id = scene.collected().await;
    let first = scene.take(&sent("1", id, "P", "4.10").text()).await;
    assert_eq!(Scene::taken(&first), ["record.propose", "lab.report-preliminary"]);
    let answer = first.acknowledgement(scene.laboratory(), scene.world.now());
    assert!(answer.contains("|LIS|LAB|") && answer.ends_with("MSA|AA|1\r"), "{answer}");
    let second = scene.take(&sent("2", id, "F", "4.20").text()).await;
    assert_eq!(Scene::taken(&second), ["record.amend", "lab.report"]);
    assert_eq!(scene.held(id).await.state, LabOrderState::Resulted);

    let report = scene.report().await;
    assert!(r4::validate(&report).is_empty(), "{:?}", r4::validate(&report));
    assert_eq!(
        (&report["resourceType"], &report["status"]),
        (&json!("DiagnosticReport"), &json!("final"))
    );
    assert_eq!(report["subject"]["reference"], format!("Patient/{}", scene.patient.account()));
    assert_eq!(report["contained"][0]["valueQuantity"]["value"], 4.2);
    assert!(!report.to_string().contains("Planted"), "who the patient is stands elsewhere");

    // Whoever the patient permits reads all of it, and whoever releases or acknowledges it has all of it.
    let digest = scene.held(id).await.result.unwrap();
    let (laboratory, now) = (scene.laboratory(), scene.world.now());
    let physician = scene.person("physician");
    laboratory::release(laboratory, scene.person("scientist"), id, digest).await.unwrap();
    laboratory::acknowledge(scene.world.gateway("hospital"), physician, id, digest).await.unwrap();
    let wanted = Wanted {
        patient: scene.patient.account(),
        kinds: KindSet::of(&[Kind::Laboratory]),
        record: None,
        purpose: Purpose::Treatment,
    };
    let read = || access::ask(&laboratory.gatekeeper, physician, &wanted, now);
    assert!(read().await.is_err(), "nobody permitted it yet");
    let (terms, hospital) =
        (scene.world.terms(&[Kind::Laboratory]), scene.world.gateway("hospital").member());
    consent::grant(laboratory, &scene.patient, hospital, None, &terms, now).await.unwrap();
    assert_eq!(read().await.unwrap().0.records.len(), 1);

    let third = scene.take(&sent("3", id, "C", "4.30").text()).await;
    assert_eq!(Scene::taken(&third), ["record.amend", "lab.correct"]);
    let of = |received: &Received| {
        let taken = received.outcome.as_ref().unwrap();
        (taken.record, taken.version.get())
    };
    let record = of(&first).0;
    assert_eq!([of(&first), of(&second), of(&third)], [(record, 1), (record, 2), (record, 3)]);
    assert_eq!(scene.report().await["status"], "corrected");
    assert_eq!(scene.versions().await, 3);
    let timeline = laboratory.gatekeeper.timeline(id).await.unwrap();
    assert!(timeline.is_checked());
    let said = |what: &str| timeline.steps.iter().any(|step| step.what.starts_with(what));
    assert!(said("preliminary result reported") && said("result corrected, version 2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_is_taken_once() {
    let scene = Scene::new().await;
    let id = scene.collected().await;
    let message = sent("1", id, "F", "4.10").text();
    let first = scene.take(&message).await;
    let again = scene.take(&message).await;
    assert!(Scene::taken(&again).is_empty());
    let version = |received: &Received| received.outcome.as_ref().unwrap().version;
    assert_eq!(version(&first), version(&again));
    assert_eq!(scene.versions().await, 1);
    // Another sender's first message is another one, and comes too late.
    let other = message.replace("|LIS|", "|LIS2|");
    scene.refused(&other, Code::Locked, "OBR[1]-25").await;
    let changed = sent("1", id, "F", "5.10").text();
    let answer = scene.refused(&changed, Code::DuplicateKey, "MSH[1]-10").await;
    assert!(answer.contains("MSA|AE|1\r") && answer.contains("|205^"), "{answer}");
    // What came after it does not make it new.
    scene.take(&sent("2", id, "C", "4.30").text()).await.outcome.unwrap();
    assert!(Scene::taken(&scene.take(&message).await).is_empty());
    assert_eq!(scene.versions().await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_for_another_patient_is_refused() {
    let scene = Scene::new().await;
    let id = scene.collected().await;
    let with = |number| Sent { number, ..sent("1", id, "F", "4.10") }.text();
    let mut answers = Vec::new();
    for number in ["A-18", "A-99", "A-17^^^&1.2.3.4&ISO~A-18"] {
        let answer = scene.refused(&with(number), Code::UnknownKey, "PID[1]-3").await;
        assert!(answer.contains("MSA|AE|1\r"), "{answer}");
        answers.push(answer.split_once("ERR").unwrap().1.to_owned());
    }
    // Whether a number is another's or nobody's is not told.
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    // The account itself is a number, too.
    let account = |patient: &PatientActor| {
        let own: Address = patient.account();
        with("A-17").replace("A-17^^^&1.2.3.4&ISO", &format!("{own}^^^urn:salus:account"))
    };
    scene.refused(&account(&scene.other), Code::UnknownKey, "PID[1]-3").await;
    assert_eq!(Scene::taken(&scene.take(&account(&scene.patient)).await).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_that_does_not_follow_is_refused() {
    let scene = Scene::new().await;
    let id = scene.order().await;
    let locked = "OBR[1]-25";
    scene.refused(&sent("1", id, "F", "4.10").text(), Code::Locked, locked).await;
    let (hospital, nurse) = (scene.world.gateway("hospital"), scene.person("nurse"));
    laboratory::collect(hospital, nurse, id, secret("a specimen")).await.unwrap();
    scene.refused(&sent("1", id, "C", "4.10").text(), Code::Locked, locked).await;
    scene.refused(&sent("1", id, "I", "4.10").text(), Code::Table, locked).await;
    scene.refused(&sent("1", id, "F", "planted").text(), Code::Type, "OBX[1]-5").await;
    let nowhere = secret("no order");
    scene.refused(&sent("1", nowhere, "F", "4").text(), Code::UnknownKey, "OBR[1]-2").await;
    let answer = scene.refused("MSH|planted", Code::Type, "MSH-2").await;
    assert!(answer.contains("MSA|AE|"), "{answer}");
    let admission = sent("1", id, "F", "4.10").text().replace("ORU^R01^ORU_R01", "ADT^A01");
    let answer = scene.refused(&admission, Code::MessageType, "MSH[1]-9").await;
    assert!(answer.contains("MSA|AR|1\r"), "{answer}");
    assert_eq!(scene.versions().await, 0);
    // The same number may be used for what was refused and put right.
    assert_eq!(Scene::taken(&scene.take(&sent("1", id, "F", "4.10").text()).await).len(), 2);
    scene.refused(&sent("2", id, "P", "4.10").text(), Code::Locked, locked).await;
    scene.refused(&sent("2", id, "F", "4.10").text(), Code::Locked, locked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panic_value_is_critical() {
    let scene = Scene::new().await;
    let id = scene.collected().await;
    let message = Sent { flag: "LL", ..sent("1", id, "P", "1.90") }.text();
    scene.take(&message).await.outcome.unwrap();
    assert!(scene.held(id).await.critical);
    scene.world.pass(HOUR - std::time::Duration::from_secs(1));
    let gateway = scene.laboratory();
    assert!(!laboratory::is_overdue(gateway, id).await.unwrap(), "the last second");
    scene.world.pass(std::time::Duration::from_secs(1));
    assert!(laboratory::is_overdue(gateway, id).await.unwrap());
    scene.take(&sent("2", id, "F", "4.20").text()).await.outcome.unwrap();
    assert!(!scene.held(id).await.critical);
}

/// What a crash leaves between keeping a message and telling the chain of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_message_is_finished_when_it_comes_again() {
    let scene = Scene::new().await;
    let (id, now) = (scene.collected().await, scene.world.now());
    let message = sent("1", id, "F", "4.10").text();
    let gateway = scene.laboratory();
    let record = RecordId(gateway.keyed_digest("salus/hl7v2-result/v1", id.as_slice()));
    let new = NewRecord {
        record,
        version: RecordVersion::FIRST,
        patient: scene.patient.account(),
        kind: Kind::Laboratory,
        content: Content::FhirJson,
        author: scene.person("scientist").member,
        created: now,
        body: br#"{"resourceType":"DiagnosticReport"}"#.to_vec(),
    };
    let (anchor, _) = gateway.gatekeeper.put_and_propose(new, None).await.unwrap();
    let mut transaction = gateway.gatekeeper.vault().database().begin().await.unwrap();
    let name = gateway.keyed_digest("salus/hl7v2-message/v1", b"3 LIS3 LAB1 1");
    let content = gateway.keyed_digest("salus/hl7v2-content/v1", message.as_bytes());
    sqlx::query("insert into laboratory_messages values ($1, $2, $3, $4, 1, 1, 0, 0)")
        .bind(name.to_vec())
        .bind(content.to_vec())
        .bind(id.to_vec())
        .bind(record.0.to_vec())
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(scene.held(id).await.result, None);

    let received = scene.take(&message).await;
    assert_eq!(Scene::taken(&received), ["lab.report"]);
    assert_eq!(scene.held(id).await.result, Some(anchor.digest));
    assert!(Scene::taken(&scene.take(&message).await).is_empty());
    assert_eq!(scene.versions().await, 1);
}
