//! What has to be on a chain before the first row: the contracts, and who takes part.
//!
//! All of it is done by transactions. The hospitals, the practices and the regulator are founders of the
//! registry; the physicians are accredited by their practices; each patient accepts a practice as steward.

use alloy_primitives::{Address, TxKind, U256};
use alloy_sol_types::SolCall;
use bindings::{Contract, Deployment, Registry, Relationships, convert::to_uint40};
use chain::{Genesis, TRANSACTION_GAS_LIMIT_MAX};
use domain::{InstitutionRole, ProfessionalRole, Timestamp};

use super::{
    actors::{Actor, CHAIN_ID, Cast, Unsigned},
    calendar,
};
use crate::row::Day;

/// Each call of the setup uses less.
const CALL_GAS: u64 = 500_000;

/// How long a physician is accredited: longer than any chain of a study lasts.
const ACCREDITED_SECONDS: u64 = 365 * 86_400;

/// What everybody has at the beginning, in wei.
fn ether() -> U256 {
    U256::from(10).pow(U256::from(24))
}

/// A chain's beginning, the day after the archive date: a census of a month to come is refused.
pub(crate) fn genesis(cast: &Cast, date: Day) -> Genesis {
    let genesis = Genesis::new(CHAIN_ID, first_time(date));
    cast.senders().fold(genesis, |genesis, sender| genesis.with_balance(sender, ether()))
}

/// The time of the genesis block, in seconds since 1970.
pub(crate) fn first_time(date: Day) -> u64 {
    (calendar::days_since_1970(date) + 1) * 86_400
}

/// Where the contracts come to be.
pub(crate) fn deployment(cast: &Cast) -> Deployment {
    Deployment::by(cast.regulator.address, 0)
}

/// The transactions, in rounds that build on each other.
pub(crate) fn rounds(cast: &mut Cast, date: Day) -> Vec<Vec<Unsigned>> {
    let deployment = deployment(cast);
    let founder = |actor: &Actor, role: InstitutionRole| Registry::Founder {
        account: actor.address,
        role: role.number(),
    };
    let mut founders = vec![founder(&cast.regulator, InstitutionRole::Regulator)];
    // The contracts know no role for a practice; it keeps records and treats patients, as a hospital does.
    let care = cast.hospitals.values().chain(&cast.practices);
    founders.extend(care.map(|actor| founder(actor, InstitutionRole::Hospital)));
    let regulator = &mut cast.regulator;
    let mut deploy = |contract| {
        let code = deployment.creation_code(contract, founders.clone());
        regulator.transaction(TxKind::Create, code, TRANSACTION_GAS_LIMIT_MAX)
    };
    let deploying = Contract::ALL.into_iter().map(&mut deploy).collect();
    if cast.patients.is_empty() {
        return vec![deploying];
    }

    let registry = deployment.address(Contract::Registry);
    let relationships = deployment.address(Contract::Relationships);
    let until = to_uint40(Timestamp(first_time(date) + ACCREDITED_SECONDS));
    let role = ProfessionalRole::Physician.number();
    let mut offering = Vec::new();
    for (practice, physician) in cast.practices.iter_mut().zip(&cast.physicians) {
        let accredit = Registry::accreditCall { signer: physician.address, role, until };
        offering.push(call(practice, registry, &accredit));
    }
    let mut accepting = Vec::new();
    let count = cast.practices.len();
    for (number, patient) in cast.patients.iter_mut().enumerate() {
        let practice = &mut cast.practices[number % count];
        let steward = practice.address;
        let propose = Relationships::proposeCall { patient: patient.address, countersigned: false };
        offering.push(call(practice, relationships, &propose));
        let accept = Relationships::acceptCall { steward, countersigned: false };
        accepting.push(call(patient, relationships, &accept));
    }
    vec![deploying, offering, accepting]
}

fn call(actor: &mut Actor, to: Address, call: &impl SolCall) -> Unsigned {
    actor.transaction(TxKind::Call(to), call.abi_encode().into(), CALL_GAS)
}
