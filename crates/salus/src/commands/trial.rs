//! `salus trial`: who does what is fixed here, unless `--as` says.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use alloy_primitives::{B256, U256};
use domain::Timestamp;
use workflows::{
    Gateway, Person, Step, WorkflowError,
    trial::{
        self, AdverseEvent, Agreement, Dossier, Finding, Item, Nonce, Outcome, Protocol, Results,
        Seed, Seeds, Standing,
    },
};

use super::{Commands, Output, step_text};
use crate::{Error, cli::TrialCommand};

/// A protocol to begin with.
pub(crate) const TRIAL_EXAMPLE: &str = include_str!("../../demo/trial.json");

impl Commands<'_> {
    pub(super) async fn trial(&self, command: TrialCommand) -> Output {
        let now = self.now();
        let steps = match command {
            TrialCommand::Example => return Ok((TRIAL_EXAMPLE.into(), 0)),
            TrialCommand::Register { protocol, out, by } => {
                let protocol = self.protocol(&protocol)?;
                let (sponsor, researcher) = self.at_work(&by)?;
                let step = trial::register(sponsor, researcher, &protocol, None);
                return self.written(&out, step).await;
            }
            TrialCommand::Approve { document, by } => {
                let dossier = self.dossier(&document)?;
                let (regulator, auditor) = self.at_work(&by)?;
                vec![trial::approve(regulator, auditor, &dossier, None).await?]
            }
            TrialCommand::Invite { id, site, by } => {
                let site = self.gateway(&site)?.member();
                let (sponsor, researcher) = self.at_work(&by)?;
                vec![trial::invite(sponsor, researcher, id, site).await?]
            }
            TrialCommand::Join { id, at } => vec![trial::join(self.gateway(&at)?, id).await?],
            TrialCommand::Amend { document, protocol, out, by } => {
                let (dossier, protocol) = (self.dossier(&document)?, self.protocol(&protocol)?);
                let (sponsor, researcher) = self.at_work(&by)?;
                let step = trial::propose_amendment(sponsor, researcher, &dossier, &protocol);
                return self.written(&out, step).await;
            }
            TrialCommand::ApproveAmendment { document, by } => {
                let dossier = self.dossier(&document)?;
                let (regulator, auditor) = self.at_work(&by)?;
                vec![trial::approve_amendment(regulator, auditor, &dossier).await?]
            }
            TrialCommand::Consent { patient, document, site } => {
                return self.consent_to_trial(&patient, &document, &site).await;
            }
            TrialCommand::FileConsent { patient, document, by } => {
                let (patient, dossier) = (self.patient(&patient)?, self.dossier(&document)?);
                let (site, person) = self.at_work(&by)?;
                vec![trial::file_consent(site, person, &patient, &dossier, now).await?.1]
            }
            TrialCommand::Screen { patient, document, answers, by } => {
                let (patient, dossier) = (self.patient(&patient)?, self.dossier(&document)?);
                let (site, person) = self.at_work(&by)?;
                let answers = parse_answers(&answers)?;
                trial::screen(site, person, &patient, &dossier, &answers, now).await?.steps
            }
            TrialCommand::Open { patient, id, nonce } => {
                let (patient, relay) = (self.patient(&patient)?, self.gateway("hospital")?);
                let nonce = nonce.map_or_else(|| Nonce::derive(&patient, id), Nonce::from_bytes);
                vec![trial::open_nonce(relay, &patient, id, &nonce, now).await?]
            }
            TrialCommand::Allocate { patient, id, by } => {
                let account = self.patient(&patient)?.account();
                let (site, pharmacist) = self.at_work(&by)?;
                let mut steps = Vec::from_iter(trial::enter_key(site, pharmacist, now).await?);
                let seeds = self.seeds(site, pharmacist, id).await?;
                let made = seeds.allocation(site, pharmacist, account).await?;
                let allocated = trial::allocate(site, pharmacist, id, account, made.commitment);
                steps.push(allocated.await?);
                steps
            }
            TrialCommand::Visit { patient, id, items, by } => {
                let (patient, items) = (self.patient(&patient)?, parse_items(&items)?);
                let (site, person) = self.at_work(&by)?;
                trial::enter(site, person, &patient, id, &items, now).await?.1
            }
            TrialCommand::Unblind { patient, id, reason, by } => {
                let patient = self.patient(&patient)?;
                let (site, physician) = self.at_work(&by)?;
                let pharmacist = self.person("dispenser")?;
                let mut steps = Vec::from_iter(trial::enter_key(site, pharmacist, now).await?);
                steps.extend(trial::unblind(site, physician, &patient, id, &reason, now).await?.1);
                let seeds = self.seeds(site, pharmacist, id).await?;
                let arm = seeds.tell(site, physician, patient.account()).await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("{text}the dispenser tells {by}: arm {arm}\n"), 0));
            }
            TrialCommand::Event(event) => {
                let patient = self.patient(&event.patient)?;
                let (site, person) = self.at_work(&event.by)?;
                let ago = event.minutes_ago.saturating_mul(60);
                let what = AdverseEvent {
                    what: event.what,
                    is_serious: event.serious,
                    aware_at: Timestamp(now.0.saturating_sub(ago)),
                };
                let reported =
                    trial::report_adverse_event(site, person, &patient, event.id, &what, now)
                        .await?;
                let text = reported.steps.iter().map(step_text).collect::<String>();
                return Ok((format!("adverse event {}\n{text}", reported.number), 0));
            }
            TrialCommand::Acknowledge { id, number, by } => {
                let (sponsor, researcher) = self.at_work(&by)?;
                vec![trial::acknowledge(sponsor, researcher, id, number).await?]
            }
            TrialCommand::Lock { id, by } => {
                let (sponsor, researcher) = self.at_work(&by)?;
                vec![trial::lock(sponsor, researcher, id).await?.1]
            }
            TrialCommand::Reveal { id, by } => {
                let (party, person) = self.at_work(&by)?;
                vec![trial::reveal(party, person, id, None).await?]
            }
            TrialCommand::Publish { document, outcomes, out, by } => {
                return self.publish_results(&document, outcomes, &out, &by).await;
            }
            TrialCommand::Withdraw { patient, id, with_data } => {
                let (patient, relay) = (self.patient(&patient)?, self.gateway("hospital")?);
                vec![trial::withdraw(relay, &patient, id, !with_data, now).await?]
            }
            TrialCommand::Stop { id, reason, by } => {
                let (gateway, person) = self.at_work(&by)?;
                let (salt, step) = trial::stop(gateway, person, id, &reason).await?;
                let text = step_text(&step);
                return Ok((format!("{text}the salt of the reason: {salt}\n"), 0));
            }
            TrialCommand::Show { id } => return self.show_trial(id).await,
            TrialCommand::Check { document, results } => {
                return self.check_trial(&document, results.as_deref()).await;
            }
        };
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let read = fs::read(self.directory.join(path));
        Ok(read.map_err(|error| format!("could not read {}: {error}", path.display()))?)
    }

    /// Takes a step whose outcome goes to a new file, which is made before: what is there already may hold salts
    /// that are nowhere else, and is not written over.
    async fn kept_in<T>(
        &self,
        path: &Path,
        step: impl Future<Output = Result<T, WorkflowError>>,
        bytes: impl FnOnce(&T) -> Vec<u8>,
    ) -> Result<T, Error> {
        let (place, shown) = (self.directory.join(path), path.display());
        let made = File::create_new(&place);
        let mut file = made.map_err(|error| format!("could not make {shown}: {error}"))?;
        match step.await {
            Ok(done) => {
                let written = file.write_all(&bytes(&done)).and_then(|()| file.sync_all());
                written.map_err(|error| format!("could not write {shown}: {error}"))?;
                Ok(done)
            }
            Err(error) => {
                // Nothing is in it.
                let _ = fs::remove_file(&place);
                Err(error.into())
            }
        }
    }

    fn protocol(&self, path: &Path) -> Result<Protocol, Error> {
        let read = serde_json::from_slice(&self.read_file(path)?);
        Ok(read.map_err(|error| format!("{} is no protocol: {error}", path.display()))?)
    }

    fn dossier(&self, path: &Path) -> Result<Dossier, Error> {
        Ok(Dossier::read(&self.read_file(path)?)?)
    }

    async fn written(
        &self,
        out: &Path,
        step: impl Future<Output = Result<(Dossier, Step), WorkflowError>>,
    ) -> Output {
        let (dossier, step) = self.kept_in(out, step, |(dossier, _)| dossier.to_bytes()).await?;
        let text = step_text(&step);
        let (id, version, out) = (dossier.trial, dossier.version, out.display());
        Ok((format!("trial {id}\n{text}wrote version {version} to {out}\n"), 0))
    }

    /// Nobody consents to a document that is not the one in force.
    async fn consent_to_trial(&self, patient: &str, document: &Path, site: &str) -> Output {
        let (patient, dossier) = (self.patient(patient)?, self.dossier(document)?);
        let (relay, now) = (self.gateway("hospital")?, self.now());
        let differences = trial::check(relay, &dossier, None).await?;
        if !differences.is_empty() {
            return Ok((differences_text(&differences), 1));
        }
        let id = dossier.trial;
        let nonce = Nonce::derive(&patient, id);
        let agreement = Agreement {
            site: self.gateway(site)?.member(),
            version: dossier.version,
            commitment: nonce.commitment(),
        };
        let step = trial::consent(relay, &patient, id, &agreement, now).await?;
        Ok((step_text(&step), 0))
    }

    /// Both seeds as they come to a pharmacist: sealed to the key that they entered in the registry.
    async fn seeds(&self, site: &Gateway, pharmacist: &Person, id: B256) -> Result<Seeds, Error> {
        let (_, held) = trial::trial_of(site, id).await?;
        let (network, now) = (site.gatekeeper.domain(), self.now());
        let mut seeds = Vec::new();
        for member in [held.sponsor, held.custodian] {
            let party = self.consortium.institutions().find(|party| party.member() == member);
            let party = party.ok_or("sponsor and regulator are not both of this consortium")?;
            let seed = Seed::derive(party, id);
            let sealed = seed.seal_for(party, id, pharmacist.member, now).await?;
            seeds.push(Seed::open(&pharmacist.secret, network, (id, member), &sealed)?);
        }
        let [sponsor, custodian] = <[Seed; 2]>::try_from(seeds).map_err(|_| "there are two")?;
        Ok(Seeds::gather(site, id, sponsor, custodian).await?)
    }

    async fn publish_results(
        &self,
        document: &Path,
        outcomes: Vec<String>,
        out: &Path,
        by: &str,
    ) -> Output {
        let dossier = self.dossier(document)?;
        let (sponsor, researcher) = self.at_work(by)?;
        let endpoints = dossier.endpoints();
        if endpoints.len() != outcomes.len() {
            let count = endpoints.len();
            return Err(
                format!("the protocol has {count} endpoints: one --outcome for each").into()
            );
        }
        let outcomes = endpoints
            .into_iter()
            .zip(outcomes)
            .map(|(endpoint, result)| Outcome { endpoint: endpoint.into(), result })
            .collect();
        let step = trial::publish(sponsor, researcher, &dossier, outcomes);
        let (_, step) = self.kept_in(out, step, |(results, _)| results.to_bytes()).await?;
        let text = step.as_ref().map_or_else(|| "published before\n".into(), step_text);
        Ok((format!("{text}wrote the results to {}\n", out.display()), 0))
    }

    async fn show_trial(&self, id: B256) -> Output {
        let gateway = self.gateway("hospital")?;
        let (state, held) = trial::trial_of(gateway, id).await?;
        let name = |address| self.consortium.name_of(address);
        let mut text = format!(
            "{}: {} arms, version {} of the protocol, by {}",
            state.name(),
            held.arms,
            held.version,
            name(held.sponsor),
        );
        if !held.custodian.is_zero() {
            let _ = write!(text, ", approved by {}", name(held.custodian));
        }
        if held.pendingVersion != 0 {
            let _ = write!(text, "; version {} is asked for", held.pendingVersion);
        }
        let _ = writeln!(text, "\n  {} enrolled, {} entries", held.enrolled, held.entries);
        for patient in self.consortium.patients.all() {
            let (standing, subject) = trial::subject_of(gateway, id, patient.account()).await?;
            if standing == Standing::None {
                continue;
            }
            let _ = writeln!(
                text,
                "  {} {} at {}, version {}, {} visits{}{}",
                patient.name,
                standing.name(),
                name(subject.site),
                subject.version,
                subject.visits,
                if subject.allocation.is_zero() { "" } else { ", arm committed to" },
                if subject.unblinded { ", unblinded" } else { "" },
            );
        }
        let mut number = U256::ZERO;
        for (event, reported_at) in trial::adverse_events(gateway, id).await? {
            let overdue = trial::is_overdue(gateway, id, number).await?;
            let _ = writeln!(
                text,
                "  adverse event {number} of {}, reported {reported_at}{}{}{}{}",
                name(event.patient),
                if event.serious { ", serious" } else { "" },
                if event.late { ", late" } else { "" },
                if event.acknowledged { ", acknowledged" } else { "" },
                if overdue { ", OVERDUE" } else { "" },
            );
            number += U256::ONE;
        }
        Ok((text, 0))
    }

    async fn check_trial(&self, document: &Path, results: Option<&Path>) -> Output {
        let dossier = self.dossier(document)?;
        let results = match results {
            Some(path) => Some(Results::read(&self.read_file(path)?)?),
            None => None,
        };
        let gateway = self.gateway("hospital")?;
        let differences = trial::check(gateway, &dossier, results.as_ref()).await?;
        Ok((differences_text(&differences), u8::from(!differences.is_empty())))
    }
}

fn differences_text(differences: &[trial::Difference]) -> String {
    if differences.is_empty() {
        return "as it was fixed on chain\n".into();
    }
    differences.iter().map(|difference| format!("DIFFERS: {difference}\n")).collect()
}

fn parse_answers(answers: &[String]) -> Result<Vec<(&str, bool)>, Error> {
    let parsed = answers.iter().map(|answer| match answer.split_once('=') {
        Some((key, "yes")) => Some((key, true)),
        Some((key, "no")) => Some((key, false)),
        _ => None,
    });
    let parsed: Option<Vec<_>> = parsed.collect();
    parsed.ok_or_else(|| "an answer is CRITERION=yes or CRITERION=no".into())
}

fn parse_items(items: &[String]) -> Result<Vec<Item>, Error> {
    let parsed = items.iter().map(|item| {
        let (key, found) = item.split_once('=')?;
        let measured = found.split_once(':').and_then(|(value, unit)| {
            let value = value.parse().ok()?;
            Some(Finding::Quantity { value, unit: unit.into() })
        });
        let finding = measured.unwrap_or_else(|| Finding::Text(found.into()));
        Some(Item { key: key.into(), text: key.into(), finding })
    });
    let parsed: Option<Vec<_>> = parsed.collect();
    parsed.ok_or_else(|| "an item is ITEM=TEXT or ITEM=NUMBER:UNIT".into())
}
