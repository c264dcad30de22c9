//! The story's results: one shared by two consents, one in three versions whose specimen changes hands, and one that
//! comes as a message.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use domain::{Kind, KindSet, Period, Purpose, PurposeSet, Terms};
use serde_json::json;
use workflows::{
    consent,
    laboratory::{self, Version},
    laboratory_messages::MessageDesk,
};

use super::Teller;
use crate::{Error, gateway::number_digest};

impl Teller<'_> {
    pub(super) async fn laboratory(&mut self) -> Result<(), Error> {
        self.heading("A laboratory result: alert, release, dual consent, revocation");
        let (hospital, lab) = (self.gateway("hospital"), self.gateway("laboratory"));
        let (physician, scientist) = (self.person("physician"), self.person("scientist"));
        let patient = self.patient;
        let code = json!({ "coding": [{ "system": "http://loinc.org", "code": "2823-3" }],
            "text": "Potassium [Moles/volume] in Serum or Plasma" });
        let (order, steps) =
            laboratory::order(hospital, physician, patient, lab.member(), &code, self.now())
                .await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let id = order.record.0;
        let record = Some(order.record);
        let kinds = [Kind::Laboratory];
        let count = self.read("hospital", "scientist", &kinds, record, Purpose::Treatment).await?;
        self.told("scientist", &format!("reads the order: {count} record"));
        let label = B256::from(lab.gatekeeper.entropy().bytes::<32>());
        let step = laboratory::collect(lab, scientist, id, label).await?;
        self.tell(step);
        let result = json!({ "code": code, "valueQuantity": { "value": 6.8, "unit": "mmol/L" } });
        let (result, steps) =
            laboratory::report(lab, scientist, patient, id, &result, true, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let step = laboratory::acknowledge(hospital, physician, id, result.digest).await?;
        self.tell(step);
        let step = laboratory::release(lab, scientist, id, result.digest).await?;
        self.tell(step);

        let record = Some(result.record);
        let read = || self.read("laboratory", "consultant", &kinds, record, Purpose::Treatment);
        self.refused("consultant", "reads the result", read().await)?;
        let terms = Terms {
            period: Period::new(self.now(), self.now().after(Duration::from_secs(7 * 86_400)))?,
            kinds: KindSet::of(&kinds),
            purposes: PurposeSet::of(&[Purpose::Treatment]),
        };
        let reader = self.gateway("emergency").member();
        let granted = consent::grant(hospital, patient, reader, None, &terms, self.now()).await?;
        let (version, step) = granted;
        self.tell(step);
        let read = || self.read("laboratory", "consultant", &kinds, record, Purpose::Treatment);
        self.refused("consultant", "reads it on the patient's consent alone", read().await)?;
        let account = patient.account();
        let step = consent::countersign(lab, account, reader, None, version).await?;
        self.tell(step);
        let count =
            self.read("laboratory", "consultant", &kinds, record, Purpose::Treatment).await?;
        self.told("consultant", &format!("reads the result: {count} record"));
        let step = consent::revoke(hospital, patient, reader, None, self.now()).await?;
        self.tell(step);
        let read = || self.read("laboratory", "consultant", &kinds, record, Purpose::Treatment);
        self.refused("consultant", "reads it again", read().await)
    }

    pub(super) async fn versions_of_a_result(&mut self) -> Result<(), Error> {
        self.heading("A result in three versions, and the specimen's chain of custody");
        let (hospital, lab) = (self.gateway("hospital"), self.gateway("laboratory"));
        let (physician, nurse) = (self.person("physician"), self.person("nurse"));
        let (scientist, patient) = (self.person("scientist"), self.patient);
        let code = json!({ "coding": [{ "system": "http://loinc.org", "code": "600-7" }],
            "text": "Bacteria identified in Blood by Culture" });
        let (order, steps) =
            laboratory::order(hospital, physician, patient, lab.member(), &code, self.now())
                .await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let id = order.record.0;
        let label = B256::from(hospital.gatekeeper.entropy().bytes::<32>());
        let step = laboratory::collect(hospital, nurse, id, label).await?;
        self.tell(step);
        for (gateway, person, condition) in [
            (hospital, nurse, "two bottles, sent by courier"),
            (lab, scientist, "two bottles, 20 degrees, intact"),
        ] {
            let taken =
                laboratory::take_over(gateway, person, patient, id, condition, self.now()).await?;
            taken.1.into_iter().for_each(|step| self.tell(step));
        }
        let hands = laboratory::custody(hospital, id).await?;
        if hands.iter().map(|hand| hand.by).ne([nurse.member, scientist.member]) {
            return Err("the specimen's chain of custody is not what happened".into());
        }
        self.told("hospital", "computes the chain of custody again: 2 hands");

        let preliminary = json!({ "code": code, "valueString": "gram-positive cocci" });
        let version = Version { result: &preliminary, critical: true };
        let (first, steps) =
            laboratory::report_preliminary(lab, scientist, patient, id, version, self.now())
                .await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let release = laboratory::release(lab, scientist, id, first.digest).await;
        self.refused("scientist", "releases a preliminary result", release)?;
        let early = laboratory::escalate(hospital, physician, id).await;
        self.refused("physician", "escalates it before its time is over", early)?;
        let step = laboratory::acknowledge(hospital, physician, id, first.digest).await?;
        self.tell(step);
        let found = json!({ "code": code, "valueString": "Staphylococcus aureus" });
        let version = Version { result: &found, critical: true };
        let (second, steps) =
            laboratory::report_final(lab, scientist, patient, id, &first, version, self.now())
                .await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let step = laboratory::release(lab, scientist, id, second.digest).await?;
        self.tell(step);
        let corrected = json!({ "code": code, "valueString": "Staphylococcus epidermidis" });
        let version = Version { result: &corrected, critical: false };
        let (third, steps) =
            laboratory::correct(lab, scientist, patient, id, &second, version, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let step = laboratory::release(lab, scientist, id, third.digest).await?;
        self.tell(step);
        let step = laboratory::acknowledge(hospital, physician, id, third.digest).await?;
        self.tell(step);
        self.told("laboratory", &format!("keeps version {} of one record", third.version));
        Ok(())
    }

    pub(super) async fn result_as_a_message(&mut self) -> Result<(), Error> {
        self.heading("A result that the laboratory's own system sends, as an HL7 v2 message");
        let (hospital, lab) = (self.gateway("hospital"), self.gateway("laboratory"));
        let (physician, scientist) = (self.person("physician"), self.person("scientist"));
        let patient = self.patient;
        let code = json!({ "coding": [{ "system": "http://loinc.org", "code": "2823-3" }],
            "text": "Potassium" });
        let (order, steps) =
            laboratory::order(hospital, physician, patient, lab.member(), &code, self.now())
                .await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let id = order.record.0;
        let label = B256::from(lab.gatekeeper.entropy().bytes::<32>());
        let step = laboratory::collect(lab, scientist, id, label).await?;
        self.tell(step);
        // No message of another run has the number of this one.
        let number = format!("{:.16}", hex::encode(id));
        let message = |account: Address| {
            format!(
                "MSH|^~\\&|LIS|LAB|SALUS|LAB|20261123090000+0100||ORU^R01^ORU_R01|{number}|P|2.5.1\r\
                 PID|1||{account}^^^urn:salus:account\r\
                 OBR|1|{id}|F-1|2823-3^Potassium^LN|||20261123081500||||||||||||||||||F\r\
                 OBX|1|NM|2823-3^Potassium^LN||4.10|mmol/L^^UCUM|3.5-5.0|N|||F\r"
            )
        };
        let desk = MessageDesk::open(lab, scientist, number_digest(), None).await?;
        let other = desk.take(message(Address::ZERO).as_bytes(), self.now()).await?;
        let Err(error) = other.outcome else {
            return Err("a message for another patient than the order's was taken".into());
        };
        self.told("laboratory", &format!("sends it for somebody else: refused, {error}"));
        let message = message(patient.account());
        let taken = desk.take(message.as_bytes(), self.now()).await?.outcome?;
        taken.steps.into_iter().for_each(|step| self.tell(step));
        let again = desk.take(message.as_bytes(), self.now()).await?.outcome?;
        if !again.steps.is_empty() {
            return Err("a message that came twice was taken twice".into());
        }
        self.told("laboratory", "sends it again: taken before, and not told twice");
        Ok(())
    }
}
