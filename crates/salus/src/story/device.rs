//! The story's device: attested, accepted, signing, recalled.

use std::time::Duration;

use domain::Timestamp;
use workflows::{
    device::{
        self, Described, Machine, Measured, Plan, ReadingsRecord, Samples, SignedBatch, Terms,
    },
    record,
};

use super::Teller;
use crate::{Error, machines::Machines, table::short};

const MODEL: &str = "Patch 1";

impl Teller<'_> {
    pub(super) async fn device(&mut self) -> Result<(), Error> {
        self.heading(
            "A device: attested, accepted by the patient, its readings signed and provable",
        );
        let (hospital, maker) = (self.gateway("hospital"), self.gateway("maker"));
        let patient = self.patient;
        let mut machines = Machines::open(self.consortium).await?;
        // Each story has a device of its own, for a serial number is enrolled once.
        let number = u64::from_be_bytes(hospital.gatekeeper.entropy().bytes::<8>());
        let name = format!("story-{number:016x}");
        let mut machine = machines.make(&name, MODEL, &name, "1.0");
        machines.keep(&name, &machine)?;
        let step = device::accept_firmware(maker, &machine.model, "1.0").await?;
        self.tell(step);
        let step = device::register(hospital, &machine).await?;
        self.tell(step);
        let attested = device::attest(maker, &machine, self.now()).await?;
        let thief =
            Machine { key: machines.stranger(), ..machines.make(&name, MODEL, &name, "1.0") };
        let forged = device::enrol(hospital, &thief, &attested).await;
        self.refused("hospital", "enrols it with a key that is not the device's", forged)?;
        let step = device::enrol(hospital, &machine, &attested).await?;
        self.tell(step);

        let (physician, nurse) = (self.person("physician"), self.person("nurse"));
        let (member, plan) = (machine.member, Plan::usual(&["heart-rate"], 1)?);
        let month = self.now().after(Duration::from_secs(30 * 86_400));
        let terms = Terms { until: month, gap: 43_200 };
        let now = self.now();
        let (_, binding, steps) =
            device::order_and_offer(hospital, physician, patient, member, &plan, terms, now)
                .await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let early = self.measured(&machine, &plan, &["72"]).await?;
        let early = device::bring(hospital, patient, &plan, &early, self.now()).await;
        self.refused("device", "sends readings before the patient accepted it", early)?;
        let step = device::accept_binding(hospital, patient, member, binding, self.now()).await?;
        self.tell(step);
        let described = Described::of(&machine, "Example Devices");
        let (_, steps) =
            device::file(hospital, nurse, patient, &described, &plan, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));

        let first = self.measured(&machine, &plan, &["72", "74"]).await?;
        let (_, steps) = device::bring(hospital, patient, &plan, &first, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let replayed = device::bring(hospital, patient, &plan, &first, self.now()).await;
        self.refused("device", "sends the same batch again", replayed)?;
        let alert = self.measured(&machine, &plan, &["118"]).await?;
        let mut forged = alert.clone();
        forged.signature = first.signature.clone();
        let forged = device::bring(hospital, patient, &plan, &forged, self.now()).await;
        self.refused("somebody", "sends a batch under another batch's signature", forged)?;
        let (_, steps) = device::bring(hospital, patient, &plan, &alert, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let step = device::acknowledge(hospital, nurse, member, alert.sequence).await?;
        self.tell(step);
        self.prove_reading(&first).await?;

        let regulator = self.gateway("regulator");
        let (_, step) =
            device::recall_firmware(regulator, &machine.model, "1.0", "reads too low").await?;
        self.tell(step);
        let next = self.measured(&machine, &plan, &["73"]).await?;
        let recalled = device::bring(hospital, patient, &plan, &next, self.now()).await;
        self.refused("device", "sends readings of a firmware that was recalled", recalled)?;
        let step = device::lift_recall(regulator, &machine.model, "1.0").await?;
        self.tell(step);
        let key = machines.make_next_key(&name)?;
        let step = device::rotate(hospital, &mut machine, key, self.now()).await?;
        self.tell(step);
        let old = device::bring(hospital, patient, &plan, &next, self.now()).await;
        self.refused("device", "sends what its former key signed", old)?;
        let step = device::unbind_by_patient(hospital, patient, member, self.now()).await?;
        self.tell(step);
        let step = device::decommission(hospital, member).await?;
        self.tell(step);
        Ok(())
    }

    /// What a device signs of the seconds that it waits for.
    async fn measured(
        &self,
        machine: &Machine,
        plan: &Plan,
        values: &[&str],
    ) -> Result<SignedBatch, Error> {
        let hospital = self.gateway("hospital");
        let held = device::standing(hospital, machine.member).await?;
        let position = held.position(machine.member);
        // A block may be a little ahead of the clock.
        let ready = position.since.after(Duration::from_secs(values.len() as u64));
        while self.now() < ready {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let values = values.iter().map(|value| Measured::parse(value)).collect();
        let series = vec![Samples { metric: plan.limits()[0].metric().loinc.clone(), values }];
        let from = match position.since {
            Timestamp(0) => Timestamp(self.now().0.saturating_sub(1)),
            since => since,
        };
        let seed = hospital.gatekeeper.entropy().bytes::<32>().into();
        Ok(SignedBatch::sign(machine, hospital, &position, plan, from, series, seed)?)
    }

    async fn prove_reading(&self, signed: &SignedBatch) -> Result<(), Error> {
        let (hospital, patient) = (self.gateway("hospital"), self.patient);
        let id = device::batch_record(signed.device, signed.root);
        let anchor = record::newest(hospital, id, self.now()).await?;
        let anchor = anchor.ok_or("the record of a batch is kept")?;
        let body = record::verify(hospital, patient, &anchor).await?;
        let readings = ReadingsRecord::parse(&body)?;
        let proof = readings.prove(0).ok_or("a batch has readings")?;
        if !device::verify(hospital, &proof).await? {
            return Err("a reading was not proven".into());
        }
        let what = format!(
            "opens the batch, and proves one reading of it with {} hash to root {}",
            proof.proof.len(),
            short(signed.root),
        );
        self.told(&patient.name, &what);
        let mut changed = proof;
        changed.reading.value = Measured::parse("60").ok_or("a number")?;
        if device::verify(hospital, &changed).await? {
            return Err("a reading that is not in the batch was proven".into());
        }
        self.told("reader", "holds another value against the chain: not in the batch");
        Ok(())
    }
}
