//! Laboratory orders beyond their happy path: versions of a result, the specimen's chain of custody, and
//! critical results that nobody acknowledges.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_primitives::B256;
use common::{HOUR, World, passkey, refusal, secret};
use domain::{Anchor, KindSet, RecordDigest, RecordVersion};
use serde_json::{Value, json};
use tempfile::TempDir;
use workflows::{
    PatientActor, Step, WorkflowError, access,
    laboratory::{self, Version},
    record::{self, Verdict},
};

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
        for steward in ["hospital", "laboratory"] {
            world.relate(steward, &patient, false).await;
        }
        Self { world, patient, _dir: dir }
    }

    async fn order(&self) -> B256 {
        let (hospital, laboratory) =
            (self.world.gateway("hospital"), self.world.gateway("laboratory"));
        let (physician, code) = (self.world.person("physician"), json!({ "text": "culture" }));
        let now = self.world.now();
        let ordered =
            laboratory::order(hospital, physician, &self.patient, laboratory.member(), &code, now)
                .await;
        ordered.unwrap().0.record.0
    }

    /// An order whose specimen was taken.
    async fn collected(&self) -> B256 {
        let id = self.order().await;
        let (hospital, nurse) = (self.world.gateway("hospital"), self.world.person("nurse"));
        laboratory::collect(hospital, nurse, id, secret("a specimen")).await.unwrap();
        id
    }

    async fn preliminary(&self, who: &str, id: B256) -> Result<Anchor, WorkflowError> {
        let (laboratory, now) = (self.world.gateway("laboratory"), self.world.now());
        let (person, result) = (self.world.person(who), value("cocci"));
        let version = Version { result: &result, critical: true };
        let patient = &self.patient;
        let reported =
            laboratory::report_preliminary(laboratory, person, patient, id, version, now);
        Ok(reported.await?.0)
    }

    async fn final_after(&self, id: B256, previous: &Anchor) -> Result<Anchor, WorkflowError> {
        let (laboratory, now) = (self.world.gateway("laboratory"), self.world.now());
        let (scientist, result) = (self.world.person("scientist"), value("aureus"));
        let version = Version { result: &result, critical: true };
        let patient = &self.patient;
        let (anchor, steps) =
            laboratory::report_final(laboratory, scientist, patient, id, previous, version, now)
                .await?;
        assert_eq!(operations(&steps), ["record.amend", "lab.report"]);
        Ok(anchor)
    }

    async fn correct(
        &self,
        who: &str,
        id: B256,
        previous: &Anchor,
    ) -> Result<Anchor, WorkflowError> {
        let (laboratory, now) = (self.world.gateway("laboratory"), self.world.now());
        let (person, result) = (self.world.person(who), value("epidermidis"));
        let version = Version { result: &result, critical: false };
        let patient = &self.patient;
        let corrected =
            laboratory::correct(laboratory, person, patient, id, previous, version, now);
        Ok(corrected.await?.0)
    }

    async fn take_over(&self, at: &str, who: &str, id: B256) -> Result<Anchor, WorkflowError> {
        let (gateway, person) = (self.world.gateway(at), self.world.person(who));
        let (patient, now) = (&self.patient, self.world.now());
        Ok(laboratory::take_over(gateway, person, patient, id, "intact", now).await?.0)
    }

    async fn release(&self, id: B256) -> Result<Step, WorkflowError> {
        let (laboratory, scientist) =
            (self.world.gateway("laboratory"), self.world.person("scientist"));
        laboratory::release(laboratory, scientist, id, self.result(id).await).await
    }

    async fn acknowledge(&self, who: &str, id: B256) -> Result<Step, WorkflowError> {
        let (hospital, person) = (self.world.gateway("hospital"), self.world.person(who));
        laboratory::acknowledge(hospital, person, id, self.result(id).await).await
    }

    /// The newest version of a result.
    async fn result(&self, id: B256) -> RecordDigest {
        let keeper = &self.world.gateway("hospital").gatekeeper;
        keeper.refresh(self.world.now()).await.unwrap();
        let projection = keeper.projection().await;
        projection.workflows.lab_order(&id).unwrap().result.unwrap_or(RecordDigest(B256::ZERO))
    }

    async fn escalate(&self, who: &str, id: B256) -> Result<Step, WorkflowError> {
        laboratory::escalate(self.world.gateway("hospital"), self.world.person(who), id).await
    }

    async fn overdue(&self, id: B256) -> bool {
        laboratory::is_overdue(self.world.gateway("hospital"), id).await.unwrap()
    }

    async fn versions(&self, name: &str) -> u64 {
        let report = self.world.assert_clean(name).await;
        assert_eq!(report.versions, report.anchors);
        report.versions
    }
}

fn value(text: &str) -> Value {
    json!({ "valueString": text })
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
async fn result_has_versions_of_one_record() {
    let scene = Scene::new().await;
    let id = scene.collected().await;
    let first = scene.preliminary("scientist", id).await.unwrap();
    refused_as(scene.release(id).await, "WrongState");
    refused_as(scene.correct("scientist", id, &first).await, "WrongState");
    let second = scene.final_after(id, &first).await.unwrap();
    assert_eq!(second.version, RecordVersion::try_from(2).unwrap());
    refused_as(scene.preliminary("scientist", id).await, "WrongState");
    refused_as(scene.final_after(id, &second).await, "WrongState");
    scene.release(id).await.unwrap();
    scene.acknowledge("physician", id).await.unwrap();
    // The patient accepts the final version, and is asked again about the corrected one.
    let laboratory = scene.world.gateway("laboratory");
    let (patient, now) = (&scene.patient, scene.world.now());
    record::answer(laboratory, patient, &second, Verdict::Accept, now).await.unwrap();
    let third = scene.correct("scientist", id, &second).await.unwrap();
    assert_eq!((third.record, third.base), (first.record, 2));
    assert_eq!(scene.versions("laboratory").await, 3, "what is refused leaves nothing behind");
    record::answer(laboratory, patient, &third, Verdict::Accept, now).await.unwrap();
    scene.release(id).await.unwrap();
    scene.acknowledge("physician", id).await.unwrap();
    refused_as(scene.acknowledge("physician", id).await, "AlreadyAcknowledged");

    let keeper = &laboratory.gatekeeper;
    let (answered, _) = access::ask_as_patient(keeper, patient, KindSet::ALL, now).await.unwrap();
    assert_eq!(answered.records.len(), 1);
    let body = answered.records[0].body.get();
    assert!(body.contains("epidermidis") && body.contains("corrected"), "{body}");
    let timeline = keeper.patient_timeline(patient.account()).await.unwrap();
    assert!(timeline.is_checked());
    let said = |what: &str| timeline.steps.iter().any(|step| step.what.starts_with(what));
    assert!(said("preliminary result reported, critical") && said("result corrected, version 2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_the_laboratorys() {
    let scene = Scene::new().await;
    let id = scene.order().await;
    refused_as(scene.preliminary("scientist", id).await, "WrongState");
    let (hospital, nurse) = (scene.world.gateway("hospital"), scene.world.person("nurse"));
    let physician = scene.world.person("physician");
    let label = secret("a specimen");
    let taken = laboratory::collect(hospital, physician, id, label).await;
    refused_as(taken, "NotAllowed");
    laboratory::collect(hospital, nurse, id, label).await.unwrap();
    for who in ["physician", "nurse", "pharmacist", "consultant"] {
        refused_as(scene.preliminary(who, id).await, "NotAllowed");
    }
    let first = scene.preliminary("scientist", id).await.unwrap();
    refused_as(laboratory::cancel(hospital, physician, id).await, "WrongState");
    let second = scene.final_after(id, &first).await.unwrap();
    for who in ["physician", "nurse"] {
        refused_as(scene.correct(who, id, &second).await, "NotAllowed");
    }
    for who in ["nurse", "scientist", "consultant"] {
        refused_as(scene.acknowledge(who, id).await, "NotAllowed");
    }
    assert_eq!(scene.versions("laboratory").await, 2);

    let id = scene.collected().await;
    refused_as(laboratory::cancel(hospital, nurse, id).await, "NotAllowed");
    laboratory::cancel(hospital, physician, id).await.unwrap();
    refused_as(scene.preliminary("scientist", id).await, "WrongState");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn specimen_has_a_chain_of_custody() {
    let scene = Scene::new().await;
    let id = scene.order().await;
    refused_as(scene.take_over("hospital", "nurse", id).await, "WrongState");
    let (hospital, nurse) = (scene.world.gateway("hospital"), scene.world.person("nurse"));
    laboratory::collect(hospital, nurse, id, secret("a specimen")).await.unwrap();
    assert!(laboratory::custody(hospital, id).await.unwrap().is_empty());
    for who in ["physician", "paramedic", "pharmacist"] {
        refused_as(scene.take_over("hospital", who, id).await, "NotAllowed");
    }
    let first = scene.take_over("hospital", "nurse", id).await.unwrap();
    let second = scene.take_over("laboratory", "scientist", id).await.unwrap();
    let hands = laboratory::custody(hospital, id).await.unwrap();
    let records: Vec<_> = hands.iter().map(|hand| hand.record).collect();
    assert_eq!(records, [first.digest.0, second.digest.0]);
    assert_eq!(hands[1].by, scene.world.person("scientist").member);
    // Another specimen has a chain of its own.
    let other = scene.collected().await;
    scene.take_over("laboratory", "scientist", other).await.unwrap();
    assert_eq!(laboratory::custody(hospital, other).await.unwrap().len(), 1);
    assert_eq!(laboratory::custody(hospital, id).await.unwrap(), hands);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn critical_result_that_nobody_acknowledges_is_escalated() {
    let scene = Scene::new().await;
    let id = scene.collected().await;
    scene.preliminary("scientist", id).await.unwrap();
    assert!(!scene.overdue(id).await);
    scene.world.pass(HOUR - std::time::Duration::from_secs(1));
    assert!(!scene.overdue(id).await, "the last second");
    refused_as(scene.escalate("physician", id).await, "NotOverdue");
    scene.world.pass(std::time::Duration::from_secs(1));
    assert!(scene.overdue(id).await);
    refused_as(scene.escalate("consultant", id).await, "NotAllowed");
    scene.escalate("nurse", id).await.unwrap();
    assert!(scene.overdue(id).await, "telling somebody is no acknowledgement");
    refused_as(scene.escalate("nurse", id).await, "AlreadyEscalated");
    scene.world.pass(HOUR);
    scene.escalate("scientist", id).await.unwrap();
    scene.world.pass(HOUR);
    scene.acknowledge("physician", id).await.unwrap();
    assert!(!scene.overdue(id).await);
    refused_as(scene.escalate("physician", id).await, "NotOverdue");
}
