//! The key of a device.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes};
use ledger::{Ledger, PrivateKeySigner, Sender, SignerSync as _};

/// The key with which a device signs. It is printed nowhere, leaves by no method, and is wiped when dropped.
pub struct DeviceKey(PrivateKeySigner);

/// The bytes are no key of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no key")]
pub struct InvalidDeviceKey;

impl DeviceKey {
    /// The key that these secret bytes are. Whoever has them wipes them.
    ///
    /// # Errors
    ///
    /// [`InvalidDeviceKey`] for zero and for numbers beyond the curve's order.
    pub fn from_secret(secret: &[u8; 32]) -> Result<Self, InvalidDeviceKey> {
        PrivateKeySigner::from_slice(secret).map(Self).map_err(|_| InvalidDeviceKey)
    }

    /// The address that it signs for.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.0.address()
    }

    pub(super) fn sign(&self, digest: B256) -> Bytes {
        let signature = self.0.sign_hash_sync(&digest);
        signature.expect("a key in memory can sign").as_bytes().to_vec().into()
    }

    /// Sends transactions of the device's own.
    pub(super) fn sender(&self, ledger: &Ledger) -> Sender {
        Sender::new(ledger.clone(), self.0.clone())
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceKey(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_key_is_not_printed() {
        let key = DeviceKey::from_secret(&[7; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "DeviceKey(..)");
        assert!(DeviceKey::from_secret(&[0; 32]).is_err());
        assert!(DeviceKey::from_secret(&[0xff; 32]).is_err());
    }
}
