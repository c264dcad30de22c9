//! What the commands other than `up` do on a consortium.

mod claim;
mod device;
mod emergency;
mod messages;
mod research;
mod show;
mod surgery;
mod trial;
mod waitlist;

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use alloy_primitives::{Address, B256};
use bindings::Contract;
use domain::{
    Anchor, Kind, KindSet, Period, Purpose, PurposeSet, RecordId, RecordVersion, RelationshipState,
    Terms, Timestamp,
};
use gatekeeper::{Actor, Report, Timeline};
use serde_json::json;
use vault::Listing;
use workflows::{
    Gateway, PatientActor, Person, Step,
    access::{self, Wanted},
    consent, laboratory, prescription,
    record::{self, Draft, Verdict},
};

use crate::{
    Error,
    cli::{
        CareCommand, Command, ConsentCommand, Day, LabCommand, LabVersion, RecordsCommand,
        RxCommand, TxCommand,
    },
    consortium::Consortium,
    gateway,
    machines::Machines,
    story::outcome_text,
    table::{Table, short, thousands},
    tx,
};

pub(crate) use trial::TRIAL_EXAMPLE;

/// What a command printed, and its exit code.
type Output = Result<(String, u8), Error>;

/// How many steps or receipts are shown.
const LINES: usize = 1_000;

/// Carries out a command that was typed in `directory`, with `input` piped into it.
pub(crate) async fn execute(
    consortium: &Consortium,
    command: Command,
    directory: &Path,
    input: &[u8],
) -> Output {
    let commands = Commands { consortium, directory, input };
    match command {
        Command::Up(_)
        | Command::Gateway(_)
        | Command::PatientNode(_)
        | Command::Verify(_)
        | Command::Simulate(_)
        | Command::Study(_) => Err("this command runs by itself".into()),
        Command::Token { who, at } => Ok((gateway::token(consortium, &who, &at).await? + "\n", 0)),
        Command::Who => Ok((commands.who(), 0)),
        Command::Sign { who, digest } => commands.sign(&who, digest).await,
        Command::Relate { patient, institution, countersigned } => {
            commands.relate(&patient, &institution, countersigned).await
        }
        Command::Care(command) => commands.care(command).await,
        Command::Records(command) => commands.records(command).await,
        Command::Consent(command) => commands.consent(command).await,
        Command::Rx(command) => commands.rx(command).await,
        Command::Lab(command) => commands.lab(command).await,
        Command::Emergency(command) => commands.emergency(command).await,
        Command::Surgery(command) => commands.surgery(command).await,
        Command::Trial(command) => commands.trial(command).await,
        Command::Device(command) => commands.device(command).await,
        Command::Waitlist(command) => commands.waitlist(command).await,
        Command::Claim(command) => commands.claim(command).await,
        Command::Research(command) => commands.research(command).await,
        Command::Timeline { subject } => commands.timeline(&subject).await,
        Command::Log { patient, at } => commands.log(&patient, &at).await,
        Command::Reconcile { at, json } => commands.reconcile(at.as_deref(), json).await,
        Command::Tx(TxCommand::Pending) => Ok((tx::pending(consortium), 0)),
        Command::Tx(TxCommand::Show { hash }) => Ok((tx::show(consortium, hash).await?, 0)),
    }
}

struct Commands<'a> {
    consortium: &'a Consortium,
    directory: &'a Path,
    input: &'a [u8],
}

impl<'a> Commands<'a> {
    fn now(&self) -> Timestamp {
        self.consortium.now()
    }

    fn patient(&self, name: &str) -> Result<Arc<PatientActor>, Error> {
        let unknown = || format!("there is no patient {name}; `salus who` lists them");
        Ok(self.consortium.patients.find(name).ok_or_else(unknown)?)
    }

    fn gateway(&self, name: &str) -> Result<&'a Gateway, Error> {
        let unknown = || format!("there is no institution {name}; `salus who` lists them");
        Ok(self.consortium.find_institution(name).ok_or_else(unknown)?)
    }

    fn person(&self, name: &str) -> Result<&'a Person, Error> {
        let unknown = || format!("there is no person {name}; `salus who` lists them");
        Ok(self.consortium.find_person(name).ok_or_else(unknown)?)
    }

    /// The member address of an institution or a person.
    fn reader(&self, name: &str) -> Result<Address, Error> {
        if let Some(gateway) = self.consortium.find_institution(name) {
            return Ok(gateway.member());
        }
        Ok(self.person(name)?.member)
    }

    fn who(&self) -> String {
        let mut table = Table::new(&["who", "role", "address"], &[]);
        for gateway in self.consortium.institutions() {
            let role = gateway.role.to_string();
            table.row(vec![gateway.name.clone(), role, gateway.member().to_string()]);
            for (institution, person) in self.consortium.people() {
                if institution == gateway.name {
                    let (name, role) = (format!("  {}", person.name), person.role.to_string());
                    table.row(vec![name, role, person.member.to_string()]);
                }
            }
        }
        for patient in self.consortium.patients.all() {
            let account = patient.account().to_string();
            table.row(vec![patient.name.clone(), "patient".into(), account]);
        }
        table.to_string()
    }

    /// What `POST /api/steps/{id}` takes.
    async fn sign(&self, who: &str, digest: B256) -> Output {
        let said = if let Some(patient) = self.consortium.patients.find(who) {
            let key = patient.patient.key().ok_or("the patient's key is not here")?;
            let signer = key.signer(self.consortium.deployment.address(Contract::WebAuthnVerifier));
            json!({
                "digest": digest,
                "authorisation": { "signer": signer, "signature": key.sign(digest) },
            })
        } else {
            let signature = self.person(who)?.sender.sign_hash(&digest).await?;
            let signature = alloy_primitives::hex::encode_prefixed(signature.as_bytes());
            json!({ "digest": digest, "signature": signature })
        };
        Ok((format!("{said}\n"), 0))
    }

    async fn relate(&self, patient: &str, institution: &str, countersigned: bool) -> Output {
        let (patient, steward) = (self.patient(patient)?, self.gateway(institution)?);
        steward.gatekeeper.refresh(self.now()).await?;
        let steps = self.consortium.relate(steward, &[patient], countersigned).await?;
        if steps.is_empty() {
            return Ok(("there is a relationship already\n".into(), 0));
        }
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    async fn care(&self, command: CareCommand) -> Output {
        let place = |patient: &str, person: &str| -> Result<_, Error> {
            let (patient, person) = (self.patient(patient)?, self.person(person)?);
            let mut people = self.consortium.people();
            let found = people.find(|(_, found)| found.member == person.member);
            let (institution, _) = found.ok_or("everybody here acts for an institution")?;
            Ok((self.gateway(institution)?, patient.account(), person.member))
        };
        match command {
            CareCommand::Join { patient, person } => {
                let (gateway, account, member) = place(&patient, &person)?;
                let keeper = &gateway.gatekeeper;
                keeper.refresh(self.now()).await?;
                let held = {
                    let projection = keeper.projection().await;
                    let held = projection.consents.relationship(account, gateway.member());
                    held.and_then(|held| held.state)
                };
                if held != Some(RelationshipState::Active) {
                    let name = &gateway.name;
                    return Err(format!(
                        "{patient} has no active relationship with the {name}; `salus relate` makes one"
                    )
                    .into());
                }
                keeper.join_care_team(account, member, self.now()).await?;
                Ok((format!("{person} cares for {patient} at the {}\n", gateway.name), 0))
            }
            CareCommand::Leave { patient, person } => {
                let (gateway, account, member) = place(&patient, &person)?;
                gateway.gatekeeper.leave_care_team(account, member).await?;
                Ok((format!("{person} cares for {patient} no more at the {}\n", gateway.name), 0))
            }
            CareCommand::List { patient, at } => {
                let (patient, gateway) = (self.patient(&patient)?, self.gateway(&at)?);
                let mut table = Table::new(&["who", "since"], &[]);
                for (member, since) in gateway.gatekeeper.care_team(patient.account()).await? {
                    table.row(vec![self.consortium.name_of(member), since.to_string()]);
                }
                Ok((table.to_string(), 0))
            }
        }
    }

    async fn records(&self, command: RecordsCommand) -> Output {
        match command {
            RecordsCommand::List { patient, at } => self.list_records(&patient, &at).await,
            RecordsCommand::Read { patient, reader, purpose, kinds, record, at, show } => {
                let kinds = kind_set(&kinds);
                let record = record.map(RecordId);
                self.read(&patient, &reader, purpose, kinds, record, &at, show).await
            }
            RecordsCommand::Propose { patient, file, author } => {
                let text = std::fs::read(self.directory.join(&file))
                    .map_err(|error| format!("could not read {}: {error}", file.display()))?;
                self.propose(&patient, &text, &author).await
            }
            RecordsCommand::Accept { patient, record } => {
                self.answer_record(&patient, record, Verdict::Accept).await
            }
            RecordsCommand::Reject { patient, record } => {
                self.answer_record(&patient, record, Verdict::Reject).await
            }
            RecordsCommand::Fetch { patient } => {
                let patient = self.patient(&patient)?;
                let mut table = Table::new(
                    &["from", "new copies", "bytes", "here already", "damaged"],
                    &[1, 2, 3, 4],
                );
                for (name, fetched) in self.consortium.fetch_copies(&patient).await? {
                    table.row(vec![
                        name,
                        thousands(fetched.records),
                        thousands(fetched.sealed_bytes),
                        thousands(fetched.kept_already),
                        thousands(fetched.unavailable),
                    ]);
                }
                Ok((table.to_string(), 0))
            }
            RecordsCommand::Export { record, version, at, out } => {
                let version =
                    RecordVersion::try_from(version).map_err(|_| "versions are counted from 1")?;
                let keeper = &self.gateway(&at)?.gatekeeper;
                keeper.refresh(self.now()).await?;
                let bundle = keeper.bundle(RecordId(record), version).await?;
                let bundle = bundle.ok_or("there is no such version, or it is not anchored")?;
                let path = self.directory.join(&out);
                std::fs::write(&path, serde_json::to_vec_pretty(&bundle)?)
                    .map_err(|error| format!("could not write {}: {error}", out.display()))?;
                let hash = bundle.check(&keeper.trusted_chain())?.block_hash;
                let text = format!("wrote {}\n  leads to block {hash}\n", out.display());
                Ok((text, 0))
            }
        }
    }

    async fn list_records(&self, patient: &str, at: &str) -> Output {
        let (patient, gateway) = (self.patient(patient)?, self.gateway(at)?);
        let keeper = &gateway.gatekeeper;
        keeper.refresh(self.now()).await?;
        let listing = Listing { patient: patient.account(), steward: None, kinds: KindSet::ALL };
        let entries = keeper.vault().list(&listing, None, LINES).await?;
        let projection = keeper.projection().await;
        let mut table =
            Table::new(&["record", "version", "kind", "state", "sealed bytes"], &[1, 4]);
        for entry in entries {
            let (record, version) = entry.key();
            let anchored = projection.records.anchor(entry.header.steward, record, version.get());
            let state = match anchored {
                _ if entry.is_erased => "erased".into(),
                Some(anchored) => anchored.state.to_string(),
                None => "in a batch".into(),
            };
            table.row(vec![
                record.to_string(),
                version.to_string(),
                entry.header.kind.to_string(),
                state,
                thousands(entry.sealed_len),
            ]);
        }
        Ok((table.to_string(), 0))
    }

    #[expect(clippy::too_many_arguments, reason = "each is an option of the command")]
    async fn read(
        &self,
        patient: &str,
        reader: &str,
        purpose: Purpose,
        kinds: KindSet,
        record: Option<RecordId>,
        at: &str,
        show: bool,
    ) -> Output {
        let (patient, gateway) = (self.patient(patient)?, self.gateway(at)?);
        let (keeper, now) = (&gateway.gatekeeper, self.now());
        let (answered, receipt) = if patient.name.eq_ignore_ascii_case(reader) {
            access::ask_as_patient(keeper, &patient, kinds, now).await?
        } else {
            let wanted = Wanted { patient: patient.account(), kinds, record, purpose };
            access::ask(keeper, self.person(reader)?, &wanted, now).await?
        };
        let mut text = String::new();
        let mut table = Table::new(&["record", "version", "kind", "state", "bytes"], &[1, 4]);
        for record in &answered.records {
            table.row(vec![
                record.record.to_string(),
                record.version.to_string(),
                record.kind.to_string(),
                record.state.to_string(),
                thousands(record.body.get().len() as u64),
            ]);
        }
        text += &table.to_string();
        for record in &answered.unavailable {
            let _ = writeln!(text, "  {record} does not open; `salus reconcile` says why");
        }
        if show {
            for record in &answered.records {
                let _ = writeln!(text, "{}", record.body);
            }
        }
        let _ = writeln!(text, "receipt {}: {}", receipt.sequence, outcome_text(&receipt.outcome));
        Ok((text, 0))
    }

    async fn propose(&self, patient: &str, text: &[u8], author: &str) -> Output {
        let patient = self.patient(patient)?;
        let author = self.person(author)?;
        let resource: serde_json::Value = serde_json::from_slice(text)
            .map_err(|error| format!("the file is not JSON: {error}"))?;
        let resource_type = resource["resourceType"].as_str().unwrap_or_default();
        let kind = Kind::of_resource(resource_type, &[], &[])
            .ok_or("the file holds no FHIR resource about a patient")?;
        let hospital = self.gateway("hospital")?;
        let draft = Draft { kind, resource };
        let (anchor, step) =
            record::propose(hospital, author, &patient, &draft, self.now()).await?;
        Ok((format!("record {}\n{}", anchor.record, step_text(&step)), 0))
    }

    async fn answer_record(&self, patient: &str, record: B256, verdict: Verdict) -> Output {
        let patient = self.patient(patient)?;
        let (gateway, anchor) = self.anchor(RecordId(record)).await?;
        let mut text = String::new();
        if verdict == Verdict::Accept {
            let body = record::verify(gateway, &patient, &anchor).await?;
            let _ = writeln!(text, "{} opens it: {} bytes", patient.name, body.len());
        }
        let step = record::answer(gateway, &patient, &anchor, verdict, self.now()).await?;
        text += &step_text(&step);
        Ok((text, 0))
    }

    /// The newest anchor of a record that stands by itself, and who keeps it.
    async fn anchor(&self, id: RecordId) -> Result<(&'a Gateway, Anchor), Error> {
        for gateway in self.consortium.institutions() {
            if let Some(anchor) = record::newest(gateway, id, self.now()).await? {
                return Ok((gateway, anchor));
            }
        }
        Err(format!("no record {id} stands by itself at any institution here").into())
    }

    async fn consent(&self, command: ConsentCommand) -> Output {
        let hospital = self.gateway("hospital")?;
        let now = self.now();
        match command {
            ConsentCommand::List { patient } => self.list_consents(&patient).await,
            ConsentCommand::Grant { patient, reader, kinds, purposes, days, record } => {
                let patient = self.patient(&patient)?;
                let period = Duration::from_secs(days.saturating_mul(86_400));
                let terms = Terms {
                    period: Period::new(now, now.after(period))?,
                    kinds: kind_set(&kinds),
                    purposes: purposes.into_iter().collect::<PurposeSet>(),
                };
                let reader = self.reader(&reader)?;
                let record = record.map(RecordId);
                let (version, step) =
                    consent::grant(hospital, &patient, reader, record, &terms, now).await?;
                Ok((format!("{}  version {version}\n", step_text(&step)), 0))
            }
            ConsentCommand::Countersign { patient, reader, at, record } => {
                let (patient, steward) = (self.patient(&patient)?, self.gateway(&at)?);
                let (reader, record) = (self.reader(&reader)?, record.map(RecordId));
                steward.gatekeeper.refresh(now).await?;
                let version = {
                    let projection = steward.gatekeeper.projection().await;
                    let grants = projection.consents.grants(patient.account());
                    let found = grants
                        .iter()
                        .find(|grant| grant.reader == reader && grant.record == record);
                    found.ok_or("there is no such consent")?.version
                };
                let account = patient.account();
                let step = consent::countersign(steward, account, reader, record, version).await?;
                Ok((step_text(&step), 0))
            }
            ConsentCommand::Revoke { patient, reader, record } => {
                let patient = self.patient(&patient)?;
                let (reader, record) = (self.reader(&reader)?, record.map(RecordId));
                let granted =
                    consent::is_granted(hospital, patient.account(), reader, record, now).await;
                // Whoever cannot be told that there is none can take it back in any case.
                if matches!(granted, Ok(false)) {
                    let text = "there is no such consent, or it was taken back already\n";
                    return Ok((text.into(), 0));
                }
                let step = consent::revoke(hospital, &patient, reader, record, now).await?;
                Ok((step_text(&step), 0))
            }
        }
    }

    async fn list_consents(&self, patient: &str) -> Output {
        let patient = self.patient(patient)?;
        let keeper = &self.gateway("hospital")?.gatekeeper;
        keeper.refresh(self.now()).await?;
        let projection = keeper.projection().await;
        let head = ["reader", "kinds", "purposes", "until", "record", "in force"];
        let mut table = Table::new(&head, &[]);
        for grant in projection.consents.grants(patient.account()) {
            let in_force = grant.terms.period.contains(self.now());
            table.row(vec![
                self.consortium.name_of(grant.reader),
                grant.terms.kinds.to_string(),
                grant.terms.purposes.to_string(),
                grant.terms.period.closes_at().to_string(),
                grant.record.map_or("all".into(), |record| record.to_string()),
                if in_force { "yes".into() } else { "no".into() },
            ]);
        }
        Ok((table.to_string(), 0))
    }

    async fn rx(&self, command: RxCommand) -> Output {
        let (hospital, pharmacy) = (self.gateway("hospital")?, self.gateway("pharmacy")?);
        let (physician, pharmacist) = (self.person("physician")?, self.person("pharmacist")?);
        let now = self.now();
        let steps = match command {
            RxCommand::Issue {
                patient,
                medicine,
                dosage,
                milligrams,
                times,
                quantity,
                fills,
                days,
                controlled,
                as_written,
                despite,
            } => {
                let patient = self.patient(&patient)?;
                if fills == 0 {
                    return Err("a prescription is filled at least once".into());
                }
                let dose = milligrams.map(|text| prescription::Dose::of_milligrams(&text, times));
                if dose == Some(None) {
                    return Err("a dose in milligrams is a number such as 2.5".into());
                }
                let order = prescription::Order {
                    medication: (String::new(), String::new(), medicine),
                    dosage,
                    dose: dose.flatten(),
                    quantity,
                    fills,
                    valid_for: Duration::from_secs(days.saturating_mul(86_400)),
                    controlled,
                    as_written,
                };
                order.require_sound()?;
                let account = patient.account();
                let known =
                    prescription::Known::read(hospital, physician.member, account, now).await?;
                let checked = match prescription::check(&order, &known, despite.as_deref()) {
                    Ok(checked) => checked,
                    Err(findings) => return Ok((findings_text(&findings), 1)),
                };
                let (anchor, mut steps) =
                    prescription::issue(hospital, physician, &patient, &checked, now).await?;
                if order.as_written {
                    let id = anchor.record.0;
                    steps.push(prescription::forbid_substitution(hospital, physician, id).await?);
                }
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("prescription {}\n{text}", anchor.record), 0));
            }
            RxCommand::Permit { patient, id, by } => {
                let patient = self.patient(&patient)?;
                let (_, anchor) = self.anchor(RecordId(id)).await?;
                let member = pharmacy.member();
                let mut steps = Vec::new();
                if by.as_deref() != Some("patient") {
                    steps.push(
                        prescription::permit_by_prescriber(hospital, physician, id, member).await?,
                    );
                }
                if by.as_deref() != Some("prescriber") {
                    steps.push(
                        prescription::permit_by_patient(hospital, &patient, &anchor, member, now)
                            .await?,
                    );
                }
                steps
            }
            RxCommand::Countersign { id } => {
                vec![prescription::countersign(hospital, self.person("surgeon")?, id).await?]
            }
            RxCommand::Claim { id } => vec![prescription::claim(pharmacy, pharmacist, id).await?],
            RxCommand::Release { id } => {
                vec![prescription::release(pharmacy, pharmacist, id).await?]
            }
            RxCommand::Substitute { patient, id, product, reason } => {
                let patient = self.patient(&patient)?;
                let substituted = prescription::substitute(
                    pharmacy, pharmacist, &patient, id, &product, &reason, now,
                );
                substituted.await?.1
            }
            RxCommand::Confirm { patient, id, fill } => {
                let patient = self.patient(&patient)?;
                vec![prescription::confirm_collection(pharmacy, &patient, id, fill, now).await?]
            }
            RxCommand::Dispense { patient, id, quantity, batch, expires: Day(expires) } => {
                let patient = self.patient(&patient)?;
                let product = prescription::Product { quantity, batch, expires };
                let dispensed =
                    prescription::dispense(pharmacy, pharmacist, &patient, id, &product, now);
                dispensed.await?.1
            }
            RxCommand::Cancel { id } => {
                vec![prescription::cancel(hospital, physician, id).await?]
            }
            RxCommand::Show { id } => return self.show_prescription(id).await,
        };
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    async fn lab(&self, command: LabCommand) -> Output {
        let (hospital, lab) = (self.gateway("hospital")?, self.gateway("laboratory")?);
        let (physician, scientist) = (self.person("physician")?, self.person("scientist")?);
        let now = self.now();
        let steps = match command {
            LabCommand::Order { patient, test } => {
                let patient = self.patient(&patient)?;
                let code = json!({ "text": test });
                let (anchor, steps) =
                    laboratory::order(hospital, physician, &patient, lab.member(), &code, now)
                        .await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("order {}\n{text}", anchor.record), 0));
            }
            LabCommand::Collect { id } => {
                let label = B256::from(lab.gatekeeper.entropy().bytes::<32>());
                vec![laboratory::collect(lab, scientist, id, label).await?]
            }
            LabCommand::Report { patient, id, result, critical } => {
                let patient = self.patient(&patient)?;
                let result = json!({ "valueString": result });
                let reported =
                    laboratory::report(lab, scientist, &patient, id, &result, critical, now);
                return Ok(result_text(&reported.await?));
            }
            LabCommand::TakeOver { patient, id, condition } => {
                let patient = self.patient(&patient)?;
                let taken = laboratory::take_over(lab, scientist, &patient, id, &condition, now);
                taken.await?.1
            }
            LabCommand::Custody { id } => {
                let mut table = Table::new(&["who", "record"], &[]);
                for hand in laboratory::custody(lab, id).await? {
                    let who = self.consortium.name_of(hand.by);
                    table.row(vec![who, hand.record.to_string()]);
                }
                return Ok((table.to_string(), 0));
            }
            LabCommand::Preliminary { patient, id, result, critical } => {
                let patient = self.patient(&patient)?;
                let result = json!({ "valueString": result });
                let version = laboratory::Version { result: &result, critical };
                let reported =
                    laboratory::report_preliminary(lab, scientist, &patient, id, version, now);
                return Ok(result_text(&reported.await?));
            }
            LabCommand::Final(LabVersion { patient, id, record, result, critical }) => {
                let patient = self.patient(&patient)?;
                let (_, previous) = self.anchor(RecordId(record)).await?;
                let result = json!({ "valueString": result });
                let version = laboratory::Version { result: &result, critical };
                let reported =
                    laboratory::report_final(lab, scientist, &patient, id, &previous, version, now);
                return Ok(result_text(&reported.await?));
            }
            LabCommand::Correct(LabVersion { patient, id, record, result, critical }) => {
                let patient = self.patient(&patient)?;
                let (_, previous) = self.anchor(RecordId(record)).await?;
                let result = json!({ "valueString": result });
                let version = laboratory::Version { result: &result, critical };
                let corrected =
                    laboratory::correct(lab, scientist, &patient, id, &previous, version, now);
                return Ok(result_text(&corrected.await?));
            }
            LabCommand::Register { patient, system, number } => {
                return self.register_number(&patient, &system, &number).await;
            }
            LabCommand::ImportHl7 { files, offset } => {
                return self.import_messages(&files, offset.as_deref()).await;
            }
            LabCommand::Escalate { id } => {
                vec![laboratory::escalate(hospital, physician, id).await?]
            }
            LabCommand::Cancel { id } => vec![laboratory::cancel(hospital, physician, id).await?],
            LabCommand::Release { id } => {
                let digest = self.result_at(lab, id).await?;
                vec![laboratory::release(lab, scientist, id, digest).await?]
            }
            LabCommand::Acknowledge { id } => {
                let digest = self.result_at(hospital, id).await?;
                vec![laboratory::acknowledge(hospital, physician, id, digest).await?]
            }
            LabCommand::Show { id } => return self.show_order(id).await,
        };
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    /// The version of a result that a gateway's people have before them.
    async fn result_at(&self, gateway: &Gateway, id: B256) -> Result<domain::RecordDigest, Error> {
        gateway.gatekeeper.refresh(self.now()).await?;
        let projection = gateway.gatekeeper.projection().await;
        let held = projection.workflows.lab_order(&id).ok_or("there is no such order")?;
        Ok(held.result.ok_or("there is no result yet")?)
    }

    async fn timeline(&self, subject: &str) -> Output {
        let keeper = &self.gateway("hospital")?.gatekeeper;
        keeper.refresh(self.now()).await?;
        let timeline = match (self.consortium.patients.find(subject), subject.parse::<B256>()) {
            (Some(patient), _) => keeper.patient_timeline(patient.account()).await?,
            (None, Ok(id)) => keeper.timeline(id).await?,
            (None, Err(_)) => {
                let named = Machines::open(self.consortium).await?.member(subject);
                let device = named.ok().or_else(|| subject.parse::<Address>().ok());
                let unknown = || format!("{subject} is neither a patient nor a device nor an id");
                keeper.timeline(device.ok_or_else(unknown)?.into_word()).await?
            }
        };
        if timeline.steps.is_empty() {
            return Err(format!(
                "nothing on chain is about {subject}; `salus timeline --help` says what can be asked for"
            )
            .into());
        }
        let code = u8::from(!timeline.is_checked());
        Ok((timeline_table(self.consortium, &timeline, LINES), code))
    }

    async fn log(&self, patient: &str, at: &str) -> Output {
        let (patient, gateway) = (self.patient(patient)?, self.gateway(at)?);
        let limit = u32::try_from(LINES)?;
        let receipts = gateway.gatekeeper.receipts_of(patient.account(), None, limit).await?;
        let mut table = Table::new(&["number", "time", "who", "purpose", "outcome"], &[0]);
        for stored in receipts {
            let receipt = stored.receipt;
            table.row(vec![
                receipt.sequence.to_string(),
                receipt.time.to_string(),
                self.consortium.name_of(receipt.requester),
                receipt.purpose.to_string(),
                outcome_text(&receipt.outcome),
            ]);
        }
        Ok((table.to_string(), 0))
    }

    async fn reconcile(&self, at: Option<&str>, json: bool) -> Output {
        let mut text = String::new();
        let mut reports = serde_json::Map::new();
        let mut code = 0;
        for gateway in self.consortium.institutions() {
            if at.is_some_and(|at| at != gateway.name) {
                continue;
            }
            let report = gateway.gatekeeper.reconcile(self.now()).await?;
            code |= u8::from(!report.is_clean());
            text += &report_text(&gateway.name, &report);
            reports.insert(gateway.name.clone(), serde_json::to_value(&report)?);
        }
        if reports.is_empty() {
            return Err("there is no such institution; `salus who` lists them".into());
        }
        if json {
            text = serde_json::to_string_pretty(&reports)? + "\n";
        }
        Ok((text, code))
    }
}

/// What reconciling an institution's vault found, for people.
pub(crate) fn report_text(name: &str, report: &Report) -> String {
    let mut text = format!(
        "{name}: {} versions, {} bytes, against {} anchors up to block {}: {}\n",
        thousands(report.versions),
        thousands(report.sealed_bytes),
        thousands(report.anchors),
        report.block,
        if report.is_clean() { "nothing differs" } else { "differences" },
    );
    if !report.is_clean() {
        text += &findings_table(report);
    }
    text
}

fn kind_set(kinds: &[Kind]) -> KindSet {
    if kinds.is_empty() { KindSet::ALL } else { kinds.iter().copied().collect() }
}

/// What stands against an order, for who prescribes.
fn findings_text(findings: &[prescription::Finding]) -> String {
    let lines = findings.iter().map(|finding| format!("  {finding}\n")).collect::<String>();
    format!("not issued; --despite REASON overrides what the checks found:\n{lines}")
}

/// Where a result is kept, and the steps that brought it there.
fn result_text((anchor, steps): &(Anchor, Vec<Step>)) -> (String, u8) {
    let text = steps.iter().map(step_text).collect::<String>();
    (format!("result {}\n{text}", anchor.record), 0)
}

fn step_text(step: &Step) -> String {
    format!(
        "{} {}\n  block {}, transaction {}, {} gas, {}\n",
        step.actor,
        step.what,
        step.block,
        step.transaction,
        thousands(step.gas_used),
        step.time,
    )
}

/// A timeline as a table: its newest `lines`.
pub(crate) fn timeline_table(consortium: &Consortium, timeline: &Timeline, lines: usize) -> String {
    let head = ["time", "block", "transaction", "contract", "who", "what", "checked"];
    let mut table = Table::new(&head, &[1]);
    let skipped = timeline.steps.len().saturating_sub(lines);
    for step in &timeline.steps[skipped..] {
        let who = match step.actor {
            Actor::Member(actor)
                if step.contract == "Devices" && step.subject == Some(actor.into_word()) =>
            {
                "the device".into()
            }
            Actor::Patient(actor) | Actor::Member(actor) => consortium.name_of(actor),
            Actor::Unknown => "—".into(),
        };
        table.row(vec![
            step.time.to_string(),
            step.block.to_string(),
            short(step.transaction),
            step.contract.into(),
            who,
            consortium.shorten(&step.what),
            if step.checked { "yes".into() } else { "NO".into() },
        ]);
    }
    let skipped = match skipped {
        0 => String::new(),
        skipped => format!("  ({} earlier steps)\n", thousands(skipped as u64)),
    };
    format!("{skipped}{table}")
}

/// What a reconciler found, as a table.
pub(crate) fn findings_table(report: &Report) -> String {
    let mut table = Table::new(&["finding", "record", "version", "anchored", "found"], &[2]);
    let digest = |digest: Option<domain::RecordDigest>| digest.map_or("—".into(), short);
    for finding in &report.findings {
        table.row(vec![
            finding.kind.to_string(),
            short(finding.subject),
            finding.version.to_string(),
            digest(finding.anchored),
            digest(finding.found),
        ]);
    }
    let mut text = if table.is_empty() { String::new() } else { table.to_string() };
    for finding in &report.log_findings {
        let _ = writeln!(text, "  access log: {finding:?}");
    }
    text
}

impl Consortium {
    /// A text with names in place of known addresses, and the rest of long hashes left out.
    pub(crate) fn shorten(&self, text: &str) -> String {
        let mut shortened = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("0x") {
            let (before, found) = rest.split_at(start);
            let digits = found[2..].bytes().take_while(u8::is_ascii_hexdigit).count();
            let (hash, after) = found.split_at(2 + digits);
            shortened += before;
            shortened += &match (digits, hash.parse::<Address>()) {
                (40, Ok(address)) => self.name_of(address),
                (64.., _) => short(hash),
                _ => hash.to_owned(),
            };
            rest = after;
        }
        shortened + rest
    }
}
