//! What a gatekeeper decides from its projection is what the contracts say, whatever happened (S2).
//!
//! Random histories: relationships, policies, grants, countersignatures, revocations, emergency
//! openings, restrictions, workflows, accreditations, expulsions and new keys, while the clock moves.
//! After each step some reads, and at the end of each history all of them, are decided twice: by the
//! gatekeeper, and by the contracts' own views at the same block and time.
//!
//! A failure names its history. `SALUS_HISTORY_SEED` runs that one again, `SALUS_HISTORY_ROUNDS` sets
//! how many there are.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, aliases::U40};
use alloy_sol_types::SolCall;
use bindings::{
    Consents, Contract, EmergencyAccess, LabOrders, Prescriptions, Registry, Relationships,
    convert::{make_id, to_grant, to_opening, to_scope, to_uint40},
};
use chacha20::ChaCha20Rng;
use common::{INSTITUTIONS, PATIENTS, SPARE_KEYS, STAFF, World, address, id_by, rng, salt};
use domain::{
    InstitutionRole, Kind, KindSet, Period, ProfessionalRole, Purpose, PurposeSet, Reader,
    RecordDigest, RecordId, RecordVersion, Request, Terms, Timestamp, decide,
};
use gatekeeper::{AnswerError, Gatekeeper, QueryRefusal, ReadRequest, Settings};
use ledger::{Outcome, Projection, SendError};
use rand_core::Rng as _;
use vault::NewRecord;

/// Histories that one run goes through.
const ROUNDS: u64 = 12;

/// Steps of one history.
const STEPS: usize = 120;

/// Reads that are decided after each step.
const READS_PER_STEP: usize = 6;

const KINDS: [Kind; 4] = [Kind::Laboratory, Kind::Medication, Kind::MentalHealth, Kind::Financial];
const PURPOSES: [Purpose; 4] =
    [Purpose::Treatment, Purpose::Emergency, Purpose::Payment, Purpose::Operations];
const STEWARDS: [&str; 2] = ["hospital", "clinic"];
const HOURS: u64 = 3_600;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gatekeeper_and_contracts_decide_alike() {
    let rounds = setting("SALUS_HISTORY_ROUNDS").unwrap_or(ROUNDS);
    let seeds = match setting("SALUS_HISTORY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..rounds,
    };
    let is_full = seeds.end - seeds.start >= ROUNDS;
    let mut seen = BTreeMap::new();
    for seed in seeds {
        let mut history = History::begin(seed).await;
        for _ in 0..STEPS {
            history.step().await;
            for _ in 0..READS_PER_STEP {
                let read = history.some_read();
                history.check(&read).await;
            }
            history.check_by_reading().await;
        }
        for read in Read::all() {
            history.check(&read).await;
        }
        for (what, count) in history.seen {
            *seen.entry(what).or_insert(0) += count;
        }
    }
    // The histories must reach every way of being allowed and of being refused, or they show nothing.
    let expected = [
        "CareTeam",
        "Consent",
        "Emergency",
        "Workflow",
        "BeyondRole",
        "NoConsent",
        "NoOpening",
        "NotCountersigned",
        "NotCovered",
        "OutsidePeriod",
        "RestrictedByPatient",
        "not in force",
    ];
    let missing: Vec<_> = expected.iter().filter(|what| !seen.contains_key(**what)).collect();
    assert!(!is_full || missing.is_empty(), "never seen: {missing:?} of {seen:?}");
    println!("{seen:?}");
}

/// A read to be decided, by places in the lists of this file.
#[derive(Clone, Copy, Debug)]
struct Read {
    reader: usize,
    patient: usize,
    steward: usize,
    record: usize,
    kind: usize,
    purpose: usize,
}

const READERS: usize = INSTITUTIONS.len() + STAFF.len();

impl Read {
    fn all() -> impl Iterator<Item = Self> {
        (0..READERS * PATIENTS.len() * STEWARDS.len() * KINDS.len() * PURPOSES.len()).map(|n| {
            let (reader, n) = (n % READERS, n / READERS);
            let (patient, n) = (n % PATIENTS.len(), n / PATIENTS.len());
            let (steward, n) = (n % STEWARDS.len(), n / STEWARDS.len());
            let (kind, purpose) = (n % KINDS.len(), n / KINDS.len());
            Self { reader, patient, steward, record: kind, kind, purpose }
        })
    }
}

/// The name of the member in a place of the list of readers.
fn member_name(place: usize) -> &'static str {
    match place.checked_sub(INSTITUTIONS.len()) {
        None => INSTITUTIONS[place].0,
        Some(place) => STAFF[place].1,
    }
}

/// The records of a patient; each is of the kind in the same place.
fn record(patient: usize, place: usize) -> RecordId {
    id_by(namesake(patient, place), number(patient, place))
}

fn number(patient: usize, place: usize) -> u64 {
    (patient * 10 + place) as u64
}

/// Whose prescription or order has the name of the record. One is named as the clinic's doctor would name
/// what she prescribes, and kept by the hospital all the same.
fn namesake(patient: usize, place: usize) -> &'static str {
    if (patient, place) == (1, 1) { "cai" } else { "ada" }
}

struct History {
    world: World,
    gatekeeper: Gatekeeper,
    seed: u64,
    rng: ChaCha20Rng,
    /// What happened, to be read after a failure.
    told: Vec<String>,
    /// With which key each member signs now.
    keys: HashMap<&'static str, &'static str>,
    spare: Vec<&'static str>,
    /// Patient, reader, record and kinds of grants, to ask for what they cover.
    granted: Vec<(usize, usize, Option<RecordId>, KindSet)>,
    openings: Vec<EmergencyAccess::Opening>,
    /// Seconds at which something begins or ends.
    edges: Vec<u64>,
    care_team: HashSet<(Address, Address)>,
    /// The records that the hospital keeps.
    digests: HashMap<RecordId, RecordDigest>,
    /// Where each prescription was made, for whom, and of which digest.
    prescriptions: HashMap<B256, (Address, Address, B256)>,
    /// The digest that each laboratory order names.
    orders: HashMap<B256, B256>,
    /// How often each outcome was agreed on.
    seen: BTreeMap<String, u64>,
}

impl History {
    async fn begin(seed: u64) -> Self {
        let world = World::new().await;
        let mut rng = rng(seed);
        for (steward, patient) in STEWARDS.into_iter().zip(PATIENTS).chain([("hospital", "quinn")])
        {
            world.relate(steward, patient, rng.next_u32().is_multiple_of(2)).await;
        }
        let settings = Settings { staleness_max: Duration::ZERO, ..Settings::default() };
        let gatekeeper = world.gatekeeper_with("hospital", settings).await;
        let mut records = Vec::new();
        for (patient, name) in PATIENTS.iter().enumerate() {
            for (place, kind) in KINDS.into_iter().enumerate() {
                let made = world.record_of(number(patient, place), address(name), kind);
                records.push(NewRecord { record: record(patient, place), ..made });
            }
        }
        let kept = world.keep(&gatekeeper, records).await;
        let digests = kept.iter().map(|entry| (entry.header.record, entry.digest)).collect();
        let members = (0..READERS).map(member_name);
        Self {
            world,
            gatekeeper,
            seed,
            rng,
            told: Vec::new(),
            keys: members.map(|name| (name, name)).collect(),
            spare: SPARE_KEYS.to_vec(),
            granted: Vec::new(),
            openings: Vec::new(),
            edges: Vec::new(),
            care_team: HashSet::new(),
            digests,
            prescriptions: HashMap::new(),
            orders: HashMap::new(),
            seen: BTreeMap::new(),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound as u64).unwrap()
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    async fn send<C: SolCall>(
        &self,
        name: &str,
        contract: Contract,
        call: &C,
    ) -> Result<Outcome, SendError> {
        let key = self.keys.get(name).copied().unwrap_or(name);
        let sent = self.world.send(key, contract, call).await;
        // What is not allowed is refused beforehand; anything else is a fault of the test.
        assert!(matches!(sent, Ok(_) | Err(SendError::Refused(_))), "{sent:?}");
        sent
    }

    /// A time near now, in the past or in the future.
    fn some_time(&mut self) -> u64 {
        let spread = self.pick(&[10, 120, 2 * HOURS, 60 * HOURS]);
        self.world.now().0 + self.rng.next_u64() % (2 * spread) - spread / 2
    }

    /// Something happens. Much of it the contracts refuse, which must change nothing.
    async fn step(&mut self) {
        let what = match self.below(100) {
            0..14 => self.advance(),
            14..34 => self.grant().await,
            34..40 => self.revoke().await,
            40..51 => self.countersign().await,
            51..61 => self.relationship().await,
            61..66 => self.restrict().await,
            66..75 => self.open().await,
            75..79 => self.end_or_review().await,
            79..83 => self.employ().await,
            83..85 => self.institution().await,
            85..89 => self.care().await,
            _ => self.workflow().await,
        };
        self.told.push(format!("{} {what}", self.world.now().0));
        self.gatekeeper.refresh(self.world.now()).await.unwrap();
    }

    fn advance(&mut self) -> String {
        let now = self.world.now().0;
        self.edges.retain(|edge| *edge > now);
        self.edges.sort_unstable();
        let near = self.edges.len().min(3);
        let seconds = if near > 0 && self.chance(60) {
            // The last second before the edge, or the edge itself.
            let (edge, before) = (self.below(near), self.below(2));
            self.edges[edge] - now - before as u64
        } else {
            self.pick(&[1, 59, 600, 600, 2 * HOURS, 2 * HOURS, 30 * HOURS])
        };
        self.world.advance(seconds);
        format!("{seconds} s pass")
    }

    fn some_reader(&mut self) -> &'static str {
        let place = self.below(READERS);
        member_name(place)
    }

    fn some_scope(&mut self) -> Option<RecordId> {
        let (patient, place) = (self.below(PATIENTS.len()), self.below(KINDS.len()));
        self.chance(35).then(|| record(patient, place))
    }

    fn some_kinds(&mut self) -> KindSet {
        let kinds: Vec<Kind> = KINDS.into_iter().filter(|_| self.chance(60)).collect();
        KindSet::of(&kinds)
    }

    async fn grant(&mut self) -> String {
        let (owner, grantee) = (self.below(PATIENTS.len()), self.below(READERS));
        let (patient, reader) = (PATIENTS[owner], member_name(grantee));
        let scope = self.some_scope();
        let now = self.world.now().0;
        let (mut one, other) = (self.some_time(), self.some_time());
        if self.chance(60) {
            one = now;
        }
        let Ok(period) = Period::new(Timestamp(one.min(other)), Timestamp(one.max(other))) else {
            return "a grant of nothing".into();
        };
        self.edges.extend([period.opens_at().0, period.closes_at().0]);
        let purposes: Vec<Purpose> = PURPOSES.into_iter().filter(|_| self.chance(80)).collect();
        let terms = Terms { period, kinds: self.some_kinds(), purposes: PurposeSet::of(&purposes) };
        let call = Consents::grantCall {
            reader: address(reader),
            record: to_scope(scope),
            terms: to_grant(&terms),
        };
        let sent = self.send(patient, Contract::Consents, &call).await;
        let is_granted = sent.is_ok();
        if is_granted {
            self.granted.push((owner, grantee, scope, terms.kinds));
        }
        if is_granted && self.chance(40) {
            // Otherwise dual consent would hardly ever come about.
            let steward = self.pick(&STEWARDS);
            self.countersign_for(steward, patient, reader, scope, 0).await;
        }
        format!("{patient} grants {reader} {scope:?} {terms:?}: {is_granted}")
    }

    async fn revoke(&mut self) -> String {
        let (patient, reader, scope) =
            (self.pick(&PATIENTS), self.some_reader(), self.some_scope());
        let call = Consents::revokeCall { reader: address(reader), record: to_scope(scope) };
        let sent = self.send(patient, Contract::Consents, &call).await;
        format!("{patient} revokes {reader} {scope:?}: {}", sent.is_ok())
    }

    async fn countersign_for(
        &self,
        steward: &str,
        patient: &str,
        reader: &str,
        scope: Option<RecordId>,
        behind: u32,
    ) -> bool {
        let (patient, reader, record) = (address(patient), address(reader), to_scope(scope));
        let call = Consents::consentOfCall { patient, reader, record };
        let version = self.world.view(Contract::Consents, &call).await.version;
        let version = version.saturating_sub(behind);
        let call = Consents::countersignCall { patient, reader, record, version };
        self.send(steward, Contract::Consents, &call).await.is_ok()
    }

    async fn countersign(&mut self) -> String {
        let (steward, patient, reader) =
            (self.pick(&STEWARDS), self.pick(&PATIENTS), self.some_reader());
        let scope = self.some_scope();
        if self.chance(20) {
            let call = Consents::withdrawCountersignatureCall {
                patient: address(patient),
                reader: address(reader),
                record: to_scope(scope),
            };
            let sent = self.send(steward, Contract::Consents, &call).await;
            return format!("{steward} unsigns {patient} {reader} {scope:?}: {}", sent.is_ok());
        }
        let behind = u32::from(self.chance(10));
        let signed = self.countersign_for(steward, patient, reader, scope, behind).await;
        format!("{steward} signs {patient} {reader} {scope:?}: {signed}")
    }

    async fn relationship(&mut self) -> String {
        const RELATIONSHIPS: Contract = Contract::Relationships;
        let (steward_name, patient_name) = (self.pick(&STEWARDS), self.pick(&PATIENTS));
        let (steward, patient) = (address(steward_name), address(patient_name));
        let countersigned = self.chance(60);
        let choice = self.below(12);
        let sent = match choice {
            0 | 1 => {
                let call = Relationships::proposeCall { patient, countersigned };
                self.send(steward_name, RELATIONSHIPS, &call).await
            }
            2..5 => {
                let call = Relationships::acceptCall { steward, countersigned };
                self.send(patient_name, RELATIONSHIPS, &call).await
            }
            5 => {
                let call = Relationships::declineCall { steward };
                self.send(patient_name, RELATIONSHIPS, &call).await
            }
            6 => {
                let call = Relationships::withdrawCall { patient };
                self.send(steward_name, RELATIONSHIPS, &call).await
            }
            7 => {
                let call = Relationships::endCall { steward };
                self.send(patient_name, RELATIONSHIPS, &call).await
            }
            8 => {
                let call = Relationships::endForCall { patient };
                self.send(steward_name, RELATIONSHIPS, &call).await
            }
            9 => {
                let call = Relationships::proposePolicyCall { patient, countersigned };
                self.send(steward_name, RELATIONSHIPS, &call).await
            }
            10 => {
                let call = Relationships::acceptPolicyCall { steward, countersigned };
                self.send(patient_name, RELATIONSHIPS, &call).await
            }
            _ => {
                let call = Relationships::requireCountersignatureCall { steward };
                self.send(patient_name, RELATIONSHIPS, &call).await
            }
        };
        format!(
            "relationship {choice} of {patient_name} and {steward_name}, {countersigned}: {}",
            sent.is_ok()
        )
    }

    async fn restrict(&mut self) -> String {
        let patient = self.pick(&PATIENTS);
        let few = self.pick(&KINDS);
        let kinds = if self.chance(50) { KindSet::EMPTY } else { KindSet::of(&[few]) };
        let opted_out = self.chance(25);
        let call = EmergencyAccess::restrictCall { kinds: kinds.bits(), optedOut: opted_out };
        let sent = self.send(patient, Contract::EmergencyAccess, &call).await;
        format!("{patient} restricts {kinds:?} {opted_out}: {}", sent.is_ok())
    }

    async fn open(&mut self) -> String {
        let (who, patient) =
            (self.pick(&["dot", "eve", "dot", "ada", "fay"]), self.pick(&PATIENTS));
        let kinds = self.some_kinds();
        let period = self.pick(&[60, HOURS, 24 * HOURS, 59]);
        let call = EmergencyAccess::openCall {
            patient: address(patient),
            kinds: kinds.bits(),
            period: to_uint40(Timestamp(period)),
            reason: B256::left_padding_from(&self.rng.next_u64().to_be_bytes()),
        };
        let sent = self.send(who, Contract::EmergencyAccess, &call).await;
        if let Ok(outcome) = &sent {
            let opened = &outcome.events::<EmergencyAccess::EmergencyOpened>()[0];
            self.openings.push(to_opening(opened));
            self.edges.push(self.world.now().0 + period);
        }
        if sent.is_ok() && self.chance(30) {
            // Otherwise a patient would hardly ever close what is open.
            let restricted = self.restrict().await;
            return format!("{who} breaks the glass of {patient} for {kinds:?}; {restricted}");
        }
        format!("{who} breaks the glass of {patient} for {kinds:?}, {period} s: {}", sent.is_ok())
    }

    async fn end_or_review(&mut self) -> String {
        if self.openings.is_empty() {
            return "nothing to end".into();
        }
        let newest = self.openings.len() - 1;
        let place = if self.chance(60) { newest } else { self.below(newest + 1) };
        let opening = self.openings[place].clone();
        let patient = PATIENTS.into_iter().find(|name| address(name) == opening.patient).unwrap();
        let choice = self.below(4);
        let sent = match choice {
            0 => {
                let call = EmergencyAccess::endCall { opening };
                self.send(patient, Contract::EmergencyAccess, &call).await
            }
            1 => {
                let call = EmergencyAccess::endCall { opening };
                self.send("dot", Contract::EmergencyAccess, &call).await
            }
            _ => {
                let note = B256::repeat_byte(1);
                let verdict = u8::try_from(choice).unwrap() - 1;
                let call = EmergencyAccess::reviewCall { opening, verdict, note };
                self.send("fay", Contract::EmergencyAccess, &call).await
            }
        };
        format!("opening {place} meets {choice}: {}", sent.is_ok())
    }

    /// Accreditations come, go, end, and get other keys.
    async fn employ(&mut self) -> String {
        let (mut employer, name, mut role) = self.pick(&STAFF);
        let member = address(name);
        let choice = self.below(8);
        let sent = match choice {
            0 => {
                let call = Registry::revokeAccreditationCall { member };
                self.send(employer, Contract::Registry, &call).await
            }
            1 => self.send(name, Contract::Registry, &Registry::resignCall {}).await,
            2 => {
                let until = self.world.now().0 + self.pick(&[60, 10 * HOURS]);
                self.edges.push(until);
                let call = Registry::renewCall { member, until: to_uint40(Timestamp(until)) };
                self.send(employer, Contract::Registry, &call).await
            }
            3 => self.rotate(name).await,
            _ => {
                if self.chance(20) {
                    employer = self.pick(&INSTITUTIONS).0;
                    role = self.pick(ProfessionalRole::ALL);
                }
                let until = self.world.now().after(Duration::from_secs(1_000 * HOURS));
                let signer = address(self.keys[name]);
                let call =
                    Registry::accreditCall { signer, role: role.number(), until: to_uint40(until) };
                self.send(employer, Contract::Registry, &call).await
            }
        };
        format!("{name} at {employer} as {role} meets {choice}: {}", sent.is_ok())
    }

    async fn rotate(&mut self, name: &'static str) -> Result<Outcome, SendError> {
        let Some(key) = self.spare.pop() else {
            return self.send(name, Contract::Registry, &Registry::resignCall {}).await;
        };
        let call = self.world.rotation(name, key).await;
        let sent = self.send(name, Contract::Registry, &call).await;
        if sent.is_ok() {
            self.keys.insert(name, key);
        }
        sent
    }

    /// An institution is expelled or comes back, or gets another key.
    async fn institution(&mut self) -> String {
        let (name, role) = self.pick(&INSTITUTIONS[..3]);
        let member = address(name);
        let roles = Registry::roleOfCall { member };
        let in_force = self.world.view(Contract::Registry, &roles).await != 0;
        let choice = self.below(3);
        if in_force && choice > 0 {
            let sent = self.rotate(name).await;
            return format!("{name} rotates: {}", sent.is_ok());
        }
        if in_force {
            self.carry(&Registry::proposeExpulsionCall { member }).await;
            return format!("{name} is expelled");
        }
        let Some(key) = self.spare.pop() else { return "no key to readmit".into() };
        let role: InstitutionRole = if choice == 0 { InstitutionRole::Laboratory } else { role };
        let new_signer = address(key);
        let call =
            Registry::proposeReadmissionCall { member, role: role.number(), newSigner: new_signer };
        self.carry(&call).await;
        self.keys.insert(name, key);
        format!("{name} is readmitted as {role}")
    }

    async fn carry<C: SolCall>(&self, proposal: &C) {
        let voters = ["insurer", "hospital", "clinic", "emergency"];
        self.world.carry(proposal, &voters.map(|name| self.keys[name])).await;
    }

    async fn care(&mut self) -> String {
        let (patient, (_, name, _)) = (self.pick(&PATIENTS), self.pick(&STAFF[..4]));
        let pair = (address(patient), address(name));
        if self.care_team.remove(&pair) {
            self.gatekeeper.leave_care_team(pair.0, pair.1).await.unwrap();
            return format!("{name} no longer cares for {patient}");
        }
        self.care_team.insert(pair);
        self.gatekeeper.join_care_team(pair.0, pair.1, self.world.now()).await.unwrap();
        format!("{name} cares for {patient}")
    }

    /// Prescriptions and orders, also such whose ids are the records of somebody else.
    async fn workflow(&mut self) -> String {
        let place = self.below(PATIENTS.len());
        let about = if self.chance(80) { place } else { self.below(PATIENTS.len()) };
        let kind = self.below(2);
        let (workflow, salt) = (record(about, kind).0, salt(number(about, kind)));
        let doctor = match self.chance(80) {
            true => namesake(about, kind),
            false => self.pick(&["ada", "cai"]),
        };
        let patient = PATIENTS[place];
        let pharmacy = address("pharmacy");
        let digest = match self.chance(80) {
            true => self.digests[&RecordId(workflow)].0,
            false => B256::repeat_byte(1),
        };
        let choice = self.below(10);
        let sent = match choice {
            0 | 1 => {
                let valid_until = self.world.now().0 + self.pick(&[HOURS, 100 * HOURS]);
                self.edges.push(valid_until);
                let terms = Prescriptions::Terms {
                    patient: address(patient),
                    digest,
                    quantity: 10,
                    fills: 1,
                    validUntil: to_uint40(Timestamp(valid_until)),
                    fillInterval: U40::ZERO,
                };
                // A controlled one is read by nobody before a second doctor signed it.
                let sent = match self.chance(25) {
                    true => {
                        let call = Prescriptions::issueControlledCall { salt, terms };
                        self.send(doctor, Contract::Prescriptions, &call).await
                    }
                    false => {
                        let call = Prescriptions::issueCall { salt, terms };
                        self.send(doctor, Contract::Prescriptions, &call).await
                    }
                };
                if let Ok(outcome) = &sent {
                    let issued = &outcome.events::<Prescriptions::PrescriptionIssued>()[0];
                    let made = (issued.institution, issued.patient, digest);
                    self.prescriptions.insert(issued.id, made);
                }
                sent
            }
            2 | 3 => {
                let call = Prescriptions::permitCall { id: workflow, pharmacy };
                self.send(doctor, Contract::Prescriptions, &call).await
            }
            4 | 5 => {
                let call = Prescriptions::permitCall { id: workflow, pharmacy };
                self.send(patient, Contract::Prescriptions, &call).await
            }
            6 => {
                let call = Prescriptions::withdrawPermitCall { id: workflow, pharmacy };
                let who = if self.chance(50) { doctor } else { patient };
                self.send(who, Contract::Prescriptions, &call).await
            }
            7 if self.chance(30) => {
                let call = Prescriptions::cancelCall { id: workflow };
                self.send(doctor, Contract::Prescriptions, &call).await
            }
            8 if self.chance(30) => {
                let call = LabOrders::cancelCall { id: workflow };
                self.send(patient, Contract::LabOrders, &call).await
            }
            _ => {
                let call = LabOrders::orderCall {
                    salt,
                    patient: address(patient),
                    laboratory: address("laboratory"),
                    digest,
                };
                let sent = self.send(doctor, Contract::LabOrders, &call).await;
                if sent.is_ok() {
                    self.orders.insert(make_id(address(doctor), salt), digest);
                }
                sent
            }
        };
        format!("{doctor} and {patient} do {choice} about {workflow}: {}", sent.is_ok())
    }

    fn some_read(&mut self) -> Read {
        let kind = self.below(KINDS.len());
        let record = if self.chance(70) { kind } else { self.below(KINDS.len()) };
        let (patient, steward) = (self.below(PATIENTS.len()), self.below(STEWARDS.len()));
        // Those who may break the glass, and what it opens, come often enough to matter.
        if self.chance(30) {
            let reader = INSTITUTIONS.len() + 3 + self.below(2);
            let (record, kind) = (self.below(2), self.below(2));
            return Read { reader, patient, steward, record, kind, purpose: 1 };
        }
        if !self.granted.is_empty() && self.chance(60) {
            let place = self.below(self.granted.len());
            let (patient, reader, scope, kinds) = self.granted[place];
            let covered: Vec<usize> =
                (0..KINDS.len()).filter(|kind| kinds.contains(KINDS[*kind])).collect();
            let kind = self.pick(&covered);
            let scoped =
                (0..KINDS.len()).find(|place| Some(self::record(patient, *place)) == scope);
            // By the reader that is named, or by somebody who works there.
            let employer = member_name(reader);
            let staff: Vec<usize> = (0..STAFF.len())
                .filter(|place| STAFF[*place].0 == employer)
                .map(|place| INSTITUTIONS.len() + place)
                .chain([reader])
                .collect();
            let reader = self.pick(&staff);
            let purpose = self.pick(&[0, 0, 0, 2]);
            return Read {
                reader,
                patient,
                steward,
                record: scoped.unwrap_or(kind),
                kind,
                purpose,
            };
        }
        let purpose = self.pick(&[0, 0, 0, 0, 0, 1, 2, 3]);
        Read { reader: self.below(READERS), patient, steward, record, kind, purpose }
    }

    /// Who signs with a key, by the registry itself.
    async fn reader_on_chain(&self, signer: Address) -> Option<Reader> {
        let registry = self.world.at(Contract::Registry);
        let (ledger, pending) = (&self.world.ledger, BlockId::pending());
        let call = Registry::institutionCall { signer };
        if let Ok(member) = ledger.call(registry, &call, pending).await {
            let role = self.world.view(Contract::Registry, &Registry::roleOfCall { member }).await;
            return Some(Reader::Institution { member, role: role.try_into().unwrap() });
        }
        let found = ledger.call(registry, &Registry::professionalCall { signer }, pending).await;
        let found = found.ok()?;
        let role = found.role.try_into().unwrap();
        let (member, institution) = (found.member, found.employer);
        Some(Reader::Professional { member, role, institution })
    }

    /// Whether the contracts allow a read. They do not know what each role may read at all, nor whom
    /// the hospital lists as caring for whom; both are as they are here.
    async fn allowed_on_chain(&self, request: &Request) -> bool {
        let Request { reader, patient, steward, record, kind, purpose, .. } = *request;
        let (may_read, institution) = match reader {
            Reader::Professional { role, institution, .. } => (role.may_read(purpose), institution),
            Reader::Institution { member, role } => (role.may_read(purpose), member),
            Reader::Patient { .. } => unreachable!("patients do not read here"),
        };
        if !may_read.contains(kind) {
            return false;
        }
        let world = &self.world;
        let (member, kind) = (reader.address(), kind.number());
        if purpose == Purpose::Emergency {
            // The contract does not ask for whom the professional acts now.
            let mut newest = self.openings.iter().rev();
            let newest =
                newest.find(|opening| (opening.patient, opening.professional) == (patient, member));
            let call = EmergencyAccess::permitsCall { patient, professional: member, kind };
            return newest.is_some_and(|opening| opening.institution == institution)
                && world.view(Contract::EmergencyAccess, &call).await;
        }
        let is_active = Relationships::isActiveCall { patient, steward };
        let cares = institution == steward
            && steward == address("hospital")
            && self.care_team.contains(&(patient, member))
            && world.view(Contract::Relationships, &is_active).await;
        let treats = purpose == Purpose::Treatment;
        if treats && (cares || self.workflow_on_chain(request, institution).await) {
            return true;
        }
        for named in [member, institution] {
            let (record, purpose) = (record.0, purpose.number());
            let call =
                Consents::permitsCall { patient, steward, reader: named, record, kind, purpose };
            if world.view(Contract::Consents, &call).await {
                return true;
            }
        }
        false
    }

    async fn workflow_on_chain(&self, request: &Request, institution: Address) -> bool {
        let Request { patient, steward, record, kind, .. } = *request;
        let (workflow, digest) = (record.0, self.digests[&record].0);
        let call = Prescriptions::readableCall { id: workflow, pharmacy: institution };
        let readable = kind == Kind::Medication
            && self.prescriptions.get(&workflow) == Some(&(steward, patient, digest))
            && self.world.view(Contract::Prescriptions, &call).await;
        let call = LabOrders::orderOfCall { id: workflow };
        let order = self.world.view(Contract::LabOrders, &call).await;
        let state = LabOrders::stateOfCall { id: workflow };
        let state = self.world.view(Contract::LabOrders, &state).await;
        let ordered = (order.patient, order.institution) == (patient, steward)
            && kind == Kind::Laboratory
            && order.laboratory == institution
            && self.orders.get(&workflow) == Some(&digest)
            && (ORDERED..=RESULTED).contains(&state);
        readable || ordered
    }

    /// Decides a read both ways.
    async fn check(&mut self, read: &Read) {
        let signer = address(self.keys[member_name(read.reader)]);
        let time = self.world.now();
        let on_chain = self.reader_on_chain(signer).await;
        let projection = self.gatekeeper.projection().await;
        let reader = projection.registry.reader(&signer, time);
        assert_eq!(reader, on_chain, "{read:?} in {}", self.tell());
        let Some(reader) = reader else {
            drop(projection);
            *self.seen.entry("not in force".into()).or_default() += 1;
            return;
        };
        let request = self.request(read, reader);
        let decided = self.decide(&projection, &request);
        drop(projection);
        let allowed = self.allowed_on_chain(&request).await;
        assert_eq!(decided.is_ok(), allowed, "{request:?} is {decided:?} in {}", self.tell());
        let what = decided.unwrap_or_else(|refusal| refusal);
        let name = what.split([' ', '{']).next().unwrap_or_default();
        *self.seen.entry(name.into()).or_default() += 1;
    }

    fn request(&self, read: &Read, reader: Reader) -> Request {
        Request {
            reader,
            patient: address(PATIENTS[read.patient]),
            steward: address(STEWARDS[read.steward]),
            record: record(read.patient, read.record),
            kind: KINDS[read.kind],
            purpose: PURPOSES[read.purpose],
            time: self.world.now(),
        }
    }

    /// What is decided, and why, in words.
    fn decide(&self, projection: &Projection, request: &Request) -> Result<String, String> {
        let Request { reader, patient, steward, record, .. } = request;
        let digest = self.digests[record];
        let mut facts = projection.facts(request, RecordVersion::FIRST, digest);
        facts.in_care_team = *steward == address("hospital")
            && self.care_team.contains(&(*patient, reader.address()));
        match decide(request, &facts) {
            Ok(permit) => Ok(format!("{:?}", permit.basis())),
            Err(refusal) => Err(format!("{refusal:?}")),
        }
    }

    /// Reads a record at the hospital's gatekeeper, which must agree as well.
    async fn check_by_reading(&mut self) {
        let mut read = self.some_read();
        (read.steward, read.record) = (0, read.kind);
        let signer = address(self.keys[member_name(read.reader)]);
        let Some(reader) = self.reader_on_chain(signer).await else { return };
        let request = self.request(&read, reader);
        let asked = ReadRequest {
            reader,
            patient: request.patient,
            kinds: KindSet::of(&[request.kind]),
            record: Some(request.record),
            version: None,
            after: None,
            limit: 1,
            purpose: request.purpose,
            query: B256::ZERO,
        };
        let answered = match self.gatekeeper.read(&asked, self.world.now()).await {
            Ok((served, _)) => served.records.len() == 1,
            Err(AnswerError::Refused(QueryRefusal::Decided(_))) => false,
            Err(error) => panic!("{request:?}: {error:?} in {}", self.tell()),
        };
        let allowed = self.allowed_on_chain(&request).await;
        assert_eq!(answered, allowed, "{request:?} by reading in {}", self.tell());
    }

    fn tell(&self) -> String {
        let told = self.told.join("\n  ");
        format!("history SALUS_HISTORY_SEED={}\n  {told}", self.seed)
    }
}

/// The contract's numbers for the first and the last state in which an order is worked on.
const ORDERED: u8 = 1;
const RESULTED: u8 = 3;
