//! The story's study: what patients let it use, what it is told, and what it gets for its money. It is made of the
//! demonstration's volunteers alone, so that it is told the same whatever records were imported.

use std::{sync::Arc, time::Duration};

use alloy_primitives::B256;
use domain::{Kind, KindSet};
use futures_util::future::try_join_all;
use serde_json::Value;
use workflows::{
    PatientActor, Step, WorkflowError,
    research::{self, Criterion, Document, Price},
};

use super::Teller;
use crate::{
    Error,
    volunteers::{self, DIABETES, HYPERTENSION},
};

/// How many of the volunteers take part at first: too few to be told anything of.
const FIRST: usize = 3;

impl Teller<'_> {
    pub(super) async fn research(&mut self) -> Result<(), Error> {
        self.heading("A study: consent, counts without small cells, an extract that names nobody");
        let (hospital, institute) = (self.gateway("hospital"), self.gateway("institute"));
        let researcher = self.person("researcher");
        let (volunteers, steps) = volunteers::gather(self.consortium).await?;
        self.steps.extend(steps);
        let (first, later) = volunteers.split_at(FIRST);
        let patient = &*volunteers[0];
        let what = format!(
            "{} volunteers came, {} to {}, made up and known to nobody else",
            volunteers.len(),
            patient.name,
            volunteers[volunteers.len() - 1].name,
        );
        self.told("hospital", &what);
        let dataset = Document::dataset(hospital, "Diagnoses", "conditions, as codes and years")?;
        let conditions = [
            "nobody tries to find out who it is about",
            "nothing is passed on",
            "deleted after it",
        ];
        let terms = Document::terms(hospital, &conditions)?;
        let price = Price { amount: 10_000, patient_share: 5_000 };
        let (offer, step) = research::offer(hospital, &dataset, &terms, price).await?;
        self.tell(step);

        let until = self.now().after(Duration::from_secs(365 * 86_400));
        let about = ("Conditions that come together", "how often high blood pressure comes alone");
        let kinds = KindSet::of(&[Kind::Condition]);
        let protocol = Document::protocol(institute, researcher, about, kinds, until)?;
        let (study, step) = research::propose(institute, researcher, &protocol, until).await?;
        self.tell(step);
        let early = research::opt_in(hospital, patient, study, &protocol, self.now()).await;
        self.refused(&patient.name, "consents to a study that nobody approved", early)?;
        let own = research::approve(institute, researcher, study, &protocol, "it is mine").await;
        self.refused("researcher", "approves it", own)?;
        for (at, who) in [("hospital", "keeper"), ("regulator", "auditor")] {
            let (gateway, person) = (self.gateway(at), self.person(who));
            let (_, step) = research::approve(gateway, person, study, &protocol, "sound").await?;
            self.tell(step);
        }
        for step in research::pay_in(institute, 100_000).await? {
            self.tell(step);
        }
        self.opt_in(first, study, &protocol).await?;
        self.count(study, &protocol, &[]).await?;
        let question = Document::question(institute, &[])?;
        let (order, step) = research::order(institute, study, offer, &terms, &question).await?;
        self.tell(step);
        let few = research::deliver(hospital, order, &protocol, &question, self.now()).await;
        self.refused("hospital", "delivers an extract of these few", few)?;

        self.opt_in(later, study, &protocol).await?;
        self.count(study, &protocol, &[]).await?;
        self.count(study, &protocol, &[HYPERTENSION]).await?;
        let but_few = self.asked(study, &protocol, &[HYPERTENSION, "!", DIABETES]).await;
        self.refused("researcher", "asks for the same with one person less", but_few)?;

        let now = self.now();
        let (sealed, steps) = research::deliver(hospital, order, &protocol, &question, now).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let extract: Value =
            serde_json::from_slice(&research::open(institute, order, &sealed).await?)?;
        let entries = extract["entry"].as_array().map_or(0, Vec::len);
        let what = format!(
            "opens the extract: {entries} conditions, under pseudonyms; those of fewer than five \
             people are left out"
        );
        self.told("researcher", &what);
        let mut changed = sealed.clone();
        changed[100] ^= 1;
        if !research::verify(institute, order, &sealed).await?
            || research::verify(institute, order, &changed).await?
        {
            return Err("the extract does not stand on chain as it was delivered".into());
        }
        self.told(
            "researcher",
            "holds it against the chain: the very bytes, and one changed is not it",
        );

        let early = research::claim_share(hospital, patient, order, self.now()).await;
        self.refused(&patient.name, "takes a share before the price is shared", early)?;
        let step = research::settle(institute, order).await?;
        self.tell(step);
        let step = research::claim_share(hospital, patient, order, self.now()).await?;
        self.tell(step);
        let again = research::claim_share(hospital, patient, order, self.now()).await;
        self.refused(&patient.name, "takes the share a second time", again)?;
        let step = research::withdraw(hospital, patient, study, self.now()).await?;
        self.tell(step);
        let what_for = "the first analysis";
        let unaware = research::record_use(institute, researcher, order, what_for, 0).await;
        self.refused("researcher", "uses the extract and knows of no withdrawal", unaware)?;
        let (_, step) = research::record_use(institute, researcher, order, what_for, 1).await?;
        self.tell(step);
        let (order, step) = research::order(institute, study, offer, &terms, &question).await?;
        self.tell(step);
        let delivered =
            research::deliver(hospital, order, &protocol, &question, self.now()).await?;
        delivered.1.into_iter().for_each(|step| self.tell(step));
        let missing = research::share(hospital, order, patient.account()).await;
        if !matches!(missing, Err(WorkflowError::Unknown { .. })) {
            return Err("whoever withdrew is in a later extract".into());
        }
        self.told(&patient.name, "is not in it any more");
        Ok(())
    }

    async fn opt_in(
        &mut self,
        patients: &[Arc<PatientActor>],
        study: B256,
        protocol: &Document,
    ) -> Result<(), Error> {
        let (hospital, now) = (self.gateway("hospital"), self.now());
        let opting = patients
            .iter()
            .map(|patient| research::opt_in(hospital, patient, study, protocol, now));
        for step in try_join_all(opting).await? {
            self.tell(step);
        }
        Ok(())
    }

    /// The researcher asks; `!` stands before what those have not who are meant.
    async fn asked(
        &self,
        study: B256,
        protocol: &Document,
        codes: &[&str],
    ) -> Result<Step, WorkflowError> {
        let (hospital, institute) = (self.gateway("hospital"), self.gateway("institute"));
        let (mut criteria, mut excluded) = (Vec::new(), false);
        for code in codes {
            if *code == "!" {
                excluded = true;
                continue;
            }
            let system = "http://snomed.info/sct".to_owned();
            criteria.push(Criterion { system, code: (*code).into(), excluded });
            excluded = false;
        }
        let question = Document::question(institute, &criteria)?;
        let asked = research::ask(hospital, self.person("researcher"), study, question).await?;
        Ok(research::count(hospital, study, protocol, &asked, self.now()).await?.1)
    }

    async fn count(
        &mut self,
        study: B256,
        protocol: &Document,
        codes: &[&str],
    ) -> Result<(), Error> {
        let step = self.asked(study, protocol, codes).await?;
        self.tell(step);
        Ok(())
    }
}
