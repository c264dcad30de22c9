//! Where a consortium's keys are kept.
//!
//! ```text
//! DIR/passphrase                opens everything below; made at random unless SALUS_PASSPHRASE is set
//! DIR/NAME/keystore.json        the institution's signing key (Ethereum V3)
//! DIR/NAME/root.key             the root of its vault's keys (Argon2id)
//! DIR/NAME/vault.db             records, receipts, and in the keyring the keys of its people
//! DIR/patients/root.key         the patients' devices, of which there are none in a demonstration
//! DIR/patients/keyring.db
//! DIR/patients/P001/vault.db    one patient's copies of their own records
//! ```
//!
//! In a real consortium each institution has its own directory, its own passphrase, and its own machine.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use alloy_primitives::B256;
use gatekeeper::Entropy;
use ledger::PrivateKeySigner;
use vault::{Database, Keyring, RootKey, RootKeyCost, keystore};
use zeroize::Zeroizing;

use crate::Error;

/// The directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DirError {
    #[error("could not {action} {}; choose another directory with --data, or check its space and permissions", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("others can look into {}, where keys are kept; run chmod 700 on it, or choose another directory with --data", path.display())]
    Open { path: PathBuf },
    #[error("the passphrase in SALUS_PASSPHRASE or {} is empty", path.display())]
    NoPassphrase { path: PathBuf },
    #[error("there is no passphrase; set SALUS_PASSPHRASE, or write it to {} for its owner only", path.display())]
    MissingPassphrase { path: PathBuf },
}

/// The keys of a consortium below one directory.
pub(crate) struct KeyStore {
    dir: PathBuf,
    passphrase: Zeroizing<Vec<u8>>,
    entropy: Entropy,
    root_keys: Mutex<BTreeMap<String, Arc<RootKey>>>,
}

impl KeyStore {
    /// Opens the directory, making it and a passphrase when there is none.
    pub(crate) fn open(dir: &Path, entropy: Entropy) -> Result<Self, DirError> {
        Self::open_with(dir, &dir.join("passphrase"), true, entropy)
    }

    /// Opens the directory with the passphrase in `file` unless SALUS_PASSPHRASE is set. When there is
    /// none it is made, if it `may_be_made`.
    pub(crate) fn open_with(
        dir: &Path,
        file: &Path,
        may_be_made: bool,
        entropy: Entropy,
    ) -> Result<Self, DirError> {
        let fail = |action, path: PathBuf| move |source| DirError::Io { action, path, source };
        make_private_dir(dir)?;
        let mode = fs::metadata(dir).map_err(fail("look at", dir.into()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(DirError::Open { path: dir.into() });
        }
        let path = file.to_owned();
        let mut passphrase = match std::env::var("SALUS_PASSPHRASE") {
            Ok(passphrase) => passphrase.into_bytes(),
            Err(_) => match fs::read(&path) {
                Ok(passphrase) => passphrase,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    if !may_be_made {
                        return Err(DirError::MissingPassphrase { path });
                    }
                    let passphrase = hex::encode(entropy.bytes::<24>()).into_bytes();
                    write_private(&path, &passphrase).map_err(fail("write", path.clone()))?;
                    passphrase
                }
                Err(source) => return Err(fail("read", path)(source)),
            },
        };
        // Editors and `echo` end a file with a line break, which nobody means.
        while passphrase.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            passphrase.pop();
        }
        if passphrase.is_empty() {
            return Err(DirError::NoPassphrase { path });
        }
        Ok(Self {
            dir: dir.into(),
            passphrase: passphrase.into(),
            entropy,
            root_keys: Mutex::default(),
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of one institution.
    pub(crate) fn dir_of(&self, name: &str) -> Result<PathBuf, DirError> {
        let dir = self.dir.join(name);
        make_private_dir(&dir)?;
        Ok(dir)
    }

    /// Whether there is a signing key of this name.
    pub(crate) fn has_signer(&self, name: &str) -> bool {
        self.dir.join(name).join("keystore.json").exists()
    }

    /// An institution's signing key, made at the first call.
    pub(crate) fn signer(&self, name: &str) -> Result<PrivateKeySigner, Error> {
        let path = self.dir_of(name)?.join("keystore.json");
        if path.exists() {
            let secret = keystore::load(&path, &self.passphrase)?;
            return Ok(PrivateKeySigner::from_bytes(&B256::from(*secret))?);
        }
        let secret = Zeroizing::new(self.entropy.bytes::<32>());
        let signer = PrivateKeySigner::from_bytes(&B256::from(*secret))?;
        let cost = keystore::ScryptCost::STANDARD;
        let mut rng = self.entropy.fork();
        let address = signer.address();
        keystore::save(&path, &secret, address, &self.passphrase, cost, &mut rng)?;
        Ok(signer)
    }

    /// The root key of a vault, made at the first call. Opening its file takes a while, by intention,
    /// and is done once.
    pub(crate) fn root_key(&self, name: &str) -> Result<Arc<RootKey>, Error> {
        let mut opened = self.root_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = opened.get(name) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.open_root_key(name)?);
        opened.insert(name.into(), Arc::clone(&key));
        Ok(key)
    }

    fn open_root_key(&self, name: &str) -> Result<RootKey, Error> {
        let path = self.dir_of(name)?.join("root.key");
        if path.exists() {
            return Ok(RootKey::load(&path, &self.passphrase)?);
        }
        let mut rng = self.entropy.fork();
        let key = RootKey::make(&mut rng);
        key.save(&path, &self.passphrase, RootKeyCost::STANDARD, &mut rng)?;
        Ok(key)
    }

    /// An institution's database.
    pub(crate) async fn database(&self, name: &str) -> Result<Database, Error> {
        let path = self.dir_of(name)?.join("vault.db");
        Ok(Database::open_file(&path).await?)
    }

    /// A secret of 32 bytes from a keyring, made at the first call.
    pub(crate) async fn secret(
        &self,
        keyring: &Keyring,
        name: &str,
    ) -> Result<Zeroizing<[u8; 32]>, Error> {
        if let Some(secret) = keyring.get(name).await? {
            let secret: [u8; 32] = secret.as_slice().try_into()?;
            return Ok(secret.into());
        }
        let secret = Zeroizing::new(self.entropy.bytes::<32>());
        keyring.put(name, &*secret, &mut self.entropy.fork()).await?;
        Ok(secret)
    }
}

/// Writes a file that only its owner can read; it is there whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_added_extension("unfinished");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// Makes a directory that only its owner can look into.
pub(crate) fn make_private_dir(dir: &Path) -> Result<(), DirError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(dir).map_err(|source| DirError::Io {
        action: "make the directory",
        path: dir.into(),
        source,
    })
}
