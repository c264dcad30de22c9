//! Who asks, why, and how much of it the token allows.
//!
//! A token narrows and never widens: what it allows is still decided by consent, record by record.

use axum::http::HeaderMap;
use domain::{Address, Purpose, Reader, Timestamp};
use futures_util::future::BoxFuture;
use gatekeeper::Reading;
use ledger::Projection;

use crate::outcome::FhirError;

/// What is done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interaction {
    /// A new one is made.
    Create,
    /// One is read by its id, or its history is.
    Read,
    /// One is replaced or patched.
    Update,
    /// One is deleted.
    Delete,
    /// Some are looked for.
    Search,
}

/// What the token lets its holder do.
pub trait Allowed: Send + Sync {
    /// Whether it may do this with resources of this type.
    fn allows(&self, resource_type: &str, interaction: Interaction) -> bool;
}

/// Everything: for institutions whose staff is authenticated elsewhere, and for tests.
#[derive(Clone, Copy, Debug)]
pub struct AllowAll;

impl Allowed for AllowAll {
    fn allows(&self, _: &str, _: Interaction) -> bool {
        true
    }
}

/// Somebody whose identity was checked.
#[derive(Clone)]
pub struct Caller {
    /// Who, as the registry knows them.
    pub reader: Reader,
    /// Why.
    pub purpose: Purpose,
    /// What the token lets them do.
    pub allowed: std::sync::Arc<dyn Allowed>,
    /// The only patient that the token is about, by account.
    pub patient: Option<Address>,
}

impl Caller {
    /// Who reads, and why.
    #[must_use]
    pub const fn reading(&self) -> Reading {
        Reading { reader: self.reader, purpose: self.purpose }
    }

    pub(crate) fn require(
        &self,
        resource_type: &str,
        interaction: Interaction,
    ) -> Result<(), FhirError> {
        if self.allowed.allows(resource_type, interaction) {
            return Ok(());
        }
        let text = format!("the token does not allow this with {resource_type}");
        Err(FhirError::new(axum::http::StatusCode::FORBIDDEN, "forbidden", text))
    }

    /// The only patient whose records are looked at for this caller, unless they name another: the one that
    /// the token is about, or who they are.
    pub(crate) const fn only_patient(&self) -> Option<Address> {
        match (self.patient, self.reader) {
            (None, Reader::Patient { account }) => Some(account),
            (only, _) => only,
        }
    }

    /// Whether the token is about this patient, or about no one in particular.
    pub(crate) fn is_about(&self, patient: Address) -> bool {
        self.patient.is_none_or(|only| only == patient)
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { reader, purpose, patient, .. } = self;
        f.debug_struct("Caller")
            .field("reader", reader)
            .field("purpose", purpose)
            .field("patient", patient)
            .finish_non_exhaustive()
    }
}

/// Tells from a request's headers who asks.
pub trait Authenticator: Send + Sync {
    /// Who asks.
    ///
    /// # Errors
    ///
    /// [`FhirError`] with status 401 when nobody can be told, or 403.
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<Caller, FhirError>>;
}

/// Who is behind an address: a member in force at `time`, by whatever key they sign with by now, or a
/// patient whom the institution `steward` knows.
#[must_use]
pub fn reader_at(
    projection: &Projection,
    steward: Address,
    address: Address,
    time: Timestamp,
) -> Option<Reader> {
    let registry = &projection.registry;
    let institution = registry.institution(&address).map(|member| member.signer);
    let signer = institution.or(registry.professional(&address).map(|member| member.signer));
    match signer {
        Some(signer) => registry.reader(&signer, time),
        None => {
            let known = projection.consents.relationship(address, steward).is_some();
            known.then_some(Reader::Patient { account: address })
        }
    }
}

/// The header in which a client says why it reads, by a code of HL7 v3 PurposeOfUse.
pub const PURPOSE_HEADER: &str = "x-purpose-of-use";

/// The purpose of a code of HL7 v3 PurposeOfUse, the codes below it included as far as they mean the
/// same here.
///
/// # Source
///
/// HL7 v3 value set PurposeOfUse.
#[must_use]
pub fn purpose_of_code(code: &str) -> Option<Purpose> {
    Some(match code {
        "TREAT" | "TREATMENT" | "CAREMGT" | "CLINTRCH" => Purpose::Treatment,
        "BTG" | "ETREAT" => Purpose::Emergency,
        "HPAYMT" | "CLMATTCH" | "COVAUTH" => Purpose::Payment,
        "HRESCH" | "RESEARCH" => Purpose::Research,
        "HOPERAT" => Purpose::Operations,
        "PATRQT" => Purpose::PatientRequest,
        "PUBHLTH" => Purpose::PublicHealth,
        "HLEGAL" => Purpose::Legal,
        _ => return None,
    })
}
