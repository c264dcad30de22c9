//! What is given with a step is looked at before anything is sealed or sent: empty words, absurd numbers, kinds that
//! the patient closed, and a laboratory that could never report.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{DAY, HOUR, World, passkey, secret};
use domain::{Kind, KindSet, Purpose};
use serde_json::json;
use tempfile::TempDir;
use workflows::{
    PatientActor, WorkflowError,
    emergency::{self, Verdict},
    laboratory,
    prescription::{self, Dose, Known, Order, Product},
    research, surgery,
    waiting_list::{self, Referral},
};

struct Scene {
    world: World,
    patient: PatientActor,
    _dir: TempDir,
}

impl Scene {
    async fn new(stewards: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let patient = world.patient("P001", passkey("P001")).await;
        for steward in stewards {
            world.relate(steward, &patient, false).await;
        }
        Self { world, patient, _dir: dir }
    }

    /// How many blocks there are, and how many versions the hospital and the laboratory hold.
    async fn standing(&self) -> (u64, u64, u64) {
        let versions = async |name| self.world.assert_clean(name).await.versions;
        let head = self.world.chain().head().header.number;
        (head, versions("hospital").await, versions("laboratory").await)
    }

    async fn order(&self) -> Result<alloy_primitives::B256, WorkflowError> {
        self.order_of(&json!({ "text": "potassium" })).await
    }

    async fn order_of(
        &self,
        code: &serde_json::Value,
    ) -> Result<alloy_primitives::B256, WorkflowError> {
        let world = &self.world;
        let (hospital, physician) = (world.gateway("hospital"), world.person("physician"));
        let (lab, now) = (world.gateway("laboratory").member(), world.now());
        let ordered = laboratory::order(hospital, physician, &self.patient, lab, code, now).await;
        ordered.map(|(anchor, _)| anchor.record.0)
    }

    async fn issue(&self, order: &Order) -> Result<(), WorkflowError> {
        let world = &self.world;
        let known = Known {
            patient: self.patient.account(),
            allergies: Vec::new(),
            medicines: Vec::new(),
            unreadable: 0,
        };
        // An absurd dose may be a finding as well, and is absurd whatever the reason to go on.
        let checked = prescription::check(order, &known, Some("on purpose")).unwrap();
        let (hospital, physician) = (world.gateway("hospital"), world.person("physician"));
        let issued =
            prescription::issue(hospital, physician, &self.patient, &checked, world.now()).await;
        issued.map(drop)
    }
}

#[track_caller]
fn invalid<T>(outcome: Result<T, WorkflowError>, why: &str) {
    match outcome {
        Err(WorkflowError::Invalid(text)) => assert!(text.contains(why), "{text}"),
        Err(error) => panic!("refused otherwise: {error}"),
        Ok(_) => panic!("not refused: {why}"),
    }
}

fn order() -> Order {
    Order {
        medication: (String::new(), String::new(), "lisinopril".into()),
        dosage: "one in the morning".into(),
        dose: Some(Dose { each_micrograms: 10_000, times_a_day: 1 }),
        quantity: 30,
        fills: 1,
        valid_for: 30 * DAY,
        controlled: false,
        as_written: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_to_a_laboratory_that_can_report() {
    let scene = Scene::new(&["hospital"]).await;
    let before = scene.standing().await;
    invalid(scene.order().await, "the laboratory keeps no records for the patient");
    assert_eq!(scene.standing().await, before, "a refused order leaves nothing behind");
    scene.world.relate("laboratory", &scene.patient, false).await;
    scene.order().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn empty_words_are_refused_before_anything_is_written() {
    let scene = Scene::new(&["hospital", "laboratory"]).await;
    let (world, patient) = (&scene.world, &scene.patient);
    let (hospital, lab) = (world.gateway("hospital"), world.gateway("laboratory"));
    let (physician, scientist) = (world.person("physician"), world.person("scientist"));
    let (department, now) = (world.gateway("emergency"), world.now());
    let id = scene.order().await.unwrap();
    laboratory::collect(lab, scientist, id, secret("specimen")).await.unwrap();
    let kinds = KindSet::of(&[Kind::Allergy]);
    let paramedic = world.person("paramedic");
    let (opened, ..) =
        emergency::open(department, paramedic, patient.account(), kinds, HOUR, "unconscious")
            .await
            .unwrap();
    let referral = Referral::new(hospital, "Cardiology", "palpitations");
    let listed =
        waiting_list::refer(hospital, physician, patient, hospital.member(), &referral, now);
    let listing = listed.await.unwrap().0.record.0;

    let referral =
        surgery::Referral { operation: "hip replacement".into(), reason: "arthrosis".into() };
    let to = hospital.member();
    let referred = surgery::refer(hospital, physician, patient, to, &referral, now).await;
    let operation = referred.unwrap().0.record.0;

    let before = scene.standing().await;
    for nothing in ["", "  ", "…"] {
        let consultant = world.person("consultant");
        let account = patient.account();
        let open = emergency::open(department, consultant, account, kinds, HOUR, nothing).await;
        invalid(open, "the reason is empty");
        let officer = world.person("officer");
        let verdict = Verdict::Unjustified;
        let review = emergency::review(department, officer, &opened, verdict, nothing).await;
        invalid(review, "the note is empty");
        invalid(scene.order_of(&json!({ "text": nothing })).await, "the test is empty");
        let result = json!({ "valueString": nothing });
        let reported = laboratory::report(lab, scientist, patient, id, &result, false, now).await;
        invalid(reported, "the result is empty");
        let taken = laboratory::take_over(lab, scientist, patient, id, nothing, now).await;
        invalid(taken, "the condition of the specimen is empty");
        let medication = (String::new(), String::new(), nothing.to_owned());
        invalid(scene.issue(&Order { medication, ..order() }).await, "the medicine is empty");
        let dosage = nothing.to_owned();
        invalid(scene.issue(&Order { dosage, ..order() }).await, "the dosage is empty");
        for (specialty, reason, why) in
            [(nothing, "pain", "the specialty"), ("ENT", nothing, "the reason")]
        {
            let referral = Referral::new(hospital, specialty, reason);
            let to = hospital.member();
            let referred =
                waiting_list::refer(hospital, physician, patient, to, &referral, now).await;
            invalid(referred, why);
        }
        let referral = surgery::Referral { operation: "hip".into(), reason: nothing.into() };
        let to = hospital.member();
        let referred = surgery::refer(hospital, physician, patient, to, &referral, now).await;
        invalid(referred, "the reason is empty");
        let cancelled =
            surgery::cancel(hospital, physician, patient, operation, nothing, now).await;
        invalid(cancelled, "the cancellation is empty");
        let plan = surgery::Plan {
            operation: "hip replacement".into(),
            site: nothing.into(),
            disclosed: "infection".into(),
        };
        let assessed = surgery::assess(hospital, physician, patient, operation, &plan, now).await;
        invalid(assessed, "the site is empty");
        let removed =
            waiting_list::remove(hospital, physician, patient, listing, nothing, now).await;
        invalid(removed, "the reason is empty");
        invalid(
            waiting_list::leave(hospital, patient, listing, nothing, now).await,
            "the reason is empty",
        );
    }
    invalid(
        laboratory::report(lab, scientist, patient, id, &json!({}), false, now).await,
        "the result is empty",
    );
    let book = "a".repeat(4_097);
    invalid(
        waiting_list::leave(hospital, patient, listing, &book, now).await,
        "longer than 4096 bytes",
    );
    assert_eq!(scene.standing().await, before, "what is refused leaves nothing behind");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absurd_numbers_are_refused_before_anything_is_written() {
    let scene = Scene::new(&["hospital", "laboratory", "pharmacy"]).await;
    let (world, patient) = (&scene.world, &scene.patient);
    let (hospital, pharmacy) = (world.gateway("hospital"), world.gateway("pharmacy"));
    let before = scene.standing().await;
    let dose = |each_micrograms, times_a_day| Order {
        dose: Some(Dose { each_micrograms, times_a_day }),
        ..order()
    };
    for (order, why) in [
        (Order { quantity: u32::MAX, ..order() }, "the quantity is at most 10000"),
        (Order { quantity: 10_001, ..order() }, "the quantity is at most 10000"),
        (dose(0, 1), "a dose is more than nothing"),
        (dose(10_000, 0), "a dose is more than nothing"),
        (dose(100_000_001, 1), "the dose in milligrams is at most 100000"),
        (dose(u64::MAX, 1), "the dose in milligrams is at most 100000"),
        (dose(1, 49), "the number of times a day is at most 48"),
    ] {
        invalid(scene.issue(&order).await, why);
    }
    let product = |quantity, batch: &str, years: u32| Product {
        quantity,
        batch: batch.into(),
        expires: world.now().after(years * 366 * DAY),
    };
    for (product, why) in [
        (product(10_001, "B-1", 1), "the quantity is at most 10000"),
        (product(30, " ", 1), "the batch number is empty"),
        (product(30, "B-1", 21), "the expiry of the product is more than 20 years from now"),
    ] {
        let (id, pharmacist) = (secret("no prescription"), world.person("pharmacist"));
        let dispensed =
            prescription::dispense(pharmacy, pharmacist, patient, id, &product, world.now()).await;
        invalid(dispensed, why);
    }
    for amount in [0, 1_000_000_000_000_000, u128::MAX] {
        invalid(research::pay_in(hospital, amount).await, "an amount is from 1 to");
        invalid(research::pay_out(hospital, amount).await, "an amount is from 1 to");
    }
    assert_eq!(scene.standing().await, before, "what is refused leaves nothing behind");
    // The most that can be meant is taken.
    scene.issue(&Order { quantity: 10_000, ..order() }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emergency_needs_what_the_patient_did_not_close() {
    let scene = Scene::new(&["hospital", "laboratory"]).await;
    let (world, patient) = (&scene.world, &scene.patient);
    let (hospital, department) = (world.gateway("hospital"), world.gateway("emergency"));
    let paramedic = world.person("paramedic");
    let usual = paramedic.role.may_read(Purpose::Emergency);
    let needed = async || emergency::needed(department, paramedic, patient.account()).await;
    let restrict = async |kinds| {
        emergency::restrict(hospital, patient, kinds, false, world.now()).await.unwrap();
    };
    let all = needed().await.unwrap();
    assert_eq!((all.kinds, all.left_out), (usual, KindSet::EMPTY));
    // What no emergency needs is not left out of it.
    let closed = KindSet::of(&[Kind::Allergy, Kind::Genomics]);
    restrict(closed).await;
    assert_eq!(emergency::closed(department, patient.account()).await.unwrap(), closed);
    let some = needed().await.unwrap();
    let allergies = KindSet::of(&[Kind::Allergy]);
    assert_eq!((some.kinds, some.left_out), (usual.without(allergies), allergies));
    let account = patient.account();
    emergency::open(department, paramedic, account, some.kinds, HOUR, "unconscious").await.unwrap();
    restrict(usual).await;
    invalid(needed().await, "closed every kind that an emergency needs");
}

/// E4: what is read by an opening later, nobody would have reviewed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_is_found_justified_once_it_is_over() {
    let scene = Scene::new(&["hospital"]).await;
    let (world, account) = (&scene.world, scene.patient.account());
    let (department, officer) = (world.gateway("emergency"), world.person("officer"));
    let paramedic = world.person("paramedic");
    let kinds = KindSet::of(&[Kind::Allergy]);
    let open = async || {
        let opened =
            emergency::open(department, paramedic, account, kinds, HOUR, "unconscious").await;
        opened.unwrap().0
    };
    let review = async |opened: &emergency::Opened, verdict| {
        let reviewed = emergency::review(department, officer, opened, verdict, "a note").await;
        reviewed.map(|(_, step)| step)
    };
    let first = open().await;
    let early = common::refusal(review(&first, Verdict::Justified).await);
    assert!(early.contains("StillOpen") && early.contains("end it first"), "{early}");
    world.pass(HOUR);
    review(&first, Verdict::Justified).await.unwrap();

    let second = open().await;
    review(&second, Verdict::Unjustified).await.unwrap();
    // It ended with that, so there is room for another.
    let third = open().await;
    emergency::end(department, paramedic, &third).await.unwrap();
    review(&third, Verdict::Justified).await.unwrap();
}
