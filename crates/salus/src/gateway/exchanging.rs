//! Brings here what should be here, from the other holders that the registry names, and answers them.
//!
//! A holder is reached as its profile says: `udp://ADDRESS:PORT` for its peer-to-peer node, whose id
//! stands beside it, and `https://HOST` where UDP is closed. Others are asked when the chain has something
//! new, and at intervals. Bodies that a scan finds missing or altered are healed from whoever holds them.
//!
//! What a profile says, a member wrote: nobody is asked at an address of this machine or of a private
//! network unless the configuration allows it.

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
    SignRequest, Statement, SyncSettings, Transport, router,
};
use futures_util::{StreamExt as _, stream};
use gatekeeper::{Clock, FindingKind, Gatekeeper, Holding};
use notify::webhook::LocalTargets;
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

/// How long there is to sign what has a node noted.
const SIGNED_WITHIN: Duration = Duration::from_secs(20 * 60);

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
    Patient {
        /// Whether the key that acts for the account is somewhere else, so that the node signs nothing:
        /// it is noted by what was signed there, and asks as the peer that it is.
        has_passkey: bool,
    },
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

/// How many other holders there are, how many answered last, and what came of asking them.
#[derive(Debug, Default)]
pub(crate) struct Others {
    known: AtomicU64,
    reached: AtomicU64,
    fetched: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    waiting: AtomicU64,
}

/// What came of asking other holders, since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Versions that were taken over.
    pub(crate) fetched: u64,
    /// How many sealed bytes were transferred for them.
    pub(crate) bytes: u64,
    /// Versions that were offered and not given.
    pub(crate) refused: u64,
    /// Versions that did not come for another reason.
    pub(crate) failed: u64,
    /// Versions that should be here and are not, or are damaged, as of the last round.
    pub(crate) waiting: u64,
}

impl Others {
    /// How many the registry names, and how many of them answered when they were last asked.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.known.load(Ordering::Relaxed), self.reached.load(Ordering::Relaxed))
    }

    /// What came of it since the start.
    pub(crate) fn totals(&self) -> Totals {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Totals {
            fetched: of(&self.fetched),
            bytes: of(&self.bytes),
            refused: of(&self.refused),
            failed: of(&self.failed),
            waiting: of(&self.waiting),
        }
    }

    fn add(&self, report: &Report) {
        let add = |to: &AtomicU64, count| to.fetch_add(count, Ordering::Relaxed);
        add(&self.fetched, report.fetched.count);
        add(&self.bytes, report.bytes);
        add(&self.refused, report.refused.count);
        add(&self.failed, report.failures);
    }
}

/// One holder's part in the exchange.
pub(crate) struct Exchange {
    gatekeeper: Gatekeeper,
    holding: Arc<Holding>,
    receiver: Receiver<Holding>,
    node: Option<Node>,
    clients: Clients,
    requester: Requester,
    party: Party,
    settings: ExchangeSettings,
    /// Where copies that arrive are to be found, when this holder serves them.
    finding: Option<fhir::Resources>,
    /// The public half of the key to which copies for this holder are wrapped.
    key: Vec<u8>,
    /// Where others reach it, as its profile says.
    endpoint: String,
    others: Arc<Others>,
    /// The stewards that know this patient's node.
    noted: Mutex<BTreeSet<Address>>,
    /// Bodies that a scan found missing or altered, and nobody gave back yet.
    damaged: Mutex<BTreeSet<RecordDigest>>,
    /// With which of them the next round begins.
    heal_from: Mutex<Option<RecordDigest>>,
    /// Members whose profile names places that are not asked, as was told.
    shunned: Mutex<BTreeSet<Address>>,
}

/// Clients that connect only to where other holders may be.
#[derive(Clone, Debug)]
struct Clients {
    over_tls: reqwest::Client,
    /// For what is near by, where that is allowed.
    plain: reqwest::Client,
}

/// Another holder, as the registry names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Other {
    member: Address,
    peer: PeerId,
    sockets: Vec<SocketAddr>,
    bases: Vec<String>,
    /// How many of the places that its profile names are not asked, because they are near by.
    shunned: usize,
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
            clients: Clients::new(settings.local_targets)?,
            requester,
            party,
            settings,
            finding: None,
            key,
            endpoint,
            others: Arc::default(),
            noted: Mutex::default(),
            damaged: Mutex::default(),
            heal_from: Mutex::default(),
            shunned: Mutex::default(),
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

    /// Makes what arrives findable over FHIR.
    #[must_use]
    pub(crate) fn finding(mut self, resources: fhir::Resources) -> Self {
        self.finding = Some(resources);
        self
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
        // What a crash came in between of.
        self.find_all().await;
        let mut asked: Option<(Instant, Option<B256>)> = None;
        let mut scanned = (!self.settings.scans_first).then(Instant::now);
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
            Party::Patient { has_passkey } => {
                if !has_passkey {
                    self.note_with_stewards().await;
                }
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
                    Party::Patient { .. } => {
                        projection.consents.relationship(own, **member).is_some()
                    }
                }
        });
        let others = others.filter_map(|(member, _)| {
            let profile = registry.profile(member)?;
            let (peer, local) = (PeerId(profile.peer_id.0), self.settings.local_targets);
            let other = Other::of(*member, peer, &profile.endpoint, local);
            if other.shunned > 0 && self.shunned.lock().insert(*member) {
                let (holder, places) = (*member, other.shunned);
                tracing::warn!(
                    %holder, places,
                    "a profile names places near by, which `exchange.local_targets` does not allow"
                );
            }
            (!other.sockets.is_empty() || !other.bases.is_empty()).then_some(other)
        });
        let mut others: Vec<_> = others.collect();
        others.sort_by_key(|other| other.member);
        others
    }

    fn https(&self, other: &Other) -> Vec<HttpsPeer> {
        let peer = |base: &String| {
            let client = self.clients.of(base).clone();
            HttpsPeer::new(client, base, other.member, self.requester.clone())
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
        if !matches!(self.party, Party::Patient { has_passkey: true }) {
            ways.extend(self.https(other).into_iter().map(|peer| Box::new(peer) as _));
        }
        ways
    }

    /// What the account is to sign, so that the stewards that are reached over HTTPS note this node until
    /// it is struck off. Each statement serves once, before its deadline.
    pub(crate) async fn statements(&self) -> Vec<Statement> {
        let Some(id) = self.node.as_ref().map(Node::id) else { return Vec::new() };
        let deadline = (self.requester.clock)().after(SIGNED_WITHIN);
        let others = self.others_now().await.into_iter().filter(|other| !other.bases.is_empty());
        let statements = others.map(|other| {
            let once = ((self.requester.make_nonce)(), deadline);
            let who = (self.gatekeeper.member(), other.member);
            Statement::of_peer(who, id, true, Some(&self.key), once)
        });
        statements.collect()
    }

    /// Sends what the account signed to the steward whom it is for.
    pub(crate) async fn send_signed(
        &self,
        statement: Statement,
        signature: Vec<u8>,
    ) -> Result<(), Error> {
        let others = self.others_now().await;
        let other = others.iter().find(|other| other.member == statement.responder);
        let ways = other.map(|other| self.https(other)).unwrap_or_default();
        let mut outcome = Err("the registry names no way over HTTPS to this steward".into());
        for peer in ways {
            match peer.send_signed(statement.clone(), signature.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => outcome = Err(error.into()),
            }
        }
        outcome
    }

    /// Stops listening without having taken part.
    pub(crate) async fn close(self) {
        if let Some(node) = self.node {
            node.stop().await;
        }
    }

    /// Asks every other holder for what should be here.
    async fn ask_all(&self) {
        let others = self.others_now().await;
        let known = others.len() as u64;
        let asking = others.into_iter().map(|other| async move { self.ask(&other).await });
        let asked: Vec<Asked> =
            stream::iter(asking).buffer_unordered(ASKED_AT_ONCE).collect().await;
        let reached = asked.iter().filter(|asked| asked.is_reached).count();
        let waiting = asked.iter().map(|asked| asked.waiting).sum::<u64>();
        let damaged = self.damaged.lock().len() as u64;
        tracing::debug!(known, reached, waiting, "asked the other holders");
        self.others.known.store(known, Ordering::Relaxed);
        self.others.reached.store(reached as u64, Ordering::Relaxed);
        self.others.waiting.store(waiting.saturating_add(damaged), Ordering::Relaxed);
    }

    /// Asks one.
    async fn ask(&self, other: &Other) -> Asked {
        let mut waiting = 0;
        for way in self.ways(other) {
            // One that answers without end must not hold up the others; what is left comes next time.
            let syncing = self.receiver.sync(&*way);
            let Ok(report) = tokio::time::timeout(ASKED_AT_MOST, syncing).await else {
                tracing::warn!(holder = %other.member, "another holder takes too long");
                // What came until then is here all the same.
                self.find_all().await;
                return Asked { is_reached: false, waiting };
            };
            tell(other.member, &report);
            self.others.add(&report);
            self.find(&report).await;
            // What one way did not bring, the next may.
            waiting = report.refused.count + report.failures;
            match report.broken_off {
                None => return Asked { is_reached: true, waiting },
                Some(error) => {
                    let holder = other.member;
                    tracing::warn!(%holder, %error, "another holder was not asked to the end");
                }
            }
        }
        Asked { is_reached: false, waiting }
    }

    /// Makes what came findable.
    async fn find(&self, report: &Report) {
        let Some(resources) = &self.finding else { return };
        // Copies with new wraps may be readable only now; a report names no more than so many.
        let are_all_named = report.fetched.count == report.fetched.named.len() as u64;
        if report.rewrapped > 0 || !are_all_named {
            return self.find_all().await;
        }
        let found = resources.index_copies(&report.fetched.named).await;
        tell_found(found);
    }

    async fn find_all(&self) {
        if let Some(resources) = &self.finding {
            tell_found(resources.index_all_copies().await);
        }
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
        let mut damaged: Vec<_> = self.damaged.lock().iter().copied().collect();
        if damaged.is_empty() {
            return;
        }
        // Others answer only so many questions for what they do not have: the next round begins where
        // they stopped to answer in this one.
        let first = self.heal_from.lock().take();
        let begun = first.map_or(0, |first| damaged.partition_point(|digest| *digest < first));
        damaged.rotate_left(begun);
        let others = self.others_now().await;
        let ways: Vec<_> = others.iter().flat_map(|other| self.ways(other)).collect();
        let ways: Vec<&dyn Transport> = ways.iter().map(|way| &**way).collect();
        for digest in damaged {
            let healed = self.receiver.heal(&[digest], &ways).await;
            self.others.add(&healed);
            if healed.fetched.count > 0 {
                self.damaged.lock().remove(&digest);
                tracing::info!(%digest, bytes = healed.bytes, "healed a damaged body");
            } else {
                if healed.failures > 0 {
                    self.heal_from.lock().get_or_insert(digest);
                }
                tell_failures(&healed);
            }
        }
    }
}

impl Other {
    /// Reads what a profile says, for whoever asks such holders near by. What it says otherwise is left
    /// out.
    fn of(member: Address, peer: PeerId, endpoint: &str, local: LocalTargets) -> Self {
        let (sockets, bases) = (Vec::new(), Vec::new());
        let mut other = Self { member, peer, sockets, bases, shunned: 0 };
        for place in endpoint.split_ascii_whitespace().take(PLACES_MAX) {
            if let Some(socket) = place.strip_prefix("udp://") {
                match socket.parse::<SocketAddr>() {
                    Ok(socket) if local.permits(socket.ip()) => other.sockets.push(socket),
                    Ok(_) => other.shunned += 1,
                    Err(_) => {}
                }
            } else if let Ok(url) = url::Url::parse(place)
                && matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.fragment().is_none()
            {
                match local.check(&url) {
                    Ok(()) => other.bases.push(url.as_str().trim_end_matches('/').to_owned()),
                    Err(_) => other.shunned += 1,
                }
            }
        }
        if peer.0 == [0; 32] {
            other.sockets.clear();
        }
        other
    }
}

/// What came of asking one other holder.
struct Asked {
    is_reached: bool,
    /// Versions that it has for this holder, and that did not come.
    waiting: u64,
}

fn tell_found(found: Result<u64, fhir::FhirError>) {
    match found {
        Ok(0) => {}
        Ok(copies) => tracing::info!(copies, "made copies findable"),
        Err(error) => tracing::warn!(%error, "copies that arrived are not findable yet"),
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

impl Clients {
    fn new(local: LocalTargets) -> Result<Self, Error> {
        // Refused when there is one already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |over_tls| {
            reqwest::Client::builder()
                // What is signed is for one holder.
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(SILENCE_MAX)
                .no_proxy()
                .https_only(over_tls)
                .dns_resolver(local.resolver(over_tls))
                .build()
        };
        Ok(Self { over_tls: client(true)?, plain: client(false)? })
    }

    /// The client for a base that [`LocalTargets::check`] allows.
    fn of(&self, base: &str) -> &reqwest::Client {
        if base.starts_with("https:") { &self.over_tls } else { &self.plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(endpoint: &str, sockets: &[&str], bases: &[&str]) {
        check_near(LocalTargets::Refused, endpoint, sockets, bases);
    }

    #[track_caller]
    fn check_near(local: LocalTargets, endpoint: &str, sockets: &[&str], bases: &[&str]) {
        let other = Other::of(Address::ZERO, PeerId([1; 32]), endpoint, local);
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
        check("udp://198.41.0.4:7070", &["198.41.0.4:7070"], &[]);
        check(
            "udp://[2606:4700::1111]:1 https://clinic.example/",
            &["[2606:4700::1111]:1"],
            &["https://clinic.example"],
        );
        check("udp://clinic.example:7070 file:///etc/passwd ftp://x", &[], &[]);
        check("https://user:secret@clinic.example https://a.example/?b=c", &[], &[]);
        check(
            "https://a https://b https://c https://d https://e",
            &[],
            &["https://a", "https://b", "https://c", "https://d"],
        );
        let nameless = Other::of(
            Address::ZERO,
            PeerId([0; 32]),
            "udp://198.41.0.4:7070",
            LocalTargets::Refused,
        );
        assert_eq!(nameless.sockets, []);
    }

    #[test]
    fn members_cannot_send_others_to_what_is_near_them() {
        use LocalTargets::{Loopback, Private, Refused};
        let near = "udp://127.0.0.1:7 http://127.0.0.1:8 https://[::1]:9";
        check_near(Refused, near, &[], &[]);
        let bases = ["http://127.0.0.1:8", "https://[::1]:9"];
        check_near(Loopback, near, &["127.0.0.1:7"], &bases);
        let private = "udp://10.0.0.1:7 https://192.168.0.1 https://[fd00::1]";
        check_near(Loopback, private, &[], &[]);
        check_near(
            Private,
            private,
            &["10.0.0.1:7"],
            &["https://192.168.0.1", "https://[fd00::1]"],
        );
        // Behind these, cloud providers put their secrets.
        for local in [Refused, Loopback, Private] {
            check_near(local, "udp://169.254.169.254:80 http://169.254.169.254", &[], &[]);
            check_near(local, "udp://[fe80::1]:80 https://0.0.0.0", &[], &[]);
        }
        check_near(
            Refused,
            "http://clinic.example https://clinic.example",
            &[],
            &["https://clinic.example"],
        );
    }

    /// A name says nothing of where it leads: that is looked at when the connection is made.
    #[tokio::test]
    async fn names_that_lead_near_are_not_followed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asks = async |local, scheme: &str| {
            let base = format!("{scheme}://localhost:{port}");
            let client = Clients::new(local).unwrap().of(&base).clone();
            tokio::select! {
                asked = client.get(base).send() => {
                    assert!(asked.is_err());
                    false
                }
                accepted = listener.accept() => accepted.is_ok(),
            }
        };
        assert!(!asks(LocalTargets::Refused, "https").await);
        assert!(!asks(LocalTargets::Refused, "http").await);
        assert!(asks(LocalTargets::Loopback, "http").await);
    }
}
