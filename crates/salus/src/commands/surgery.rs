//! `salus surgery`: who does what is fixed here, as everywhere on this command line, unless `--as` says.

use std::{fmt::Write as _, time::Duration};

use alloy_primitives::B256;
use domain::RecordId;
use workflows::{
    Gateway, PatientActor, record,
    surgery::{
        self, Answer, FilledIn, Implant, Implanted, Phase, Plan, Referral, Report, Round, Signed,
        Signing, Team,
    },
};

use super::{Commands, Output, step_text};
use crate::{
    Error,
    cli::{SurgeryCommand, SurgeryNote, SurgeryPlan},
};

impl Commands<'_> {
    pub(super) async fn surgery(&self, command: SurgeryCommand) -> Output {
        let hospital = self.gateway("hospital")?;
        let (physician, nurse) = (self.person("physician")?, self.person("nurse")?);
        let (surgeon, now) = (self.person("surgeon")?, self.now());
        let steps = match command {
            SurgeryCommand::Refer { patient, operation, reason } => {
                let patient = self.patient(&patient)?;
                let (place, referral) = (hospital.member(), Referral { operation, reason });
                let (anchor, steps) =
                    surgery::refer(hospital, physician, &patient, place, &referral, now).await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("surgery {}\n{text}", anchor.record), 0));
            }
            SurgeryCommand::Assess(plan) => {
                let (patient, id, plan) = self.plan(plan)?;
                let (anchor, steps) =
                    surgery::assess(hospital, surgeon, &patient, id, &plan, now).await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("plan {}\n{text}", anchor.record), 0));
            }
            SurgeryCommand::Return(plan) => {
                let (patient, id, plan) = self.plan(plan)?;
                let (anchor, steps) =
                    surgery::return_to_theatre(hospital, surgeon, &patient, id, &plan, now).await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("plan {}\n{text}", anchor.record), 0));
            }
            SurgeryCommand::Consent { patient, id, plan } => {
                let patient = self.patient(&patient)?;
                let (keeper, plan) = self.anchor(RecordId(plan)).await?;
                // Nobody consents to what they cannot open.
                let body = record::verify(keeper, &patient, &plan).await?;
                let (_, steps) =
                    surgery::consent(hospital, surgeon, &patient, id, &plan, now).await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("{} opens it: {} bytes\n{text}", patient.name, body.len()), 0));
            }
            SurgeryCommand::Certify { patient, id, reason, person } => {
                let (patient, person) = (self.patient(&patient)?, self.person(&person)?);
                let (_, held) = surgery::standing(hospital, id).await?;
                let about = (id, held.plan);
                surgery::certify(hospital, person, &patient, about, &reason, now).await?.1
            }
            SurgeryCommand::Withdraw { patient, id } => {
                let patient = self.patient(&patient)?;
                vec![surgery::withdraw_consent(hospital, &patient, id, now).await?]
            }
            SurgeryCommand::Schedule { id, hours, theatre } => {
                let at = now.after(Duration::from_secs(hours.saturating_mul(3_600)));
                let team = Team {
                    surgeon: surgeon.member,
                    anaesthetist: physician.member,
                    nurse: nurse.member,
                };
                vec![surgery::schedule(hospital, nurse, id, &team, at, &theatre).await?]
            }
            SurgeryCommand::Checklist { phase } => {
                let items = self::phase(&phase).items().iter();
                let line = |item: &surgery::Item| {
                    format!("{}: {} ({})\n", item.key, item.question, item.takes.describe())
                };
                let lines = items.map(line);
                return Ok((lines.collect(), 0));
            }
            SurgeryCommand::Sign { patient, id, phase, person, digest, answers, urgent, anew } => {
                let (patient, person) = (self.patient(&patient)?, self.person(&person)?);
                let phase = self::phase(&phase);
                let signed = match digest {
                    Some(digest) => {
                        let signing = Signing { phase, digest, anew };
                        surgery::sign(hospital, person, &patient, id, &signing, now).await?
                    }
                    None => {
                        let answers = parse_answers(&answers)?;
                        let urgent = urgent.as_deref();
                        let filled_in = FilledIn { phase, answers: &answers, urgent, anew };
                        surgery::fill_in(hospital, person, &patient, id, &filled_in, now).await?
                    }
                };
                return Ok((signed_text(&signed), 0));
            }
            SurgeryCommand::SignOut { patient, id, person, digest, performed, answers, anew } => {
                let (patient, person) = (self.patient(&patient)?, self.person(&person)?);
                let signed = match digest {
                    Some(digest) => {
                        let signing = Signing { phase: Phase::SignOut, digest, anew };
                        surgery::sign(hospital, person, &patient, id, &signing, now).await?
                    }
                    None => {
                        let answers = parse_answers(&answers)?;
                        let performed = performed.unwrap_or_default();
                        let report = Report { performed: &performed, answers: &answers, anew };
                        surgery::report(hospital, person, &patient, id, &report, now).await?
                    }
                };
                return Ok((signed_text(&signed), 0));
            }
            SurgeryCommand::Incise { id } => {
                vec![surgery::incise(hospital, surgeon, id, now).await?]
            }
            SurgeryCommand::Implant { patient, id, maker, model, serial, lot } => {
                let patient = self.patient(&patient)?;
                let device = Implant { maker, model, serial, lot, lot_digest: None };
                let (implant, steps) =
                    surgery::implant(hospital, nurse, &patient, id, &device, now).await?;
                let text = steps.iter().map(step_text).collect::<String>();
                return Ok((format!("implant {implant}\n{text}"), 0));
            }
            SurgeryCommand::Void { id, implant } => {
                vec![surgery::void_implant(hospital, nurse, id, implant).await?]
            }
            SurgeryCommand::Explant { id, implant } => {
                vec![surgery::explant(hospital, surgeon, id, implant).await?]
            }
            SurgeryCommand::HandOver(SurgeryNote { patient, id, text }) => {
                let patient = self.patient(&patient)?;
                surgery::hand_over(hospital, physician, &patient, id, &text, now).await?.1
            }
            SurgeryCommand::Discharge(SurgeryNote { patient, id, text }) => {
                let patient = self.patient(&patient)?;
                surgery::discharge(hospital, surgeon, &patient, id, &text, now).await?.1
            }
            SurgeryCommand::FollowUp(SurgeryNote { patient, id, text }) => {
                let patient = self.patient(&patient)?;
                surgery::follow_up(hospital, physician, &patient, id, &text, now).await?.1
            }
            SurgeryCommand::Complication(SurgeryNote { patient, id, text }) => {
                let patient = self.patient(&patient)?;
                surgery::report_complication(hospital, nurse, &patient, id, &text, now).await?.1
            }
            SurgeryCommand::Cancel(SurgeryNote { patient, id, text }) => {
                let patient = self.patient(&patient)?;
                surgery::cancel(hospital, surgeon, &patient, id, &text, now).await?.1
            }
            SurgeryCommand::Show { id } => return self.show_surgery(hospital, id).await,
            SurgeryCommand::Trace { maker, serial } => {
                let implant = surgery::implant_digest(hospital, &maker, &serial);
                let found = surgery::trace(hospital, implant).await?;
                if found.is_empty() {
                    return Err("no such implant was put into anybody here".into());
                }
                let places = found.into_iter().map(|place| (implant, place));
                return Ok((self.implants_text(places), 0));
            }
            SurgeryCommand::Recall { maker, lot } => {
                let lot = surgery::lot_digest(hospital, &maker, &lot);
                let found = surgery::recall(hospital, lot).await?;
                if found.is_empty() {
                    return Err("nobody here has an implant of this lot".into());
                }
                return Ok((self.implants_text(found), 0));
            }
        };
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    fn plan(&self, plan: SurgeryPlan) -> Result<(std::sync::Arc<PatientActor>, B256, Plan), Error> {
        let SurgeryPlan { patient, id, operation, site, disclosed } = plan;
        Ok((self.patient(&patient)?, id, Plan { operation, site, disclosed }))
    }

    /// Where implants are.
    fn implants_text(&self, places: impl IntoIterator<Item = (B256, Implanted)>) -> String {
        let mut text = String::new();
        for (implant, Implanted { surgery, patient, removed }) in places {
            let patient = self.consortium.name_of(patient);
            let removed = if removed { ", taken out since" } else { "" };
            let _ = writeln!(text, "implant {implant}\n  in {patient}, surgery {surgery}{removed}");
        }
        text
    }

    /// Who operates when, and who signed what.
    fn round_text(&self, round: &Round) -> String {
        let name = |address| self.consortium.name_of(address);
        let mut text = String::new();
        let Some((team, at)) = round.team.zip(round.scheduled_at) else {
            return "  not scheduled yet\n".into();
        };
        let [surgeon, anaesthetist, nurse] = team.map(name);
        let _ = writeln!(
            text,
            "  surgeon {surgeon}, anaesthetist {anaesthetist}, nurse {nurse}, at {at}"
        );
        for signed in &round.signed {
            let who: Vec<String> = signed.by.iter().map(|by| name(*by)).collect();
            let phase = signed.phase.name();
            let rest = if signed.is_complete { "complete" } else { "not complete" };
            let _ =
                writeln!(text, "  {phase} signed by {}, {rest}: {}", who.join(", "), signed.digest);
        }
        text
    }

    async fn show_surgery(&self, hospital: &Gateway, id: B256) -> Output {
        let (state, held) = surgery::standing(hospital, id).await?;
        let name = |address| self.consortium.name_of(address);
        let mut text = format!(
            "{}, round {}: for {}, referred by {} to the {}\n",
            state.name(),
            held.round,
            name(held.patient),
            name(held.referrer),
            name(held.hospital),
        );
        // The contract keeps team and time of the last schedule, also when that was of an earlier round.
        let rounds = surgery::rounds(hospital, id).await?;
        if let Some(round) = rounds.last() {
            text += &self.round_text(round);
        }
        for implant in surgery::implants_of(hospital, id).await? {
            let found = surgery::implant_of(hospital, held.patient, implant).await?;
            let removed = if found.is_some_and(|found| found.removed) { ", taken out" } else { "" };
            let _ = writeln!(text, "  implant {implant}{removed}");
        }
        Ok((text, 0))
    }
}

fn phase(name: &str) -> Phase {
    match name {
        "sign-in" => Phase::SignIn,
        "time-out" => Phase::TimeOut,
        _ => Phase::SignOut,
    }
}

fn parse_answers(answers: &[String]) -> Result<Vec<Answer<'_>>, Error> {
    let parsed = answers.iter().map(|answer| answer.split_once('='));
    let parsed: Option<Vec<_>> = parsed.collect();
    parsed.ok_or_else(|| "an answer is ITEM=TEXT".into())
}

fn signed_text(signed: &Signed) -> String {
    let steps = signed.steps.iter().map(step_text).collect::<String>();
    let rest = if signed.complete { "complete" } else { "the others sign the same" };
    format!("signed {}: {rest}\n{steps}", signed.digest)
}
