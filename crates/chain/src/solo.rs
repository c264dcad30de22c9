//! An ordering with one member: whatever waits is ordered at once, or at intervals.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{Certificate, Chain};

/// When a block is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// As soon as a transaction waits. While blocks are on their way more gather for the next, so
    /// blocks grow with the load.
    Instant,
    /// Every so often, when anything waits.
    Interval(Duration),
}

impl Chain {
    /// Orders blocks alone from now on, until the chain is closed.
    pub fn run_solo(&self, sealing: Sealing) {
        let chain = self.clone();
        self.spawn("solo", move || chain.solo(sealing));
    }

    fn solo(&self, sealing: Sealing) {
        while self.wait_for_work(sealing) {
            let Some(payload) = self.propose() else { continue };
            if let Err(error) = self.apply(payload, Certificate::new()) {
                tracing::error!(%error, "ordering stopped");
                return;
            }
        }
    }

    /// Waits until a block should be made; false when the chain is closing.
    fn wait_for_work(&self, sealing: Sealing) -> bool {
        let closing = || self.shared.closing.load(Ordering::SeqCst);
        let mut pool = self.shared.pool.lock();
        if let Sealing::Interval(interval) = sealing {
            // Closing interrupts the wait.
            self.shared.pool_changed.wait_while_for(&mut pool, |_| !closing(), interval);
        }
        let base_fee = || self.shared.next_base_fee.load(Ordering::SeqCst);
        while !closing() && !pool.has_ready(base_fee()) {
            if !self.is_busy() {
                pool.forget_idle();
            }
            self.shared.pool_changed.wait(&mut pool);
        }
        !closing()
    }
}
