//! The story's operation, from the referral to the follow-up.

use std::time::Duration;

use alloy_primitives::B256;
use workflows::{
    WorkflowError, record,
    surgery::{
        self, Answer, FilledIn, Implant, Implanted, Phase, Plan, Referral, Report, Signed, Signing,
        Team,
    },
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
        // Borrows no teller: it tells something between its calls.
        let consortium = self.consortium;
        let schedule = async |hours: u64| {
            let at = consortium.now().after(Duration::from_secs(hours * 3_600));
            surgery::schedule(hospital, nurse, id, &team, at, "theatre 1").await
        };
        let unasked = schedule(24).await;
        self.refused("nurse", "schedules it without the patient's consent", unasked)?;
        let body = record::verify(hospital, patient, &plan).await?;
        self.told(
            &patient.name,
            &format!("opens the plan with their own key, {} bytes", body.len()),
        );
        let (_, steps) =
            surgery::consent(hospital, surgeon, patient, id, &plan, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let step = schedule(24).await?;
        self.tell(step);
        for who in ["surgeon", "nurse"] {
            let member = self.person(who).member;
            hospital.gatekeeper.join_care_team(patient.account(), member, self.now()).await?;
        }
        self.told(
            "hospital",
            "lists surgeon and nurse as caring for the patient: they read what they sign",
        );
        let early = self.filled_in("nurse", id, Phase::SignIn, answers(Phase::SignIn)).await;
        self.prevented("nurse", "signs in today what is scheduled for tomorrow", early)?;
        // A theatre becomes free today.
        let step = schedule(1).await?;
        self.tell(step);

        let unmarked = answers(Phase::SignIn).into_iter().map(|(item, answer)| match item {
            "site-marked" => (item, "no"),
            _ => (item, answer),
        });
        let unmarked = self.filled_in("nurse", id, Phase::SignIn, unmarked.collect()).await;
        self.prevented("nurse", "signs in with the site not marked, and says no reason", unmarked)?;
        let plan_signed = self.signed("physician", id, (Phase::SignIn, plan.digest.0)).await;
        self.prevented("physician", "signs the plan instead of the checklist", plan_signed)?;
        let signed = self.fill_in("nurse", id, Phase::SignIn).await?;
        let early = surgery::incise(hospital, surgeon, id, self.now()).await;
        self.refused("surgeon", "begins before sign-in and time-out", early)?;
        self.sign(&["physician"], id, &signed).await?;
        let signed = self.fill_in("nurse", id, Phase::TimeOut).await?;
        self.sign(&["physician"], id, &signed).await?;
        let early = surgery::incise(hospital, surgeon, id, self.now()).await;
        self.refused("surgeon", "begins before their own signature of the time-out", early)?;
        self.sign(&["surgeon"], id, &signed).await?;
        let step = surgery::incise(hospital, surgeon, id, self.now()).await?;
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
        let performed = "total replacement of the left hip, uncemented";
        let report = Report { performed, answers: &checklist, anew: false };
        let mut report =
            surgery::report(hospital, surgeon, patient, id, &report, self.now()).await?;
        std::mem::take(&mut report.steps).into_iter().for_each(|step| self.tell(step));
        self.sign(&["physician", "nurse"], id, &(Phase::SignOut, report)).await?;
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
        id: B256,
        phase: Phase,
    ) -> Result<(Phase, Signed), Error> {
        let mut signed = self.filled_in(who, id, phase, answers(phase)).await?;
        std::mem::take(&mut signed.steps).into_iter().for_each(|step| self.tell(step));
        Ok((phase, signed))
    }

    async fn filled_in(
        &self,
        who: &str,
        id: B256,
        phase: Phase,
        answers: Vec<Answer<'_>>,
    ) -> Result<Signed, WorkflowError> {
        let (hospital, person) = (self.gateway("hospital"), self.person(who));
        let filled_in = FilledIn { phase, answers: &answers, urgent: None, anew: false };
        surgery::fill_in(hospital, person, self.patient, id, &filled_in, self.now()).await
    }

    /// Others sign what was filled in.
    async fn sign(
        &mut self,
        who: &[&str],
        id: B256,
        (phase, filled_in): &(Phase, Signed),
    ) -> Result<(), Error> {
        for name in who {
            let signed = self.signed(name, id, (*phase, filled_in.digest)).await?;
            signed.steps.into_iter().for_each(|step| self.tell(step));
        }
        Ok(())
    }

    async fn signed(
        &self,
        who: &str,
        id: B256,
        (phase, digest): (Phase, B256),
    ) -> Result<Signed, WorkflowError> {
        let (hospital, person) = (self.gateway("hospital"), self.person(who));
        let signing = Signing { phase, digest, anew: false };
        surgery::sign(hospital, person, self.patient, id, &signing, self.now()).await
    }

    /// Something that the hospital's program must have refused, before the contract was asked.
    fn prevented(
        &self,
        who: &str,
        what: &str,
        outcome: Result<Signed, WorkflowError>,
    ) -> Result<(), Error> {
        match outcome {
            Err(WorkflowError::Invalid(why)) => {
                self.told(who, &format!("{what}: refused"));
                self.told("", &self.consortium.shorten(&why));
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(_) => Err(format!("{who} {what} was not refused, and must have been").into()),
        }
    }
}

/// What the story's team answers.
fn answers(phase: Phase) -> Vec<Answer<'static>> {
    let answer = |key| match key {
        "allergy" | "airway" | "equipment" | "nurse" | "anaesthetist" => "no",
        "blood-loss" => "yes: two units are cross-matched",
        "surgeon" => "ninety minutes, 400 ml",
        "recovery" => "early mobilisation, thrombosis prophylaxis",
        _ => "yes",
    };
    phase.items().iter().map(|item| (item.key, answer(item.key))).collect()
}
