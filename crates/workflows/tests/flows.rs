//! A step of a workflow happens at most once, by someone whose role and grant allow it, in the order
//! that the contracts draw (S8); what is refused leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod journal;

use std::{collections::BTreeSet, fs, path::PathBuf};

use alloy_primitives::{Address, B256};
use common::{DAY, HOUR, World, bundle, passkey, refusal, secret};
use domain::{Anchor, Kind, KindSet, Purpose, RecordDigest, RecordId};
use gatekeeper::AnchorError;
use journal::Journal;
use serde_json::json;
use tempfile::TempDir;
use vault::{ErasureReason, PutError};
use workflows::{
    PatientActor, Step, WorkflowError,
    access::{self, Answered, Wanted},
    consent, emergency, laboratory,
    prescription::{self, Known},
    record::{self, Draft, Verdict},
    relationship,
};

/// A consortium with one patient, whose records all institutions keep.
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
        for steward in ["hospital", "laboratory", "pharmacy", "other-pharmacy"] {
            world.relate(steward, &patient, false).await;
        }
        Self { world, patient, _dir: dir }
    }

    /// What vault and chain of an institution hold, which must agree.
    async fn versions(&self, name: &str) -> u64 {
        let report = self.world.assert_clean(name).await;
        assert_eq!(report.versions, report.anchors);
        report.versions
    }

    async fn prescribe(&self, quantity: u32, fills: u8) -> Result<Anchor, WorkflowError> {
        self.prescribe_as("physician", quantity, fills).await
    }

    async fn prescribe_as(
        &self,
        who: &str,
        quantity: u32,
        fills: u8,
    ) -> Result<Anchor, WorkflowError> {
        let order = prescription::Order {
            medication: ("http://rxnorm.example".into(), "314076".into(), "lisinopril".into()),
            dosage: "one in the morning".into(),
            dose: None,
            quantity,
            fills,
            valid_for: 30 * DAY,
            controlled: false,
            as_written: false,
        };
        let (hospital, prescriber) = (self.world.gateway("hospital"), self.world.person(who));
        let now = self.world.now();
        let patient = &self.patient;
        let known = Known {
            patient: patient.account(),
            allergies: Vec::new(),
            medicines: Vec::new(),
            unreadable: 0,
        };
        let checked = prescription::check(&order, &known, None).unwrap();
        let issued = prescription::issue(hospital, prescriber, patient, &checked, now).await?;
        steps_are_listed(&issued.1);
        Ok(issued.0)
    }

    /// Prescriber and patient permit a pharmacy.
    async fn permit(&self, anchor: &Anchor, pharmacy: Address) {
        let (hospital, id) = (self.world.gateway("hospital"), anchor.record.0);
        let physician = self.world.person("physician");
        prescription::permit_by_prescriber(hospital, physician, id, pharmacy).await.unwrap();
        let now = self.world.now();
        prescription::permit_by_patient(hospital, &self.patient, anchor, pharmacy, now)
            .await
            .unwrap();
    }

    async fn claim(
        &self,
        pharmacy: &str,
        pharmacist: &str,
        id: B256,
    ) -> Result<Step, WorkflowError> {
        prescription::claim(self.world.gateway(pharmacy), self.world.person(pharmacist), id).await
    }

    async fn dispense(&self, id: B256, quantity: u32) -> Result<(), WorkflowError> {
        self.dispense_at("pharmacy", "pharmacist", id, quantity).await
    }

    async fn dispense_at(
        &self,
        pharmacy: &str,
        pharmacist: &str,
        id: B256,
        quantity: u32,
    ) -> Result<(), WorkflowError> {
        let now = self.world.now();
        let product = prescription::Product {
            quantity,
            batch: "LX-4711".into(),
            expires: now.after(400 * DAY),
        };
        let (pharmacy, pharmacist) = (self.world.gateway(pharmacy), self.world.person(pharmacist));
        let patient = &self.patient;
        let (_, steps) =
            prescription::dispense(pharmacy, pharmacist, patient, id, &product, now).await?;
        steps_are_listed(&steps);
        Ok(())
    }

    async fn order(&self, who: &str) -> Result<Anchor, WorkflowError> {
        let (hospital, laboratory) =
            (self.world.gateway("hospital"), self.world.gateway("laboratory"));
        let (orderer, code) = (self.world.person(who), json!({ "text": "potassium" }));
        let now = self.world.now();
        let (anchor, steps) =
            laboratory::order(hospital, orderer, &self.patient, laboratory.member(), &code, now)
                .await?;
        steps_are_listed(&steps);
        Ok(anchor)
    }

    async fn report(&self, id: B256) -> Result<Anchor, WorkflowError> {
        let (gateway, scientist) =
            (self.world.gateway("laboratory"), self.world.person("scientist"));
        let result = json!({ "valueQuantity": { "value": 6.8, "unit": "mmol/L" } });
        let (patient, now) = (&self.patient, self.world.now());
        let (anchor, steps) =
            laboratory::report(gateway, scientist, patient, id, &result, true, now).await?;
        steps_are_listed(&steps);
        Ok(anchor)
    }

    fn draft(&self, text: &str) -> Draft {
        let subject = format!("Patient/{}", self.patient.account());
        let resource = json!({
            "resourceType": "Condition",
            "code": { "text": text },
            "subject": { "reference": subject },
        });
        Draft { kind: Kind::Condition, resource }
    }

    async fn propose(&self, text: &str) -> Anchor {
        let (hospital, physician) =
            (self.world.gateway("hospital"), self.world.person("physician"));
        let (draft, now) = (self.draft(text), self.world.now());
        let proposed = record::propose(hospital, physician, &self.patient, &draft, now).await;
        proposed.unwrap().0
    }

    async fn amend(&self, previous: &Anchor, text: &str) -> Result<Anchor, WorkflowError> {
        let (hospital, physician) =
            (self.world.gateway("hospital"), self.world.person("physician"));
        let (draft, now) = (self.draft(text), self.world.now());
        let patient = &self.patient;
        let (anchor, steps) =
            record::amend(hospital, physician, patient, previous, &draft, now).await?;
        steps_are_listed(&steps);
        Ok(anchor)
    }

    async fn answer(&self, anchor: &Anchor, verdict: Verdict) -> Result<(), WorkflowError> {
        let (hospital, now) = (self.world.gateway("hospital"), self.world.now());
        let step = record::answer(hospital, &self.patient, anchor, verdict, now).await?;
        steps_are_listed(&[step]);
        Ok(())
    }

    /// Reads the hospital's records.
    async fn read(
        &self,
        who: &str,
        kinds: &[Kind],
        record: Option<RecordId>,
        purpose: Purpose,
    ) -> Result<Answered, WorkflowError> {
        let wanted =
            Wanted { patient: self.patient.account(), kinds: KindSet::of(kinds), record, purpose };
        let keeper = &self.world.gateway("hospital").gatekeeper;
        let (answered, _) =
            access::ask(keeper, self.world.person(who), &wanted, self.world.now()).await?;
        Ok(answered)
    }

    async fn treats(&self, who: &str) -> Result<Answered, WorkflowError> {
        self.read(who, &[Kind::Condition], None, Purpose::Treatment).await
    }

    async fn rescues(&self, who: &str) -> Result<Answered, WorkflowError> {
        self.read(who, &[Kind::Condition], None, Purpose::Emergency).await
    }

    async fn break_glass(
        &self,
        who: &str,
        kinds: &[Kind],
        period: std::time::Duration,
    ) -> Result<emergency::Opened, WorkflowError> {
        let (department, professional) = (self.world.gateway("emergency"), self.world.person(who));
        let (account, kinds) = (self.patient.account(), KindSet::of(kinds));
        let reason = "found unconscious";
        let (opened, _, step) =
            emergency::open(department, professional, account, kinds, period, reason).await?;
        steps_are_listed(&[step]);
        Ok(opened)
    }

    async fn end(&self, who: &str, opened: &emergency::Opened) -> Result<Step, WorkflowError> {
        emergency::end(self.world.gateway("emergency"), self.world.person(who), opened).await
    }

    async fn review(&self, who: &str, opened: &emergency::Opened) -> Result<Step, WorkflowError> {
        let (department, officer) = (self.world.gateway("emergency"), self.world.person(who));
        let verdict = emergency::Verdict::Justified;
        let reviewed = emergency::review(department, officer, opened, verdict, "a note").await;
        reviewed.map(|(_, step)| step)
    }
}

/// Every step is an operation whose gas `contracts/gas.json` has.
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prescription_is_dispensed_once_and_not_beyond_its_quantity() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let anchor = scene.prescribe(30, 1).await.unwrap();
    let (id, record) = (anchor.record.0, Some(anchor.record));
    let pharmacy = world.gateway("pharmacy").member();
    let (hospital, physician) = (world.gateway("hospital"), world.person("physician"));
    let read = || scene.read("pharmacist", &[Kind::Medication], record, Purpose::Treatment);

    refused_as(scene.claim("pharmacy", "pharmacist", id).await, "NotPermitted");
    refusal(read().await);
    prescription::permit_by_prescriber(hospital, physician, id, pharmacy).await.unwrap();
    refused_as(scene.claim("pharmacy", "pharmacist", id).await, "NotPermitted");
    refusal(read().await);
    let now = world.now();
    let permitted =
        prescription::permit_by_patient(hospital, &scene.patient, &anchor, pharmacy, now).await;
    steps_are_listed(&[permitted.unwrap()]);
    assert_eq!(read().await.unwrap().records.len(), 1);
    refused_as(scene.dispense(id, 30).await, "WrongState");
    steps_are_listed(&[scene.claim("pharmacy", "pharmacist", id).await.unwrap()]);
    refused_as(scene.claim("pharmacy", "pharmacist", id).await, "WrongState");

    refused_as(scene.dispense(id, 31).await, "WrongQuantity");
    refused_as(scene.dispense(id, 0).await, "WrongQuantity");
    scene.dispense(id, 10).await.unwrap();
    refused_as(scene.dispense(id, 21).await, "WrongQuantity");
    scene.dispense(id, 20).await.unwrap();
    refused_as(scene.dispense(id, 1).await, "WrongState");
    refused_as(scene.claim("pharmacy", "pharmacist", id).await, "WrongState");
    refused_as(prescription::cancel(hospital, physician, id).await, "WrongState");
    refusal(read().await);
    assert_eq!(scene.versions("pharmacy").await, 2, "refused dispensing leaves nothing behind");
    assert_eq!(scene.versions("hospital").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_products_and_expired_prescriptions_are_refused() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let anchor = scene.prescribe(30, 2).await.unwrap();
    let id = anchor.record.0;
    scene.permit(&anchor, world.gateway("pharmacy").member()).await;
    scene.claim("pharmacy", "pharmacist", id).await.unwrap();
    let (pharmacy, pharmacist) = (world.gateway("pharmacy"), world.person("pharmacist"));
    let stale = prescription::Product { quantity: 30, batch: "old".into(), expires: world.now() };
    let dispensed =
        prescription::dispense(pharmacy, pharmacist, &scene.patient, id, &stale, world.now()).await;
    refused_as(dispensed, "ProductExpired");
    scene.dispense(id, 30).await.unwrap();
    world.pass(31 * DAY);
    refused_as(scene.claim("pharmacy", "pharmacist", id).await, "WrongState");
    assert_eq!(scene.versions("pharmacy").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pharmacies_race_for_the_claim_and_one_wins() {
    let scene = Scene::new().await;
    let world = &scene.world;
    for _ in 0..5 {
        let anchor = scene.prescribe(30, 1).await.unwrap();
        let id = anchor.record.0;
        scene.permit(&anchor, world.gateway("pharmacy").member()).await;
        let (hospital, physician) = (world.gateway("hospital"), world.person("physician"));
        let other = world.gateway("other-pharmacy").member();
        prescription::permit_by_prescriber(hospital, physician, id, other).await.unwrap();
        let call = bindings::Prescriptions::permitCall { id, pharmacy: other };
        let to = world.at(bindings::Contract::Prescriptions);
        let call = bindings::patient_account::Call::to_contract(to, &call);
        scene.patient.act(hospital.sender(), vec![call], world.now()).await.unwrap();

        let (one, two) = tokio::join!(
            scene.claim("pharmacy", "pharmacist", id),
            scene.claim("other-pharmacy", "other-pharmacist", id),
        );
        let (winner, loser) = match (one, two) {
            (Ok(_), lost) => {
                refusal(lost);
                (("pharmacy", "pharmacist"), ("other-pharmacy", "other-pharmacist"))
            }
            (lost, Ok(_)) => {
                refusal(lost);
                (("other-pharmacy", "other-pharmacist"), ("pharmacy", "pharmacist"))
            }
            (one, two) => panic!("nobody won: {one:?} {two:?}"),
        };
        refused_as(scene.dispense_at(loser.0, loser.1, id, 30).await, "NotClaimant");
        scene.dispense_at(winner.0, winner.1, id, 30).await.unwrap();
        refused_as(scene.dispense_at(loser.0, loser.1, id, 30).await, "WrongState");
    }
    let dispensed = scene.versions("pharmacy").await + scene.versions("other-pharmacy").await;
    assert_eq!(dispensed, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_of_a_pharmacy_that_does_nothing_runs_out() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let anchor = scene.prescribe(30, 1).await.unwrap();
    let id = anchor.record.0;
    scene.permit(&anchor, world.gateway("pharmacy").member()).await;
    scene.claim("pharmacy", "pharmacist", id).await.unwrap();
    world.pass(2 * HOUR);
    refused_as(scene.dispense(id, 30).await, "WrongState");
    scene.claim("pharmacy", "pharmacist", id).await.unwrap();
    scene.dispense(id, 30).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_prescribe_or_order_leaves_nothing_behind() {
    let scene = Scene::new().await;
    let world = &scene.world;
    refused_as(scene.prescribe_as("nurse", 30, 1).await, "WrongRole");
    refused_as(scene.prescribe_as("consultant", 30, 1).await, "NotActive");
    refused_as(scene.prescribe(0, 1).await, "InvalidTerms");
    refused_as(scene.prescribe(30, 0).await, "InvalidTerms");
    refused_as(scene.prescribe(30, 13).await, "InvalidTerms");
    refused_as(scene.order("nurse").await, "NotAllowed");
    refused_as(scene.order("consultant").await, "NotActive");
    assert_eq!(scene.versions("hospital").await, 0);

    let anchor = scene.prescribe(30, 1).await.unwrap();
    let (hospital, id) = (world.gateway("hospital"), anchor.record.0);
    let (stranger, pharmacy) = (world.person("consultant"), world.gateway("pharmacy").member());
    let permit = prescription::permit_by_prescriber(hospital, stranger, id, pharmacy).await;
    refused_as(permit, "NotParty");
    refused_as(prescription::cancel(hospital, stranger, id).await, "NotParty");
    refused_as(scene.claim("pharmacy", "scientist", id).await, "WrongRole");
    let laboratory = world.gateway("laboratory").member();
    let physician = world.person("physician");
    let permit = prescription::permit_by_prescriber(hospital, physician, id, laboratory).await;
    refused_as(permit, "WrongInstitution");
    let step = prescription::cancel(hospital, physician, id).await.unwrap();
    steps_are_listed(&[step]);
    refused_as(prescription::cancel(hospital, physician, id).await, "WrongState");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn laboratory_steps_come_in_order_and_once() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let (hospital, lab) = (world.gateway("hospital"), world.gateway("laboratory"));
    let id = scene.order("physician").await.unwrap().record.0;
    let collect = |who| laboratory::collect(lab, world.person(who), id, secret("specimen"));
    let early = RecordDigest(secret("a result that is not there"));
    let release = |who, digest| laboratory::release(lab, world.person(who), id, digest);
    let acknowledge =
        |who, digest| laboratory::acknowledge(hospital, world.person(who), id, digest);

    refused_as(scene.report(id).await, "WrongState");
    refused_as(release("scientist", early).await, "WrongState");
    refused_as(acknowledge("physician", early).await, "WrongState");
    refused_as(collect("pharmacist").await, "NotAllowed");
    steps_are_listed(&[collect("scientist").await.unwrap()]);
    refused_as(collect("scientist").await, "WrongState");
    refused_as(release("scientist", early).await, "WrongState");
    assert_eq!(scene.versions("laboratory").await, 0, "no result of a specimen that was not there");

    let digest = scene.report(id).await.unwrap().digest;
    refused_as(scene.report(id).await, "WrongState");
    assert_eq!(scene.versions("laboratory").await, 1);
    refused_as(acknowledge("consultant", digest).await, "NotAllowed");
    refused_as(acknowledge("scientist", digest).await, "NotAllowed");
    refused_as(acknowledge("nurse", digest).await, "NotAllowed");
    refused_as(acknowledge("physician", early).await, "ResultDiffers");
    steps_are_listed(&[acknowledge("physician", digest).await.unwrap()]);
    refused_as(acknowledge("physician", digest).await, "AlreadyAcknowledged");
    refused_as(release("paramedic", digest).await, "NotAllowed");
    refused_as(release("scientist", early).await, "ResultDiffers");
    steps_are_listed(&[release("scientist", digest).await.unwrap()]);
    refused_as(release("scientist", digest).await, "WrongState");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consent_opens_reading_and_revoking_ends_it() {
    let scene = Scene::new().await;
    let (world, patient) = (&scene.world, &scene.patient);
    let (hospital, reader) = (world.gateway("hospital"), world.gateway("emergency").member());
    let anchor = scene.propose("hypertension").await;
    scene.answer(&anchor, Verdict::Accept).await.unwrap();
    let terms = world.terms(&[Kind::Condition]);
    let grant = || consent::grant(hospital, patient, reader, None, &terms, world.now());

    refusal(scene.treats("consultant").await);
    let (_, step) = grant().await.unwrap();
    steps_are_listed(&[step]);
    assert_eq!(scene.treats("consultant").await.unwrap().records.len(), 1);
    refusal(scene.rescues("consultant").await);
    refusal(scene.read("consultant", &[Kind::Imaging], None, Purpose::Treatment).await);
    refusal(scene.treats("pharmacist").await);
    let step = consent::revoke(hospital, patient, reader, None, world.now()).await.unwrap();
    steps_are_listed(&[step]);
    refusal(scene.treats("consultant").await);
    consent::revoke(hospital, patient, reader, None, world.now()).await.unwrap();

    grant().await.unwrap();
    assert_eq!(scene.treats("consultant").await.unwrap().records.len(), 1);
    world.pass(7 * DAY);
    refusal(scene.treats("consultant").await);
    refused_as(grant().await, "InvalidPeriod");
    scene.versions("hospital").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dual_consent_takes_both_signatures_under_the_same_version() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let patient = world.patient("P002", passkey("P002")).await;
    world.relate("hospital", &patient, true).await;
    let scene = Scene { patient, ..scene };
    let (world, patient) = (&scene.world, &scene.patient);
    let (hospital, reader) = (world.gateway("hospital"), world.gateway("emergency").member());
    let anchor = scene.propose("hypertension").await;
    scene.answer(&anchor, Verdict::Accept).await.unwrap();
    let terms = world.terms(&[Kind::Condition]);
    let account = patient.account();
    let countersign = |version| consent::countersign(hospital, account, reader, None, version);

    refused_as(countersign(1).await, "WrongVersion");
    let (first, _) =
        consent::grant(hospital, patient, reader, None, &terms, world.now()).await.unwrap();
    refusal(scene.treats("consultant").await);
    steps_are_listed(&[countersign(first).await.unwrap()]);
    assert_eq!(scene.treats("consultant").await.unwrap().records.len(), 1);

    // A new grant takes a new countersignature: nobody signs what they have not seen.
    let wider = world.terms(&[Kind::Condition, Kind::MentalHealth]);
    let (second, _) =
        consent::grant(hospital, patient, reader, None, &wider, world.now()).await.unwrap();
    refusal(scene.treats("consultant").await);
    refused_as(countersign(first).await, "WrongVersion");
    countersign(second).await.unwrap();
    assert_eq!(scene.treats("consultant").await.unwrap().records.len(), 1);
    consent::revoke(hospital, patient, reader, None, world.now()).await.unwrap();
    refusal(scene.treats("consultant").await);
    refused_as(countersign(second).await, "WrongVersion");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn glass_is_broken_by_the_right_people_for_a_time() {
    let scene = Scene::new().await;
    let (world, kinds) = (&scene.world, [Kind::Condition]);
    let anchor = scene.propose("hypertension").await;
    scene.answer(&anchor, Verdict::Accept).await.unwrap();

    refusal(scene.rescues("paramedic").await);
    refused_as(scene.break_glass("officer", &kinds, HOUR).await, "WrongRole");
    refused_as(scene.break_glass("physician", &kinds, HOUR).await, "NotEmergency");
    refused_as(scene.break_glass("paramedic", &kinds, 25 * HOUR).await, "InvalidPeriod");
    refused_as(scene.break_glass("paramedic", &[], HOUR).await, "NoKinds");
    let opened = scene.break_glass("paramedic", &kinds, HOUR).await.unwrap();
    assert_eq!(scene.rescues("paramedic").await.unwrap().records.len(), 1);
    refusal(scene.rescues("consultant").await);
    refused_as(scene.break_glass("paramedic", &kinds, HOUR).await, "StillOpen");
    refused_as(scene.end("consultant", &opened).await, "NotParty");
    refused_as(scene.review("paramedic", &opened).await, "WrongRole");
    steps_are_listed(&[scene.end("paramedic", &opened).await.unwrap()]);
    refusal(scene.rescues("paramedic").await);
    refused_as(scene.end("paramedic", &opened).await, "NotRunning");
    steps_are_listed(&[scene.review("officer", &opened).await.unwrap()]);
    refused_as(scene.review("officer", &opened).await, "AlreadyReviewed");

    // Time ends an opening by itself.
    world.pass(HOUR);
    scene.break_glass("paramedic", &kinds, HOUR).await.unwrap();
    world.pass(HOUR);
    refusal(scene.rescues("paramedic").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreviewed_openings_block_the_next() {
    let scene = Scene::new().await;
    let (world, kinds) = (&scene.world, [Kind::Condition]);
    let first = scene.break_glass("paramedic", &kinds, HOUR).await.unwrap();
    // A second opening before the review is possible, until a review is overdue.
    world.pass(2 * HOUR);
    let second = scene.break_glass("paramedic", &kinds, HOUR).await.unwrap();
    world.pass(71 * HOUR);
    refused_as(scene.break_glass("paramedic", &kinds, HOUR).await, "ReviewOverdue");
    scene.review("officer", &first).await.unwrap();
    scene.break_glass("paramedic", &kinds, HOUR).await.unwrap();
    world.pass(2 * HOUR);
    refused_as(scene.break_glass("paramedic", &kinds, HOUR).await, "ReviewOverdue");
    scene.review("officer", &second).await.unwrap();
    // However soon: not more than eight wait for a review.
    for _ in 0..7 {
        scene.break_glass("paramedic", &kinds, HOUR).await.unwrap();
        world.pass(HOUR);
    }
    refused_as(scene.break_glass("paramedic", &kinds, HOUR).await, "TooManyUnreviewed");
    scene.break_glass("consultant", &kinds, HOUR).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_patient_closed_stays_closed_in_an_emergency() {
    let scene = Scene::new().await;
    let (world, patient) = (&scene.world, &scene.patient);
    let hospital = world.gateway("hospital");
    let both = [Kind::Condition, Kind::Medication];
    let restrict = |kinds: &[Kind], opted_out| {
        emergency::restrict(hospital, patient, KindSet::of(kinds), opted_out, world.now())
    };
    steps_are_listed(&[restrict(&[Kind::Condition], false).await.unwrap()]);
    refused_as(scene.break_glass("paramedic", &both, HOUR).await, "KindsRestricted");
    scene.break_glass("paramedic", &[Kind::Medication], HOUR).await.unwrap();
    refusal(scene.rescues("paramedic").await);
    restrict(&[], true).await.unwrap();
    refused_as(scene.break_glass("consultant", &[Kind::Medication], HOUR).await, "OptedOut");
    let read = scene.read("paramedic", &[Kind::Medication], None, Purpose::Emergency).await;
    refusal(read);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patients_answer_their_own_records_once() {
    let scene = Scene::new().await;
    let (world, patient) = (&scene.world, &scene.patient);
    let hospital = world.gateway("hospital");
    let anchor = scene.propose("fracture").await;
    let stranger = world.patient("P002", passkey("P002")).await;
    let forged = record::answer(hospital, &stranger, &anchor, Verdict::Accept, world.now()).await;
    refused_as(forged, "NotPatient");
    refused_as(scene.answer(&anchor, Verdict::Dispute).await, "WrongState");
    scene.answer(&anchor, Verdict::Reject).await.unwrap();
    refused_as(scene.answer(&anchor, Verdict::Accept).await, "WrongState");
    refused_as(scene.answer(&anchor, Verdict::Reject).await, "WrongState");

    let other = scene.propose("hypertension").await;
    let altered = Anchor { digest: RecordDigest(secret("another body")), ..other };
    refused_as(scene.answer(&altered, Verdict::Accept).await, "WrongState");
    scene.answer(&other, Verdict::Accept).await.unwrap();
    scene.answer(&other, Verdict::Dispute).await.unwrap();
    let body = record::verify(hospital, patient, &other).await.unwrap();
    assert!(String::from_utf8(body).unwrap().contains("hypertension"));
    assert!(record::verify(hospital, &stranger, &other).await.is_err());
    assert_eq!(scene.versions("hospital").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amended_record_becomes_the_next_version() {
    let scene = Scene::new().await;
    let (world, patient) = (&scene.world, &scene.patient);
    let hospital = world.gateway("hospital");
    let first = scene.propose("hypertension").await;
    refused_as(scene.amend(&first, "too early").await, "WrongState");
    scene.answer(&first, Verdict::Accept).await.unwrap();
    let second = scene.amend(&first, "hypertension, stage 2").await.unwrap();
    assert_eq!((second.record, second.version.get(), second.base), (first.record, 2, 1));
    let twice = scene.amend(&first, "twice").await;
    let kept =
        PutError::Conflict { record: first.record, version: second.version, kept: second.digest };
    match twice {
        Err(WorkflowError::Anchor(AnchorError::Put(found))) => {
            assert_eq!(found.to_string(), kept.to_string());
        }
        other => panic!("{other:?}"),
    }
    scene.answer(&second, Verdict::Accept).await.unwrap();
    refused_as(scene.answer(&first, Verdict::Dispute).await, "WrongState");
    assert_eq!(scene.versions("hospital").await, 2, "refused amendments leave nothing behind");

    let now = world.now();
    let (answered, _) =
        access::ask_as_patient(&hospital.gatekeeper, patient, KindSet::ALL, now).await.unwrap();
    assert_eq!(answered.records.len(), 1);
    assert_eq!(answered.records[0].version, 2);
    assert!(answered.records[0].body.get().contains("stage 2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_versions_are_corrected_by_the_next() {
    let scene = Scene::new().await;
    let first = scene.propose("fracture of the left arm").await;
    scene.answer(&first, Verdict::Reject).await.unwrap();
    let second = scene.amend(&first, "fracture of the right arm").await.unwrap();
    assert_eq!((second.version.get(), second.base), (2, 0), "nothing was accepted before");
    scene.answer(&second, Verdict::Accept).await.unwrap();
    let third = scene.amend(&second, "fracture of both arms").await.unwrap();
    scene.answer(&third, Verdict::Reject).await.unwrap();
    let fourth = scene.amend(&third, "fracture of the right arm, healed").await.unwrap();
    assert_eq!((fourth.version.get(), fourth.base), (4, 2), "the second is still in force");
    scene.answer(&fourth, Verdict::Accept).await.unwrap();
    assert_eq!(scene.versions("hospital").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_record_is_gone_and_stays_so() {
    let scene = Scene::new().await;
    let (world, patient) = (&scene.world, &scene.patient);
    let hospital = world.gateway("hospital");
    let anchor = scene.propose("a mistake").await;
    let unknown = Anchor { record: RecordId(secret("nowhere")), ..anchor };
    let reason = ErasureReason::PatientRequest;
    assert!(record::erase(hospital, &unknown, reason, world.now()).await.is_err());
    let steps = record::erase(hospital, &anchor, reason, world.now()).await.unwrap();
    steps_are_listed(&steps);
    assert_eq!(steps.len(), 1);
    assert!(record::verify(hospital, patient, &anchor).await.is_err());
    refused_as(record::erase(hospital, &anchor, reason, world.now()).await, "WrongState");
    refused_as(scene.answer(&anchor, Verdict::Accept).await, "WrongState");
    scene.versions("hospital").await;
}

/// What came in a batch can be answered, amended and erased alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn imported_records_are_answered_amended_and_erased_alone() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let file = world.dir().join("p1.json");
    fs::write(&file, bundle("p1", 4)).unwrap();
    let report = world.import(&file).await;
    let scene = Scene { patient: world.meet("p1").await, ..scene };
    let (world, patient) = (&scene.world, &scene.patient);
    let hospital = world.gateway("hospital");
    let held = world.held(patient.account()).await;
    let mut anchors = Vec::new();
    for entry in &held {
        let (record, version) = entry.key();
        let inclusion = hospital.gatekeeper.inclusion(record, version).await.unwrap();
        anchors.push(inclusion.unwrap().0);
    }

    let erased =
        record::erase(hospital, &anchors[0], ErasureReason::PatientRequest, world.now()).await;
    let steps = erased.unwrap();
    steps_are_listed(&steps);
    assert_eq!(steps.len(), 2);
    scene.versions("hospital").await;

    let step = record::materialise(hospital, &anchors[1]).await.unwrap();
    steps_are_listed(&[step.unwrap()]);
    assert!(record::materialise(hospital, &anchors[1]).await.unwrap().is_none());
    scene.answer(&anchors[1], Verdict::Reject).await.unwrap();

    let (root, _) = report.batches[0];
    let step = record::accept_batch(hospital, patient, root, world.now()).await.unwrap();
    steps_are_listed(&[step]);
    refused_as(record::accept_batch(hospital, patient, root, world.now()).await, "AlreadyAccepted");
    refused_as(
        record::accept_batch(hospital, patient, secret("no batch"), world.now()).await,
        "UnknownBatch",
    );
    let second = scene.amend(&anchors[2], "corrected").await.unwrap();
    assert_eq!(second.version.get(), 2);
    scene.answer(&second, Verdict::Accept).await.unwrap();
    scene.versions("hospital").await;
    // Importing again neither brings the erased one back nor the amended one's first version.
    assert_eq!(world.import(&file).await.records, 0);
    scene.versions("hospital").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relationships_begin_and_end_with_both() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let (hospital, now) = (world.gateway("hospital"), world.now());
    let patient = world.patient("P002", passkey("P002")).await;
    refused_as(relationship::accept(hospital, &patient, false, now).await, "WrongOffer");
    refused_as(relationship::end(hospital, &patient, now).await, "NotActive");
    steps_are_listed(&[relationship::propose(hospital, &patient, true).await.unwrap()]);
    refused_as(relationship::propose(hospital, &patient, true).await, "WrongOffer");
    refused_as(relationship::accept(hospital, &patient, false, now).await, "WrongOffer");
    let physician = world.person("physician");
    let draft = scene.draft("too early");
    let early = record::propose(hospital, physician, &patient, &draft, now).await;
    refused_as(early, "NotActive");
    steps_are_listed(&[relationship::accept(hospital, &patient, true, now).await.unwrap()]);
    refused_as(relationship::accept(hospital, &patient, true, now).await, "AlreadyActive");
    refused_as(relationship::propose(hospital, &patient, true).await, "AlreadyActive");
    record::propose(hospital, physician, &patient, &draft, now).await.unwrap();
    steps_are_listed(&[relationship::end(hospital, &patient, now).await.unwrap()]);
    refused_as(relationship::end(hospital, &patient, now).await, "NotActive");
    assert!(record::propose(hospital, physician, &patient, &draft, now).await.is_err());

    // The patient still reads what was kept.
    let keeper = &hospital.gatekeeper;
    let (answered, _) =
        access::ask_as_patient(keeper, &patient, KindSet::ALL, world.now()).await.unwrap();
    assert_eq!(answered.records.len(), 1);
    assert_eq!(scene.versions("hospital").await, 1);
}

/// What each takes from its first to its last step.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_cost_what_the_file_says() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::found(dir.path()).await;
    let joining = Journal::new(&world);
    let patient = world.patient("P001", passkey("P001")).await;
    world.relate("hospital", &patient, false).await;
    joining.assert_listed(
        &world,
        "joining",
        "A patient gets an account, and a hospital becomes its steward.",
    );
    for steward in ["laboratory", "pharmacy"] {
        world.relate(steward, &patient, false).await;
    }
    let scene = Scene { world, patient, _dir: dir };
    let (world, patient) = (&scene.world, &scene.patient);
    let (hospital, lab) = (world.gateway("hospital"), world.gateway("laboratory"));
    let pharmacy = world.gateway("pharmacy");

    let record = Journal::new(world);
    let anchor = scene.propose("hypertension").await;
    scene.answer(&anchor, Verdict::Accept).await.unwrap();
    record.assert_listed(
        world,
        "record",
        "A physician proposes a record, and the patient accepts it.",
    );

    let journal = Journal::new(world);
    let (reader, terms) = (world.gateway("emergency").member(), world.terms(&[Kind::Condition]));
    consent::grant(hospital, patient, reader, None, &terms, world.now()).await.unwrap();
    journal.assert_listed(world, "consent", "A patient lets a reader open records for a time.");

    // A first batch of receipts opens the log; what comes after it costs the same each time.
    scene.treats("consultant").await.unwrap();
    hospital.gatekeeper.anchor_log().await.unwrap();
    scene.treats("consultant").await.unwrap();
    let log = Journal::new(world);
    hospital.gatekeeper.anchor_log().await.unwrap();
    log.assert_listed(
        world,
        "access-log",
        "A hospital anchors a batch of receipts of who read what.",
    );

    let prescribed = Journal::new(world);
    let anchor = scene.prescribe(30, 1).await.unwrap();
    let id = anchor.record.0;
    scene.permit(&anchor, pharmacy.member()).await;
    scene.claim("pharmacy", "pharmacist", id).await.unwrap();
    scene.dispense(id, 30).await.unwrap();
    prescription::confirm_collection(pharmacy, patient, id, 1, world.now()).await.unwrap();
    prescribed.assert_listed(
        world,
        "prescription",
        "A prescription is issued, permitted, claimed, dispensed, and its collection confirmed.",
    );

    let examined = Journal::new(world);
    let id = scene.order("physician").await.unwrap().record.0;
    laboratory::collect(lab, world.person("scientist"), id, secret("specimen")).await.unwrap();
    let result = scene.report(id).await.unwrap();
    laboratory::release(lab, world.person("scientist"), id, result.digest).await.unwrap();
    let physician = world.person("physician");
    laboratory::acknowledge(hospital, physician, id, result.digest).await.unwrap();
    record::answer(lab, patient, &result, Verdict::Accept, world.now()).await.unwrap();
    examined.assert_listed(world, "laboratory", "A test is ordered, its specimen taken, its result reported, released, acknowledged, and accepted.");

    let rescued = Journal::new(world);
    let opened = scene.break_glass("paramedic", &[Kind::Condition], HOUR).await.unwrap();
    scene.rescues("paramedic").await.unwrap();
    scene.end("paramedic", &opened).await.unwrap();
    scene.review("officer", &opened).await.unwrap();
    rescued.assert_listed(
        world,
        "emergency",
        "A paramedic opens records in an emergency, ends that, and an officer reviews it.",
    );
}
