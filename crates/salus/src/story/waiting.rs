//! The part of the story that tells of waiting.

use std::time::{Duration, Instant};

use workflows::{
    census::{self, Census, Reading, RowProof, StatedRow},
    waiting_list::{self, Referral},
};

use super::Teller;
use crate::{Error, table::thousands};

/// A list that somebody could have published, of a hospital that is not there.
const PUBLISHED: &[u8] = include_bytes!("../../demo/waiting-list.csv");

impl Teller<'_> {
    pub(super) async fn waiting_list(&mut self) -> Result<(), Error> {
        self.heading(
            "A waiting list: a referral listed once, one attended, one left with a reason",
        );
        let (hospital, physician) = (self.gateway("hospital"), self.person("physician"));
        let (patient, member) = (self.patient, hospital.member());
        let referral = Referral::new(hospital, "Cardiology", "palpitations under treatment");
        let refer =
            || waiting_list::refer(hospital, physician, patient, member, &referral, self.now());
        let (listing, steps) = refer().await?;
        let again = refer().await;
        steps.into_iter().for_each(|step| self.tell(step));
        self.refused("physician", "lists the same referral a second time", again)?;
        let id = listing.record.0;
        let later = self.now().after(Duration::from_secs(14 * 86_400));
        let early =
            waiting_list::schedule(hospital, physician, patient, id, later, self.now()).await;
        self.refused("physician", "gives an appointment without a priority", early)?;
        let consultant = self.person("consultant");
        let foreign = waiting_list::prioritise(hospital, consultant, id, 1).await;
        self.refused("consultant", "gives a priority at a hospital of others", foreign)?;
        let started = Instant::now();
        let step = waiting_list::prioritise(hospital, physician, id, 2).await?;
        // Blocks may come at intervals, and no appointment is given for a time before its block.
        let soon = self.now().after(started.elapsed() * 4 + Duration::from_secs(2));
        self.tell(step);
        let (_, steps) =
            waiting_list::schedule(hospital, physician, patient, id, soon, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        while self.now() < soon {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let step = waiting_list::attend(hospital, physician, id).await?;
        self.tell(step);
        let again = waiting_list::attend(hospital, physician, id).await;
        self.refused("physician", "says a second time that the patient came", again)?;

        let referral = Referral::new(hospital, "Orthopaedics", "pain in the knee");
        let (listing, steps) =
            waiting_list::refer(hospital, physician, patient, member, &referral, self.now())
                .await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let reason = "treated elsewhere";
        let (_, step) =
            waiting_list::leave(hospital, patient, listing.record.0, reason, self.now()).await?;
        self.tell(step);
        Ok(())
    }

    pub(super) async fn census(&mut self) -> Result<(), Error> {
        self.heading("A census of a waiting list: each row provable, the total counted again");
        let hospital = self.gateway("hospital");
        let read = |bytes: &[u8]| {
            let mut reading = Reading::default();
            reading.read("waiting-list.csv", bytes, None);
            if let Some(problem) = reading.problems.pop() {
                return Err(Error::from(problem));
            }
            Census::all_of(reading.entries).pop().ok_or_else(|| "there are no rows".into())
        };
        let census = read(PUBLISHED)?;
        let (reference, step) = census::anchor(hospital, &census).await?;
        self.tell(step);

        let proof = census.prove(&reference, 0).ok_or("a census has rows")?;
        if !census::verify(hospital, &proof).await? {
            return Err("a row of the census was not proven".into());
        }
        let what =
            format!("proves a row of {} people with {} hashes", proof.row.count, proof.proof.len());
        self.told("hospital", &what);
        let more = StatedRow { count: proof.row.count + 1, ..proof.row.clone() };
        if census::verify(hospital, &RowProof { row: more, ..proof }).await? {
            return Err("a row that is not in the census was proven".into());
        }
        self.told("reader", "holds a row with one more against the chain: not in the census");

        let recount = census::recount(hospital, &reference, &census).await?;
        if !recount.is_same() {
            return Err("the total does not come out again".into());
        }
        let total = thousands(recount.counted.total);
        self.told("reader", &format!("counts all rows again: {total} people, as published"));
        let text = String::from_utf8(PUBLISHED.into())?;
        // One row less and another more: the total stays what it was.
        let moved = text.replacen(",41\n", ",40\n", 1).replacen(",58\n", ",59\n", 1);
        let moved = read(moved.as_bytes())?;
        let recount = census::recount(hospital, &reference, &moved).await?;
        let found = census.differences(&moved).changed.len();
        if recount.is_same() || found != 2 {
            return Err("rows that were changed were not found".into());
        }
        self.told(
            "reader",
            "finds the two rows between which one person was moved, with the same total",
        );
        Ok(())
    }
}
