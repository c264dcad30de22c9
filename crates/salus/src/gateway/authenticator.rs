//! From a token to who reads, why, and how much the token lets them ask for.
//!
//! A token says for which member of the network somebody acts, or which patient they are, only where its
//! issuer is trusted to say so; for the others a table in the configuration does. Who that is, the
//! registry on chain knows: a professional whose accreditation ended is nobody, whatever a token says.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use alloy_primitives::Address;
use axum::http::{HeaderMap, StatusCode};
use domain::{InstitutionRole, ProfessionalRole, Purpose, Reader, Timestamp};
use fhir::{
    Allowed, Authenticator, Caller, FhirError, Interaction, PURPOSE_HEADER, purpose_of_code,
    reader_at,
};
use futures_util::future::BoxFuture;
use smart::{Level, Refusal, Scopes, Verifier};
use workflows::Gateway;

use super::opening::now;

/// Tells who asks by SMART tokens.
pub(crate) struct TokenAuthenticator {
    gateway: Gateway,
    verifier: Verifier,
    /// For which member each subject of an issuer acts; for patients, their account.
    members: HashMap<String, BTreeMap<String, Address>>,
}

impl TokenAuthenticator {
    /// Believes what `verifier` believes, and for the subjects that `members` lists by issuer, what
    /// stands there.
    pub(crate) const fn new(
        gateway: Gateway,
        verifier: Verifier,
        members: HashMap<String, BTreeMap<String, Address>>,
    ) -> Self {
        Self { gateway, verifier, members }
    }

    /// Who asks, and until when their token says so.
    pub(crate) async fn verified(
        &self,
        headers: &HeaderMap,
    ) -> Result<(Caller, Timestamp), FhirError> {
        let time = now(self.gateway.gatekeeper.ledger());
        let token = self.verifier.verify_request(headers, time).await.map_err(refused)?;
        // Whose accreditation ended a block ago must be nobody now (S3).
        self.gateway.gatekeeper.refresh(time).await.map_err(|error| {
            tracing::warn!(%error, "could not ask the chain");
            let text = "the chain cannot be asked at present";
            FhirError::new(StatusCode::SERVICE_UNAVAILABLE, "transient", text)
        })?;
        let address = self.address(&token)?;
        let projection = self.gateway.gatekeeper.projection().await;
        let member = self.gateway.member();
        let reader = reader_at(&projection, member, address, time)
            .ok_or_else(|| forbidden("whom the token names has no part in the network now"))?;
        let purpose = purpose(headers, token.purpose_of_use.as_deref(), &reader)?;
        drop(projection);
        let known = self.patient(&token).await?;
        let context = context(&token, known, &reader)?;
        let allowed = Arc::new(TokenScopes {
            is_patient_named: context.is_some(),
            is_patient: matches!(reader, Reader::Patient { .. }),
            scopes: token.scopes,
        });
        Ok((Caller { reader, purpose, allowed, patient: context }, token.expires))
    }

    /// The account of the patient whom a token names, by account or by the id of their `Patient` here.
    async fn patient(&self, token: &smart::Caller) -> Result<Option<Address>, FhirError> {
        let Some(named) = &token.patient else { return Ok(None) };
        if let Ok(account) = named.parse() {
            return Ok(Some(account));
        }
        let database = self.gateway.gatekeeper.vault().database();
        Ok(fhir::account_of_patient(database, named).await?)
    }

    /// The address of the member or patient that a token stands for.
    fn address(&self, token: &smart::Caller) -> Result<Address, FhirError> {
        let named = match &token.member {
            Some(member) => member.parse().ok(),
            None => {
                let subjects = self.members.get(&token.issuer);
                subjects.and_then(|subjects| subjects.get(&token.subject)).copied()
            }
        };
        named.ok_or_else(|| forbidden("the token names no member of the network and no patient"))
    }
}

impl Authenticator for TokenAuthenticator {
    fn authenticate<'a>(
        &'a self,
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Result<Caller, FhirError>> {
        Box::pin(async { Ok(self.verified(headers).await?.0) })
    }
}

fn forbidden(text: &str) -> FhirError {
    FhirError::new(StatusCode::FORBIDDEN, "forbidden", text)
}

fn refused(refusal: Refusal) -> FhirError {
    let code = match refusal.status() {
        StatusCode::UNAUTHORIZED => "login",
        StatusCode::SERVICE_UNAVAILABLE => "transient",
        _ => "forbidden",
    };
    FhirError::new(refusal.status(), code, refusal.to_string())
}

/// Why somebody reads: as the request says, or the token, or as such people usually do. A request cannot
/// say otherwise than its token.
fn purpose(
    headers: &HeaderMap,
    in_token: Option<&str>,
    reader: &Reader,
) -> Result<Purpose, FhirError> {
    let unknown = || {
        let text = format!("`{PURPOSE_HEADER}` is a code of HL7 v3 PurposeOfUse, such as TREAT");
        FhirError::new(StatusCode::BAD_REQUEST, "code-invalid", text)
    };
    let mut said = headers.get_all(PURPOSE_HEADER).iter();
    let in_header = said
        .next()
        .map(|code| code.to_str().ok().and_then(purpose_of_code).ok_or_else(unknown))
        .transpose()?;
    if said.next().is_some() {
        return Err(unknown());
    }
    let in_token = in_token
        .map(|code| {
            purpose_of_code(code).ok_or_else(|| forbidden("the token's purpose is not known here"))
        })
        .transpose()?;
    match (in_header, in_token) {
        (Some(said), Some(bound)) if said != bound => {
            Err(forbidden("the token is for another purpose"))
        }
        (said, bound) => Ok(said.or(bound).unwrap_or_else(|| usual_purpose(reader))),
    }
}

const fn usual_purpose(reader: &Reader) -> Purpose {
    match reader {
        Reader::Patient { .. } => Purpose::PatientRequest,
        Reader::Professional { role, .. } => match role {
            ProfessionalRole::Adjudicator => Purpose::Payment,
            ProfessionalRole::Researcher => Purpose::Research,
            ProfessionalRole::PrivacyOfficer | ProfessionalRole::Auditor => Purpose::Operations,
            _ => Purpose::Treatment,
        },
        Reader::Institution { role, .. } => match role {
            InstitutionRole::Insurer => Purpose::Payment,
            InstitutionRole::Research => Purpose::Research,
            InstitutionRole::Regulator => Purpose::PublicHealth,
            InstitutionRole::DeviceMaker => Purpose::Operations,
            _ => Purpose::Treatment,
        },
    }
}

/// The only patient that a token is about, if it is about one: whoever was given scopes for one patient
/// reaches no other with that token, whatever else it grants.
fn context(
    token: &smart::Caller,
    known: Option<Address>,
    reader: &Reader,
) -> Result<Option<Address>, FhirError> {
    let for_patient = token.scopes.resources().any(|scope| scope.level() == Level::Patient);
    match (&token.patient, reader) {
        _ if !for_patient => Ok(None),
        (_, Reader::Patient { account }) => Ok(Some(*account)),
        (Some(_), _) => {
            let account =
                known.ok_or_else(|| forbidden("the token's patient is not known here"))?;
            Ok(Some(account))
        }
        (None, _) => Ok(None),
    }
}

/// What the scopes of a token allow.
struct TokenScopes {
    scopes: Scopes,
    is_patient_named: bool,
    is_patient: bool,
}

impl Allowed for TokenScopes {
    fn allows(&self, resource_type: &str, interaction: Interaction) -> bool {
        let interaction = match interaction {
            Interaction::Create => smart::Interaction::Create,
            Interaction::Read => smart::Interaction::Read,
            Interaction::Update => smart::Interaction::Update,
            Interaction::Delete => smart::Interaction::Delete,
            Interaction::Search => smart::Interaction::Search,
        };
        let levels: &[Level] = match (self.is_patient_named, self.is_patient) {
            (true, true) => &[Level::Patient, Level::User],
            (true, false) => &[Level::Patient, Level::User, Level::System],
            (false, true) => &[Level::User],
            (false, false) => &[Level::User, Level::System],
        };
        levels.iter().any(|level| self.scopes.allows(*level, resource_type, interaction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENT: Reader = Reader::Patient { account: Address::repeat_byte(1) };
    const PHYSICIAN: Reader = Reader::Professional {
        member: Address::repeat_byte(2),
        role: ProfessionalRole::Physician,
        institution: Address::repeat_byte(3),
    };

    #[track_caller]
    fn check_purpose(
        header: Option<&str>,
        token: Option<&str>,
        reader: Reader,
        expected: Result<Purpose, u16>,
    ) {
        let mut headers = HeaderMap::new();
        if let Some(code) = header {
            headers.insert(PURPOSE_HEADER, code.parse().unwrap());
        }
        let found = purpose(&headers, token, &reader).map_err(|error| error.status.as_u16());
        assert_eq!(found, expected);
    }

    #[test]
    fn purposes_come_from_the_request_the_token_or_the_role() {
        check_purpose(None, None, PHYSICIAN, Ok(Purpose::Treatment));
        check_purpose(None, None, PATIENT, Ok(Purpose::PatientRequest));
        check_purpose(Some("BTG"), None, PHYSICIAN, Ok(Purpose::Emergency));
        check_purpose(None, Some("HRESCH"), PHYSICIAN, Ok(Purpose::Research));
        check_purpose(Some("TREAT"), Some("TREAT"), PHYSICIAN, Ok(Purpose::Treatment));
    }

    #[test]
    fn a_request_cannot_widen_its_token() {
        check_purpose(Some("BTG"), Some("TREAT"), PHYSICIAN, Err(403));
        check_purpose(Some("nonsense"), None, PHYSICIAN, Err(400));
        check_purpose(None, Some("NONSENSE"), PHYSICIAN, Err(403));
    }

    fn token(scopes: &str, patient: Option<&str>) -> smart::Caller {
        smart::Caller {
            issuer: "https://issuer.example".into(),
            subject: "somebody".into(),
            client_id: "app".into(),
            scopes: Scopes::parse(scopes).unwrap(),
            patient: patient.map(str::to_owned),
            fhir_user: None,
            purpose_of_use: None,
            member: None,
            expires: Timestamp(0),
        }
    }

    #[test]
    fn scopes_for_one_patient_reach_no_other() {
        let one = Address::repeat_byte(9);
        let named = one.to_string();
        let context = |scopes, patient: Option<&str>, reader| {
            let known = patient.and_then(|patient| patient.parse().ok());
            context(&token(scopes, patient), known, &reader)
        };
        assert_eq!(context("user/*.rs", Some(&*named), PHYSICIAN).unwrap(), None);
        assert_eq!(context("patient/*.rs", Some(&*named), PHYSICIAN).unwrap(), Some(one));
        assert_eq!(context("patient/*.rs user/*.rs", Some(&*named), PHYSICIAN).unwrap(), Some(one));
        assert!(context("patient/*.rs", Some("somebody"), PHYSICIAN).is_err());
        let own = Some(Address::repeat_byte(1));
        assert_eq!(context("patient/*.rs", Some(&*named), PATIENT).unwrap(), own);
    }

    #[test]
    fn scopes_for_a_patient_need_one() {
        let allows = |scopes: &str, is_patient_named, is_patient| {
            let scopes = Scopes::parse(scopes).unwrap();
            TokenScopes { scopes, is_patient_named, is_patient }
                .allows("Observation", Interaction::Read)
        };
        assert!(allows("patient/*.rs", true, false));
        assert!(!allows("patient/*.rs", false, false));
        assert!(allows("user/Observation.r", false, false));
        assert!(!allows("user/Observation.c", false, false));
        assert!(allows("system/*.r", false, false));
        assert!(!allows("system/*.r", false, true));
    }
}
