//! The gatekeeper's own tables, beside the vault's in the same database.

/// The name under which they are migrated.
pub(crate) const COMPONENT: &str = "gatekeeper";

/// One statement per step; a released step never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    // Nonces of answered queries, until their deadline has passed.
    "create table query_nonces (
        requester bytea not null,
        nonce bytea not null,
        deadline bigint not null,
        primary key (requester, nonce)
    )",
    // The access log. `receipt` is JSON; `digest`, `head` and `signature` are made from it.
    "create table receipts (
        sequence bigint not null primary key,
        patient bytea not null,
        receipt text not null,
        digest bytea not null,
        head bytea not null,
        signature bytea not null
    )",
    "create index receipts_by_patient on receipts (patient, sequence)",
    // Who cares for whom at this institution.
    "create table care_team (
        patient bytea not null,
        professional bytea not null,
        since bigint not null,
        primary key (patient, professional)
    )",
    // Batches of anchors; `manifest` lists what their leaves are made of, `tx` is empty until the
    // root is on chain.
    "create table anchor_batches (
        root bytea not null primary key,
        position bigint not null,
        manifest bytea not null,
        tx bytea not null
    )",
    // Proposals of single records whose transaction is not known to have run: `call` is what to send.
    "create table proposals (
        record bytea not null,
        version bigint not null,
        call bytea not null,
        primary key (record, version)
    )",
    // The peers at which patients hold copies, each vouched for by the patient's account.
    "create table patient_peers (
        account bytea not null,
        peer bytea not null,
        primary key (account, peer)
    )",
    "create index patient_peers_by_peer on patient_peers (peer)",
    // Versions of other stewards that stand in batches: the way from the leaf to the root on chain.
    "create table batch_proofs (
        leaf bytea not null primary key,
        root bytea not null,
        siblings bytea not null
    )",
];
