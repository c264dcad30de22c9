//! Brings here what should be here, from the other holders that the registry names, and answers them.
//!
//! A holder is reached as its profile says: `udp://ADDRESS:PORT` for its peer-to-peer node, whose id
//! stands beside it, and `https://HOST` where UDP is closed. Others are asked when the chain has something
//! new, and at intervals. Bodies that a scan finds missing or altered are healed from whoever holds them.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256, Bytes};
use axum::Router;
use bindings::{Contract, Registry};
use domain::RecordDigest;
use exchange::{
    HttpsPeer, HttpsSettings, Incoming, Node, NodeSettings, PeerId, Receiver, Report, Requester,
    SignRequest, SyncSettings, Transport, router,
};
use futures_util::{StreamExt as _, stream};
use gatekeeper::{Clock, FindingKind, Gatekeeper, Holding};
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use vault::{Identity, SecretKey};
use zeroize::Zeroizing;

use super::{opening::now, settings::ExchangeSettings};
use crate::Error;

/// How long another holder may say nothing.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How long one other holder is asked at most, in one round.
const ASKED_AT_MOST: Duration = Duration::from_secs(300);

/// How many holders are asked at the same time.
const ASKED_AT_ONCE: usize = 4;

/// How many places of one profile are tried.
const PLACES_MAX: usize = 4;

/// Who takes part.
pub(crate) enum Party {
    /// An institution, which the registry names with this key.
    Institution {
        /// The key to which others seal.
        hpke_key: Bytes,
    },
    /// A patient's own node, which the stewards note once the patient's account vouched for it.
    Patient,
}

/// What the exchange of one holder is made of.
pub(crate) struct Parts {
    pub(crate) gatekeeper: Gatekeeper,
    /// The key to which copies for this holder are wrapped.
    pub(crate) secret: SecretKey,
    /// The key of its peer-to-peer node.
    pub(crate) peer_secret: Zeroizing<[u8; 32]>,
    pub(crate) party: Party,
    /// Signs requests over HTTPS.
    pub(crate) sign: Arc<SignRequest>,
    pub(crate) settings: ExchangeSettings,
    /// The URL under which this holder's own server is reached, when it has one.
    pub(crate) origin: Option<String>,
}

/// How many other holders there are, and how many answered last.
#[derive(Debug, Default)]
pub(crate) struct Others {
    known: AtomicU64,
    reached: AtomicU64,
}

impl Others {
    /// How many the registry names, and how many of them answered when they were last asked.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.known.load(Ordering::Relaxed), self.reached.load(Ordering::Relaxed))
    }
}

/// One holder's part in the exchange.
pub(crate) struct Exchange {
    gatekeeper: Gatekeeper,
    holding: Arc<Holding>,
    receiver: Receiver<Holding>,
    node: Option<Node>,
    client: reqwest::Client,
    requester: Requester,
    party: Party,
    settings: ExchangeSettings,
    /// The public half of the key to which copies for this holder are wrapped.
    key: Vec<u8>,
    /// Where others reach it, as its profile says.
    endpoint: String,
    others: Arc<Others>,
    /// The stewards that know this patient's node.
    noted: Mutex<BTreeSet<Address>>,
    /// Bodies that a scan found missing or altered, and nobody gave back yet.
    damaged: Mutex<BTreeSet<RecordDigest>>,
}

/// Another holder, as the registry names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Other {
    member: Address,
    peer: PeerId,
    sockets: Vec<SocketAddr>,
    bases: Vec<String>,
}

impl Exchange {
    /// Begins to listen; nobody is asked yet. Bodies on their way in lie in `dir`.
    pub(crate) async fn open(parts: Parts, dir: &Path) -> Result<Self, Error> {
        let Parts { gatekeeper, secret, peer_secret, party, sign, settings, origin } = parts;
        let ledger = gatekeeper.ledger().clone();
        let clock: Clock = Arc::new(move || now(&ledger));
        let holding = Arc::new(Holding::new(gatekeeper.clone(), Arc::clone(&clock)));
        gatekeeper.open_copies_with(secret.clone());
        let node = match settings.listen {
            None => None,
            Some(listen) => {
                let settings = NodeSettings { secret: *peer_secret, listen: vec![listen] };
                let started = Node::start(Arc::clone(&holding), settings).await;
                Some(started.map_err(|error| {
                    format!("could not listen on {listen} (UDP) as `exchange.listen`: {error}")
                })?)
            }
        };
        let key = secret.public_key().to_bytes();
        let identity = Identity { address: gatekeeper.member(), secret };
        let receiver = Receiver::new(
            gatekeeper.vault().clone(),
            Some(identity),
            (*holding).clone(),
            Incoming::open(&dir.join("incoming"))?,
            SyncSettings { silence_max: SILENCE_MAX, ..SyncSettings::default() },
        );
        let entropy = gatekeeper.entropy().clone();
        let requester = Requester {
            member: gatekeeper.member(),
            network: gatekeeper.domain(),
            sign,
            make_nonce: Arc::new(move || B256::from(entropy.bytes::<32>())),
            clock,
        };
        let endpoint = endpoint(node.as_ref(), &settings, origin);
        Ok(Self {
            gatekeeper,
            holding,
            receiver,
            node,
            client: client()?,
            requester,
            party,
            settings,
            key,
            endpoint,
            others: Arc::default(),
            noted: Mutex::default(),
            damaged: Mutex::default(),
        })
    }

    /// The routes over which others ask, for this holder's own server.
    pub(crate) fn router(&self) -> Router {
        let settings = HttpsSettings {
            member: self.gatekeeper.member(),
            network: self.gatekeeper.domain(),
            clock: Arc::clone(&self.requester.clock),
        };
        router(Arc::clone(&self.holding), settings)
    }

    /// How the others fare.
    pub(crate) fn others(&self) -> Arc<Others> {
        Arc::clone(&self.others)
    }

    /// Where the peer-to-peer node listens.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.node.as_ref().map(Node::addresses).unwrap_or_default()
    }

    /// Takes part until `stop`. What is half here then goes on at the next start.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let exchanging = self.exchange();
        tokio::select! {
            () = exchanging => {}
            // Fails only when nobody can say stop any more, which means the same.
            _ = stop.wait_for(|stop| *stop) => {}
        }
        if let Some(node) = self.node {
            node.stop().await;
        }
    }

    async fn exchange(&self) {
        let (mut asked, mut scanned): (Option<(Instant, Option<B256>)>, Option<Instant>) =
            (None, None);
        loop {
            if let Err(error) = self.announce().await {
                tracing::warn!(%error, "this holder is not announced yet");
            }
            let head = self.head().await;
            let is_due = asked
                .is_none_or(|(at, before)| before != head || at.elapsed() >= self.settings.every);
            if scanned.is_none_or(|at| at.elapsed() >= self.settings.scan_every) {
                scanned = Some(Instant::now());
                self.scan().await;
            }
            if is_due {
                asked = Some((Instant::now(), head));
                self.ask_all().await;
                self.heal().await;
            }
            tokio::time::sleep(self.settings.soon).await;
        }
    }

    /// The newest block that is known of, after the chain was asked.
    async fn head(&self) -> Option<B256> {
        if let Err(error) = self.gatekeeper.refresh((self.requester.clock)()).await {
            tracing::warn!(%error, "could not ask the chain");
        }
        self.gatekeeper.projection().await.cursor().map(|cursor| cursor.hash)
    }

    /// Enters in the registry, or with the patient's stewards, where this holder is reached, unless it
    /// stands there.
    async fn announce(&self) -> Result<(), Error> {
        match &self.party {
            Party::Institution { hpke_key } => self.publish(hpke_key).await,
            Party::Patient => {
                self.note_with_stewards().await;
                Ok(())
            }
        }
    }

    async fn publish(&self, hpke_key: &Bytes) -> Result<(), Error> {
        let member = self.gatekeeper.member();
        let peer_id = B256::from(self.node.as_ref().map_or([0; 32], |node| node.id().0));
        self.gatekeeper.refresh((self.requester.clock)()).await?;
        {
            let registry = &self.gatekeeper.projection().await.registry;
            let known = registry.institution(&member);
            let stands = registry.profile(&member).is_some_and(|profile| {
                (&profile.hpke_key, &profile.endpoint, profile.peer_id)
                    == (hpke_key, &self.endpoint, peer_id)
            });
            if stands || !known.is_some_and(|known| known.in_force) {
                return Ok(());
            }
        }
        let call = Registry::setProfileCall {
            hpkeKey: hpke_key.clone(),
            endpoint: self.endpoint.clone(),
            peerId: peer_id,
        };
        let registry = self.gatekeeper.deployment().address(Contract::Registry);
        self.gatekeeper.sender().send(registry, &call).await?;
        Ok(())
    }

    /// Tells the patient's stewards at which peer the patient holds copies.
    async fn note_with_stewards(&self) {
        let Some(id) = self.node.as_ref().map(Node::id) else { return };
        for other in self.others_now().await {
            if self.noted.lock().contains(&other.member) {
                continue;
            }
            for peer in self.https(&other) {
                match peer.note_peer(id, true, Some(&self.key)).await {
                    Ok(()) => {
                        self.noted.lock().insert(other.member);
                        break;
                    }
                    Err(error) => {
                        let steward = other.member;
                        tracing::warn!(%steward, %error, "a steward did not note this node");
                    }
                }
            }
        }
    }

    /// The other holders: every institution in force, or the stewards of this patient.
    async fn others_now(&self) -> Vec<Other> {
        let own = self.gatekeeper.member();
        let projection = self.gatekeeper.projection().await;
        let registry = &projection.registry;
        let others = registry.institutions().filter(|(member, institution)| {
            institution.in_force
                && **member != own
                && match self.party {
                    Party::Institution { .. } => true,
                    Party::Patient => projection.consents.relationship(own, **member).is_some(),
                }
        });
        let others = others.filter_map(|(member, _)| {
            let profile = registry.profile(member)?;
            let other = Other::of(*member, PeerId(profile.peer_id.0), &profile.endpoint);
            (!other.sockets.is_empty() || !other.bases.is_empty()).then_some(other)
        });
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|other| other.member);
        others
    }

    fn https(&self, other: &Other) -> Vec<HttpsPeer> {
        let peer = |base: &String| {
            HttpsPeer::new(self.client.clone(), base, other.member, self.requester.clone())
        };
        other.bases.iter().map(peer).collect()
    }

    /// The ways to another holder, the better first.
    fn ways(&self, other: &Other) -> Vec<Box<dyn Transport>> {
        let mut ways: Vec<Box<dyn Transport>> = Vec::new();
        if let Some(node) = &self.node
            && !other.sockets.is_empty()
            && let Ok(peer) = node.peer(self.gatekeeper.member(), other.peer, &other.sockets)
        {
            ways.push(Box::new(peer));
        }
        ways.extend(self.https(other).into_iter().map(|peer| Box::new(peer) as _));
        ways
    }

    /// Asks every other holder for what should be here.
    async fn ask_all(&self) {
        let others = self.others_now().await;
        let known = others.len() as u64;
        let asking = others.into_iter().map(|other| async move { self.ask(&other).await });
        let reached = stream::iter(asking)
            .buffer_unordered(ASKED_AT_ONCE)
            .filter(|reached| std::future::ready(*reached))
            .count()
            .await;
        tracing::debug!(known, reached, "asked the other holders");
        self.others.known.store(known, Ordering::Relaxed);
        self.others.reached.store(reached as u64, Ordering::Relaxed);
    }

    /// Asks one, and says whether it answered.
    async fn ask(&self, other: &Other) -> bool {
        for way in self.ways(other) {
            // One that answers without end must not hold up the others; what is left comes next time.
            let syncing = self.receiver.sync(&*way);
            let Ok(report) = tokio::time::timeout(ASKED_AT_MOST, syncing).await else {
                tracing::warn!(holder = %other.member, "another holder takes too long");
                return false;
            };
            tell(other.member, &report);
            match report.broken_off {
                None => return true,
                Some(error) => {
                    let holder = other.member;
                    tracing::warn!(%holder, %error, "another holder was not asked to the end");
                }
            }
        }
        false
    }

    /// Reads every body that is kept here, and notes those that are missing or altered.
    async fn scan(&self) {
        let report = match self.gatekeeper.reconcile((self.requester.clock)()).await {
            Ok(report) => report,
            Err(error) => {
                tracing::warn!(%error, "the vault could not be held against the chain");
                return;
            }
        };
        let findings = report.findings.iter();
        let damaged: BTreeSet<_> = findings
            .filter(|found| matches!(found.kind, FindingKind::Missing | FindingKind::Altered))
            .filter_map(|found| found.anchored)
            .collect();
        if !report.is_clean() {
            let (findings, damaged) = (report.findings.len(), damaged.len());
            tracing::warn!(findings, damaged, "vault and chain differ");
        }
        *self.damaged.lock() = damaged;
    }

    /// Brings damaged bodies back from whoever holds them.
    async fn heal(&self) {
        let damaged: Vec<_> = self.damaged.lock().iter().copied().collect();
        if damaged.is_empty() {
            return;
        }
        let others = self.others_now().await;
        let ways: Vec<_> = others.iter().flat_map(|other| self.ways(other)).collect();
        let ways: Vec<&dyn Transport> = ways.iter().map(|way| &**way).collect();
        for digest in damaged {
            let healed = self.receiver.heal(&[digest], &ways).await;
            if healed.fetched.count > 0 {
                self.damaged.lock().remove(&digest);
                tracing::info!(%digest, bytes = healed.bytes, "healed a damaged body");
            } else {
                tell_failures(&healed);
            }
        }
    }
}

impl Other {
    /// Reads what a profile says. What it says otherwise is left out.
    fn of(member: Address, peer: PeerId, endpoint: &str) -> Self {
        let mut other = Self { member, peer, sockets: Vec::new(), bases: Vec::new() };
        for place in endpoint.split_ascii_whitespace().take(PLACES_MAX) {
            if let Some(socket) = place.strip_prefix("udp://") {
                other.sockets.extend(socket.parse::<SocketAddr>().ok());
            } else if let Ok(url) = url::Url::parse(place)
                && matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.query().is_none()
                && url.fragment().is_none()
            {
                other.bases.push(url.as_str().trim_end_matches('/').to_owned());
            }
        }
        if peer.0 == [0; 32] {
            other.sockets.clear();
        }
        other
    }
}

/// Says what came of a sync, when something did.
fn tell(holder: Address, report: &Report) {
    let (fetched, bytes) = (report.fetched.count, report.bytes);
    let (rewrapped, refused, failures) = (report.rewrapped, report.refused.count, report.failures);
    if fetched + rewrapped + refused + failures > 0 {
        tracing::info!(
            %holder, fetched, bytes, rewrapped, refused, failures,
            "took over copies"
        );
    }
    tell_failures(report);
}

fn tell_failures(report: &Report) {
    for (digest, failure) in &report.failed {
        tracing::warn!(%digest, error = failure as &dyn std::error::Error, "not taken over");
    }
}

/// What others read in the registry.
fn endpoint(node: Option<&Node>, settings: &ExchangeSettings, origin: Option<String>) -> String {
    let mut places = Vec::new();
    if let Some(node) = node {
        match settings.address {
            Some(address) => places.push(format!("udp://{address}")),
            None => places.extend(node.addresses().iter().map(|at| format!("udp://{at}"))),
        }
    }
    if settings.https {
        let url = settings.url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
        places.extend(url.or(origin));
    }
    places.join(" ")
}

/// Follows no redirects, because what is signed is for one holder.
fn client() -> Result<reqwest::Client, Error> {
    // Refused when there is one already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(SILENCE_MAX)
        .no_proxy();
    Ok(client.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(endpoint: &str, sockets: &[&str], bases: &[&str]) {
        let other = Other::of(Address::ZERO, PeerId([1; 32]), endpoint);
        let found: Vec<String> = other.sockets.iter().map(ToString::to_string).collect();
        assert_eq!(
            (found, other.bases),
            (
                sockets.iter().map(|&text| text.to_owned()).collect(),
                bases.iter().map(|&text| text.to_owned()).collect(),
            ),
            "{endpoint}"
        );
    }

    #[test]
    fn profiles_say_where_a_holder_is_reached() {
        check("", &[], &[]);
        check("salus://clinic", &[], &[]);
        check("udp://192.0.2.7:7070", &["192.0.2.7:7070"], &[]);
        check(
            "udp://[2001:db8::1]:1 https://clinic.example/",
            &["[2001:db8::1]:1"],
            &["https://clinic.example"],
        );
        check("udp://clinic.example:7070 file:///etc/passwd ftp://x", &[], &[]);
        check("https://user:secret@clinic.example https://a.example/?b=c", &[], &[]);
        check(
            "https://a https://b https://c https://d https://e",
            &[],
            &["https://a", "https://b", "https://c", "https://d"],
        );
        let nameless = Other::of(Address::ZERO, PeerId([0; 32]), "udp://192.0.2.7:7070");
        assert_eq!(nameless.sockets, []);
    }
}
