//! The story's emergency.

use std::time::Duration;

use domain::{Kind, KindSet, Purpose};
use workflows::emergency;

use super::{Teller, counted};
use crate::Error;

impl Teller<'_> {
    pub(super) async fn emergency(&mut self) -> Result<(), Error> {
        self.heading("An emergency: the glass is broken, the patient alerted, the access reviewed");
        let (hospital, department) = (self.gateway("hospital"), self.gateway("emergency"));
        let (paramedic, officer) = (self.person("paramedic"), self.person("officer"));
        let patient = self.patient;
        let closed = KindSet::of(&[Kind::Condition]);
        let step = emergency::restrict(hospital, patient, closed, false, self.now()).await?;
        self.tell(step);
        let kinds = [Kind::Demographics, Kind::Allergy, Kind::Medication, Kind::Laboratory];
        let read = || self.read("hospital", "paramedic", &kinds, None, Purpose::Emergency);
        self.refused("paramedic", "reads without an opening", read().await)?;
        let account = patient.account();
        let wanted = KindSet::of(&kinds);
        let hour = Duration::from_secs(3_600);
        let reason = "found unconscious";
        let too_much = wanted.union(closed);
        let open = emergency::open(department, paramedic, account, too_much, hour, reason).await;
        self.refused("paramedic", "breaks the glass for what the patient closed", open)?;
        let (opened, _, step) =
            emergency::open(department, paramedic, account, wanted, hour, reason).await?;
        self.tell(step);
        let count = self.read("hospital", "paramedic", &kinds, None, Purpose::Emergency).await?;
        self.told("paramedic", &format!("reads {}", counted(count as u64, "record")));
        let read =
            || self.read("hospital", "paramedic", &[Kind::Condition], None, Purpose::Emergency);
        self.refused("paramedic", "reads what the patient closed", read().await)?;
        let read = || self.read("hospital", "consultant", &kinds, None, Purpose::Emergency);
        self.refused("consultant", "reads on the paramedic's opening", read().await)?;
        let (verdict, note) = (emergency::Verdict::Justified, "unconscious, as the call said");
        let early = emergency::review(department, officer, &opened, verdict, note).await;
        self.refused("officer", "finds it justified while it runs", early)?;
        let step = emergency::end(department, paramedic, &opened).await?;
        self.tell(step);
        let read = || self.read("hospital", "paramedic", &kinds, None, Purpose::Emergency);
        self.refused("paramedic", "reads after it was ended", read().await)?;
        let (_, step) = emergency::review(department, officer, &opened, verdict, note).await?;
        self.tell(step);
        let nothing = KindSet::EMPTY;
        let step = emergency::restrict(hospital, patient, nothing, false, self.now()).await?;
        self.tell(step);
        Ok(())
    }
}
