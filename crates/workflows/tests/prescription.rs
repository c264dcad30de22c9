//! Prescriptions beyond their happy path: checks, second signatures, substitution, claims given up and
//! timed out, and the patient's confirmation.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_primitives::B256;
use common::{DAY, HOUR, World, passkey, refusal};
use domain::{Anchor, Kind, ProfessionalRole};
use serde_json::json;
use tempfile::TempDir;
use workflows::{
    PatientActor, Person, Step, WorkflowError,
    prescription::{self, Dose, Finding, Known, Order, Product, State},
    record::{self, Draft, Verdict},
};

/// A hospital and two pharmacies that keep a patient's records.
struct Scene {
    world: World,
    patient: PatientActor,
    surgeon: Person,
    _dir: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let patient = world.patient("P001", passkey("P001")).await;
        for steward in ["hospital", "pharmacy", "other-pharmacy"] {
            world.relate(steward, &patient, false).await;
        }
        let surgeon = world.engage("surgeon", "hospital", ProfessionalRole::Surgeon).await;
        let keeper = &world.gateway("hospital").gatekeeper;
        keeper.refresh(world.now()).await.unwrap();
        let physician = world.person("physician").member;
        keeper.join_care_team(patient.account(), physician, world.now()).await.unwrap();
        Self { world, patient, surgeon, _dir: dir }
    }

    fn person(&self, name: &str) -> &Person {
        if name == "surgeon" { &self.surgeon } else { self.world.person(name) }
    }

    async fn known(&self) -> Known {
        let hospital = self.world.gateway("hospital");
        let (physician, account) = (self.person("physician"), self.patient.account());
        Known::read(hospital, physician.member, account, self.world.now()).await.unwrap()
    }

    /// What stands against an order, by what the hospital knows.
    async fn findings(&self, order: &Order) -> Vec<Finding> {
        let known = self.known().await;
        prescription::check(order, &known, None).map_or_else(|found| found, |_| Vec::new())
    }

    async fn issue_as(
        &self,
        who: &str,
        order: &Order,
    ) -> Result<(Anchor, Vec<Step>), WorkflowError> {
        let known = self.known().await;
        let checked = prescription::check(order, &known, Some("it was weighed")).unwrap();
        let (hospital, now) = (self.world.gateway("hospital"), self.world.now());
        let person = self.person(who);
        let issued = prescription::issue(hospital, person, &self.patient, &checked, now).await;
        let (anchor, mut steps) = issued?;
        if order.as_written {
            let id = anchor.record.0;
            steps.push(prescription::forbid_substitution(hospital, person, id).await?);
        }
        Ok((anchor, steps))
    }

    async fn issue(&self, order: &Order) -> Anchor {
        self.issue_as("physician", order).await.unwrap().0
    }

    /// Prescriber and patient permit both pharmacies.
    async fn permit(&self, anchor: &Anchor) {
        let (hospital, now) = (self.world.gateway("hospital"), self.world.now());
        let (physician, id) = (self.person("physician"), anchor.record.0);
        let (one, other) = (self.member("pharmacy"), self.member("other-pharmacy"));
        for pharmacy in [one, other] {
            prescription::permit_by_prescriber(hospital, physician, id, pharmacy).await.unwrap();
        }
        let patient = &self.patient;
        prescription::permit_by_patient(hospital, patient, anchor, one, now).await.unwrap();
        let call = bindings::Prescriptions::permitCall { id, pharmacy: other };
        let to = self.world.at(bindings::Contract::Prescriptions);
        let call = bindings::patient_account::Call::to_contract(to, &call);
        patient.act(hospital.sender(), vec![call], now).await.unwrap();
    }

    fn member(&self, name: &str) -> alloy_primitives::Address {
        self.world.gateway(name).member()
    }

    async fn claim(&self, who: &str, id: B256) -> Result<Step, WorkflowError> {
        prescription::claim(self.world.gateway(place_of(who)), self.person(who), id).await
    }

    async fn release(&self, who: &str, id: B256) -> Result<Step, WorkflowError> {
        prescription::release(self.world.gateway(place_of(who)), self.person(who), id).await
    }

    async fn substitute(&self, who: &str, id: B256) -> Result<(), WorkflowError> {
        let (pharmacy, now) = (self.world.gateway(place_of(who)), self.world.now());
        let (person, patient) = (self.person(who), &self.patient);
        let product = "another lisinopril";
        prescription::substitute(pharmacy, person, patient, id, product, "out of stock", now)
            .await?;
        Ok(())
    }

    async fn dispense(&self, who: &str, id: B256, quantity: u32) -> Result<Anchor, WorkflowError> {
        let (pharmacy, now) = (self.world.gateway(place_of(who)), self.world.now());
        let product = Product { quantity, batch: "B-1".into(), expires: now.after(400 * DAY) };
        let (person, patient) = (self.person(who), &self.patient);
        Ok(prescription::dispense(pharmacy, person, patient, id, &product, now).await?.0)
    }

    async fn countersign(&self, who: &str, id: B256) -> Result<Step, WorkflowError> {
        prescription::countersign(self.world.gateway("hospital"), self.person(who), id).await
    }

    async fn confirm(&self, who: &PatientActor, id: B256, fill: u8) -> Result<Step, WorkflowError> {
        let (relay, now) = (self.world.gateway("pharmacy"), self.world.now());
        prescription::confirm_collection(relay, who, id, fill, now).await
    }

    async fn state(&self, id: B256) -> State {
        prescription::standing(self.world.gateway("hospital"), id).await.unwrap()
    }

    async fn propose(&self, kind: Kind, resource: serde_json::Value) -> Anchor {
        let (hospital, now) = (self.world.gateway("hospital"), self.world.now());
        let (physician, draft) = (self.person("physician"), Draft { kind, resource });
        record::propose(hospital, physician, &self.patient, &draft, now).await.unwrap().0
    }

    async fn answer(&self, anchor: &Anchor, verdict: Verdict) {
        let (hospital, now) = (self.world.gateway("hospital"), self.world.now());
        record::answer(hospital, &self.patient, anchor, verdict, now).await.unwrap();
    }

    async fn versions(&self, name: &str) -> u64 {
        let report = self.world.assert_clean(name).await;
        assert_eq!(report.versions, report.anchors);
        report.versions
    }
}

fn place_of(who: &str) -> &'static str {
    match who {
        "pharmacist" => "pharmacy",
        "other-pharmacist" => "other-pharmacy",
        "scientist" => "laboratory",
        _ => "hospital",
    }
}

fn order(medicine: &str) -> Order {
    Order {
        medication: ("http://rxnorm.example".into(), "1".into(), medicine.into()),
        dosage: "one in the morning".into(),
        dose: None,
        quantity: 30,
        fills: 1,
        valid_for: 30 * DAY,
        controlled: false,
        as_written: false,
    }
}

fn operations(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.operation).collect()
}

#[track_caller]
fn refused_as<T>(outcome: Result<T, WorkflowError>, reason: &str) {
    let text = refusal(outcome);
    assert!(text.contains(reason), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_is_held_against_what_is_known() {
    let scene = Scene::new().await;
    let amoxicillin = order("Amoxicillin 500 MG Oral Capsule");
    assert!(scene.findings(&amoxicillin).await.is_empty());
    let allergy = |text: &str| {
        let system = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical";
        json!({
            "resourceType": "AllergyIntolerance",
            "clinicalStatus": { "coding": [{ "system": system, "code": "active" }] },
            "code": { "text": text },
            "patient": { "reference": format!("Patient/{}", scene.patient.account()) },
        })
    };
    let rejected = scene.propose(Kind::Allergy, allergy("Allergy to penicillin")).await;
    scene.answer(&rejected, Verdict::Reject).await;
    assert!(scene.findings(&amoxicillin).await.is_empty(), "the patient says that it is wrong");
    scene.propose(Kind::Allergy, allergy("Allergy to penicillin")).await;
    assert!(matches!(scene.findings(&amoxicillin).await[..], [Finding::Allergy { .. }]));

    let before = scene.versions("hospital").await;
    let (_, steps) = scene.issue_as("physician", &amoxicillin).await.unwrap();
    let expected = ["record.propose", "record.propose", "prescription.issue"];
    assert_eq!(operations(&steps), expected);
    assert!(steps[0].what.starts_with("overrides"));
    assert_eq!(scene.versions("hospital").await, before + 2);
    let keeper = &scene.world.gateway("hospital").gatekeeper;
    let timeline = keeper.patient_timeline(scene.patient.account()).await.unwrap();
    let overridden = timeline.steps.iter().find(|step| step.transaction == steps[0].transaction);
    assert!(overridden.unwrap().checked, "the override is on the timeline");

    // A prescription counts until it is cancelled.
    let warfarin = scene.issue(&order("warfarin 5 MG")).await;
    let ibuprofen = order("ibuprofen 400 MG");
    assert!(matches!(scene.findings(&ibuprofen).await[..], [Finding::Interaction { .. }]));
    let (hospital, physician) = (scene.world.gateway("hospital"), scene.person("physician"));
    prescription::cancel(hospital, physician, warfarin.record.0).await.unwrap();
    assert!(scene.findings(&ibuprofen).await.is_empty());
    let too_much = Order { dose: Dose::of_milligrams("800", 5), ..ibuprofen };
    assert!(matches!(scene.findings(&too_much).await[..], [Finding::Dose { .. }]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_read_cannot_check_and_checks_are_for_one_patient() {
    let scene = Scene::new().await;
    let (world, hospital) = (&scene.world, scene.world.gateway("hospital"));
    let account = scene.patient.account();
    // The surgeon is not in the care team.
    let read = Known::read(hospital, scene.surgeon.member, account, world.now()).await;
    assert!(matches!(read, Err(WorkflowError::Invalid(_))));
    let known = scene.known().await;
    let order = order("lisinopril 10 MG");
    let checked = prescription::check(&order, &known, None).unwrap();
    let other = world.patient("P002", passkey("P002")).await;
    world.relate("hospital", &other, false).await;
    let physician = scene.person("physician");
    let issued = prescription::issue(hospital, physician, &other, &checked, world.now()).await;
    assert!(matches!(issued, Err(WorkflowError::Invalid(_))));
    for who in ["nurse", "pharmacist", "scientist"] {
        refused_as(scene.issue_as(who, &order).await, "WrongRole");
    }
    assert_eq!(scene.versions("hospital").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controlled_medicine_takes_a_second_doctor() {
    let scene = Scene::new().await;
    let oxycodone = Order { controlled: true, ..order("oxycodone 5 MG") };
    let (anchor, steps) = scene.issue_as("physician", &oxycodone).await.unwrap();
    assert_eq!(operations(&steps), ["record.propose", "prescription.issue-controlled"]);
    let id = anchor.record.0;
    scene.permit(&anchor).await;
    assert_eq!(scene.state(id).await, State::AwaitingSignature);
    refused_as(scene.claim("pharmacist", id).await, "WrongState");
    refused_as(scene.countersign("physician", id).await, "NotSecond");
    refused_as(scene.countersign("consultant", id).await, "NotSecond");
    refused_as(scene.countersign("nurse", id).await, "WrongRole");
    scene.countersign("surgeon", id).await.unwrap();
    refused_as(scene.countersign("surgeon", id).await, "WrongState");
    assert_eq!(scene.state(id).await, State::Issued);
    scene.claim("pharmacist", id).await.unwrap();
    let plain = scene.issue(&order("lisinopril 10 MG")).await;
    refused_as(scene.countersign("surgeon", plain.record.0).await, "WrongState");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_product_is_handed_out_unless_it_is_forbidden() {
    let scene = Scene::new().await;
    let anchor = scene.issue(&order("lisinopril 10 MG")).await;
    let id = anchor.record.0;
    scene.permit(&anchor).await;
    refused_as(scene.substitute("pharmacist", id).await, "WrongState");
    scene.claim("pharmacist", id).await.unwrap();
    refused_as(scene.substitute("other-pharmacist", id).await, "NotClaimant");
    assert_eq!(scene.versions("pharmacy").await, 0);
    scene.substitute("pharmacist", id).await.unwrap();
    scene.dispense("pharmacist", id, 30).await.unwrap();
    assert_eq!(scene.versions("pharmacy").await, 2);

    let as_written = Order { as_written: true, ..order("lisinopril 10 MG") };
    let (anchor, steps) = scene.issue_as("physician", &as_written).await.unwrap();
    let expected = ["record.propose", "prescription.issue", "prescription.forbid-substitution"];
    assert_eq!(operations(&steps), expected);
    scene.permit(&anchor).await;
    scene.claim("pharmacist", anchor.record.0).await.unwrap();
    let substituted = scene.substitute("pharmacist", anchor.record.0).await;
    refused_as(substituted, "SubstitutionRefused");
    assert_eq!(scene.versions("pharmacy").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_are_given_up_and_time_out_and_prescriptions_expire() {
    let scene = Scene::new().await;
    let anchor = scene.issue(&order("lisinopril 10 MG")).await;
    let id = anchor.record.0;
    scene.permit(&anchor).await;
    refused_as(scene.release("pharmacist", id).await, "NotClaimant");
    scene.claim("pharmacist", id).await.unwrap();
    refused_as(scene.claim("other-pharmacist", id).await, "WrongState");
    refused_as(scene.release("other-pharmacist", id).await, "NotClaimant");
    refused_as(scene.release("nurse", id).await, "WrongRole");
    refused_as(scene.dispense("other-pharmacist", id, 30).await, "NotClaimant");
    scene.release("pharmacist", id).await.unwrap();
    assert_eq!(scene.state(id).await, State::Issued);
    scene.claim("other-pharmacist", id).await.unwrap();
    scene.dispense("other-pharmacist", id, 10).await.unwrap();
    scene.world.pass(2 * HOUR - std::time::Duration::from_secs(1));
    assert_eq!(scene.state(id).await, State::Claimed, "the last second of the claim");
    scene.world.pass(std::time::Duration::from_secs(1));
    assert_eq!(scene.state(id).await, State::Issued);
    refused_as(scene.dispense("other-pharmacist", id, 20).await, "WrongState");
    // What the first handed out stays handed out.
    scene.claim("pharmacist", id).await.unwrap();
    refused_as(scene.dispense("pharmacist", id, 21).await, "WrongQuantity");
    scene.world.pass(30 * DAY);
    assert_eq!(scene.state(id).await, State::Expired);
    refused_as(scene.dispense("pharmacist", id, 20).await, "WrongState");
    refused_as(scene.claim("pharmacist", id).await, "WrongState");
    // The law keeps what is expired; the prescriber may still say that it is cancelled.
    let (hospital, physician) = (scene.world.gateway("hospital"), scene.person("physician"));
    prescription::cancel(hospital, physician, id).await.unwrap();
    assert_eq!(scene.state(id).await, State::Cancelled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pharmacies_race_for_a_claim_that_was_given_up() {
    let scene = Scene::new().await;
    let anchor = scene.issue(&order("lisinopril 10 MG")).await;
    let id = anchor.record.0;
    scene.permit(&anchor).await;
    for _ in 0..4 {
        let (one, two) =
            tokio::join!(scene.claim("pharmacist", id), scene.claim("other-pharmacist", id));
        let winner = match (one, two) {
            (Ok(_), lost) => {
                refusal(lost);
                "pharmacist"
            }
            (lost, Ok(_)) => {
                refusal(lost);
                "other-pharmacist"
            }
            (one, two) => panic!("nobody won: {one:?} {two:?}"),
        };
        assert_eq!(scene.state(id).await, State::Claimed);
        scene.release(winner, id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patient_confirms_each_completed_fill_once() {
    let scene = Scene::new().await;
    let pharmacy = scene.world.gateway("pharmacy");
    let anchor = scene.issue(&Order { fills: 2, ..order("lisinopril 10 MG") }).await;
    let id = anchor.record.0;
    scene.permit(&anchor).await;
    scene.claim("pharmacist", id).await.unwrap();
    scene.dispense("pharmacist", id, 10).await.unwrap();
    assert_eq!(prescription::receipt(pharmacy, id, 1).await.unwrap(), None);
    refused_as(scene.confirm(&scene.patient, id, 1).await, "NothingToConfirm");
    let last = scene.dispense("pharmacist", id, 20).await.unwrap();
    let receipt = prescription::receipt(pharmacy, id, 1).await.unwrap().unwrap();
    assert_eq!(receipt.pharmacy, pharmacy.member());
    assert_eq!((receipt.confirmed, receipt.record), (false, last.digest.0));
    let stranger = scene.world.patient("P002", passkey("P002")).await;
    refused_as(scene.confirm(&stranger, id, 1).await, "NotParty");
    scene.confirm(&scene.patient, id, 1).await.unwrap();
    refused_as(scene.confirm(&scene.patient, id, 1).await, "NothingToConfirm");
    let confirmed = prescription::receipt(pharmacy, id, 1).await.unwrap().unwrap();
    assert_eq!(confirmed, prescription::Receipt { confirmed: true, ..receipt });
    refused_as(scene.confirm(&scene.patient, id, 2).await, "NothingToConfirm");
    // The second fill, whole, completes the prescription.
    scene.claim("pharmacist", id).await.unwrap();
    scene.dispense("pharmacist", id, 30).await.unwrap();
    assert_eq!(scene.state(id).await, State::Completed);
    scene.confirm(&scene.patient, id, 2).await.unwrap();
    refused_as(scene.release("pharmacist", id).await, "NotClaimant");
}
