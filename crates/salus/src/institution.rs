//! One institution on this machine: its keys and database, and the gateway that they become.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use alloy_primitives::Address;
use bindings::{Contract, Deployment};
use domain::{InstitutionRole, QueryDomain, Timestamp};
use fhir::WorkflowCatalogue;
use gatekeeper::{Entropy, Gatekeeper, Settings};
use ledger::{Ledger, PrivateKeySigner, Projection, Sender};
use vault::{Database, Kem, Keyring, RootKey, SecretKey, Vault, VaultSettings};
use workflows::{Catalogue, Gateway};
use zeroize::Zeroizing;

use crate::{Error, keys::KeyStore};

/// What one institution keeps, before its gateway runs.
pub(crate) struct Store {
    database: Database,
    pub(crate) keyring: Keyring,
    root_key: Arc<RootKey>,
    pub(crate) signer: PrivateKeySigner,
}

/// What else follows from an institution's keyring, for what is built on its gateway.
pub(crate) struct Secrets {
    /// Under which search values are digested.
    pub(crate) index_key: Zeroizing<[u8; 32]>,
    /// Under which the directory is sealed.
    pub(crate) directory_key: Zeroizing<[u8; 32]>,
    /// The key of the peer-to-peer node.
    pub(crate) peer: Zeroizing<[u8; 32]>,
    /// What the development issuer's signing key follows from.
    pub(crate) issuer_seed: Zeroizing<[u8; 32]>,
    /// Where the secrets of webhooks are.
    pub(crate) keyring: Arc<Keyring>,
}

impl Store {
    /// Opens what the institution `name` keeps, in a database that is open already.
    pub(crate) async fn open(
        keys: &KeyStore,
        name: &str,
        database: Database,
    ) -> Result<Self, Error> {
        let root_key = keys.root_key(name)?;
        let keyring = Keyring::open(&database, &root_key).await?;
        let signer = keys.signer(name)?;
        Ok(Self { database, keyring, root_key, signer })
    }

    /// The key to which others seal what is for this institution.
    pub(crate) async fn hpke(&self, keys: &KeyStore) -> Result<SecretKey, Error> {
        let material = keys.secret(&self.keyring, "hpke").await?;
        Ok(SecretKey::derive(Kem::XWing, &material))
    }

    /// The gateway, with what else its servers need.
    pub(crate) async fn gateway(
        self,
        keys: &KeyStore,
        ledger: &Ledger,
        deployment: Deployment,
        name: &str,
        role: InstitutionRole,
        entropy: &Entropy,
    ) -> Result<(Gateway, Secrets), Error> {
        let dir = keys.dir_of(name)?;
        let network = QueryDomain {
            chain_id: ledger.chain_id(),
            registry: deployment.address(Contract::Registry),
        };
        let settings = VaultSettings {
            steward: self.signer.address(),
            network,
            bodies: dir.join("bodies"),
            recovery_keys: Vec::new(),
        };
        let number_key = keys.secret(&self.keyring, "number-key").await?;
        let secret = self.hpke(keys).await?;
        let secrets = Secrets {
            index_key: keys.secret(&self.keyring, "fhir/index").await?,
            directory_key: keys.secret(&self.keyring, "fhir/directory").await?,
            peer: keys.secret(&self.keyring, "exchange/peer").await?,
            issuer_seed: keys.secret(&self.keyring, "smart/development-issuer").await?,
            keyring: Arc::new(self.keyring),
        };
        let mut rng = entropy.fork();
        let vault = Vault::unlock(settings, self.database, &self.root_key, &mut rng).await?;
        let projection = Projection::load(&dir.join("projection"));
        let sender = Sender::new(ledger.clone(), self.signer);
        let settings = Settings::default();
        let gatekeeper =
            Gatekeeper::open(vault, deployment, sender, projection, settings, entropy.clone())
                .await?;
        let database = gatekeeper.vault().database();
        let catalogue = WorkflowCatalogue::open(database, *secrets.index_key).await?;
        let catalogue = catalogue.with_directory(*secrets.directory_key, entropy.clone());
        let catalogue: Option<Arc<dyn Catalogue>> = Some(Arc::new(catalogue));
        let name = name.into();
        Ok((Gateway { name, role, gatekeeper, secret, number_key, catalogue }, secrets))
    }
}

/// Finishes what a crash left between vault and chain. What the chain refuses now must not keep
/// everything else from starting.
pub(crate) async fn finish_anchoring(gateway: &Gateway, now: Timestamp) -> Result<(), Error> {
    let institution = &gateway.name;
    gateway.gatekeeper.refresh(now).await?;
    match gateway.gatekeeper.resume_anchoring().await {
        Ok(resumed) => {
            for (record, version) in resumed.given_up {
                tracing::warn!(institution, %record, %version, "the chain refused it for good; it was erased");
            }
        }
        Err(error) => tracing::warn!(institution, %error, "not all could be anchored"),
    }
    Ok(())
}

/// Saves what is known of the chain, and closes the database.
pub(crate) async fn close(gateway: &Gateway, dir: &Path) {
    let saved = gateway.gatekeeper.projection().await.save(&dir.join("projection"));
    if let Err(error) = saved {
        tracing::warn!(%error, "a projection was not saved; it will be built anew");
    }
    gateway.gatekeeper.vault().database().close().await;
}

/// The contracts' addresses in a file, in the form that Ethereum tools use; `None` when there is no file.
pub(crate) fn read_deployment(path: &Path) -> Result<Option<Deployment>, Error> {
    let listed: BTreeMap<String, Address> = match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| format!("{} is no list of contracts: {error}", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("could not read {}: {error}", path.display()).into()),
    };
    let mut addresses = [Address::ZERO; Contract::ALL.len()];
    for (address, contract) in addresses.iter_mut().zip(Contract::ALL) {
        let missing = || format!("{} names no {contract}", path.display());
        *address = *listed.get(contract.name()).ok_or_else(missing)?;
    }
    Ok(Some(Deployment::from_addresses(addresses)))
}
