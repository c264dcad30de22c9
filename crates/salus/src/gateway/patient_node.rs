//! `salus patient-node`: a patient's own copies of their records, on a machine of theirs.
//!
//! The node holds the patient's key. It has itself noted at the patient's stewards, by requests for which
//! the account vouches, takes over every version that stands on chain, checks its digest, and gives
//! nothing to anybody but to stewards what these sealed themselves.

use std::{io::Read, process::ExitCode, sync::Arc};

use alloy_primitives::Address;
use bindings::{Contract, Deployment};
use domain::{KindSet, QueryDomain, RecordDigest};
use exchange::SignRequest;
use futures_util::FutureExt as _;
use gatekeeper::{Entropy, Gatekeeper};
use ledger::{Ledger, Patient, PatientKey, PrivateKeySigner, Projection, Sender};
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
use crate::{Error, keys::KeyStore, system::random_seed, table::Table};

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
        println!("{:#}", json!({ "signer": signer.to_string(), "hpke_key": hpke }));
        return Ok(ExitCode::SUCCESS);
    }
    println!("The keys of {} are in {}.", settings.name, settings.dir().display());
    println!("  signer of the account  {signer}");
    println!("  key to seal to         {hpke}");
    println!();
    println!(
        "Stewards seal to this key what they keep of you. An account that is acted for with this"
    );
    println!("signer goes into the configuration as `account`.");
    Ok(ExitCode::SUCCESS)
}

/// Takes part in the exchange until interrupted.
pub(super) async fn run(settings: &NodeSettings) -> Result<ExitCode, Error> {
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
        party: Party::Patient,
        sign: vouch_with(Arc::new(patient), ledger.chain_id()),
        settings: settings.exchange.clone(),
        origin: None,
    };
    let exchange = Exchange::open(parts, &settings.dir()).await?;
    let interrupted = interruption()?;
    println!("{}, account {}", settings.name, account_of(settings)?);
    for address in exchange.addresses() {
        println!("  copies arrive peer to peer on {address}, UDP");
    }
    println!("  stop with Ctrl-C");
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

/// Signs requests so that the account vouches for them (ERC-1271).
fn vouch_with(patient: Arc<Patient>, chain_id: u64) -> Arc<SignRequest> {
    Arc::new(move |digest| {
        let signature = patient.sign_message(chain_id, digest).to_vec();
        async move { Ok(signature) }.boxed()
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
        println!("{:#}", json!(records));
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
        print!("{table}");
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
