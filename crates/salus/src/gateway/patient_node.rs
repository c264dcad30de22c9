//! `salus patient-node`: a patient's own copies of their records, on a machine of theirs.
//!
//! The node holds the patient's key, or, of an account with a passkey, none that acts for the account. It
//! is noted at the patient's stewards by requests for which the account vouches (ERC-1271): it signs them
//! itself, or has them signed where the passkey is. It takes over every version that stands on chain,
//! checks its digest, and gives nothing to anybody but to stewards what these sealed themselves.

use std::{io::Read, path::Path, process::ExitCode, sync::Arc};

use alloy_primitives::{Address, B256, Bytes};
use bindings::{Contract, Deployment, patient_account::message_digest};
use domain::{KindSet, QueryDomain, RecordDigest, Timestamp};
use exchange::{SignRequest, Statement};
use futures_util::FutureExt as _;
use gatekeeper::{Entropy, Gatekeeper};
use ledger::{Ledger, Patient, PatientKey, PrivateKeySigner, Projection, Sender};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::{sync::watch, task::JoinHandle};
use vault::{Database, Kem, Keyring, Listing, RootKey, SecretKey, Vault, VaultSettings};
use zeroize::Zeroizing;

use super::{
    exchanging::{Exchange, Parts, Party},
    opening::{find_contracts_of, now, open_ledger_of},
    running::interruption,
    settings::NodeSettings,
};
use crate::{
    Error,
    keys::KeyStore,
    printing::{put, say},
    system::random_seed,
    table::Table,
};

/// How many records are listed at a time.
const LISTED: usize = 500;

/// What one node keeps.
struct Store {
    database: Database,
    root_key: Arc<RootKey>,
    signer: PrivateKeySigner,
    secret: SecretKey,
    peer: Zeroizing<[u8; 32]>,
}

impl Store {
    async fn open(settings: &NodeSettings, keys: &KeyStore) -> Result<Self, Error> {
        let name = &settings.name;
        let root_key = keys.root_key(name)?;
        let database = keys.database(name).await?;
        let keyring = Keyring::open(&database, &root_key).await?;
        let material = keys.secret(&keyring, "hpke").await?;
        let secret = SecretKey::derive(Kem::X25519, &material);
        let peer = keys.secret(&keyring, "exchange/peer").await?;
        Ok(Self { database, root_key, signer: keys.signer(name)?, secret, peer })
    }

    /// The vault in which the patient's copies are.
    async fn vault(
        &self,
        settings: &NodeSettings,
        network: QueryDomain,
        entropy: &Entropy,
    ) -> Result<Vault, Error> {
        let vault = VaultSettings {
            steward: account_of(settings)?,
            network,
            bodies: settings.dir().join("bodies"),
            recovery_keys: Vec::new(),
        };
        let (database, mut rng) = (self.database.clone(), entropy.fork());
        Ok(Vault::unlock(vault, database, &self.root_key, &mut rng).await?)
    }
}

fn account_of(settings: &NodeSettings) -> Result<Address, Error> {
    Ok(settings.account.ok_or("the configuration names no `account`")?)
}

/// Makes the keys, or says what is public of them.
pub(super) async fn init(settings: &NodeSettings, as_json: bool) -> Result<ExitCode, Error> {
    let entropy = Entropy::from_seed(random_seed()?);
    let passphrase = settings.passphrase_file();
    let keys = KeyStore::open_with(&settings.data(), &passphrase, true, entropy)?;
    let store = Store::open(settings, &keys).await?;
    store.database.close().await;
    let signer = store.signer.address();
    let hpke = format!("0x{}", hex::encode(store.secret.public_key().to_bytes()));
    if as_json {
        say!("{:#}", json!({ "signer": signer.to_string(), "hpke_key": hpke }));
        return Ok(ExitCode::SUCCESS);
    }
    say!("The keys of {} are in {}.", settings.name, settings.dir().display());
    say!("  signer of the account  {signer}");
    say!("  key to seal to         {hpke}");
    say!();
    say!("Stewards seal to this key what they keep of you. An account that is acted for with this");
    say!("signer goes into the configuration as `account`.");
    Ok(ExitCode::SUCCESS)
}

/// A node that is open, and takes no part yet.
struct OpenNode {
    gatekeeper: Gatekeeper,
    exchange: Exchange,
}

async fn open_node(settings: &NodeSettings) -> Result<OpenNode, Error> {
    let entropy = Entropy::from_seed(random_seed()?);
    let (ledger, deployment) = chain_of(settings).await?;
    let keys = open_keys(settings, &entropy)?;
    let store = Store::open(settings, &keys).await?;
    let network = QueryDomain {
        chain_id: ledger.chain_id(),
        registry: deployment.address(Contract::Registry),
    };
    let vault = store.vault(settings, network, &entropy).await?;
    let projection = Projection::load(&settings.dir().join("projection"));
    let sender = Sender::new(ledger.clone(), store.signer.clone());
    let gatekeeper = Gatekeeper::open(
        vault,
        deployment,
        sender,
        projection,
        gatekeeper::Settings::default(),
        entropy,
    )
    .await?;
    gatekeeper.refresh(now(&ledger)).await?;
    let verifier = deployment.address(Contract::WebAuthnVerifier);
    let patient = Patient::new(account_of(settings)?, verifier, PatientKey::Wallet(store.signer));
    let parts = Parts {
        gatekeeper: gatekeeper.clone(),
        secret: store.secret,
        peer_secret: store.peer,
        party: Party::Patient { has_passkey: settings.passkey },
        sign: vouch_with(Arc::new(patient), ledger.chain_id()),
        settings: settings.exchange.clone(),
        origin: None,
    };
    let exchange = Exchange::open(parts, &settings.dir()).await?;
    Ok(OpenNode { gatekeeper, exchange })
}

/// Takes part in the exchange until interrupted.
pub(super) async fn run(settings: &NodeSettings) -> Result<ExitCode, Error> {
    let OpenNode { gatekeeper, exchange } = open_node(settings).await?;
    let interrupted = interruption()?;
    say!("{}, account {}", settings.name, account_of(settings)?);
    for address in exchange.addresses() {
        say!("  copies arrive peer to peer on {address}, UDP");
    }
    say!("  stop with Ctrl-C");
    let (stopping, stop) = watch::channel(false);
    let running: JoinHandle<()> = tokio::spawn(exchange.run(stop));
    interrupted.await;
    stopping.send_replace(true);
    drop(running.await);
    let saved = gatekeeper.projection().await.save(&settings.dir().join("projection"));
    if let Err(error) = saved {
        tracing::warn!(%error, "a projection was not saved; it will be built anew");
    }
    gatekeeper.vault().database().close().await;
    Ok(ExitCode::SUCCESS)
}

/// What an account signs elsewhere, as it is printed and read again.
#[derive(Serialize, Deserialize)]
struct Signable {
    /// The steward whom it is for.
    steward: Address,
    method: String,
    target: String,
    nonce: B256,
    /// In seconds since 1970.
    deadline: u64,
    /// What the account vouches for (ERC-1271).
    digest: B256,
    /// What the account's key signs for that: a passkey's challenge.
    challenge: B256,
    /// The signature as the account takes it, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<Bytes>,
}

/// Prints what the account is to sign, so that its stewards note this node.
pub(super) async fn print_statements(settings: &NodeSettings) -> Result<ExitCode, Error> {
    let account = account_of(settings)?;
    let OpenNode { gatekeeper, exchange } = open_node(settings).await?;
    let network = gatekeeper.domain();
    let signable = |statement: Statement| {
        let digest = statement.signing_digest(network);
        Signable {
            steward: statement.responder,
            method: statement.method,
            target: statement.target,
            nonce: statement.nonce,
            deadline: statement.deadline.0,
            digest,
            challenge: message_digest(network.chain_id, account, digest),
            signature: None,
        }
    };
    let statements: Vec<_> = exchange.statements().await.into_iter().map(signable).collect();
    exchange.close().await;
    gatekeeper.vault().database().close().await;
    say!("{}", serde_json::to_string_pretty(&statements)?);
    Ok(ExitCode::SUCCESS)
}

/// Sends what the account signed to its stewards. The exit code is 1 when one of them did not note it.
pub(super) async fn send_statements(
    settings: &NodeSettings,
    file: &Path,
) -> Result<ExitCode, Error> {
    let text = std::fs::read(file)
        .map_err(|error| format!("could not read {}: {error}", file.display()))?;
    let statements: Vec<Signable> = serde_json::from_slice(&text)
        .map_err(|error| format!("{} is not what was printed: {error}", file.display()))?;
    let account = account_of(settings)?;
    let OpenNode { gatekeeper, exchange } = open_node(settings).await?;
    let mut are_all_noted = true;
    for signed in statements {
        let steward = signed.steward;
        let Some(signature) = signed.signature else {
            say!("{steward}: not signed");
            are_all_noted = false;
            continue;
        };
        let statement = Statement {
            requester: account,
            responder: steward,
            method: signed.method,
            target: signed.target,
            range: String::new(),
            nonce: signed.nonce,
            deadline: Timestamp(signed.deadline),
        };
        match exchange.send_signed(statement, signature.to_vec()).await {
            Ok(()) => say!("{steward}: noted"),
            Err(error) => {
                say!("{steward}: not noted: {error}");
                are_all_noted = false;
            }
        }
    }
    exchange.close().await;
    gatekeeper.vault().database().close().await;
    Ok(ExitCode::from(u8::from(!are_all_noted)))
}

/// Signs requests so that the account vouches for them (ERC-1271).
fn vouch_with(patient: Arc<Patient>, chain_id: u64) -> Arc<SignRequest> {
    Arc::new(move |digest| {
        let signature = patient.sign_message(chain_id, digest);
        async move { Ok(signature?.to_vec()) }.boxed()
    })
}

/// Lists what is here: ids, kinds, digests, and whether the bytes are what the chain names.
pub(super) async fn list(settings: &NodeSettings, as_json: bool) -> Result<ExitCode, Error> {
    let entropy = Entropy::from_seed(random_seed()?);
    let (ledger, deployment) = chain_of(settings).await?;
    let keys = open_keys(settings, &entropy)?;
    let store = Store::open(settings, &keys).await?;
    let network = QueryDomain {
        chain_id: ledger.chain_id(),
        registry: deployment.address(Contract::Registry),
    };
    let vault = store.vault(settings, network, &entropy).await?;
    let listing = Listing { patient: account_of(settings)?, steward: None, kinds: KindSet::ALL };
    let (mut records, mut after, mut are_all_intact) = (Vec::new(), None, true);
    loop {
        let (entries, next) = vault.list_versions(&listing, after, LISTED).await?;
        for entry in entries {
            let sealed = vault.sealed_bytes(entry.digest).await?;
            let found = tokio::task::spawn_blocking(move || digest_of(sealed?).ok()).await?;
            let is_intact = found == Some(entry.digest);
            are_all_intact &= is_intact;
            records.push((entry, is_intact));
        }
        match next {
            None => break,
            next => after = next,
        }
    }
    vault.database().close().await;
    if as_json {
        let records: Vec<_> = records
            .iter()
            .map(|(entry, is_intact)| {
                json!({
                    "record": entry.header.record,
                    "version": entry.header.version.get(),
                    "kind": entry.header.kind.to_string(),
                    "steward": entry.header.steward,
                    "digest": entry.digest.to_string(),
                    "sealed_bytes": entry.sealed_len,
                    "intact": is_intact,
                })
            })
            .collect();
        say!("{:#}", json!(records));
    } else {
        let mut table = Table::new(&["record", "version", "kind", "sealed bytes", ""], &[1, 3]);
        for (entry, is_intact) in &records {
            table.row(vec![
                entry.header.record.to_string(),
                entry.header.version.to_string(),
                entry.header.kind.to_string(),
                entry.sealed_len.to_string(),
                if *is_intact { "intact" } else { "damaged" }.to_owned(),
            ]);
        }
        put(format_args!("{table}"));
    }
    Ok(ExitCode::from(u8::from(!are_all_intact)))
}

fn digest_of(mut sealed: impl Read) -> std::io::Result<RecordDigest> {
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 * 1_024]);
    loop {
        match sealed.read(&mut buffer)? {
            0 => return Ok(RecordDigest(<[u8; 32]>::from(hash.finalize()).into())),
            count => hash.update(&buffer[..count]),
        }
    }
}

fn open_keys(settings: &NodeSettings, entropy: &Entropy) -> Result<KeyStore, Error> {
    let passphrase = settings.passphrase_file();
    let keys = KeyStore::open_with(&settings.data(), &passphrase, false, entropy.clone())?;
    if !keys.has_signer(&settings.name) {
        let dir = settings.dir();
        let text =
            format!("there are no keys in {}; `salus patient-node init` makes them", dir.display());
        return Err(text.into());
    }
    Ok(keys)
}

async fn chain_of(settings: &NodeSettings) -> Result<(Ledger, Deployment), Error> {
    let (ledger, _) = open_ledger_of(&settings.ledger, None).await?;
    let deployment = find_contracts_of(&settings.ledger, &settings.data(), &ledger).await?;
    Ok((ledger, deployment))
}
