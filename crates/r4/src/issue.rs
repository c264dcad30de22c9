//! What is reported.

/// One thing that is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Whether it makes the resource invalid.
    pub severity: Severity,
    /// What sort of thing it is.
    pub code: IssueCode,
    /// Where it is, as a path of names as JSON has them: `Observation.component[0].valueQuantity`.
    pub expression: String,
    /// What is wrong and what is expected, without a value of the resource.
    pub message: String,
}

/// How bad an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The resource is not valid.
    Error,
    /// The resource is valid, but probably not what is meant.
    Warning,
}

impl Severity {
    /// The code in an OperationOutcome.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The sort of an issue.
///
/// # Source
///
/// [FHIR R4, IssueType](https://hl7.org/fhir/R4/valueset-issue-type.html), as far as it is used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IssueCode {
    /// The JSON does not have the form that R4 gives the element, or R4 does not know the element.
    Structure,
    /// An element is missing.
    Required,
    /// A value is not written as its type asks.
    Value,
    /// A rule of R4 over several elements is broken.
    Invariant,
    /// A code is not in the value set that it must be from.
    CodeInvalid,
    /// The resource is nested too deep to be looked at.
    TooCostly,
}

impl IssueCode {
    /// The code in an OperationOutcome.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Structure => "structure",
            Self::Required => "required",
            Self::Value => "value",
            Self::Invariant => "invariant",
            Self::CodeInvalid => "code-invalid",
            Self::TooCostly => "too-costly",
        }
    }
}
