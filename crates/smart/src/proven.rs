//! Signatures that were checked before, so that the same token is not checked anew with each request.
//!
//! Only that a signature holds under a key is remembered, by a digest of key and token: it held, so it
//! holds. Whether the key is still in force, and everything that the token says, is judged each time.

use std::collections::HashSet;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::{Refusal, keys::Key, token::Unverified};

/// How many signatures one generation holds, at 32 bytes each.
const GENERATION: usize = 4_096;

/// Signatures that held, those of the last [`GENERATION`] tokens at least.
#[derive(Default)]
pub(crate) struct Proven(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

impl Proven {
    /// Whether a token was signed with this key, by the algorithm that the key is for.
    pub(crate) fn check(&self, token: &Unverified<'_>, key: &Key) -> Result<(), Refusal> {
        let name = Sha256::new()
            .chain_update(key.fingerprint())
            .chain_update(Sha256::digest(token.signed()))
            .chain_update(token.signature())
            .finalize();
        let name = <[u8; 32]>::from(name);
        {
            let mut known = self.0.lock();
            if known.young.contains(&name) {
                return Ok(());
            }
            if known.old.contains(&name) {
                known.remember(name);
                return Ok(());
            }
        }
        token.check(key)?;
        self.0.lock().remember(name);
        Ok(())
    }
}

impl Generations {
    fn remember(&mut self, name: [u8; 32]) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(name);
    }
}
