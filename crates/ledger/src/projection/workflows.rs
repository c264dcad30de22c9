//! Where prescriptions and laboratory orders stand, as far as it bears on who may read what.

use std::collections::HashMap;

use alloy_primitives::{Address, B256};
use bindings::{
    LabOrders::LabOrdersEvents, Prescriptions::PrescriptionsEvents, convert::timestamp,
};
use domain::{Kind, RecordDigest, Request, Timestamp, WorkflowGrant};
use serde::{Deserialize, Serialize};

use super::Moment;

/// Workflows by their ids.
///
/// A workflow's id is the id of the record that it is about: the prescription, the order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Workflows {
    prescriptions: HashMap<B256, Prescription>,
    lab_orders: HashMap<B256, LabOrder>,
}

/// A prescription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prescription {
    /// For whom.
    pub patient: Address,
    /// By whom, by member address.
    pub prescriber: Address,
    /// For which institution the prescriber acted.
    pub institution: Address,
    /// The sealed prescription.
    pub digest: RecordDigest,
    /// Units per fill.
    pub quantity: u32,
    /// How often it may be filled.
    pub fills: u8,
    /// Until when.
    pub valid_until: Timestamp,
    /// Pharmacies with who permitted each: prescriber, patient.
    pub permits: HashMap<Address, (bool, bool)>,
    /// Which pharmacy holds the claim.
    pub claimed_by: Option<Address>,
    /// Whether it is filled up.
    pub completed: bool,
    /// Whether it was cancelled.
    pub cancelled: bool,
    /// Whether it is controlled and awaits the signature of a second doctor.
    pub unsigned: bool,
    /// When it was issued.
    pub moment: Moment,
}

/// Where a laboratory order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabOrderState {
    /// Ordered.
    Ordered,
    /// The specimen was taken.
    Collected,
    /// The result is there.
    Resulted,
    /// The result was released to the patient.
    Released,
    /// Cancelled before there was a result.
    Cancelled,
}

/// A laboratory order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabOrder {
    /// For whom.
    pub patient: Address,
    /// By whom, by member address.
    pub orderer: Address,
    /// For which institution the orderer acted.
    pub institution: Address,
    /// Which laboratory, by member address.
    pub laboratory: Address,
    /// The sealed order.
    pub digest: RecordDigest,
    /// Where it stands.
    pub state: LabOrderState,
    /// The latest sealed result, preliminary or not, once there is one.
    pub result: Option<RecordDigest>,
    /// Whether the result needs attention at once.
    pub critical: bool,
    /// Whether the orderer's side has taken notice of the result.
    pub acknowledged: bool,
    /// Whether a result of it was released: from then on it opens nothing any more to the laboratory, also
    /// when it corrects the result.
    pub was_released: bool,
    /// When it was ordered.
    pub moment: Moment,
}

impl Workflows {
    pub(super) fn apply_prescription(&mut self, event: PrescriptionsEvents, moment: Moment) {
        use PrescriptionsEvents as Event;
        match event {
            Event::PrescriptionIssued(issued) => {
                let prescription = Prescription {
                    patient: issued.patient,
                    prescriber: issued.prescriber,
                    institution: issued.institution,
                    digest: RecordDigest(issued.terms.digest),
                    quantity: issued.terms.quantity,
                    fills: issued.terms.fills,
                    valid_until: timestamp(issued.terms.validUntil),
                    permits: HashMap::new(),
                    claimed_by: None,
                    completed: false,
                    cancelled: false,
                    unsigned: false,
                    moment,
                };
                self.prescriptions.insert(issued.id, prescription);
            }
            Event::PharmacyPermitted(permitted) => {
                self.set_permit(permitted.id, permitted.pharmacy, permitted.by, true);
            }
            Event::PharmacyWithdrawn(withdrawn) => {
                self.set_permit(withdrawn.id, withdrawn.pharmacy, withdrawn.by, false);
            }
            Event::PrescriptionClaimed(claimed) => {
                self.with_prescription(claimed.id, |held| held.claimed_by = Some(claimed.pharmacy));
            }
            Event::ClaimReleased(released) => {
                self.with_prescription(released.id, |held| held.claimed_by = None);
            }
            Event::Dispensed(dispensed) => {
                // Filling up releases the claim.
                if dispensed.remaining == 0 {
                    self.with_prescription(dispensed.id, |held| held.claimed_by = None);
                }
            }
            Event::PrescriptionCompleted(completed) => {
                self.with_prescription(completed.id, |held| held.completed = true);
            }
            Event::PrescriptionCancelled(cancelled) => {
                self.with_prescription(cancelled.id, |held| held.cancelled = true);
            }
            Event::SignatureAwaited(awaited) => {
                self.with_prescription(awaited.id, |held| held.unsigned = true);
            }
            Event::PrescriptionCountersigned(signed) => {
                self.with_prescription(signed.id, |held| held.unsigned = false);
            }
            // What is handed out, and whether it arrived, changes nothing about who may read.
            Event::SubstitutionForbidden(_)
            | Event::ProductSubstituted(_)
            | Event::CollectionConfirmed(_) => {}
        }
    }

    fn with_prescription(&mut self, id: B256, change: impl FnOnce(&mut Prescription)) {
        if let Some(held) = self.prescriptions.get_mut(&id) {
            change(held);
        }
    }

    fn set_permit(&mut self, id: B256, pharmacy: Address, by: Address, permitted: bool) {
        self.with_prescription(id, |held| {
            let by_patient = by == held.patient;
            let permit = held.permits.entry(pharmacy).or_default();
            if by_patient {
                permit.1 = permitted;
            } else {
                permit.0 = permitted;
            }
        });
    }

    pub(super) fn apply_lab_order(&mut self, event: LabOrdersEvents, moment: Moment) {
        use LabOrdersEvents as Event;
        match event {
            Event::LabOrdered(ordered) => {
                let order = LabOrder {
                    patient: ordered.patient,
                    orderer: ordered.orderer,
                    institution: ordered.institution,
                    laboratory: ordered.laboratory,
                    digest: RecordDigest(ordered.digest),
                    state: LabOrderState::Ordered,
                    result: None,
                    critical: false,
                    acknowledged: false,
                    was_released: false,
                    moment,
                };
                self.lab_orders.insert(ordered.id, order);
            }
            Event::SpecimenCollected(collected) => {
                self.with_order(collected.id, |held| held.state = LabOrderState::Collected);
            }
            Event::ResultReported(reported) => {
                self.set_result(reported.id, reported.digest, reported.critical);
                self.with_order(reported.id, |held| held.state = LabOrderState::Resulted);
            }
            Event::PreliminaryReported(reported) => {
                self.set_result(reported.id, reported.digest, reported.critical);
            }
            Event::ResultCorrected(corrected) => {
                self.set_result(corrected.id, corrected.digest, corrected.critical);
                self.with_order(corrected.id, |held| held.state = LabOrderState::Resulted);
            }
            Event::ResultReleased(released) => self.with_order(released.id, |held| {
                held.state = LabOrderState::Released;
                held.was_released = true;
            }),
            Event::ResultAcknowledged(acknowledged) => {
                self.with_order(acknowledged.id, |held| held.acknowledged = true);
            }
            Event::LabOrderCancelled(cancelled) => {
                self.with_order(cancelled.id, |held| held.state = LabOrderState::Cancelled);
            }
            // Whose hands the specimen is in, and who was told again, changes nothing about who may read.
            Event::SpecimenHandedOver(_) | Event::CriticalEscalated(_) => {}
        }
    }

    /// Each version of a result is acknowledged by itself.
    fn set_result(&mut self, id: B256, digest: B256, critical: bool) {
        self.with_order(id, |held| {
            held.result = Some(RecordDigest(digest));
            (held.critical, held.acknowledged) = (critical, false);
        });
    }

    fn with_order(&mut self, id: B256, change: impl FnOnce(&mut LabOrder)) {
        if let Some(held) = self.lab_orders.get_mut(&id) {
            change(held);
        }
    }

    /// What workflows let an institution read of the version with `digest`.
    ///
    /// An id on chain is made of who prescribes or orders. A steward may still name a record as somebody
    /// else would name a workflow, and who prescribes may name any digest. So a workflow counts only when
    /// it is about this patient, was begun at the steward of the record, and names this very version, of
    /// the kind that such workflows are about. It counts no longer than the work goes on.
    #[must_use]
    pub fn grants(
        &self,
        institution: Address,
        request: &Request,
        digest: RecordDigest,
    ) -> Vec<WorkflowGrant> {
        let Request { patient, steward, record, kind, time, .. } = *request;
        let workflow = record.0;
        let grant = WorkflowGrant { workflow, institution, record };
        let about = (patient, steward, digest);
        let prescribed = self.prescriptions.get(&workflow).is_some_and(|held| {
            (held.patient, held.institution, held.digest) == about
                && kind == Kind::Medication
                && !held.cancelled
                && !held.completed
                && !held.unsigned
                && time < held.valid_until
                && held.permits.get(&institution) == Some(&(true, true))
        });
        let ordered = self.lab_orders.get(&workflow).is_some_and(|held| {
            (held.patient, held.institution, held.digest) == about
                && matches!(kind, Kind::Laboratory | Kind::Order)
                && held.laboratory == institution
                && !held.was_released
                && held.state != LabOrderState::Cancelled
        });
        if prescribed || ordered { vec![grant] } else { Vec::new() }
    }

    /// The ids of a patient's prescriptions and orders.
    #[must_use]
    pub fn of_patient(&self, patient: Address) -> Vec<B256> {
        let prescriptions = self.prescriptions.iter().filter(|(_, held)| held.patient == patient);
        let orders = self.lab_orders.iter().filter(|(_, held)| held.patient == patient);
        prescriptions.map(|(id, _)| *id).chain(orders.map(|(id, _)| *id)).collect()
    }

    /// A prescription by its id.
    #[must_use]
    pub fn prescription(&self, id: &B256) -> Option<&Prescription> {
        self.prescriptions.get(id)
    }

    /// All prescriptions.
    pub fn prescriptions(&self) -> impl Iterator<Item = (&B256, &Prescription)> {
        self.prescriptions.iter()
    }

    /// A laboratory order by its id.
    #[must_use]
    pub fn lab_order(&self, id: &B256) -> Option<&LabOrder> {
        self.lab_orders.get(id)
    }

    /// All laboratory orders.
    pub fn lab_orders(&self) -> impl Iterator<Item = (&B256, &LabOrder)> {
        self.lab_orders.iter()
    }
}

#[cfg(test)]
mod tests {
    use alloy_primitives::aliases::U40;
    use bindings::{LabOrders, Prescriptions};
    use domain::{InstitutionRole, Purpose, Reader, RecordId};

    use super::*;

    const ID: B256 = B256::repeat_byte(1);
    const DIGEST: B256 = B256::repeat_byte(2);
    const PATIENT: Address = Address::repeat_byte(3);
    const DOCTOR: Address = Address::repeat_byte(4);
    const HOSPITAL: Address = Address::repeat_byte(5);
    const OTHER: Address = Address::repeat_byte(6);
    const MOMENT: Moment = Moment { block: 1, time: Timestamp(1), transaction: B256::ZERO };

    fn permitted(by: Address) -> PrescriptionsEvents {
        let event = Prescriptions::PharmacyPermitted { id: ID, pharmacy: OTHER, by };
        PrescriptionsEvents::PharmacyPermitted(event)
    }

    /// Whether the pharmacy may read after these events.
    fn readable(events: Vec<PrescriptionsEvents>) -> bool {
        let mut workflows = Workflows::default();
        for event in events {
            workflows.apply_prescription(event, MOMENT);
        }
        let request = Request {
            reader: Reader::Institution { member: OTHER, role: InstitutionRole::Pharmacy },
            patient: PATIENT,
            steward: HOSPITAL,
            record: RecordId(ID),
            kind: Kind::Medication,
            purpose: Purpose::Treatment,
            time: Timestamp(10),
        };
        !workflows.grants(OTHER, &request, RecordDigest(DIGEST)).is_empty()
    }

    #[test]
    fn a_controlled_prescription_is_read_once_it_is_signed() {
        let terms = Prescriptions::Terms {
            patient: PATIENT,
            digest: DIGEST,
            quantity: 1,
            fills: 1,
            validUntil: U40::from(1_000),
            fillInterval: U40::ZERO,
        };
        let issued = PrescriptionsEvents::PrescriptionIssued(Prescriptions::PrescriptionIssued {
            id: ID,
            patient: PATIENT,
            prescriber: DOCTOR,
            institution: HOSPITAL,
            terms,
        });
        let awaited = Prescriptions::SignatureAwaited { id: ID, institution: HOSPITAL };
        let awaited = PrescriptionsEvents::SignatureAwaited(awaited);
        let signed =
            Prescriptions::PrescriptionCountersigned { id: ID, patient: PATIENT, by: OTHER };
        let signed = PrescriptionsEvents::PrescriptionCountersigned(signed);
        let begun = vec![issued, permitted(DOCTOR), permitted(PATIENT)];
        assert!(readable(begun.clone()));
        let unsigned = [begun, vec![awaited]].concat();
        assert!(!readable(unsigned.clone()));
        assert!(readable([unsigned, vec![signed]].concat()));
    }

    #[test]
    fn each_version_of_a_result_is_acknowledged_by_itself() {
        let mut workflows = Workflows::default();
        let by = OTHER;
        let ordered = LabOrders::LabOrdered {
            id: ID,
            patient: PATIENT,
            laboratory: OTHER,
            orderer: DOCTOR,
            institution: HOSPITAL,
            digest: DIGEST,
        };
        let preliminary = LabOrders::PreliminaryReported {
            id: ID,
            patient: PATIENT,
            by,
            digest: DIGEST,
            critical: true,
            acknowledgeBy: U40::from(1),
        };
        let corrected = LabOrders::ResultCorrected {
            id: ID,
            patient: PATIENT,
            by,
            version: 2,
            digest: B256::repeat_byte(9),
            critical: false,
            acknowledgeBy: U40::ZERO,
        };
        let acknowledged = || {
            let event = LabOrders::ResultAcknowledged {
                id: ID,
                patient: PATIENT,
                by: DOCTOR,
                digest: DIGEST,
            };
            LabOrdersEvents::ResultAcknowledged(event)
        };
        let released = LabOrders::ResultReleased { id: ID, patient: PATIENT, by, digest: DIGEST };
        let mut held = |event| {
            workflows.apply_lab_order(event, MOMENT);
            let order = workflows.lab_order(&ID).unwrap();
            (order.state, order.critical, order.acknowledged)
        };
        use LabOrderState::{Ordered, Released, Resulted};
        assert_eq!(held(LabOrdersEvents::LabOrdered(ordered)), (Ordered, false, false));
        let told = held(LabOrdersEvents::PreliminaryReported(preliminary));
        assert_eq!(told, (Ordered, true, false));
        assert_eq!(held(acknowledged()), (Ordered, true, true));
        assert_eq!(held(LabOrdersEvents::ResultReleased(released)), (Released, true, true));
        assert_eq!(held(LabOrdersEvents::ResultCorrected(corrected)), (Resulted, false, false));
        assert_eq!(workflows.lab_order(&ID).unwrap().result, Some(RecordDigest([9; 32].into())));
    }
}
