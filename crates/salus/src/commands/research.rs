//! What the commands about research do.

use std::{path::Path, time::Duration};

use alloy_primitives::B256;
use workflows::{
    Step, WorkflowError,
    research::{self, Document, Order, Price, Study},
};

use super::{Commands, Output, kind_set, step_text};
use crate::{Error, cli::ResearchCommand, table::Table, volunteers};

impl Commands<'_> {
    pub(super) async fn research(&self, command: ResearchCommand) -> Output {
        use ResearchCommand as Research;
        let now = self.now();
        let steps = match command {
            Research::Offer {
                title,
                about,
                terms,
                price,
                patient_share,
                at,
                dataset: place,
                out,
            } => {
                let source = self.gateway(&at)?;
                let dataset = Document::dataset(source, &title, &about)?;
                let terms: Vec<&str> = terms.iter().map(String::as_str).collect();
                let terms = Document::terms(source, &terms)?;
                let price = Price { amount: price, patient_share };
                let (id, step) = research::offer(source, &dataset, &terms, price).await?;
                self.write_research(&place, dataset.bytes())?;
                self.write_research(&out, terms.bytes())?;
                return Ok((format!("offer {id}\n{}", step_text(&step)), 0));
            }
            Research::CloseOffer { id, at } => {
                vec![research::close_offer(self.gateway(&at)?, id).await?]
            }
            Research::Propose { title, purpose, kinds, days, by, out } => {
                let (institute, researcher) = self.at_work(&by)?;
                let until = now.after(Duration::from_secs(days.saturating_mul(86_400)));
                let (kinds, about) = (kind_set(&kinds), (title.as_str(), purpose.as_str()));
                let protocol = Document::protocol(institute, researcher, about, kinds, until)?;
                let (id, step) = research::propose(institute, researcher, &protocol, until).await?;
                self.write_research(&out, protocol.bytes())?;
                return Ok((format!("study {id}\n{}", step_text(&step)), 0));
            }
            Research::Approve { study, protocol, opinion, by } => {
                let (gateway, person) = self.at_work(&by)?;
                let protocol = self.research_document(&protocol)?;
                let approved = research::approve(gateway, person, study, &protocol, &opinion);
                return Ok(salted(approved.await?));
            }
            Research::End { study, reason, by } => {
                let (gateway, person) = self.at_work(&by)?;
                return Ok(salted(research::end(gateway, person, study, &reason).await?));
            }
            Research::Consent { patient, study, protocol, at } => {
                let (patient, source) = (self.patient(&patient)?, self.gateway(&at)?);
                let protocol = self.research_document(&protocol)?;
                vec![research::opt_in(source, &patient, study, &protocol, now).await?]
            }
            Research::Volunteers => return self.volunteers().await,
            Research::Withdraw { patient, study, at } => {
                let (patient, source) = (self.patient(&patient)?, self.gateway(&at)?);
                let takes_part = research::takes_part(source, patient.account(), study, now).await;
                // Whoever cannot be told that they do not can withdraw in any case.
                if matches!(takes_part, Ok(false)) {
                    let text = "they do not take part in this study, or withdrew already\n";
                    return Ok((text.into(), 0));
                }
                vec![research::withdraw(source, &patient, study, now).await?]
            }
            Research::Count { study, protocol, codes, again, by, at, out } => {
                let ((institute, researcher), source) = (self.at_work(&by)?, self.gateway(&at)?);
                let protocol = self.research_document(&protocol)?;
                let question = match again {
                    Some(question) => self.research_document(&question)?,
                    None => Document::question(institute, &codes)?,
                };
                // Kept before it is asked: what breaks off is asked for again by the same question alone.
                if let Some(out) = out {
                    self.write_research(&out, question.bytes())?;
                }
                let asked = research::ask(source, researcher, study, question).await?;
                let (count, step) = research::count(source, study, &protocol, &asked, now).await?;
                return Ok((format!("{count}\n{}", step_text(&step)), 0));
            }
            Research::Order { study, offer, terms, codes, at, out } => {
                let (buyer, terms) = (self.gateway(&at)?, self.research_document(&terms)?);
                let question = Document::question(buyer, &codes)?;
                let (id, step) = research::order(buyer, study, offer, &terms, &question).await?;
                self.write_research(&out, question.bytes())?;
                return Ok((format!("order {id}\n{}", step_text(&step)), 0));
            }
            Research::Deliver { id, protocol, question, at, out } => {
                let source = self.gateway(&at)?;
                let (protocol, question) =
                    (self.research_document(&protocol)?, self.research_document(&question)?);
                let (sealed, steps) =
                    research::deliver(source, id, &protocol, &question, now).await?;
                self.write_research(&out, &sealed)?;
                if steps.is_empty() {
                    let out = out.display();
                    let text = format!(
                        "delivered before, and everybody in it was told; wrote {out} again\n"
                    );
                    return Ok((text, 0));
                }
                steps
            }
            Research::Fetch { id, at, out } => {
                let sealed = research::sealed(self.gateway(&at)?, id).await?;
                self.write_research(&out, &sealed)?;
                return Ok((format!("a sealed extract of {} bytes\n", sealed.len()), 0));
            }
            Research::Tell { id, at } => {
                let steps = research::tell_patients(self.gateway(&at)?, id, now).await?;
                if steps.is_empty() {
                    return Ok(("everybody in it was told before\n".into(), 0));
                }
                steps
            }
            Research::Open { id, extract, at, out } => {
                let (buyer, sealed) = (self.gateway(&at)?, self.research_file(&extract)?);
                let bundle = research::open(buyer, id, &sealed).await?;
                self.write_research(&out, &bundle)?;
                let text = format!("a FHIR Bundle of {} bytes\n", bundle.len());
                return Ok((text, 0));
            }
            Research::Verify { id, extract } => {
                let sealed = self.research_file(&extract)?;
                let same = research::verify(self.gateway("hospital")?, id, &sealed).await?;
                let text = if same {
                    "the extract is the one that was delivered\n"
                } else {
                    "the extract is NOT the one that was delivered\n"
                };
                return Ok((text.into(), u8::from(!same)));
            }
            Research::Settle { id, at } => vec![research::settle(self.gateway(&at)?, id).await?],
            Research::Dispute { id, reason, at } => {
                return Ok(salted(research::dispute(self.gateway(&at)?, id, &reason).await?));
            }
            Research::Resolve { id, refund, by } => {
                let (gateway, person) = self.at_work(&by)?;
                vec![research::resolve(gateway, person, id, refund).await?]
            }
            Research::Reclaim { id, at } => {
                vec![research::reclaim(self.gateway(&at)?, id).await?]
            }
            Research::ReturnShares { id, at } => {
                vec![research::return_shares(self.gateway(&at)?, id).await?]
            }
            Research::Challenge { id, patient, at } => {
                let (patient, source) = (self.patient(&patient)?, self.gateway(&at)?);
                let place = research::share(source, id, patient.account()).await?;
                vec![research::challenge(source, id, patient.account(), &place).await?]
            }
            Research::Claim { patient, id, at } => {
                let (patient, source) = (self.patient(&patient)?, self.gateway(&at)?);
                vec![research::claim_share(source, &patient, id, now).await?]
            }
            Research::Use { id, purpose, withdrawals, by } => {
                let (buyer, researcher) = self.at_work(&by)?;
                let used = research::record_use(buyer, researcher, id, &purpose, withdrawals);
                return Ok(salted(used.await?));
            }
            Research::Money { amount, out: false, at } => {
                research::pay_in(self.gateway(&at)?, amount).await?
            }
            Research::Money { amount, out: true, at } => {
                vec![research::pay_out(self.gateway(&at)?, amount).await?]
            }
            Research::Show { id } => return self.show_research(id).await,
        };
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    async fn volunteers(&self) -> Output {
        let (volunteers, steps) = volunteers::gather(self.consortium).await?;
        let mut table = Table::new(&["who", "what they have"], &[]);
        for (volunteer, conditions) in volunteers.iter().zip(volunteers::CONDITIONS) {
            table.row(vec![volunteer.name.clone(), conditions.join(", ")]);
        }
        Ok((steps.iter().map(step_text).collect::<String>() + &table.to_string(), 0))
    }

    async fn show_research(&self, id: B256) -> Output {
        let gateway = self.gateway("hospital")?;
        match research::study(gateway, id).await {
            Ok(study) => return Ok((self.study_text(&study), 0)),
            Err(WorkflowError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        match research::offered(gateway, id).await {
            Ok(offer) => {
                let text = format!(
                    "{} of {}: {} an extract, of which {} hundredths of a percent are the patients'\n",
                    if offer.open { "offer" } else { "closed offer" },
                    self.consortium.name_of(offer.source),
                    offer.price.amount,
                    offer.price.patient_share,
                );
                return Ok((text, 0));
            }
            Err(WorkflowError::Unknown { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let order = research::order_of(gateway, id).await?;
        let uses = research::uses(gateway, id).await?;
        let mut text = self.order_text(&order);
        for used in uses {
            let by = self.consortium.name_of(used.by);
            text += &format!("  use {} by {by}, receipt {}\n", used.number, used.receipt);
        }
        Ok((text, 0))
    }

    fn study_text(&self, study: &Study) -> String {
        format!(
            "{:?} study of the {}, until {}; approvals: {}, withdrawals: {}\n  protocol {}\n",
            study.standing,
            self.consortium.name_of(study.institution),
            study.until,
            study.approvals,
            study.withdrawals,
            study.protocol,
        )
    }

    fn order_text(&self, order: &Order) -> String {
        format!(
            "{:?} order of the {} for {}; {} patients, {} of them paid {}{}\n  extract {}\n",
            order.state,
            self.consortium.name_of(order.buyer),
            order.price,
            order.patients,
            order.paid,
            order.for_each,
            if order.breached { "; not to be used: somebody in it had not consented" } else { "" },
            order.extract,
        )
    }

    fn research_document(&self, path: &Path) -> Result<Document, Error> {
        Ok(Document::read(self.research_file(path)?)?)
    }

    fn research_file(&self, path: &Path) -> Result<Vec<u8>, Error> {
        std::fs::read(self.directory.join(path))
            .map_err(|error| format!("could not read {}: {error}", path.display()).into())
    }

    fn write_research(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        std::fs::write(self.directory.join(path), bytes)
            .map_err(|error| format!("could not write {}: {error}", path.display()).into())
    }
}

/// What was done, with the salt of the words that were said.
fn salted((salt, step): (B256, Step)) -> (String, u8) {
    (format!("salt of the words {salt}\n{}", step_text(&step)), 0)
}
