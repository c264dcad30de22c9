//! `salus gateway init` and `keys`: an institution's keys, and what the members of the network vote on.

use std::process::ExitCode;

use gatekeeper::Entropy;
use serde_json::json;

use super::{opening::open_database, settings::Settings};
use crate::{Error, institution::Store, keys::KeyStore, printing::say, system::random_seed};

/// Makes the keys, and says what is public of them.
pub(super) async fn init(settings: &Settings, as_json: bool) -> Result<ExitCode, Error> {
    let keys = open_keys(settings, true)?;
    if keys.has_signer(&settings.name) {
        let dir = settings.dir();
        let text = format!(
            "there are keys in {} already, and they were left as they are; `salus gateway keys` shows \
             what is public of them",
            dir.display()
        );
        return Err(text.into());
    }
    show_public(settings, &keys, as_json).await?;
    if !as_json && std::env::var_os("SALUS_PASSPHRASE").is_none() {
        let passphrase = settings.passphrase_file();
        say!();
        say!("The passphrase is in {}. Keep a copy of it", passphrase.display());
        say!("elsewhere: nothing opens without it, and no backup holds it.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what is public of the keys that were made.
pub(super) async fn keys(settings: &Settings, as_json: bool) -> Result<ExitCode, Error> {
    let keys = open_keys(settings, false)?;
    if !keys.has_signer(&settings.name) {
        let dir = settings.dir();
        let text =
            format!("there are no keys in {}; `salus gateway init` makes them", dir.display());
        return Err(text.into());
    }
    show_public(settings, &keys, as_json).await?;
    Ok(ExitCode::SUCCESS)
}

fn open_keys(settings: &Settings, may_be_made: bool) -> Result<KeyStore, Error> {
    let entropy = Entropy::from_seed(random_seed()?);
    let passphrase = settings.passphrase_file();
    Ok(KeyStore::open_with(&settings.data(), &passphrase, may_be_made, entropy)?)
}

async fn show_public(settings: &Settings, keys: &KeyStore, as_json: bool) -> Result<(), Error> {
    let dir = keys.dir_of(&settings.name)?;
    let database = open_database(settings).await?;
    let store = Store::open(keys, &settings.name, database.clone()).await;
    let public = match store {
        Ok(store) => store.hpke(keys).await.map(|hpke| (store.signer.address(), hpke)),
        Err(error) => Err(error),
    };
    database.close().await;
    let (member, hpke) = public?;
    let hpke = format!("0x{}", hex::encode(hpke.public_key().to_bytes()));
    let role = settings.role.map(|role| role.to_string());
    if as_json {
        let (name, member) = (&settings.name, member.to_string());
        say!("{:#}", json!({ "name": name, "role": role, "member": member, "hpke_key": hpke }));
        return Ok(());
    }
    say!("The keys of {} are in {}.", settings.name, dir.display());
    say!("  member address  {member}");
    if let Some(role) = role {
        say!("  role            {role}");
    }
    say!("  HPKE key        {hpke}");
    say!();
    say!(
        "The members of the network vote on address and role (Registry.proposeAdmission). The HPKE"
    );
    say!("key is published by the gateway itself, once it is admitted.");
    Ok(())
}
