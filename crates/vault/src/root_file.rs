//! The root key in a file, under a passphrase.
//!
//! # Format 1, 97 bytes
//!
//! Integers are big-endian.
//!
//! ```text
//! offset length
//!      0      8  magic "SALUSKEY"
//!      8      1  format, 1
//!      9      4  Argon2id memory u32, in KiB
//!     13      4  Argon2id passes u32
//!     17      4  Argon2id lanes u32
//!     21     16  salt, random
//!     37     12  nonce, random
//!     49     48  the root key under AES-256-GCM; associated data: bytes 0 to 36
//! ```
//!
//! The file key is Argon2id (version 0x13) of passphrase and salt, 32 bytes. The file has mode 0600
//! and is never overwritten; one that others may read is refused.

use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::keys::{KEY_LEN, RootKey, WrappingKey};
use crate::private_file::{self, PrivateFileError};

const MAGIC: &[u8; 8] = b"SALUSKEY";
const FORMAT: u8 = 1;
const SALT_LEN: usize = 16;
const PREFIX_LEN: usize = 37;
const FILE_LEN: usize = PREFIX_LEN + 12 + KEY_LEN + 16;

/// What guessing one passphrase costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootKeyCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes that may be filled at the same time.
    pub lanes: u32,
}

impl RootKeyCost {
    /// What key files are made with: about a third of a second.
    ///
    /// # Source
    ///
    /// RFC 9106, section 4, second recommended option: 64 MiB, three passes, four lanes. It is above
    /// what OWASP's Password Storage Cheat Sheet asks for (46 MiB and one pass, or 19 MiB and two).
    pub const STANDARD: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 };

    /// The highest that a file may ask for: 1 GiB. A file that somebody planted must not take all
    /// memory, or all day.
    const MAX: Self = Self { memory_kib: 1024 * 1024, passes: 64, lanes: 64 };

    const fn is_acceptable(self) -> bool {
        self.memory_kib <= Self::MAX.memory_kib
            && self.passes <= Self::MAX.passes
            && self.lanes <= Self::MAX.lanes
    }
}

/// Why a root key was not read from its file or written to it.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    /// The passphrase is another, or the file was changed.
    #[error("wrong passphrase, or the root key's file was changed")]
    WrongPassphrase,
    /// There is no passphrase.
    #[error("a root key needs a passphrase")]
    NoPassphrase,
    /// It is no file of this format, or asks for more memory or time than is reasonable.
    #[error("not a root key's file")]
    NotARootKey,
    /// The file could not be used.
    #[error("the root key's file could not be used")]
    File(#[from] PrivateFileError),
}

impl RootKey {
    /// Reads the root key from its file. Takes about a third of a second, on purpose.
    ///
    /// # Errors
    ///
    /// See [`RootKeyError`].
    pub fn load(path: &Path, passphrase: &[u8]) -> Result<Self, RootKeyError> {
        let bytes = private_file::read(path)?;
        let bytes: &[u8; FILE_LEN] =
            bytes.as_slice().try_into().map_err(|_| RootKeyError::NotARootKey)?;
        let (prefix, wrapped) =
            bytes.split_first_chunk::<PREFIX_LEN>().ok_or(RootKeyError::NotARootKey)?;
        let number = |at: usize| {
            let word = [prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]];
            u32::from_be_bytes(word)
        };
        let cost = RootKeyCost { memory_kib: number(9), passes: number(13), lanes: number(17) };
        if &prefix[..8] != MAGIC || prefix[8] != FORMAT || !cost.is_acceptable() {
            return Err(RootKeyError::NotARootKey);
        }
        let key = derive_file_key(passphrase, &prefix[21..], cost)?
            .unwrap(prefix, wrapped)
            .map_err(|_| RootKeyError::WrongPassphrase)?;
        let key = Zeroizing::new(
            <[u8; KEY_LEN]>::try_from(key.as_slice()).map_err(|_| RootKeyError::NotARootKey)?,
        );
        Ok(Self::from_bytes(&key))
    }

    /// Writes the root key to a new file.
    ///
    /// # Errors
    ///
    /// See [`RootKeyError`].
    pub fn save(
        &self,
        path: &Path,
        passphrase: &[u8],
        cost: RootKeyCost,
        rng: &mut impl CryptoRng,
    ) -> Result<(), RootKeyError> {
        if passphrase.is_empty() {
            return Err(RootKeyError::NoPassphrase);
        }
        let mut salt = [0; SALT_LEN];
        rng.fill_bytes(&mut salt);
        let prefix = [
            MAGIC.as_slice(),
            &[FORMAT],
            &cost.memory_kib.to_be_bytes(),
            &cost.passes.to_be_bytes(),
            &cost.lanes.to_be_bytes(),
            &salt,
        ]
        .concat();
        let wrapped = derive_file_key(passphrase, &salt, cost)?.wrap(&prefix, self.expose(), rng);
        Ok(private_file::write(path, &[prefix, wrapped].concat())?)
    }
}

fn derive_file_key(
    passphrase: &[u8],
    salt: &[u8],
    cost: RootKeyCost,
) -> Result<WrappingKey, RootKeyError> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(KEY_LEN))
        .map_err(|_| RootKeyError::NotARootKey)?;
    let mut key = Zeroizing::new([0; KEY_LEN]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut *key)
        .map_err(|_| RootKeyError::NotARootKey)?;
    Ok(WrappingKey::from_bytes(&key))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;
    use crate::testing::{rng, sample};

    const CHEAP: RootKeyCost = RootKeyCost { memory_kib: 64, passes: 1, lanes: 1 };

    fn saved() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let key = RootKey::make(&mut rng(1));
        key.save(&path, b"correct horse", CHEAP, &mut rng(2)).unwrap();
        (folder, path)
    }

    /// Puts bytes in the place of a saved file, with the mode of one.
    fn load_bytes(bytes: &[u8]) -> Result<RootKey, RootKeyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        private_file::write(&path, bytes).unwrap();
        RootKey::load(&path, b"correct horse")
    }

    #[test]
    fn saved_key_loads_with_its_passphrase_only() {
        let (_folder, path) = saved();
        let loaded = RootKey::load(&path, b"correct horse").unwrap();
        assert_eq!(loaded.expose(), RootKey::make(&mut rng(1)).expose());
        let wrong = RootKey::load(&path, b"battery staple").unwrap_err();
        assert!(matches!(wrong, RootKeyError::WrongPassphrase));
    }

    #[test]
    fn standard_cost_works() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.key");
        let key = RootKey::make(&mut rng(1));
        key.save(&path, b"p", RootKeyCost::STANDARD, &mut rng(2)).unwrap();
        assert_eq!(RootKey::load(&path, b"p").unwrap().expose(), key.expose());
    }

    #[test]
    fn saving_needs_a_passphrase_and_overwrites_nothing() {
        let (_folder, path) = saved();
        let key = RootKey::make(&mut rng(3));
        let exists = key.save(&path, b"x", CHEAP, &mut rng(4)).unwrap_err();
        assert!(matches!(exists, RootKeyError::File(PrivateFileError::Exists)));
        let empty = key.save(&path, b"", CHEAP, &mut rng(4)).unwrap_err();
        assert!(matches!(empty, RootKeyError::NoPassphrase));
    }

    #[test]
    fn file_that_others_may_read_is_refused() {
        let (_folder, path) = saved();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = RootKey::load(&path, b"correct horse").unwrap_err();
        assert!(matches!(
            refused,
            RootKeyError::File(PrivateFileError::NotPrivate { mode: 0o644 })
        ));
    }

    #[test]
    fn changed_and_foreign_files_are_refused() {
        let (_folder, path) = saved();
        let bytes = fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1;
            assert!(load_bytes(&changed).is_err(), "byte {place}");
        }
        assert!(matches!(load_bytes(&bytes[1..]), Err(RootKeyError::NotARootKey)));
        assert!(matches!(load_bytes(b""), Err(RootKeyError::NotARootKey)));
    }

    #[test]
    fn file_that_asks_for_too_much_is_refused_at_once() {
        let (_folder, path) = saved();
        for place in [9, 13, 17] {
            let mut bytes = fs::read(&path).unwrap();
            bytes[place] = 0xff;
            assert!(matches!(load_bytes(&bytes), Err(RootKeyError::NotARootKey)));
        }
    }

    #[test]
    fn sample_of_the_first_release_loads() {
        let (_folder, path) = saved();
        let made = fs::read(path).unwrap();
        let sample = sample("root_v1.key", &made);
        assert_eq!(made, sample);
        assert_eq!(load_bytes(&sample).unwrap().expose(), RootKey::make(&mut rng(1)).expose());
    }
}
