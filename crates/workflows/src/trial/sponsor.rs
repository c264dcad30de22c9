//! What sponsor, regulator and sites do: protocol and its versions, sites, lock, seeds, results.

use alloy_primitives::{Address, B256, U256};
use bindings::{Contract, Trials, convert::make_id};
use domain::{ProfessionalRole, RecordDigest, Timestamp};

use super::{
    Data, Dossier, Outcome, Protocol, Results, Salts, Seed, State, arms::standing_of, checks, data,
    events_of, protocol::worded, trial_of,
};
use crate::{Gateway, Person, Step, WorkflowError};

/// A researcher registers a trial for their institution. Nobody takes part yet, and the endpoints never change
/// from then on. Without a `seed`, the institution's own for this trial is committed to.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] for a protocol that cannot be registered, or a seed that was used before;
/// [`WorkflowError::Send`] when it is no researcher of a research body or a hospital.
pub async fn register(
    sponsor: &Gateway,
    researcher: &Person,
    protocol: &Protocol,
    seed: Option<Seed>,
) -> Result<(Dossier, Step), WorkflowError> {
    protocol.check()?;
    let salt = sponsor.make_salt();
    let id = make_id(researcher.member, salt);
    let parties = (sponsor.member(), researcher.member);
    let dossier = Dossier::write(protocol, id, 1, Salts::make(sponsor), parties);
    let seed = fresh(sponsor, id, seed).await?;
    let design = Trials::Design {
        protocol: dossier.protocol_digest(),
        endpoints: dossier.endpoints_digest(),
        criteria: dossier.criteria_digest(),
        arms: u8::try_from(protocol.arms.len()).unwrap_or(u8::MAX),
    };
    let commitment = seed.commitment(id, sponsor.member());
    let call = Trials::registerCall { salt, design, commitment };
    let outcome = researcher.sender.send(sponsor.at(Contract::Trials), &call).await?;
    sponsor.keep_study(dossier.kept_at(Timestamp(outcome.time))).await;
    let what = "registers a trial, whose endpoints are fixed now";
    Ok((dossier, Step::new(&researcher.name, what, "trial.register", &outcome)))
}

/// A seed that is not known to anybody yet: who reads the chain has all that were revealed.
async fn fresh(gateway: &Gateway, id: B256, seed: Option<Seed>) -> Result<Seed, WorkflowError> {
    let seed = seed.unwrap_or_else(|| Seed::derive(gateway, id));
    let revealed = events_of::<Trials::SeedRevealed>(gateway, None).await?;
    if seed.expose().is_zero() || revealed.iter().any(|(_, event)| event.seed == seed.expose()) {
        let why = "this seed is known already: another trial used it";
        return Err(WorkflowError::Invalid(why.into()));
    }
    Ok(seed)
}

/// An auditor approves a protocol that they read, and the regulator commits to its seed.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when endpoints, criteria or arms on chain are not those that the protocol names;
/// [`WorkflowError::Send`] when another protocol was registered, or it is no auditor of a regulator.
pub async fn approve(
    regulator: &Gateway,
    auditor: &Person,
    dossier: &Dossier,
    seed: Option<Seed>,
) -> Result<Step, WorkflowError> {
    let id = dossier.trial;
    dossier.criteria()?;
    let (_, held) = trial_of(regulator, id).await?;
    let named = (dossier.endpoints_digest(), dossier.criteria_digest(), dossier.arms().len());
    if named != (held.endpoints, held.criteria, usize::from(held.arms)) {
        let why = "what was registered is not what the protocol says";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let seed = fresh(regulator, id, seed).await?;
    let commitment = seed.commitment(id, regulator.member());
    let call = Trials::approveCall { id, protocol: dossier.protocol_digest(), commitment };
    let outcome = auditor.sender.send(regulator.at(Contract::Trials), &call).await?;
    let what = "approves the protocol, and commits to the second seed";
    Ok(Step::new(&auditor.name, what, "trial.approve", &outcome))
}

/// A researcher of the sponsor invites a site.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it was invited before, or is no member.
pub async fn invite(
    sponsor: &Gateway,
    researcher: &Person,
    id: B256,
    site: Address,
) -> Result<Step, WorkflowError> {
    let call = Trials::inviteSiteCall { id, site };
    let outcome = researcher.sender.send(sponsor.at(Contract::Trials), &call).await?;
    Ok(Step::new(&researcher.name, "invites a site", "trial.invite-site", &outcome))
}

/// An institution takes part as a site, with its own key.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it was not invited, or takes part already.
pub async fn join(site: &Gateway, id: B256) -> Result<Step, WorkflowError> {
    let call = Trials::joinTrialCall { id };
    let outcome = site.sender().send(site.at(Contract::Trials), &call).await?;
    Ok(Step::new(&site.name, "takes part in the trial as a site", "trial.join", &outcome))
}

/// A researcher of the sponsor asks for another version of the protocol.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when its endpoints or its number of arms are others: that is another trial.
pub async fn propose_amendment(
    sponsor: &Gateway,
    researcher: &Person,
    current: &Dossier,
    protocol: &Protocol,
) -> Result<(Dossier, Step), WorkflowError> {
    protocol.check()?;
    let id = current.trial;
    let (_, held) = trial_of(sponsor, id).await?;
    let salts = Salts { endpoints: current.salts.endpoints, ..Salts::make(sponsor) };
    let version = held.version.checked_add(1).ok_or_else(|| {
        WorkflowError::Invalid("there are too many versions of this protocol".into())
    })?;
    let parties = (sponsor.member(), researcher.member);
    let amended = Dossier::write(protocol, id, version, salts, parties);
    require_same_trial(&amended, &held)?;
    let call = Trials::proposeAmendmentCall {
        id,
        protocol: amended.protocol_digest(),
        criteria: amended.criteria_digest(),
    };
    let outcome = researcher.sender.send(sponsor.at(Contract::Trials), &call).await?;
    let what = format!("asks for version {version} of the protocol");
    Ok((amended, Step::new(&researcher.name, what, "trial.propose-amendment", &outcome)))
}

fn require_same_trial(amended: &Dossier, held: &Trials::Trial) -> Result<(), WorkflowError> {
    let named = (amended.endpoints_digest(), amended.arms().len());
    if named != (held.endpoints, usize::from(held.arms)) {
        let why = "endpoints and arms cannot be changed: that is another trial";
        return Err(WorkflowError::Invalid(why.into()));
    }
    Ok(())
}

/// An auditor of the regulator puts a version in force that they read. Nothing is entered from then on for a
/// subject who did not consent to it.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when its endpoints or arms are others; [`WorkflowError::Send`] when another version
/// was asked for.
pub async fn approve_amendment(
    regulator: &Gateway,
    auditor: &Person,
    amended: &Dossier,
) -> Result<Step, WorkflowError> {
    let id = amended.trial;
    amended.criteria()?;
    let (_, held) = trial_of(regulator, id).await?;
    require_same_trial(amended, &held)?;
    let call = Trials::approveAmendmentCall {
        id,
        protocol: amended.protocol_digest(),
        criteria: amended.criteria_digest(),
    };
    let outcome = auditor.sender.send(regulator.at(Contract::Trials), &call).await?;
    let what = format!("puts version {} of the protocol in force", amended.version);
    Ok(Step::new(&auditor.name, what, "trial.approve-amendment", &outcome))
}

/// A researcher of the sponsor has seen a serious adverse event.
///
/// # Errors
///
/// [`WorkflowError::Send`] when there is none with that number that waits for it.
pub async fn acknowledge(
    sponsor: &Gateway,
    researcher: &Person,
    id: B256,
    number: U256,
) -> Result<Step, WorkflowError> {
    let call = Trials::acknowledgeCall { id, number };
    let outcome = researcher.sender.send(sponsor.at(Contract::Trials), &call).await?;
    let what = "acknowledges a serious adverse event";
    Ok(Step::new(&researcher.name, what, "trial.acknowledge", &outcome))
}

/// A researcher of the sponsor locks the data, as all entries together give it.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the entries do not lead to the head on chain: the endpoint leaves some out;
/// [`WorkflowError::Send`] when a serious adverse event waits for acknowledgement.
pub async fn lock(
    sponsor: &Gateway,
    researcher: &Person,
    id: B256,
) -> Result<(Data, Step), WorkflowError> {
    let data = data::data_of(sponsor, id).await?;
    let call = Trials::lockCall { id, head: data.head };
    let outcome = researcher.sender.send(sponsor.at(Contract::Trials), &call).await?;
    let what = format!("locks the data: {} entries", data.entries.len());
    Ok((data, Step::new(&researcher.name, what, "trial.lock", &outcome)))
}

/// A researcher of the sponsor or an auditor of the regulator reveals the seed of their institution. Once both are,
/// everybody knows every arm. The contract is asked nothing before the lock: whoever runs the endpoint reads what is
/// asked, and a call has the seed in it.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] before the lock, for anybody else, and for a seed that was not committed to;
/// [`WorkflowError::Send`] when it was revealed already.
pub async fn reveal(
    party: &Gateway,
    person: &Person,
    id: B256,
    seed: Option<Seed>,
) -> Result<Step, WorkflowError> {
    let invalid = |why: &str| Err(WorkflowError::Invalid(why.into()));
    let (state, held) = trial_of(party, id).await?;
    if state != State::Locked {
        return invalid("seeds are revealed once the data is locked");
    }
    let (role, employer) = standing_of(party, person).await?;
    let is_theirs = match role {
        ProfessionalRole::Researcher => employer == held.sponsor,
        ProfessionalRole::Auditor => employer == held.custodian,
        _ => false,
    };
    if !is_theirs || employer != party.member() {
        return invalid("a researcher of the sponsor and an auditor of the regulator reveal seeds");
    }
    let seed = seed.unwrap_or_else(|| Seed::derive(party, id));
    let commitments = [held.sponsorCommitment, held.custodianCommitment];
    if !commitments.contains(&seed.commitment(id, party.member())) {
        return invalid("this is not the seed that was committed to");
    }
    let call = Trials::revealCall { id, party: party.member(), seed: seed.expose() };
    let outcome = person.sender.send(party.at(Contract::Trials), &call).await?;
    let is_last = trial_of(party, id).await?.0 == super::State::Unblinded;
    let operation = if is_last { "trial.reveal-last" } else { "trial.reveal" };
    let what = format!("reveals the seed of the {}", party.name);
    Ok(Step::new(&person.name, what, operation, &outcome))
}

/// A researcher of the sponsor publishes results: one outcome for each endpoint, in the order of the protocol.
/// Their salt follows from the sponsor's key, so that whoever lost the file has it again, and no step, by publishing
/// the same outcomes again.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when an outcome is missing, or of no endpoint, and when somebody withdrew until it was
/// signed; [`WorkflowError::Send`] before both seeds are revealed, and when other endpoints were registered.
pub async fn publish(
    sponsor: &Gateway,
    researcher: &Person,
    dossier: &Dossier,
    outcomes: Vec<Outcome>,
) -> Result<(Results, Option<Step>), WorkflowError> {
    let id = dossier.trial;
    for outcome in &outcomes {
        worded("outcome", &outcome.result)?;
    }
    let data = data::data_of(sponsor, id).await?;
    let mut results = Results {
        trial: id,
        salt: sponsor.keyed_digest("salus/trial-results-salt/v1", id.as_slice()),
        endpoints: dossier.endpoints_digest(),
        data: data.head,
        entries: data.entries.len() as u64,
        used: data.used() as u64,
        outcomes,
    };
    if !checks::answers(&results, dossier) {
        let why = "there is one outcome for each endpoint, in their order";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let (state, held) = trial_of(sponsor, id).await?;
    if state == State::Published {
        // How much was usable then, later withdrawals do not tell.
        for used in (0..=results.entries).rev() {
            results.used = used;
            if results.digest() == held.results {
                return Ok((results, None));
            }
        }
    }
    let call = Trials::publishCall {
        id,
        endpoints: results.endpoints,
        dataHead: results.data,
        results: results.digest(),
    };
    let prepared = researcher.sender.prepare(sponsor.at(Contract::Trials), &call).await?;
    // It may have taken minutes until it was signed.
    if data::data_of(sponsor, id).await? != data {
        let why = "a subject withdrew meanwhile, whose data is not used: publish again";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let outcome = researcher.sender.send_prepared(prepared).await?;
    let what = "publishes the results, for the endpoints registered and the data locked";
    Ok((results, Some(Step::new(&researcher.name, what, "trial.publish", &outcome))))
}

/// A researcher of the sponsor or an auditor of the regulator stops the trial for good. The reason stays with
/// them: with the salt that is returned, its digest can be shown to be of these words.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is locked or over.
pub async fn stop(
    gateway: &Gateway,
    person: &Person,
    id: B256,
    reason: &str,
) -> Result<(B256, Step), WorkflowError> {
    worded("reason", reason)?;
    let salt = gateway.make_salt();
    let digest = RecordDigest::of(&[salt.as_slice(), reason.as_bytes()].concat()).0;
    let call = Trials::stopCall { id, reason: digest };
    let outcome = person.sender.send(gateway.at(Contract::Trials), &call).await?;
    Ok((salt, Step::new(&person.name, "stops the trial", "trial.stop", &outcome)))
}
