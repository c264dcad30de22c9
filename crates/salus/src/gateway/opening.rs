//! From a configuration to an institution's open gateway.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256};
use bindings::{Contract, Deployment, Registry, contract_name};
use chain::{Chain, ChainConfig, Clock, Genesis, Rpc, Sealing};
use domain::{InstitutionRole, ProfessionalRole, Timestamp};
use gatekeeper::Entropy;
use ledger::{Ledger, PrivateKeySigner, Sender};
use vault::{Database, Kem, SecretKey};
use workflows::{Gateway, Person};

use super::settings::{DatabasePlace, LedgerSettings, Settings};
use crate::{
    Error,
    institution::{self, Secrets, Store, finish_anchoring, read_deployment},
    keys::KeyStore,
    system::{random_seed, real_time},
};

/// An institution with its gateway, open.
pub(crate) struct Opened {
    pub(crate) gateway: Gateway,
    pub(crate) secrets: Secrets,
    /// Who reports what a laboratory's own system sends, where the configuration names somebody.
    pub(crate) scientist: Option<Person>,
    /// The chain, when it runs in this process.
    chain: Option<Chain>,
}

/// Opens the institution that a configuration names, and finishes what a crash left behind.
pub(crate) async fn open(settings: &Settings) -> Result<Opened, Error> {
    let entropy = Entropy::from_seed(random_seed()?);
    let passphrase = settings.passphrase_file();
    let keys = KeyStore::open_with(&settings.data(), &passphrase, false, entropy.clone())?;
    if !keys.has_signer(&settings.name) {
        let dir = settings.dir();
        return Err(format!(
            "there are no keys in {}; `salus gateway init` makes them",
            dir.display()
        )
        .into());
    }
    let database = open_database(settings).await?;
    let store = Store::open(&keys, &settings.name, database).await?;
    let (ledger, chain) = open_ledger(settings).await?;
    let deployment = find_contracts(settings, &ledger).await?;
    let role = role_of(settings, &ledger, &deployment, store.signer.address()).await?;
    let (gateway, secrets) =
        store.gateway(&keys, &ledger, deployment, &settings.name, role, &entropy).await?;
    let scientist = match &settings.hl7v2 {
        Some(wanted) => Some(scientist(&keys, &secrets, &ledger, &wanted.scientist).await?),
        None => None,
    };
    let opened = Opened { gateway, secrets, scientist, chain };
    finish_anchoring(&opened.gateway, now(&ledger)).await?;
    Ok(opened)
}

impl Opened {
    /// Anchors what the access log took in, within a time, stores everything and lets go.
    pub(crate) async fn close(self, settings: &Settings, patience: Duration) {
        let anchoring = self.gateway.gatekeeper.anchor_log();
        match tokio::time::timeout(patience, anchoring).await {
            Ok(Ok(count)) => tracing::info!(count, "anchored the access log"),
            Ok(Err(error)) => tracing::warn!(%error, "the access log waits for the next start"),
            Err(_) => tracing::warn!("the access log waits for the next start"),
        }
        institution::close(&self.gateway, &settings.dir()).await;
        if let Some(chain) = self.chain {
            chain.close();
        }
    }
}

/// A scientist whose keys are in the institution's keyring; they are made when they are not there yet.
async fn scientist(
    keys: &KeyStore,
    secrets: &Secrets,
    ledger: &Ledger,
    name: &str,
) -> Result<Person, Error> {
    let secret = keys.secret(&secrets.keyring, &format!("person/{name}")).await?;
    let hpke = keys.secret(&secrets.keyring, &format!("person/{name}/hpke")).await?;
    let signer = PrivateKeySigner::from_bytes(&B256::from(*secret))?;
    Ok(Person {
        name: name.into(),
        member: signer.address(),
        role: ProfessionalRole::LaboratoryScientist,
        sender: Sender::new(ledger.clone(), signer),
        secret: SecretKey::derive(Kem::X25519, &hpke),
    })
}

/// The time by which decisions are made: the chain's where it runs in this process.
pub(crate) fn now(ledger: &Ledger) -> Timestamp {
    Timestamp(ledger.embedded_chain().map_or_else(real_time, Chain::now))
}

/// Opens the database that a configuration names.
pub(crate) async fn open_database(settings: &Settings) -> Result<Database, Error> {
    Ok(match settings.database() {
        DatabasePlace::File(path) => Database::open_file(&path).await?,
        DatabasePlace::Postgres(url) => Database::open(&url).await?,
    })
}

async fn open_ledger(settings: &Settings) -> Result<(Ledger, Option<Chain>), Error> {
    open_ledger_of(&settings.ledger, Some(settings.data().join("chain"))).await
}

/// Opens the chain: at its endpoint, or in this process where `dir` has one.
pub(super) async fn open_ledger_of(
    settings: &LedgerSettings,
    dir: Option<PathBuf>,
) -> Result<(Ledger, Option<Chain>), Error> {
    if let Some(rpc) = &settings.rpc {
        let ledger = Ledger::connect(rpc.as_str(), settings.policy()).await?;
        return Ok((ledger, None));
    }
    let dir = dir.ok_or("name the chain's endpoint as ledger.rpc")?;
    let genesis = Genesis::of_chain_in(&dir).ok_or_else(|| {
        format!(
            "there is no chain in {}; name an endpoint as ledger.rpc, or found a network with \
             `salus up`",
            dir.display()
        )
    })?;
    let clock: Clock = Arc::new(real_time);
    let chain = Chain::open(ChainConfig::new(dir, genesis, clock))?;
    chain.run_solo(Sealing::Instant);
    Ok((Ledger::embedded(Rpc::new(chain.clone())), Some(chain)))
}

/// Where the contracts are: by the file that is named, by the registry's directory, or as noted in the
/// data directory.
async fn find_contracts(settings: &Settings, ledger: &Ledger) -> Result<Deployment, Error> {
    find_contracts_of(&settings.ledger, &settings.data(), ledger).await
}

/// Where the contracts are, with what is noted in the directory `data`.
pub(super) async fn find_contracts_of(
    settings: &LedgerSettings,
    data: &Path,
    ledger: &Ledger,
) -> Result<Deployment, Error> {
    if let Some(registry) = settings.registry {
        return contracts_of(registry, ledger).await;
    }
    let noted = data.join("deployments").join(format!("{}.json", ledger.chain_id()));
    let path = settings.deployment().unwrap_or(noted);
    let found = read_deployment(&path)?;
    Ok(found.ok_or_else(|| {
        format!(
            "there is no list of contracts in {}; name the registry as ledger.registry",
            path.display()
        )
    })?)
}

async fn contracts_of(registry: Address, ledger: &Ledger) -> Result<Deployment, Error> {
    let mut addresses = [registry; Contract::ALL.len()];
    for (address, contract) in addresses.iter_mut().zip(Contract::ALL) {
        if contract == Contract::Registry {
            continue;
        }
        let call = Registry::contractAtCall { name: contract_name(contract) };
        let listed = ledger.call(registry, &call, BlockId::latest()).await;
        *address = listed.map_err(|error| {
            format!("{registry} on chain {} is no registry: {error}", ledger.chain_id())
        })?;
        if *address == Address::ZERO {
            let text = format!(
                "the registry's directory does not name {contract}; its members vote for it, or \
                 ledger.deployment names a file"
            );
            return Err(text.into());
        }
    }
    Ok(Deployment::from_addresses(addresses))
}

/// What the institution is accredited as, or wants to be until it is a member.
async fn role_of(
    settings: &Settings,
    ledger: &Ledger,
    deployment: &Deployment,
    member: Address,
) -> Result<InstitutionRole, Error> {
    let registry = deployment.address(Contract::Registry);
    let number = ledger.call(registry, &Registry::roleOfCall { member }, BlockId::latest()).await?;
    let accredited = InstitutionRole::try_from(number).ok();
    Ok(accredited.or(settings.role).ok_or(
        "the registry does not know this institution; set `role` to what it wants to be admitted as",
    )?)
}
