//! The story's specimen that changes hands, and its result in three versions.

use alloy_primitives::B256;
use serde_json::json;
use workflows::laboratory::{self, Version};

use super::Teller;
use crate::Error;

impl Teller<'_> {
    pub(super) async fn versions_of_a_result(&mut self) -> Result<(), Error> {
        self.heading("A result in three versions, and the specimen's chain of custody");
        let (hospital, lab) = (self.gateway("hospital"), self.gateway("laboratory"));
        let (physician, nurse) = (self.person("physician"), self.person("nurse"));
        let (scientist, patient) = (self.person("scientist"), self.patient);
        let code = json!({ "coding": [{ "system": "http://loinc.org", "code": "600-7" }],
            "text": "Bacteria identified in Blood by Culture" });
        let (order, steps) =
            laboratory::order(hospital, physician, patient, lab, &code, self.now()).await?;
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
}
