//! Two institutions with real vaults, and a holder that answers as a test wants.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::collections::{HashMap, HashSet};
use std::future::pending;
use std::io::{Cursor as Bytes, Read as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use chacha20::ChaCha20Rng;
use domain::{
    Address, B256, Facts, Kind, Permit, Purpose, QueryDomain, Reader, RecordDigest, RecordId,
    RecordVersion, Request, Timestamp, decide,
};
use exchange::{
    BatchProof, BodyStream, Cursor, Expected, Holder, HolderError, Incoming, Offers, PeerId,
    Receiver, Report, Requester, SyncSettings, TransferError, Transport, Wanted,
};
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::StreamExt as _;
use parking_lot::Mutex;
use rand_core::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tokio::sync::watch;
use vault::{
    Content, Database, Entry, Identity, Kem, NewRecord, RootKey, SealedBytes, SecretKey, Vault,
    VaultSettings,
};

pub const HOSPITAL: Address = Address::repeat_byte(0x51);
pub const CLINIC: Address = Address::repeat_byte(0x52);
pub const PATIENT: Address = Address::repeat_byte(0xa1);
pub const AUTHOR: Address = Address::repeat_byte(0xb1);
pub const NETWORK: QueryDomain =
    QueryDomain { chain_id: 1_337, registry: Address::repeat_byte(0xee) };
pub const NOW: Timestamp = Timestamp(1_795_374_960);

/// The same random bytes in every run.
pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub fn id(number: u64) -> RecordId {
    RecordId(B256::left_padding_from(&number.to_be_bytes()))
}

pub fn record(number: u64) -> NewRecord {
    NewRecord {
        record: id(number),
        version: RecordVersion::FIRST,
        patient: PATIENT,
        kind: Kind::Laboratory,
        content: Content::FhirJson,
        author: AUTHOR,
        created: NOW,
        body: format!(r#"{{"resourceType":"Observation","id":"{number}"}}"#).into_bytes(),
    }
}

/// A record of about 1.5 MB sealed, which is kept in a file.
pub fn long_record(number: u64) -> NewRecord {
    let mut body = vec![0; 1_500_000];
    rng(number).fill_bytes(&mut body);
    NewRecord { content: Content::Other, body, ..record(number) }
}

/// The patient's permit to read a record of their own.
pub fn permit(number: u64, steward: Address) -> Permit {
    let request = Request {
        reader: Reader::Patient { account: PATIENT },
        patient: PATIENT,
        steward,
        record: id(number),
        kind: Kind::Laboratory,
        purpose: Purpose::PatientRequest,
        time: NOW,
    };
    decide(&request, &Facts::default()).unwrap()
}

/// One institution, or a patient's node.
pub struct Site {
    pub folder: Arc<TempDir>,
    pub vault: Vault,
    pub identity: Identity,
}

impl Site {
    pub async fn new(steward: Address, seed: u8) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let database = Database::open_file(&folder.path().join("vault.db")).await.unwrap();
        let bodies = folder.path().join("bodies");
        let settings = VaultSettings { steward, network: NETWORK, bodies, recovery_keys: vec![] };
        let root_key = RootKey::from_bytes(&[seed; 32]);
        let mut random = rng(seed.into());
        let vault = Vault::unlock(settings, database, &root_key, &mut random).await.unwrap();
        let secret = SecretKey::make(Kem::X25519, &mut random);
        Self { folder, vault, identity: Identity { address: steward, secret } }
    }

    pub fn body_file(&self, digest: RecordDigest) -> PathBuf {
        self.folder.path().join("bodies").join(hex::encode(digest.0))
    }

    pub fn part_file(&self, digest: RecordDigest) -> PathBuf {
        self.folder.path().join("incoming").join(format!("{}.part", hex::encode(digest.0)))
    }

    pub fn incoming(&self) -> Incoming {
        Incoming::open(&self.folder.path().join("incoming")).unwrap()
    }

    /// A receiver for this site that expects all of these.
    pub fn receiver(&self, expected: &[Entry]) -> Receiver<Anchored> {
        self.receiver_with(expected, quick())
    }

    pub fn receiver_with(&self, expected: &[Entry], settings: SyncSettings) -> Receiver<Anchored> {
        let identity = Some(self.identity.clone());
        let anchored = Anchored(expected.to_vec());
        Receiver::new(self.vault.clone(), identity, anchored, self.incoming(), settings)
    }

    /// Opens a record with the site's own key.
    pub async fn read(&self, number: u64, steward: Address) -> Vec<u8> {
        let permit = permit(number, steward);
        self.vault.open_received(permit, None, &self.identity).await.unwrap().into_body()
    }

    pub async fn has(&self, entry: &Entry) -> bool {
        self.vault.contains(entry.digest).await.unwrap()
    }
}

pub fn quick() -> SyncSettings {
    SyncSettings { attempts: 1, ..SyncSettings::default() }
}

/// Puts records into a site's vault, and lets `reader` open them.
pub async fn share(site: &Site, records: Vec<NewRecord>, reader: &Identity) -> Vec<Entry> {
    let entries = site.vault.put_many(records, &mut rng(3)).await.unwrap();
    for entry in &entries {
        wrap(site, entry, reader, B256::repeat_byte(0xc0)).await;
    }
    entries
}

pub async fn wrap(site: &Site, entry: &Entry, reader: &Identity, consent: B256) {
    let request = Request {
        reader: Reader::Patient { account: PATIENT },
        patient: PATIENT,
        steward: entry.header.steward,
        record: entry.header.record,
        kind: entry.header.kind,
        purpose: Purpose::PatientRequest,
        time: NOW,
    };
    let permit = decide(&request, &Facts::default()).unwrap();
    let key = reader.secret.public_key();
    site.vault.wrap_for(permit, None, reader.address, &key, consent, &mut rng(4)).await.unwrap();
}

/// What stands on chain.
#[derive(Debug)]
pub struct Anchored(pub Vec<Entry>);

impl Expected for Anchored {
    async fn expects(
        &self,
        entry: &Entry,
        _proof: Option<&BatchProof>,
    ) -> Result<bool, HolderError> {
        Ok(self.0.contains(entry))
    }
}

/// What a test changes while it runs.
#[derive(Default)]
pub struct Rules {
    pub peers: HashMap<PeerId, Vec<Address>>,
    pub keys: HashMap<Address, Address>,
    /// Accounts that vouch for whatever they are said to have signed.
    pub accounts: HashSet<Address>,
    pub offered: Vec<(Address, RecordDigest)>,
    pub permitted: HashSet<(Address, RecordDigest)>,
    pub nonces: HashSet<(Address, B256)>,
    /// Other bytes than the vault's.
    pub instead: HashMap<RecordDigest, Vec<u8>>,
    pub page_len: Option<usize>,
    /// What happens at which of the checks between two steps, counted from 1.
    pub at_check: Option<(u32, AtCheck)>,
    pub is_unavailable: bool,
    pub given: u32,
    pub checks: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtCheck {
    /// The consent is revoked.
    Revoke,
    /// The peer and key are taken from the member.
    Unregister,
    /// Nothing more happens, ever.
    Hang,
    /// It is not known any more where the chain stands.
    Stale,
}

/// A holder that answers as the rules say.
pub struct TestHolder {
    pub vault: Vault,
    pub rules: Mutex<Rules>,
    /// Where the vault lies, for as long as it is needed.
    _folder: Arc<TempDir>,
}

impl TestHolder {
    /// Offers and permits all of these to `member`.
    pub fn new(site: &Site, member: Address, entries: &[Entry]) -> Arc<Self> {
        let mut rules = Rules::default();
        for entry in entries {
            rules.offered.push((member, entry.digest));
            rules.permitted.insert((member, entry.digest));
        }
        let (vault, folder) = (site.vault.clone(), Arc::clone(&site.folder));
        Arc::new(Self { vault, rules: Mutex::new(rules), _folder: folder })
    }
}

impl Holder for TestHolder {
    async fn members_of(&self, peer: PeerId) -> Result<Vec<Address>, HolderError> {
        Ok(self.rules.lock().peers.get(&peer).cloned().unwrap_or_default())
    }

    async fn member_signing(&self, signer: Address) -> Result<Option<Address>, HolderError> {
        Ok(self.rules.lock().keys.get(&signer).copied())
    }

    async fn account_signed(
        &self,
        account: Address,
        _digest: B256,
        _signature: &[u8],
    ) -> Result<bool, HolderError> {
        Ok(self.rules.lock().accounts.contains(&account))
    }

    async fn take_nonce(
        &self,
        member: Address,
        nonce: B256,
        _deadline: Timestamp,
    ) -> Result<bool, HolderError> {
        Ok(self.rules.lock().nonces.insert((member, nonce)))
    }

    async fn offers(
        &self,
        member: Address,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Offers, HolderError> {
        let (all, limit) = {
            let rules = self.rules.lock();
            if rules.is_unavailable {
                return Err(HolderError("stale".into()));
            }
            (rules.offered.clone(), rules.page_len.unwrap_or(limit))
        };
        let own = all.iter().filter(|(to, _)| *to == member);
        let skipped = after.map_or(0, |after| usize::from(after.as_bytes()[0]));
        let mut offers = Offers::default();
        for (_, digest) in own.clone().skip(skipped).take(limit) {
            offers.copies.push(self.vault.copy_for(*digest, member).await.unwrap().unwrap());
        }
        if skipped + limit < own.count() {
            offers.next = Cursor::new([u8::try_from(skipped + limit).unwrap()]);
        }
        Ok(offers)
    }

    async fn give(
        &self,
        member: Address,
        digest: RecordDigest,
    ) -> Result<Option<SealedBytes>, HolderError> {
        {
            let mut rules = self.rules.lock();
            if !rules.permitted.contains(&(member, digest)) {
                return Ok(None);
            }
            rules.given += 1;
            if let Some(instead) = rules.instead.get(&digest) {
                return Ok(Some(SealedBytes::Memory(Bytes::new(instead.clone()))));
            }
        }
        Ok(self.vault.sealed_bytes(digest).await.unwrap())
    }

    async fn may_have(&self, member: Address, digest: RecordDigest) -> Result<bool, HolderError> {
        let hangs = {
            let mut rules = self.rules.lock();
            rules.checks += 1;
            let due = rules.at_check.filter(|(at, _)| *at == rules.checks).map(|(_, what)| what);
            match due {
                Some(AtCheck::Revoke) => rules.permitted.clear(),
                // This check was still allowed; the next one finds them gone.
                Some(AtCheck::Unregister) => {
                    rules.peers.clear();
                    rules.keys.clear();
                }
                Some(AtCheck::Stale) => return Err(HolderError("stale".into())),
                Some(AtCheck::Hang) | None => {}
            }
            due == Some(AtCheck::Hang)
        };
        if hangs {
            pending::<()>().await;
        }
        Ok(self.rules.lock().permitted.contains(&(member, digest)))
    }
}

/// Passes everything on, and notes how bodies were fetched.
pub struct Observed<T> {
    pub inner: T,
    /// From where each body was asked for.
    pub from: Mutex<Vec<u64>>,
    /// How many bytes came.
    pub bytes: watch::Sender<u64>,
    /// After how many bytes of a body its connection breaks, once.
    pub cut: Mutex<Option<u64>>,
}

impl<T> Observed<T> {
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            from: Mutex::default(),
            bytes: watch::Sender::default(),
            cut: Mutex::default(),
        }
    }

    pub fn cut_after(self, bytes: u64) -> Self {
        *self.cut.lock() = Some(bytes);
        self
    }
}

impl<T: Transport> Transport for Observed<T> {
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
        self.inner.offers(after)
    }

    fn fetch(&self, wanted: Wanted, from: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
        self.from.lock().push(from);
        async move {
            let stream = self.inner.fetch(wanted, from).await?;
            let (bytes, cut) = (self.bytes.clone(), self.cut.lock().take());
            let mut came = 0;
            let observed = stream.map(move |chunk| {
                if cut.is_some_and(|cut| came >= cut) {
                    return Err(TransferError::Interrupted("cut".into()));
                }
                if let Ok(chunk) = &chunk {
                    came += chunk.len() as u64;
                    bytes.send_modify(|bytes| *bytes += chunk.len() as u64);
                }
                chunk
            });
            Ok(observed.boxed())
        }
        .boxed()
    }
}

pub fn signer(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&alloy_primitives::keccak256(name)).unwrap()
}

/// A requester with a key of this name, and nonces that count up.
pub fn requester(member: Address, name: &str) -> Requester {
    let (key, random) = (signer(name), Mutex::new(rng(9)));
    Requester {
        member,
        network: NETWORK,
        sign: Arc::new(move |digest| {
            let signature = key.sign_hash_sync(&digest).unwrap().as_bytes().to_vec();
            async move { Ok(signature) }.boxed()
        }),
        make_nonce: Arc::new(move || {
            let mut nonce = B256::ZERO;
            random.lock().fill_bytes(&mut nonce.0);
            nonce
        }),
        clock: Arc::new(|| NOW),
    }
}

pub fn sealed_of(entry: &Entry, vault: &Vault) -> BoxFuture<'static, Vec<u8>> {
    let (digest, vault) = (entry.digest, vault.clone());
    async move {
        let mut bytes = Vec::new();
        vault.sealed_bytes(digest).await.unwrap().unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }
    .boxed()
}

#[track_caller]
pub fn assert_fetched(report: &Report, count: u64) {
    assert_eq!(report.fetched.count, count, "{report:?}");
    assert!(report.is_complete(), "{report:?}");
}

/// Waits as long as it takes, but not forever.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.unwrap()
}
