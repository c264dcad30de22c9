//! The story's prescriptions: one dispensed once, and a controlled medicine that is held against the records.

use std::time::Duration;

use domain::{Kind, Purpose};
use workflows::prescription::{self, Checked, Dose, Known, Order, Product};

use super::{Teller, counted};
use crate::Error;

impl Teller<'_> {
    pub(super) async fn prescription(&mut self) -> Result<(), Error> {
        self.heading("A prescription, permitted by prescriber and patient, dispensed once");
        let (hospital, pharmacy) = (self.gateway("hospital"), self.gateway("pharmacy"));
        let (physician, pharmacist) = (self.person("physician"), self.person("pharmacist"));
        let patient = self.patient;
        let order = prescription::Order {
            medication: (
                "http://www.nlm.nih.gov/research/umls/rxnorm".into(),
                "314076".into(),
                "lisinopril 10 MG Oral Tablet".into(),
            ),
            dosage: "one tablet in the morning".into(),
            dose: prescription::Dose::of_milligrams("10", 1),
            quantity: 30,
            fills: 1,
            valid_for: Duration::from_secs(30 * 86_400),
            controlled: false,
            as_written: false,
        };
        let checked = self.checked(&order).await?;
        let (anchor, steps) =
            prescription::issue(hospital, physician, patient, &checked, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let id = anchor.record.0;
        let medication = [Kind::Medication];
        let read = || {
            let record = Some(anchor.record);
            self.read("hospital", "pharmacist", &medication, record, Purpose::Treatment)
        };
        self.refused("pharmacist", "reads the prescription", read().await)?;
        let claim = prescription::claim(pharmacy, pharmacist, id).await;
        self.refused("pharmacist", "claims it", claim)?;
        let member = pharmacy.member();
        let step = prescription::permit_by_prescriber(hospital, physician, id, member).await?;
        self.tell(step);
        let claim = prescription::claim(pharmacy, pharmacist, id).await;
        self.refused("pharmacist", "claims it with the prescriber's permission alone", claim)?;
        let step =
            prescription::permit_by_patient(hospital, patient, &anchor, member, self.now()).await?;
        self.tell(step);
        let record = Some(anchor.record);
        let count =
            self.read("hospital", "pharmacist", &medication, record, Purpose::Treatment).await?;
        self.told(
            "pharmacist",
            &format!("reads the prescription: {}", counted(count as u64, "record")),
        );
        let step = prescription::claim(pharmacy, pharmacist, id).await?;
        self.tell(step);
        let product = prescription::Product {
            quantity: 30,
            batch: "LX-4711".into(),
            expires: self.now().after(Duration::from_secs(400 * 86_400)),
        };
        let dispensed =
            prescription::dispense(pharmacy, pharmacist, patient, id, &product, self.now()).await?;
        dispensed.1.into_iter().for_each(|step| self.tell(step));
        let again =
            prescription::dispense(pharmacy, pharmacist, patient, id, &product, self.now()).await;
        self.refused("pharmacist", "dispenses it a second time", again)
    }

    /// Holds an order against what the hospital knows of the patient. Whatever that is, the story goes on.
    pub(super) async fn checked<'o>(&self, order: &'o Order) -> Result<Checked<'o>, Error> {
        let (hospital, physician) = (self.gateway("hospital"), self.person("physician"));
        let account = self.patient.account();
        let known = Known::read(hospital, physician.member, account, self.now()).await?;
        let what = format!(
            "holds the order against {} and {}",
            counted(known.allergies.len() as u64, "allergy"),
            counted(known.medicines.len() as u64, "medicine")
        );
        self.told(&physician.name, &what);
        match prescription::check(order, &known, None) {
            Ok(checked) => Ok(checked),
            Err(findings) => {
                for finding in findings {
                    self.told("", &finding.to_string());
                }
                let reason = Some("the benefit outweighs it; the patient is monitored");
                let checked = prescription::check(order, &known, reason);
                checked.map_err(|_| "a reason was given, and was not taken".into())
            }
        }
    }

    pub(super) async fn controlled_medicine(&mut self) -> Result<(), Error> {
        self.heading(
            "A controlled medicine: a check overridden, a second signature, another product, and the \
             patient's confirmation",
        );
        let (hospital, pharmacy) = (self.gateway("hospital"), self.gateway("pharmacy"));
        let (physician, surgeon) = (self.person("physician"), self.person("surgeon"));
        let (pharmacist, patient) = (self.person("pharmacist"), self.patient);
        let order = Order {
            medication: (String::new(), String::new(), "tramadol 50 MG Oral Capsule".into()),
            dosage: "three capsules three times a day".into(),
            dose: Dose::of_milligrams("150", 3),
            quantity: 20,
            fills: 1,
            valid_for: Duration::from_secs(7 * 86_400),
            controlled: true,
            as_written: false,
        };
        let checked = self.checked(&order).await?;
        if checked.findings().is_empty() {
            return Err("the checks did not find that the dose is too high".into());
        }
        let (anchor, steps) =
            prescription::issue(hospital, physician, patient, &checked, self.now()).await?;
        steps.into_iter().for_each(|step| self.tell(step));
        let (id, member) = (anchor.record.0, pharmacy.member());
        let step = prescription::permit_by_prescriber(hospital, physician, id, member).await?;
        self.tell(step);
        let step =
            prescription::permit_by_patient(hospital, patient, &anchor, member, self.now()).await?;
        self.tell(step);
        let claim = || prescription::claim(pharmacy, pharmacist, id);
        self.refused("pharmacist", "claims it before the second signature", claim().await)?;
        let alone = prescription::countersign(hospital, physician, id).await;
        self.refused("physician", "signs it a second time", alone)?;
        let step = prescription::countersign(hospital, surgeon, id).await?;
        self.tell(step);
        let step = claim().await?;
        self.tell(step);
        let step = prescription::release(pharmacy, pharmacist, id).await?;
        self.tell(step);
        let step = claim().await?;
        self.tell(step);
        let (other, reason) = ("tramadol 50 MG Oral Tablet", "capsules are not in stock");
        let now = self.now();
        let substituted =
            prescription::substitute(pharmacy, pharmacist, patient, id, other, reason, now);
        substituted.await?.1.into_iter().for_each(|step| self.tell(step));
        let product = Product {
            quantity: 20,
            batch: "TR-0815".into(),
            expires: self.now().after(Duration::from_secs(400 * 86_400)),
        };
        let dispensed =
            prescription::dispense(pharmacy, pharmacist, patient, id, &product, self.now()).await?;
        dispensed.1.into_iter().for_each(|step| self.tell(step));
        let now = self.now();
        let confirm = || prescription::confirm_collection(pharmacy, patient, id, 1, now);
        let step = confirm().await?;
        self.tell(step);
        self.refused(&patient.name, "confirms it a second time", confirm().await)?;
        let receipt = prescription::receipt(pharmacy, id, 1).await?;
        if receipt.is_none_or(|receipt| !receipt.confirmed || receipt.pharmacy != member) {
            return Err("the completed fill has no receipt".into());
        }
        self.told("pharmacy", "holds the receipt of the completed fill");
        Ok(())
    }
}
