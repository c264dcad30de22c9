//! Figures for Prometheus: how many requests, how long they took, how far the chain and the log are.
//!
//! Labels are the gateway's name in its configuration, methods, routes as templates, and statuses. No id,
//! no address, no type of record is ever a label (S1).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use alloy_eips::BlockNumberOrTag;
use domain::{Outcome, Receipt};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use sqlx::Row as _;
use tokio::{sync::Mutex, time::Instant};
use workflows::Gateway;

use super::{exchanging::Others, notifying::Notifying, opening::now};
use crate::Error;

const REQUESTS: &str = "salus_http_requests_total";
const DURATION: &str = "salus_http_request_duration_seconds";
const RECEIPTS: &str = "salus_receipts_total";
const REFUSED: &str = "salus_refused_reads_total";
const HEAD: &str = "salus_chain_head";
const HEAD_AGE: &str = "salus_chain_head_age_seconds";
const PROJECTION: &str = "salus_projection_block";
const RECORDS: &str = "salus_records";
const OUTBOX: &str = "salus_notifications_total";
const OUTBOX_BLOCK: &str = "salus_notifications_block";
const DELIVERED: &str = "salus_webhook_deliveries_total";
const DELIVERY_FAILURES: &str = "salus_webhook_failures_total";
const WEBHOOKS_ENDED: &str = "salus_webhooks_given_up_total";
const STREAMS: &str = "salus_event_streams";
const PEERS: &str = "salus_exchange_peers";
const PEERS_REACHED: &str = "salus_exchange_peers_reached";
const FETCHED: &str = "salus_exchange_fetched_total";
const FETCHED_BYTES: &str = "salus_exchange_fetched_bytes_total";
const NOT_GIVEN: &str = "salus_exchange_refused_total";
const NOT_FETCHED: &str = "salus_exchange_failures_total";
const BACKLOG: &str = "salus_exchange_backlog";

/// Upper bounds of the histogram, in seconds: from a read in memory to what is given up.
const BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// How often records are counted at most: a server has to walk an index for that.
const COUNTED_EVERY: Duration = Duration::from_secs(30);

/// How many receipts are looked at together.
const RECEIPTS_AT_ONCE: i64 = 1_000;

/// How long the chain may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the figures of this process come together. There is one, however many gateways it runs.
fn recorder() -> Result<PrometheusHandle, Error> {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = RECORDER.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new().set_buckets(&BUCKETS)?.install_recorder()?;
    describe_counter!(REQUESTS, "Requests answered, by method, route and status");
    describe_histogram!(DURATION, "How long requests took, in seconds");
    describe_counter!(RECEIPTS, "Receipts in the access log");
    describe_counter!(REFUSED, "Reads refused since the start");
    describe_gauge!(HEAD, "Number of the chain's newest block");
    describe_gauge!(HEAD_AGE, "Age of the chain's newest block, in seconds");
    describe_gauge!(PROJECTION, "Number of the newest block that was taken in");
    describe_counter!(OUTBOX, "Notifications in the outbox");
    describe_gauge!(OUTBOX_BLOCK, "Number of the newest block whose events are in the outbox");
    describe_counter!(DELIVERED, "Webhook messages that arrived since the start");
    describe_counter!(
        DELIVERY_FAILURES,
        "Attempts to deliver a webhook that failed since the start"
    );
    describe_counter!(WEBHOOKS_ENDED, "Webhooks that were given up since the start");
    describe_gauge!(STREAMS, "Streams of events that are open");
    describe_gauge!(PEERS, "Other holders that the registry names");
    describe_gauge!(PEERS_REACHED, "Other holders that answered when they were last asked");
    describe_counter!(FETCHED, "Versions of records taken over from other holders since the start");
    describe_counter!(FETCHED_BYTES, "Sealed bytes transferred from other holders since the start");
    describe_counter!(NOT_GIVEN, "Versions that other holders offered and did not give");
    describe_counter!(NOT_FETCHED, "Attempts to take over a version that failed since the start");
    describe_gauge!(BACKLOG, "Versions that should be here and are not, or are damaged");
    describe_gauge!(RECORDS, "Versions of records in the vault");
    Ok(RECORDER.get_or_init(|| handle).clone())
}

/// One gateway's figures.
pub(crate) struct Figures {
    handle: PrometheusHandle,
    gateway: Gateway,
    notifying: Arc<Notifying>,
    others: Option<Arc<Others>>,
    name: Arc<str>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The last receipt looked at; those from before the start do not count.
    receipt: Option<i64>,
    counted: Option<Instant>,
}

impl Figures {
    pub(crate) fn new(
        gateway: Gateway,
        notifying: Arc<Notifying>,
        others: Option<Arc<Others>>,
    ) -> Result<Self, Error> {
        let (handle, seen) = (recorder()?, Mutex::default());
        let name = gateway.name.as_str().into();
        Ok(Self { handle, gateway, notifying, others, name, seen })
    }

    /// Counts a request that was answered.
    pub(crate) fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let (gateway, route) = (Arc::clone(&self.name), route.to_owned());
        histogram!(DURATION, "gateway" => gateway.clone(), "method" => method, "route" => route.clone())
            .record(took.as_secs_f64());
        counter!(REQUESTS, "gateway" => gateway, "method" => method, "route" => route, "status" => status.to_string())
            .increment(1);
    }

    /// All figures of this process, as Prometheus reads them. What cannot be had at present keeps its
    /// last value.
    pub(crate) async fn render(&self) -> String {
        {
            let mut seen = self.seen.lock().await;
            if let Err(error) = self.look_at_database(&mut seen).await {
                tracing::warn!(%error, "the database gave no figures");
            }
        }
        self.look_at_chain().await;
        self.look_at_notifications().await;
        self.look_at_exchange();
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Begins to count refused reads.
    pub(crate) async fn begin(&self) {
        let mut seen = self.seen.lock().await;
        if let Err(error) = self.look_at_database(&mut seen).await {
            tracing::warn!(%error, "the database gave no figures");
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of blocks and seconds are far below 2^52"
    )]
    async fn look_at_chain(&self) {
        let ledger = self.gateway.gatekeeper.ledger();
        let latest = ledger.block(BlockNumberOrTag::Latest);
        if let Ok(Ok(head)) = tokio::time::timeout(PATIENCE, latest).await {
            let age = now(ledger).0.saturating_sub(head.header.timestamp);
            gauge!(HEAD, "gateway" => self.name.clone()).set(head.header.number as f64);
            gauge!(HEAD_AGE, "gateway" => self.name.clone()).set(age as f64);
        }
        if let Some(cursor) = self.gateway.gatekeeper.projection().await.cursor() {
            gauge!(PROJECTION, "gateway" => self.name.clone()).set(cursor.number as f64);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of blocks are far below 2^52")]
    async fn look_at_notifications(&self) {
        let (outbox, label) = (self.notifying.outbox(), || self.name.clone());
        if let Ok(last) = outbox.last_sequence().await {
            counter!(OUTBOX, "gateway" => label()).absolute(last);
        }
        if let Ok(Some(cursor)) = outbox.cursor().await {
            gauge!(OUTBOX_BLOCK, "gateway" => label()).set(cursor.number as f64);
        }
        let totals = self.notifying.webhooks().totals();
        counter!(DELIVERED, "gateway" => label()).absolute(totals.arrived);
        counter!(DELIVERY_FAILURES, "gateway" => label()).absolute(totals.failed);
        counter!(WEBHOOKS_ENDED, "gateway" => label()).absolute(totals.given_up);
        gauge!(STREAMS, "gateway" => label()).set(self.notifying.streams() as f64);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "numbers of holders and records are far below 2^52"
    )]
    fn look_at_exchange(&self) {
        let Some(others) = &self.others else { return };
        let (known, reached) = others.counts();
        let label = || self.name.clone();
        gauge!(PEERS, "gateway" => label()).set(known as f64);
        gauge!(PEERS_REACHED, "gateway" => label()).set(reached as f64);
        let totals = others.totals();
        counter!(FETCHED, "gateway" => label()).absolute(totals.fetched);
        counter!(FETCHED_BYTES, "gateway" => label()).absolute(totals.bytes);
        counter!(NOT_GIVEN, "gateway" => label()).absolute(totals.refused);
        counter!(NOT_FETCHED, "gateway" => label()).absolute(totals.failed);
        gauge!(BACKLOG, "gateway" => label()).set(totals.waiting as f64);
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of records are far below 2^52")]
    async fn look_at_database(&self, seen: &mut Seen) -> Result<(), sqlx::Error> {
        let database = self.gateway.gatekeeper.vault().database().readers();
        if seen.counted.is_none_or(|last| last.elapsed() >= COUNTED_EVERY) {
            let row = sqlx::query("select count(*) from records").fetch_one(database).await?;
            let records: i64 = row.try_get(0)?;
            gauge!(RECORDS, "gateway" => self.name.clone()).set(records as f64);
            seen.counted = Some(Instant::now());
        }
        let receipts = counter!(RECEIPTS, "gateway" => self.name.clone());
        let refused = counter!(REFUSED, "gateway" => self.name.clone());
        let Some(mut last) = seen.receipt else {
            let last = sqlx::query("select coalesce(max(sequence), 0) from receipts")
                .fetch_one(database)
                .await?
                .try_get(0)?;
            seen.receipt = Some(last);
            receipts.absolute(last.unsigned_abs());
            refused.increment(0);
            return Ok(());
        };
        loop {
            let rows = sqlx::query(
                "select sequence, receipt from receipts where sequence > $1
                order by sequence limit $2",
            )
            .bind(last)
            .bind(RECEIPTS_AT_ONCE)
            .fetch_all(database)
            .await?;
            for row in &rows {
                last = row.try_get(0)?;
                let text: String = row.try_get(1)?;
                let receipt = serde_json::from_str::<Receipt>(&text);
                if receipt.is_ok_and(|receipt| matches!(receipt.outcome, Outcome::Refused { .. })) {
                    refused.increment(1);
                }
            }
            seen.receipt = Some(last);
            receipts.absolute(last.unsigned_abs());
            if rows.is_empty() {
                return Ok(());
            }
        }
    }
}
