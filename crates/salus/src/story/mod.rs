//! One patient's story, told while it happens: every step is a transaction on the chain, and every
//! refusal is a contract's or a gatekeeper's.

mod claim;
mod device;
mod emergency;
mod medicines;
mod research;
mod results;
mod surgery;
mod trial;
mod waiting;

use std::time::{Duration, Instant};

use alloy_primitives::B256;
use clap::ValueEnum;
use domain::{Kind, KindSet, Purpose, Timestamp};
use gatekeeper::{FindingKind, Report};
use serde_json::json;
use workflows::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    access::{self, Wanted},
    import::SourceFile,
    record::{self, Draft, Verdict},
    relationship,
};

use crate::{
    Error,
    consortium::Consortium,
    printing::{put, say},
    table::{Table, short, thousands},
    tamper,
};

/// How many lines of a timeline or log are shown.
const LINES_SHOWN: usize = 80;

/// What the story leaves for the tables at the end.
pub(crate) struct Story {
    /// Every step.
    pub(crate) steps: Vec<Step>,
    /// Versions that reconciling read.
    pub(crate) reconciled_versions: u64,
    /// Their sealed bytes.
    pub(crate) reconciled_bytes: u64,
    /// How long that took.
    pub(crate) reconcile_time: Duration,
}

/// A part of the story, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Chapter {
    /// A record proposed, and accepted or rejected.
    Records,
    /// Prescriptions.
    Rx,
    /// Laboratory orders and results.
    Lab,
    /// Breaking the glass.
    Emergency,
    /// An operation.
    Surgery,
    /// Waiting, and the census of who waits.
    Waitlist,
    /// A clinical trial.
    Trial,
    /// Insurance: a claim, its decision and its payment.
    Claim,
    /// A study with what patients let it use.
    Research,
    /// A device at the patient, and its readings.
    Device,
    /// What the patient sees, and who looked.
    Patient,
}

/// Plays the story for the first patient, or only one chapter of it.
pub(crate) async fn play(consortium: &Consortium, only: Option<Chapter>) -> Result<Story, Error> {
    let patient = consortium.patients.find("P001");
    let patient = patient.ok_or("there is no patient to tell a story of; import some records")?;
    let mut teller = Teller { consortium, patient: &patient, steps: Vec::new() };
    say!();
    say!("The story of {}, account {}", patient.name, patient.account());
    teller.relationships().await?;
    let told = Chapter::value_variants().iter().filter(|one| only.is_none_or(|only| only == **one));
    for chapter in told {
        teller.chapter(*chapter).await?;
    }
    teller.timeline().await?;
    let (versions, bytes, took) = teller.reconcile().await?;
    if only.is_none() {
        teller.tampering().await?;
    }
    Ok(Story {
        steps: teller.steps,
        reconciled_versions: versions,
        reconciled_bytes: bytes,
        reconcile_time: took,
    })
}

/// Tells the story.
struct Teller<'a> {
    consortium: &'a Consortium,
    patient: &'a PatientActor,
    steps: Vec<Step>,
}

impl<'a> Teller<'a> {
    async fn chapter(&mut self, chapter: Chapter) -> Result<(), Error> {
        match chapter {
            Chapter::Records => self.records().await,
            Chapter::Rx => {
                self.prescription().await?;
                self.controlled_medicine().await
            }
            Chapter::Lab => {
                self.laboratory().await?;
                self.versions_of_a_result().await?;
                self.result_as_a_message().await
            }
            Chapter::Emergency => self.emergency().await,
            Chapter::Surgery => self.surgery().await,
            Chapter::Waitlist => {
                self.waiting_list().await?;
                self.census().await
            }
            Chapter::Trial => self.trial().await,
            Chapter::Claim => self.claim().await,
            Chapter::Research => self.research().await,
            Chapter::Device => self.device().await,
            Chapter::Patient => {
                self.own_records().await?;
                self.log().await
            }
        }
    }

    fn heading(&self, title: &str) {
        say!();
        say!("{title}");
    }

    /// Something that happened.
    fn tell(&mut self, step: Step) {
        say!(
            "  {:<11} {}\n  {:<11} block {}, transaction {}, {} gas, {}",
            step.actor,
            self.consortium.shorten(&step.what),
            "",
            step.block,
            short(step.transaction),
            thousands(step.gas_used),
            step.time,
        );
        self.steps.push(step);
    }

    /// Something that was read.
    fn told(&self, who: &str, what: &str) {
        say!("  {who:<11} {what}");
    }

    /// Something that must have been refused.
    fn refused<T>(
        &self,
        who: &str,
        what: &str,
        outcome: Result<T, WorkflowError>,
    ) -> Result<(), Error> {
        match outcome {
            Err(error) if error.is_refusal() => {
                let reason = self.consortium.shorten(&error.to_string());
                say!("  {who:<11} {what}: refused\n  {:<11} {reason}", "");
                Ok(())
            }
            Err(error) => Err(error.into()),
            Ok(_) => Err(format!("{who} {what} was not refused, and must have been").into()),
        }
    }

    fn now(&self) -> Timestamp {
        self.consortium.now()
    }

    fn gateway(&self, name: &str) -> &'a Gateway {
        self.consortium.institution(name)
    }

    fn person(&self, name: &str) -> &'a Person {
        self.consortium.person(name)
    }

    async fn read(
        &self,
        at: &str,
        who: &str,
        kinds: &[Kind],
        record: Option<domain::RecordId>,
        purpose: Purpose,
    ) -> Result<usize, WorkflowError> {
        let wanted =
            Wanted { patient: self.patient.account(), kinds: KindSet::of(kinds), record, purpose };
        let keeper = &self.gateway(at).gatekeeper;
        let (answered, _) = access::ask(keeper, self.person(who), &wanted, self.now()).await?;
        Ok(answered.records.len())
    }

    async fn relationships(&mut self) -> Result<(), Error> {
        self.heading("Relationships");
        let patient = self.patient;
        for (name, countersigned) in [("laboratory", true), ("pharmacy", false)] {
            let steward = self.gateway(name);
            steward.gatekeeper.refresh(self.now()).await?;
            let held = {
                let projection = steward.gatekeeper.projection().await;
                let held = projection.consents.relationship(patient.account(), steward.member());
                held.and_then(|held| held.state)
            };
            if held == Some(domain::RelationshipState::Active) {
                self.told(name, "has a relationship with the patient already");
                continue;
            }
            let step = relationship::propose(steward, patient, countersigned).await?;
            self.tell(step);
            let wrong = relationship::accept(steward, patient, !countersigned, self.now()).await;
            self.refused(&patient.name, "accepts another policy than the proposed one", wrong)?;
            let step = relationship::accept(steward, patient, countersigned, self.now()).await?;
            self.tell(step);
        }
        Ok(())
    }

    async fn records(&mut self) -> Result<(), Error> {
        self.heading("A record proposed, verified and accepted; another rejected");
        let (hospital, physician) = (self.gateway("hospital"), self.person("physician"));
        let patient = self.patient;
        for (text, verdict) in
            [("Essential hypertension", Verdict::Accept), ("Fracture of forearm", Verdict::Reject)]
        {
            let resource = json!({
                "resourceType": "Condition",
                "code": { "text": text },
                "subject": { "reference": format!("Patient/{}", patient.account()) },
                "recordedDate": self.now().to_string(),
            });
            let draft = Draft { kind: Kind::Condition, resource };
            let (anchor, step) =
                record::propose(hospital, physician, patient, &draft, self.now()).await?;
            self.tell(step);
            let body = record::verify(hospital, patient, &anchor).await?;
            let what = format!("opens it with their own key, {} bytes", body.len());
            self.told(&patient.name, &what);
            let step = record::answer(hospital, patient, &anchor, verdict, self.now()).await?;
            self.tell(step);
        }
        Ok(())
    }

    async fn own_records(&mut self) -> Result<(), Error> {
        self.heading("The patient's own view");
        let patient = self.patient;
        for gateway in self.consortium.institutions() {
            let (keeper, name) = (&gateway.gatekeeper, &gateway.name);
            keeper.refresh(self.now()).await?;
            let held = {
                let projection = keeper.projection().await;
                projection.consents.relationship(patient.account(), gateway.member()).is_some()
            };
            if !held {
                continue;
            }
            let (answered, _) =
                access::ask_as_patient(keeper, patient, KindSet::ALL, self.now()).await?;
            let more = if answered.more { " and there are more" } else { "" };
            let what = format!(
                "opens {} kept by the {name}{more}",
                counted(answered.records.len() as u64, "record")
            );
            self.told(&patient.name, &what);
        }
        for (name, fetched) in self.consortium.fetch_copies(patient).await? {
            let what = format!(
                "keeps copies of {} of the {name} in their own vault, each held against \
                 the chain; {} were there already",
                counted(fetched.records, "record"),
                fetched.kept_already
            );
            self.told(&patient.name, &what);
        }
        Ok(())
    }

    async fn log(&mut self) -> Result<(), Error> {
        self.heading("Who looked: the patient's access log");
        let patient = self.patient.account();
        let mut receipts = Vec::new();
        for gateway in self.consortium.institutions() {
            let found = gateway.gatekeeper.receipts_of(patient, None, 100).await?;
            receipts.extend(found.into_iter().map(|found| (gateway.name.clone(), found.receipt)));
        }
        receipts.sort_by_key(|(_, receipt)| (receipt.time, receipt.sequence));
        let shown = receipts.len().saturating_sub(LINES_SHOWN);
        let mut table = Table::new(&["time", "at", "who", "purpose", "outcome"], &[]);
        for (at, receipt) in &receipts[shown..] {
            table.row(vec![
                receipt.time.to_string(),
                at.clone(),
                self.consortium.name_of(receipt.requester),
                receipt.purpose.to_string(),
                outcome_text(&receipt.outcome),
            ]);
        }
        put(format_args!("{table}"));
        for gateway in self.consortium.institutions() {
            let count = gateway.gatekeeper.anchor_log().await?;
            if count > 0 {
                self.told(&gateway.name, &format!("anchors {count} receipts of its access log"));
            }
        }
        Ok(())
    }

    async fn timeline(&mut self) -> Result<(), Error> {
        self.heading("The patient's timeline, every step checked against its block");
        let keeper = &self.gateway("hospital").gatekeeper;
        let timeline = keeper.patient_timeline(self.patient.account()).await?;
        put(format_args!(
            "{}",
            crate::commands::timeline_table(self.consortium, &timeline, LINES_SHOWN)
        ));
        let unchecked = timeline.steps.iter().filter(|step| !step.checked).count();
        if unchecked > 0 {
            return Err(format!("{unchecked} steps are not borne out by their blocks").into());
        }
        Ok(())
    }

    async fn reconcile(&mut self) -> Result<(u64, u64, Duration), Error> {
        self.heading("Vaults held against the chain");
        let (mut versions, mut bytes, mut took) = (0, 0, Duration::ZERO);
        for gateway in self.consortium.institutions() {
            let started = Instant::now();
            let report = gateway.gatekeeper.reconcile(self.now()).await?;
            took += started.elapsed();
            versions += report.versions;
            bytes += report.sealed_bytes;
            let what = format!(
                "{} versions against {} anchors: {}",
                thousands(report.versions),
                thousands(report.anchors),
                if report.is_clean() { "nothing differs" } else { "differences!" }
            );
            self.told(&gateway.name, &what);
            if !report.is_clean() {
                put(format_args!("{}", crate::commands::findings_table(&report)));
                return Err("a vault differs from the chain".into());
            }
        }
        Ok((versions, bytes, took))
    }

    async fn tampering(&mut self) -> Result<(), Error> {
        self.heading(
            "A copy of the hospital's vault, tampered with: one altered, one inserted, one removed",
        );
        let hospital = self.gateway("hospital");
        let dir = self.consortium.keys.dir().join("tampered-copy");
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        let (done, report) = tamper::demonstrate(self.consortium, hospital, &dir).await?;
        std::fs::remove_dir_all(&dir)?;
        put(format_args!("{}", crate::commands::findings_table(&report)));
        let expected = [
            (FindingKind::Altered, done.altered),
            (FindingKind::Inserted, done.inserted),
            (FindingKind::Missing, done.removed),
        ];
        check_exactly(&report, &expected)?;
        self.told("reconciler", "found exactly these three");
        Ok(())
    }
}

/// The reconciler must find what was done, and nothing else.
fn check_exactly(report: &Report, expected: &[(FindingKind, B256)]) -> Result<(), Error> {
    let found: Vec<_> =
        report.findings.iter().map(|finding| (finding.kind, finding.subject)).collect();
    let same = found.len() == expected.len() && expected.iter().all(|one| found.contains(one));
    if same && report.log_findings.is_empty() {
        return Ok(());
    }
    Err("the reconciler did not find exactly what was tampered with".into())
}

/// What came of a query, in a few words.
pub(crate) fn outcome_text(outcome: &domain::Outcome) -> String {
    match outcome {
        domain::Outcome::Allowed { records, basis } => {
            let basis = match basis {
                Some(domain::Basis::OwnRecord) => "own records",
                Some(domain::Basis::CareTeam) => "care team",
                Some(domain::Basis::Consent { .. }) => "consent",
                Some(domain::Basis::Workflow { .. }) => "workflow",
                Some(domain::Basis::Emergency { .. }) => "emergency",
                None => "nothing there",
            };
            format!("{}, {basis}", counted(records.len() as u64, "record"))
        }
        domain::Outcome::Refused { reason } => format!("refused: {reason}"),
    }
}

/// A few records of our own making, so that there is something to show without any data: three
/// patients who never existed.
pub(crate) fn own_records() -> Vec<SourceFile> {
    const FILES: [(&str, &str); 3] = [
        ("patient-1.json", include_str!("../../demo/patient-1.json")),
        ("patient-2.json", include_str!("../../demo/patient-2.json")),
        ("patient-3.json", include_str!("../../demo/patient-3.json")),
    ];
    FILES.map(|(name, text)| SourceFile { name: name.into(), bytes: text.into() }).into()
}

/// A number of things, as people say it.
fn counted(count: u64, thing: &str) -> String {
    match (count, thing.strip_suffix('y')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!(counted(0, "allergy"), "0 allergies");
        assert_eq!(counted(1, "allergy"), "1 allergy");
        assert_eq!(counted(2, "record"), "2 records");
    }
}
