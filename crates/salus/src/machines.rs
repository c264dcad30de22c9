//! The devices of the demonstration, which stand for hardware that is not there.
//!
//! What is known of each is in a file, without any key: keys follow from one secret in the maker's keyring,
//! by the device's name and how often a rotation was begun. The file says what is tried before it is tried, and
//! the chain says which of the keys is in force.

use std::{collections::BTreeMap, fs, path::PathBuf};

use alloy_primitives::{Address, B256};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use vault::Keyring;
use workflows::device::{DeviceKey, Machine, Model};
use zeroize::Zeroizing;

use crate::{Error, consortium::Consortium, keys::write_private};

/// Who makes all of them.
const MAKER: &str = "maker";

/// What is known of a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    model: String,
    serial: String,
    firmware: String,
    /// How often a rotation was begun, whether or not it came to anything.
    rotations: u32,
}

/// The devices of one consortium.
pub(crate) struct Machines {
    path: PathBuf,
    secret: Zeroizing<[u8; 32]>,
    maker: Address,
    kept: BTreeMap<String, Kept>,
}

impl Machines {
    pub(crate) async fn open(consortium: &Consortium) -> Result<Self, Error> {
        let (maker, keys) = (consortium.institution(MAKER), &consortium.keys);
        let root_key = keys.root_key(MAKER)?;
        let keyring = Keyring::open(maker.gatekeeper.vault().database(), &root_key).await?;
        let secret = keys.secret(&keyring, "demonstration-devices").await?;
        let path = keys.dir().join("devices.json");
        let kept = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error.into()),
        };
        Ok(Self { path, secret, maker: maker.member(), kept })
    }

    /// A model of the demonstration's maker.
    pub(crate) fn model(&self, name: &str) -> Model {
        Model { maker: self.maker, name: name.to_owned() }
    }

    /// The address of a device by its name.
    pub(crate) fn member(&self, name: &str) -> Result<Address, Error> {
        self.kept(name).map(|_| self.key(name, 0).address())
    }

    /// A device by its name, with the key that signs as `signer`: the one that the chain has in force.
    pub(crate) fn find(&self, name: &str, signer: Address) -> Result<Machine, Error> {
        let kept = self.kept(name)?;
        // The newest first: it is nearly always that one.
        let mut keys = (0..=kept.rotations).rev().map(|rotation| self.key(name, rotation));
        let key = keys.find(|key| key.address() == signer);
        Ok(Machine {
            member: self.key(name, 0).address(),
            model: self.model(&kept.model),
            serial: kept.serial.clone(),
            firmware: kept.firmware.clone(),
            key: key.ok_or_else(|| format!("the key of device {name} is not of here"))?,
        })
    }

    fn kept(&self, name: &str) -> Result<&Kept, Error> {
        let unknown = || format!("there is no device {name}; `salus device enrol` makes one");
        Ok(self.kept.get(name).ok_or_else(unknown)?)
    }

    /// What a device is called, by its address; nothing for one that is not of here.
    pub(crate) fn name_of(&self, device: Address) -> Option<&str> {
        let names = self.kept.keys().map(String::as_str);
        names.into_iter().find(|name| self.key(name, 0).address() == device)
    }

    /// The version of the firmware that a device was given here, by its address.
    pub(crate) fn firmware_of(&self, device: Address) -> Option<&str> {
        let kept = self.kept.get(self.name_of(device)?)?;
        Some(&kept.firmware)
    }

    /// A device with its first key, to be kept before it is enrolled.
    pub(crate) fn make(&self, name: &str, model: &str, serial: &str, firmware: &str) -> Machine {
        Machine::new(self.key(name, 0), self.model(model), serial, firmware)
    }

    /// Keeps what is known of a device.
    pub(crate) fn keep(&mut self, name: &str, machine: &Machine) -> Result<(), Error> {
        let rotations = self.kept.get(name).map_or(0, |kept| kept.rotations);
        let kept = Kept {
            model: machine.model.name.clone(),
            serial: machine.serial.clone(),
            firmware: machine.firmware.clone(),
            rotations,
        };
        self.kept.insert(name.into(), kept);
        self.save()
    }

    /// A key with which a device may go on. That it was made is kept before anybody has it: which one the device
    /// goes on with, the chain says.
    pub(crate) fn make_next_key(&mut self, name: &str) -> Result<DeviceKey, Error> {
        let mut kept = self.kept(name)?.clone();
        kept.rotations += 1;
        let rotations = kept.rotations;
        self.kept.insert(name.into(), kept);
        self.save()?;
        Ok(self.key(name, rotations))
    }

    /// What the keys of simulated devices follow from.
    pub(crate) fn simulation(&self) -> Zeroizing<[u8; 32]> {
        self.derive("salus/demo-simulation/v1")
    }

    /// A key that no device here has.
    pub(crate) fn stranger(&self) -> DeviceKey {
        self.key("", u32::MAX)
    }

    fn key(&self, name: &str, rotation: u32) -> DeviceKey {
        // A byte string that is no key comes up once in 2^32 devices; the next label then serves.
        let keys = (0_u8..).find_map(|attempt| {
            let label = format!("salus/demo-device/v1/{rotation}/{attempt}/{name}");
            DeviceKey::from_secret(&self.derive(&label)).ok()
        });
        keys.expect("one of the first attempts is a key")
    }

    fn derive(&self, label: &str) -> Zeroizing<[u8; 32]> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.secret).expect("any length is a key");
        mac.update(label.as_bytes());
        Zeroizing::new(B256::from_slice(&mac.finalize().into_bytes()).0)
    }

    fn save(&self) -> Result<(), Error> {
        Ok(write_private(&self.path, &serde_json::to_vec_pretty(&self.kept)?)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn machines(path: PathBuf) -> Machines {
        let kept = fs::read(&path).map(|bytes| serde_json::from_slice(&bytes).unwrap());
        let secret = Zeroizing::new([7; 32]);
        Machines { path, secret, maker: Address::ZERO, kept: kept.unwrap_or_default() }
    }

    #[test]
    fn after_a_crash_the_chain_says_which_key_is_in_force() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("devices.json");
        let mut first = machines(path.clone());
        let machine = first.make("patch", "Patch 1", "SN-1", "1.0");
        first.keep("patch", &machine).unwrap();
        let member = machine.member;
        let next = first.make_next_key("patch").unwrap().address();

        // Whoever comes after the crash finds the key, whether or not the rotation was mined.
        let mut second = machines(path.clone());
        assert_eq!(second.member("patch").unwrap(), member);
        for signer in [member, next] {
            let found = second.find("patch", signer).unwrap();
            assert_eq!((found.member, found.key.address()), (member, signer));
        }
        assert_ne!(second.make_next_key("patch").unwrap().address(), next, "no key comes twice");
        assert!(second.find("patch", Address::repeat_byte(1)).is_err());
        assert!(second.find("another", member).is_err());
    }
}
