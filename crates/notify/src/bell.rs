//! Wakes those who wait for something new.

use std::collections::HashMap;

use alloy_primitives::Address;
use parking_lot::Mutex;
use tokio::sync::watch;

/// A bell per recipient somebody waits for, and one for everything. What it says is only that something
/// may be there: whoever is woken looks into the outbox.
#[derive(Debug)]
pub(crate) struct Bell(Mutex<Option<Listeners>>);

#[derive(Debug)]
struct Listeners {
    all: watch::Sender<()>,
    each: HashMap<Address, watch::Sender<()>>,
}

impl Bell {
    pub(crate) fn new() -> Self {
        let listeners = Listeners { all: watch::Sender::new(()), each: HashMap::new() };
        Self(Mutex::new(Some(listeners)))
    }

    /// Listens for whatever comes for a recipient, from now on.
    pub(crate) fn listen(&self, recipient: Address) -> watch::Receiver<()> {
        match &mut *self.0.lock() {
            Some(listeners) => listeners.each.entry(recipient).or_default().subscribe(),
            None => closed(),
        }
    }

    /// Listens for whatever comes, from now on.
    pub(crate) fn listen_to_all(&self) -> watch::Receiver<()> {
        match &*self.0.lock() {
            Some(listeners) => listeners.all.subscribe(),
            None => closed(),
        }
    }

    /// Wakes those who wait for these recipients.
    pub(crate) fn ring(&self, recipients: &[Address]) {
        let mut guard = self.0.lock();
        let Some(listeners) = &mut *guard else { return };
        listeners.all.send_replace(());
        for recipient in recipients {
            if let Some(listener) = listeners.each.get(recipient) {
                listener.send_replace(());
            }
        }
        // Whoever went away is forgotten here, so that the map does not grow with past listeners.
        listeners.each.retain(|_, listener| listener.receiver_count() > 0);
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.0.lock().is_none()
    }

    /// Ends the wait of everybody, for good.
    pub(crate) fn stop(&self) {
        *self.0.lock() = None;
    }
}

/// Where nothing ever comes, as whoever waits is told at once.
fn closed() -> watch::Receiver<()> {
    watch::Sender::new(()).subscribe()
}
