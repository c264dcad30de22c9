//! The devices of the demonstration, which stand for hardware that is not there.
//!
//! What is known of each is in a file, without any key: keys follow from one secret in the maker's keyring,
//! by the device's name and how often it rotated.

use std::{collections::BTreeMap, fs, path::PathBuf};

use alloy_primitives::{Address, B256};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use vault::Keyring;
use workflows::device::{DeviceKey, Machine, Model};
use zeroize::Zeroizing;

use crate::{Error, consortium::Consortium};

/// Who makes all of them.
const MAKER: &str = "maker";

/// What is known of a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    model: String,
    serial: String,
    firmware: String,
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

    /// A device by its name.
    pub(crate) fn find(&self, name: &str) -> Result<Machine, Error> {
        let unknown = || format!("there is no device {name}; `salus device enrol` makes one");
        let kept = self.kept.get(name).ok_or_else(unknown)?;
        Ok(Machine {
            member: self.key(name, 0).address(),
            model: self.model(&kept.model),
            serial: kept.serial.clone(),
            firmware: kept.firmware.clone(),
            key: self.key(name, kept.rotations),
        })
    }

    /// What a device is called, by its address; nothing for one that is not of here.
    pub(crate) fn name_of(&self, device: Address) -> Option<&str> {
        let names = self.kept.keys().map(String::as_str);
        names.into_iter().find(|name| self.key(name, 0).address() == device)
    }

    /// A new device, not yet kept.
    pub(crate) fn make(
        &self,
        name: &str,
        model: &str,
        serial: &str,
        firmware: &str,
    ) -> Result<Machine, Error> {
        if self.kept.contains_key(name) {
            return Err(format!("there is a device {name} already").into());
        }
        Ok(Machine::new(self.key(name, 0), self.model(model), serial, firmware))
    }

    /// Keeps what is known of a device, once it is enrolled.
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

    /// The key with which a device goes on.
    pub(crate) fn next_key(&self, name: &str) -> Result<DeviceKey, Error> {
        let kept = self.kept.get(name).ok_or_else(|| format!("there is no device {name}"))?;
        Ok(self.key(name, kept.rotations + 1))
    }

    /// Notes that a device went on with its next key.
    pub(crate) fn rotated(&mut self, name: &str) -> Result<(), Error> {
        if let Some(kept) = self.kept.get_mut(name) {
            kept.rotations += 1;
        }
        self.save()
    }

    /// A key that no device here has.
    pub(crate) fn stranger(&self) -> DeviceKey {
        self.key("", u32::MAX)
    }

    fn key(&self, name: &str, rotation: u32) -> DeviceKey {
        // A byte string that is no key comes up once in 2^32 devices; the next label then serves.
        let keys = (0_u8..).find_map(|attempt| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(&*self.secret).expect("any length is a key");
            mac.update(format!("salus/demo-device/v1/{rotation}/{attempt}/{name}").as_bytes());
            let secret = Zeroizing::new(B256::from_slice(&mac.finalize().into_bytes()).0);
            DeviceKey::from_secret(&secret).ok()
        });
        keys.expect("one of the first attempts is a key")
    }

    fn save(&self) -> Result<(), Error> {
        let unfinished = self.path.with_extension("unfinished");
        fs::write(&unfinished, serde_json::to_vec_pretty(&self.kept)?)?;
        fs::rename(&unfinished, &self.path)?;
        Ok(())
    }
}
