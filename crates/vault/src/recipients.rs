//! Wraps for one recipient: a key that only the holder of a private key takes out again (HPKE).
//!
//! # Public keys
//!
//! As the registry, `Query::recipient_key` and this crate write them:
//!
//! ```text
//! KEM id u16 (RFC 9180, section 7.1) | public key
//!   0x0020  X25519-HKDF-SHA256, 32 bytes: browsers
//!   0x647a  X-Wing (ML-KEM-768 and X25519), 1,216 bytes: institutions, because health records are
//!           worth keeping until somebody has a quantum computer
//! ```
//!
//! # Wraps, format 1
//!
//! ```text
//! 1 u8 | KEM id u16 | encapsulated key [32 or 1,120] | ciphertext [32] | tag [16]
//!
//! suite  the KEM, HKDF-SHA256, AES-256-GCM; mode base
//! info   "salus/wrap/v1" | chain id u64 | registry [20]
//! aad    subject u8 (1 kind key, 2 content key) | subject's id [32] | recipient [20] | consent [32]
//! ```
//!
//! Because of `info` and `aad`, a wrap that is moved to another chain, record, recipient or consent
//! does not open. It says nothing of who made it: see `keys` for what follows from that.

use std::fmt;

use domain::{Address, B256, QueryDomain, RecordDigest};
use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable, Kem as _, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use zeroize::{Zeroize as _, Zeroizing};

use crate::keys::{KEY_LEN, WrongKey};
use crate::kind_keys::KindKeyId;

const WRAP_FORMAT: u8 = 1;
const WRAP_LABEL: &[u8] = b"salus/wrap/v1";

/// How a recipient's key pair works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kem {
    /// X25519 with HKDF-SHA256: what browsers have.
    X25519,
    /// ML-KEM-768 and X25519 together: safe while either of them is.
    XWing,
}

impl Kem {
    /// The number that RFC 9180's registry gives it.
    #[must_use]
    pub const fn id(self) -> u16 {
        match self {
            Self::X25519 => X25519HkdfSha256::KEM_ID,
            Self::XWing => XWing::KEM_ID,
        }
    }

    fn of_id(id: u16) -> Option<Self> {
        [Self::X25519, Self::XWing].into_iter().find(|kem| kem.id() == id)
    }

    pub(crate) const fn encapsulated_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::XWing => 1_120,
        }
    }
}

/// A public key to which keys and answers are sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(pub(crate) AnyPublicKey);

#[derive(Clone, PartialEq, Eq)]
pub(crate) enum AnyPublicKey {
    X25519(<X25519HkdfSha256 as hpke::Kem>::PublicKey),
    XWing(Box<<XWing as hpke::Kem>::PublicKey>),
}

/// The bytes are no public key of a kind known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X25519 or X-Wing public key")]
pub struct BadPublicKey;

impl PublicKey {
    /// Reads a public key as the registry holds it.
    ///
    /// # Errors
    ///
    /// [`BadPublicKey`] when the key encapsulation is not known or the key not valid.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPublicKey> {
        let (id, key) = bytes.split_first_chunk().ok_or(BadPublicKey)?;
        let kem = Kem::of_id(u16::from_be_bytes(*id)).ok_or(BadPublicKey)?;
        Ok(Self(match kem {
            Kem::X25519 if is_low_order(key) => return Err(BadPublicKey),
            Kem::X25519 => {
                AnyPublicKey::X25519(Deserializable::from_bytes(key).map_err(|_| BadPublicKey)?)
            }
            Kem::XWing => AnyPublicKey::XWing(Box::new(
                Deserializable::from_bytes(key).map_err(|_| BadPublicKey)?,
            )),
        }))
    }

    /// The public key as the registry holds it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.kem().id().to_be_bytes().to_vec();
        match &self.0 {
            AnyPublicKey::X25519(key) => bytes.extend_from_slice(&key.to_bytes()),
            AnyPublicKey::XWing(key) => bytes.extend_from_slice(&key.to_bytes()),
        }
        bytes
    }

    /// How it works.
    #[must_use]
    pub const fn kem(&self) -> Kem {
        match self.0 {
            AnyPublicKey::X25519(_) => Kem::X25519,
            AnyPublicKey::XWing(_) => Kem::XWing,
        }
    }

    /// The digest by which queries and wraps name it: Keccak-256 of [`PublicKey::to_bytes`].
    #[must_use]
    pub fn digest(&self) -> B256 {
        domain::Query::recipient_key_of(&self.to_bytes())
    }
}

/// Whether every key agreement with this point gives zero, so that nothing can be wrapped for it.
///
/// RFC 9180 makes each agreement check that; whoever registers such a point must not be able to make
/// one fail later.
fn is_low_order(point: &[u8]) -> bool {
    type X25519 = X25519HkdfSha256;
    // The answer is the same for every private key.
    let (secret, _) = X25519::derive_keypair(&[0; KEY_LEN]);
    Deserializable::from_bytes(point).is_ok_and(|encapsulated| {
        hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519>(
            &OpModeR::Base,
            &secret,
            &encapsulated,
            b"",
        )
        .is_err()
    })
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {})", self.kem(), self.digest())
    }
}

/// The private key of a recipient.
#[derive(Clone)]
pub struct SecretKey {
    kem: Kem,
    bytes: Box<[u8; KEY_LEN]>,
}

impl SecretKey {
    /// A fresh key pair's private key.
    #[must_use]
    pub fn make(kem: Kem, rng: &mut impl CryptoRng) -> Self {
        let mut material = Zeroizing::new([0; KEY_LEN]);
        rng.fill_bytes(&mut *material);
        Self::derive(kem, &material)
    }

    /// The private key that follows from secret `material`, such as a passkey's PRF output.
    ///
    /// # Source
    ///
    /// `DeriveKeyPair` of RFC 9180, section 7.1.3; for X-Wing of draft-ietf-hpke-pq.
    #[must_use]
    pub fn derive(kem: Kem, material: &[u8; KEY_LEN]) -> Self {
        let mut bytes = Box::new([0; KEY_LEN]);
        match kem {
            Kem::X25519 => X25519HkdfSha256::derive_keypair(material).0.write_exact(&mut *bytes),
            Kem::XWing => XWing::derive_keypair(material).0.write_exact(&mut *bytes),
        }
        Self { kem, bytes }
    }

    /// Reads what [`SecretKey::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// [`WrongKey`] when the bytes are no private key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WrongKey> {
        let (id, key) = bytes.split_first_chunk().ok_or(WrongKey)?;
        let kem = Kem::of_id(u16::from_be_bytes(*id)).ok_or(WrongKey)?;
        let key = Box::new(<[u8; KEY_LEN]>::try_from(key).map_err(|_| WrongKey)?);
        Ok(Self { kem, bytes: key })
    }

    /// The KEM's id and the private key, for a [`Keyring`](crate::Keyring) or a printed sheet.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 + KEY_LEN));
        bytes.extend_from_slice(&self.kem.id().to_be_bytes());
        bytes.extend_from_slice(&*self.bytes);
        bytes
    }

    /// The public key that belongs to it.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(match self.kem {
            Kem::X25519 => {
                AnyPublicKey::X25519(X25519HkdfSha256::sk_to_pk(&self.parse::<X25519HkdfSha256>()))
            }
            Kem::XWing => AnyPublicKey::XWing(Box::new(XWing::sk_to_pk(&self.parse::<XWing>()))),
        })
    }

    /// How it works.
    #[must_use]
    pub const fn kem(&self) -> Kem {
        self.kem
    }

    pub(crate) fn parse<K: hpke::Kem>(&self) -> K::PrivateKey {
        K::PrivateKey::from_bytes(&*self.bytes)
            .expect("every 32 bytes are a private key of either kind")
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// What a wrapped key is the key of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All records of one patient, steward, kind and epoch.
    KindKey(KindKeyId),
    /// The version with this digest.
    Record(RecordDigest),
}

impl Subject {
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::KindKey(_) => 1,
            Self::Record(_) => 2,
        }
    }

    pub(crate) const fn id(self) -> B256 {
        match self {
            Self::KindKey(KindKeyId(id)) | Self::Record(RecordDigest(id)) => id,
        }
    }
}

/// What a wrap is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    /// On which chain, under which registry.
    pub network: QueryDomain,
    /// What the wrapped key is the key of.
    pub subject: Subject,
    /// For whom: a patient's account or a member address.
    pub recipient: Address,
    /// The digest of the consent under which it was wrapped; zero for the patient's and the steward's
    /// own.
    pub consent: B256,
}

impl Binding {
    fn info(&self) -> Vec<u8> {
        info(WRAP_LABEL, self.network)
    }

    fn aad(&self) -> Vec<u8> {
        let subject = self.subject.id();
        [
            &[self.subject.number()],
            subject.as_slice(),
            self.recipient.as_slice(),
            self.consent.as_slice(),
        ]
        .concat()
    }
}

/// `label | chain id u64 | registry [20]`.
pub(crate) fn info(label: &[u8], network: QueryDomain) -> Vec<u8> {
    [label, &network.chain_id.to_be_bytes(), network.registry.as_slice()].concat()
}

/// Wraps a key for whoever holds the private key of `recipient`.
pub(crate) fn wrap(
    key: &[u8; KEY_LEN],
    recipient: &PublicKey,
    binding: &Binding,
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let (info, aad) = (binding.info(), binding.aad());
    let mut wrapped = vec![WRAP_FORMAT];
    wrapped.extend_from_slice(&recipient.kem().id().to_be_bytes());
    match &recipient.0 {
        AnyPublicKey::X25519(public) => {
            wrapped.extend(seal_once::<X25519HkdfSha256>(key, public, &info, &aad, rng));
        }
        AnyPublicKey::XWing(public) => {
            wrapped.extend(seal_once::<XWing>(key, public, &info, &aad, rng));
        }
    }
    wrapped
}

/// Takes a key out of a wrap.
pub(crate) fn unwrap(
    wrapped: &[u8],
    secret: &SecretKey,
    binding: &Binding,
) -> Result<Zeroizing<Vec<u8>>, WrongKey> {
    let ([format, id @ ..], sealed) = wrapped.split_first_chunk::<3>().ok_or(WrongKey)?;
    if *format != WRAP_FORMAT || u16::from_be_bytes(*id) != secret.kem.id() {
        return Err(WrongKey);
    }
    let (info, aad) = (binding.info(), binding.aad());
    match secret.kem {
        Kem::X25519 => open_once::<X25519HkdfSha256>(sealed, secret, &info, &aad),
        Kem::XWing => open_once::<XWing>(sealed, secret, &info, &aad),
    }
}

fn seal_once<K: hpke::Kem>(
    message: &[u8],
    recipient: &K::PublicKey,
    info: &[u8],
    aad: &[u8],
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    let mode = OpModeS::Base;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, K>(
        &mode, recipient, info, message, aad, rng,
    )
    .expect("a public key is checked when it is read, and a key is a short message");
    [encapsulated.to_bytes().as_slice(), &ciphertext].concat()
}

fn open_once<K: hpke::Kem>(
    sealed: &[u8],
    secret: &SecretKey,
    info: &[u8],
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, WrongKey> {
    let (encapsulated, ciphertext) =
        sealed.split_at_checked(K::EncappedKey::size()).ok_or(WrongKey)?;
    let encapsulated = K::EncappedKey::from_bytes(encapsulated).map_err(|_| WrongKey)?;
    hpke::single_shot_open::<AesGcm256, HkdfSha256, K>(
        &OpModeR::Base,
        &secret.parse::<K>(),
        &encapsulated,
        info,
        ciphertext,
        aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| WrongKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{rng, sample};

    const KEY: [u8; KEY_LEN] = [7; KEY_LEN];
    const KEMS: [Kem; 2] = [Kem::X25519, Kem::XWing];

    fn binding() -> Binding {
        Binding {
            network: QueryDomain { chain_id: 1, registry: Address::repeat_byte(1) },
            subject: Subject::Record(RecordDigest(B256::repeat_byte(2))),
            recipient: Address::repeat_byte(3),
            consent: B256::repeat_byte(4),
        }
    }

    /// Wraps under one binding and expects not to open under another.
    #[track_caller]
    fn check_moved(to: Binding) {
        for kem in KEMS {
            let secret = SecretKey::make(kem, &mut rng(1));
            let wrapped = wrap(&KEY, &secret.public_key(), &binding(), &mut rng(2));
            assert_eq!(unwrap(&wrapped, &secret, &binding()).unwrap().as_slice(), KEY);
            assert_eq!(unwrap(&wrapped, &secret, &to).unwrap_err(), WrongKey);
        }
    }

    #[test]
    fn wrap_moved_to_another_chain_does_not_open() {
        let network = QueryDomain { chain_id: 2, ..binding().network };
        check_moved(Binding { network, ..binding() });
        let network = QueryDomain { registry: Address::ZERO, ..binding().network };
        check_moved(Binding { network, ..binding() });
    }

    #[test]
    fn wrap_moved_to_another_record_does_not_open() {
        let subject = Subject::Record(RecordDigest(B256::ZERO));
        check_moved(Binding { subject, ..binding() });
    }

    #[test]
    fn wrap_of_a_record_key_is_none_of_a_kind_key() {
        let subject = Subject::KindKey(KindKeyId(B256::repeat_byte(2)));
        check_moved(Binding { subject, ..binding() });
    }

    #[test]
    fn wrap_moved_to_another_recipient_does_not_open() {
        check_moved(Binding { recipient: Address::ZERO, ..binding() });
    }

    #[test]
    fn wrap_moved_to_another_consent_does_not_open() {
        check_moved(Binding { consent: B256::ZERO, ..binding() });
    }

    #[test]
    fn wrap_opens_with_its_key_only() {
        for kem in KEMS {
            let secret = SecretKey::make(kem, &mut rng(1));
            let wrapped = wrap(&KEY, &secret.public_key(), &binding(), &mut rng(2));
            for other in KEMS.map(|kem| SecretKey::make(kem, &mut rng(3))) {
                assert_eq!(unwrap(&wrapped, &other, &binding()).unwrap_err(), WrongKey);
            }
        }
    }

    #[test]
    fn changed_wraps_do_not_open() {
        for kem in KEMS {
            let secret = SecretKey::make(kem, &mut rng(1));
            let wrapped = wrap(&KEY, &secret.public_key(), &binding(), &mut rng(2));
            for place in 0..wrapped.len() {
                // X25519 ignores the highest bit of a point, so a lower one is flipped.
                let mut changed = wrapped.clone();
                changed[place] ^= 1;
                assert_eq!(unwrap(&changed, &secret, &binding()).unwrap_err(), WrongKey, "{place}");
            }
            for length in [0, 2, 3, 35, wrapped.len() - 1] {
                assert_eq!(unwrap(&wrapped[..length], &secret, &binding()).unwrap_err(), WrongKey);
            }
        }
    }

    #[test]
    fn keys_print_and_parse() {
        for kem in KEMS {
            let secret = SecretKey::make(kem, &mut rng(1));
            assert_eq!(format!("{secret:?}"), "SecretKey(..)");
            let public = secret.public_key();
            assert_eq!(PublicKey::from_bytes(&public.to_bytes()), Ok(public.clone()));
            let again = SecretKey::from_bytes(&secret.to_bytes()).unwrap();
            assert_eq!(again.public_key(), public);
        }
    }

    #[test]
    fn bad_public_keys_are_refused() {
        let good = SecretKey::make(Kem::X25519, &mut rng(1)).public_key().to_bytes();
        let refused = |bytes: &[u8]| PublicKey::from_bytes(bytes) == Err(BadPublicKey);
        assert!(refused(b""));
        assert!(refused(&good[..33]));
        assert!(refused(&[good.as_slice(), &[0]].concat()));
        assert!(refused(&[&[0x00, 0x10], &good[2..]].concat()));
        // Points of low order: 0, 1, and the one of order 8 that everybody lists.
        let low = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
        for point in [[0; 32].to_vec(), [&[1][..], &[0; 31]].concat(), hex::decode(low).unwrap()] {
            assert!(refused(&[&[0x00, 0x20][..], &point].concat()));
        }
        // ML-KEM coefficients must be below its modulus.
        assert!(refused(&[&[0x64, 0x7a][..], &[0xff; 1_216]].concat()));
    }

    #[test]
    fn samples_of_the_first_release_open() {
        for (kem, name) in KEMS.into_iter().zip(["wrap_v1_x25519.bin", "wrap_v1_xwing.bin"]) {
            let secret = SecretKey::derive(kem, &[5; KEY_LEN]);
            let made = wrap(&KEY, &secret.public_key(), &binding(), &mut rng(1));
            let sample = sample(name, &made);
            assert_eq!(made, sample);
            assert_eq!(unwrap(&sample, &secret, &binding()).unwrap().as_slice(), KEY);
        }
    }

    #[test]
    fn key_derivation_is_that_of_rfc_9180() {
        // RFC 9180, appendix A.1.1: ikmR, skRm (its first and last byte clamped) and pkRm.
        let material = "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037";
        let private = "4012c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8a48";
        let public = "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d";
        let material = hex::decode(material).unwrap().try_into().unwrap();
        let secret = SecretKey::derive(Kem::X25519, &material);
        assert_eq!(hex::encode(&secret.to_bytes()[2..]), private);
        assert_eq!(hex::encode(&secret.public_key().to_bytes()[2..]), public);
    }
}
