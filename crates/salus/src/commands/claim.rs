//! What the commands about claims and their money do.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use alloy_primitives::{Address, B256};
use domain::RecordId;
use workflows::{
    Gateway, PatientActor, WorkflowError,
    claim::{self, Adjudication, Cents, Filing, Item, Places, Reviewed, Source, Tariff, Terms},
    record,
};

use super::{Commands, Output, step_text};
use crate::{Error, cli::ClaimCommand, table::Table};

impl Commands<'_> {
    pub(super) async fn claim(&self, command: ClaimCommand) -> Output {
        let (insurer, now) = (self.gateway("insurer")?, self.now());
        let days = |days: u64| Duration::from_secs(days.saturating_mul(86_400));
        let steps = match command {
            ClaimCommand::Tariff => return Ok((tariff_text(), 0)),
            ClaimCommand::Offer { patient, plan, copayment, limit, days: count, by } => {
                let (patient, (_, author)) = (self.patient(&patient)?, self.at_work(&by)?);
                // A percentage with two digits after the point is so many hundredths.
                let copayment = u16::try_from(copayment.0).unwrap_or(u16::MAX);
                let until = now.after(days(count));
                let terms = Terms { plan, from: now, until, copayment, limit };
                if Tariff::demonstration().plan(&terms.plan).is_none() {
                    return Err(
                        "the tariff has no such plan; `salus claim tariff` lists them".into()
                    );
                }
                let (policy, steps) =
                    claim::offer_coverage(insurer, author, &patient, &terms, now).await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("coverage {}\n{text}", policy.record), 0));
            }
            ClaimCommand::Accept { patient, id } => {
                let patient = self.patient(&patient)?;
                let (keeper, policy) = self.anchor(RecordId(id)).await?;
                // Nobody accepts what they cannot open.
                let body = record::verify(keeper, &patient, &policy).await?;
                let step = claim::accept_coverage(keeper, &patient, &policy, now).await?;
                let text = step_text(&step);
                return Ok((format!("{} opens it: {} bytes\n{text}", patient.name, body.len()), 0));
            }
            ClaimCommand::End { id, by_insurer: true } => {
                vec![claim::end_coverage(insurer, id).await?]
            }
            ClaimCommand::End { id, by_insurer: false } => {
                let patient = self.account(claim::coverage(insurer, id).await?.patient)?;
                vec![claim::end_coverage_by_patient(insurer, &patient, id, now).await?]
            }
            ClaimCommand::Ask { coverage, source, items, by } => {
                let patient = self.account(claim::coverage(insurer, coverage).await?.patient)?;
                let (provider, author) = self.at_work(&by)?;
                let (wanted, items) = ((coverage, source), items.list());
                let (request, steps) =
                    claim::request_authorisation(provider, author, &patient, wanted, &items, now)
                        .await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("request {}\n{text}", request.record), 0));
            }
            ClaimCommand::Grant { id, amount, days: count, by } => {
                let patient = self.account(claim::patient_of_authorisation(insurer, id).await?)?;
                let (here, adjudicator) = self.at_work(&by)?;
                let granted = (amount, now.after(days(count)));
                claim::decide_authorisation(here, adjudicator, &patient, id, granted, now).await?.1
            }
            ClaimCommand::Submit { coverage, service, source, part, items, authorisation, by } => {
                let patient = self.account(claim::coverage(insurer, coverage).await?.patient)?;
                let (provider, author) = self.at_work(&by)?;
                let items = items.list();
                let filing = Filing { coverage, source, service, part, items, authorisation };
                let (anchor, steps) =
                    claim::submit(provider, author, &patient, &filing, now).await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("claim {}\n{text}", anchor.record), 0));
            }
            ClaimCommand::Withdraw { id, at } => {
                vec![claim::withdraw(self.gateway(&at)?, id).await?]
            }
            ClaimCommand::Contest { id, reason } => {
                let patient = self.claimant(id).await?;
                let (salt, step) = claim::contest(insurer, &patient, id, &reason, now).await?;
                let text = step_text(&step);
                return Ok((format!("{text}the salt of the reason: {salt}\n"), 0));
            }
            ClaimCommand::Review { id, by } => {
                let (_, reviewed) = self.review(id, &by).await?;
                let made = reviewed.by_rules(Tariff::demonstration())?;
                return Ok((adjudication_text(reviewed.items(), &made), 0));
            }
            ClaimCommand::Decide { id, by } => {
                let patient = self.claimant(id).await?;
                let (here, reviewed) = self.review(id, &by).await?;
                let (who, tariff) = (self.person(&by)?, Tariff::demonstration());
                let decided =
                    claim::adjudicate(here, who, &patient, &reviewed, tariff, now).await?;
                let text = decided.steps.iter().map(step_text).collect::<String>();
                return Ok((text + &adjudication_text(reviewed.items(), &decided.made), 0));
            }
            ClaimCommand::Appeal { id, reason, by } => {
                let patient = self.claimant(id).await?;
                if let Some(by) = by {
                    let (provider, author) = self.at_work(&by)?;
                    claim::appeal(provider, author, &patient, id, &reason, now).await?.1
                } else {
                    let (salt, step) =
                        claim::appeal_by_patient(insurer, &patient, id, &reason, now).await?;
                    let text = step_text(&step);
                    return Ok((format!("{text}the salt of the reason: {salt}\n"), 0));
                }
            }
            ClaimCommand::DecideAppeal { id, grant, reason, by } => {
                let patient = self.claimant(id).await?;
                let (here, reviewed) = self.review(id, &by).await?;
                let who = self.person(&by)?;
                let more = grant.zip(reason.as_deref());
                let rules = (Tariff::demonstration(), more);
                let decided =
                    claim::decide_appeal(here, who, &patient, &reviewed, rules, now).await?;
                let text = decided.steps.iter().map(step_text).collect::<String>();
                return Ok((text + &adjudication_text(reviewed.items(), &decided.made), 0));
            }
            ClaimCommand::Pay { id, by } => {
                let (here, person) = self.at_work(&by)?;
                vec![claim::pay(here, person, id).await?]
            }
            ClaimCommand::Copay { id } => {
                let patient = self.claimant(id).await?;
                vec![claim::pay_copayment(insurer, &patient, id, now).await?]
            }
            ClaimCommand::Refund { id, insurer, patient, at } => {
                vec![claim::refund(self.gateway(&at)?, id, insurer, patient).await?]
            }
            ClaimCommand::Give { to, amount, from } => {
                let to = self.holder(&to)?;
                vec![claim::transfer(self.gateway(&from)?, to, amount).await?]
            }
            ClaimCommand::PayIn { who, amount } => {
                if let Some(patient) = self.consortium.patients.find(&who) {
                    vec![claim::deposit_by_patient(insurer, &patient, amount, now).await?]
                } else {
                    let gateway = self.gateway(&who)?;
                    claim::deposit(gateway, gateway.member(), amount).await?
                }
            }
            ClaimCommand::TakeOut { who, amount } => {
                if let Some(patient) = self.consortium.patients.find(&who) {
                    vec![claim::take_out_by_patient(insurer, &patient, amount, now).await?]
                } else {
                    vec![claim::take_out(self.gateway(&who)?, amount).await?]
                }
            }
            ClaimCommand::Balance { who } => return self.balances(who.as_deref()).await,
            ClaimCommand::Show { id } => return self.show_claim(id).await,
        };
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    /// The patient with an account.
    fn account(&self, account: Address) -> Result<Arc<PatientActor>, Error> {
        self.patient(&account.to_string())
    }

    /// Whose claim it is.
    async fn claimant(&self, id: B256) -> Result<Arc<PatientActor>, Error> {
        self.account(claim::patient_of(self.gateway("insurer")?, id).await?)
    }

    /// An institution's or a patient's address.
    fn holder(&self, name: &str) -> Result<Address, Error> {
        match self.consortium.patients.find(name) {
            Some(patient) => Ok(patient.account()),
            None => Ok(self.gateway(name)?.member()),
        }
    }

    /// Reads a claim as somebody, at whoever keeps it and the order behind it.
    async fn review(&self, id: B256, by: &str) -> Result<(&Gateway, Reviewed), Error> {
        let (here, adjudicator) = self.at_work(by)?;
        let held = claim::standing(here, id).await?;
        let submitted = claim::submitted(here, id).await?;
        let mut institutions = self.consortium.institutions();
        let provider = institutions.find(|gateway| gateway.member() == held.provider);
        let provider = provider.ok_or("the provider is not of this consortium")?;
        let order = match submitted.source {
            Source::LabOrder => provider,
            _ => self.anchor(RecordId(submitted.service)).await?.0,
        };
        let places = Places { claim: &provider.gatekeeper, order: &order.gatekeeper };
        Ok((here, Reviewed::read(here, adjudicator, places, id, self.now()).await?))
    }

    async fn balances(&self, who: Option<&str>) -> Output {
        let insurer = self.gateway("insurer")?;
        let holders = match who {
            Some(who) => vec![(who.to_owned(), self.holder(who)?)],
            None => {
                let institutions = self.consortium.institutions();
                let institutions =
                    institutions.map(|gateway| (gateway.name.clone(), gateway.member()));
                let patients = self.consortium.patients.all();
                let patients =
                    patients.iter().map(|patient| (patient.name.clone(), patient.account()));
                institutions.chain(patients).collect()
            }
        };
        let mut table = Table::new(&["who", "in the purse", "outside"], &[1, 2]);
        for (name, holder) in holders {
            let purse = claim::purse(insurer, holder).await?;
            table.row(vec![name, purse.inside.to_string(), purse.outside.to_string()]);
        }
        let held = claim::held(insurer).await?;
        Ok((format!("{table}{held} in the contract, what is set aside for claims included\n"), 0))
    }

    async fn show_claim(&self, id: B256) -> Output {
        let insurer = self.gateway("insurer")?;
        let name = |address| self.consortium.name_of(address);
        match claim::standing(insurer, id).await {
            Ok(held) => {
                let overdue = claim::is_overdue(insurer, id).await?;
                let mut text = format!(
                    "claim {}{}: {} of {}, by {}, under coverage {}\n",
                    held.state.name(),
                    if overdue { ", overdue" } else { "" },
                    held.approved,
                    held.amount,
                    name(held.provider),
                    held.coverage,
                );
                let _ = writeln!(text, "  {}", held.flags);
                let _ = writeln!(text, "  insurer's share {}, paid {}", held.share, held.paid);
                let due = held.copayment_due();
                let _ = writeln!(text, "  co-payment paid {}, due {due}", held.copaid);
                let back = (held.refunded, held.refunded_copayment);
                let _ = writeln!(text, "  paid back {} and {}", back.0, back.1);
                return Ok((text, 0));
            }
            Err(WorkflowError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match claim::authorisation(insurer, id).await {
            Ok(held) => {
                let until = held.until.map_or("undecided".into(), |time| format!("until {time}"));
                let text = format!(
                    "request of {}: {} of {} granted, {until}{}\n",
                    name(held.provider),
                    held.granted,
                    held.requested,
                    if held.used { ", used" } else { "" },
                );
                return Ok((text, 0));
            }
            Err(WorkflowError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let held = claim::coverage(insurer, id).await?;
        let text = format!(
            "coverage of {} by {}{}: from {} until {}, co-payment {}%, {} of {} used\n",
            name(held.patient),
            name(held.insurer),
            if held.accepted { "" } else { ", not accepted" },
            held.from,
            held.until,
            Cents(held.copayment.into()),
            held.used,
            held.limit,
        );
        Ok((text, 0))
    }
}

fn tariff_text() -> String {
    let tariff = Tariff::demonstration();
    let mut table = Table::new(&["code", "what", "a unit", "units at most"], &[2, 3]);
    for line in &tariff.lines {
        let (cents, most) = (Cents(line.cents.into()).to_string(), line.most_units.to_string());
        table.row(vec![line.code.clone(), line.text.clone(), cents, most]);
    }
    let mut text = format!("{}\n{table}", tariff.source);
    for plan in &tariff.plans {
        let excluded = match &*plan.excluded {
            [] => "nothing".into(),
            excluded => excluded.join(", "),
        };
        let _ = writeln!(text, "plan {} excludes {excluded}", plan.plan);
    }
    text
}

/// What the rules come to, item by item.
fn adjudication_text(items: &[Item], made: &Adjudication) -> String {
    let mut table = Table::new(&["item", "claimed", "approved", "why"], &[1, 2]);
    for (item, decided) in items.iter().zip(&made.items) {
        let why: Vec<String> = decided.findings.iter().map(ToString::to_string).collect();
        let (claimed, approved) = (decided.claimed.to_string(), decided.approved.to_string());
        table.row(vec![item.code.clone(), claimed, approved, why.join("; ")]);
    }
    format!(
        "{table}{} of {} approved ({}): {} by the insurer, {} by the patient\n",
        made.approved,
        made.claimed,
        made.flags(),
        made.share,
        made.copayment(),
    )
}
