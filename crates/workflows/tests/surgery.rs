//! Surgery from referral to follow-up: each step once, by whom it belongs to, and no incision before
//! consent and time-out.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod journal;

use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use bindings::{Contract, Surgeries};
use common::{DAY, HOUR, World, address, passkey, refusal, secret};
use domain::{Anchor, Kind, KindSet, ProfessionalRole, RecordDigest};
use journal::Journal;
use serde_json::{Value, json};
use tempfile::TempDir;
use workflows::{
    Gateway, PatientActor, Person, Step, WorkflowError, access,
    record::{self, Draft, Verdict},
    surgery::{
        self, Answer, FORWARD_MAX, FilledIn, Implant, Implanted, Phase, Plan, Referral, Report,
        Round, Seat, Signed, Signing, State, Team,
    },
};

/// A hospital with a surgeon, and a patient whose records it keeps.
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
        world.relate("hospital", &patient, false).await;
        let surgeon = world.engage("surgeon", "hospital", ProfessionalRole::Surgeon).await;
        let scene = Self { world, patient, surgeon, _dir: dir };
        for name in ["surgeon", "physician", "nurse"] {
            scene.care(address(name)).await;
        }
        scene
    }

    async fn care(&self, member: Address) {
        let (account, now) = (self.patient.account(), self.world.now());
        self.hospital().gatekeeper.join_care_team(account, member, now).await.unwrap();
    }

    fn hospital(&self) -> &Gateway {
        self.world.gateway("hospital")
    }

    fn person(&self, name: &str) -> &Person {
        if name == "surgeon" { &self.surgeon } else { self.world.person(name) }
    }

    async fn refer(&self, who: &str) -> Result<B256, WorkflowError> {
        let referral = Referral {
            operation: "total replacement of the left hip".into(),
            reason: "osteoarthritis".into(),
        };
        let (hospital, now) = (self.hospital(), self.world.now());
        let place = hospital.member();
        let (anchor, steps) =
            surgery::refer(hospital, self.person(who), &self.patient, place, &referral, now)
                .await?;
        assert_eq!(operations(&steps), ["record.propose", "surgery.refer"]);
        Ok(anchor.record.0)
    }

    async fn assess(&self, who: &str, id: B256) -> Result<Anchor, WorkflowError> {
        let (hospital, now) = (self.hospital(), self.world.now());
        let (anchor, steps) =
            surgery::assess(hospital, self.person(who), &self.patient, id, &plan(), now).await?;
        assert_eq!(operations(&steps), ["record.propose", "surgery.assess"]);
        Ok(anchor)
    }

    async fn consent(&self, id: B256, plan: &Anchor) -> Result<(), WorkflowError> {
        self.consent_of(&self.patient, id, plan).await
    }

    async fn consent_of(
        &self,
        patient: &PatientActor,
        id: B256,
        plan: &Anchor,
    ) -> Result<(), WorkflowError> {
        let now = self.world.now();
        surgery::consent(self.hospital(), &self.surgeon, patient, id, plan, now).await?;
        Ok(())
    }

    async fn certify(&self, who: &str, id: B256, plan: &Anchor) -> Result<(), WorkflowError> {
        let (about, now) = ((id, plan.digest.0), self.world.now());
        let (hospital, patient) = (self.hospital(), &self.patient);
        let person = self.person(who);
        surgery::certify(hospital, person, patient, about, "unconscious, bleeding", now).await?;
        Ok(())
    }

    async fn schedule(&self, who: &str, id: B256) -> Result<Step, WorkflowError> {
        let team = ["surgeon", "physician", "nurse"].map(address);
        self.schedule_with(who, id, team).await
    }

    async fn schedule_with(
        &self,
        who: &str,
        id: B256,
        [surgeon, anaesthetist, nurse]: [Address; 3],
    ) -> Result<Step, WorkflowError> {
        self.schedule_in(HOUR, who, id, [surgeon, anaesthetist, nurse]).await
    }

    async fn schedule_in(
        &self,
        time: Duration,
        who: &str,
        id: B256,
        [surgeon, anaesthetist, nurse]: [Address; 3],
    ) -> Result<Step, WorkflowError> {
        let team = Team { surgeon, anaesthetist, nurse };
        let at = self.world.now().after(time);
        surgery::schedule(self.hospital(), self.person(who), id, &team, at, "theatre 2").await
    }

    async fn fill_in(&self, who: &str, id: B256, phase: Phase) -> Result<Signed, WorkflowError> {
        let answers = answers(phase);
        let filled_in = FilledIn { phase, answers: &answers, urgent: None, anew: false };
        self.fill_in_as(who, id, &filled_in).await
    }

    async fn fill_in_as(
        &self,
        who: &str,
        id: B256,
        filled_in: &FilledIn<'_>,
    ) -> Result<Signed, WorkflowError> {
        let (hospital, now) = (self.hospital(), self.world.now());
        surgery::fill_in(hospital, self.person(who), &self.patient, id, filled_in, now).await
    }

    async fn sign(
        &self,
        who: &str,
        id: B256,
        phase: Phase,
        digest: B256,
    ) -> Result<Signed, WorkflowError> {
        self.sign_as(self.person(who), id, &Signing { phase, digest, anew: false }).await
    }

    async fn sign_as(
        &self,
        person: &Person,
        id: B256,
        signing: &Signing,
    ) -> Result<Signed, WorkflowError> {
        let now = self.world.now();
        surgery::sign(self.hospital(), person, &self.patient, id, signing, now).await
    }

    /// What the contract takes from somebody who signs without this program.
    async fn sign_alone(&self, who: &str, id: B256, phase: Phase, digest: B256) {
        let (sender, at) = (&self.person(who).sender, self.world.at(Contract::Surgeries));
        let checklist = digest;
        let sent = match phase {
            Phase::SignIn => sender.send(at, &Surgeries::signInCall { id, checklist }).await,
            Phase::TimeOut => sender.send(at, &Surgeries::timeOutCall { id, checklist }).await,
            Phase::SignOut => sender.send(at, &Surgeries::signOutCall { id, report: digest }).await,
        };
        sent.unwrap();
    }

    /// Referred, planned and consented to.
    async fn consented(&self) -> B256 {
        let id = self.refer("physician").await.unwrap();
        let plan = self.assess("surgeon", id).await.unwrap();
        self.consent(id, &plan).await.unwrap();
        id
    }

    /// Seals a sign-in like another one, with other answers, as somebody could who has other means.
    async fn seal(&self, id: B256, like: B256, answers: &[Answer<'_>]) -> B256 {
        let (hospital, now) = (self.hospital(), self.world.now());
        let keeper = &hospital.gatekeeper;
        let entry = keeper.vault().find(RecordDigest(like)).await.unwrap().unwrap();
        let anchor = record::newest(hospital, entry.header.record, now).await.unwrap().unwrap();
        let body = record::verify(hospital, &self.patient, &anchor).await.unwrap();
        let mut resource: Value = serde_json::from_slice(&body).unwrap();
        assert!(resource["focus"]["reference"].as_str().unwrap().contains(&format!("{id:x}")));
        resource.as_object_mut().unwrap().remove("id");
        for input in resource["input"].as_array_mut().unwrap() {
            let item = input["type"]["coding"][0]["code"].clone();
            let (_, answer) = answers.iter().find(|(key, _)| item == **key).unwrap();
            input["valueString"] = json!(answer);
        }
        let draft = Draft { kind: Kind::Order, resource };
        let nurse = self.person("nurse");
        record::propose(hospital, nurse, &self.patient, &draft, now).await.unwrap().0.digest.0
    }

    async fn newest_round(&self, id: B256) -> Round {
        surgery::rounds(self.hospital(), id).await.unwrap().pop().unwrap()
    }

    /// The first fills in, the others sign.
    async fn go_through(&self, id: B256, phase: Phase, who: &[&str]) {
        let first = self.fill_in(who[0], id, phase).await.unwrap();
        assert!(!first.complete);
        for (index, name) in who.iter().enumerate().skip(1) {
            let signed = self.sign(name, id, phase, first.digest).await.unwrap();
            assert_eq!(signed.complete, index + 1 == who.len());
        }
    }

    async fn incise(&self, who: &str, id: B256) -> Result<Step, WorkflowError> {
        surgery::incise(self.hospital(), self.person(who), id, self.world.now()).await
    }

    async fn implant(&self, who: &str, id: B256, serial: &str) -> Result<B256, WorkflowError> {
        let (hospital, now) = (self.hospital(), self.world.now());
        let device = Implant {
            maker: "Maker".into(),
            model: "Stem 4".into(),
            serial: serial.into(),
            lot: "L-17".into(),
            lot_digest: None,
        };
        let person = self.person(who);
        let (implant, _) =
            surgery::implant(hospital, person, &self.patient, id, &device, now).await?;
        Ok(implant)
    }

    async fn report(&self, who: &str, id: B256) -> Result<Signed, WorkflowError> {
        let (hospital, now) = (self.hospital(), self.world.now());
        let (person, patient) = (self.person(who), &self.patient);
        let answers = answers(Phase::SignOut);
        let report = Report { performed: "hip replaced", answers: &answers, anew: false };
        surgery::report(hospital, person, patient, id, &report, now).await
    }

    async fn sign_out(&self, id: B256) {
        let first = self.report("surgeon", id).await.unwrap();
        for name in ["physician", "nurse"] {
            self.sign(name, id, Phase::SignOut, first.digest).await.unwrap();
        }
    }

    /// One round from the consent to the incision.
    async fn to_incision(&self, id: B256, plan: &Anchor) {
        self.consent(id, plan).await.unwrap();
        self.schedule("nurse", id).await.unwrap();
        self.go_through(id, Phase::SignIn, &["physician", "nurse"]).await;
        self.go_through(id, Phase::TimeOut, &["surgeon", "physician", "nurse"]).await;
        self.incise("surgeon", id).await.unwrap();
    }

    async fn state(&self, id: B256) -> State {
        surgery::standing(self.hospital(), id).await.unwrap().0
    }

    async fn note(&self, step: &str, who: &str, id: B256) -> Result<Vec<Step>, WorkflowError> {
        let (hospital, now) = (self.hospital(), self.world.now());
        let (person, patient) = (self.person(who), &self.patient);
        let done = match step {
            "hand-over" => surgery::hand_over(hospital, person, patient, id, "awake", now).await,
            "discharge" => surgery::discharge(hospital, person, patient, id, "walk", now).await,
            "follow-up" => surgery::follow_up(hospital, person, patient, id, "well", now).await,
            "complication" => {
                surgery::report_complication(hospital, person, patient, id, "fever", now).await
            }
            "return" => {
                surgery::return_to_theatre(hospital, person, patient, id, &plan(), now).await
            }
            "cancel" => surgery::cancel(hospital, person, patient, id, "unfit", now).await,
            other => panic!("there is no step {other}"),
        };
        Ok(done?.1)
    }

    /// What the hospital sealed and anchored, which must agree.
    async fn versions(&self) -> u64 {
        let report = self.world.assert_clean("hospital").await;
        assert_eq!(report.versions, report.anchors);
        report.versions
    }

    /// The receipt that a claim refers to: since when, and of what.
    async fn receipt(&self, id: B256, round: u64) -> (u64, B256) {
        let call = Surgeries::serviceOfCall { id, part: U256::from(round) };
        let at = self.world.at(Contract::Surgeries);
        let found = self.world.ledger.call(at, &call, Default::default()).await.unwrap();
        (found.completedAt.to(), found.evidence)
    }
}

fn plan() -> Plan {
    Plan {
        operation: "total replacement of the left hip".into(),
        site: "left hip".into(),
        disclosed: "infection, thrombosis, loosening; physiotherapy as the alternative".into(),
    }
}

fn answers(phase: Phase) -> Vec<Answer<'static>> {
    let answer = |key| if ["airway", "blood-loss"].contains(&key) { "no" } else { "yes" };
    phase.items().iter().map(|item| (item.key, answer(item.key))).collect()
}

/// The answers with another one to an item.
fn answers_but(phase: Phase, item: &str, answer: &'static str) -> Vec<Answer<'static>> {
    let other = |(key, before)| (key, if key == item { answer } else { before });
    answers(phase).into_iter().map(other).collect()
}

fn operations(steps: &[Step]) -> Vec<&'static str> {
    steps.iter().map(|step| step.operation).collect()
}

#[track_caller]
fn refused_as<T>(outcome: Result<T, WorkflowError>, reason: &str) {
    let text = refusal(outcome);
    assert!(text.contains(reason), "{text}");
}

#[track_caller]
fn invalid<T>(outcome: Result<T, WorkflowError>, reason: &str) {
    match outcome {
        Err(WorkflowError::Invalid(text)) => assert!(text.contains(reason), "{text}"),
        Err(error) => panic!("{error:?}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surgery_goes_from_referral_to_follow_up() {
    let scene = Scene::new().await;
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.to_incision(id, &plan).await;
    let implant = scene.implant("nurse", id, "S-1").await.unwrap();
    assert_eq!(scene.receipt(id, 1).await, (0, B256::ZERO), "no receipt before the sign-out");
    let report = scene.report("surgeon", id).await.unwrap();
    assert!(!scene.sign("physician", id, Phase::SignOut, report.digest).await.unwrap().complete);
    assert!(scene.sign("nurse", id, Phase::SignOut, report.digest).await.unwrap().complete);
    let (completed_at, evidence) = scene.receipt(id, 1).await;
    assert!(completed_at > 0);
    assert_eq!(evidence, report.digest);
    scene.note("hand-over", "physician", id).await.unwrap();
    scene.note("discharge", "surgeon", id).await.unwrap();
    scene.note("follow-up", "physician", id).await.unwrap();
    assert_eq!(scene.state(id).await, State::FollowedUp);
    // Referral, plan, form, two checklists, implant, report, hand-over, discharge, follow-up.
    assert_eq!(scene.versions().await, 10);

    // The patient opens all of it, and the report names the implant.
    let keeper = &scene.hospital().gatekeeper;
    let (answered, _) =
        access::ask_as_patient(keeper, &scene.patient, KindSet::ALL, scene.world.now())
            .await
            .unwrap();
    assert_eq!(answered.records.len(), 10);
    let of = |digest: B256| answered.records.iter().find(|found| found.digest.0 == digest).unwrap();
    assert_eq!(of(report.digest).kind, Kind::Procedure);
    assert!(of(report.digest).body.get().contains(&implant.to_string()));

    // The timeline has every step, each borne out by its block.
    let timeline = keeper.patient_timeline(scene.patient.account()).await.unwrap();
    assert!(timeline.is_checked());
    let said: Vec<_> = timeline.steps.iter().filter(|step| step.contract == "Surgeries").collect();
    assert_eq!(said.first().unwrap().what, "referred for surgery");
    assert_eq!(said.last().unwrap().what, "surgery: followed up");
    // One line for each step: refer, assess, consent, schedule, 2 + 3 signatures, incision, implant, 3
    // signatures, and three after.
    assert_eq!(said.len(), 4 + 5 + 1 + 1 + 3 + 3);
    let by_id = keeper.timeline(id).await.unwrap();
    assert!(by_id.steps.iter().any(|step| step.what.starts_with("implant put in")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_cuts_before_consent_and_time_out() {
    let scene = Scene::new().await;
    let id = scene.refer("physician").await.unwrap();
    refused_as(scene.incise("surgeon", id).await, "WrongState");
    let plan = scene.assess("surgeon", id).await.unwrap();
    refused_as(scene.incise("surgeon", id).await, "WrongState");
    refused_as(scene.schedule("nurse", id).await, "WrongState");
    scene.consent(id, &plan).await.unwrap();
    refused_as(scene.incise("surgeon", id).await, "WrongState");
    scene.schedule("nurse", id).await.unwrap();
    refused_as(scene.fill_in("surgeon", id, Phase::TimeOut).await, "WrongState");
    refused_as(scene.incise("surgeon", id).await, "WrongState");
    scene.go_through(id, Phase::SignIn, &["nurse", "physician"]).await;
    refused_as(scene.incise("surgeon", id).await, "WrongState");
    let first = scene.fill_in("nurse", id, Phase::TimeOut).await.unwrap();
    scene.sign("physician", id, Phase::TimeOut, first.digest).await.unwrap();
    refused_as(scene.incise("surgeon", id).await, "WrongState");
    let before = scene.versions().await;
    refused_as(scene.report("surgeon", id).await, "WrongState");
    refused_as(scene.implant("nurse", id, "S-1").await, "WrongState");
    assert_eq!(scene.versions().await, before, "what is refused leaves nothing behind");
    scene.sign("surgeon", id, Phase::TimeOut, first.digest).await.unwrap();
    refused_as(scene.incise("physician", id).await, "NotAllowed");
    scene.incise("surgeon", id).await.unwrap();
    refused_as(scene.incise("surgeon", id).await, "WrongState");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_belongs_to_somebody() {
    let scene = Scene::new().await;
    for who in ["nurse", "scientist", "pharmacist"] {
        refused_as(scene.refer(who).await, "NotAllowed");
    }
    // Of an institution that keeps no records of this patient.
    refused_as(scene.refer("consultant").await, "NotActive");
    let id = scene.refer("physician").await.unwrap();
    for who in ["nurse", "consultant"] {
        refused_as(scene.assess(who, id).await, "NotAllowed");
    }
    let plan = scene.assess("surgeon", id).await.unwrap();
    let stranger = scene.world.patient("P002", passkey("P002")).await;
    scene.world.relate("hospital", &stranger, false).await;
    refusal(scene.consent_of(&stranger, id, &plan).await);
    refused_as(scene.certify("nurse", id, &plan).await, "NotAllowed");
    scene.consent(id, &plan).await.unwrap();
    refused_as(scene.schedule("physician", id).await, "NotAllowed");
    let wrong = ["physician", "surgeon", "nurse"].map(address);
    refused_as(scene.schedule_with("nurse", id, wrong).await, "NotAllowed");
    let elsewhere = ["surgeon", "consultant", "nurse"].map(address);
    refused_as(scene.schedule_with("nurse", id, elsewhere).await, "NotAllowed");
    scene.schedule("surgeon", id).await.unwrap();

    refused_as(scene.fill_in("surgeon", id, Phase::SignIn).await, "NotAllowed");
    let first = scene.fill_in("nurse", id, Phase::SignIn).await.unwrap();
    refused_as(scene.sign("nurse", id, Phase::SignIn, first.digest).await, "AlreadySigned");
    scene.sign("physician", id, Phase::SignIn, first.digest).await.unwrap();
    scene.go_through(id, Phase::TimeOut, &["physician", "surgeon", "nurse"]).await;
    scene.incise("surgeon", id).await.unwrap();
    refused_as(scene.implant("physician", id, "S-1").await, "NotAllowed");
    refused_as(scene.report("consultant", id).await, "NotAllowed");
    scene.sign_out(id).await;
    refused_as(scene.note("hand-over", "surgeon", id).await, "NotAllowed");
    refused_as(scene.note("discharge", "surgeon", id).await, "WrongState");
    scene.note("hand-over", "physician", id).await.unwrap();
    refused_as(scene.note("discharge", "nurse", id).await, "NotAllowed");
    refused_as(scene.note("return", "physician", id).await, "NotAllowed");
    refused_as(scene.note("follow-up", "physician", id).await, "WrongState");
    refused_as(scene.note("cancel", "surgeon", id).await, "WrongState");
    scene.note("discharge", "physician", id).await.unwrap();
    refused_as(scene.note("follow-up", "consultant", id).await, "NotAllowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checklist_is_filled_in_as_a_whole() {
    let scene = Scene::new().await;
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.consent(id, &plan).await.unwrap();
    scene.schedule("nurse", id).await.unwrap();
    let before = scene.versions().await;
    let whole = answers(Phase::SignIn);
    let lacking = &whole[1..];
    let twice = [whole.clone(), vec![whole[0]]].concat();
    let empty = [lacking, &[(whole[0].0, " ")]].concat();
    let foreign = [whole.clone(), vec![("weather", "fine")]].concat();
    for wrong in [lacking, &twice, &empty, &foreign] {
        let phase = Phase::SignIn;
        let filled_in = FilledIn { phase, answers: wrong, urgent: None, anew: false };
        let filled_in = scene.fill_in_as("nurse", id, &filled_in).await;
        assert!(matches!(filled_in, Err(WorkflowError::Invalid(_))), "{wrong:?}");
    }
    assert_eq!(scene.versions().await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phase_begins_anew_only_when_somebody_says_so() {
    let scene = Scene::new().await;
    let id = scene.consented().await;
    scene.schedule("nurse", id).await.unwrap();
    let phase = Phase::SignIn;
    let first = scene.fill_in("nurse", id, phase).await.unwrap();
    scene.world.pass(HOUR);
    let before = scene.versions().await;
    invalid(scene.fill_in("physician", id, phase).await, "begins anew");
    assert_eq!(scene.versions().await, before, "nothing is sealed");
    let answers = answers(phase);
    let filled_in = FilledIn { phase, answers: &answers, urgent: None, anew: true };
    let second = scene.fill_in_as("physician", id, &filled_in).await.unwrap();
    assert_ne!(first.digest, second.digest);
    assert!(!second.complete, "who signed the first signs again");
    // Nor by signing another document than the one that is being signed.
    invalid(scene.sign("nurse", id, phase, first.digest).await, "begins anew");
    assert_eq!(scene.newest_round(id).await.signed[0].by, [address("physician")]);
    let back = Signing { phase, digest: first.digest, anew: true };
    assert!(!scene.sign_as(scene.person("nurse"), id, &back).await.unwrap().complete);
    assert!(scene.sign("physician", id, phase, first.digest).await.unwrap().complete);
    let signed = scene.newest_round(id).await.signed;
    assert_eq!((signed.len(), signed[0].digest, signed[0].is_complete), (1, first.digest, true));
    assert_eq!(signed[0].by, [address("nurse"), address("physician")]);

    let report = scene_report(&scene, id).await;
    let other = Report { performed: "hip replaced", answers: &sign_out(), anew: false };
    let (hospital, now) = (scene.hospital(), scene.world.now());
    let nurse = scene.person("nurse");
    let refused = surgery::report(hospital, nurse, &scene.patient, id, &other, now).await;
    invalid(refused, "begins anew");
    scene.sign("nurse", id, Phase::SignOut, report).await.unwrap();
}

fn sign_out() -> Vec<Answer<'static>> {
    answers(Phase::SignOut)
}

/// From the sign-in to a report that the surgeon signed.
async fn scene_report(scene: &Scene, id: B256) -> B256 {
    scene.go_through(id, Phase::TimeOut, &["surgeon", "physician", "nurse"]).await;
    scene.incise("surgeon", id).await.unwrap();
    scene.report("surgeon", id).await.unwrap().digest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_phases_own_sealed_document_is_signed() {
    let scene = Scene::new().await;
    let (phase, hospital) = (Phase::SignIn, scene.hospital());
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.consent(id, &plan).await.unwrap();
    scene.schedule("nurse", id).await.unwrap();
    // The sign-in of another operation of the same patient.
    let other = scene.consented().await;
    scene.schedule("nurse", other).await.unwrap();
    let of_other = scene.fill_in("nurse", other, phase).await.unwrap().digest;
    // One of another patient's, who is in the same hands.
    let stranger = scene.world.patient("P002", passkey("P002")).await;
    scene.world.relate("hospital", &stranger, false).await;
    let draft = Draft {
        kind: Kind::Order,
        resource: json!({ "resourceType": "Task", "status": "completed", "intent": "order" }),
    };
    let (nurse, now) = (scene.person("nurse"), scene.world.now());
    let (of_stranger, _) = record::propose(hospital, nurse, &stranger, &draft, now).await.unwrap();

    let before = (scene.versions().await, scene.world.chain().head().hash);
    let unknown = "keeps no record of this patient";
    invalid(scene.sign("nurse", id, phase, secret("typed in")).await, unknown);
    invalid(scene.sign("nurse", id, phase, of_stranger.digest.0).await, unknown);
    invalid(scene.sign("nurse", id, phase, plan.digest.0).await, "not the sign-in");
    invalid(scene.sign("nurse", id, phase, of_other).await, "not the sign-in");
    let after = (scene.versions().await, scene.world.chain().head().hash);
    assert_eq!(after, before, "nothing is written");
    // Whoever has no seat is refused by the contract, and reads nothing.
    let receipts = async || {
        let keeper = &scene.hospital().gatekeeper;
        keeper.receipts_of(scene.patient.account(), None, 100).await.unwrap().len()
    };
    let read = receipts().await;
    refused_as(scene.sign("surgeon", id, phase, of_other).await, "NotAllowed");
    assert_eq!(receipts().await, read);

    let own = scene.fill_in("nurse", id, phase).await.unwrap().digest;
    // Who may not read it does not sign it.
    let account = scene.patient.account();
    hospital.gatekeeper.leave_care_team(account, address("physician")).await.unwrap();
    invalid(scene.sign("physician", id, phase, own).await, "may not read");
    scene.care(address("physician")).await;
    // Nor what the patient rejected meanwhile.
    let rejected = hospital.gatekeeper.vault().find(RecordDigest(own)).await.unwrap().unwrap();
    let anchor = record::newest(hospital, rejected.header.record, now).await.unwrap().unwrap();
    record::answer(hospital, &scene.patient, &anchor, Verdict::Reject, now).await.unwrap();
    invalid(scene.sign("physician", id, phase, own).await, "does not stand on chain");
    let answers = answers(phase);
    let anew = FilledIn { phase, answers: &answers, urgent: None, anew: true };
    let own = scene.fill_in_as("nurse", id, &anew).await.unwrap().digest;
    assert!(scene.sign("physician", id, phase, own).await.unwrap().complete);
    // The sign-in is no time-out, and no report.
    invalid(scene.sign("nurse", id, Phase::TimeOut, own).await, "not the time-out");
    let report = scene_report(&scene, id).await;
    invalid(scene.sign("nurse", id, Phase::SignOut, own).await, "begins anew");
    let anew = Signing { phase: Phase::SignOut, digest: plan.digest.0, anew: true };
    invalid(scene.sign_as(nurse, id, &anew).await, "not the sign-out");
    assert!(!scene.sign("nurse", id, Phase::SignOut, report).await.unwrap().complete);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_counts_for_its_own_round_and_once() {
    let scene = Scene::new().await;
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.to_incision(id, &plan).await;
    let first = scene.newest_round(id).await;
    assert_eq!(first.team, Some(["surgeon", "physician", "nurse"].map(address)));
    scene.sign_out(id).await;
    scene.note("hand-over", "physician", id).await.unwrap();
    scene.world.pass(DAY);
    scene.note("return", "surgeon", id).await.unwrap();
    let second = scene.newest_round(id).await;
    assert_eq!((second.number, second.team, second.scheduled_at), (2, None, None));
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.consent(id, &plan).await.unwrap();
    scene.schedule("nurse", id).await.unwrap();
    let second = scene.newest_round(id).await;
    assert_eq!(second.scheduled_at, Some(scene.world.now().after(HOUR)));
    assert_ne!(second.scheduled_at, first.scheduled_at);
    let before = first.completed(Phase::SignIn).unwrap();
    invalid(scene.sign("nurse", id, Phase::SignIn, before).await, "not the sign-in");

    // What was complete before the consent was withdrawn is gone through again.
    scene.go_through(id, Phase::SignIn, &["physician", "nurse"]).await;
    let again = scene.newest_round(id).await.completed(Phase::SignIn).unwrap();
    let now = scene.world.now();
    surgery::withdraw_consent(scene.hospital(), &scene.patient, id, now).await.unwrap();
    scene.consent(id, &plan).await.unwrap();
    scene.schedule("nurse", id).await.unwrap();
    invalid(scene.sign("nurse", id, Phase::SignIn, again).await, "completed the phase before");
    scene.go_through(id, Phase::SignIn, &["nurse", "physician"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_no_without_a_reason_stops_the_team() {
    let scene = Scene::new().await;
    let id = scene.consented().await;
    scene.schedule("nurse", id).await.unwrap();
    let phase = Phase::SignIn;
    let before = scene.versions().await;
    for (item, answer) in [
        ("site-marked", "no"),
        ("site-marked", "no: "),
        ("identity", "not applicable"),
        ("anaesthesia", "not yet"),
        ("airway", "yes"),
    ] {
        let answers = answers_but(phase, item, answer);
        let filled_in = FilledIn { phase, answers: &answers, urgent: None, anew: false };
        invalid(scene.fill_in_as("nurse", id, &filled_in).await, item);
    }
    assert_eq!(scene.versions().await, before, "nothing is sealed");

    // One that was sealed and signed by other means is not signed by others, nor begun over.
    let bad = answers_but(phase, "site-marked", "no");
    let good = answers_but(phase, "site-marked", "no: a single organ");
    let filled_in = FilledIn { phase, answers: &good, urgent: None, anew: false };
    let good = scene.fill_in_as("nurse", id, &filled_in).await.unwrap();
    let bad = scene.seal(id, good.digest, &bad).await;
    scene.sign_alone("nurse", id, phase, bad).await;
    let reason = "site-marked takes";
    invalid(scene.sign("physician", id, phase, bad).await, reason);
    scene.sign_alone("physician", id, phase, bad).await;
    scene.go_through(id, Phase::TimeOut, &["surgeon", "physician", "nurse"]).await;
    invalid(scene.incise("surgeon", id).await, reason);
    assert_eq!(scene.state(id).await, State::TimedOut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_surgeon_begins_over_documents_only() {
    let scene = Scene::new().await;
    let id = scene.consented().await;
    scene.schedule("nurse", id).await.unwrap();
    for who in ["physician", "nurse"] {
        scene.sign_alone(who, id, Phase::SignIn, secret("nothing is behind it")).await;
    }
    scene.go_through(id, Phase::TimeOut, &["surgeon", "physician", "nurse"]).await;
    invalid(scene.incise("surgeon", id).await, "sign-in: the hospital keeps no record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_waits_for_its_time_unless_it_is_urgent() {
    let scene = Scene::new().await;
    let id = scene.consented().await;
    let team = ["surgeon", "physician", "nurse"].map(address);
    let second = Duration::from_secs(1);
    scene.schedule_in(FORWARD_MAX + second, "nurse", id, team).await.unwrap();
    let (phase, before) = (Phase::SignIn, scene.versions().await);
    invalid(scene.fill_in("nurse", id, phase).await, "schedule it anew");
    let answers = answers(phase);
    let urgent = |reason| FilledIn { phase, answers: &answers, urgent: Some(reason), anew: false };
    invalid(scene.fill_in_as("nurse", id, &urgent(" ")).await, "reason why");
    assert_eq!(scene.versions().await, before, "nothing is sealed");
    // Scheduled anew, or once its time is near.
    scene.schedule_in(FORWARD_MAX, "nurse", id, team).await.unwrap();
    scene.go_through(id, phase, &["nurse", "physician"]).await;
    let id = scene.consented().await;
    scene.schedule_in(FORWARD_MAX + second, "nurse", id, team).await.unwrap();
    scene.world.pass(second);
    scene.go_through(id, phase, &["nurse", "physician"]).await;

    // Or declared urgent, which both who sign in have signed.
    let id = scene.consented().await;
    scene.schedule_in(7 * DAY, "nurse", id, team).await.unwrap();
    let signed = scene.fill_in_as("nurse", id, &urgent("the fracture is open")).await.unwrap();
    scene.sign("physician", id, phase, signed.digest).await.unwrap();
    scene.go_through(id, Phase::TimeOut, &["surgeon", "physician", "nurse"]).await;
    scene.incise("surgeon", id).await.unwrap();

    // What was signed early by other means is not begun.
    let id = scene.consented().await;
    scene.schedule_in(HOUR, "nurse", id, team).await.unwrap();
    let signed = scene.fill_in("nurse", id, phase).await.unwrap();
    scene.schedule_in(7 * DAY, "nurse", id, team).await.unwrap();
    invalid(scene.sign("physician", id, phase, signed.digest).await, "schedule it anew");
    for who in ["nurse", "physician"] {
        scene.sign_alone(who, id, phase, signed.digest).await;
    }
    scene.go_through(id, Phase::TimeOut, &["surgeon", "physician", "nurse"]).await;
    invalid(scene.incise("surgeon", id).await, "schedule it anew");
    scene.world.pass(7 * DAY);
    scene.incise("surgeon", id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consent_is_to_the_plan_that_stands_and_can_be_withdrawn() {
    let scene = Scene::new().await;
    let id = scene.refer("physician").await.unwrap();
    let old = scene.assess("surgeon", id).await.unwrap();
    scene.world.pass(HOUR);
    let plan = scene.assess("surgeon", id).await.unwrap();
    refused_as(scene.consent(id, &old).await, "PlanDiffers");
    scene.consent(id, &plan).await.unwrap();
    scene.schedule("nurse", id).await.unwrap();
    scene.go_through(id, Phase::SignIn, &["physician", "nurse"]).await;
    scene.go_through(id, Phase::TimeOut, &["surgeon", "physician", "nurse"]).await;
    let (hospital, patient) = (scene.hospital(), &scene.patient);
    surgery::withdraw_consent(hospital, patient, id, scene.world.now()).await.unwrap();
    assert_eq!(scene.state(id).await, State::Assessed);
    refused_as(scene.incise("surgeon", id).await, "WrongState");
    // A certificate never overrules a refusal; the patient may think again.
    refused_as(scene.certify("surgeon", id, &plan).await, "Refused");
    scene.to_incision(id, &plan).await;
    let late = surgery::withdraw_consent(hospital, patient, id, scene.world.now()).await;
    refused_as(late, "WrongState");
    let late = surgery::cancel_by_patient(hospital, patient, id, scene.world.now()).await;
    refused_as(late, "WrongState");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_doctors_certify_what_cannot_wait() {
    let scene = Scene::new().await;
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.certify("physician", id, &plan).await.unwrap();
    refused_as(scene.certify("physician", id, &plan).await, "AlreadySigned");
    assert_eq!(scene.state(id).await, State::Assessed);
    scene.certify("surgeon", id, &plan).await.unwrap();
    assert_eq!(scene.state(id).await, State::Consented);
    scene.note("cancel", "physician", id).await.unwrap();
    assert_eq!(scene.state(id).await, State::Cancelled);
    refused_as(scene.schedule("nurse", id).await, "WrongState");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn implants_lead_to_surgery_and_patient_and_back() {
    let scene = Scene::new().await;
    let hospital = scene.hospital();
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.to_incision(id, &plan).await;
    let stem = scene.implant("nurse", id, "S-1").await.unwrap();
    let cup = scene.implant("surgeon", id, "S-2").await.unwrap();
    let before = scene.versions().await;
    refused_as(scene.implant("nurse", id, "S-1").await, "AlreadyImplanted");
    assert_eq!(scene.versions().await, before);
    assert_eq!(surgery::implants_of(hospital, id).await.unwrap(), [stem, cup]);
    assert_eq!(surgery::implant_digest(hospital, "Maker", "S-1"), stem);
    assert_ne!(surgery::implant_digest(hospital, "MakerS", "-1"), stem);
    let patient = scene.patient.account();
    let found = surgery::trace(hospital, stem).await.unwrap();
    assert_eq!(found, [Implanted { surgery: id, patient, removed: false }]);
    assert!(surgery::trace(hospital, secret("no implant")).await.unwrap().is_empty());
    // A mistake is taken back, and leads nowhere any more.
    let mistake = scene.implant("nurse", id, "S-3").await.unwrap();
    surgery::void_implant(hospital, scene.world.person("nurse"), id, mistake).await.unwrap();
    assert!(surgery::trace(hospital, mistake).await.unwrap().is_empty());
    assert_eq!(surgery::implants_of(hospital, id).await.unwrap(), [stem, cup]);
    // A recall: by the lot, everybody who has one.
    let lot = surgery::lot_digest(hospital, "Maker", "L-17");
    let recalled = surgery::recall(hospital, lot).await.unwrap();
    let implanted = Implanted { surgery: id, patient, removed: false };
    let mut expected = [(stem, implanted), (cup, implanted)];
    expected.sort_by_key(|(implant, _)| *implant);
    assert_eq!(recalled, expected, "not what was taken back");

    scene.sign_out(id).await;
    scene.note("hand-over", "physician", id).await.unwrap();
    let removed = surgery::explant(hospital, &scene.surgeon, id, stem).await;
    refused_as(removed, "WrongState");
    // Back to the theatre, where the stem is taken out.
    scene.note("complication", "nurse", id).await.unwrap();
    scene.world.pass(DAY);
    scene.note("return", "surgeon", id).await.unwrap();
    assert_eq!(scene.state(id).await, State::Assessed);
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.to_incision(id, &plan).await;
    let nurse = scene.person("nurse");
    refused_as(surgery::explant(hospital, nurse, id, stem).await, "NotAllowed");
    surgery::explant(hospital, &scene.surgeon, id, stem).await.unwrap();
    let again = surgery::explant(hospital, &scene.surgeon, id, stem).await;
    refused_as(again, "NotImplanted");
    assert!(surgery::trace(hospital, stem).await.unwrap()[0].removed);
    let (first, _) = scene.receipt(id, 1).await;
    scene.sign_out(id).await;
    assert_eq!(scene.receipt(id, 1).await.0, first, "a receipt never changes");
    assert!(scene.receipt(id, 2).await.0 > first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_rounds_are_called_off_alone() {
    let scene = Scene::new().await;
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    refused_as(scene.note("complication", "nurse", id).await, "WrongState");
    scene.to_incision(id, &plan).await;
    scene.sign_out(id).await;
    scene.note("hand-over", "physician", id).await.unwrap();
    scene.note("return", "surgeon", id).await.unwrap();
    refused_as(scene.consent(id, &plan).await, "PlanDiffers");
    let (hospital, now) = (scene.hospital(), scene.world.now());
    surgery::cancel_by_patient(hospital, &scene.patient, id, now).await.unwrap();
    assert_eq!(scene.state(id).await, State::Recovering);
    scene.note("discharge", "physician", id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_relieves_signs_again() {
    let scene = Scene::new().await;
    let colleague = scene.world.engage("colleague", "hospital", ProfessionalRole::Physician).await;
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.consent(id, &plan).await.unwrap();
    scene.schedule("nurse", id).await.unwrap();
    scene.go_through(id, Phase::SignIn, &["physician", "nurse"]).await;
    scene.go_through(id, Phase::TimeOut, &["surgeon", "physician", "nurse"]).await;
    let (hospital, nurse) = (scene.hospital(), scene.person("nurse"));
    let member = colleague.member;
    let wrong = surgery::relieve(hospital, nurse, id, Seat::Surgeon, member).await;
    refused_as(wrong, "NotAllowed");
    surgery::relieve(hospital, nurse, id, Seat::Anaesthetist, member).await.unwrap();
    assert_eq!(scene.state(id).await, State::SignedIn);
    refused_as(scene.incise("surgeon", id).await, "WrongState");
    refused_as(scene.fill_in("physician", id, Phase::TimeOut).await, "NotAllowed");
    let first = scene.fill_in("surgeon", id, Phase::TimeOut).await.unwrap();
    scene.sign("nurse", id, Phase::TimeOut, first.digest).await.unwrap();
    let signing = Signing { phase: Phase::TimeOut, digest: first.digest, anew: false };
    invalid(scene.sign_as(&colleague, id, &signing).await, "may not read");
    scene.care(colleague.member).await;
    scene.sign_as(&colleague, id, &signing).await.unwrap();
    scene.incise("surgeon", id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn surgery_costs_what_the_file_says() {
    let scene = Scene::new().await;
    let journal = Journal::new(&scene.world);
    let id = scene.refer("physician").await.unwrap();
    let plan = scene.assess("surgeon", id).await.unwrap();
    scene.to_incision(id, &plan).await;
    scene.implant("nurse", id, "S-1").await.unwrap();
    scene.sign_out(id).await;
    scene.note("hand-over", "physician", id).await.unwrap();
    scene.note("discharge", "surgeon", id).await.unwrap();
    scene.note("follow-up", "physician", id).await.unwrap();
    journal.assert_listed(
        &scene.world,
        "surgery",
        "A patient is referred, assessed, operated on with a checklist and an implant, discharged, and seen again.",
    );
}
