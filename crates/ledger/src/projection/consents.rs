//! Who may read what.

use std::collections::HashMap;

use alloy_primitives::{Address, B256};
use bindings::{
    Consents::ConsentsEvents, EmergencyAccess::EmergencyAccessEvents,
    Relationships::RelationshipsEvents, convert,
};
use domain::{
    Countersignature, Grant, KindSet, Opening, Period, PeriodError, Reader, RecordId,
    RelationshipState, Terms,
};
use serde::{Deserialize, Serialize};

use super::Moment;

/// Relationships, consents and emergency openings, by patient.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Consents {
    relationships: HashMap<(Address, Address), Relationship>,
    grants: HashMap<Address, Vec<Grant>>,
    countersignatures: HashMap<(Address, Address), Vec<Countersignature>>,
    changes: HashMap<Address, Vec<ConsentChange>>,
    openings: HashMap<Address, Vec<EmergencyOpening>>,
    restrictions: HashMap<Address, Restriction>,
}

/// One step in the life of a patient's consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentChange {
    /// Whom the consent names.
    pub reader: Address,
    /// The only record that it is for.
    pub record: Option<RecordId>,
    /// What was done.
    pub deed: ConsentDeed,
    /// Where and when.
    pub moment: Moment,
}

/// What was done to a consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsentDeed {
    /// The patient granted it.
    Granted {
        /// What it allows from now on.
        terms: Terms,
        /// The version of the grant.
        version: u32,
    },
    /// The patient took it back.
    Revoked,
    /// A steward signed that version as well.
    Countersigned {
        /// Who.
        steward: Address,
        /// What was signed.
        version: u32,
    },
    /// A steward took its signature back.
    CountersignatureWithdrawn {
        /// Who.
        steward: Address,
    },
}

/// A patient and a steward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relationship {
    /// Where it stands; nothing when an offer was withdrawn before it ever was accepted.
    pub state: Option<RelationshipState>,
    /// Whether consents to third parties need the steward's signature as well.
    pub countersigned: bool,
    /// Where it stood before the outstanding offer.
    before_offer: Option<RelationshipState>,
}

/// An emergency opening with what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmergencyOpening {
    /// Who may read what, when.
    pub opening: Opening,
    /// For which institution the professional acted.
    pub institution: Address,
    /// The digest of the reason given.
    pub reason: B256,
    /// The period as it was opened; ending early shortens only [`EmergencyOpening::opening`]'s.
    pub opened_for: Period,
    /// Whether it was ended before its time.
    pub ended: bool,
    /// Whether the review found it justified, once there was one.
    pub justified: Option<bool>,
    /// When it was opened.
    pub moment: Moment,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Restriction {
    kinds: KindSet,
    opted_out: bool,
}

impl Consents {
    pub(super) fn apply_relationship(&mut self, event: RelationshipsEvents) {
        use RelationshipsEvents as Event;
        match event {
            Event::RelationshipProposed(proposed) => {
                let relationship = self.relationship_mut(proposed.patient, proposed.steward);
                if relationship.state != Some(RelationshipState::Proposed) {
                    relationship.before_offer = relationship.state;
                }
                relationship.state = Some(RelationshipState::Proposed);
            }
            Event::RelationshipAccepted(accepted) => {
                let relationship = self.relationship_mut(accepted.patient, accepted.steward);
                relationship.state = Some(RelationshipState::Active);
                relationship.countersigned = accepted.countersigned;
            }
            Event::RelationshipEnded(ended) => {
                self.relationship_mut(ended.patient, ended.steward).state =
                    Some(RelationshipState::Ended);
            }
            Event::PolicyChanged(changed) => {
                self.relationship_mut(changed.patient, changed.steward).countersigned =
                    changed.countersigned;
            }
            Event::OfferDeclined(declined) => {
                self.relationship_mut(declined.patient, declined.steward).drop_offer();
            }
            Event::OfferWithdrawn(withdrawn) => {
                self.relationship_mut(withdrawn.patient, withdrawn.steward).drop_offer();
            }
            Event::PolicyProposed(_) => {}
        }
    }

    fn relationship_mut(&mut self, patient: Address, steward: Address) -> &mut Relationship {
        self.relationships.entry((patient, steward)).or_default()
    }

    /// Returns whose kinds of record a revocation closed, when the event is one.
    pub(super) fn apply(
        &mut self,
        event: ConsentsEvents,
        moment: Moment,
    ) -> Result<Option<(Address, KindSet)>, PeriodError> {
        match event {
            ConsentsEvents::ConsentGranted(granted) => {
                let grant = convert::grant(&granted)?;
                let grants = self.grants.entry(granted.patient).or_default();
                grants.retain(|held| (held.reader, held.record) != (grant.reader, grant.record));
                grants.push(grant);
                let Grant { reader, record, terms, version } = grant;
                let deed = ConsentDeed::Granted { terms, version };
                self.note(granted.patient, ConsentChange { reader, record, deed, moment });
            }
            ConsentsEvents::ConsentRevoked(revoked) => {
                let scope = (revoked.reader, convert::scope(revoked.record));
                let grants = self.grants.entry(revoked.patient).or_default();
                let held = grants.iter().position(|held| (held.reader, held.record) == scope);
                let taken = held.map(|held| grants.swap_remove(held));
                if let Some(Grant { reader, record, .. }) = taken {
                    let deed = ConsentDeed::Revoked;
                    self.note(revoked.patient, ConsentChange { reader, record, deed, moment });
                }
                return Ok(taken.map(|taken| (revoked.patient, taken.terms.kinds)));
            }
            ConsentsEvents::ConsentCountersigned(signed) => {
                let record = convert::scope(signed.record);
                let key = (signed.patient, signed.steward);
                let held = self.countersignatures.entry(key).or_default();
                held.retain(|held| (held.reader, held.record) != (signed.reader, record));
                let (reader, version) = (signed.reader, signed.version);
                held.push(Countersignature { reader, record, version });
                let deed = ConsentDeed::Countersigned { steward: signed.steward, version };
                self.note(signed.patient, ConsentChange { reader, record, deed, moment });
            }
            ConsentsEvents::CountersignatureWithdrawn(withdrawn) => {
                let record = convert::scope(withdrawn.record);
                let key = (withdrawn.patient, withdrawn.steward);
                let Some(held) = self.countersignatures.get_mut(&key) else { return Ok(None) };
                let before = held.len();
                held.retain(|held| (held.reader, held.record) != (withdrawn.reader, record));
                // Whoever takes back what was never given changes nothing.
                if held.len() < before {
                    let (reader, steward) = (withdrawn.reader, withdrawn.steward);
                    let deed = ConsentDeed::CountersignatureWithdrawn { steward };
                    self.note(withdrawn.patient, ConsentChange { reader, record, deed, moment });
                }
            }
        }
        Ok(None)
    }

    fn note(&mut self, patient: Address, change: ConsentChange) {
        self.changes.entry(patient).or_default().push(change);
    }

    pub(super) fn apply_emergency(
        &mut self,
        event: EmergencyAccessEvents,
        moment: Moment,
    ) -> Result<(), PeriodError> {
        match event {
            EmergencyAccessEvents::EmergencyOpened(opened) => {
                let opening = convert::opening(&opened)?;
                // Taken in twice, an opening that was ended once would go on in the other.
                if self.opening_mut(opened.patient, opening.id).is_some() {
                    return Ok(());
                }
                self.openings.entry(opened.patient).or_default().push(EmergencyOpening {
                    opening,
                    institution: opened.institution,
                    reason: opened.reason,
                    opened_for: opening.period,
                    ended: false,
                    justified: None,
                    moment,
                });
            }
            EmergencyAccessEvents::EmergencyEnded(ended) => {
                if let Some(held) = self.opening_mut(ended.patient, ended.id) {
                    held.ended = true;
                }
            }
            EmergencyAccessEvents::EmergencyReviewed(reviewed) => {
                if let Some(held) = self.opening_mut(reviewed.patient, reviewed.id) {
                    held.justified = Some(reviewed.verdict == JUSTIFIED);
                }
            }
            EmergencyAccessEvents::EmergencyRestricted(restricted) => {
                let kinds = KindSet::from_bits(restricted.kinds);
                let restriction = Restriction { kinds, opted_out: restricted.optedOut };
                self.restrictions.insert(restricted.patient, restriction);
            }
        }
        Ok(())
    }

    fn opening_mut(&mut self, patient: Address, id: B256) -> Option<&mut EmergencyOpening> {
        self.openings.get_mut(&patient)?.iter_mut().find(|held| held.opening.id == id)
    }

    /// The relationship of a patient and a steward, if there ever was one.
    #[must_use]
    pub fn relationship(&self, patient: Address, steward: Address) -> Option<&Relationship> {
        self.relationships.get(&(patient, steward))
    }

    /// All relationships, by patient and steward.
    pub fn relationships(&self) -> impl Iterator<Item = (&(Address, Address), &Relationship)> {
        self.relationships.iter()
    }

    /// A patient's grants.
    #[must_use]
    pub fn grants(&self, patient: Address) -> &[Grant] {
        self.grants.get(&patient).map(Vec::as_slice).unwrap_or_default()
    }

    /// Everything that became of a patient's consents, in order.
    #[must_use]
    pub fn changes(&self, patient: Address) -> &[ConsentChange] {
        self.changes.get(&patient).map(Vec::as_slice).unwrap_or_default()
    }

    /// The patients who ever consented to anything.
    pub fn patients_with_changes(&self) -> impl Iterator<Item = Address> {
        self.changes.keys().copied()
    }

    /// The patients with a grant that names a reader or the institution they act for.
    pub fn patients_granting(&self, reader: &Reader) -> impl Iterator<Item = Address> {
        let names = |grants: &[Grant]| grants.iter().any(|grant| reader.is_named_by(grant.reader));
        self.grants.iter().filter(move |(_, grants)| names(grants)).map(|(patient, _)| *patient)
    }

    /// A patient's grants that name a reader or the institution they act for.
    #[must_use]
    pub fn grants_naming(&self, patient: Address, reader: &Reader) -> Vec<Grant> {
        let grants = self.grants(patient).iter();
        grants.filter(|grant| reader.is_named_by(grant.reader)).copied().collect()
    }

    /// A steward's countersignatures under a patient's grants.
    #[must_use]
    pub fn countersignatures(&self, patient: Address, steward: Address) -> Vec<Countersignature> {
        self.countersignatures.get(&(patient, steward)).cloned().unwrap_or_default()
    }

    /// The openings of a patient's records that were not ended.
    #[must_use]
    pub fn openings(&self, patient: Address) -> Vec<Opening> {
        let held = self.emergency_openings(patient).iter();
        held.filter(|held| !held.ended).map(|held| held.opening).collect()
    }

    /// All openings of a patient's records with what became of them, in order.
    #[must_use]
    pub fn emergency_openings(&self, patient: Address) -> &[EmergencyOpening] {
        self.openings.get(&patient).map(Vec::as_slice).unwrap_or_default()
    }

    /// The openings of all patients' records, with whose they are.
    pub fn all_openings(&self) -> impl Iterator<Item = (&Address, &EmergencyOpening)> {
        let all = self.openings.iter();
        all.flat_map(|(patient, held)| held.iter().map(move |held| (patient, held)))
    }

    /// The kinds that a patient closed to emergency access.
    #[must_use]
    pub fn restricted_kinds(&self, patient: Address) -> KindSet {
        match self.restrictions.get(&patient) {
            Some(Restriction { opted_out: true, .. }) => KindSet::from_bits(u32::MAX),
            Some(restriction) => restriction.kinds,
            None => KindSet::EMPTY,
        }
    }

    /// Whether any of a patient's grants covers only one record.
    #[must_use]
    pub fn has_grant_for(&self, patient: Address, record: RecordId) -> bool {
        self.grants(patient).iter().any(|grant| grant.record == Some(record))
    }
}

/// The contract's number for a justified opening.
const JUSTIFIED: u8 = 1;

impl Relationship {
    /// A declined or withdrawn offer leaves the relationship as it was before.
    fn drop_offer(&mut self) {
        if self.state == Some(RelationshipState::Proposed) {
            self.state = self.before_offer;
        }
    }
}
