//! Between what the contracts hold and what `domain` calls it.

use alloy_primitives::aliases::U40;
use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue as _;
use domain::{
    Anchor, Grant, Kind, KindSet, Opening, Period, PeriodError, PurposeSet, RecordDigest, RecordId,
    RecordVersion, Terms, Timestamp, UnknownNumber,
};

use crate::{Consents, EmergencyAccess, Records};

/// A time as the contracts hold it: 40 bits of seconds. Later times become the last there is.
#[must_use]
pub fn to_uint40(time: Timestamp) -> U40 {
    U40::saturating_from(time.0)
}

/// A time from a contract.
#[must_use]
pub fn timestamp(time: U40) -> Timestamp {
    Timestamp(time.to())
}

/// The identifier of what `author` opens under `salt`: nobody else can take it.
///
/// `author` is the member or account that opens, not the key it signs with.
///
/// # Source
///
/// `makeId` in `Ids.sol`.
#[must_use]
pub fn make_id(author: Address, salt: B256) -> B256 {
    keccak256((author, salt).abi_encode())
}

/// A record's id as contracts name a scope: zero means all records.
#[must_use]
pub fn to_scope(record: Option<RecordId>) -> B256 {
    record.map_or(B256::ZERO, |record| record.0)
}

/// A scope from a contract.
#[must_use]
pub fn scope(record: B256) -> Option<RecordId> {
    (record != B256::ZERO).then_some(RecordId(record))
}

/// An anchor as the contract wants it.
#[must_use]
pub const fn to_anchor(anchor: &Anchor) -> Records::Anchor {
    Records::Anchor {
        record: anchor.record.0,
        version: anchor.version.get(),
        base: anchor.base,
        kind: anchor.kind.number(),
        patient: anchor.patient,
        steward: anchor.steward,
        digest: anchor.digest.0,
    }
}

/// The anchor that an event announces.
///
/// # Errors
///
/// [`UnknownNumber`] when its kind or version means nothing here: a later version of the contracts.
pub fn anchor(event: &Records::RecordProposed) -> Result<Anchor, UnknownNumber> {
    Ok(Anchor {
        record: RecordId(event.record),
        version: record_version(event.version)?,
        base: event.base,
        kind: Kind::try_from(event.kind)?,
        patient: event.patient,
        steward: event.steward,
        digest: RecordDigest(event.digest),
    })
}

/// The anchor that was taken out of a batch.
///
/// # Errors
///
/// As [`anchor`].
pub fn materialised(event: &Records::RecordMaterialised) -> Result<Anchor, UnknownNumber> {
    Ok(Anchor {
        record: RecordId(event.record),
        version: record_version(event.version)?,
        base: event.base,
        kind: Kind::try_from(event.kind)?,
        patient: event.patient,
        steward: event.steward,
        digest: RecordDigest(event.digest),
    })
}

/// A version from a contract.
///
/// # Errors
///
/// [`UnknownNumber`] when it is zero.
pub fn record_version(version: u32) -> Result<RecordVersion, UnknownNumber> {
    RecordVersion::try_from(version).map_err(|_| UnknownNumber { of: "record version", number: 0 })
}

/// The terms of a consent as the contract wants them.
#[must_use]
pub fn to_grant(terms: &Terms) -> Consents::Grant {
    Consents::Grant {
        opensAt: to_uint40(terms.period.opens_at()),
        closesAt: to_uint40(terms.period.closes_at()),
        kinds: terms.kinds.bits(),
        purposes: terms.purposes.bits(),
    }
}

/// The consent that an event announces.
///
/// # Errors
///
/// [`PeriodError`] when its period is empty, which the contract does not allow.
pub fn grant(event: &Consents::ConsentGranted) -> Result<Grant, PeriodError> {
    let terms = &event.grant;
    Ok(Grant {
        reader: event.reader,
        record: scope(event.record),
        terms: Terms {
            period: Period::new(timestamp(terms.opensAt), timestamp(terms.closesAt))?,
            kinds: KindSet::from_bits(terms.kinds),
            purposes: PurposeSet::from_bits(terms.purposes),
        },
        version: event.version,
    })
}

/// The emergency opening that an event announces.
///
/// # Errors
///
/// [`PeriodError`] when its period is empty, which the contract does not allow.
pub fn opening(event: &EmergencyAccess::EmergencyOpened) -> Result<Opening, PeriodError> {
    Ok(Opening {
        id: event.id,
        professional: event.professional,
        institution: event.institution,
        kinds: KindSet::from_bits(event.kinds),
        period: Period::new(timestamp(event.opensAt), timestamp(event.closesAt))?,
    })
}

/// The opening as the contract wants it back when it is ended or reviewed.
#[must_use]
pub const fn to_opening(event: &EmergencyAccess::EmergencyOpened) -> EmergencyAccess::Opening {
    EmergencyAccess::Opening {
        patient: event.patient,
        professional: event.professional,
        institution: event.institution,
        opensAt: event.opensAt,
        closesAt: event.closesAt,
        kinds: event.kinds,
        reason: event.reason,
    }
}

/// An address as 32 bytes, as topics hold it.
#[must_use]
pub fn topic(address: Address) -> B256 {
    address.into_word()
}
