//! Codes that were handed out and not yet brought back.

use std::collections::HashMap;

use domain::Timestamp;
use sha2::{Digest as _, Sha256};

/// The most codes out at once. When there are more, people are asked to try again.
const GRANTS_MAX: usize = 1_024;

/// What somebody agreed to when they were picked.
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    /// The digest of the verifier that the app must show (PKCE).
    pub(super) challenge: String,
    pub(super) subject: String,
    /// The patient in context.
    pub(super) patient: Option<String>,
    /// What was granted, with spaces between.
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    pub(super) expires: Timestamp,
}

/// The grants by the digest of their code, so that neither a dump of the memory's map nor the time that
/// a look-up takes tells a code.
#[derive(Default)]
pub(super) struct Grants(HashMap<[u8; 32], Grant>);

impl Grants {
    /// Keeps a grant; false when there are too many.
    pub(super) fn insert(&mut self, code: &str, grant: Grant, now: Timestamp) -> bool {
        self.0.retain(|_, grant| now < grant.expires);
        let room = self.0.len() < GRANTS_MAX;
        if room {
            self.0.insert(Sha256::digest(code).into(), grant);
        }
        room
    }

    /// Takes the grant of a code. It is gone then, whatever becomes of the request: a code that is shown
    /// by the wrong one is not left for the right one to be told apart by.
    pub(super) fn take(&mut self, code: &str, now: Timestamp) -> Option<Grant> {
        let digest: [u8; 32] = Sha256::digest(code).into();
        self.0.remove(&digest).filter(|grant| now < grant.expires)
    }
}
