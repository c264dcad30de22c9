//! The story's clinical trial, from the protocol to the results.

use workflows::trial::{
    self, AdverseEvent, Agreement, Dossier, Finding, Item, Nonce, Outcome, Protocol, Rank, Seed,
    Seeds,
};

use super::Teller;
use crate::{Error, commands::TRIAL_EXAMPLE};

impl Teller<'_> {
    pub(super) async fn trial(&mut self) -> Result<(), Error> {
        self.heading(
            "A clinical trial: a protocol fixed first, an arm nobody steers, results of the locked data",
        );
        let (hospital, institute) = (self.gateway("hospital"), self.gateway("institute"));
        let (regulator, patient) = (self.gateway("regulator"), self.patient);
        let (researcher, auditor) = (self.person("researcher"), self.person("auditor"));
        let (physician, nurse) = (self.person("physician"), self.person("nurse"));
        let pharmacist = self.person("dispenser");
        let protocol: Protocol = serde_json::from_str(TRIAL_EXAMPLE)?;
        let (dossier, step) = trial::register(institute, researcher, &protocol, None).await?;
        self.tell(step);
        let (id, network) = (dossier.trial, hospital.gatekeeper.domain());
        let sealed = dossier.seal_for(institute, &regulator.secret.public_key());
        let dossier = Dossier::open(&regulator.secret, network, &sealed)?;
        self.told("regulator", "opens the protocol that the institute sealed for it");
        let step = trial::approve(regulator, auditor, &dossier, None).await?;
        self.tell(step);
        let step = trial::invite(institute, researcher, id, hospital.member()).await?;
        self.tell(step);
        let step = trial::join(hospital, id).await?;
        self.tell(step);

        let nonce = Nonce::derive(patient, id);
        let commitment = nonce.commitment();
        let agreement = Agreement { site: hospital.member(), version: 1, commitment };
        let step = trial::consent(hospital, patient, id, &agreement, self.now()).await?;
        self.tell(step);
        let (_, step) =
            trial::file_consent(hospital, physician, patient, &dossier, self.now()).await?;
        self.tell(step);
        let answers = [("adult", true), ("pregnant", false)];
        let mut softer = dossier.clone();
        softer.study["contained"][0]["characteristic"][0]["code"]["text"] = "12 or older".into();
        let screened =
            trial::screen(hospital, physician, patient, &softer, &answers, self.now()).await;
        self.refused("physician", "screens by softer criteria than were fixed", screened)?;
        let screened =
            trial::screen(hospital, physician, patient, &dossier, &answers, self.now()).await?;
        screened.steps.into_iter().for_each(|step| self.tell(step));
        let step = trial::open_nonce(hospital, patient, id, &nonce, self.now()).await?;
        self.tell(step);

        if let Some(step) = trial::enter_key(hospital, pharmacist, self.now()).await? {
            self.tell(step);
        }
        let mut seeds = Vec::new();
        for party in [institute, regulator] {
            let seed = Seed::derive(party, id);
            let sealed = seed.seal_for(party, id, pharmacist.member, self.now()).await?;
            let about = (id, party.member());
            seeds.push(Seed::open(&pharmacist.secret, network, about, &sealed)?);
        }
        let [sponsor, custodian] = <[Seed; 2]>::try_from(seeds).map_err(|_| "there are two")?;
        let seeds = Seeds::gather(hospital, id, sponsor, custodian).await?;
        self.told("dispenser", "opens both seeds and holds them against what was committed to");
        let early = trial::enter(hospital, nurse, patient, id, &visit(), self.now()).await;
        self.refused("nurse", "enters data before anybody committed to the arm", early)?;
        let account = patient.account();
        let allocation = seeds.allocation(hospital, pharmacist, account).await?;
        let step =
            trial::allocate(hospital, pharmacist, id, account, allocation.commitment).await?;
        self.tell(step);
        if seeds.tell(hospital, physician, account).await.is_ok() {
            return Err("the physician was told the arm".into());
        }
        self.told("physician", "asks which arm it is, and is not told: the trial is blinded");
        let (_, steps) = trial::enter(hospital, nurse, patient, id, &visit(), self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));

        let mut moved = protocol.clone();
        moved.endpoints[0].rank = Rank::Exploratory;
        if trial::propose_amendment(institute, researcher, &dossier, &moved).await.is_ok() {
            return Err("an endpoint was changed".into());
        }
        self.told("institute", "cannot ask for other endpoints: that is another trial");
        let shorter = Protocol { description: "one tablet for eight weeks".into(), ..protocol };
        let (amended, step) =
            trial::propose_amendment(institute, researcher, &dossier, &shorter).await?;
        self.tell(step);
        let step = trial::approve_amendment(regulator, auditor, &amended).await?;
        self.tell(step);
        let unasked = trial::enter(hospital, nurse, patient, id, &visit(), self.now()).await;
        self.refused("nurse", "enters data without consent to the new version", unasked)?;
        let again = Agreement { version: 2, ..agreement };
        let step = trial::consent(hospital, patient, id, &again, self.now()).await?;
        self.tell(step);
        let (_, steps) = trial::enter(hospital, nurse, patient, id, &visit(), self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));

        let event = AdverseEvent { what: "a fall".into(), is_serious: true, aware_at: self.now() };
        let reported =
            trial::report_adverse_event(hospital, nurse, patient, id, &event, self.now()).await?;
        reported.steps.into_iter().for_each(|step| self.tell(step));
        let early = trial::lock(institute, researcher, id).await;
        self.refused("researcher", "locks the data while a serious event waits", early)?;
        let step = trial::acknowledge(institute, researcher, id, reported.number).await?;
        self.tell(step);
        if trial::reveal(regulator, auditor, id, None).await.is_ok() {
            return Err("a seed was revealed before the lock".into());
        }
        self.told("regulator", "reveals no seed before the data is locked");
        let (_, step) = trial::lock(institute, researcher, id).await?;
        self.tell(step);
        for (party, person) in [(institute, researcher), (regulator, auditor)] {
            let step = trial::reveal(party, person, id, None).await?;
            self.tell(step);
        }
        let arm = trial::arm_of(hospital, id, account).await?;
        let salt = trial::allocation_salt(pharmacist, id, account);
        let rightly = trial::is_allocated_rightly(hospital, id, account, salt).await?;
        if (arm, rightly) != (allocation.arm, true) {
            return Err("the subject got another arm than seeds and nonce give".into());
        }
        self.told("everybody", &format!("can see now that the subject got arm {arm}, as drawn"));
        let outcomes = amended
            .endpoints()
            .into_iter()
            .map(|endpoint| Outcome { endpoint: endpoint.into(), result: "no difference".into() });
        let outcomes = outcomes.collect();
        let (results, step) = trial::publish(institute, researcher, &amended, outcomes).await?;
        step.into_iter().for_each(|step| self.tell(step));
        if !trial::check(hospital, &amended, Some(&results)).await?.is_empty() {
            return Err("protocol and results are not as they were fixed".into());
        }
        self.told("reader", "holds protocol and results against the chain: as they were fixed");
        let mut changed = amended.clone();
        changed.study["objective"][0]["name"] = "quality of life after twelve weeks".into();
        for difference in trial::check(hospital, &changed, Some(&results)).await? {
            self.told("reader", &format!("finds in one with another endpoint: {difference}"));
        }
        Ok(())
    }
}

fn visit() -> Vec<Item> {
    let finding = Finding::Quantity { value: 131.0, unit: "mmHg".into() };
    vec![Item { key: "systolic".into(), text: "systolic blood pressure".into(), finding }]
}
