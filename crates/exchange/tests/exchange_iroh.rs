//! The exchange peer to peer, on loopback.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use std::fs;
use std::sync::Arc;

use bao_tree::io::outboard::PreOrderMemOutboard;
use common::*;
use domain::{Address, B256, RecordDigest};
use exchange::{
    ALPN, Failure, IrohPeer, Node, NodeSettings, STEP_LEN, TransferError, Transport as _, Wanted,
};
use futures_util::stream::StreamExt as _;
use iroh::endpoint::{Connection, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey};
use iroh_blobs::protocol::{ChunkRangesSeq, GetRequest};
use vault::Entry;

struct Sites {
    hospital: Site,
    clinic: Site,
    entries: Vec<Entry>,
    holder: Arc<TestHolder>,
    /// What the clinic answers to others.
    near: Arc<TestHolder>,
    hospital_node: Node,
    clinic_node: Node,
}

async fn node(holder: &Arc<TestHolder>, secret: u8) -> Node {
    let listen = vec!["127.0.0.1:0".parse().unwrap()];
    Node::start(Arc::clone(holder), NodeSettings { secret: [secret; 32], listen }).await.unwrap()
}

/// A hospital and a clinic that know each other's peers.
async fn sites() -> Sites {
    let (hospital, clinic) = (Site::new(HOSPITAL, 1).await, Site::new(CLINIC, 2).await);
    let entries = share(&hospital, vec![record(1), long_record(2)], &clinic.identity).await;
    let holder = TestHolder::new(&hospital, CLINIC, &entries);
    let near = TestHolder::new(&clinic, HOSPITAL, &[]);
    let (hospital_node, clinic_node) = (node(&holder, 1).await, node(&near, 2).await);
    holder.rules.lock().peers.insert(clinic_node.id(), vec![CLINIC]);
    near.rules.lock().peers.insert(hospital_node.id(), vec![HOSPITAL]);
    Sites { hospital, clinic, entries, holder, near, hospital_node, clinic_node }
}

impl Sites {
    /// The hospital, as the clinic reaches it.
    fn peer(&self) -> IrohPeer {
        self.peer_as(CLINIC)
    }

    fn peer_as(&self, member: Address) -> IrohPeer {
        let (id, addresses) = (self.hospital_node.id(), self.hospital_node.addresses());
        self.clinic_node.peer(member, id, &addresses).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_should_be_here_arrives_and_opens() {
    let sites = sites().await;
    sites.holder.rules.lock().page_len = Some(1);
    let peer = sites.peer();
    assert_fetched(&soon(sites.clinic.receiver(&sites.entries).sync(&peer)).await, 2);
    assert_eq!(sites.clinic.read(1, HOSPITAL).await, record(1).body);
    assert_eq!(sites.clinic.read(2, HOSPITAL).await, long_record(2).body);
    assert_eq!(sites.holder.rules.lock().given, 2);
    sites.clinic_node.stop().await;
    sites.hospital_node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_is_not_registered_gets_nothing() {
    let sites = sites().await;
    sites.holder.rules.lock().peers.clear();
    let peer = sites.peer();
    let receiver = sites.clinic.receiver(&sites.entries);
    let report = soon(receiver.sync(&peer)).await;
    assert!(matches!(report.broken_off, Some(TransferError::Refused)), "{report:?}");
    assert_eq!(sites.holder.rules.lock().given, 0);

    // Nor does it speak with somebody whom its own holder does not know.
    sites.holder.rules.lock().peers.insert(sites.clinic_node.id(), vec![CLINIC]);
    sites.near.rules.lock().peers.clear();
    let report = soon(receiver.sync(&sites.peer())).await;
    assert!(matches!(report.broken_off, Some(TransferError::Refused)), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_that_was_struck_off_gets_nothing_more_on_an_open_connection() {
    let sites = sites().await;
    let peer = sites.peer();
    let offers = soon(peer.offers(None)).await.unwrap();
    assert_eq!(offers.copies.len(), 2);
    sites.holder.rules.lock().peers.clear();
    assert!(matches!(soon(peer.offers(None)).await, Err(TransferError::Refused)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_asks_for_its_own_member_only() {
    let sites = sites().await;
    let other = Address::repeat_byte(0x53);
    for entry in &sites.entries {
        sites.holder.rules.lock().permitted.insert((other, entry.digest));
    }
    let peer = sites.peer_as(other);
    assert!(matches!(soon(peer.offers(None)).await, Err(TransferError::Refused)));
    let Entry { digest, sealed_len, .. } = sites.entries[0];
    let fetched = soon(peer.fetch(Wanted { digest, sealed_len }, 0)).await;
    assert!(matches!(fetched, Err(TransferError::Refused)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_permitted_is_not_given() {
    let sites = sites().await;
    let (entries, holder) = (&sites.entries, &sites.holder);
    holder.rules.lock().permitted.remove(&(CLINIC, entries[1].digest));
    let peer = sites.peer();
    let report = soon(sites.clinic.receiver(entries).sync(&peer)).await;
    assert_eq!((report.fetched.count, report.refused.named), (1, vec![entries[1].digest]));

    let secret = sites.hospital.vault.put(record(8), &mut rng(5)).await.unwrap();
    let nowhere = Entry { digest: RecordDigest(B256::repeat_byte(7)), ..secret };
    for Entry { digest, sealed_len, .. } in [secret, nowhere] {
        let fetched = soon(peer.fetch(Wanted { digest, sealed_len }, 0)).await;
        assert!(matches!(fetched, Err(TransferError::Refused)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holder_that_cannot_answer_is_asked_again_later() {
    let sites = sites().await;
    sites.holder.rules.lock().is_unavailable = true;
    let report = soon(sites.clinic.receiver(&sites.entries).sync(&sites.peer())).await;
    assert!(matches!(report.broken_off, Some(TransferError::Unavailable)));
}

/// S3: a revocation stops a transfer that runs, and so does the loss of the peer or of the chain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_in_the_middle_of_a_transfer_gets_nothing_more() {
    for what in [AtCheck::Revoke, AtCheck::Unregister, AtCheck::Stale] {
        let sites = sites().await;
        let (entries, holder) = (&sites.entries, &sites.holder);
        {
            let mut rules = holder.rules.lock();
            rules.offered.remove(0);
            // The first is before the first byte.
            rules.at_check = Some((6, what));
        }
        let peer = Observed::new(sites.peer());
        let receiver = sites.clinic.receiver(entries);
        let report = soon(receiver.sync(&peer)).await;
        let is_named = match what {
            AtCheck::Stale => {
                let failed = report.failed.as_slice();
                matches!(failed, [(_, Failure::Transfer(TransferError::Unavailable))])
            }
            _ => report.refused.count == 1,
        };
        assert!(is_named, "{what:?}: {report:?}");
        assert!(!sites.clinic.has(&entries[1]).await);
        let steps = if what == AtCheck::Unregister { 5 } else { 4 };
        assert!(*peer.bytes.borrow() <= steps * STEP_LEN as u64, "{what:?}");
        assert_eq!(holder.rules.lock().checks, 6, "{what:?}");

        // Nor does it get the rest by asking again.
        holder.rules.lock().at_check = None;
        let report = soon(receiver.sync(&peer)).await;
        assert_eq!(report.fetched.count, u64::from(what == AtCheck::Stale), "{what:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_bytes_are_not_kept() {
    let sites = sites().await;
    let (entries, holder) = (&sites.entries, &sites.holder);
    let mut altered = sealed_of(&entries[1], &sites.hospital.vault).await;
    altered[700_000] ^= 1;
    let short = altered[..1_000].to_vec();
    let (peer, receiver) = (sites.peer(), sites.clinic.receiver(entries));
    holder.rules.lock().instead.insert(entries[1].digest, altered);
    let report = soon(receiver.sync(&peer)).await;
    assert!(matches!(report.failed.as_slice(), [(_, Failure::WrongBytes)]), "{report:?}");
    holder.rules.lock().instead.insert(entries[1].digest, short);
    let report = soon(receiver.sync(&peer)).await;
    let [(_, Failure::Transfer(TransferError::Malformed))] = report.failed.as_slice() else {
        panic!("{report:?}")
    };
    assert!(!sites.clinic.has(&entries[1]).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn part_of_a_body_is_that_part() {
    let sites = sites().await;
    let Entry { digest, sealed_len, .. } = sites.entries[1];
    let sealed = sealed_of(&sites.entries[1], &sites.hospital.vault).await;
    let peer = sites.peer();
    for from in [0, 1, 16_383, 16_384, 1_000_003, sealed_len - 1] {
        let mut stream = soon(peer.fetch(Wanted { digest, sealed_len }, from)).await.unwrap();
        let mut bytes = Vec::new();
        while let Some(chunk) = soon(stream.next()).await {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        assert!(bytes == sealed[usize::try_from(from).unwrap()..], "{from}");
    }
}

/// The other node goes away in the middle, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_connection_goes_on_with_the_rest() {
    let mut sites = sites().await;
    let long = sites.entries[1];
    {
        let mut rules = sites.holder.rules.lock();
        rules.offered.remove(0);
        rules.at_check = Some((12, AtCheck::Hang));
    }
    let peer = Arc::new(Observed::new(sites.peer()));
    let mut came = peer.bytes.subscribe();
    let receiver = Arc::new(sites.clinic.receiver(&sites.entries));
    let syncing = tokio::spawn({
        let (receiver, peer) = (Arc::clone(&receiver), Arc::clone(&peer));
        async move { receiver.sync(&*peer).await }
    });
    soon(came.wait_for(|bytes| *bytes >= 2 * STEP_LEN as u64)).await.unwrap();
    sites.hospital_node.stop().await;
    let report = soon(syncing).await.unwrap();
    let [(_, Failure::Transfer(TransferError::Interrupted(_)))] = report.failed.as_slice() else {
        panic!("{report:?}")
    };
    let part = fs::metadata(sites.clinic.part_file(long.digest)).unwrap().len();
    assert!((2 * STEP_LEN as u64..=10 * STEP_LEN as u64).contains(&part), "{part}");
    assert_eq!(part, *came.borrow());

    sites.holder.rules.lock().at_check = None;
    sites.hospital_node = node(&sites.holder, 1).await;
    let peer = Observed::new(sites.peer());
    let report = soon(receiver.sync(&peer)).await;
    assert_fetched(&report, 1);
    assert_eq!(report.bytes, long.sealed_len - part);
    assert_eq!(*peer.from.lock(), [part]);
    assert_eq!(sites.clinic.read(2, HOSPITAL).await, long_record(2).body);
}

/// An endpoint that speaks for itself, without our client.
async fn connect(sites: &Sites, secret: u8, alpn: &[u8]) -> (Endpoint, Connection) {
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(&[secret; 32]))
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr("127.0.0.1:0")
        .unwrap()
        .bind()
        .await
        .unwrap();
    let id = EndpointId::from_bytes(&sites.hospital_node.id().0).unwrap();
    let address = EndpointAddr::new(id).with_ip_addr(sites.hospital_node.addresses()[0]);
    let connection = soon(endpoint.connect(address, alpn)).await.unwrap();
    (endpoint, connection)
}

/// Sends one request as it is, and returns what comes back, if anything does.
async fn ask(connection: &Connection, request: &[u8]) -> Option<Vec<u8>> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(request).await.ok()?;
    send.finish().ok()?;
    soon(receive.read_to_end(16 * 1024 * 1024)).await.ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_had_by_who_asked_for_them_and_by_get_only() {
    let sites = sites().await;
    let sealed = sealed_of(&sites.entries[0], &sites.hospital.vault).await;
    let tree = PreOrderMemOutboard::create(&sealed, iroh_blobs::store::IROH_BLOCK_SIZE);
    let hash = iroh_blobs::Hash::from(tree.root);
    let get = |request: GetRequest| {
        postcard::to_stdvec(&iroh_blobs::protocol::Request::Get(request)).unwrap()
    };
    let whole = get(GetRequest::blob(hash));
    let other = [3; 32];
    let other_id = SecretKey::from_bytes(&other).public();
    let other_id = exchange::PeerId(*other_id.as_bytes());
    sites.holder.rules.lock().peers.insert(other_id, vec![CLINIC]);

    // The clinic asks for it by its digest, so it is ready for the clinic's peer and nobody else's.
    let peer = sites.peer();
    let Entry { digest, sealed_len, .. } = sites.entries[0];
    let wanted = Wanted { digest, sealed_len };
    let (_endpoint, connection) = connect(&sites, 3, iroh_blobs::ALPN).await;
    assert_eq!(ask(&connection, &whole).await, None);
    let stream = soon(peer.fetch(wanted, 0)).await.unwrap();
    assert_eq!(ask(&connection, &whole).await, None);
    drop(stream);

    // Nobody but a `get` of one blob is answered.
    let question = [&[2][..], CLINIC.as_slice(), &[1], digest.0.as_slice()].concat();
    let (_own, lists) = connect(&sites, 3, ALPN).await;
    let ready = async || assert_eq!(ask(&lists, &question).await.unwrap()[..2], [2, 3]);
    ready().await;
    let sequence = get(GetRequest::new(hash, ChunkRangesSeq::all()));
    assert_eq!(ask(&connection, &sequence).await, None);
    let observe = iroh_blobs::protocol::ObserveRequest::new(hash);
    let observe = iroh_blobs::protocol::Request::Observe(observe);
    assert_eq!(ask(&connection, &postcard::to_stdvec(&observe).unwrap()).await, None);
    for request in [&[][..], &[8, 0, 0], &[255; 100], &[0; 5_000]] {
        assert_eq!(ask(&connection, request).await, None);
    }
    let answer = ask(&connection, &whole).await.unwrap();
    assert_eq!(answer[..8], sealed_len.to_le_bytes());
    assert!(answer[8..] == sealed);
    // It was ready once.
    assert_eq!(ask(&connection, &whole).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_none_are_not_answered() {
    let sites = sites().await;
    let other_id = *SecretKey::from_bytes(&[3; 32]).public().as_bytes();
    sites.holder.rules.lock().peers.insert(exchange::PeerId(other_id), vec![CLINIC]);
    let (_endpoint, connection) = connect(&sites, 3, ALPN).await;
    let offers = [&[2][..], CLINIC.as_slice(), &[0, 0]].concat();
    for request in [&[][..], &[1], &offers[..offers.len() - 1], &[2; 600], &[2; 100_000]] {
        let answer = ask(&connection, request).await;
        assert!(answer.is_none_or(|answer| answer.is_empty()));
    }
    let answer = ask(&connection, &offers).await.unwrap();
    assert_eq!(answer[..2], [2, 2]);
    assert_eq!(sites.holder.rules.lock().given, 0);
}
