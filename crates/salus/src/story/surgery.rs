//! The story's operation, from the referral to the follow-up.

use std::time::Duration;

use workflows::{
    record,
    surgery::{self, Answer, Implant, Implanted, Phase, Plan, Referral, Signed, Team},
};

use super::Teller;
use crate::Error;

impl Teller<'_> {
    pub(super) async fn surgery(&mut self) -> Result<(), Error> {
        self.heading("An operation: consent, the safety checklist, an implant, and the follow-up");
        let hospital = self.gateway("hospital");
        let (physician, surgeon) = (self.person("physician"), self.person("surgeon"));
        let (nurse, patient) = (self.person("nurse"), self.patient);
        let referral = Referral {
            operation: "total replacement of the left hip".into(),
            reason: "osteoarthritis of the left hip".into(),
        };
        let place = hospital.member();
        let (referral, steps) =
            surgery::refer(hospital, physician, patient, place, &referral, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let id = referral.record.0;
        let plan = Plan {
            operation: "total replacement of the left hip".into(),
            site: "left hip".into(),
            disclosed: "infection, thrombosis, loosening; physiotherapy as the alternative".into(),
        };
        let assessed = surgery::assess(hospital, nurse, patient, id, &plan, self.now()).await;
        self.refused("nurse", "writes the plan", assessed)?;
        let (plan, steps) =
            surgery::assess(hospital, surgeon, patient, id, &plan, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let team =
            Team { surgeon: surgeon.member, anaesthetist: physician.member, nurse: nurse.member };
        let tomorrow = self.now().after(Duration::from_secs(86_400));
        let schedule = || surgery::schedule(hospital, nurse, id, &team, tomorrow, "theatre 1");
        self.refused("nurse", "schedules it without the patient's consent", schedule().await)?;
        let body = record::verify(hospital, patient, &plan).await?;
        self.told(
            &patient.name,
            &format!("opens the plan with their own key, {} bytes", body.len()),
        );
        let (_, steps) =
            surgery::consent(hospital, surgeon, patient, id, &plan, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let step = schedule().await?;
        self.tell(step);

        let signed = self.fill_in("nurse", id, Phase::SignIn).await?;
        let early = surgery::incise(hospital, surgeon, id).await;
        self.refused("surgeon", "begins before sign-in and time-out", early)?;
        self.sign(&["physician"], id, &signed).await?;
        let signed = self.fill_in("nurse", id, Phase::TimeOut).await?;
        self.sign(&["physician"], id, &signed).await?;
        let early = surgery::incise(hospital, surgeon, id).await;
        self.refused("surgeon", "begins before their own signature of the time-out", early)?;
        self.sign(&["surgeon"], id, &signed).await?;
        let step = surgery::incise(hospital, surgeon, id).await?;
        self.tell(step);

        // A serial number is used once, and each story has its own.
        let device = Implant {
            maker: "Example Orthopaedics".into(),
            model: "hip stem, size 4".into(),
            serial: id.to_string(),
            lot: "L-17".into(),
            lot_digest: None,
        };
        let (implant, steps) =
            surgery::implant(hospital, nurse, patient, id, &device, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let found = surgery::trace(hospital, implant).await?;
        let back = surgery::implants_of(hospital, id).await?;
        let here = Implanted { surgery: id, patient: patient.account(), removed: false };
        if found != [here] || back != [implant] {
            return Err("the implant does not lead to this patient and back".into());
        }
        self.told("hospital", "traces the implant to surgery and patient, and the surgery to it");

        let checklist = answers(Phase::SignOut);
        let now = self.now();
        let done = "total replacement of the left hip, uncemented";
        let mut report =
            surgery::report(hospital, surgeon, patient, id, done, &checklist, now).await?;
        std::mem::take(&mut report.steps).into_iter().for_each(|step| self.tell(step));
        for person in [physician, nurse] {
            let phase = Phase::SignOut;
            let signed = surgery::sign(hospital, person, id, phase, report.digest).await?;
            signed.steps.into_iter().for_each(|step| self.tell(step));
        }
        let note = "awake, in no pain";
        let done = surgery::hand_over(hospital, physician, patient, id, note, self.now()).await?;
        done.1.into_iter().for_each(|step| self.tell(step));
        let note = "fever on the second day; settled";
        let done = surgery::report_complication(hospital, nurse, patient, id, note, self.now());
        done.await?.1.into_iter().for_each(|step| self.tell(step));
        let note = "walk daily, wound check in ten days";
        let done = surgery::discharge(hospital, surgeon, patient, id, note, self.now()).await?;
        done.1.into_iter().for_each(|step| self.tell(step));
        let note = "walks without pain";
        let done = surgery::follow_up(hospital, physician, patient, id, note, self.now()).await?;
        done.1.into_iter().for_each(|step| self.tell(step));
        Ok(())
    }

    async fn fill_in(
        &mut self,
        who: &str,
        id: alloy_primitives::B256,
        phase: Phase,
    ) -> Result<(Phase, Signed), Error> {
        let (hospital, person) = (self.gateway("hospital"), self.person(who));
        let (answers, now) = (answers(phase), self.now());
        let mut signed =
            surgery::fill_in(hospital, person, self.patient, id, phase, &answers, now).await?;
        std::mem::take(&mut signed.steps).into_iter().for_each(|step| self.tell(step));
        Ok((phase, signed))
    }

    /// Others sign what was filled in.
    async fn sign(
        &mut self,
        who: &[&str],
        id: alloy_primitives::B256,
        (phase, filled_in): &(Phase, Signed),
    ) -> Result<(), Error> {
        for name in who {
            let (hospital, person) = (self.gateway("hospital"), self.person(name));
            let signed = surgery::sign(hospital, person, id, *phase, filled_in.digest).await?;
            signed.steps.into_iter().for_each(|step| self.tell(step));
        }
        Ok(())
    }
}

/// What the story's team answers.
fn answers(phase: Phase) -> Vec<Answer<'static>> {
    let answer = |key| match key {
        "allergy" | "airway" | "blood-loss" | "equipment" => "no",
        "recovery" => "early mobilisation, thrombosis prophylaxis",
        _ => "yes",
    };
    phase.items().iter().map(|item| (item.key, answer(item.key))).collect()
}
