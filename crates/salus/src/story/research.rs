//! The story's study: what patients let it use, what it is told, and what it gets for its money.

use std::{sync::Arc, time::Duration};

use alloy_primitives::B256;
use bindings::Contract;
use domain::{Kind, KindSet};
use futures_util::future::try_join_all;
use ledger::{Patient, PatientKey, PrivateKeySigner, creation, predict_account};
use serde_json::{Value, json};
use vault::{Kem, SecretKey};
use workflows::{
    Gateway, PatientActor, Step, WorkflowError,
    record::{self, Draft},
    relationship,
    research::{self, Criterion, Document, Price},
};

use super::Teller;
use crate::Error;

const HYPERTENSION: &str = "38341003";
const DIABETES: &str = "73211009";
const ASTHMA: &str = "195967001";

/// What the volunteers have, who are made up for this chapter and known to nobody but the hospital: a study of
/// three patients could be told nothing.
const VOLUNTEERS: [&[&str]; 9] = [
    &[HYPERTENSION],
    &[HYPERTENSION],
    &[HYPERTENSION],
    &[HYPERTENSION],
    &[HYPERTENSION],
    &[HYPERTENSION, DIABETES],
    &[ASTHMA],
    &[ASTHMA],
    &[ASTHMA],
];

/// How many of the story's patients take part.
const PATIENTS: usize = 3;

impl Teller<'_> {
    pub(super) async fn research(&mut self) -> Result<(), Error> {
        self.heading("A study: consent, counts without small cells, an extract that names nobody");
        let (hospital, institute) = (self.gateway("hospital"), self.gateway("institute"));
        let (researcher, patient) = (self.person("researcher"), self.patient);
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
        let patients: Vec<_> = self.consortium.patients.all().into_iter().take(PATIENTS).collect();
        self.opt_in(&patients, study, &protocol).await?;
        self.count(study, &protocol, &[]).await?;
        let question = Document::question(institute, &[])?;
        let (order, step) = research::order(institute, study, offer, &terms, &question).await?;
        self.tell(step);
        let few = research::deliver(hospital, order, &protocol, &question, self.now()).await;
        self.refused("hospital", "delivers an extract of these few", few)?;

        let volunteers = self.volunteers(hospital).await?;
        let what = format!("{} volunteers more come to the hospital", volunteers.len());
        self.told("hospital", &what);
        self.opt_in(&volunteers, study, &protocol).await?;
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

    /// People with an account of their own, records at the hospital, and keys that nobody keeps.
    async fn volunteers(&mut self, hospital: &Gateway) -> Result<Vec<Arc<PatientActor>>, Error> {
        let making = VOLUNTEERS
            .iter()
            .enumerate()
            .map(|(number, codes)| self.volunteer(hospital, format!("V{:02}", number + 1), codes));
        let made = try_join_all(making).await?;
        let (volunteers, steps): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        self.steps.extend(steps.into_iter().flatten());
        Ok(volunteers)
    }

    async fn volunteer(
        &self,
        hospital: &Gateway,
        name: String,
        codes: &[&str],
    ) -> Result<(Arc<PatientActor>, Vec<Step>), Error> {
        let keeper = &hospital.gatekeeper;
        let key = PrivateKeySigner::from_bytes(&B256::from(keeper.entropy().bytes::<32>()))?;
        let key = PatientKey::Wallet(key);
        let at = |contract| self.consortium.deployment.address(contract);
        let (factory, verifier) = (at(Contract::PatientAccounts), at(Contract::WebAuthnVerifier));
        let create = creation(key.signer(verifier), B256::ZERO);
        let account = predict_account(keeper.ledger(), factory, &create).await?;
        let made = hospital.sender().send(factory, &create).await?;
        let patient = PatientActor {
            name,
            patient: Patient::new(account, verifier, key),
            secret: SecretKey::make(Kem::X25519, &mut keeper.entropy().fork()),
        };
        let what = "makes a patient's account (wallet)";
        let mut steps = vec![Step::new(&hospital.name, what, "account.create-with-wallet", &made)];
        steps.push(relationship::propose(hospital, &patient, false).await?);
        steps.push(relationship::accept(hospital, &patient, false, self.now()).await?);
        for code in codes {
            let resource = json!({
                "resourceType": "Condition",
                "code": { "coding": [{ "system": "http://snomed.info/sct", "code": code }] },
                "subject": { "reference": format!("Patient/{account}") },
                "recordedDate": self.now().to_string(),
            });
            let draft = Draft { kind: Kind::Condition, resource };
            let physician = self.person("physician");
            let (_, step) =
                record::propose(hospital, physician, &patient, &draft, self.now()).await?;
            steps.push(step);
        }
        Ok((Arc::new(patient), steps))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volunteers_and_patients_make_cohorts_that_are_told() {
        let with = |code: &str| VOLUNTEERS.iter().filter(|codes| codes.contains(&code)).count();
        // One of the three patients has hypertension, and there are twelve in all.
        assert_eq!((with(HYPERTENSION) + 1, VOLUNTEERS.len() + PATIENTS), (7, 12));
        assert_eq!(with(DIABETES), 1, "whom the refused question leaves out");
    }
}
