//! The ids of grants: each is made from patient, reader and record under a key of this gateway, so that it
//! says none of them, and is the same after a restart.

use std::collections::{HashMap, HashSet};

use domain::{Address, B256, RecordId};
use parking_lot::Mutex;

use crate::resources::Resources;

const ID_PREFIX: &str = "grant-";

/// How many bytes of the digest are in an id.
const ID_LEN: usize = 20;

/// Whether an id is one of a grant.
pub(crate) fn is_id(id: &str) -> bool {
    id.strip_prefix(ID_PREFIX).is_some_and(|digits| {
        digits.len() == 2 * ID_LEN
            && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// Which grant: of whom, to whom, for which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) patient: Address,
    pub(super) reader: Address,
    pub(super) record: Option<RecordId>,
}

impl Key {
    pub(super) fn id(&self, resources: &Resources) -> String {
        let digest =
            |name: &[u8]| resources.inner.gateway.keyed_digest("salus/consent-id/v1", name);
        resources.inner.grants.id_of(self, digest)
    }

    /// What its id is made from.
    fn name(&self) -> Vec<u8> {
        let record = self.record.map_or(B256::ZERO, |record| record.0);
        [self.patient.as_slice(), self.reader.as_slice(), record.as_slice()].concat()
    }
}

/// The ids of grants that were met, so that each is made once, and whose grant an id is can be looked up.
#[derive(Debug, Default)]
pub(crate) struct GrantIds(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    by_key: HashMap<Key, [u8; ID_LEN]>,
    patients: HashMap<[u8; ID_LEN], Address>,
}

impl GrantIds {
    fn id_of(&self, key: &Key, digest: impl FnOnce(&[u8]) -> B256) -> String {
        let known = self.0.lock().by_key.get(key).copied();
        let bytes = known.unwrap_or_else(|| {
            let digest = digest(&key.name());
            let mut bytes = [0; ID_LEN];
            bytes.copy_from_slice(&digest[..ID_LEN]);
            let mut ids = self.0.lock();
            ids.by_key.insert(*key, bytes);
            ids.patients.insert(bytes, key.patient);
            bytes
        });
        format!("{ID_PREFIX}{}", hex::encode(bytes))
    }

    /// Whose grant has an id, among those that were met.
    pub(super) fn patient_of(&self, id: &str) -> Option<Address> {
        let mut bytes = [0; ID_LEN];
        hex::decode_to_slice(id.strip_prefix(ID_PREFIX)?, &mut bytes).ok()?;
        self.0.lock().patients.get(&bytes).copied()
    }

    /// Those of some grants whose ids were not made yet.
    pub(super) fn unknown(&self, keys: impl Iterator<Item = Key>) -> HashSet<Key> {
        let ids = self.0.lock();
        keys.filter(|key| !ids.by_key.contains_key(key)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_grant_is_made_once_and_leads_back_to_its_patient() {
        let (ids, made) = (GrantIds::default(), std::cell::Cell::new(0_u8));
        let key = |patient: u8| Key {
            patient: Address::repeat_byte(patient),
            reader: Address::repeat_byte(9),
            record: None,
        };
        let digest = |name: &[u8]| {
            made.set(made.get() + 1);
            B256::repeat_byte(name[0])
        };
        assert_eq!(ids.unknown([key(1), key(1), key(2)].into_iter()).len(), 2);
        let id = ids.id_of(&key(1), digest);
        assert_eq!(ids.id_of(&key(1), digest), id);
        assert_eq!((made.get(), id.as_str()), (1, &*format!("grant-{}", "01".repeat(20))));
        assert_eq!(ids.patient_of(&id), Some(Address::repeat_byte(1)));
        assert_eq!(ids.patient_of("grant-1"), None);
        assert_eq!(ids.unknown([key(1), key(2)].into_iter()), HashSet::from([key(2)]));
    }

    #[test]
    fn ids_are_told_apart() {
        assert!(is_id(&format!("grant-{}", "0a".repeat(20))));
        assert!(!is_id(&format!("grant-{}", "0A".repeat(20))));
        assert!(!is_id("grant-1"));
    }
}
