//! Kind keys: one per patient, steward, kind and epoch, so that public-key work does not grow with
//! the number of records.
//!
//! A kind key is named by SHA-256 of
//! `"salus/kind-key/v1" | chain id u64 | registry [20] | patient [20] | steward [20] | kind u8 | epoch u32`.
//! Wraps bind that name, so a wrap serves no other patient, kind or epoch. The first epoch is 1; a new
//! one begins when the patient revoked a consent, so that whoever once held a key of theirs has none
//! for what comes later.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use domain::{Address, B256, Kind, QueryDomain};
use sha2::{Digest as _, Sha256};

use crate::keys::KindKey;

const LABEL: &[u8] = b"salus/kind-key/v1";

/// The digest that names a kind key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindKeyId(pub B256);

/// Which records a kind key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindKeyName {
    /// Whose records.
    pub patient: Address,
    /// Who keeps them.
    pub steward: Address,
    /// What they are about.
    pub kind: Kind,
    /// Counts from 1; the highest is in use.
    pub epoch: u32,
}

impl KindKeyName {
    /// The digest that names this kind key on one network.
    #[must_use]
    pub fn id(&self, network: QueryDomain) -> KindKeyId {
        let mut hash = Sha256::new();
        hash.update(LABEL);
        hash.update(network.chain_id.to_be_bytes());
        hash.update(network.registry);
        hash.update(self.patient);
        hash.update(self.steward);
        hash.update([self.kind.number()]);
        hash.update(self.epoch.to_be_bytes());
        KindKeyId(<[u8; 32]>::from(hash.finalize()).into())
    }
}

/// A kind key out of its wrap, and which records it is for.
#[derive(Clone, Debug)]
pub(crate) struct OpenedKey {
    pub(crate) name: KindKeyName,
    pub(crate) key: Arc<KindKey>,
}

/// Keeps up to twice `half` of what was used last; the rest is dropped, and keys are wiped by that.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    half: usize,
    /// How often it was cleared.
    clearings: u64,
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Copy + Eq + Hash, V: Clone> Recent<K, V> {
    pub(crate) fn new(half: usize) -> Self {
        Self { half, clearings: 0, young: HashMap::new(), old: HashMap::new() }
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let value = self.old.remove(key)?;
        self.insert(*key, value.clone());
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    pub(crate) const fn clearings(&self) -> u64 {
        self.clearings
    }

    /// Keeps what was looked up after so many clearings, unless there was another one since: it may be
    /// the very thing that was to be forgotten.
    pub(crate) fn insert_unless_cleared(&mut self, clearings: u64, key: K, value: V) {
        if self.clearings == clearings {
            self.insert(key, value);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.clearings += 1;
        self.young.clear();
        self.old.clear();
    }
}

/// The kind key under which a patient's records of one kind are sealed now.
#[derive(Clone, Debug)]
pub(crate) struct CurrentKey {
    pub(crate) id: KindKeyId,
    pub(crate) key: Arc<KindKey>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_name_changes_the_id() {
        let network = QueryDomain { chain_id: 1, registry: Address::repeat_byte(9) };
        let name = KindKeyName {
            patient: Address::repeat_byte(1),
            steward: Address::repeat_byte(2),
            kind: Kind::Allergy,
            epoch: 1,
        };
        let mut ids = vec![
            name.id(network),
            KindKeyName { patient: Address::ZERO, ..name }.id(network),
            KindKeyName { steward: Address::ZERO, ..name }.id(network),
            KindKeyName { kind: Kind::Genomics, ..name }.id(network),
            KindKeyName { epoch: 2, ..name }.id(network),
            name.id(QueryDomain { chain_id: 2, ..network }),
            name.id(QueryDomain { registry: Address::ZERO, ..network }),
        ];
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 7);
    }

    #[test]
    fn recent_values_stay_and_the_number_is_bounded() {
        let mut recent = Recent::new(2);
        for key in 0..100 {
            recent.insert(key, key);
            assert!(recent.get(&key).is_some());
            assert!(recent.young.len() + recent.old.len() <= 4);
        }
        assert_eq!(recent.get(&99), Some(99));
        assert_eq!(recent.get(&0), None);
    }

    #[test]
    fn value_looked_up_before_a_clearing_is_not_kept() {
        let mut recent = Recent::new(2);
        let before = recent.clearings();
        recent.clear();
        recent.insert_unless_cleared(before, 1, "destroyed");
        assert_eq!(recent.get(&1), None);
        recent.insert_unless_cleared(recent.clearings(), 1, "new");
        assert_eq!(recent.get(&1), Some("new"));
    }
}
