//! The vault's tables.
//!
//! Addresses, ids, digests and keys are `bytea` of fixed length; times are seconds since 1970. Every
//! row about a record version carries what listing and deciding need, so that neither opens a body.

/// Where a version's sealed bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
pub(crate) enum Place {
    /// In the row.
    Row = 0,
    /// In a file named by the digest.
    File = 1,
    /// Destroyed; the row is the tombstone.
    Erased = 2,
}

impl Place {
    pub(crate) const fn of_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Row),
            1 => Some(Self::File),
            2 => Some(Self::Erased),
            _ => None,
        }
    }
}

/// The steps that make the tables, in order. A released step never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    // What this vault is and is sealed under; values are wrapped for this vault alone.
    "create table vault_settings (
        name text primary key,
        value bytea not null
    )",
    // `sealed` is the vault's own wrap; null when the key came from elsewhere or was destroyed. `state`
    // is 0 for a key that may be in use, 1 for one that was destroyed, 2 for one that opens what is
    // there and seals nothing new. The row outlives the key, so that no epoch is used twice.
    "create table kind_keys (
        id bytea primary key,
        patient bytea not null,
        steward bytea not null,
        kind bigint not null,
        epoch bigint not null,
        sealed bytea,
        state bigint not null,
        unique (patient, steward, kind, epoch)
    )",
    // A version's sealed bytes are in `body` (place 0), in a file (1), or destroyed (2). `content_key`
    // is wrapped under the kind key; null after erasure, or when only a wrap for one reader came.
    "create table records (
        record bytea not null,
        version bigint not null,
        digest bytea not null unique,
        patient bytea not null,
        steward bytea not null,
        author bytea not null,
        kind bigint not null,
        content bigint not null,
        created bigint not null,
        sealed_len bigint not null,
        kind_key bytea references kind_keys (id),
        content_key bytea,
        place bigint not null,
        body bytea,
        primary key (record, version)
    )",
    "create index records_of_patient on records (patient, record, version)",
    // HPKE wraps of kind keys (subject 1) and content keys (2), see `recipients`.
    "create table wraps (
        subject bigint not null,
        id bytea not null,
        recipient bytea not null,
        key_digest bytea not null,
        consent bytea not null,
        wrapped bytea not null,
        primary key (id, recipient, key_digest, consent)
    )",
    // The public keys for which a patient's kind keys are wrapped, wrapped for this vault alone.
    "create table patient_keys (
        patient bytea not null,
        key_digest bytea not null,
        sealed bytea not null,
        primary key (patient, key_digest)
    )",
    "create table erasures (
        record bytea not null,
        version bigint not null,
        digest bytea not null,
        steward bytea not null,
        erased_by bytea not null,
        reason bigint not null,
        erased_at bigint not null,
        salt bytea not null,
        primary key (record, version)
    )",
    "create table keyring (
        name text primary key,
        sealed bytea not null
    )",
];
