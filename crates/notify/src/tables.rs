//! The tables of notifications, beside the vault's in the same database.

/// The name under which they are migrated.
pub(crate) const COMPONENT: &str = "notify";

/// One statement per step; a released step never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    // One row, none before the first block: how far the chain was followed, and the next sequence
    // number. `block_hash` is empty while the chain is followed anew.
    "create table notify_state (
        id bigint not null primary key,
        next_sequence bigint not null,
        block_number bigint not null,
        block_hash bytea not null,
        block_time bigint not null
    )",
    // The notifications. `read_at` is 0 while nobody read it.
    "create table notify_outbox (
        sequence bigint not null primary key,
        id bytea not null,
        topic text not null,
        recipient bytea not null,
        patient bytea not null,
        subject bytea not null,
        block bigint not null,
        transaction_hash bytea not null,
        log_index bigint not null,
        time bigint not null,
        read_at bigint not null
    )",
    "create unique index notify_outbox_by_id on notify_outbox (id)",
    "create index notify_outbox_by_recipient on notify_outbox (recipient, sequence)",
    "create index notify_outbox_unread on notify_outbox (recipient, sequence) where read_at = 0",
    // Who has a part in what; see `parties`.
    "create table notify_parties (
        scope bigint not null,
        subject bytea not null,
        part bigint not null,
        party bytea not null,
        primary key (scope, subject, part, party)
    )",
    // Openings that await review: what to tell the institution when that is due.
    "create table notify_reminders (
        opening bytea not null primary key,
        id bytea not null,
        institution bytea not null,
        patient bytea not null,
        block bigint not null,
        transaction_hash bytea not null,
        log_index bigint not null,
        due bigint not null
    )",
    "create index notify_reminders_by_due on notify_reminders (due)",
    // Who wants to be told where; see `webhook::subscription`. The secret is in the keyring.
    "create table notify_subscriptions (
        id text not null primary key,
        recipient bytea not null,
        url text not null,
        topics text not null,
        form text not null,
        state text not null,
        cursor bigint not null,
        tried bigint not null,
        attempts bigint not null,
        failures bigint not null,
        due bigint not null,
        failure text not null,
        created bigint not null,
        revision bigint not null
    )",
    "create index notify_subscriptions_by_recipient on notify_subscriptions (recipient)",
    "create index notify_subscriptions_by_due on notify_subscriptions (state, due)",
    // 1 where the form chooses from everybody's notifications, 0 where they are the recipient's own.
    "alter table notify_subscriptions add column everybodys bigint not null default 0",
    // Whom patients want told when the glass is broken. What follows from the chain is made anew after a
    // rewind, and this is not.
    "create table notify_contacts (
        patient bytea not null,
        contact bytea not null,
        primary key (patient, contact)
    )",
    // When devices are to be heard of; see `silence`.
    "create table notify_silences (
        device bytea not null primary key,
        patient bytea not null,
        gap bigint not null,
        ends bigint not null,
        due bigint not null,
        block bigint not null,
        block_hash bytea not null,
        transaction_hash bytea not null,
        log_index bigint not null
    )",
    "create index notify_silences_by_due on notify_silences (due)",
];
