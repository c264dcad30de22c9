//! `salus device`: the hospital runs the devices, the maker makes them, the regulator watches.

use std::{fmt::Write as _, path::Path, time::Duration};

use alloy_primitives::Address;
use domain::Timestamp;
use workflows::{
    PatientActor, Step, WorkflowError,
    device::{
        self, Described, Limit, Machine, Measured, Metric, Plan, ReadingProof, ReadingsRecord,
        Samples, SignedBatch, Terms,
        simulator::{Settings, Simulation, Tally},
    },
    record,
};

use super::{Commands, Output, step_text};
use crate::{
    Error,
    cli::{DeviceCommand, DevicePlan, FirmwareCommand, SimulateOptions},
    machines::Machines,
    table::{Table, thousands},
};

/// For how long simulated devices are bound.
const SIMULATED: Duration = Duration::from_secs(86_400);

impl Commands<'_> {
    pub(super) async fn device(&self, command: DeviceCommand) -> Output {
        let (hospital, now) = (self.gateway("hospital")?, self.now());
        let mut machines = Machines::open(self.consortium).await?;
        let steps = match command {
            DeviceCommand::Firmware(command) => return self.firmware(&machines, command).await,
            DeviceCommand::Enrol { name, model, serial, firmware } => {
                let machine = machines.make(&name, &model, &serial, &firmware);
                match device::standing(hospital, machine.member).await {
                    Ok(_) => return Err(format!("there is a device {name} already").into()),
                    Err(WorkflowError::Unknown { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
                // What is enrolled is known here, whatever happens in between.
                machines.keep(&name, &machine)?;
                let mut steps = Vec::new();
                // Who was refused before because of the firmware is in the registry already.
                if !device::is_in_force(hospital, machine.member).await? {
                    steps.push(device::register(hospital, &machine).await?);
                }
                let attested = device::attest(self.gateway("maker")?, &machine, now).await?;
                steps.push(device::enrol(hospital, &machine, &attested).await?);
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("device {}\n{text}", machine.member), 0));
            }
            DeviceCommand::Order { patient, name, plan, days, gap, by } => {
                let (patient, doctor) = (self.patient(&patient)?, self.person(&by)?);
                let plan = parse_plan(&plan, &doctor.name)?;
                let (member, terms) = (machines.member(&name)?, terms(now, days, gap)?);
                let (anchor, binding, steps) =
                    device::order_and_offer(hospital, doctor, &patient, member, &plan, terms, now)
                        .await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("binding {binding}, order {}\n{text}", anchor.record), 0));
            }
            DeviceCommand::Accept { patient, name } => {
                let (patient, member) = (self.patient(&patient)?, machines.member(&name)?);
                let offered = device::offered(hospital, member).await?;
                let offered = offered.ok_or("the device was offered to nobody")?;
                let binding = offered.binding;
                // Nobody accepts what they cannot open.
                let order = device::plan_record(member, binding, patient.account());
                if let Some(order) = record::newest(hospital, order, now).await? {
                    record::verify(hospital, &patient, &order).await?;
                }
                vec![device::accept_binding(hospital, &patient, member, binding, now).await?]
            }
            DeviceCommand::File { patient, name, by } => {
                let (patient, person) = (self.patient(&patient)?, self.person(&by)?);
                let machine = self.machine(&machines, &name).await?;
                let plan = self.plan_of(&patient, machine.member, &by).await?;
                let described = Described::of(&machine, "the demonstration's maker");
                device::file(hospital, person, &patient, &described, &plan, now).await?.1
            }
            DeviceCommand::Send { patient, name, values, by, out } => {
                let patient = self.patient(&patient)?;
                let machine = self.machine(&machines, &name).await?;
                let plan = self.plan_of(&patient, machine.member, &by).await?;
                let held = device::standing(hospital, machine.member).await?;
                let position = held.position(machine.member);
                let series = parse_series(&plan, &values)?;
                let count = series.first().map_or(0, |samples| samples.values.len()) as u64;
                let length = count.saturating_mul(plan.period().into());
                let from = Timestamp(now.0.saturating_sub(length));
                let seed = hospital.gatekeeper.entropy().bytes::<32>().into();
                let signed =
                    SignedBatch::sign(&machine, hospital, &position, &plan, from, series, seed)?;
                if let Some(out) = out {
                    self.put_file(&out, &serde_json::to_vec_pretty(&signed)?)?;
                }
                return self.brought(&patient, &plan, &signed).await;
            }
            DeviceCommand::Bring { patient, file, by } => {
                let patient = self.patient(&patient)?;
                let signed: SignedBatch = serde_json::from_slice(&self.bytes_of(&file)?)
                    .map_err(|_| "the file is no batch of readings")?;
                let plan = self.plan_of(&patient, signed.device, &by).await?;
                return self.brought(&patient, &plan, &signed).await;
            }
            DeviceCommand::Alerts { name } => {
                return self.alerts(machines.member(&name)?).await;
            }
            DeviceCommand::Acknowledge { name, sequence, by } => {
                let (person, member) = (self.person(&by)?, machines.member(&name)?);
                vec![device::acknowledge(hospital, person, member, sequence).await?]
            }
            DeviceCommand::Update { name, firmware } => {
                let mut machine = self.machine(&machines, &name).await?;
                let step = device::update_firmware(hospital, &machine, &firmware, now).await?;
                machine.firmware = firmware;
                machines.keep(&name, &machine)?;
                vec![step]
            }
            DeviceCommand::Rotate { name } => {
                let mut machine = self.machine(&machines, &name).await?;
                let next = machines.make_next_key(&name)?;
                vec![device::rotate(hospital, &mut machine, next, now).await?]
            }
            DeviceCommand::Quarantine { name, reason, by } => {
                let (by, member) = (self.gateway(&by)?, machines.member(&name)?);
                let (salt, step) = device::quarantine(by, member, &reason).await?;
                return Ok((format!("{}the salt of the reason: {salt}\n", step_text(&step)), 0));
            }
            DeviceCommand::Lift { name, by } => {
                let (by, member) = (self.gateway(&by)?, machines.member(&name)?);
                vec![device::lift_quarantine(by, member).await?]
            }
            DeviceCommand::Unbind { name, patient } => {
                let member = machines.member(&name)?;
                match patient {
                    Some(patient) => {
                        let patient = self.patient(&patient)?;
                        vec![device::unbind_by_patient(hospital, &patient, member, now).await?]
                    }
                    None => vec![device::unbind(hospital, member).await?],
                }
            }
            DeviceCommand::Decommission { name } => {
                vec![device::decommission(hospital, machines.member(&name)?).await?]
            }
            DeviceCommand::Show { name } => {
                return self.show_device(machines.member(&name)?).await;
            }
            DeviceCommand::Prove { patient, name, sequence, reading, out } => {
                let (patient, member) = (self.patient(&patient)?, machines.member(&name)?);
                let chosen = reading.zip(out);
                return self.prove_reading(&patient, member, sequence, chosen).await;
            }
            DeviceCommand::Verify { proof } => return self.verify_reading(&machines, &proof).await,
            DeviceCommand::Simulate(options) => return self.simulate(&machines, options).await,
        };
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    async fn firmware(&self, machines: &Machines, command: FirmwareCommand) -> Output {
        let (maker, regulator) = (self.gateway("maker")?, self.gateway("regulator")?);
        let step = match command {
            FirmwareCommand::Accept(of) => {
                device::accept_firmware(maker, &machines.model(&of.model), &of.version).await?
            }
            FirmwareCommand::Withdraw(of) => {
                device::withdraw_firmware(maker, &machines.model(&of.model), &of.version).await?
            }
            FirmwareCommand::Recall { firmware, reason } => {
                let model = machines.model(&firmware.model);
                let version = &firmware.version;
                let (salt, step) =
                    device::recall_firmware(regulator, &model, version, &reason).await?;
                return Ok((format!("{}the salt of the reason: {salt}\n", step_text(&step)), 0));
            }
            FirmwareCommand::Lift(of) => {
                device::lift_recall(regulator, &machines.model(&of.model), &of.version).await?
            }
            FirmwareCommand::Show(of) => {
                let model = machines.model(&of.model);
                let may = device::is_accepted(maker, &model, &of.version).await?;
                let text = format!(
                    "model {}: firmware {} is {}accepted\n",
                    model.id(),
                    of.version,
                    if may { "" } else { "NOT " }
                );
                return Ok((text, u8::from(!may)));
            }
        };
        Ok((step_text(&step), 0))
    }

    /// A device with the key that is in force.
    async fn machine(&self, machines: &Machines, name: &str) -> Result<Machine, Error> {
        let signer = device::signer_of(self.gateway("hospital")?, machines.member(name)?).await?;
        machines.find(name, signer)
    }

    /// What was ordered for a device's latest binding, as somebody of the hospital reads it.
    async fn plan_of(
        &self,
        patient: &PatientActor,
        member: Address,
        by: &str,
    ) -> Result<Plan, Error> {
        let (hospital, person) = (self.gateway("hospital")?, self.person(by)?);
        let held = device::standing(hospital, member).await?;
        let (account, now) = (patient.account(), self.now());
        let binding = (member, held.binding);
        Ok(device::plan_of(hospital, person.member, account, binding, now).await?)
    }

    async fn brought(&self, patient: &PatientActor, plan: &Plan, signed: &SignedBatch) -> Output {
        let hospital = self.gateway("hospital")?;
        let (record, steps) = device::bring(hospital, patient, plan, signed, self.now()).await?;
        let text = steps.iter().map(step_text).collect::<String>();
        Ok((format!("batch {}, record {record}\n{text}", signed.sequence), 0))
    }

    async fn alerts(&self, member: Address) -> Output {
        let head = ["batch", "whose", "out of range", "due", "seen by"];
        let mut table = Table::new(&head, &[0, 2]);
        let now = self.now();
        for alert in device::alerts(self.gateway("hospital")?, member).await? {
            let seen = alert.acknowledged_by.map(|by| self.consortium.name_of(by));
            let waits = if alert.is_overdue(now) { "nobody: OVERDUE" } else { "nobody yet" };
            table.row(vec![
                alert.sequence.to_string(),
                self.consortium.name_of(alert.patient),
                alert.out_of_range.to_string(),
                alert.due_at.to_string(),
                seen.unwrap_or_else(|| waits.into()),
            ]);
        }
        Ok((table.to_string(), 0))
    }

    async fn prove_reading(
        &self,
        patient: &PatientActor,
        member: Address,
        sequence: u64,
        chosen: Option<(usize, std::path::PathBuf)>,
    ) -> Output {
        let hospital = self.gateway("hospital")?;
        let anchored = device::anchored(hospital, member, Some(sequence)).await?;
        let batch = anchored.first().ok_or("the device has no such batch")?;
        let (steward, anchor) = self.anchor(device::batch_record(member, batch.root)).await?;
        let body = record::verify(steward, patient, &anchor).await?;
        let readings = ReadingsRecord::parse(&body)?;
        let Some((number, out)) = chosen else {
            let mut table = Table::new(&["reading", "time", "metric", "value"], &[0, 3]);
            for (index, reading) in readings.readings().enumerate() {
                let metric = Metric::find(&reading.metric).map_or("", |metric| &metric.name);
                table.row(vec![
                    (index + 1).to_string(),
                    reading.time.to_string(),
                    metric.into(),
                    format!("{} {}", reading.value, reading.unit),
                ]);
            }
            return Ok((table.to_string(), 0));
        };
        let proven = number.checked_sub(1).and_then(|index| readings.prove(index));
        let proof = proven.ok_or("there is no such reading; they are counted from 1")?;
        self.put_file(&out, &serde_json::to_vec_pretty(&proof)?)?;
        Ok((format!("wrote {}: {} hashes\n", out.display(), proof.proof.len()), 0))
    }

    async fn verify_reading(&self, machines: &Machines, path: &Path) -> Output {
        let proof: ReadingProof = serde_json::from_slice(&self.bytes_of(path)?)
            .map_err(|_| "the file is no proof of a reading")?;
        let holds = device::verify(self.gateway("hospital")?, &proof).await?;
        let device =
            machines.name_of(proof.device).map_or_else(|| proof.device.to_string(), str::to_owned);
        let text = format!(
            "{} {} of {} at {}: {} batch {} of device {device}\n",
            proof.reading.value,
            proof.reading.unit,
            proof.reading.metric,
            proof.reading.time,
            if holds { "in" } else { "NOT in" },
            proof.sequence,
        );
        Ok((text, u8::from(!holds)))
    }

    async fn simulate(&self, machines: &Machines, options: SimulateOptions) -> Output {
        let (hospital, maker) = (self.gateway("hospital")?, self.gateway("maker")?);
        let model = machines.model(&options.firmware.model);
        let firmware = "1.0";
        let mut steps: Vec<Step> = Vec::new();
        if !device::is_accepted(maker, &model, firmware).await? {
            steps.push(device::accept_firmware(maker, &model, firmware).await?);
        }
        let patients = self.consortium.patients.all();
        let patients: Vec<&PatientActor> = patients.iter().map(|patient| &**patient).collect();
        let started = std::time::Instant::now();
        let settings = Settings {
            seed: options.seed,
            devices: options.devices,
            model,
            firmware: firmware.into(),
            plan: Plan::usual(&["heart-rate", "oxygen-saturation"], 1)?,
            terms: Terms { until: self.now().after(SIMULATED), gap: 3_600 },
            out_of_range: options.out_of_range,
        };
        let secret = machines.simulation();
        let mut simulation = Simulation::new(secret, hospital, maker, &patients, settings)?;
        steps.extend(simulation.begin(self.now()).await?);
        let mut text = format!(
            "{} devices at {} patients: {} transactions, {:.1} s\n",
            thousands(options.devices as u64),
            patients.len(),
            thousands(steps.len() as u64),
            started.elapsed().as_secs_f64(),
        );
        let mut table = Table::new(
            &["round", "batches", "readings", "alerts", "waiting", "seconds"],
            &[0, 1, 2, 3, 4, 5],
        );
        for round in 1..=options.rounds {
            let ready = self.now().after(Duration::from_secs(options.samples as u64));
            while self.now() < ready {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let started = std::time::Instant::now();
            let (tally, done) = simulation.round(options.samples, self.now()).await?;
            let Tally { batches, readings, alerts, waiting } = tally;
            table.row(vec![
                round.to_string(),
                thousands(batches),
                thousands(readings),
                thousands(alerts),
                thousands(waiting),
                format!("{:.1}", started.elapsed().as_secs_f64()),
            ]);
            steps.extend(done);
        }
        text += &table.to_string();
        let gas: u64 = steps.iter().map(|step| step.gas_used).sum();
        let _ = writeln!(text, "{} gas in all", thousands(gas));
        Ok((text, 0))
    }

    fn bytes_of(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let failed = |error| format!("could not read {}: {error}", path.display());
        Ok(std::fs::read(self.directory.join(path)).map_err(failed)?)
    }

    fn put_file(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed = |error| format!("could not write {}: {error}", path.display());
        Ok(std::fs::write(self.directory.join(path), bytes).map_err(failed)?)
    }
}

/// For how long, by what was typed.
fn terms(now: Timestamp, days: u64, gap: Option<u32>) -> Result<Terms, Error> {
    let usual = u32::try_from(device::usual_gap().as_secs())?;
    let until = now.after(Duration::from_secs(days.saturating_mul(86_400)));
    Ok(Terms { until, gap: gap.unwrap_or(usual) })
}

/// What is ordered, by what was typed.
fn parse_plan(typed: &DevicePlan, doctor: &str) -> Result<Plan, Error> {
    let own = |range: &String| -> Result<(String, Limit), Error> {
        let wrong = || format!("{range} is no METRIC=LOW..HIGH");
        let (metric, bounds) = range.split_once('=').ok_or_else(wrong)?;
        let (low, high) = bounds.split_once("..").ok_or_else(wrong)?;
        let bound = |text: &str| Measured::parse(text).ok_or_else(wrong);
        let source = format!("as ordered by the {doctor}");
        Ok((metric.into(), Limit::of(metric, bound(low)?, bound(high)?, source)?))
    };
    let own: Vec<(String, Limit)> = typed.ranges.iter().map(own).collect::<Result<_, _>>()?;
    let usual = typed.metrics.iter().filter(|metric| own.iter().all(|(name, _)| name != *metric));
    let usual: Vec<Limit> = usual.map(|metric| Limit::usual(metric)).collect::<Result<_, _>>()?;
    let limits = usual.into_iter().chain(own.into_iter().map(|(_, limit)| limit)).collect();
    Ok(Plan::new(limits, typed.period)?)
}

/// What was measured, in the order of the plan.
fn parse_series(plan: &Plan, values: &[String]) -> Result<Vec<Samples>, Error> {
    let samples = |limit: &Limit| -> Result<Samples, Error> {
        let metric = limit.metric();
        let of = |text: &&String| {
            let name = text.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| name == metric.name || name == metric.loinc)
        };
        let missing = || format!("--values {}=… is missing: it was ordered", metric.name);
        let text = values.iter().find(of).ok_or_else(missing)?;
        let (_, list) = text.split_once('=').unwrap_or_default();
        let value = |text: &str| match text {
            "" => Ok(None),
            text => Measured::parse(text)
                .map(Some)
                .ok_or("a value is a number with up to three digits after the point"),
        };
        let values = list.split(',').map(value).collect::<Result<_, _>>()?;
        Ok(Samples { metric: metric.loinc.clone(), values })
    };
    plan.limits().iter().map(samples).collect()
}
