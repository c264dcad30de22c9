//! What the commands about waiting lists and their censuses do.

use std::{fmt::Write as _, path::Path, time::Duration};

use alloy_primitives::B256;
use workflows::{
    Gateway, Person,
    census::{self, Census, Hospital, Month, Reading, Reference, RowProof},
    waiting_list::{self, Listing, Referral, State},
};

use super::{Commands, Output, step_text};
use crate::{
    Error,
    cli::{CensusRows, WaitlistCommand},
    table::{Table, short, thousands},
};

/// How many hospitals with their months are named when the wanted one is not there.
const FOUND_SHOWN: usize = 8;

/// How many rows that were not understood are shown of one command's files.
const PROBLEMS_SHOWN: usize = 20;

/// What was read of files.
struct Read {
    /// The wanted censuses.
    censuses: Vec<Census>,
    /// Hospital and month of everything in the files, wanted or not.
    found: Vec<String>,
    /// What was not understood.
    reading: Reading,
}

impl<'a> Commands<'a> {
    pub(super) async fn waitlist(&self, command: WaitlistCommand) -> Output {
        let now = self.now();
        let steps = match command {
            WaitlistCommand::Refer { patient, specialty, reason, referrer, to, referral } => {
                let patient = self.patient(&patient)?;
                let (from, referrer) = self.at_work(&referrer)?;
                let hospital = self.gateway(&to)?.member();
                let made = Referral::new(from, specialty, reason);
                let referral = Referral { number: referral.unwrap_or(made.number), ..made };
                let referred =
                    waiting_list::refer(from, referrer, &patient, hospital, &referral, now);
                let (anchor, steps) = referred.await?;
                let text = steps.iter().map(step_text).collect::<String>();
                let number = referral.number;
                return Ok((format!("listing {}\nreferral {number}\n{text}", anchor.record), 0));
            }
            WaitlistCommand::Prioritise { id, priority, by } => {
                let (hospital, doctor) = self.at_work(&by)?;
                vec![waiting_list::prioritise(hospital, doctor, id, priority).await?]
            }
            WaitlistCommand::Schedule { patient, id, minutes, by } => {
                let patient = self.patient(&patient)?;
                let (hospital, person) = self.at_work(&by)?;
                let at = now.after(Duration::from_secs(minutes.saturating_mul(60)));
                waiting_list::schedule(hospital, person, &patient, id, at, now).await?.1
            }
            WaitlistCommand::Attend { id, by } => {
                let (hospital, person) = self.at_work(&by)?;
                vec![waiting_list::attend(hospital, person, id).await?]
            }
            WaitlistCommand::Miss { id, by } => {
                let (hospital, person) = self.at_work(&by)?;
                vec![waiting_list::miss(hospital, person, id).await?]
            }
            WaitlistCommand::Remove { patient, id, reason, by } => {
                let patient = self.patient(&patient)?;
                if let Some(by) = by {
                    let (gateway, person) = self.at_work(&by)?;
                    waiting_list::remove(gateway, person, &patient, id, &reason, now).await?.1
                } else {
                    let relay = self.gateway("hospital")?;
                    let (salt, step) =
                        waiting_list::leave(relay, &patient, id, &reason, now).await?;
                    let text = step_text(&step);
                    return Ok((format!("{text}the salt of the reason: {salt}\n"), 0));
                }
            }
            WaitlistCommand::Show { id } => return self.show_listing(id).await,
            WaitlistCommand::Census { rows, anchor, check, at } => {
                return self.census(&rows, anchor, check, &at).await;
            }
            WaitlistCommand::Prove { rows, row, at, version, out } => {
                return self.prove_row(&rows, row, &at, version, &out).await;
            }
            WaitlistCommand::Verify { proof } => return self.verify_row(&proof).await,
        };
        Ok((steps.iter().map(step_text).collect(), 0))
    }

    /// A person, and the institution that they act for.
    pub(super) fn at_work(&self, name: &str) -> Result<(&'a Gateway, &'a Person), Error> {
        let person = self.person(name)?;
        let mut people = self.consortium.people();
        let found = people.find(|(_, found)| found.member == person.member);
        let (institution, _) = found.ok_or("everybody here acts for an institution")?;
        Ok((self.gateway(institution)?, person))
    }

    async fn show_listing(&self, id: B256) -> Output {
        let held = waiting_list::listing(self.gateway("hospital")?, id).await?;
        let Listing { patient, hospital, referrer, .. } = held;
        let name = |address| self.consortium.name_of(address);
        let state = match held.state {
            State::Listed => "waits for a priority",
            State::Prioritised => "waits for an appointment",
            State::Scheduled => "has an appointment",
            State::Attended => "came",
            State::Removed => "waits no more",
        };
        let mut text = format!(
            "{} {state}: at {} since {}, referred by {}\n",
            name(patient),
            name(hospital),
            held.listed_at,
            name(referrer),
        );
        if let Some(priority) = held.priority {
            let _ = writeln!(text, "  priority {priority}");
        }
        if let Some(time) = held.appointment_at {
            let _ = writeln!(text, "  appointment at {time}");
        }
        if held.missed > 0 {
            let _ = writeln!(text, "  did not come {} times", held.missed);
        }
        Ok((text, 0))
    }

    /// The wanted censuses of the files.
    fn read_censuses(&self, rows: &CensusRows) -> Result<Read, Error> {
        let mut reading = Reading::default();
        for file in &rows.files {
            let bytes = std::fs::read(self.directory.join(file))
                .map_err(|error| format!("could not read {}: {error}", file.display()))?;
            reading.read(&file.display().to_string(), &bytes, rows.of.as_ref());
        }
        let entries = std::mem::take(&mut reading.entries);
        let wanted = |census: &Census| {
            rows.hospital.as_ref().is_none_or(|hospital| hospital == census.hospital())
                && rows.month.is_none_or(|month| month == census.month())
        };
        let mut censuses = Census::all_of(entries);
        let name = |census: &Census| format!("{} for {}", census.hospital(), census.month());
        let found = censuses.iter().map(name).collect();
        censuses.retain(wanted);
        Ok(Read { censuses, found, reading })
    }

    async fn census(&self, rows: &CensusRows, anchor: bool, check: bool, at: &str) -> Output {
        let publisher = self.gateway(at)?;
        let Read { censuses, found, reading } = self.read_censuses(rows)?;
        let mut text = problems_text(&reading);
        let is_whole = reading.problems.is_empty();
        let mut code = u8::from(!is_whole || censuses.is_empty());
        if censuses.is_empty() {
            text += &nothing_text(rows, &found);
        }
        if anchor && !is_whole {
            // The row may be of any of them, whose total would be wrong.
            text += "nothing is anchored: a census of rows that were not understood is wrong\n";
        }
        let head = ["hospital", "month", "rows", "people", "root", "on chain"];
        let mut table = Table::new(&head, &[2, 3]);
        let mut steps = String::new();
        for census in &censuses {
            let sum = census.sum()?;
            let standing = if anchor && is_whole {
                match census::published(publisher, census).await? {
                    Some(reference) => format!("version {} already", reference.version),
                    None => {
                        let (reference, step) = census::anchor(publisher, census).await?;
                        steps += &step_text(&step);
                        format!("version {} now", reference.version)
                    }
                }
            } else if check {
                let (same, standing) = recounted(publisher, census).await?;
                code |= u8::from(!same);
                standing
            } else {
                "not asked".into()
            };
            table.row(vec![
                census.hospital().to_string(),
                census.month().to_string(),
                thousands(sum.rows.into()),
                thousands(sum.total),
                short(sum.root),
                standing,
            ]);
        }
        if !table.is_empty() {
            text += &table.to_string();
        }
        Ok((text + &steps, code))
    }

    async fn prove_row(
        &self,
        rows: &CensusRows,
        row: u32,
        at: &str,
        version: Option<u64>,
        out: &Path,
    ) -> Output {
        let publisher = self.gateway(at)?;
        let Read { censuses, reading, .. } = self.read_censuses(rows)?;
        let [census] = &*censuses else {
            return Err("name one hospital and month of these files: --hospital, --month".into());
        };
        let (hospital, month) = (census.hospital().clone(), census.month());
        let member = publisher.member();
        let version = match version {
            Some(version) => version,
            None => census::versions(publisher, member, &hospital, month).await?,
        };
        let reference = Reference { publisher: member, hospital, month, version };
        let recount = census::recount(publisher, &reference, census).await?;
        if !recount.is_same() {
            return Err("these are not the rows that were published".into());
        }
        let proven = row.checked_sub(1).and_then(|number| census.prove(&reference, number));
        let proof = proven.ok_or("there is no such row; they are counted from 1")?;
        std::fs::write(self.directory.join(out), serde_json::to_vec_pretty(&proof)?)
            .map_err(|error| format!("could not write {}: {error}", out.display()))?;
        let text = format!(
            "{}wrote {}: {} people, {} hashes\n",
            problems_text(&reading),
            out.display(),
            proof.row.count,
            proof.proof.len()
        );
        Ok((text, 0))
    }

    async fn verify_row(&self, path: &Path) -> Output {
        let bytes = std::fs::read(self.directory.join(path))
            .map_err(|error| format!("could not read {}: {error}", path.display()))?;
        let proof: RowProof = serde_json::from_slice(&bytes)
            .map_err(|error| format!("the file is no proof of a row: {error}"))?;
        let is_row = census::verify(self.gateway("hospital")?, &proof).await?;
        let Reference { publisher, hospital, month, version } = &proof.census;
        let text = format!(
            "{} people, {} {} {}: {} the census of hospital {hospital} for {month}, version \
             {version}, that {} published\n",
            thousands(proof.row.count.into()),
            proof.row.band.case_type,
            proof.row.band.age,
            proof.row.band.time,
            if is_row { "in" } else { "NOT in" },
            self.consortium.name_of(*publisher),
        );
        Ok((text, u8::from(!is_row)))
    }
}

/// Whether a census is the newest that was published, and that in words.
async fn recounted(publisher: &Gateway, census: &Census) -> Result<(bool, String), Error> {
    let (hospital, month): (&Hospital, Month) = (census.hospital(), census.month());
    let member = publisher.member();
    let version = census::versions(publisher, member, hospital, month).await?;
    if version == 0 {
        return Ok((false, "not published".into()));
    }
    let reference = Reference { publisher: member, hospital: hospital.clone(), month, version };
    let recount = census::recount(publisher, &reference, census).await?;
    let (counted, published) = (recount.counted, recount.published);
    let standing = if recount.is_same() {
        format!("version {version}, the same")
    } else {
        let (rows, total) = (thousands(published.rows.into()), thousands(published.total));
        let why = if (counted.rows, counted.total) == (published.rows, published.total) {
            "other rows".into()
        } else {
            format!("{rows} rows, {total} people")
        };
        format!("version {version} DIFFERS: {why}")
    };
    Ok((recount.is_same(), standing))
}

/// Why there is no census of these files.
fn nothing_text(rows: &CensusRows, found: &[String]) -> String {
    if found.is_empty() {
        return "there is nothing to count: the files have no row that was understood\n".into();
    }
    let mut named = String::new();
    if let Some(hospital) = &rows.hospital {
        let _ = write!(named, " of hospital {hospital}");
    }
    if let Some(month) = rows.month {
        let _ = write!(named, " for {month}");
    }
    let shown = &found[..found.len().min(FOUND_SHOWN)];
    let more = if found.len() > FOUND_SHOWN { ", …" } else { "" };
    format!("the files have no row{named}; they have hospital {}{more}\n", shown.join(", "))
}

fn problems_text(reading: &Reading) -> String {
    let mut text = String::new();
    for problem in reading.problems.iter().take(PROBLEMS_SHOWN) {
        let _ = writeln!(text, "not understood: {problem}");
    }
    if let Some(more @ 1..) = reading.problems.len().checked_sub(PROBLEMS_SHOWN) {
        let _ = writeln!(text, "and {more} rows more");
    }
    text
}
