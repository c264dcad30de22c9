//! Batches of readings: signed by the device, checked, sealed, anchored; and each reading provable.

use std::fmt;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolEvent as _, SolValue as _};
use bindings::{
    Contract, Devices,
    convert::{timestamp, to_uint40},
    device::{head_after, leaf_content},
};
use domain::{Anchor, Kind, RecordId, RecordVersion, Timestamp, merkle};
use gatekeeper::{Along, MANIFEST_RECORDS_MAX};
use ledger::{CallError, Prepared};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vault::{Content, NewRecord};

use super::{
    Machine, Measured, Metric, Plan,
    binding::{DEVICE_SYSTEM, subject},
    device_reference, domain_of, keep, name_of_record,
    rules::LOINC,
    standing,
};
use crate::{Gateway, PatientActor, Step, WorkflowError};

/// The most samples of one batch, those without a value included.
pub const SAMPLES_MAX: usize = 4_096;

/// How many batches are on their way to the chain at once.
const SENT_AT_ONCE: usize = 64;

/// How many hashes a proof has at most: more than the largest batch needs.
const PROOF_MAX: usize = 32;

/// The samples of one metric, at the times of the batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Samples {
    /// Its LOINC code.
    pub metric: String,
    /// What was measured each time; nothing where nothing could be.
    pub values: Vec<Option<Measured>>,
}

/// Where a device's next batch goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which device.
    pub device: Address,
    /// Under which binding.
    pub binding: u32,
    /// The number of the next batch.
    pub sequence: u64,
    /// The head of those before.
    pub head: B256,
    /// No reading is older.
    pub since: Timestamp,
}

impl Position {
    /// Where it goes on after a batch.
    #[must_use]
    pub fn after(&self, signed: &SignedBatch) -> Self {
        Self {
            sequence: signed.sequence + 1,
            head: head_after(&signed.batch()),
            since: signed.to,
            ..*self
        }
    }
}

/// A batch of readings with the device's signature, as it leaves the device for its operator.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedBatch {
    /// Which device.
    pub device: Address,
    /// Under which binding.
    pub binding: u32,
    /// The number of the batch.
    pub sequence: u64,
    /// When the first sample was taken.
    pub from: Timestamp,
    /// A period after the last one.
    pub to: Timestamp,
    /// How many values there are.
    pub count: u32,
    /// How many of them are out of the range that was ordered.
    pub out_of_range: u32,
    /// The root of the tree of the readings.
    pub root: B256,
    /// The head of the batches before.
    pub previous_head: B256,
    /// The device's signature of all that.
    pub signature: Bytes,
    /// What the salts of the readings are made of.
    pub seed: B256,
    /// The seconds from one sample to the next.
    pub period: u32,
    /// What was measured.
    pub series: Vec<Samples>,
}

impl fmt::Debug for SignedBatch {
    /// Where it belongs, and nothing that was measured (S1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedBatch")
            .field("device", &self.device)
            .field("sequence", &self.sequence)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl SignedBatch {
    /// The device signs what it measured from `from` on: for each metric of the plan, in its order, as many
    /// samples. `seed` is secret, and used once.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when the samples do not fit the plan, are too many, or hold no value.
    pub fn sign(
        machine: &Machine,
        network: &Gateway,
        position: &Position,
        plan: &Plan,
        from: Timestamp,
        series: Vec<Samples>,
        seed: B256,
    ) -> Result<Self, WorkflowError> {
        let samples = fit(plan, &series)?;
        let length = samples.saturating_mul(plan.period().into());
        let readings = readings(machine.member, seed, from, plan.period(), &series)?;
        let tree = tree(machine.member, &readings).ok_or_else(|| invalid("a batch has a value"))?;
        let mut signed = Self {
            device: machine.member,
            binding: position.binding,
            sequence: position.sequence,
            from,
            to: Timestamp(from.0.saturating_add(length)),
            count: u32::try_from(readings.len()).map_err(|_| invalid("a batch is too long"))?,
            out_of_range: out_of_range(plan, &series),
            root: tree.root(),
            previous_head: position.head,
            signature: Bytes::new(),
            seed,
            period: plan.period(),
            series,
        };
        let digest = domain_of(network).batch_digest(machine.member, &signed.batch());
        signed.signature = machine.key.sign(digest);
        Ok(signed)
    }

    /// As the contract takes it.
    fn batch(&self) -> Devices::Batch {
        Devices::Batch {
            binding: self.binding,
            sequence: self.sequence,
            from: to_uint40(self.from),
            to: to_uint40(self.to),
            count: self.count,
            outOfRange: self.out_of_range,
            root: self.root,
            previousHead: self.previous_head,
        }
    }

    /// Holds what the device signed against its readings, and both against what was ordered. Whether it is
    /// this device's turn to say so, the contract knows.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when metrics or times are not those of the plan, or root, number of values, or how many of
    /// them are out of range do not come out again.
    pub fn check(&self, plan: &Plan) -> Result<(), WorkflowError> {
        let samples = fit(plan, &self.series)?;
        let length = samples.saturating_mul(plan.period().into());
        let to = Timestamp(self.from.0.saturating_add(length));
        if (self.period, self.to) != (plan.period(), to) {
            return Err(invalid("the readings are not of the times that were ordered"));
        }
        let readings = readings(self.device, self.seed, self.from, self.period, &self.series)?;
        let root = tree(self.device, &readings).map(|tree| tree.root());
        let count = u32::try_from(readings.len()).ok();
        if root != Some(self.root) || count != Some(self.count) {
            return Err(invalid("the readings are not those that were signed"));
        }
        if out_of_range(plan, &self.series) != self.out_of_range {
            return Err(invalid("the device counts other readings as out of range"));
        }
        Ok(())
    }

    /// The record of the batch.
    fn resource(&self, operator: &Gateway, patient: &PatientActor, plan: &Plan) -> Value {
        let component = |(samples, limit): (&Samples, &super::Limit)| {
            let metric = limit.metric();
            let texts = samples.values.iter().map(|value| match value {
                Some(value) => value.to_string(),
                // FHIR R4, SampledData: there is no valid value for this time.
                None => "E".into(),
            });
            json!({
                "code": metric.code(),
                "valueSampledData": {
                    "origin": metric.quantity(Measured::ZERO),
                    "period": u64::from(self.period) * 1_000,
                    "dimensions": 1,
                    "data": texts.collect::<Vec<_>>().join(" "),
                },
                "referenceRange": [{
                    "low": metric.quantity(limit.low),
                    "high": metric.quantity(limit.high),
                    "text": limit.source,
                }],
            })
        };
        let components = self.series.iter().zip(plan.limits()).map(component);
        json!({
            "resourceType": "Observation",
            "meta": { "profile": ["http://hl7.org/fhir/StructureDefinition/vitalsigns"] },
            "extension": [
                { "url": SEED, "valueString": self.seed.to_string() },
                { "url": BEGIN, "valueString": self.from.0.to_string() },
            ],
            "identifier": [
                { "system": DEVICE_SYSTEM, "value": self.device.to_string() },
                { "system": SEQUENCE, "value": self.sequence.to_string() },
            ],
            "status": "final",
            "category": [{ "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                "code": "vital-signs",
            }] }],
            "code": {
                "coding": [{ "system": LOINC, "code": "85353-1" }],
                "text": "vital signs that a device measured",
            },
            "subject": subject(patient),
            "effectivePeriod": { "start": self.from.to_string(), "end": self.to.to_string() },
            "performer": [{ "reference": format!("Organization/{}", operator.member()) }],
            "device": device_reference(self.device, self.binding),
            "component": components.collect::<Vec<_>>(),
        })
    }

    /// The record of the batch, to be sealed. The device is its author.
    fn record(
        &self,
        operator: &Gateway,
        patient: &PatientActor,
        plan: &Plan,
        now: Timestamp,
    ) -> NewRecord {
        let record = batch_record(self.device, self.root);
        let mut resource = self.resource(operator, patient, plan);
        resource["id"] = json!(format!("{:x}", record.0));
        NewRecord {
            record,
            version: RecordVersion::FIRST,
            patient: patient.account(),
            kind: Kind::VitalSign,
            content: Content::FhirJson,
            author: self.device,
            created: now,
            body: serde_json::to_vec(&resource).expect("a JSON value has a text"),
        }
    }

    /// The record of the batch at its operator, in the name of whom the device is bound to; nothing when it is
    /// kept already.
    async fn record_at(
        &self,
        operator: &Gateway,
        patient: &PatientActor,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<Option<NewRecord>, WorkflowError> {
        let held = standing(operator, self.device).await?;
        patient.require_theirs("device", held.patient)?;
        if held.operator != operator.member() {
            return Err(invalid("another institution runs the device"));
        }
        let new = self.record(operator, patient, plan, now);
        // It names the root, so what is kept under this id is this batch.
        match operator.gatekeeper.vault().head(new.record).await? {
            None => Ok(Some(new)),
            Some(kept) => {
                patient.require_theirs("batch of readings", kept.patient)?;
                Ok(None)
            }
        }
    }

    /// Asks the chain whether it would take the batch.
    async fn prepare(&self, operator: &Gateway) -> Result<Prepared, WorkflowError> {
        let call = Devices::anchorCall {
            device: self.device,
            batch: self.batch(),
            signature: self.signature.clone(),
        };
        Ok(operator.sender().prepare(operator.at(Contract::Devices), &call).await?)
    }

    fn operation(&self) -> &'static str {
        match (self.out_of_range, self.sequence) {
            (0, 0) => "device.anchor-first",
            (0, _) => "device.anchor",
            _ => "device.anchor-alert",
        }
    }

    fn step(&self, outcome: &ledger::Outcome) -> Step {
        let alert = match self.out_of_range {
            0 => String::new(),
            out => format!(", out of range: {out}; patient and care team are alerted"),
        };
        let readings = if self.count == 1 { "reading" } else { "readings" };
        let what = format!("anchors {} {readings}{alert}", self.count);
        Step::new("device", what, self.operation(), outcome)
    }
}

/// The extension in which a batch's record keeps what the salts are made of.
const SEED: &str = "urn:salus:reading-seed";

/// The extension that has the time of the first sample as the chain has it, in seconds since 1970.
const BEGIN: &str = "urn:salus:readings-from";

/// The system under which batches are numbered.
const SEQUENCE: &str = "urn:salus:device-batch";

/// The operator brings a batch: it is checked, sealed as a record of the patient's, and anchored. A batch
/// whose record was kept, but which did not get on chain, is brought again.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when it does not hold together ([`SignedBatch::check`]), or the device is
/// another patient's; [`WorkflowError::Send`] with the contract's reason. The contract is asked before
/// anything is sealed.
pub async fn bring(
    operator: &Gateway,
    patient: &PatientActor,
    plan: &Plan,
    signed: &SignedBatch,
    now: Timestamp,
) -> Result<(RecordId, Vec<Step>), WorkflowError> {
    signed.check(plan)?;
    let prepared = signed.prepare(operator).await?;
    let new = signed.record_at(operator, patient, plan, now).await?;
    let (record, mut steps) = (batch_record(signed.device, signed.root), Vec::new());
    if let Some(new) = new {
        let (_, outcome): (Anchor, _) = keep(operator, new, None).await?;
        let what = "proposes the record of a batch of readings";
        steps.push(Step::new(&operator.name, what, "record.propose", &outcome));
    }
    let outcome = operator.sender().send_prepared(prepared).await?;
    steps.push(signed.step(&outcome));
    Ok((record, steps))
}

/// The operator brings many batches, one of each device: their records are anchored together, as the leaves of
/// one tree.
///
/// # Errors
///
/// As [`bring`], of the first that is refused; then none is sealed, unless the contract refuses only after
/// it said that it would not.
pub async fn bring_all(
    operator: &Gateway,
    batches: &[(&PatientActor, &Plan, SignedBatch)],
    now: Timestamp,
) -> Result<Vec<Step>, WorkflowError> {
    if !(1..=MANIFEST_RECORDS_MAX).contains(&batches.len()) {
        let why = format!("1 to {MANIFEST_RECORDS_MAX} batches are brought at once");
        return Err(WorkflowError::Invalid(why));
    }
    let (mut prepared, mut records) = (Vec::new(), Vec::new());
    for (patient, plan, signed) in batches {
        signed.check(plan)?;
        prepared.push(signed.prepare(operator).await?);
        records.extend(signed.record_at(operator, patient, plan, now).await?);
    }
    let mut steps = Vec::with_capacity(batches.len() + 1);
    if !records.is_empty() {
        let (count, along) = (records.len(), along_all(operator, &records));
        let keeper = &operator.gatekeeper;
        let (_, _, outcome) = keeper.put_and_anchor_along(records, along).await?;
        let what = format!("anchors the records of {count} batches of readings");
        steps.push(Step::new(&operator.name, what, "record.anchor-batch", &outcome));
    }
    let mut waiting = prepared.into_iter().zip(batches.iter().map(|(_, _, signed)| signed));
    let mut sending = JoinSet::new();
    loop {
        while sending.len() < SENT_AT_ONCE
            && let Some((prepared, signed)) = waiting.next()
        {
            let (sender, signed) = (operator.sender().clone(), signed.clone());
            sending.spawn(async move {
                sender.send_prepared(prepared).await.map(|outcome| signed.step(&outcome))
            });
        }
        match sending.join_next().await {
            Some(sent) => {
                let sent = sent.map_err(|_| invalid("sending a batch was broken off"))?;
                steps.push(sent?);
            }
            None => return Ok(steps),
        }
    }
}

/// What is stored together with several versions.
fn along_all(operator: &Gateway, records: &[NewRecord]) -> Along<'static> {
    let all: Vec<Along<'static>> = records.iter().map(|record| operator.along(record)).collect();
    Box::new(move |transaction| {
        Box::pin(async move {
            for along in all {
                along(&mut *transaction).await?;
            }
            Ok(())
        })
    })
}

/// What the chain holds of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchoredBatch {
    /// Its number.
    pub sequence: u64,
    /// Of whom, by account.
    pub patient: Address,
    /// The root of the tree of its readings.
    pub root: B256,
    /// How many there are.
    pub count: u32,
    /// When they begin.
    pub from: Timestamp,
    /// When they end.
    pub to: Timestamp,
}

/// The batches of a device, in their order; only the one with this number, when one is named.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn anchored(
    gateway: &Gateway,
    device: Address,
    sequence: Option<u64>,
) -> Result<Vec<AnchoredBatch>, WorkflowError> {
    let mut filter = Filter::new()
        .address(gateway.at(Contract::Devices))
        .event_signature(Devices::ReadingsAnchored::SIGNATURE_HASH)
        .topic1(device.into_word())
        .from_block(0);
    if let Some(sequence) = sequence {
        filter = filter.topic3(B256::from(U256::from(sequence)));
    }
    let logs = gateway.gatekeeper.ledger().logs(&filter).await.map_err(CallError::from)?;
    let events =
        logs.iter().filter_map(|log| Devices::ReadingsAnchored::decode_log(&log.inner).ok());
    Ok(events
        .map(|event| AnchoredBatch {
            sequence: event.data.sequence,
            patient: event.data.patient,
            root: event.data.root,
            count: event.data.count,
            from: timestamp(event.data.from),
            to: timestamp(event.data.to),
        })
        .collect())
}

/// Where the record of a batch is kept, by the batch's root.
#[must_use]
pub fn batch_record(device: Address, root: B256) -> RecordId {
    name_of_record("batch", device, root)
}

/// A reading as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatedReading {
    /// What was measured, by its LOINC code.
    pub metric: String,
    /// In which unit (UCUM).
    pub unit: String,
    /// When.
    pub time: Timestamp,
    /// What came of it.
    pub value: Measured,
}

/// That a reading is in a batch which is on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadingProof {
    /// Which device.
    pub device: Address,
    /// The number of the batch.
    pub sequence: u64,
    /// The reading.
    pub reading: StatedReading,
    /// Its salt.
    pub salt: B256,
    /// The hashes beside it, from its leaf up.
    pub proof: Vec<B256>,
}

impl ReadingProof {
    fn digest(&self) -> B256 {
        digest(self.device, &self.reading, self.salt)
    }
}

/// Whether a reading is in a batch of the device that is on chain.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn verify(gateway: &Gateway, proof: &ReadingProof) -> Result<bool, WorkflowError> {
    if proof.proof.len() > PROOF_MAX {
        return Ok(false);
    }
    let call = Devices::verifyCall {
        device: proof.device,
        sequence: U256::from(proof.sequence),
        reading: proof.digest(),
        proof: proof.proof.clone(),
    };
    let (at, latest) = (gateway.at(Contract::Devices), BlockId::latest());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}

/// The readings in the record of a batch, by whoever may open it.
#[derive(Clone)]
pub struct ReadingsRecord {
    device: Address,
    sequence: u64,
    /// Each reading with its salt, in the order of the tree.
    readings: Vec<(StatedReading, B256)>,
}

impl fmt::Debug for ReadingsRecord {
    /// Where it belongs, and nothing that was measured (S1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadingsRecord")
            .field("device", &self.device)
            .field("sequence", &self.sequence)
            .finish_non_exhaustive()
    }
}

impl ReadingsRecord {
    /// Reads the record of a batch.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is no such record.
    pub fn parse(body: &[u8]) -> Result<Self, WorkflowError> {
        let strange = || invalid("the record is no batch of readings");
        let resource: Value = serde_json::from_slice(body).map_err(|_| strange())?;
        let text = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(strange);
        let device: Address =
            text(&resource["identifier"][0]["value"])?.parse().map_err(|_| strange())?;
        let sequence = text(&resource["identifier"][1]["value"])?.parse().map_err(|_| strange())?;
        let seed: B256 =
            text(&resource["extension"][0]["valueString"])?.parse().map_err(|_| strange())?;
        let from: u64 =
            text(&resource["extension"][1]["valueString"])?.parse().map_err(|_| strange())?;
        let (mut series, mut period) = (Vec::new(), None);
        for component in resource["component"].as_array().into_iter().flatten() {
            let sampled = &component["valueSampledData"];
            let milliseconds = sampled["period"].as_u64().ok_or_else(strange)?;
            period = Some(u32::try_from(milliseconds / 1_000).map_err(|_| strange())?);
            let value = |text: &str| match text {
                "E" => Ok(None),
                text => Measured::parse(text).map(Some).ok_or_else(strange),
            };
            let data = text(&sampled["data"])?;
            if series.len() >= super::METRICS_MAX || data.len() > SAMPLES_MAX * 16 {
                return Err(strange());
            }
            series.push(Samples {
                metric: text(&component["code"]["coding"][0]["code"])?,
                values: data.split(' ').map(value).collect::<Result<_, _>>()?,
            });
        }
        let period = period.ok_or_else(strange)?;
        Ok(Self {
            device,
            sequence,
            readings: readings(device, seed, Timestamp(from), period, &series)?,
        })
    }

    /// The readings, in the order of the tree.
    pub fn readings(&self) -> impl Iterator<Item = &StatedReading> {
        self.readings.iter().map(|(reading, _)| reading)
    }

    /// The proof of one reading, counted from 0; nothing when there is none with that number.
    #[must_use]
    pub fn prove(&self, index: usize) -> Option<ReadingProof> {
        let (reading, salt) = self.readings.get(index)?.clone();
        let proof = tree(self.device, &self.readings)?.proof(index)?;
        Some(ReadingProof { device: self.device, sequence: self.sequence, reading, salt, proof })
    }
}

fn invalid(why: &str) -> WorkflowError {
    WorkflowError::Invalid(why.into())
}

/// How many samples each metric has, when they are those of the plan.
fn fit(plan: &Plan, series: &[Samples]) -> Result<u64, WorkflowError> {
    let is_ordered = series.len() == plan.limits().len()
        && series
            .iter()
            .zip(plan.limits())
            .all(|(samples, limit)| samples.metric == limit.metric().loinc);
    let length = series.first().map_or(0, |samples| samples.values.len());
    let is_even = series.iter().all(|samples| samples.values.len() == length);
    if !is_ordered || !is_even {
        return Err(invalid("what was measured is not what was ordered"));
    }
    if length == 0 || length.saturating_mul(series.len()) > SAMPLES_MAX {
        return Err(WorkflowError::Invalid(format!("a batch has 1 to {SAMPLES_MAX} samples")));
    }
    Ok(length as u64)
}

fn out_of_range(plan: &Plan, series: &[Samples]) -> u32 {
    let broken = series.iter().zip(plan.limits()).map(|(samples, limit)| {
        samples.values.iter().flatten().filter(|value| limit.is_broken_by(**value)).count()
    });
    u32::try_from(broken.sum::<usize>()).unwrap_or(u32::MAX)
}

/// The readings of a batch with their salts, in the order of the tree: by metric, then by time.
fn readings(
    device: Address,
    seed: B256,
    from: Timestamp,
    period: u32,
    series: &[Samples],
) -> Result<Vec<(StatedReading, B256)>, WorkflowError> {
    let mut readings = Vec::new();
    for samples in series {
        let metric = Metric::find(&samples.metric).filter(|found| found.loinc == samples.metric);
        let metric = metric.ok_or_else(|| invalid("there are no rules for this metric"))?;
        for (position, value) in (0_u64..).zip(&samples.values) {
            let Some(value) = *value else { continue };
            let offset = position.saturating_mul(period.into());
            let reading = StatedReading {
                metric: samples.metric.clone(),
                unit: metric.unit.clone(),
                time: Timestamp(from.0.saturating_add(offset)),
                value,
            };
            let number = readings.len() as u64;
            let label = "salus/reading-salt/v1".to_owned();
            // One salt tells nothing of another.
            let salt = keccak256((label, seed, device, number).abi_encode_params());
            readings.push((reading, salt));
        }
    }
    Ok(readings)
}

/// The salted digest of a reading.
fn digest(device: Address, reading: &StatedReading, salt: B256) -> B256 {
    let content = (
        "salus/reading/v1".to_owned(),
        salt,
        device,
        reading.metric.clone(),
        reading.unit.clone(),
        reading.time.0,
        reading.value.to_string(),
    );
    keccak256(content.abi_encode_params())
}

fn leaf(digest: B256) -> B256 {
    merkle::leaf(leaf_content(digest))
}

fn tree(device: Address, readings: &[(StatedReading, B256)]) -> Option<merkle::Tree> {
    let leaves = readings.iter().map(|(reading, salt)| leaf(digest(device, reading, *salt)));
    merkle::Tree::new(leaves.collect())
}
