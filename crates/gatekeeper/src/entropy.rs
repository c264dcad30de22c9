//! Randomness, handed in once and divided among those who need it.

use std::sync::Arc;

use chacha20::ChaCha20Rng;
use parking_lot::Mutex;
use rand_core::{Rng as _, SeedableRng as _};

/// A source of random bytes that many tasks share. Seeded by whoever starts the program.
#[derive(Clone)]
pub struct Entropy(Arc<Mutex<ChaCha20Rng>>);

impl Entropy {
    /// Begins with a seed: from the operating system in a real run, fixed in a test.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Arc::new(Mutex::new(ChaCha20Rng::from_seed(seed))))
    }

    /// A generator of one's own, seeded from the shared one.
    #[must_use]
    pub fn fork(&self) -> ChaCha20Rng {
        ChaCha20Rng::from_seed(self.bytes())
    }

    /// Random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().fill_bytes(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy(..)")
    }
}
