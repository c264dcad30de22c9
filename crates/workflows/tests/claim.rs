//! Claims from the coverage to the refund: each step by who may take it, money conserved, nothing paid above what was
//! decided, and nothing read without the patient's consent (K1 to K7 of `Claims.sol`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod journal;

use std::{sync::Arc, time::Duration};

use alloy_consensus::{SignableTransaction as _, Transaction as _, TypedTransaction};
use alloy_primitives::{Address, B256, U256};
use bindings::{Contract, Surgeries, convert::to_uint40, patient_account::Call};
use common::{DAY, HOUR, World, passkey, refusal, secret, wallet};
use domain::{
    Anchor, Facts, InstitutionRole, Kind, KindSet, Period, ProfessionalRole, Purpose, PurposeSet,
    Reader, RecordDigest, RecordId, Request, Timestamp, decide,
};
use journal::Journal;
use ledger::{Answering, PrivateKeySigner, Sender, SignerSync as _, Submitted, Wallet};
use serde_json::{Value, json};
use tempfile::TempDir;
use vault::{Identity, OnConflict};
use workflows::{
    Gateway, PatientActor, Person, Step, WorkflowError, access,
    claim::{
        self, Cents, Decision, Filing, Flags, Item, Places, Reviewed, Source, State, Tariff, Terms,
    },
    consent, laboratory,
    prescription::{self, Known, Order, Product},
    record::{self, Draft, Verdict},
    relationship, surgery,
};

const SECOND: Duration = Duration::from_secs(1);

/// The adjudicators, as others in this file call them.
const ADJUDICATOR: &str = "adjudicator of the payer";
const ARBITER: &str = "second adjudicator";

/// What everybody has in tokens together: ten million euros for each of five founders.
const SUPPLY: u128 = 5 * 1_000_000_000;

/// A hospital, a pharmacy and an insurer that keep a patient's records.
struct Scene {
    world: World,
    patient: PatientActor,
    insurer: Gateway,
    adjudicator: Person,
    arbiter: Person,
    _dir: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::found(dir.path()).await;
        let patient = world.patient("P001", passkey("P001")).await;
        for steward in ["hospital", "pharmacy", "laboratory"] {
            world.relate(steward, &patient, false).await;
        }
        let insurer = world.admit("payer", InstitutionRole::Insurer).await;
        relate(&world, &insurer, &patient).await;
        let role = ProfessionalRole::Adjudicator;
        let adjudicator = world.engage(ADJUDICATOR, "payer", role).await;
        let arbiter = world.engage(ARBITER, "payer", role).await;
        let hospital = world.gateway("hospital");
        hospital.gatekeeper.refresh(world.now()).await.unwrap();
        let physician = world.person("physician").member;
        let keeper = &hospital.gatekeeper;
        keeper.join_care_team(patient.account(), physician, world.now()).await.unwrap();
        claim::transfer(hospital, insurer.member(), Cents(2_000_000)).await.unwrap();
        let own = insurer.member();
        steps_are(
            &claim::deposit(&insurer, own, Cents(1_500_000)).await.unwrap(),
            &["money.approve", "money.deposit"],
        );
        claim::deposit(hospital, patient.account(), Cents(10_000)).await.unwrap();
        Self { world, patient, insurer, adjudicator, arbiter, _dir: dir }
    }

    /// The patient lets the insurer read what a claim needs.
    async fn consented(self) -> Self {
        self.consent(&[Kind::Financial, Kind::Medication]).await;
        self
    }

    async fn consent(&self, kinds: &[Kind]) {
        let now = self.world.now();
        let terms = domain::Terms {
            period: Period::new(now, now.after(200 * DAY)).unwrap(),
            kinds: KindSet::of(kinds),
            purposes: PurposeSet::of(&[Purpose::Payment]),
        };
        let (hospital, reader) = (self.world.gateway("hospital"), self.insurer.member());
        consent::grant(hospital, &self.patient, reader, None, &terms, now).await.unwrap();
    }

    fn terms(&self) -> Terms {
        let now = self.world.now();
        Terms {
            plan: "plus".into(),
            from: now,
            until: now.after(300 * DAY),
            copayment: 1_000,
            limit: Cents(1_000_000),
        }
    }

    async fn offer(&self, terms: &Terms) -> Result<Anchor, WorkflowError> {
        let (now, patient) = (self.world.now(), &self.patient);
        let offered =
            claim::offer_coverage(&self.insurer, &self.adjudicator, patient, terms, now).await?;
        steps_are(&offered.1, &["record.propose", "claim.offer-coverage"]);
        Ok(offered.0)
    }

    /// A coverage that the patient read and accepted, and that runs.
    async fn covered_by(&self, terms: &Terms) -> B256 {
        let policy = self.offer(terms).await.unwrap();
        let body = record::verify(&self.insurer, &self.patient, &policy).await.unwrap();
        assert!(String::from_utf8(body).unwrap().contains("\"Coverage\""));
        self.accept(&self.patient, &policy).await.unwrap();
        self.world.pass(SECOND);
        policy.record.0
    }

    async fn covered(&self) -> B256 {
        self.covered_by(&self.terms()).await
    }

    async fn accept(&self, who: &PatientActor, policy: &Anchor) -> Result<Step, WorkflowError> {
        claim::accept_coverage(&self.insurer, who, policy, self.world.now()).await
    }

    /// A prescription of which one fill was dispensed.
    async fn filled(&self, medicine: &str, quantity: u32) -> B256 {
        self.filled_for(&self.patient, medicine, quantity).await
    }

    async fn filled_for(&self, patient: &PatientActor, medicine: &str, quantity: u32) -> B256 {
        let (hospital, pharmacy) = (self.world.gateway("hospital"), self.world.gateway("pharmacy"));
        let (physician, pharmacist) =
            (self.world.person("physician"), self.world.person("pharmacist"));
        let now = self.world.now();
        let order = Order {
            medication: (String::new(), String::new(), medicine.into()),
            dosage: "one a day".into(),
            dose: None,
            quantity,
            fills: 1,
            valid_for: 30 * DAY,
            controlled: false,
            as_written: false,
        };
        let known = Known::read(hospital, physician.member, patient.account(), now).await.unwrap();
        let checked = prescription::check(&order, &known, Some("it was weighed")).unwrap();
        let issued = prescription::issue(hospital, physician, patient, &checked, now).await;
        let anchor = issued.unwrap().0;
        let (id, member) = (anchor.record.0, pharmacy.member());
        prescription::permit_by_prescriber(hospital, physician, id, member).await.unwrap();
        prescription::permit_by_patient(hospital, patient, &anchor, member, now).await.unwrap();
        prescription::claim(pharmacy, pharmacist, id).await.unwrap();
        let product = Product { quantity, batch: "B-1".into(), expires: now.after(400 * DAY) };
        prescription::dispense(pharmacy, pharmacist, patient, id, &product, now).await.unwrap();
        id
    }

    async fn submit(&self, filing: &Filing) -> Result<B256, WorkflowError> {
        self.submit_as("pharmacy", "pharmacist", &self.patient, filing).await
    }

    async fn submit_as(
        &self,
        at: &str,
        who: &str,
        patient: &PatientActor,
        filing: &Filing,
    ) -> Result<B256, WorkflowError> {
        let (provider, author) = (self.world.gateway(at), self.world.person(who));
        let now = self.world.now();
        let submitted = claim::submit(provider, author, patient, filing, now).await?;
        steps_are(&submitted.1, &["record.propose", "claim.submit"]);
        Ok(submitted.0.record.0)
    }

    /// A claim for thirty tablets at this price and the fee.
    async fn claimed(&self, coverage: B256, cents: u128) -> B256 {
        let service = self.filled("lisinopril 10 MG", 30).await;
        self.submit(&filing(coverage, service, &tablets(cents))).await.unwrap()
    }

    async fn review(&self, id: B256) -> Result<Reviewed, WorkflowError> {
        self.review_as(&self.insurer, &self.adjudicator, id).await
    }

    async fn review_as(
        &self,
        insurer: &Gateway,
        who: &Person,
        id: B256,
    ) -> Result<Reviewed, WorkflowError> {
        let places = Places {
            claim: &self.world.gateway("pharmacy").gatekeeper,
            order: &self.world.gateway("hospital").gatekeeper,
        };
        Reviewed::read(insurer, who, places, id, self.world.now()).await
    }

    async fn adjudicate(&self, who: &Person, id: B256) -> Result<Decision, WorkflowError> {
        let reviewed = self.review(id).await?;
        self.adjudicate_reviewed(&self.insurer, who, &reviewed).await
    }

    async fn adjudicate_reviewed(
        &self,
        insurer: &Gateway,
        who: &Person,
        reviewed: &Reviewed,
    ) -> Result<Decision, WorkflowError> {
        let (patient, tariff) = (&self.patient, Tariff::demonstration());
        let now = self.world.now();
        let decided = claim::adjudicate(insurer, who, patient, reviewed, tariff, now).await?;
        steps_are(&decided.steps, &["record.propose", "record.propose", "claim.adjudicate"]);
        Ok(decided)
    }

    async fn decide_appeal(
        &self,
        who: &Person,
        id: B256,
        more: Option<(Cents, &str)>,
    ) -> Result<Decision, WorkflowError> {
        let reviewed = self.review(id).await?;
        let (patient, rules) = (&self.patient, (Tariff::demonstration(), more));
        let now = self.world.now();
        claim::decide_appeal(&self.insurer, who, patient, &reviewed, rules, now).await
    }

    async fn appeal(&self, id: B256) -> Result<(), WorkflowError> {
        let (pharmacy, pharmacist) =
            (self.world.gateway("pharmacy"), self.world.person("pharmacist"));
        let (patient, now) = (&self.patient, self.world.now());
        let appealed = claim::appeal(pharmacy, pharmacist, patient, id, "planted words", now);
        steps_are(&appealed.await?.1, &["record.propose", "claim.appeal"]);
        Ok(())
    }

    async fn pay(&self, id: B256) -> Result<Step, WorkflowError> {
        claim::pay(self.world.gateway("pharmacy"), self.world.person("pharmacist"), id).await
    }

    async fn pay_copayment(&self, who: &PatientActor, id: B256) -> Result<Step, WorkflowError> {
        claim::pay_copayment(self.world.gateway("pharmacy"), who, id, self.world.now()).await
    }

    async fn refund(&self, id: B256, insurer: u128, patient: u128) -> Result<Step, WorkflowError> {
        let pharmacy = self.world.gateway("pharmacy");
        claim::refund(pharmacy, id, Cents(insurer), Cents(patient)).await
    }

    async fn standing(&self, id: B256) -> claim::Standing {
        claim::standing(&self.insurer, id).await.unwrap()
    }

    /// Inside the contract: of the insurer, the pharmacy and the patient.
    async fn purses(&self) -> [u128; 3] {
        let mut purses = [0; 3];
        let holders = [
            self.insurer.member(),
            self.world.gateway("pharmacy").member(),
            self.patient.account(),
        ];
        for (purse, holder) in purses.iter_mut().zip(holders) {
            *purse = claim::purse(&self.insurer, holder).await.unwrap().inside.0;
        }
        purses
    }

    /// K4: no cent comes to be and none is lost; `aside` is what is set aside for claims.
    async fn assert_conserved(&self, aside: u128) {
        let contract = self.world.at(Contract::Claims);
        let mut outside = 0;
        let institutions = common::INSTITUTIONS.map(|(name, _)| common::address(name));
        let others = [self.insurer.member(), self.patient.account(), contract];
        for who in institutions.into_iter().chain(others) {
            outside += claim::purse(&self.insurer, who).await.unwrap().outside.0;
        }
        assert_eq!(outside, SUPPLY);
        let held = claim::held(&self.insurer).await.unwrap();
        assert_eq!(held, claim::purse(&self.insurer, contract).await.unwrap().outside);
        assert_eq!(held.0, self.purses().await.iter().sum::<u128>() + aside);
    }

    /// How much an institution keeps, vault and chain agreeing.
    async fn versions(&self, gateway: &Gateway) -> u64 {
        let report = gateway.gatekeeper.reconcile(self.world.now()).await.unwrap();
        assert!(report.is_clean(), "{:?} {:?}", report.findings, report.log_findings);
        assert_eq!(report.versions, report.anchors);
        report.versions
    }

    /// From the plan to the sign-out, over a report; what else is sealed on the way is another test's.
    async fn operate(&self, surgeon: &Person, id: B256, performed: &str) -> RecordDigest {
        self.incise(surgeon, id).await;
        let (hospital, now) = (self.world.gateway("hospital"), self.world.now());
        let (patient, phase) = (&self.patient, surgery::Phase::SignOut);
        let answers: Vec<_> = phase.items().iter().map(|item| (item.key, "yes")).collect();
        let report = surgery::Report { performed, answers: &answers, anew: false };
        let signed = surgery::report(hospital, surgeon, patient, id, &report, now).await.unwrap();
        self.sign_out(&[], id, signed.digest).await;
        RecordDigest(signed.digest)
    }

    async fn surgeon(&self) -> Person {
        self.world.engage("surgeon", "hospital", ProfessionalRole::Surgeon).await
    }

    /// From the plan to the incision.
    async fn incise(&self, surgeon: &Person, id: B256) {
        let (world, at) = (&self.world, self.world.at(Contract::Surgeries));
        let (physician, nurse) = (world.person("physician"), world.person("nurse"));
        let (plan, checklist) = (secret("a plan"), secret("a list"));
        surgeon.sender.send(at, &Surgeries::assessCall { id, plan }).await.unwrap();
        let consent = Call::to_contract(at, &Surgeries::consentCall { id, plan });
        let relay = world.gateway("hospital").sender();
        self.patient.act(relay, vec![consent], world.now()).await.unwrap();
        let schedule = Surgeries::scheduleCall {
            id,
            team: [surgeon.member, physician.member, nurse.member],
            scheduledAt: to_uint40(world.now().after(DAY)),
            theatre: secret("a theatre"),
        };
        nurse.sender.send(at, &schedule).await.unwrap();
        for person in [physician, nurse] {
            let sign_in = Surgeries::signInCall { id, checklist };
            person.sender.send(at, &sign_in).await.unwrap();
        }
        for person in [surgeon, physician, nurse] {
            let time_out = Surgeries::timeOutCall { id, checklist };
            person.sender.send(at, &time_out).await.unwrap();
        }
        surgeon.sender.send(at, &Surgeries::inciseCall { id }).await.unwrap();
    }

    /// These and the others of the team sign a report, by whatever means.
    async fn sign_out(&self, first: &[&Person], id: B256, report: B256) {
        let (world, at) = (&self.world, self.world.at(Contract::Surgeries));
        let others = [world.person("physician"), world.person("nurse")];
        for person in first.iter().chain(&others) {
            person.sender.send(at, &Surgeries::signOutCall { id, report }).await.unwrap();
        }
    }

    /// A copy of a record's newest version, as an exchange brings it.
    async fn copy_to_insurer(&self, from: &Gateway, record: B256, kind: Kind) {
        let newest = from.gatekeeper.vault().head(RecordId(record)).await.unwrap().unwrap();
        self.copy_version_to_insurer(from, newest.digest, kind).await;
    }

    async fn copy_version_to_insurer(&self, from: &Gateway, digest: RecordDigest, kind: Kind) {
        let account = self.patient.account();
        let header = from.gatekeeper.vault().find(digest).await.unwrap().unwrap().header;
        let record = header.record;
        let request = Request {
            reader: Reader::Patient { account },
            patient: account,
            steward: from.member(),
            record,
            kind,
            purpose: Purpose::PatientRequest,
            time: self.world.now(),
        };
        let permit = decide(&request, &Facts::default()).unwrap();
        let vault = from.gatekeeper.vault();
        let secret = self.insurer.secret.clone();
        let identity = Identity { address: self.insurer.member(), secret };
        let version = Some(header.version);
        let (key, mut rng) = (identity.secret.public_key(), from.gatekeeper.entropy().fork());
        let wrapped =
            vault.wrap_for(permit, version, identity.address, &key, B256::ZERO, &mut rng).await;
        let _ = wrapped.unwrap();
        let copy = vault.copy_for(digest, identity.address).await.unwrap().unwrap();
        let sealed = vault.sealed_bytes(digest).await.unwrap().unwrap();
        let own = self.insurer.gatekeeper.vault();
        own.import(copy, sealed, Some(&identity), OnConflict::Refuse).await.unwrap();
    }

    /// A record of the insurer, as the patient opens it.
    async fn opened(&self, anchor: &Anchor) -> Value {
        let body = record::verify(&self.insurer, &self.patient, anchor).await.unwrap();
        serde_json::from_slice(&body).unwrap()
    }
}

/// What happens while an adjudicator takes their time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    PatientContests,
    InsurerTakesAllOut,
}

/// The wallet of an adjudicator who takes their time, and signs then, or sends by itself.
struct Slow {
    key: PrivateKeySigner,
    sender: Option<Sender>,
    insurer: Gateway,
    patient: PatientActor,
    id: B256,
    meanwhile: Meanwhile,
    now: Timestamp,
}

impl Wallet for Slow {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn submit(&self, transaction: TypedTransaction) -> Answering<'_, Submitted> {
        Box::pin(async move {
            let Self { insurer, patient, id, now, .. } = self;
            match self.meanwhile {
                Meanwhile::PatientContests => {
                    claim::contest(insurer, patient, *id, "planted words", *now).await.unwrap();
                }
                Meanwhile::InsurerTakesAllOut => {
                    let all = claim::purse(insurer, insurer.member()).await.unwrap().inside;
                    claim::take_out(insurer, all).await.unwrap();
                }
            }
            if let Some(sender) = &self.sender {
                let input = transaction.input().clone();
                let sent = sender.submit(transaction.kind(), input, U256::ZERO).await;
                return Ok(Submitted::Sent(sent.unwrap()));
            }
            let signature = self.key.sign_hash_sync(&transaction.signature_hash()).unwrap();
            Ok(Submitted::Signature(signature))
        })
    }
}

impl Scene {
    async fn slow_adjudicator(&self, id: B256, meanwhile: Meanwhile, sends: bool) -> Person {
        let slow = Slow {
            key: wallet(ADJUDICATOR),
            sender: sends.then(|| self.world.sender(ADJUDICATOR)),
            insurer: self.insurer.clone(),
            patient: self.world.patient("P001", passkey("P001")).await,
            id,
            meanwhile,
            now: self.world.now(),
        };
        let sender = Sender::elsewhere(self.world.ledger.clone(), Arc::new(slow));
        Person { sender, ..self.adjudicator.clone() }
    }
}

async fn relate(world: &World, insurer: &Gateway, patient: &PatientActor) {
    relationship::propose(insurer, patient, false).await.unwrap();
    relationship::accept(insurer, patient, false, world.now()).await.unwrap();
}

fn item(code: &str, quantity: u32, cents: u128) -> Item {
    Item { code: code.into(), quantity, unit_price: Cents(cents) }
}

fn tablets(cents: u128) -> Vec<Item> {
    vec![item("RX-LISINOPRIL-10", 30, cents), item("RX-DISPENSING-FEE", 1, 450)]
}

fn filing(coverage: B256, service: B256, items: &[Item]) -> Filing {
    Filing {
        coverage,
        source: Source::Prescription,
        service,
        part: 1,
        items: items.into(),
        authorisation: None,
    }
}

#[track_caller]
fn steps_are(steps: &[Step], operations: &[&str]) {
    let taken: Vec<&str> = steps.iter().map(|step| step.operation).collect();
    assert_eq!(taken, operations);
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
        Err(error) => panic!("it fails otherwise: {error:?}"),
        Ok(_) => panic!("it was not refused"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_is_claimed_cut_appealed_paid_and_paid_back_and_no_cent_is_lost() {
    let scene = Scene::new().await.consented().await;
    let world = &scene.world;
    scene.assert_conserved(0).await;
    let begun = scene.purses().await;
    let coverage = scene.covered().await;
    let kept = scene.versions(&scene.insurer).await;
    // 30 tablets at 20 cents, of which the tariff pays 12, and the fee.
    let id = scene.claimed(coverage, 20).await;
    let submitted = scene.standing(id).await;
    assert_eq!((submitted.state, submitted.amount), (State::Submitted, Cents(1_050)));
    assert_eq!(submitted.copayment_due(), Cents::ZERO);
    scene.assert_conserved(0).await;

    let decided = scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    assert_eq!((decided.made.approved, decided.made.flags()), (Cents(810), Flags::EXCESSIVE));
    let held = scene.standing(id).await;
    assert_eq!(
        (held.state, held.approved, held.share),
        (State::Adjudicated, Cents(810), Cents(729))
    );
    assert_eq!(held.copayment_due(), Cents(81));
    assert_eq!(held.flags, Flags::EXCESSIVE);
    assert_eq!(scene.versions(&scene.insurer).await, kept + 2);
    scene.assert_conserved(729).await;

    // The patient reads why, item by item.
    let explanation = scene.opened(&decided.explanation).await;
    assert_eq!(explanation["resourceType"], "ExplanationOfBenefit");
    assert_eq!(explanation["claim"]["reference"], format!("Claim/{id:x}"));
    let lines = explanation["item"][0]["adjudication"].as_array().unwrap();
    assert_eq!(lines[0]["amount"], json!({ "value": 6, "currency": "EUR" }));
    assert_eq!(lines[1]["amount"]["value"].to_string(), "3.6");
    assert_eq!(lines[2]["reason"]["text"], "at most 0.12 is paid for a unit");
    let totals = explanation["total"].as_array().unwrap();
    let total = |index: usize| totals[index]["amount"]["value"].to_string();
    assert_eq!([total(0), total(1), total(2), total(3)], ["10.5", "8.1", "0.81", "7.29"]);
    let response = scene.opened(&decided.response).await;
    let referred = explanation["claimResponse"]["reference"].as_str().unwrap();
    assert_eq!(referred, format!("ClaimResponse/{:x}", decided.response.record.0));
    assert_eq!(response["request"]["reference"], format!("Claim/{id:x}"));

    scene.pay(id).await.unwrap();
    refused_as(scene.pay(id).await, "NoAmount");
    scene.pay_copayment(&scene.patient, id).await.unwrap();
    refused_as(scene.pay_copayment(&scene.patient, id).await, "NoAmount");
    assert_eq!(scene.purses().await, [begun[0] - 729, begun[1] + 810, begun[2] - 81]);

    scene.appeal(id).await.unwrap();
    refused_as(scene.decide_appeal(&scene.adjudicator, id, None).await, "SameAdjudicator");
    let why = "the product was not to be had for less";
    let more = Some((Cents(1_000), why));
    let decided = scene.decide_appeal(&scene.arbiter, id, more).await.unwrap();
    assert_eq!(decided.made.approved, Cents(1_000));
    let explanation = scene.opened(&decided.explanation).await;
    assert_eq!(explanation["processNote"][0]["text"], why);
    scene.assert_conserved(171).await;
    scene.pay(id).await.unwrap();
    scene.pay_copayment(&scene.patient, id).await.unwrap();
    // K3: nothing is paid above what was decided.
    let paid = scene.standing(id).await;
    assert_eq!((paid.state, paid.paid, paid.copaid), (State::Final, Cents(900), Cents(100)));
    assert_eq!(paid.paid.plus(paid.copaid), Some(paid.approved));
    refused_as(scene.pay(id).await, "NoAmount");

    refused_as(scene.refund(id, 901, 0).await, "InvalidAmount");
    refused_as(scene.refund(id, 0, 101).await, "InvalidAmount");
    refused_as(scene.refund(id, 0, 0).await, "NoAmount");
    scene.refund(id, 400, 40).await.unwrap();
    refused_as(scene.refund(id, 501, 0).await, "InvalidAmount");
    assert_eq!(scene.purses().await, [begun[0] - 500, begun[1] + 560, begun[2] - 60]);
    let used = claim::coverage(&scene.insurer, coverage).await.unwrap().used;
    assert_eq!(used, Cents(500), "K5");
    scene.assert_conserved(0).await;

    // The money leaves the contract, and nothing is left over or missing.
    claim::take_out(world.gateway("pharmacy"), Cents(560)).await.unwrap();
    let hospital = world.gateway("hospital");
    claim::take_out_by_patient(hospital, &scene.patient, Cents(9_940), world.now()).await.unwrap();
    refused_as(claim::take_out(world.gateway("pharmacy"), Cents(1)).await, "InsufficientBalance");
    assert_eq!(scene.purses().await, [begun[0] - 500, 0, 0]);
    scene.assert_conserved(0).await;
    let relay = world.gateway("pharmacy");
    let paid_in = claim::deposit_by_patient(relay, &scene.patient, Cents(40), world.now()).await;
    steps_are(&[paid_in.unwrap()], &["money.deposit"]);
    scene.assert_conserved(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_is_on_the_timeline() {
    let scene = Scene::new().await.consented().await;
    let (patient, pharmacy) = (&scene.patient, scene.world.gateway("pharmacy"));
    let (pharmacist, coverage) = (scene.world.person("pharmacist"), scene.covered().await);
    let (wanted, items) = ((coverage, Source::Prescription), tablets(12));
    let now = scene.world.now();
    let request =
        claim::request_authorisation(pharmacy, pharmacist, patient, wanted, &items, now).await;
    let request = request.unwrap().0.record.0;
    let granted = (Cents(500), now.after(DAY));
    let insurer = &scene.insurer;
    claim::decide_authorisation(insurer, &scene.adjudicator, patient, request, granted, now)
        .await
        .unwrap();
    let service = scene.filled("lisinopril 10 MG", 30).await;
    let filing = filing(coverage, service, &tablets(20));
    let first = scene.submit(&filing).await.unwrap();
    claim::withdraw(pharmacy, first).await.unwrap();
    let id = scene.submit(&filing).await.unwrap();
    scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    claim::appeal_by_patient(insurer, patient, id, "planted words", now).await.unwrap();
    scene.decide_appeal(&scene.arbiter, id, None).await.unwrap();
    scene.pay(id).await.unwrap();
    scene.pay_copayment(patient, id).await.unwrap();
    scene.refund(id, 1, 1).await.unwrap();
    claim::contest(insurer, patient, id, "planted words", now).await.unwrap();
    claim::end_coverage_by_patient(insurer, patient, coverage, now).await.unwrap();
    claim::take_out_by_patient(insurer, patient, Cents(100), now).await.unwrap();

    let keeper = &scene.insurer.gatekeeper;
    keeper.refresh(now).await.unwrap();
    let timeline = keeper.patient_timeline(patient.account()).await.unwrap();
    assert!(timeline.is_checked());
    let own = timeline.steps.iter().filter(|step| step.contract == Contract::Claims.name());
    let told: Vec<(&str, Option<B256>)> = own.map(|step| (&*step.what, step.subject)).collect();
    let (coverage, id) = (Some(coverage), Some(id));
    let (request, first) = (Some(request), Some(first));
    let expected = [
        ("100.00 paid into the purse", None),
        ("coverage offered, up to 10000.00 until ", coverage),
        ("coverage accepted, from ", coverage),
        ("insurer asked beforehand for 8.10", request),
        ("5.00 granted beforehand, until ", request),
        ("10.50 claimed from ", first),
        ("claim taken back", first),
        ("10.50 claimed from ", id),
        ("claim decided: 8.10 approved, excessive", id),
        ("decision appealed", id),
        ("appeal decided: 8.10 approved, excessive", id),
        ("insurer's share of 7.29 paid", id),
        ("co-payment of 0.81 paid", id),
        ("paid back: 0.01 to the insurer, 0.01 to the patient", id),
        ("claim contested: it did not happen", id),
        ("coverage ends at ", coverage),
        ("1.00 taken out of the purse", None),
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.0.starts_with(expected.0) && told.1 == expected.1, "{told:?} {expected:?}");
    }
    // Also by the claim's own id.
    let of_claim = keeper.timeline(id.unwrap()).await.unwrap();
    assert!(of_claim.steps.iter().any(|step| step.what == "decision appealed"));
    assert!(!format!("{timeline:?}").contains("planted"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_consent_for_payment_the_adjudicator_reads_nothing() {
    let scene = Scene::new().await;
    let world = &scene.world;
    let coverage = scene.covered().await;
    let id = scene.claimed(coverage, 12).await;
    refused_as(scene.review(id).await, "no consent in force");
    // Consent to the claim alone does not open the order.
    scene.consent(&[Kind::Financial]).await;
    refused_as(scene.review(id).await, "does not cover");
    scene.consent(&[Kind::Financial, Kind::Medication]).await;
    let reviewed = scene.review(id).await.unwrap();
    assert_eq!(reviewed.items(), tablets(12));
    // Others of the network, and the patient's own doctors, read no claims.
    for who in ["physician", "nurse", "scientist"] {
        refused_as(scene.review_as(&scene.insurer, world.person(who), id).await, "role");
    }
    // Not without the purpose, either.
    let keeper = &world.gateway("pharmacy").gatekeeper;
    let kinds = KindSet::of(&[Kind::Financial]);
    let wanted = access::Wanted {
        patient: scene.patient.account(),
        kinds,
        record: None,
        purpose: Purpose::Treatment,
    };
    refused_as(access::ask(keeper, &scene.adjudicator, &wanted, world.now()).await, "role");
    // No copy has come to the insurer.
    let copies =
        Reviewed::read_copies(&scene.insurer, scene.adjudicator.member, id, world.now()).await;
    assert!(matches!(copies, Err(WorkflowError::Unknown { .. })), "{copies:?}");

    let hospital = world.gateway("hospital");
    let reader = scene.insurer.member();
    consent::revoke(hospital, &scene.patient, reader, None, world.now()).await.unwrap();
    refused_as(scene.review(id).await, "consent");
    let copies =
        Reviewed::read_copies(&scene.insurer, scene.adjudicator.member, id, world.now()).await;
    refused_as(copies, "consent");
    // Each attempt left a receipt with the patient (S5).
    let receipts = keeper.receipts_of(scene.patient.account(), None, 100).await.unwrap();
    let refused = receipts.iter().filter(|stored| {
        stored.receipt.requester == scene.adjudicator.member
            && matches!(stored.receipt.outcome, domain::Outcome::Refused { .. })
    });
    assert_eq!(refused.count(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_adjudicator_decides_on_copies_that_came() {
    let scene = Scene::new().await.consented().await;
    let (world, insurer) = (&scene.world, &scene.insurer);
    insurer.gatekeeper.open_copies_with(insurer.secret.clone());
    let coverage = scene.covered().await;
    let service = scene.filled("lisinopril 10 MG", 30).await;
    let id = scene.submit(&filing(coverage, service, &tablets(20))).await.unwrap();
    let read =
        async || Reviewed::read_copies(insurer, scene.adjudicator.member, id, world.now()).await;
    for (at, record, kind) in
        [("pharmacy", id, Kind::Financial), ("hospital", service, Kind::Medication)]
    {
        let incomplete = read().await;
        assert!(matches!(incomplete, Err(WorkflowError::Unknown { .. })), "{incomplete:?}");
        scene.copy_to_insurer(world.gateway(at), record, kind).await;
    }
    let reviewed = read().await.unwrap();
    assert_eq!(reviewed.items(), tablets(20));
    scene.adjudicate_reviewed(insurer, &scene.adjudicator, &reviewed).await.unwrap();
    assert_eq!(scene.standing(id).await.approved, Cents(810));
    // A copy that is here is not read once the consent is gone (S3).
    let hospital = world.gateway("hospital");
    let reader = insurer.member();
    consent::revoke(hospital, &scene.patient, reader, None, world.now()).await.unwrap();
    refused_as(read().await, "consent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_claimed_once_at_a_time() {
    let scene = Scene::new().await.consented().await;
    let pharmacy = scene.world.gateway("pharmacy");
    let coverage = scene.covered().await;
    let service = scene.filled("lisinopril 10 MG", 30).await;
    let claim = filing(coverage, service, &tablets(12));
    let before = scene.versions(pharmacy).await;
    let id = scene.submit(&claim).await.unwrap();
    refused_as(scene.submit(&claim).await, "AlreadyClaimed");
    // Also under another coverage.
    let other = filing(scene.covered().await, service, &tablets(12));
    refused_as(scene.submit(&other).await, "AlreadyClaimed");
    assert_eq!(scene.versions(pharmacy).await, before + 1, "what is refused leaves nothing");

    claim::withdraw(pharmacy, id).await.unwrap();
    assert_eq!(scene.standing(id).await.state, State::Withdrawn);
    refused_as(claim::withdraw(pharmacy, id).await, "WrongState");
    refused_as(scene.adjudicate(&scene.adjudicator, id).await, "WrongState");
    // Two gateways of one institution at the same time: one of them.
    let (one, two) = tokio::join!(scene.submit(&claim), scene.submit(&claim));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let (won, lost) = if one.is_ok() { (one, two) } else { (two, one) };
    refused_as(lost, "AlreadyClaimed");
    let again = won.unwrap();
    assert_ne!(again, id);
    scene.adjudicate(&scene.adjudicator, again).await.unwrap();
    refused_as(scene.adjudicate(&scene.adjudicator, again).await, "WrongState");
    refused_as(scene.submit(&claim).await, "AlreadyClaimed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_says_more_than_the_record_is_flagged_and_cut() {
    let scene = Scene::new().await.consented().await;
    let coverage = scene.covered().await;
    for (items, approved) in [
        // The brand, for what was dispensed without one.
        (vec![item("RX-LISINOPRIL-BRAND", 30, 48)], 360),
        // Three months, of which one was dispensed.
        (vec![item("RX-LISINOPRIL-10", 90, 12)], 360),
    ] {
        let service = scene.filled("lisinopril 10 MG", 30).await;
        let id = scene.submit(&filing(coverage, service, &items)).await.unwrap();
        scene.adjudicate(&scene.adjudicator, id).await.unwrap();
        let held = scene.standing(id).await;
        assert_eq!((held.flags, held.approved), (Flags::UPCODED, Cents(approved)));
    }
    // What is claimed twice within a claim is paid once.
    let service = scene.filled("lisinopril 10 MG", 30).await;
    let twice = [tablets(12), tablets(12)].concat();
    let id = scene.submit(&filing(coverage, service, &twice)).await.unwrap();
    scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    let held = scene.standing(id).await;
    assert_eq!((held.flags, held.approved), (Flags::DUPLICATE, Cents(810)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_patient_contests_is_not_paid_by_the_rules() {
    let scene = Scene::new().await.consented().await;
    let (world, patient) = (&scene.world, &scene.patient);
    let coverage = scene.covered().await;
    let id = scene.claimed(coverage, 12).await;
    let stranger = world.patient("P002", passkey("P002")).await;
    let contest = async |who| claim::contest(&scene.insurer, who, id, "planted", world.now()).await;
    refused_as(contest(&stranger).await, "NotParty");
    let early = scene.review(id).await.unwrap();
    contest(patient).await.unwrap();
    let late = scene.adjudicate_reviewed(&scene.insurer, &scene.adjudicator, &early).await;
    invalid(late, "changed since");
    assert!(scene.standing(id).await.flags.has(Flags::CONTESTED));
    let decided = scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    assert_eq!((decided.made.approved, decided.made.flags()), (Cents::ZERO, Flags::UPCODED));
    refused_as(scene.pay(id).await, "NoAmount");
    scene.appeal(id).await.unwrap();
    // The arbiter may find otherwise, and says why.
    let wrong = scene.decide_appeal(&scene.arbiter, id, Some((Cents(810), " "))).await;
    invalid(wrong, "a reason");
    let more = Some((Cents(u128::MAX), "the signature at the counter is the patient's"));
    let decided = scene.decide_appeal(&scene.arbiter, id, more).await.unwrap();
    assert_eq!((decided.made.approved, decided.made.flags()), (Cents(810), Flags::NONE));
    scene.pay(id).await.unwrap();
    scene.assert_conserved(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_contested_before_the_decision_is_signed_is_not_decided() {
    let scene = Scene::new().await.consented().await;
    let (insurer, coverage) = (&scene.insurer, scene.covered().await);
    let id = scene.claimed(coverage, 12).await;
    let reviewed = scene.review(id).await.unwrap();
    let kept = scene.versions(insurer).await;
    let slow = scene.slow_adjudicator(id, Meanwhile::PatientContests, false).await;
    let late = scene.adjudicate_reviewed(insurer, &slow, &reviewed).await;
    invalid(late, "changed since");
    assert_eq!(scene.standing(id).await.state, State::Submitted);
    assert_eq!(scene.versions(insurer).await, kept, "nothing is kept of it");

    // A wallet that sends by itself has decided: what it names is kept.
    let id = scene.claimed(coverage, 12).await;
    let reviewed = scene.review(id).await.unwrap();
    let slow = scene.slow_adjudicator(id, Meanwhile::PatientContests, true).await;
    scene.adjudicate_reviewed(insurer, &slow, &reviewed).await.unwrap();
    let held = scene.standing(id).await;
    assert_eq!((held.state, held.flags), (State::Adjudicated, Flags::CONTESTED));
    assert_eq!(scene.versions(insurer).await, kept + 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_decision_that_is_refused_in_the_end_are_taken_back() {
    let scene = Scene::new().await.consented().await;
    let (insurer, coverage) = (&scene.insurer, scene.covered().await);
    let id = scene.claimed(coverage, 12).await;
    let reviewed = scene.review(id).await.unwrap();
    let slow = scene.slow_adjudicator(id, Meanwhile::InsurerTakesAllOut, false).await;
    let broke = scene.adjudicate_reviewed(insurer, &slow, &reviewed).await;
    refused_as(broke, "InsufficientBalance");
    assert_eq!(scene.standing(id).await.state, State::Submitted);
    insurer.gatekeeper.refresh(scene.world.now()).await.unwrap();
    let timeline = insurer.gatekeeper.patient_timeline(scene.patient.account()).await.unwrap();
    let last: Vec<&str> = timeline.steps.iter().rev().take(2).map(|step| &*step.what).collect();
    assert_eq!(last, ["record withdrawn"; 2]);
    // Vault and chain agree.
    scene.versions(insurer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_are_refused_to_everybody_else() {
    let scene = Scene::new().await.consented().await;
    let (world, patient, now) = (&scene.world, &scene.patient, scene.world.now());
    let (pharmacy, hospital) = (world.gateway("pharmacy"), world.gateway("hospital"));
    let kept = (scene.versions(&scene.insurer).await, scene.versions(pharmacy).await);
    // Who is no insurer offers nothing.
    let (pharmacist, terms) = (world.person("pharmacist"), scene.terms());
    let offered = claim::offer_coverage(pharmacy, pharmacist, patient, &terms, now).await;
    refused_as(offered, "WrongInstitution");
    // Nobody writes for an institution that they do not act for.
    let offered = claim::offer_coverage(&scene.insurer, pharmacist, patient, &terms, now).await;
    invalid(offered, "act for the institution");
    // An insurer that keeps nothing of the patient has nobody to offer to.
    let other = world.admit("insurer", InstitutionRole::Insurer).await;
    let of_other = world.engage("auditor", "insurer", ProfessionalRole::Adjudicator).await;
    refused_as(claim::offer_coverage(&other, &of_other, patient, &terms, now).await, "NotActive");

    let stranger = world.patient("P002", passkey("P002")).await;
    let policy = scene.offer(&terms).await.unwrap();
    refusal(scene.accept(&stranger, &policy).await);
    refused_as(claim::end_coverage(pharmacy, policy.record.0).await, "NotParty");
    scene.accept(patient, &policy).await.unwrap();
    refused_as(scene.accept(patient, &policy).await, "WrongStanding");
    world.pass(SECOND);
    let coverage = policy.record.0;

    let items = tablets(12);
    let asked = claim::request_authorisation(
        pharmacy,
        pharmacist,
        patient,
        (coverage, Source::Prescription),
        &items,
        world.now(),
    );
    let request = asked.await.unwrap().0.record.0;
    let id = scene.claimed(coverage, 20).await;
    let reviewed = scene.review(id).await.unwrap();
    // Only an adjudicator, and only one of this insurer.
    for who in ["physician", "pharmacist", "officer"] {
        let person = world.person(who);
        let decided = scene.adjudicate_reviewed(&scene.insurer, person, &reviewed).await;
        refused_as(decided, "NotAllowed");
        let until = (Cents(100), world.now().after(DAY));
        let granted = claim::decide_authorisation(
            &scene.insurer,
            person,
            patient,
            request,
            until,
            world.now(),
        );
        refused_as(granted.await, "NotAllowed");
    }
    relate(world, &other, patient).await;
    let decided = scene.adjudicate_reviewed(&other, &of_other, &reviewed).await;
    refused_as(decided, "NotAllowed");
    invalid(scene.review_as(&other, &of_other, id).await, "another insurer");
    assert_eq!(scene.versions(&other).await, 0);
    // Nobody's decision is sealed to somebody else.
    let tariff = Tariff::demonstration();
    let wrong =
        claim::adjudicate(&scene.insurer, &scene.adjudicator, &stranger, &reviewed, tariff, now);
    invalid(wrong.await, "another patient");

    refused_as(claim::withdraw(hospital, id).await, "NotParty");
    refused_as(scene.appeal(id).await, "WrongState");
    scene.adjudicate_reviewed(&scene.insurer, &scene.adjudicator, &reviewed).await.unwrap();
    let physician = world.person("physician");
    let appealed = claim::appeal(hospital, physician, patient, id, "why", now).await;
    refused_as(appealed, "NotParty");
    // Who is neither the patient nor an institution is not even asked whose claim it is.
    let appealed = claim::appeal_by_patient(hospital, &stranger, id, "why", now).await;
    refused_as(appealed, "NotInstitution");
    refused_as(scene.pay_copayment(&stranger, id).await, "NotParty");
    refused_as(claim::refund(hospital, id, Cents(1), Cents(0)).await, "NotParty");
    refused_as(scene.decide_appeal(&scene.arbiter, id, None).await, "WrongState");
    // Policy, explanation and response; the request, the fill and the claim.
    assert_eq!(scene.versions(&scene.insurer).await, kept.0 + 3);
    assert_eq!(scene.versions(pharmacy).await, kept.1 + 3);

    let unknown = secret("nothing");
    let standing = claim::standing(&scene.insurer, unknown).await;
    assert!(matches!(standing, Err(WorkflowError::Unknown { .. })));
    let coverage = claim::coverage(&scene.insurer, unknown).await;
    assert!(matches!(coverage, Err(WorkflowError::Unknown { .. })));
    let asked = claim::authorisation(&scene.insurer, unknown).await;
    assert!(matches!(asked, Err(WorkflowError::Unknown { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_of_somebody_else_is_not_claimed() {
    let scene = Scene::new().await.consented().await;
    let world = &scene.world;
    let coverage = scene.covered().await;
    let service = scene.filled("lisinopril 10 MG", 30).await;
    let claim = filing(coverage, service, &tablets(12));
    // Another pharmacy, or the hospital that prescribed.
    world.relate("other-pharmacy", &scene.patient, false).await;
    for (at, who) in [("other-pharmacy", "other-pharmacist"), ("hospital", "physician")] {
        refused_as(scene.submit_as(at, who, &scene.patient, &claim).await, "ServiceDiffers");
    }
    // Another patient's fill under this patient's coverage, and in another patient's name.
    let other = world.patient("P002", passkey("P002")).await;
    for steward in ["hospital", "pharmacy"] {
        world.relate(steward, &other, false).await;
    }
    let keeper = &world.gateway("hospital").gatekeeper;
    keeper.refresh(world.now()).await.unwrap();
    let physician = world.person("physician").member;
    keeper.join_care_team(other.account(), physician, world.now()).await.unwrap();
    let theirs = scene.filled_for(&other, "lisinopril 10 MG", 30).await;
    refused_as(scene.submit(&filing(coverage, theirs, &tablets(12))).await, "ServiceDiffers");
    let wrong = scene.submit_as("pharmacy", "pharmacist", &other, &claim).await;
    invalid(wrong, "another patient");
    // What was not dispensed, another fill, and another workflow's id.
    for wrong in [
        filing(coverage, secret("nothing"), &tablets(12)),
        Filing { part: 2, ..claim.clone() },
        Filing { part: 0, ..claim.clone() },
        Filing { source: Source::LabOrder, ..claim.clone() },
        Filing { source: Source::Surgery, ..claim.clone() },
    ] {
        refused_as(scene.submit(&wrong).await, "NoService");
    }
    // Until a year later; by then others work there.
    let late = scene.filled("lisinopril 10 MG", 30).await;
    world.pass(366 * DAY);
    let role = ProfessionalRole::Pharmacist;
    let successor = world.engage("trial-pharmacist", "pharmacy", role).await;
    let (pharmacy, patient) = (world.gateway("pharmacy"), &scene.patient);
    claim::submit(pharmacy, &successor, patient, &claim, world.now()).await.unwrap();
    world.pass(SECOND);
    let late = filing(coverage, late, &tablets(12));
    let late = claim::submit(pharmacy, &successor, patient, &late, world.now()).await;
    refused_as(late, "TooLate");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coverage_runs_from_its_first_second_to_the_one_before_its_last() {
    let scene = Scene::new().await.consented().await;
    let world = &scene.world;
    let terms = Terms { until: world.now().after(HOUR), ..scene.terms() };
    // What was done in the second of the acceptance is before it.
    let early = scene.filled("lisinopril 10 MG", 30).await;
    let policy = scene.offer(&terms).await.unwrap();
    let coverage = policy.record.0;
    refused_as(scene.submit(&filing(coverage, early, &tablets(12))).await, "NotCovered");
    scene.accept(&scene.patient, &policy).await.unwrap();
    refused_as(scene.submit(&filing(coverage, early, &tablets(12))).await, "NotCovered");
    let held = claim::coverage(&scene.insurer, coverage).await.unwrap();
    assert_eq!((held.from, held.until), (world.now().after(SECOND), terms.until));
    let before = domain::Timestamp(held.until.0 - 1);
    for (time, runs) in
        [(world.now(), false), (held.from, true), (before, true), (held.until, false)]
    {
        assert_eq!(claim::is_eligible(&scene.insurer, coverage, time).await.unwrap(), runs);
    }
    world.pass(HOUR - SECOND);
    assert_eq!(world.now(), before);
    let last = scene.filled("lisinopril 10 MG", 30).await;
    world.pass(SECOND);
    let late = scene.filled("lisinopril 10 MG", 30).await;
    refused_as(scene.submit(&filing(coverage, late, &tablets(12))).await, "NotCovered");
    let items = tablets(12);
    let request = claim::request_authorisation(
        world.gateway("pharmacy"),
        world.person("pharmacist"),
        &scene.patient,
        (coverage, Source::Prescription),
        &items,
        world.now(),
    );
    refused_as(request.await, "NotCovered");
    // What was done in time is claimed later.
    world.pass(30 * DAY);
    let id = scene.submit(&filing(coverage, last, &tablets(12))).await.unwrap();
    scene.adjudicate(&scene.adjudicator, id).await.unwrap();

    // Nobody accepts in the last second, and nothing is offered for the past.
    let terms = Terms { until: world.now().after(HOUR), ..scene.terms() };
    let policy = scene.offer(&terms).await.unwrap();
    world.pass(HOUR - SECOND);
    refused_as(scene.accept(&scene.patient, &policy).await, "TooLate");
    world.pass(SECOND);
    refused_as(scene.offer(&terms).await, "InvalidTerms");
    for wrong in [
        Terms { copayment: 10_001, ..scene.terms() },
        Terms { until: world.now(), ..scene.terms() },
        Terms { limit: Cents(Cents::MAX.0 + 1), ..scene.terms() },
        Terms { plan: String::new(), ..scene.terms() },
    ] {
        assert!(matches!(scene.offer(&wrong).await, Err(WorkflowError::Invalid(_))));
    }
    let nothing = Terms { limit: Cents::ZERO, ..scene.terms() };
    refused_as(scene.offer(&nothing).await, "InvalidTerms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_have_bounds() {
    let scene = Scene::new().await.consented().await;
    let (world, pharmacy) = (&scene.world, scene.world.gateway("pharmacy"));
    let coverage = scene.covered_by(&Terms { limit: Cents(500), ..scene.terms() }).await;
    let service = scene.filled("lisinopril 10 MG", 30).await;
    let before = scene.versions(pharmacy).await;
    let with = |items: &[Item]| filing(coverage, service, items);
    refused_as(scene.submit(&with(&[item("RX-DISPENSING-FEE", 1, 0)])).await, "NoAmount");
    for wrong in [
        vec![],
        vec![item("RX-DISPENSING-FEE", 0, 450)],
        vec![item("RX-DISPENSING-FEE", 1, Cents::MAX.0 + 1)],
        vec![item("RX-DISPENSING-FEE", 2, Cents::MAX.0)],
        vec![item("RX-DISPENSING-FEE", u32::MAX, u128::MAX)],
        vec![item("RX-DISPENSING-FEE", 1, u128::MAX), item("RX-LISINOPRIL-10", 1, 1)],
        vec![item("", 1, 1)],
        vec![item("a code", 1, 1)],
        vec![item("RX-DISPENSING-FEE", 1, 450); claim::ITEMS_MAX + 1],
    ] {
        let outcome = scene.submit(&with(&wrong)).await;
        assert!(matches!(outcome, Err(WorkflowError::Invalid(_))), "{wrong:?} {outcome:?}");
    }
    assert_eq!(scene.versions(pharmacy).await, before);
    // The most there is comes through, and is cut; the limit cuts once more.
    let most = [item("RX-DISPENSING-FEE", 1, Cents::MAX.0 - 360), item("RX-LISINOPRIL-10", 30, 12)];
    let id = scene.submit(&with(&most)).await.unwrap();
    assert_eq!(scene.standing(id).await.amount, Cents::MAX);
    let decided = scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    assert_eq!((decided.made.share, decided.made.flags()), (Cents(500), Flags::EXCESSIVE));
    assert_eq!(claim::coverage(&scene.insurer, coverage).await.unwrap().used, Cents(500));
    // K5: nothing is left of the limit.
    let next = scene.claimed(coverage, 12).await;
    let decided = scene.adjudicate(&scene.adjudicator, next).await.unwrap();
    assert_eq!((decided.made.approved, decided.made.share), (Cents(1), Cents::ZERO));
    refused_as(scene.pay(next).await, "NoAmount");

    // An insurer that has not paid enough in decides nothing, and nothing is sealed.
    let coverage = scene.covered().await;
    let id = scene.claimed(coverage, 12).await;
    claim::take_out(&scene.insurer, Cents(1_500_000 - 500)).await.unwrap();
    let kept = scene.versions(&scene.insurer).await;
    let broke = scene.adjudicate(&scene.adjudicator, id).await;
    refused_as(broke, "InsufficientBalance");
    assert_eq!(scene.versions(&scene.insurer).await, kept);
    claim::deposit(&scene.insurer, scene.insurer.member(), Cents(729)).await.unwrap();
    scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    // So does a patient who has nothing.
    let hospital = world.gateway("hospital");
    claim::take_out_by_patient(hospital, &scene.patient, Cents(9_920), world.now()).await.unwrap();
    refused_as(scene.pay_copayment(&scene.patient, id).await, "InsufficientBalance");
    refused_as(
        claim::deposit(&scene.insurer, scene.insurer.member(), Cents::ZERO).await,
        "NoAmount",
    );
    refusal(claim::deposit(&scene.insurer, scene.insurer.member(), Cents(u128::MAX)).await);
    scene.assert_conserved(500 + 729).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_granted_beforehand_is_paid_though_the_coverage_ended() {
    let scene = Scene::new().await.consented().await;
    let (world, patient) = (&scene.world, &scene.patient);
    let (pharmacy, pharmacist) = (world.gateway("pharmacy"), world.person("pharmacist"));
    let coverage = scene.covered_by(&Terms { plan: "basic".into(), ..scene.terms() }).await;
    let items = [item("RX-SILDENAFIL-50", 4, 320)];
    let ask = async || {
        let wanted = (coverage, Source::Prescription);
        let now = world.now();
        claim::request_authorisation(pharmacy, pharmacist, patient, wanted, &items, now).await
    };
    let (request, steps) = ask().await.unwrap();
    steps_are(&steps, &["record.propose", "claim.request-authorisation"]);
    let request = request.record.0;
    let decide = async |who, id, cents, until| {
        let granted = (Cents(cents), until);
        claim::decide_authorisation(&scene.insurer, who, patient, id, granted, world.now()).await
    };
    let (adjudicator, until) = (&scene.adjudicator, world.now().after(30 * DAY));
    refused_as(decide(adjudicator, request, 1_281, until).await, "InvalidAmount");
    refused_as(decide(adjudicator, request, 1_000, world.now()).await, "InvalidAmount");
    let (answer, _) = decide(adjudicator, request, 1_000, until).await.unwrap();
    let answer = scene.opened(&answer).await;
    assert_eq!(answer["request"]["reference"], format!("Claim/{request:x}"));
    assert_eq!(answer["total"][0]["amount"]["value"], 10);
    refused_as(decide(adjudicator, request, 1_000, until).await, "AuthorisationRefused");
    let held = claim::authorisation(&scene.insurer, request).await.unwrap();
    assert_eq!((held.granted, held.until, held.used), (Cents(1_000), Some(until), false));
    // One that was refused grants nothing.
    let refused = ask().await.unwrap().0.record.0;
    decide(adjudicator, refused, 0, until).await.unwrap();

    claim::end_coverage(&scene.insurer, coverage).await.unwrap();
    world.pass(DAY);
    let service = scene.filled("sildenafil 50 MG", 4).await;
    let plain = filing(coverage, service, &items);
    refused_as(scene.submit(&plain).await, "NotCovered");
    let with = |authorisation| Filing { authorisation: Some(authorisation), ..plain.clone() };
    refused_as(scene.submit(&with(refused)).await, "AuthorisationRefused");
    refused_as(scene.submit(&with(secret("nothing"))).await, "AuthorisationRefused");
    let id = scene.submit(&with(request)).await.unwrap();
    // K7: the plan excludes it, and what was granted counts; the rest is the patient's.
    let decided = scene.adjudicate(adjudicator, id).await.unwrap();
    assert_eq!((decided.made.approved, decided.made.flags()), (Cents(1_000), Flags::NOT_COVERED));
    scene.pay(id).await.unwrap();
    scene.assert_conserved(0).await;
    let again = scene.filled("sildenafil 50 MG", 4).await;
    let again = Filing { service: again, ..with(request) };
    refused_as(scene.submit(&again).await, "AuthorisationRefused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_laboratory_order_is_claimed_and_stays_unread() {
    let scene = Scene::new().await.consented().await;
    let (world, patient) = (&scene.world, &scene.patient);
    let (hospital, lab) = (world.gateway("hospital"), world.gateway("laboratory"));
    let (physician, scientist) = (world.person("physician"), world.person("scientist"));
    let coverage = scene.covered().await;
    let now = world.now();
    let code = json!({ "text": "potassium" });
    let ordered = laboratory::order(hospital, physician, patient, lab.member(), &code, now).await;
    let service = ordered.unwrap().0.record.0;
    let nurse = world.person("nurse");
    laboratory::collect(hospital, nurse, service, secret("a specimen")).await.unwrap();
    let items = [item("LAB-TEST", 1, 3_000)];
    let claim = Filing { source: Source::LabOrder, ..filing(coverage, service, &items) };
    let submit = async || scene.submit_as("laboratory", "scientist", patient, &claim).await;
    refused_as(submit().await, "NoService");
    let result = json!({ "valueString": "4.1" });
    let reported =
        laboratory::report(lab, scientist, patient, service, &result, false, now).await.unwrap();
    laboratory::release(lab, scientist, service, reported.0.digest).await.unwrap();
    let id = submit().await.unwrap();
    refused_as(submit().await, "AlreadyClaimed");
    // The laboratory keeps the claim; the order is of a kind that no insurer reads.
    let places = Places { claim: &lab.gatekeeper, order: &hospital.gatekeeper };
    let reviewed = Reviewed::read(&scene.insurer, &scene.adjudicator, places, id, now).await;
    let reviewed = reviewed.unwrap();
    scene.adjudicate_reviewed(&scene.insurer, &scene.adjudicator, &reviewed).await.unwrap();
    let held = scene.standing(id).await;
    assert_eq!((held.approved, held.flags), (Cents(2_800), Flags::EXCESSIVE));
    let read = hospital.gatekeeper.receipts_of(patient.account(), None, 100).await.unwrap();
    assert!(read.iter().all(|stored| stored.receipt.requester != scene.adjudicator.member));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_is_claimed_for_what_it_was() {
    let scene = Scene::new().await;
    let (world, patient) = (&scene.world, &scene.patient);
    scene.consent(&[Kind::Financial, Kind::Order]).await;
    let (hospital, physician) = (world.gateway("hospital"), world.person("physician"));
    let coverage = scene.covered_by(&Terms { limit: Cents(2_000_000), ..scene.terms() }).await;
    let now = world.now();
    let operation = "total replacement of the left hip".to_owned();
    let referral = surgery::Referral { operation, reason: "osteoarthritis".into() };
    let place = hospital.member();
    let referred = surgery::refer(hospital, physician, patient, place, &referral, now).await;
    let service = referred.unwrap().0.record.0;
    let items = [item("OP-KNEE", 1, 1_240_000)];
    let claim = Filing { source: Source::Surgery, ..filing(coverage, service, &items) };
    let submit = async || scene.submit_as("hospital", "physician", patient, &claim).await;
    refused_as(submit().await, "NoService");
    scene.operate(&scene.surgeon().await, service, "total hip replacement, uncemented").await;
    let id = submit().await.unwrap();
    let places = Places { claim: &hospital.gatekeeper, order: &hospital.gatekeeper };
    let read = || Reviewed::read(&scene.insurer, &scene.adjudicator, places, id, now);
    // The report is read on the patient's consent to procedures, and there is no decision without it.
    refusal(read().await);
    scene.consent(&[Kind::Financial, Kind::Order, Kind::Procedure]).await;
    let reviewed = read().await.unwrap();
    scene.adjudicate_reviewed(&scene.insurer, &scene.adjudicator, &reviewed).await.unwrap();
    let held = scene.standing(id).await;
    // A knee was claimed, and a hip was replaced.
    assert_eq!((held.approved, held.flags), (Cents(1_150_000), Flags::UPCODED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_is_not_paid_for_more_than_its_report_says() {
    let scene = Scene::new().await;
    let (world, patient) = (&scene.world, &scene.patient);
    scene.consent(&[Kind::Financial, Kind::Order, Kind::Procedure]).await;
    let (hospital, physician) = (world.gateway("hospital"), world.person("physician"));
    let coverage = scene.covered_by(&Terms { limit: Cents(3_000_000), ..scene.terms() }).await;
    let (now, place) = (world.now(), hospital.member());
    let places = Places { claim: &hospital.gatekeeper, order: &hospital.gatekeeper };
    let read = async |id| Reviewed::read(&scene.insurer, &scene.adjudicator, places, id, now).await;
    let refer = async || {
        let operation = "total replacement of the left hip".to_owned();
        let referral = surgery::Referral { operation, reason: "osteoarthritis".into() };
        let referred = surgery::refer(hospital, physician, patient, place, &referral, now).await;
        referred.unwrap().0.record.0
    };
    let submit = async |service| {
        let items = [item("OP-HIP", 1, 1_150_000)];
        let claim = Filing { source: Source::Surgery, ..filing(coverage, service, &items) };
        scene.submit_as("hospital", "physician", patient, &claim).await.unwrap()
    };
    let (service, surgeon) = (refer().await, scene.surgeon().await);
    scene.operate(&surgeon, service, "opened and closed again: not to be operated on").await;
    let id = submit(service).await;
    let reviewed = read(id).await.unwrap();
    scene.adjudicate_reviewed(&scene.insurer, &scene.adjudicator, &reviewed).await.unwrap();
    let held = scene.standing(id).await;
    assert_eq!((held.approved, held.flags), (Cents::ZERO, Flags::UPCODED));

    // Nothing is decided on a digest with nothing behind it, nor on another operation's report.
    let unclaimed = refer().await;
    let report = scene.operate(&surgeon, unclaimed, "total replacement of the left hip").await;
    for (wrong, why) in [
        (secret("nothing is behind it"), "does not stand on chain"),
        (report.0, "not the one of this operation"),
    ] {
        let service = refer().await;
        scene.incise(&surgeon, service).await;
        scene.sign_out(&[&surgeon], service, wrong).await;
        invalid(read(submit(service).await).await, why);
    }
    // Nor on one that the patient rejected since.
    let service = refer().await;
    let report = scene.operate(&surgeon, service, "total replacement of the left hip").await;
    let id = submit(service).await;
    read(id).await.unwrap();
    let record = hospital.gatekeeper.vault().find(report).await.unwrap().unwrap().header.record;
    let anchor = record::newest(hospital, record, now).await.unwrap().unwrap();
    record::answer(hospital, patient, &anchor, Verdict::Reject, now).await.unwrap();
    invalid(read(id).await, "does not stand on chain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_was_amended_afterwards_is_not_what_is_decided_on() {
    let scene = Scene::new().await;
    let (world, patient, insurer) = (&scene.world, &scene.patient, &scene.insurer);
    insurer.gatekeeper.open_copies_with(insurer.secret.clone());
    scene.consent(&[Kind::Financial, Kind::Order, Kind::Procedure]).await;
    let (hospital, physician) = (world.gateway("hospital"), world.person("physician"));
    let coverage = scene.covered_by(&Terms { limit: Cents(2_000_000), ..scene.terms() }).await;
    let (now, place) = (world.now(), hospital.member());
    let operation = "cataract of the right eye".to_owned();
    let referral = surgery::Referral { operation, reason: "poor sight".into() };
    let referred = surgery::refer(hospital, physician, patient, place, &referral, now).await;
    let referred = referred.unwrap().0;
    let service = referred.record.0;
    let report = scene.operate(&scene.surgeon().await, service, "cataract of the right eye").await;
    // Whoever refers and operates says afterwards that it was something dearer, and the patient accepts that.
    record::answer(hospital, patient, &referred, Verdict::Accept, now).await.unwrap();
    let resource = json!({
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "code": { "text": "total replacement of the left hip" },
        "subject": { "reference": format!("Patient/{}", patient.account()) },
    });
    let draft = Draft { kind: Kind::Order, resource };
    let amended = record::amend(hospital, physician, patient, &referred, &draft, now).await;
    let amended = amended.unwrap().0;
    record::answer(hospital, patient, &amended, Verdict::Accept, now).await.unwrap();

    let items = [item("OP-HIP", 1, 1_150_000)];
    let claim = Filing { source: Source::Surgery, ..filing(coverage, service, &items) };
    let id = scene.submit_as("hospital", "physician", patient, &claim).await.unwrap();
    let places = Places { claim: &hospital.gatekeeper, order: &hospital.gatekeeper };
    let asked = Reviewed::read(insurer, &scene.adjudicator, places, id, now).await;
    invalid(asked, "the order that is kept is not the one");
    // Nor by copies, until the one came by which the operation was done.
    let read = async || Reviewed::read_copies(insurer, scene.adjudicator.member, id, now).await;
    scene.copy_to_insurer(hospital, id, Kind::Financial).await;
    scene.copy_version_to_insurer(hospital, amended.digest, Kind::Order).await;
    invalid(read().await, "the order that is kept is not the one");
    scene.copy_version_to_insurer(hospital, referred.digest, Kind::Order).await;
    // And the report.
    assert!(read().await.is_err());
    scene.copy_version_to_insurer(hospital, report, Kind::Procedure).await;
    let reviewed = read().await.unwrap();
    scene.adjudicate_reviewed(insurer, &scene.adjudicator, &reviewed).await.unwrap();
    let held = scene.standing(id).await;
    assert_eq!((held.approved, held.flags), (Cents(165_000), Flags::UPCODED));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insurer_that_is_voted_out_decides_no_more_and_what_it_set_aside_is_paid() {
    let scene = Scene::new().await.consented().await;
    let world = &scene.world;
    let coverage = scene.covered().await;
    let decided = scene.claimed(coverage, 20).await;
    scene.adjudicate(&scene.adjudicator, decided).await.unwrap();
    let waiting = scene.claimed(coverage, 12).await;
    let reviewed = scene.review(waiting).await.unwrap();
    let kept = scene.versions(&scene.insurer).await;
    world.expel("payer").await;
    let insurer = &scene.insurer;
    let late = scene.adjudicate_reviewed(insurer, &scene.adjudicator, &reviewed).await;
    refused_as(late, "NotProfessional");
    refused_as(scene.review(waiting).await, "not of a member in force");
    let offered = scene.offer(&scene.terms()).await;
    invalid(offered, "act for the institution");
    refused_as(claim::end_coverage(insurer, coverage).await, "NotInstitution");
    assert_eq!(scene.versions(insurer).await, kept);
    scene.pay(decided).await.unwrap();
    // Its money is its own.
    claim::take_out(insurer, Cents(1_000)).await.unwrap();
    world.pass(30 * DAY);
    assert!(claim::is_overdue(insurer, waiting).await.unwrap());
    scene.assert_conserved(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_is_appealed_once_and_in_time() {
    let scene = Scene::new().await.consented().await;
    let world = &scene.world;
    let coverage = scene.covered().await;
    // What was approved whole is not appealed.
    let whole = scene.claimed(coverage, 12).await;
    scene.adjudicate(&scene.adjudicator, whole).await.unwrap();
    refused_as(scene.appeal(whole).await, "InvalidAmount");
    let id = scene.claimed(coverage, 20).await;
    scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    let (patient, insurer) = (&scene.patient, &scene.insurer);
    let empty = claim::appeal_by_patient(insurer, patient, id, "", world.now()).await;
    invalid(empty, "a reason");
    scene.appeal(id).await.unwrap();
    refused_as(scene.appeal(id).await, "WrongState");
    // Without a reason to grant more, it stays as it was: never lower.
    let decided = scene.decide_appeal(&scene.arbiter, id, None).await.unwrap();
    assert_eq!(decided.made.approved, Cents(810));
    refused_as(scene.appeal(id).await, "WrongState");
    refused_as(scene.decide_appeal(&scene.arbiter, id, None).await, "WrongState");

    let id = scene.claimed(coverage, 20).await;
    scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    let until = scene.standing(id).await.appeal_until.unwrap();
    assert_eq!(until, world.now().after(claim::APPEAL_PERIOD));
    world.pass(claim::APPEAL_PERIOD);
    refused_as(scene.appeal(id).await, "TooLate");
}

/// From the coverage to the money; the prescription that is claimed is another workflow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claim_costs_what_the_file_says() {
    let scene = Scene::new().await.consented().await;
    let mut journal = Journal::new(&scene.world);
    let coverage = scene.covered().await;
    journal.take(&scene.world);
    let service = scene.filled("lisinopril 10 MG", 30).await;
    journal.skip(&scene.world);
    let id = scene.submit(&filing(coverage, service, &tablets(10))).await.unwrap();
    scene.adjudicate(&scene.adjudicator, id).await.unwrap();
    scene.pay(id).await.unwrap();
    scene.pay_copayment(&scene.patient, id).await.unwrap();
    journal.assert_listed(
        &scene.world,
        "claim",
        "A policy is taken out, and one claim under it is submitted, decided, and paid.",
    );
}
