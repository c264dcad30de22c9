//! Thousands of devices that are not there: enrolled, bound, and measuring, with keys and values that follow
//! from a seed.
//!
//! What they do is real: each has a key, an attestation by its maker, a patient who accepted it, and signs
//! batches that go the way of any other. Only what they measure is made up: each value drifts around the
//! middle of its range and leaves it now and then. The same secret, seed, clock and patients give the same batches;
//! without the secret nobody computes a key.
//!
//! A simulated device holds itself to the contract's limits: it brings nothing of the time before its
//! binding or after now, and not more batches in a window than the contract takes; what it could not bring,
//! it measured, and the next batch goes on after the gap.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolValue as _;
use domain::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::{
    Attested, BINDINGS_MAX, DeviceKey, Limit, Machine, Measured, Model, Plan, Position, Samples,
    SignedBatch, Standing, Terms, accept_bindings, attest, bring_all, enrol, offer, register,
    standing,
};
use crate::{Gateway, PatientActor, Step, WorkflowError};

/// The most devices of one simulation.
pub const DEVICES_MAX: usize = 10_000;

/// How many devices come into the network at once.
const AT_ONCE: usize = 64;

/// How many batches of a round go together.
const BATCHES_AT_ONCE: usize = 1_000;

/// How many batches a device brings in a window at most.
///
/// # Source
///
/// `MAX_BATCHES` in `Devices.sol`.
const BATCHES_MAX: u32 = 120;

/// How long a window is, in seconds; a minute more than in the contract, whose windows begin with a block.
///
/// # Source
///
/// `WINDOW` in `Devices.sol`.
const WINDOW: u64 = 3_660;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything made up follows from it.
    pub seed: u64,
    /// How many devices.
    pub devices: usize,
    /// What they are.
    pub model: Model,
    /// The firmware that they run, which their maker accepts.
    pub firmware: String,
    /// What they measure.
    pub plan: Plan,
    /// How long.
    pub terms: Terms,
    /// How many of a thousand values are out of range.
    pub out_of_range: u32,
}

/// A device that is not there.
struct Simulated {
    machine: Machine,
    /// Which of the patients has it.
    patient: usize,
    /// Where it goes on; nothing before it is bound.
    position: Option<Position>,
    window_start: u64,
    in_window: u32,
    random: SplitMix,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Batches anchored.
    pub batches: u64,
    /// Readings in them.
    pub readings: u64,
    /// Batches with readings out of range.
    pub alerts: u64,
    /// Devices that brought nothing: it was too early, or too much already.
    pub waiting: u64,
}

/// The devices of a simulation.
pub struct Simulation<'a> {
    secret: Zeroizing<[u8; 32]>,
    operator: &'a Gateway,
    maker: &'a Gateway,
    patients: &'a [&'a PatientActor],
    settings: Settings,
    devices: Vec<Simulated>,
}

impl<'a> Simulation<'a> {
    /// Devices that are in no network yet, divided among the patients. Their keys follow from the secret and
    /// the seed.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when there are none, or more than [`DEVICES_MAX`], or no patients.
    pub fn new(
        secret: Zeroizing<[u8; 32]>,
        operator: &'a Gateway,
        maker: &'a Gateway,
        patients: &'a [&'a PatientActor],
        settings: Settings,
    ) -> Result<Self, WorkflowError> {
        if !(1..=DEVICES_MAX).contains(&settings.devices) || patients.is_empty() {
            let why = format!("1 to {DEVICES_MAX} devices are simulated, at one patient or more");
            return Err(WorkflowError::Invalid(why));
        }
        let devices = (0..settings.devices).map(|index| Simulated {
            machine: Machine::new(
                key(&secret, settings.seed, index),
                settings.model.clone(),
                format!("SIM-{:016x}-{index:05}", settings.seed),
                settings.firmware.clone(),
            ),
            patient: index % patients.len(),
            position: None,
            window_start: 0,
            in_window: 0,
            random: SplitMix(settings.seed ^ (index as u64).rotate_left(32)),
        });
        let devices = devices.collect();
        Ok(Self { secret, operator, maker, patients, settings, devices })
    }

    /// The addresses of the devices.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        self.devices.iter().map(|device| device.machine.member)
    }

    /// Brings the devices into the network, and to their patients, as far as they are not there; the firmware must be
    /// accepted before. Returns what it took.
    ///
    /// # Errors
    ///
    /// [`WorkflowError`] as of each step. Beginning again goes on where it was.
    pub async fn begin(&mut self, now: Timestamp) -> Result<Vec<Step>, WorkflowError> {
        let mut steps = Vec::new();
        let mut fresh = Vec::new();
        for (index, device) in self.devices.iter().enumerate() {
            match standing(self.operator, device.machine.member).await {
                Ok(held) if held.is_bound(now) => {}
                Ok(_) => fresh.push((index, true)),
                Err(WorkflowError::Unknown { .. }) => fresh.push((index, false)),
                Err(error) => return Err(error),
            }
        }
        let mut bindings: Vec<Vec<(Address, u32)>> = vec![Vec::new(); self.patients.len()];
        for some in fresh.chunks(AT_ONCE) {
            // Signing is the maker's, and fast; what takes long is waiting for blocks.
            let mut attested = Vec::new();
            for &(index, _) in some {
                attested.push(attest(self.maker, &self.devices[index].machine, now).await?);
            }
            let offers = self.enrol_and_offer(some, attested, &mut steps).await?;
            for (index, binding) in offers {
                let device = &self.devices[index];
                bindings[device.patient].push((device.machine.member, binding));
            }
        }
        for (patient, offers) in self.patients.iter().zip(&bindings) {
            for some in offers.chunks(BINDINGS_MAX) {
                steps.push(accept_bindings(self.operator, patient, some, now).await?);
            }
        }
        for device in &mut self.devices {
            let held: Standing = standing(self.operator, device.machine.member).await?;
            device.position = Some(held.position(device.machine.member));
        }
        Ok(steps)
    }

    /// Enrols some devices at the same time, so that they share blocks; returns the numbers of their bindings.
    async fn enrol_and_offer(
        &self,
        some: &[(usize, bool)],
        attested: Vec<Attested>,
        steps: &mut Vec<Step>,
    ) -> Result<Vec<(usize, u32)>, WorkflowError> {
        // What a task needs of a device; the key's owner stays here.
        let mut tasks = JoinSet::new();
        let operator = Arc::new(self.operator.clone());
        for (&(index, is_enrolled), attested) in some.iter().zip(attested) {
            let operator = Arc::clone(&operator);
            let device = &self.devices[index];
            let machine = Machine::new(
                key(&self.secret, self.settings.seed, index),
                device.machine.model.clone(),
                device.machine.serial.clone(),
                device.machine.firmware.clone(),
            );
            let account = self.patients[device.patient].account();
            let terms = self.settings.terms;
            tasks.spawn(async move {
                let mut steps = Vec::new();
                if !is_enrolled {
                    if !super::is_in_force(&operator, machine.member).await? {
                        steps.push(register(&operator, &machine).await?);
                    }
                    steps.push(enrol(&operator, &machine, &attested).await?);
                }
                let (binding, step) = offer(&operator, account, machine.member, terms).await?;
                steps.push(step);
                Ok::<_, WorkflowError>((index, binding, steps))
            });
        }
        let mut offers = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let broken = |_| WorkflowError::Invalid("enrolling a device was broken off".into());
            let (index, binding, done) = done.map_err(broken)??;
            offers.push((index, binding));
            steps.extend(done);
        }
        offers.sort_unstable();
        Ok(offers)
    }

    /// What each device measured since its last batch, at most `samples` times, signed. Devices that have nothing to say, or
    /// have said too much, say nothing.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] before [`Simulation::begin`].
    pub fn measure(
        &mut self,
        samples: usize,
        now: Timestamp,
    ) -> Result<Vec<(usize, SignedBatch)>, WorkflowError> {
        let mut batches = Vec::new();
        for (index, device) in self.devices.iter_mut().enumerate() {
            let begun = || WorkflowError::Invalid("the devices are at no patients yet".into());
            let position = device.position.ok_or_else(begun)?;
            if now.0 >= device.window_start.saturating_add(WINDOW) {
                (device.window_start, device.in_window) = (now.0, 0);
            }
            let period = u64::from(self.settings.plan.period());
            let passed = now.0.saturating_sub(position.since.0) / period;
            let count = usize::try_from(passed).unwrap_or(usize::MAX).min(samples);
            if count == 0 || device.in_window == BATCHES_MAX {
                continue;
            }
            // The newest, when more time passed than is told: the rest is a gap.
            let from = Timestamp(now.0 - count as u64 * period);
            let series = device.random.series(&self.settings, count);
            let seed = seed(&self.secret, device.machine.member, position.sequence);
            let (machine, plan) = (&device.machine, &self.settings.plan);
            let signed =
                SignedBatch::sign(machine, self.operator, &position, plan, from, series, seed)?;
            batches.push((index, signed));
        }
        Ok(batches)
    }

    /// One round: every device measures, and its operator brings what it signed.
    ///
    /// # Errors
    ///
    /// As [`bring_all`].
    pub async fn round(
        &mut self,
        samples: usize,
        now: Timestamp,
    ) -> Result<(Tally, Vec<Step>), WorkflowError> {
        let signed = self.measure(samples, now)?;
        let mut tally =
            Tally { waiting: (self.devices.len() - signed.len()) as u64, ..Tally::default() };
        let mut steps = Vec::new();
        for some in signed.chunks(BATCHES_AT_ONCE) {
            let (patients, plan) = (self.patients, &self.settings.plan);
            let batches: Vec<(&PatientActor, &Plan, SignedBatch)> = some
                .iter()
                .map(|(index, batch)| (patients[self.devices[*index].patient], plan, batch.clone()))
                .collect();
            steps.extend(bring_all(self.operator, &batches, now).await?);
            for (index, batch) in some {
                let device = &mut self.devices[*index];
                device.position = device.position.map(|position| position.after(batch));
                device.in_window += 1;
                tally.batches += 1;
                tally.readings += u64::from(batch.count);
                tally.alerts += u64::from(batch.out_of_range > 0);
            }
        }
        Ok((tally, steps))
    }
}

/// The key of a device that is not there. Numbers that are no key come up once in 2^32 devices; the next
/// label then serves.
fn key(secret: &[u8; 32], seed: u64, index: usize) -> DeviceKey {
    let keys = (0_u64..).find_map(|attempt| {
        let content = (seed, index as u64, attempt).abi_encode();
        let key = Zeroizing::new(keyed(secret, "salus/simulated-device/v2", &content).0);
        DeviceKey::from_secret(&key).ok()
    });
    keys.expect("one of the first attempts is a key")
}

/// What the salts of a simulated batch are made of. A device has each number once.
fn seed(secret: &[u8; 32], device: Address, sequence: u64) -> B256 {
    keyed(secret, "salus/simulated-seed/v2", &(device, sequence).abi_encode())
}

/// A digest that only who has the secret computes.
fn keyed(secret: &[u8; 32], label: &str, content: &[u8]) -> B256 {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length is a key");
    mac.update(label.as_bytes());
    mac.update(content);
    B256::from_slice(&mac.finalize().into_bytes())
}

/// Numbers that look random and follow from a seed: for made-up values, never for keys.
///
/// # Source
///
/// SplitMix64: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `end`, which is not zero.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// What a device measures.
    fn series(&mut self, settings: &Settings, count: usize) -> Vec<Samples> {
        let limits = settings.plan.limits().iter();
        let samples = limits.map(|limit| Samples {
            metric: limit.metric().loinc.clone(),
            values: (0..count).map(|_| Some(self.value(limit, settings.out_of_range))).collect(),
        });
        samples.collect()
    }

    fn value(&mut self, limit: &Limit, out_of_range: u32) -> Measured {
        let (low, high) = (limit.low.thousandths(), limit.high.thousandths());
        let width = high.abs_diff(low).saturating_add(1);
        let is_out = self.below(1_000) < u64::from(out_of_range);
        let value = if is_out {
            high.saturating_add_unsigned(1_000 + self.below(width))
        } else {
            low.saturating_add_unsigned(self.below(width))
        };
        // Devices tell tenths.
        let tenths = value / 100 * 100;
        let value = if is_out { tenths } else { tenths.clamp(low, high) };
        Measured::of_thousandths(value).unwrap_or(limit.low)
    }
}
