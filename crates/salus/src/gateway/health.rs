//! Whether this gateway is alive, and whether it can do its work.

use std::{sync::Arc, time::Duration};

use alloy_eips::BlockNumberOrTag;
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::Instant};
use workflows::Gateway;

use super::{exchanging::Others, notifying::Notifying, opening::now};

/// How long each part may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long an answer is given again: anybody may ask, and asking makes work.
const ANSWER_HOLDS: Duration = Duration::from_secs(1);

/// Looks whether a gateway can do its work.
pub(crate) struct Health {
    gateway: Gateway,
    notifying: Arc<Notifying>,
    head_age_max: Option<Duration>,
    others: Option<Arc<Others>>,
    last: Mutex<Option<(Instant, bool, Value)>>,
}

impl Health {
    /// Looks at a gateway. The newest block may be as old as `head_age_max`, or of any age. Other
    /// holders are counted where it exchanges copies with them.
    pub(crate) const fn new(
        gateway: Gateway,
        head_age_max: Option<Duration>,
        notifying: Arc<Notifying>,
        others: Option<Arc<Others>>,
    ) -> Self {
        Self { gateway, notifying, head_age_max, others, last: Mutex::const_new(None) }
    }

    /// Whether everything is there that reads and writes need, and the state of each part.
    pub(crate) async fn ready(&self) -> (bool, Value) {
        let mut last = self.last.lock().await;
        if let Some((at, ready, state)) = &*last
            && at.elapsed() < ANSWER_HOLDS
        {
            return (*ready, state.clone());
        }
        let (database, chain) = tokio::join!(self.database(), self.chain());
        // Afterwards, because what is known of the chain is brought up to date first.
        let projection = self.projection().await;
        let member = self.member().await;
        let notifications = self.notifications();
        let parts = [&database, &chain, &projection, &member, &notifications];
        let ready = parts.iter().all(|part| part["ok"] == true);
        let mut state = json!({
            "ready": ready,
            "database": database,
            "chain": chain,
            "projection": projection,
            "member": member,
            "notifications": notifications,
        });
        if let Some(others) = &self.others {
            // It can do its own work without them.
            let (known, reached) = others.counts();
            state["peers"] = json!({ "known": known, "reached": reached });
        }
        *last = Some((Instant::now(), ready, state.clone()));
        (ready, state)
    }

    async fn database(&self) -> Value {
        let database = self.gateway.gatekeeper.vault().database();
        let asked = sqlx::query("select 1").execute(database.readers());
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(_)) => json!({ "ok": true }),
            _ => json!({ "ok": false, "problem": "the database does not answer" }),
        }
    }

    async fn chain(&self) -> Value {
        let ledger = self.gateway.gatekeeper.ledger();
        if ledger.embedded_chain().is_some_and(|chain| chain.stopped().is_some()) {
            return json!({ "ok": false, "problem": "the chain in this process has stopped" });
        }
        let latest = ledger.block(BlockNumberOrTag::Latest);
        let Ok(Ok(head)) = tokio::time::timeout(PATIENCE, latest).await else {
            return json!({ "ok": false, "problem": "the chain does not answer" });
        };
        let (head, age) = (head.header.number, now(ledger).0.saturating_sub(head.header.timestamp));
        match self.head_age_max {
            Some(most) if age > most.as_secs() => json!({
                "ok": false,
                "head": head,
                "age_s": age,
                "problem": "the newest block is older than ledger.head_age_max_s",
            }),
            _ => json!({ "ok": true, "head": head, "age_s": age }),
        }
    }

    async fn projection(&self) -> Value {
        let gatekeeper = &self.gateway.gatekeeper;
        let refreshing = gatekeeper.refresh(now(gatekeeper.ledger()));
        let is_fresh = matches!(tokio::time::timeout(PATIENCE, refreshing).await, Ok(Ok(())));
        let block = gatekeeper.projection().await.cursor().map(|cursor| cursor.number);
        if is_fresh {
            json!({ "ok": true, "block": block })
        } else {
            json!({ "ok": false, "block": block, "problem": "what is known of the chain is old" })
        }
    }

    fn notifications(&self) -> Value {
        if self.notifying.outbox().fails() {
            json!({ "ok": false, "problem": "the chain's events could not be followed" })
        } else {
            json!({ "ok": true })
        }
    }

    async fn member(&self) -> Value {
        let projection = self.gateway.gatekeeper.projection().await;
        let member = projection.registry.institution(&self.gateway.member());
        if member.is_some_and(|member| member.in_force) {
            json!({ "ok": true })
        } else {
            json!({ "ok": false, "problem": "the institution is no member of the network" })
        }
    }
}
