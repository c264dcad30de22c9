//! Who calls.

use std::fmt;

use domain::Timestamp;

use crate::{Interaction, Level, Refusal, Scopes};

/// Who calls, as a trusted issuer says: what a token was worth once everything about it held.
///
/// `Debug` shows the issuer, the client, the scopes and the time, but nothing of a person.
#[derive(Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who issued the token, one of the trusted issuers.
    pub issuer: String,
    /// Who acts, by the name that the issuer gives them. The client itself for backend services.
    pub subject: String,
    /// The app that acts.
    pub client_id: String,
    /// What may be asked for.
    pub scopes: Scopes,
    /// The patient in context, by resource id. Scopes of [`Level::Patient`] reach nothing without one.
    pub patient: Option<String>,
    /// Who acts, as a reference to a FHIR resource.
    pub fhir_user: Option<String>,
    /// What for, by its code in HL7 v3 ActReason, such as `TREAT`.
    pub purpose_of_use: Option<String>,
    /// For which member of the network, from issuers only that are trusted to say so.
    pub member: Option<String>,
    /// When the token ends. Whatever runs on because of it must end then too.
    pub expires: Timestamp,
}

impl Caller {
    /// Whether this interaction with every resource of the type may be asked for at this level.
    ///
    /// # Errors
    ///
    /// [`Refusal::InsufficientScope`] when no unrestricted scope says so, and at [`Level::Patient`] also
    /// when the token names no patient.
    pub fn demand(
        &self,
        level: Level,
        resource_type: &str,
        interaction: Interaction,
    ) -> Result<(), Refusal> {
        let in_context = level != Level::Patient || self.patient.is_some();
        if in_context && self.scopes.allows(level, resource_type, interaction) {
            Ok(())
        } else {
            Err(Refusal::InsufficientScope)
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("issuer", &self.issuer)
            .field("client_id", &self.client_id)
            .field("scopes", &self.scopes)
            .field("purpose_of_use", &self.purpose_of_use)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
