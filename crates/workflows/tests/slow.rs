//! People whose wallets take their time: before they sign, something else happens.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use alloy_consensus::{SignableTransaction as _, TypedTransaction};
use alloy_primitives::Address;
use bindings::{Contract, Registry};
use ledger::{Answering, PrivateKeySigner, Sender, SignerSync as _, Submitted, Wallet};
use workflows::Person;

use crate::common::{World, wallet};

type Meanwhile = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Slow {
    key: PrivateKeySigner,
    meanwhile: Mutex<Option<Meanwhile>>,
}

impl Wallet for Slow {
    fn address(&self) -> Address {
        self.key.address()
    }

    fn submit(&self, transaction: TypedTransaction) -> Answering<'_, Submitted> {
        Box::pin(async move {
            let meanwhile = self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(meanwhile) = meanwhile {
                meanwhile.await;
            }
            let signature = self.key.sign_hash_sync(&transaction.signature_hash()).unwrap();
            Ok(Submitted::Signature(signature))
        })
    }
}

/// Somebody is struck off by whoever accredited them.
pub(crate) async fn strike_off(world: &World, person: &Person, employer: &str) {
    struck_off(world, person, employer).await;
}

/// Somebody who is struck off while they sign.
pub(crate) fn struck_off_meanwhile(world: &World, person: &Person, employer: &str) -> Person {
    let meanwhile: Meanwhile = Box::pin(struck_off(world, person, employer));
    let slow = Slow { key: wallet(&person.name), meanwhile: Mutex::new(Some(meanwhile)) };
    let sender = Sender::elsewhere(world.ledger.clone(), Arc::new(slow));
    Person { sender, ..person.clone() }
}

fn struck_off(
    world: &World,
    person: &Person,
    employer: &str,
) -> impl Future<Output = ()> + Send + use<> {
    let (sender, registry) = (world.sender(employer), world.at(Contract::Registry));
    let call = Registry::revokeAccreditationCall { member: person.member };
    async move {
        sender.send(registry, &call).await.unwrap();
    }
}
