//! The story's insurance: a coverage, a claim that says too much, an appeal, and the money.

use std::time::Duration;

use alloy_primitives::B256;
use domain::{Kind, KindSet, Period, Purpose, PurposeSet, Terms as Consent};
use workflows::{
    claim::{self, Cents, Filing, Item, Places, Reviewed, Source, Tariff, Terms},
    consent, prescription, record, relationship,
};

use super::Teller;
use crate::Error;

impl Teller<'_> {
    pub(super) async fn claim(&mut self) -> Result<(), Error> {
        self.heading("A claim: covered, read on consent only, cut by the rules, appealed and paid");
        let (insurer, pharmacy) = (self.gateway("insurer"), self.gateway("pharmacy"));
        let (adjudicator, arbiter) = (self.person("adjudicator"), self.person("arbiter"));
        let (pharmacist, patient) = (self.person("pharmacist"), self.patient);
        let tariff = Tariff::demonstration();
        self.relate_insurer().await?;
        let before = self.all_money().await?;
        for step in claim::deposit(insurer, insurer.member(), Cents(1_000_000)).await? {
            self.tell(step);
        }
        let step =
            claim::transfer(self.gateway("hospital"), patient.account(), Cents(1_000)).await?;
        self.tell(step);
        let step = claim::deposit_by_patient(insurer, patient, Cents(1_000), self.now()).await?;
        self.tell(step);

        let terms = Terms {
            plan: "plus".into(),
            from: self.now(),
            until: self.now().after(Duration::from_secs(300 * 86_400)),
            copayment: 1_000,
            limit: Cents(100_000),
        };
        let (policy, steps) =
            claim::offer_coverage(insurer, adjudicator, patient, &terms, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let body = record::verify(insurer, patient, &policy).await?;
        let what = format!("opens the policy with their own key, {} bytes", body.len());
        self.told(&patient.name, &what);
        let step = claim::accept_coverage(insurer, patient, &policy, self.now()).await?;
        self.tell(step);
        let coverage = policy.record.0;
        // What is done in the same second is before the coverage.
        let from = claim::coverage(insurer, coverage).await?.from;
        while self.now() < from {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let service = self.fill_for_claim().await?;

        // Three months are claimed, of which one was dispensed, and dearer than the tariff has it.
        let item = |code: &str, quantity, cents| Item {
            code: code.into(),
            quantity,
            unit_price: Cents(cents),
        };
        let items = vec![item("RX-LISINOPRIL-10", 90, 15), item("RX-DISPENSING-FEE", 1, 450)];
        let filing = Filing {
            coverage,
            source: Source::Prescription,
            service,
            part: 1,
            items,
            authorisation: None,
        };
        let submit = || claim::submit(pharmacy, pharmacist, patient, &filing, self.now());
        let (claimed, steps) = submit().await?;
        let again = submit().await;
        steps.into_iter().for_each(|step| self.tell(step));
        self.refused("pharmacy", "claims the same fill a second time", again)?;
        let id = claimed.record.0;

        let hospital = self.gateway("hospital");
        let places = Places { claim: &pharmacy.gatekeeper, order: &hospital.gatekeeper };
        let read = |who| Reviewed::read(insurer, who, places, id, self.now());
        let unread = read(adjudicator).await;
        self.refused("adjudicator", "reads the claim without the patient's consent", unread)?;
        let day = Duration::from_secs(86_400);
        let consented = Consent {
            period: Period::new(self.now(), self.now().after(day))?,
            kinds: KindSet::of(&[Kind::Financial, Kind::Medication]),
            purposes: PurposeSet::of(&[Purpose::Payment]),
        };
        let reader = insurer.member();
        let (_, step) =
            consent::grant(hospital, patient, reader, None, &consented, self.now()).await?;
        self.tell(step);
        let reviewed = self.read_claim(places, id, "adjudicator").await?;
        let foreign =
            claim::adjudicate(insurer, pharmacist, patient, &reviewed, tariff, self.now()).await;
        self.refused("pharmacist", "decides their own pharmacy's claim", foreign)?;
        let decided =
            claim::adjudicate(insurer, adjudicator, patient, &reviewed, tariff, self.now()).await?;
        decided.steps.into_iter().for_each(|step| self.tell(step));
        let body = record::verify(insurer, patient, &decided.explanation).await?;
        let what = format!("reads the explanation of benefit, {} bytes", body.len());
        self.told(&patient.name, &what);
        for (item, made) in filing.items.iter().zip(&decided.made.items) {
            let why: Vec<String> = made.findings.iter().map(ToString::to_string).collect();
            let why = if why.is_empty() { "as claimed".into() } else { why.join("; ") };
            self.told("", &format!("{}: {} of {}, {why}", item.code, made.approved, made.claimed));
        }
        let step = claim::pay(pharmacy, pharmacist, id).await?;
        self.tell(step);
        let more = claim::pay(pharmacy, pharmacist, id).await;
        self.refused("pharmacist", "has it paid a second time", more)?;

        let reason = "the tariff's pack was out of stock";
        let (_, steps) =
            claim::appeal(pharmacy, pharmacist, patient, id, reason, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let reviewed = self.read_claim(places, id, "adjudicator").await?;
        let rules = (tariff, Some((Cents(900), "the dearer pack is accepted")));
        let own =
            claim::decide_appeal(insurer, adjudicator, patient, &reviewed, rules, self.now()).await;
        self.refused("adjudicator", "decides the appeal against their own decision", own)?;
        let reviewed = self.read_claim(places, id, "arbiter").await?;
        let decided =
            claim::decide_appeal(insurer, arbiter, patient, &reviewed, rules, self.now()).await?;
        decided.steps.into_iter().for_each(|step| self.tell(step));
        let step = claim::pay(pharmacy, pharmacist, id).await?;
        self.tell(step);
        let step = claim::pay_copayment(insurer, patient, id, self.now()).await?;
        self.tell(step);
        let step = claim::refund(pharmacy, id, Cents(90), Cents(10)).await?;
        self.tell(step);
        let step = consent::revoke(hospital, patient, reader, None, self.now()).await?;
        self.tell(step);

        let held = claim::standing(insurer, id).await?;
        if held.paid.plus(held.copaid) != Some(held.approved) || held.approved != Cents(900) {
            return Err("the claim was not paid as it was decided".into());
        }
        if self.all_money().await? != before {
            return Err("money came to be, or was lost".into());
        }
        self.told("everybody", "has together to the cent what they had before");
        Ok(())
    }

    /// The insurer keeps records of the patient from now on, unless it does already.
    async fn relate_insurer(&mut self) -> Result<(), Error> {
        let (insurer, patient) = (self.gateway("insurer"), self.patient);
        insurer.gatekeeper.refresh(self.now()).await?;
        let held = {
            let projection = insurer.gatekeeper.projection().await;
            let held = projection.consents.relationship(patient.account(), insurer.member());
            held.and_then(|held| held.state)
        };
        if held == Some(domain::RelationshipState::Active) {
            return Ok(());
        }
        let step = relationship::propose(insurer, patient, false).await?;
        self.tell(step);
        let step = relationship::accept(insurer, patient, false, self.now()).await?;
        self.tell(step);
        Ok(())
    }

    async fn read_claim(&self, places: Places<'_>, id: B256, who: &str) -> Result<Reviewed, Error> {
        let insurer = self.gateway("insurer");
        let reviewed = Reviewed::read(insurer, self.person(who), places, id, self.now()).await?;
        self.told(who, "reads claim, policy and prescription on the patient's consent");
        Ok(reviewed)
    }

    /// A fill that is claimed; its own chapter tells how one comes to be.
    async fn fill_for_claim(&mut self) -> Result<B256, Error> {
        let (hospital, pharmacy) = (self.gateway("hospital"), self.gateway("pharmacy"));
        let (physician, pharmacist) = (self.person("physician"), self.person("pharmacist"));
        let patient = self.patient;
        let order = prescription::Order {
            medication: (String::new(), String::new(), "lisinopril 10 MG Oral Tablet".into()),
            dosage: "one tablet in the morning".into(),
            dose: prescription::Dose::of_milligrams("10", 1),
            quantity: 30,
            fills: 1,
            valid_for: Duration::from_secs(30 * 86_400),
            controlled: false,
            as_written: false,
        };
        let checked = self.checked(&order).await?;
        let now = self.now();
        let (anchor, steps) =
            prescription::issue(hospital, physician, patient, &checked, now).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let (id, member) = (anchor.record.0, pharmacy.member());
        let step = prescription::permit_by_prescriber(hospital, physician, id, member).await?;
        self.tell(step);
        let step = prescription::permit_by_patient(hospital, patient, &anchor, member, now).await?;
        self.tell(step);
        let step = prescription::claim(pharmacy, pharmacist, id).await?;
        self.tell(step);
        let product = prescription::Product {
            quantity: 30,
            batch: "LX-4712".into(),
            expires: now.after(Duration::from_secs(400 * 86_400)),
        };
        let dispensed =
            prescription::dispense(pharmacy, pharmacist, patient, id, &product, self.now()).await?;
        dispensed.1.into_iter().for_each(|step| self.tell(step));
        Ok(id)
    }

    /// What all institutions, the patients and the contract have, in tokens.
    async fn all_money(&self) -> Result<Cents, Error> {
        let insurer = self.gateway("insurer");
        let mut all = vec![insurer.at(bindings::Contract::Claims)];
        all.extend(self.consortium.institutions().map(workflows::Gateway::member));
        all.extend(self.consortium.patients.all().iter().map(|patient| patient.account()));
        let mut sum = Some(Cents::ZERO);
        for who in all {
            let outside = claim::purse(insurer, who).await?.outside;
            sum = sum.and_then(|sum| sum.plus(outside));
        }
        Ok(sum.ok_or("there is more money than anybody counts")?)
    }
}
