//! What one institution gives to other holders: the same decisions as for reads, over both transports,
//! until the block of a revocation, and with a receipt of every attempt (S2, S3, S5, S7).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{fs, io::Read as _, net::SocketAddr, sync::Arc};

use alloy_primitives::{Address, B256};
use alloy_signer::SignerSync as _;
use bindings::{Contract, Records, Registry};
use common::{INSTITUTIONS, World, address, id, long, rng, sealing_key, secret, wallet};
use domain::{
    Anchor, Kind, KindSet, Outcome, ProfessionalRole, Purpose, Reader, Receipt, RecordDigest,
    Timestamp,
};
use exchange::{
    BatchProof, BodyStream, Cursor, Expected as _, Holder, HttpsPeer, HttpsSettings, Incoming,
    Node, NodeSettings, Offers, PeerId, Receiver, Report, Requester, SyncSettings, TransferError,
    Transport, Wanted, router,
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture};
use gatekeeper::{AnswerError, Clock, Gatekeeper, Holding, ReadRequest};
use ledger::Patient;
use rand_core::Rng as _;
use sqlx::Row as _;
use tokio::net::TcpListener;
use vault::{Entry, Identity, NewRecord};

/// A network in which the hospital has records of two patients, and the clinic may read one kind.
struct Town {
    world: World,
    hospital: Gatekeeper,
    /// By number: two laboratory results and a document that pat accepted, a result that pat has not
    /// answered, and one of quinn.
    anchors: Vec<Anchor>,
}

const ACCEPTED: usize = 0;
const LONG: usize = 1;
const OTHER_KIND: usize = 2;
const UNANSWERED: usize = 3;
const OF_ANOTHER: usize = 4;

/// More than what sockets on one machine take in before their other side reads.
const BEYOND_BUFFERS: usize = 40_000_000;

/// Bytes that no compression makes fewer.
fn noise(len: usize) -> Vec<u8> {
    let mut body = vec![0; len];
    rng(7).fill_bytes(&mut body);
    body
}

fn clock(world: &World) -> Clock {
    let ledger = world.ledger.clone();
    Arc::new(move || Timestamp(ledger.embedded_chain().unwrap().now()))
}

fn holding(world: &World, gatekeeper: &Gatekeeper) -> Arc<Holding> {
    Arc::new(Holding::new(gatekeeper.clone(), clock(world)))
}

impl Town {
    async fn new() -> Self {
        Self::with_body_of(700_000).await
    }

    /// The long record is of so many bytes.
    async fn with_body_of(len: usize) -> Self {
        let world = World::with_relationships().await;
        let hospital = world.gatekeeper("hospital").await;
        for patient in common::PATIENTS {
            let keys = [sealing_key(patient).public_key()];
            let vault = hospital.vault();
            vault.set_patient_keys(address(patient), &keys, &mut rng(1)).await.unwrap();
        }
        for (member, _) in INSTITUTIONS {
            profile(&world, member, "", B256::ZERO).await;
        }
        let (pat, quinn) = (address("pat"), address("quinn"));
        let records = [
            world.record_of(1, pat, Kind::Laboratory),
            NewRecord { body: noise(len), ..long(world.record_of(2, pat, Kind::Laboratory)) },
            world.record_of(3, pat, Kind::Document),
            world.record_of(4, pat, Kind::Laboratory),
            world.record_of(5, quinn, Kind::Laboratory),
        ];
        let mut anchors = Vec::new();
        for record in records {
            anchors.push(hospital.put_and_propose(record, None).await.unwrap().0);
        }
        for accepted in [ACCEPTED, LONG, OTHER_KIND] {
            world.accept("pat", &anchors[accepted]).await;
        }
        world.accept("quinn", &anchors[OF_ANOTHER]).await;
        world.grant("pat", address("clinic"), None).await;
        Self { world, hospital, anchors }
    }

    fn digest(&self, record: usize) -> RecordDigest {
        self.anchors[record].digest
    }

    fn holding(&self) -> Arc<Holding> {
        holding(&self.world, &self.hospital)
    }

    async fn last_receipt(&self, patient: Address) -> Receipt {
        self.hospital.receipts_of(patient, None, 1).await.unwrap().remove(0).receipt
    }
}

/// Enters a member's key, and its peer, in the registry.
async fn profile(world: &World, member: &str, endpoint: &str, peer_id: B256) {
    let hpke_key = sealing_key(member).public_key().to_bytes().into();
    let call =
        Registry::setProfileCall { hpkeKey: hpke_key, endpoint: endpoint.into(), peerId: peer_id };
    world.send(member, Contract::Registry, &call).await.unwrap();
}

/// A holder with a vault of its own, which takes over what is for it.
struct Site {
    gatekeeper: Gatekeeper,
    holding: Arc<Holding>,
    receiver: Receiver<Holding>,
}

impl Site {
    async fn new(world: &World, name: &str) -> Self {
        Self::of(world, name, world.gatekeeper(name).await)
    }

    fn of(world: &World, name: &str, gatekeeper: Gatekeeper) -> Self {
        gatekeeper.open_copies_with(sealing_key(name));
        let holding = holding(world, &gatekeeper);
        let identity = Identity { address: address(name), secret: sealing_key(name) };
        let incoming = Incoming::open(&world.vault_dir(name).join("incoming")).unwrap();
        let settings = SyncSettings { attempts: 1, ..SyncSettings::default() };
        let vault = gatekeeper.vault().clone();
        let receiver = Receiver::new(vault, Some(identity), (*holding).clone(), incoming, settings);
        Self { gatekeeper, holding, receiver }
    }

    /// Lets everything go but the gatekeeper.
    fn end(self) -> Gatekeeper {
        self.gatekeeper
    }

    async fn has(&self, digest: RecordDigest) -> bool {
        self.gatekeeper.vault().contains(digest).await.unwrap()
    }
}

async fn node(holding: &Arc<Holding>, name: &str) -> Node {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    let settings = NodeSettings { secret: secret(&format!("{name}'s peer")).0, listen };
    Node::start(Arc::clone(holding), settings).await.unwrap()
}

/// Serves a holder over HTTP.
async fn served(town: &Town) -> SocketAddr {
    let settings = HttpsSettings {
        member: town.hospital.member(),
        network: town.hospital.domain(),
        clock: clock(&town.world),
    };
    let routes = router(town.holding(), settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

type Sign = dyn Fn(B256) -> Vec<u8> + Send + Sync;

fn https(town: &Town, address: SocketAddr, member: Address, sign: Arc<Sign>) -> HttpsPeer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let entropy = gatekeeper::Entropy::from_seed(secret(&format!("nonces of {member}")).0);
    let requester = Requester {
        member,
        network: town.hospital.domain(),
        sign: Arc::new(move |digest| {
            let signature = sign(digest);
            async move { Ok(signature) }.boxed()
        }),
        make_nonce: Arc::new(move || entropy.bytes::<32>().into()),
        clock: clock(&town.world),
    };
    HttpsPeer::new(client, &format!("http://{address}"), town.hospital.member(), requester)
}

fn with_key(name: &str) -> Arc<Sign> {
    let wallet = wallet(name);
    Arc::new(move |digest| wallet.sign_hash_sync(&digest).unwrap().as_bytes().to_vec())
}

async fn offered(holding: &Holding, member: Address, page_len: usize) -> Vec<RecordDigest> {
    let (mut offered, mut after) = (Vec::new(), None);
    loop {
        let page = holding.offers(member, after, page_len).await.unwrap();
        assert!(page.copies.len() <= page_len);
        offered.extend(page.copies.iter().map(|copy| copy.entry.digest));
        match page.next {
            Some(next) => after = Some(next),
            None => return offered,
        }
    }
}

/// Who gets which of the records, one row each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holders_get_what_the_access_matrix_says_and_each_attempt_is_in_the_log() {
    let town = Town::new().await;
    town.world.grant("pat", address("laboratory"), Some(id(1))).await;
    town.world.grant("pat", address("insurer"), None).await;
    let matrix: [(&str, [bool; 5]); 9] = [
        ("pat", [true, true, true, true, false]),
        ("quinn", [false, false, false, false, true]),
        ("hospital", [true, true, true, true, true]),
        ("clinic", [true, true, false, false, false]),
        ("cai", [true, true, false, false, false]),
        ("laboratory", [true, false, false, false, false]),
        // Consent does not widen what an insurer may read for treatment.
        ("insurer", [false; 5]),
        ("pharmacy", [false; 5]),
        ("ada", [false; 5]),
    ];
    let holding = town.holding();
    for (name, expected) in matrix {
        let member = address(name);
        let mut told: Vec<_> = offered(&holding, member, 1).await;
        assert_eq!(told, offered(&holding, member, 100).await, "{name}");
        for (number, may) in expected.into_iter().enumerate() {
            let digest = town.digest(number);
            // A professional has no key of their own in the registry here, so nothing is wrapped.
            let is_told = may && name != "cai";
            assert_eq!(told.contains(&digest), is_told, "{name} is told of {number}");
            told.retain(|told| *told != digest);
            assert_eq!(holding.may_have(member, digest).await.unwrap(), may, "{name}, {number}");
            let given = holding.give(member, digest).await.unwrap();
            assert_eq!(given.is_some(), may, "{name} gets {number}");
            let receipt = town.last_receipt(town.anchors[number].patient).await;
            assert_eq!(receipt.requester, member, "{name}, {number}");
            let is_allowed = match receipt.outcome {
                Outcome::Allowed { records, .. } => {
                    assert_eq!(records, [(town.anchors[number].record, digest)]);
                    true
                }
                Outcome::Refused { .. } => false,
            };
            assert_eq!(is_allowed, may, "{name}, {number}");
        }
        assert_eq!(told, [], "{name}");
    }
    // What is nowhere is refused like everything else, and that is in the log too.
    let nowhere = RecordDigest(B256::repeat_byte(7));
    assert!(holding.give(address("clinic"), nowhere).await.unwrap().is_none());
    assert!(!holding.may_have(address("clinic"), nowhere).await.unwrap());
    assert_eq!(town.last_receipt(Address::ZERO).await.requester, address("clinic"));
    assert_eq!(town.hospital.check_log().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_get_kind_keys_and_wraps_are_made_once() {
    let town = Town::new().await;
    let holding = town.holding();
    let copies = async |member| holding.offers(address(member), None, 100).await.unwrap().copies;
    let first = copies("clinic").await;
    for copy in &first {
        assert_eq!(copy.wraps.len(), 1);
        assert_eq!(copy.wraps[0].subject, vault::Subject::Record(copy.entry.digest));
    }
    assert_eq!(copies("clinic").await, first);
    let own = copies("pat").await;
    assert!(own.iter().all(|copy| matches!(copy.wraps[0].subject, vault::Subject::KindKey(_))));

    // A new consent is another reason, so it has another wrap.
    town.world.revoke("pat", address("clinic"), None).await;
    assert_eq!(copies("clinic").await, []);
    town.world.grant("pat", address("clinic"), None).await;
    let again = copies("clinic").await;
    assert_eq!(again.len(), first.len());
    assert_ne!(again[0].wraps[0].consent, first[0].wraps[0].consent);
}

fn reads_as_cai(record: u64) -> ReadRequest {
    ReadRequest {
        reader: Reader::Professional {
            member: address("cai"),
            role: ProfessionalRole::Physician,
            institution: address("clinic"),
        },
        patient: address("pat"),
        kinds: KindSet::ALL,
        record: Some(id(record)),
        version: None,
        after: None,
        limit: 1,
        purpose: Purpose::Treatment,
        query: B256::ZERO,
    }
}

/// The clinic took over what it may have; it opens there, and stands up against the chain.
async fn assert_arrived(town: &Town, clinic: &Site, report: &Report) {
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.fetched.count, report.unexpected.count), (2, 0), "{report:?}");
    for number in [ACCEPTED, LONG] {
        assert!(clinic.has(town.digest(number)).await);
    }
    for number in [OTHER_KIND, UNANSWERED, OF_ANOTHER] {
        assert!(!clinic.has(town.digest(number)).await);
    }
    let now = town.world.now();
    let (served, _) = clinic.gatekeeper.read(&reads_as_cai(1), now).await.unwrap();
    assert!(served.records[0].body.get().contains(common::PLAINTEXT));
    let report = clinic.gatekeeper.reconcile(now).await.unwrap();
    assert!(report.is_clean() && report.versions == 2, "{report:?}");

    // What is here opens no longer than the consent lasts (S3).
    town.world.revoke("pat", address("clinic"), None).await;
    let refused = clinic.gatekeeper.read(&reads_as_cai(1), now).await;
    assert!(matches!(refused, Err(AnswerError::Refused(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permitted_records_arrive_peer_to_peer_and_open() {
    let town = Town::new().await;
    let clinic = Site::new(&town.world, "clinic").await;
    let (ours, theirs) =
        (node(&town.holding(), "hospital").await, node(&clinic.holding, "clinic").await);
    let peer = theirs.peer(address("clinic"), ours.id(), &ours.addresses()).unwrap();

    // Nobody whose peer is not in the registry gets in, on either side.
    profile(&town.world, "hospital", "", ours.id().0.into()).await;
    let report = clinic.receiver.sync(&peer).await;
    assert!(report.broken_off.is_some() && report.fetched.count == 0, "{report:?}");

    profile(&town.world, "clinic", "", theirs.id().0.into()).await;
    // Nor does anybody as another member than their own.
    let as_another = theirs.peer(address("laboratory"), ours.id(), &ours.addresses()).unwrap();
    let report = clinic.receiver.sync(&as_another).await;
    assert!(matches!(report.broken_off, Some(TransferError::Refused)), "{report:?}");

    let report = clinic.receiver.sync(&peer).await;
    assert_arrived(&town, &clinic, &report).await;
    theirs.stop().await;
    ours.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permitted_records_arrive_over_https_and_open() {
    let town = Town::new().await;
    let clinic = Site::new(&town.world, "clinic").await;
    let at = served(&town).await;
    for (member, key) in [("clinic", "pharmacy"), ("pharmacy", "spare1")] {
        let peer = https(&town, at, address(member), with_key(key));
        let report = clinic.receiver.sync(&peer).await;
        assert!(matches!(report.broken_off, Some(TransferError::Refused)), "{report:?}");
    }
    let pharmacy = https(&town, at, address("pharmacy"), with_key("pharmacy"));
    assert_eq!(pharmacy.offers(None).await.unwrap(), Offers::default());

    let peer = https(&town, at, address("clinic"), with_key("clinic"));
    let report = clinic.receiver.sync(&peer).await;
    assert_arrived(&town, &clinic, &report).await;
}

/// A way to the holder on which something happens once the first bytes of a body came.
struct Meanwhile<'a> {
    peer: &'a dyn Transport,
    world: &'a World,
}

impl Transport for Meanwhile<'_> {
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
        self.peer.offers(after)
    }

    fn fetch(&self, wanted: Wanted, from: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
        async move {
            let mut body = self.peer.fetch(wanted, from).await?;
            let first = body.next().await.unwrap()?;
            self.world.revoke("pat", address("clinic"), None).await;
            Ok(futures_util::stream::iter([Ok(first)]).chain(body).boxed())
        }
        .boxed()
    }
}

async fn assert_cut_off(town: &Town, clinic: &Site, peer: &dyn Transport) {
    // A body that is longer than what is on its way between two questions, and than what waits to be read.
    let mut page = peer.offers(None).await.unwrap();
    page.copies.retain(|copy| copy.entry.digest == town.digest(LONG));
    let wanted = Wanted { digest: town.digest(LONG), sealed_len: page.copies[0].entry.sealed_len };
    let revoking = Meanwhile { peer, world: &town.world };
    let mut body = revoking.fetch(wanted, 0).await.unwrap();
    let (mut came, mut ended) = (0, false);
    while let Some(chunk) = body.next().await {
        match chunk {
            Ok(bytes) => came += bytes.len() as u64,
            Err(error) => {
                ended = true;
                drop(error);
                break;
            }
        }
    }
    assert!(ended && came < wanted.sealed_len, "{came} of {}", wanted.sealed_len);
    let report = clinic.receiver.sync(peer).await;
    assert_eq!((report.fetched.count, report.failures), (0, 0), "{report:?}");
    assert!(!clinic.has(town.digest(LONG)).await);
    assert!(!clinic.has(town.digest(ACCEPTED)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_in_the_middle_nothing_more_comes_over_https() {
    let town = Town::with_body_of(BEYOND_BUFFERS).await;
    let peer = https(&town, served(&town).await, address("clinic"), with_key("clinic"));
    let clinic = Site::new(&town.world, "clinic").await;
    assert_cut_off(&town, &clinic, &peer).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_in_the_middle_nothing_more_comes_peer_to_peer() {
    let town = Town::with_body_of(BEYOND_BUFFERS).await;
    let clinic = Site::new(&town.world, "clinic").await;
    let (ours, theirs) =
        (node(&town.holding(), "hospital").await, node(&clinic.holding, "clinic").await);
    profile(&town.world, "hospital", "", ours.id().0.into()).await;
    profile(&town.world, "clinic", "", theirs.id().0.into()).await;
    let peer = theirs.peer(address("clinic"), ours.id(), &ours.addresses()).unwrap();
    assert_cut_off(&town, &clinic, &peer).await;
    theirs.stop().await;
    ours.stop().await;
}

/// An account that holds copies at a node of its own.
fn with_account(town: &Town, patient: Arc<Patient>) -> Arc<Sign> {
    let chain_id = town.hospital.domain().chain_id;
    Arc::new(move |digest| patient.sign_message(chain_id, digest).unwrap().to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_vouch_for_their_nodes_and_get_what_is_theirs() {
    let town = Town::new().await;
    let patient = Arc::new(town.world.account("rose").await);
    let account = patient.account();
    let record = town.world.record_of(9, account, Kind::Laboratory);
    let (anchor, _) = town.hospital.put_and_propose(record, None).await.unwrap();
    let holding = town.holding();
    let id = PeerId([9; 32]);
    let at = served(&town).await;

    // A stranger's key does not speak for the account, nor a member's for itself.
    for (who, sign) in [
        (account, with_key("spare1")),
        (address("clinic"), with_key("clinic")),
        (Address::repeat_byte(9), with_account(&town, Arc::clone(&patient))),
    ] {
        let refused = https(&town, at, who, sign).note_peer(id, true, None).await;
        assert!(matches!(refused, Err(TransferError::Refused)), "{refused:?}");
    }
    assert!(holding.members_of(id).await.unwrap().is_empty());
    let peer = https(&town, at, account, with_account(&town, Arc::clone(&patient)));
    // The key is learned once, and must be one.
    let key = sealing_key("rose").public_key().to_bytes();
    assert!(peer.note_peer(id, true, Some(&[1, 2])).await.is_err());
    assert!(!town.hospital.vault().knows_keys_of(account).await.unwrap());
    peer.note_peer(id, true, Some(&key)).await.unwrap();
    let other = sealing_key("spare1").public_key().to_bytes();
    peer.note_peer(id, true, Some(&other)).await.unwrap();
    assert_eq!(holding.members_of(id).await.unwrap(), [account]);

    // What the account gets opens for it.
    let page = peer.offers(None).await.unwrap();
    assert_eq!(page.copies.len(), 1);
    assert_eq!(page.copies[0].entry.digest, anchor.digest);
    let sealed = holding.give(account, anchor.digest).await.unwrap().unwrap();
    let identity = Identity { address: account, secret: sealing_key("rose") };
    let mut body = Vec::new();
    page.copies[0].open(sealed, &identity, town.hospital.domain(), &mut body).unwrap();
    assert!(String::from_utf8(body).unwrap().contains(common::PLAINTEXT));

    // There are bounds, and a node is struck off again.
    for other in 10..20 {
        let _ = peer.note_peer(PeerId([other; 32]), true, None).await;
    }
    let mut noted = 0;
    for other in 9..20 {
        noted += holding.members_of(PeerId([other; 32])).await.unwrap().len();
    }
    assert_eq!(i64::try_from(noted).unwrap(), gatekeeper::PATIENT_PEERS_MAX);
    peer.note_peer(id, false, None).await.unwrap();
    assert!(holding.members_of(id).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonces_serve_once_also_after_a_restart() {
    let town = Town::new().await;
    let (clinic, nonce) = (address("clinic"), B256::repeat_byte(3));
    let deadline = town.world.now().after(std::time::Duration::from_secs(60));
    let holding = town.holding();
    assert!(holding.take_nonce(clinic, nonce, deadline).await.unwrap());
    assert!(!holding.take_nonce(clinic, nonce, deadline).await.unwrap());
    assert!(holding.take_nonce(address("pharmacy"), nonce, deadline).await.unwrap());
    let Town { world, hospital, .. } = town;
    drop(holding);
    let hospital = world.restart("hospital", hospital).await;
    let again = self::holding(&world, &hospital);
    assert!(!again.take_nonce(clinic, nonce, deadline).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expelled_members_and_old_keys_get_nothing_more() {
    let town = Town::new().await;
    profile(&town.world, "clinic", "", B256::repeat_byte(5)).await;
    let holding = town.holding();
    let (clinic, peer) = (address("clinic"), PeerId([5; 32]));
    assert_eq!(holding.members_of(peer).await.unwrap(), [clinic]);
    assert!(holding.members_of(PeerId([0; 32])).await.unwrap().is_empty());
    assert_eq!(holding.member_signing(clinic).await.unwrap(), Some(clinic));
    town.world.rotate("clinic", "spare1").await;
    assert_eq!(holding.member_signing(clinic).await.unwrap(), None);
    assert_eq!(holding.member_signing(address("spare1")).await.unwrap(), Some(clinic));
    assert!(holding.may_have(clinic, town.digest(ACCEPTED)).await.unwrap());
    let expulsion = Registry::proposeExpulsionCall { member: clinic };
    town.world.carry(&expulsion, &["hospital", "emergency", "insurer"]).await;
    assert!(holding.members_of(peer).await.unwrap().is_empty());
    assert_eq!(holding.member_signing(address("spare1")).await.unwrap(), None);
    assert!(!holding.may_have(clinic, town.digest(ACCEPTED)).await.unwrap());
    assert!(holding.give(clinic, town.digest(ACCEPTED)).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_body_is_healed_from_a_reader_that_holds_a_copy() {
    let town = Town::new().await;
    let clinic = Site::new(&town.world, "clinic").await;
    let hospital = Site::of(&town.world, "hospital", town.hospital.clone());
    let (ours, theirs) =
        (node(&hospital.holding, "hospital").await, node(&clinic.holding, "clinic").await);
    profile(&town.world, "hospital", "", ours.id().0.into()).await;
    profile(&town.world, "clinic", "", theirs.id().0.into()).await;
    let from_hospital = theirs.peer(address("clinic"), ours.id(), &ours.addresses()).unwrap();
    assert_eq!(clinic.receiver.sync(&from_hospital).await.fetched.count, 2);

    let lost = town.digest(LONG);
    let file = town.world.vault_dir("hospital").join("bodies").join(hex::encode(lost.0));
    fs::remove_file(&file).unwrap();
    assert!(!hospital.gatekeeper.reconcile(town.world.now()).await.unwrap().is_clean());
    let from_clinic = ours.peer(address("hospital"), theirs.id(), &theirs.addresses()).unwrap();
    let report = hospital.receiver.heal(&[lost], &[&from_clinic]).await;
    assert_eq!(report.fetched.named, [lost], "{report:?}");
    assert!(file.exists());
    assert!(hospital.gatekeeper.reconcile(town.world.now()).await.unwrap().is_clean());

    // The other way, a reader's copy is healed from its steward as long as they may read it.
    let copy = town.world.vault_dir("clinic").join("bodies").join(hex::encode(lost.0));
    fs::remove_file(&copy).unwrap();
    let findings = clinic.gatekeeper.reconcile(town.world.now()).await.unwrap().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].anchored, Some(lost));
    let report = clinic.receiver.heal(&[lost], &[&from_hospital]).await;
    assert_eq!(report.fetched.named, [lost], "{report:?}");
    fs::remove_file(&copy).unwrap();
    town.world.revoke("pat", address("clinic"), None).await;
    let report = clinic.receiver.heal(&[lost], &[&from_hospital]).await;
    assert_eq!((report.fetched.count, &report.unexpected.named), (0, &vec![lost]), "{report:?}");
    let entry = clinic.gatekeeper.vault().find(lost).await.unwrap().unwrap();
    assert!(!clinic.holding.expects(&entry, None).await.unwrap());
    ours.stop().await;
    theirs.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_the_chain_does_not_know_are_found_as_inserted() {
    let town = Town::new().await;
    let clinic = Site::new(&town.world, "clinic").await;
    let near = served(&town).await;
    let peer = https(&town, near, address("clinic"), with_key("clinic"));
    assert_eq!(clinic.receiver.sync(&peer).await.fetched.count, 2);
    let changed = format!(
        "update records set record = {} where record = {}",
        common::sql(id(77).0),
        common::sql(id(1).0)
    );
    assert_eq!(common::tamper(clinic.gatekeeper.vault(), &changed).await, 1);
    let findings = clinic.gatekeeper.reconcile(town.world.now()).await.unwrap().findings;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].kind, gatekeeper::FindingKind::Inserted);
}

/// A way to a holder without a network, on which a list may be changed.
struct Direct<F> {
    holding: Arc<Holding>,
    member: Address,
    forge: F,
}

impl<F: Fn(&mut Offers) + Send + Sync> Transport for Direct<F> {
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
        async move {
            let page = self.holding.offers(self.member, after, 100).await;
            let page = page.map_err(|_| TransferError::Unavailable)?;
            // As it goes over the wire.
            let mut page = Offers::from_bytes(&page.to_bytes()).unwrap();
            (self.forge)(&mut page);
            Ok(page)
        }
        .boxed()
    }

    fn fetch(&self, wanted: Wanted, from: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
        async move {
            let given = self.holding.give(self.member, wanted.digest).await;
            let given = given.map_err(|_| TransferError::Unavailable)?;
            let mut bytes = Vec::new();
            given.ok_or(TransferError::Refused)?.read_to_end(&mut bytes).unwrap();
            let rest = bytes.split_off(usize::try_from(from).unwrap());
            Ok(futures_util::stream::iter([Ok(rest.into())]).boxed())
        }
        .boxed()
    }
}

/// A way to a holder who lists what they have and gives something else instead, or nothing.
struct Withholding<F> {
    way: Direct<F>,
    instead: Option<&'static [u8]>,
}

impl<F: Fn(&mut Offers) + Send + Sync> Transport for Withholding<F> {
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
        self.way.offers(after)
    }

    fn fetch(&self, wanted: Wanted, _: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
        async move {
            let instead = self.instead.ok_or(TransferError::Refused)?;
            let len = usize::try_from(wanted.sealed_len).unwrap();
            let bytes: Vec<u8> = instead.iter().copied().cycle().take(len).collect();
            Ok(futures_util::stream::iter([Ok(bytes.into())]).boxed())
        }
        .boxed()
    }
}

/// The hospital anchors four records as one batch, three of them pat's; returns the root and them.
async fn batch(town: &Town) -> (B256, Vec<Entry>) {
    let (pat, quinn) = (address("pat"), address("quinn"));
    let records = vec![
        town.world.record_of(10, pat, Kind::Laboratory),
        town.world.record_of(11, pat, Kind::Laboratory),
        town.world.record_of(12, pat, Kind::Document),
        town.world.record_of(13, quinn, Kind::Laboratory),
    ];
    let (entries, root, _) = town.hospital.put_and_anchor(records).await.unwrap();
    (root, entries)
}

async fn accept_batch(town: &Town, patient: &str, root: B256) {
    let call = Records::acceptBatchCall { steward: town.hospital.member(), root };
    town.world.send(patient, Contract::Records, &call).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_of_batches_arrive_with_their_proofs_and_open() {
    let town = Town::new().await;
    let (root, entries) = batch(&town).await;
    let clinic = Site::new(&town.world, "clinic").await;
    let member = address("clinic");
    let from_hospital = Direct { holding: town.holding(), member, forge: |_: &mut Offers| {} };

    // What the patient has not accepted is not spread, in a batch or not.
    assert_eq!(clinic.receiver.sync(&from_hospital).await.fetched.count, 2);
    accept_batch(&town, "pat", root).await;
    let report = clinic.receiver.sync(&from_hospital).await;
    assert!(report.is_complete(), "{report:?}");
    let mut arrived = report.fetched.named.clone();
    arrived.sort_unstable();
    let mut expected = vec![entries[0].digest, entries[1].digest];
    expected.sort_unstable();
    assert_eq!((arrived, report.unexpected.count), (expected, 0));
    assert!(!clinic.has(entries[3].digest).await);

    // It opens, and stands up against the chain; so it does when everything in memory is gone.
    let now = town.world.now();
    let (served, _) = clinic.gatekeeper.read(&reads_as_cai(10), now).await.unwrap();
    assert!(served.records[0].body.get().contains(common::PLAINTEXT));
    let gatekeeper = town.world.restart("clinic", clinic.end()).await;
    let clinic = Site::of(&town.world, "clinic", gatekeeper);
    clinic.gatekeeper.read(&reads_as_cai(11), now).await.unwrap();
    let report = clinic.gatekeeper.reconcile(now).await.unwrap();
    assert!(report.is_clean() && report.versions == 4, "{report:?}");

    // Whoever holds a copy gives it on with its proof, to its steward and to those who have it too.
    let back = clinic.holding.offers(address("hospital"), None, 100).await.unwrap();
    let proven: Vec<_> = back.proofs.values().map(|proof| proof.root).collect();
    assert_eq!((back.copies.len(), proven), (4, vec![root, root]));
    let entry = clinic.gatekeeper.vault().find(entries[0].digest).await.unwrap().unwrap();
    assert!(clinic.holding.expects(&entry, None).await.unwrap());

    // A revocation binds what came in a batch like everything else.
    town.world.revoke("pat", member, None).await;
    let refused = clinic.gatekeeper.read(&reads_as_cai(10), now).await;
    assert!(matches!(refused, Err(AnswerError::Refused(_))), "{refused:?}");

    // A proof that was changed where it is kept shows nothing any more.
    let spoil = "update batch_proofs set siblings = leaf";
    assert_eq!(common::tamper(clinic.gatekeeper.vault(), spoil).await, 2);
    let gatekeeper = town.world.restart("clinic", clinic.end()).await;
    let findings = gatekeeper.reconcile(now).await.unwrap().findings;
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|found| found.kind == gatekeeper::FindingKind::Inserted));
}

/// What a steward only says it has leaves nothing behind: neither in the database nor in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_is_kept_once_its_bytes_came() {
    let town = Town::new().await;
    let (root, entries) = batch(&town).await;
    accept_batch(&town, "pat", root).await;
    let clinic = Site::new(&town.world, "clinic").await;
    let kept = async || {
        let database = clinic.gatekeeper.vault().database();
        let row = sqlx::query("select count(*) from batch_proofs");
        row.fetch_one(database.readers()).await.unwrap().get::<i64, _>(0)
    };
    let way = || Direct {
        holding: town.holding(),
        member: address("clinic"),
        forge: |_: &mut Offers| {},
    };
    for instead in [None, Some(b"something else".as_slice())] {
        let report = clinic.receiver.sync(&Withholding { way: way(), instead }).await;
        assert_eq!(report.fetched.count, 0, "{report:?}");
        assert_eq!(report.refused.count + report.failures, 4, "{report:?}");
        assert_eq!(kept().await, 0);
        assert!(!clinic.holding.expects(&entries[0], None).await.unwrap());
    }
    assert_eq!(clinic.receiver.sync(&way()).await.fetched.count, 4);
    assert_eq!(kept().await, 2);
    assert!(clinic.holding.expects(&entries[0], None).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patients_get_their_versions_of_batches_at_home() {
    let town = Town::new().await;
    let (_, entries) = batch(&town).await;
    let pat = Site::new(&town.world, "pat").await;
    let (holding, member) = (town.holding(), address("pat"));
    let way = Direct { holding, member, forge: |_: &mut Offers| {} };
    let report = pat.receiver.sync(&way).await;
    assert!(report.is_complete(), "{report:?}");
    // Answered or not: four by themselves, three of the batch, and nothing of anybody else's.
    assert_eq!((report.fetched.count, report.unexpected.count), (7, 0), "{report:?}");
    assert!(!pat.has(entries[3].digest).await);
    let report = pat.gatekeeper.reconcile(town.world.now()).await.unwrap();
    assert!(report.is_clean() && report.versions == 7, "{report:?}");
}

/// What somebody changes of a page.
type Forgery = fn(&mut Offers);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_a_batch_is_taken_without_a_proof_that_leads_to_the_chain() {
    let town = Town::new().await;
    let (root, entries) = batch(&town).await;
    accept_batch(&town, "pat", root).await;
    let forgeries: [(&str, Forgery); 6] = [
        ("no proof", |page| page.proofs.clear()),
        ("another sibling", |page| {
            page.proofs.values_mut().for_each(|proof| proof.siblings[0] = B256::repeat_byte(1));
        }),
        ("a sibling less", |page| {
            page.proofs.values_mut().for_each(|proof| {
                proof.siblings.pop();
            });
        }),
        ("a root that is not on chain", |page| {
            for copy in &page.copies {
                let root = anchor_of(&copy.entry).leaf();
                let proof = BatchProof { root, siblings: Vec::new() };
                page.proofs.insert(copy.entry.digest, proof);
            }
        }),
        ("the proof of another", |page| {
            let mut swapped: Vec<_> = page.proofs.values().cloned().rev().collect();
            page.proofs.values_mut().for_each(|proof| *proof = swapped.remove(0));
        }),
        ("another kind", |page| {
            page.copies.iter_mut().for_each(|copy| copy.entry.header.kind = Kind::Document);
        }),
    ];
    let clinic = Site::new(&town.world, "clinic").await;
    for (what, forge) in forgeries {
        let way = Direct { holding: town.holding(), member: address("clinic"), forge };
        let report = clinic.receiver.sync(&way).await;
        for entry in &entries {
            assert!(!clinic.has(entry.digest).await, "{what}: {report:?}");
            assert!(!clinic.holding.expects(entry, None).await.unwrap(), "{what}");
        }
        assert!(report.unexpected.count >= 2, "{what}: {report:?}");
    }
}

fn anchor_of(entry: &Entry) -> Anchor {
    Anchor {
        record: entry.header.record,
        version: entry.header.version,
        base: 0,
        kind: entry.header.kind,
        patient: entry.patient,
        steward: entry.header.steward,
        digest: entry.digest,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_for_in_vain_does_not_fill_the_log() {
    let town = Town::new().await;
    let (holding, clinic) = (town.holding(), address("clinic"));
    let receipts = async || town.hospital.receipts_of(Address::ZERO, None, 1_000).await.unwrap();
    let nowhere = |number| RecordDigest(B256::with_last_byte(number));
    for number in 0..100 {
        let given = holding.give(clinic, nowhere(number)).await;
        let is_answered = u64::from(number) < gatekeeper::IN_VAIN_MAX;
        assert_eq!(given.is_ok_and(|given| given.is_none()), is_answered, "{number}");
        // Clones, as the two transports have them, count together.
        let again = Holding::clone(&holding).may_have(clinic, nowhere(number)).await;
        assert!(!again.unwrap());
    }
    assert_eq!(receipts().await.len(), 64);
    // What they may have is not told from what they may not.
    assert!(holding.give(clinic, town.digest(ACCEPTED)).await.is_err());
    // Nobody else has to wait, and what is given is not in vain.
    for _ in 0..100 {
        let given = holding.give(address("hospital"), town.digest(ACCEPTED)).await;
        assert!(given.unwrap().is_some());
    }
    town.world.advance(60);
    for _ in 0..100 {
        assert!(holding.give(clinic, town.digest(ACCEPTED)).await.unwrap().is_some());
    }
    for number in 0..100 {
        let _ = holding.give(clinic, nowhere(number)).await;
    }
    let since = receipts().await.len();
    assert!((64 + 6..64 + 16).contains(&since), "{since}");
}
