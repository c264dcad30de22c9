//! What the unit tests share.

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// The same random bytes in every run.
pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// The committed sample of this name, which must open forever. It is written once, from `made` with
/// `SALUS_NEW_SAMPLES=1` set, and never again.
pub(crate) fn sample(name: &str, made: &[u8]) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name);
    if !path.exists() && std::env::var_os("SALUS_NEW_SAMPLES").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    std::fs::read(&path).unwrap()
}
