//! What the commands about emergency access do.

use std::{fmt::Write as _, time::Duration};

use alloy_primitives::B256;
use domain::{Kind, KindSet};
use workflows::emergency::{self, Needed};

use super::{Commands, Output, step_text};
use crate::{Error, cli::EmergencyCommand, table::Table};

impl Commands<'_> {
    pub(super) async fn emergency(&self, command: EmergencyCommand) -> Output {
        let department = self.gateway("emergency")?;
        match command {
            EmergencyCommand::Open { patient, kinds, minutes, reason } => {
                let (account, paramedic) =
                    (self.patient(&patient)?.account(), self.person("paramedic")?);
                let Needed { kinds, left_out } = if kinds.is_empty() {
                    emergency::needed(department, paramedic, account).await?
                } else {
                    let kinds = KindSet::of(&kinds);
                    require_open(kinds, emergency::closed(department, account).await?)?;
                    Needed { kinds, left_out: KindSet::EMPTY }
                };
                let period = Duration::from_secs(minutes.saturating_mul(60));
                let opened =
                    emergency::open(department, paramedic, account, kinds, period, &reason);
                let (opened, salt, step) = opened.await?;
                let mut text = format!("opening {}\n  salt of the reason {salt}\n", opened.id);
                if !left_out.is_empty() {
                    let _ = writeln!(text, "  left out, for the patient closed it: {left_out}");
                }
                Ok((text + &step_text(&step), 0))
            }
            EmergencyCommand::End { patient, id } => {
                let opened = self.opening(&patient, id).await?;
                let step = emergency::end(department, self.person("paramedic")?, &opened).await?;
                Ok((step_text(&step), 0))
            }
            EmergencyCommand::Report { days } => {
                let period = Duration::from_secs(days.saturating_mul(86_400));
                let head =
                    ["who", "openings", "patients", "justified", "unjustified", "overdue", ""];
                let mut table = Table::new(&head, &[1, 2, 3, 4, 5]);
                for used in emergency::usage(department, period, self.now()).await? {
                    table.row(vec![
                        self.consortium.name_of(used.professional),
                        used.openings.to_string(),
                        used.patients.to_string(),
                        used.justified.to_string(),
                        used.unjustified.to_string(),
                        used.overdue.to_string(),
                        if used.is_repeated() { "repeated".into() } else { String::new() },
                    ]);
                }
                Ok((table.to_string(), 0))
            }
            EmergencyCommand::Review { patient, id, verdict, note } => {
                let opened = self.opening(&patient, id).await?;
                let verdict = match verdict.as_str() {
                    "justified" => emergency::Verdict::Justified,
                    _ => emergency::Verdict::Unjustified,
                };
                let officer = self.person("officer")?;
                let reviewed = emergency::review(department, officer, &opened, verdict, &note);
                let (salt, step) = reviewed.await?;
                Ok((format!("salt of the note {salt}\n{}", step_text(&step)), 0))
            }
            EmergencyCommand::List { patient } => self.list_openings(&patient).await,
            EmergencyCommand::Restrict { patient, kinds, all } => {
                let patient = self.patient(&patient)?;
                let hospital = self.gateway("hospital")?;
                let kinds = kinds.into_iter().collect();
                let step = emergency::restrict(hospital, &patient, kinds, all, self.now()).await?;
                Ok((step_text(&step), 0))
            }
        }
    }

    /// An opening as the contract wants it back.
    async fn opening(&self, patient: &str, id: B256) -> Result<emergency::Opened, Error> {
        let patient = self.patient(patient)?.account();
        let department = self.gateway("emergency")?;
        Ok(emergency::opened(department, patient, id, self.now()).await?)
    }

    async fn list_openings(&self, patient: &str) -> Output {
        let patient = self.patient(patient)?;
        let keeper = &self.gateway("emergency")?.gatekeeper;
        keeper.refresh(self.now()).await?;
        let projection = keeper.projection().await;
        let mut table = Table::new(&["opening", "who", "kinds", "until", "state"], &[]);
        for held in projection.consents.emergency_openings(patient.account()) {
            let running = !held.ended && held.opened_for.contains(self.now());
            let state = match held.justified {
                Some(true) => "reviewed: justified",
                Some(false) => "reviewed: not justified",
                None if running => "open",
                None => "to be reviewed",
            };
            table.row(vec![
                held.opening.id.to_string(),
                self.consortium.name_of(held.opening.professional),
                held.opening.kinds.to_string(),
                held.opened_for.closes_at().to_string(),
                state.into(),
            ]);
        }
        Ok((table.to_string(), 0))
    }
}

/// Refuses kinds that the patient closed, and says how to ask for the others.
fn require_open(wanted: KindSet, closed: KindSet) -> Result<(), Error> {
    let open = wanted.without(closed);
    let refused = wanted.without(open);
    if refused.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = open.iter().map(Kind::name).collect();
    let rest = match names.as_slice() {
        [] => "none of what is named can be opened".to_owned(),
        names => format!("use --kinds {}", names.join(",")),
    };
    Err(format!("the patient closed this to emergency access: {refused}; {rest}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wanted: &[Kind], closed: &[Kind], expected: Result<(), &str>) {
        let outcome = require_open(KindSet::of(wanted), KindSet::of(closed));
        assert_eq!(outcome.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn closed_kinds_are_refused_with_the_kinds_to_use() {
        let all = [Kind::Allergy, Kind::Medication, Kind::Condition];
        check(&all, &[], Ok(()));
        check(&all, &[Kind::Imaging], Ok(()));
        let why = "the patient closed this to emergency access: condition; \
                   use --kinds allergy,medication";
        check(&all, &[Kind::Condition], Err(why));
        let why = "the patient closed this to emergency access: condition; \
                   none of what is named can be opened";
        check(&[Kind::Condition], &[Kind::Condition], Err(why));
    }
}
