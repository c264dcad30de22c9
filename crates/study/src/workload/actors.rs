//! Who sends the transactions. All accounts are made from the seed, so that the same study has the same senders.

use std::collections::BTreeMap;

use alloy_consensus::{
    SignableTransaction as _, TxEip1559, TxEnvelope, crypto::secp256k1::sign_message,
};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, keccak256};
use rayon::prelude::*;

use crate::{row::Row, tally::Mode};

/// The id of the chains that a study makes.
pub(crate) const CHAIN_ID: u64 = 31_337;

/// The most that a sender pays for each unit of gas, in wei. The base fee of these chains is its floor, 7.
const MAX_FEE_PER_GAS: u128 = 1_000_000_000;

/// Practices that refer patients, with one physician each.
const PRACTICES: usize = 8;

/// Patients whose referrals are listed again and again. No two patients cost differently, but for zeros in an
/// address, which are cheaper as call data.
const PATIENTS: usize = 64;

/// The hospital of rows that name none.
pub(crate) const ALL_HOSPITALS: &str = "ALL";

/// Somebody who signs, with the next nonce.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    key: B256,
    pub(crate) address: Address,
    nonce: u64,
}

impl Actor {
    /// The account of a name in a role. Another seed makes another account.
    fn derive(seed: u64, role: &str, name: &str) -> Self {
        let (role, name) = (role.as_bytes(), name.as_bytes());
        let seed = seed.to_be_bytes();
        // The numbers of bytes keep apart what would be the same text run together.
        let lengths = [role.len().to_be_bytes(), name.len().to_be_bytes()].concat();
        let text = [b"salus/study/account/v1".as_slice(), &lengths, role, name, &seed].concat();
        let key = keccak256(text);
        const VALID: &str = "a hash is no private key once in 2^128 times";
        let signature = sign_message(key, B256::ZERO).expect(VALID);
        let address = signature.recover_address_from_prehash(&B256::ZERO).expect(VALID);
        Self { key, address, nonce: 0 }
    }

    /// A transaction to be signed, with the next nonce.
    pub(crate) fn transaction(&mut self, to: TxKind, input: Bytes, gas_limit: u64) -> Unsigned {
        self.nonce += 1;
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce - 1,
            gas_limit,
            max_fee_per_gas: MAX_FEE_PER_GAS,
            max_priority_fee_per_gas: 1,
            to,
            input,
            ..TxEip1559::default()
        };
        Unsigned { key: self.key, transaction }
    }
}

/// A transaction and the key that is to sign it.
#[derive(Clone, Debug)]
pub(crate) struct Unsigned {
    key: B256,
    transaction: TxEip1559,
}

impl Unsigned {
    /// As it is sent: EIP-2718 bytes.
    fn sign(self) -> Bytes {
        let signature = sign_message(self.key, self.transaction.signature_hash());
        let signature = signature.expect("the key signed before");
        TxEnvelope::from(self.transaction.into_signed(signature)).encoded_2718().into()
    }
}

/// Signs on all cores, and keeps the order.
pub(crate) fn sign_all(unsigned: Vec<Unsigned>) -> Vec<Bytes> {
    unsigned.into_par_iter().map(Unsigned::sign).collect()
}

/// Everybody who takes part.
pub(crate) struct Cast {
    /// Deploys the contracts, and publishes what names no hospital.
    pub(crate) regulator: Actor,
    /// By number; [`ALL_HOSPITALS`] is there where patients are referred without one.
    pub(crate) hospitals: BTreeMap<String, Actor>,
    pub(crate) practices: Vec<Actor>,
    /// One of each practice.
    pub(crate) physicians: Vec<Actor>,
    pub(crate) patients: Vec<Actor>,
}

impl Cast {
    pub(crate) fn new(seed: u64, mode: Mode, rows: &[Row]) -> Self {
        let several = |role: &str, count: usize| {
            let count = if mode == Mode::Patient { count } else { 0 };
            (0..count).map(|number| Actor::derive(seed, role, &number.to_string())).collect()
        };
        let mut hospitals = BTreeMap::new();
        for row in rows {
            let number = match &row.hospital {
                Some(hospital) => &*hospital.number,
                None if mode == Mode::Patient => ALL_HOSPITALS,
                None => continue,
            };
            if !hospitals.contains_key(number) {
                hospitals.insert(number.to_owned(), Actor::derive(seed, "hospital", number));
            }
        }
        Self {
            regulator: Actor::derive(seed, "regulator", ""),
            hospitals,
            practices: several("practice", PRACTICES),
            physicians: several("physician", PRACTICES),
            patients: several("patient", PATIENTS),
        }
    }

    /// Who publishes a census of a hospital's rows.
    pub(crate) fn publisher(&mut self, hospital: Option<&str>) -> &mut Actor {
        let own = hospital.and_then(|number| self.hospitals.get_mut(number));
        own.unwrap_or(&mut self.regulator)
    }

    /// Who needs ether.
    pub(crate) fn senders(&self) -> impl Iterator<Item = Address> {
        let people = self.practices.iter().chain(&self.physicians).chain(&self.patients);
        let institutions = self.hospitals.values().chain([&self.regulator]);
        institutions.chain(people).map(|actor| actor.address)
    }

    /// Who an address is, in words.
    pub(crate) fn name(&self, address: Address) -> String {
        if let Some((number, _)) = self.hospitals.iter().find(|(_, who)| who.address == address) {
            return format!("hospital {number}");
        }
        let is = |actor: &Actor| actor.address == address;
        if let Some(position) = self.physicians.iter().position(is) {
            return format!("physician of practice {}", position + 1);
        }
        if is(&self.regulator) { "regulator".into() } else { "patient or practice".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_follow_from_seed_role_and_name() {
        let of = |seed, role, name| Actor::derive(seed, role, name).address;
        assert_eq!(of(1, "hospital", "0600"), of(1, "hospital", "0600"));
        let others =
            [of(2, "hospital", "0600"), of(1, "practice", "0600"), of(1, "hospital", "06")];
        assert!(!others.contains(&of(1, "hospital", "0600")));
        assert_ne!(of(1, "ab", "c"), of(1, "a", "bc"));
    }
}
