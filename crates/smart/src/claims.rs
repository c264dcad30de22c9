//! What the claims of an access token must be, and what is taken from them.

use domain::Timestamp;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

use crate::{Caller, Refusal, Scopes};

/// The longest subject, client id and reference, in bytes. OpenID Connect allows subjects of 255.
const NAME_BYTES_MAX: usize = 255;

/// The longest code of a purpose, in bytes.
const PURPOSE_BYTES_MAX: usize = 32;

/// The code system of purposes of use, and what else it is called in tokens: its OID, and the OID of
/// the value set that was taken from it.
///
/// # Source
///
/// HL7 v3 ActReason, value set PurposeOfUse; IHE IUA, JSON Web Token option.
const PURPOSE_SYSTEMS: [&str; 3] = [
    "http://terminology.hl7.org/CodeSystem/v3-ActReason",
    "urn:oid:2.16.840.1.113883.5.8",
    "urn:oid:2.16.840.1.113883.1.11.20448",
];

/// The claims as they come. Those that must be there are optional here, so that a refusal can say which
/// one is missing.
#[derive(Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: Option<String>,
    pub(crate) sub: Option<String>,
    pub(crate) aud: Option<Texts>,
    pub(crate) exp: Option<Instant>,
    pub(crate) nbf: Option<Instant>,
    pub(crate) iat: Option<Instant>,
    pub(crate) jti: Option<String>,
    client_id: Option<String>,
    /// What OpenID Connect calls the client.
    azp: Option<String>,
    scope: Option<Texts>,
    /// What some issuers call `scope`.
    scp: Option<Texts>,
    patient: Option<String>,
    #[serde(rename = "fhirUser")]
    fhir_user: Option<String>,
    purpose_of_use: Option<Value>,
    extensions: Option<Value>,
    /// Of any form: from an issuer that is not believed it is not even looked at.
    salus_member: Option<Value>,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Several(texts) => texts,
        }
    }
}

/// A time in seconds since 1970, with or without a fraction, which is dropped (RFC 7519, section 2).
#[derive(Clone, Copy)]
pub(crate) struct Instant(pub(crate) Timestamp);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        #[expect(clippy::cast_possible_truncation, reason = "a fraction is dropped on purpose")]
        let seconds = number
            .as_u64()
            .or_else(|| number.as_f64().filter(|n| (0.0..1e15).contains(n)).map(|n| n as u64));
        let seconds = seconds.ok_or_else(|| D::Error::custom("no point in time"))?;
        Ok(Self(Timestamp(seconds)))
    }
}

/// What claims are held against.
pub(crate) struct Expectations<'a> {
    pub(crate) audiences: &'a [String],
    pub(crate) leeway: std::time::Duration,
    pub(crate) now: Timestamp,
}

impl Expectations<'_> {
    /// Whether `now` is in the token's time, give or take the leeway. Returns when it ends.
    pub(crate) fn check_time(&self, claims: &Claims) -> Result<Timestamp, Refusal> {
        let Some(Instant(expires)) = claims.exp else {
            return Err(Refusal::Claim { claim: "exp" });
        };
        if self.now >= expires.after(self.leeway) {
            return Err(Refusal::Expired);
        }
        let begins = [claims.nbf, claims.iat];
        if begins.into_iter().flatten().any(|Instant(begin)| self.now.after(self.leeway) < begin) {
            return Err(Refusal::NotYetValid);
        }
        Ok(expires)
    }

    /// Whether the token is meant for one of the audiences.
    pub(crate) fn check_audience(&self, claims: &Claims) -> Result<(), Refusal> {
        let meant = claims.aud.as_ref().map_or(&[][..], Texts::as_slice);
        let known = meant.iter().any(|audience| self.audiences.contains(audience));
        if known { Ok(()) } else { Err(Refusal::Audience) }
    }
}

impl Claims {
    /// Who calls, by claims whose signature held. `believes_member` is whether this issuer may say for
    /// which member of the network somebody acts.
    pub(crate) fn into_caller(
        self,
        expected: &Expectations<'_>,
        believes_member: bool,
    ) -> Result<Caller, Refusal> {
        let expires = expected.check_time(&self)?;
        expected.check_audience(&self)?;
        let purpose_of_use = self.purpose_of_use()?;
        let member = match self.salus_member {
            Some(Value::String(member)) if believes_member => Some(name(member, "salus_member")?),
            Some(Value::Null) | None => None,
            Some(_) if believes_member => return Err(Refusal::Claim { claim: "salus_member" }),
            Some(_) => None,
        };
        let scope = self.scope.or(self.scp).ok_or(Refusal::Claim { claim: "scope" })?;
        Ok(Caller {
            issuer: self.iss.ok_or(Refusal::UnknownIssuer)?,
            subject: required(self.sub, "sub")?,
            client_id: required(self.client_id.or(self.azp), "client_id")?,
            scopes: Scopes::parse(&scope.as_slice().join(" "))
                .map_err(|_| Refusal::Claim { claim: "scope" })?,
            patient: self.patient.map(patient).transpose()?,
            fhir_user: self.fhir_user.map(|user| name(user, "fhirUser")).transpose()?,
            purpose_of_use,
            member,
            expires,
        })
    }

    /// The one purpose that the token names, in either place where it may stand.
    ///
    /// Several purposes are refused, as is a code of another system: consent is bound to one purpose,
    /// and to guess which was meant could widen it.
    fn purpose_of_use(&self) -> Result<Option<String>, Refusal> {
        let unusable = Refusal::Claim { claim: "purpose_of_use" };
        let extension = self.extensions.as_ref().map(|all| &all["ihe_iua"]["purpose_of_use"]);
        let mut purpose: Option<&str> = None;
        for claim in [self.purpose_of_use.as_ref(), extension].into_iter().flatten() {
            let codings = match claim {
                Value::Null => continue,
                Value::Array(codings) => codings.as_slice(),
                coding => std::slice::from_ref(coding),
            };
            for coding in codings {
                let code = purpose_code(coding).ok_or(unusable)?;
                if purpose.is_some_and(|earlier| earlier != code) {
                    return Err(unusable);
                }
                purpose = Some(code);
            }
        }
        Ok(purpose.map(str::to_owned))
    }
}

/// The code in a plain text or in a coding of the right system.
fn purpose_code(coding: &Value) -> Option<&str> {
    let code = match coding {
        Value::String(code) => code,
        Value::Object(coding) => {
            if let Some(system) = coding.get("system") {
                PURPOSE_SYSTEMS.contains(&system.as_str()?).then_some(())?;
            }
            coding.get("code")?.as_str()?
        }
        _ => return None,
    };
    let usable = (1..=PURPOSE_BYTES_MAX).contains(&code.len())
        && code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    usable.then_some(code)
}

fn required(text: Option<String>, claim: &'static str) -> Result<String, Refusal> {
    name(text.ok_or(Refusal::Claim { claim })?, claim)
}

/// A name without anything that could break a line of a log or a header.
fn name(text: String, claim: &'static str) -> Result<String, Refusal> {
    let usable = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
    if usable { Ok(text) } else { Err(Refusal::Claim { claim }) }
}

/// The id of a patient, given alone or as `Patient/id`.
fn patient(text: String) -> Result<String, Refusal> {
    let id = text.strip_prefix("Patient/").unwrap_or(&text);
    if is_id(id) { Ok(id.to_owned()) } else { Err(Refusal::Claim { claim: "patient" }) }
}

/// Whether it has the form of a resource's id (FHIR R4, data type `id`).
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}
