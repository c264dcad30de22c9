//! SMART scopes: what a token lets its bearer ask for.
//!
//! Text that is not understood grants nothing; other issuers' scopes may stand beside ours. A scope that
//! is restricted by search parameters (`patient/Observation.rs?category=laboratory`) is not a scope for
//! the whole type: [`Scopes::allows`] says no to it, because it cannot hold whoever asks to the
//! restriction. Who can, asks [`Scopes::reach`] and gets the restrictions to apply.
//!
//! # Source
//!
//! SMART App Launch 2.2.0, Scopes and Launch Context; the forms of version 1 as that section maps them.

/// The longest list of scopes that is read, in bytes.
pub const SCOPES_BYTES_MAX: usize = 4_096;

/// The most scopes that are read, understood or not.
pub const SCOPES_MAX: usize = 128;

/// The most search parameters that restrict one scope.
const PARAMETERS_MAX: usize = 8;

/// The longest name of a resource type. The longest of R4 has 33 letters.
const TYPE_BYTES_MAX: usize = 64;

/// In whose name resources are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// `patient/`: those of the one patient that the token names.
    Patient,
    /// `user/`: those that the person who signed in may reach.
    User,
    /// `system/`: those that the client itself may reach, without a person.
    System,
}

impl Level {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "patient" => Some(Self::Patient),
            "user" => Some(Self::User),
            "system" => Some(Self::System),
            _ => None,
        }
    }
}

/// What is done with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interaction {
    /// `c`: making one.
    Create,
    /// `r`: reading one, its history and its versions.
    Read,
    /// `u`: changing one, by update or patch.
    Update,
    /// `d`: deleting one.
    Delete,
    /// `s`: searching, and the history of a type.
    Search,
}

/// A set of interactions; bit `n` is the `n`-th letter of `cruds`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Interactions(u8);

impl Interactions {
    const CREATE: u8 = 1;
    const READ: u8 = 1 << 1;
    const UPDATE: u8 = 1 << 2;
    const DELETE: u8 = 1 << 3;
    const SEARCH: u8 = 1 << 4;

    /// The letters of version 2: each at most once, in the order of `cruds`.
    fn parse(text: &str) -> Option<Self> {
        let mut found = 0;
        for letter in text.chars() {
            let bit = 1 << "cruds".find(letter)?;
            // A letter that is out of order or repeated is no larger than those before it together.
            if bit <= found {
                return None;
            }
            found |= bit;
        }
        (found != 0).then_some(Self(found))
    }

    /// The words of version 1.
    fn parse_v1(text: &str) -> Option<Self> {
        match text {
            "read" => Some(Self(Self::READ | Self::SEARCH)),
            "write" => Some(Self(Self::CREATE | Self::UPDATE | Self::DELETE)),
            "*" => {
                Some(Self(Self::CREATE | Self::READ | Self::UPDATE | Self::DELETE | Self::SEARCH))
            }
            _ => None,
        }
    }

    const fn contains(self, interaction: Interaction) -> bool {
        let bit = match interaction {
            Interaction::Create => Self::CREATE,
            Interaction::Read => Self::READ,
            Interaction::Update => Self::UPDATE,
            Interaction::Delete => Self::DELETE,
            Interaction::Search => Self::SEARCH,
        };
        self.0 & bit != 0
    }
}

impl std::fmt::Debug for Interactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (bit, letter) in "cruds".chars().enumerate() {
            if self.0 >> bit & 1 == 1 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Search parameters that a resource must match, all of them, to be within a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction(Vec<(String, String)>);

impl Restriction {
    fn parse(query: &str) -> Option<Self> {
        let parameters: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes())
            .take(PARAMETERS_MAX + 1)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let usable = !parameters.is_empty()
            && parameters.len() <= PARAMETERS_MAX
            && parameters.iter().all(|(name, value)| !name.is_empty() && !value.is_empty());
        usable.then_some(Self(parameters))
    }

    /// The parameters by name and value, as in a search.
    #[must_use]
    pub fn parameters(&self) -> &[(String, String)] {
        &self.0
    }
}

/// A scope for resources, such as `patient/Observation.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceScope {
    level: Level,
    /// `None` stands for every type.
    resource_type: Option<String>,
    interactions: Interactions,
    restriction: Option<Restriction>,
}

impl ResourceScope {
    fn parse(text: &str) -> Option<Self> {
        let (level, rest) = text.split_once('/')?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let (resource_type, interactions) = rest.split_once('.')?;
        let resource_type = match resource_type {
            "*" => None,
            name if is_type_name(name) => Some(name.to_owned()),
            _ => return None,
        };
        let (interactions, restriction) = match query {
            Some(query) => (Interactions::parse(interactions)?, Some(Restriction::parse(query)?)),
            None => {
                let version_1 = Interactions::parse_v1(interactions);
                (version_1.or_else(|| Interactions::parse(interactions))?, None)
            }
        };
        Some(Self { level: Level::parse(level)?, resource_type, interactions, restriction })
    }

    /// In whose name.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// The resource type, or `None` for every type.
    #[must_use]
    pub fn resource_type(&self) -> Option<&str> {
        self.resource_type.as_deref()
    }

    /// Whether it is for this interaction.
    #[must_use]
    pub const fn is_for(&self, interaction: Interaction) -> bool {
        self.interactions.contains(interaction)
    }

    /// What narrows it to some resources of its type.
    #[must_use]
    pub const fn restriction(&self) -> Option<&Restriction> {
        self.restriction.as_ref()
    }

    fn names(&self, level: Level, resource_type: &str, interaction: Interaction) -> bool {
        self.level == level
            && self.is_for(interaction)
            && self.resource_type().is_none_or(|own| own == resource_type)
    }

    /// Whether everything that `other` grants is granted by this one alone.
    fn covers(&self, other: &Self) -> bool {
        let all_types = self.resource_type.is_none() || self.resource_type == other.resource_type;
        let all_interactions = self.interactions.0 | other.interactions.0 == self.interactions.0;
        let all_resources = self.restriction.is_none() || self.restriction == other.restriction;
        self.level == other.level && all_types && all_interactions && all_resources
    }
}

fn is_type_name(text: &str) -> bool {
    text.len() <= TYPE_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// One scope that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `launch`: the context in which a health record system launched the app.
    Launch,
    /// `launch/patient`: a patient as context.
    LaunchPatient,
    /// `launch/encounter`: an encounter as context.
    LaunchEncounter,
    /// `openid`: who signed in.
    OpenId,
    /// `fhirUser`: who signed in, as a FHIR resource.
    FhirUser,
    /// `profile`: the older companion of `openid`.
    Profile,
    /// `offline_access`: tokens while the person is away.
    OfflineAccess,
    /// `online_access`: tokens while the person is there.
    OnlineAccess,
    /// A scope for resources.
    Resources(ResourceScope),
}

impl Scope {
    /// Reads one scope; `None` for whatever is not understood, which therefore grants nothing.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "launch" => Some(Self::Launch),
            "launch/patient" => Some(Self::LaunchPatient),
            "launch/encounter" => Some(Self::LaunchEncounter),
            "openid" => Some(Self::OpenId),
            "fhirUser" => Some(Self::FhirUser),
            "profile" => Some(Self::Profile),
            "offline_access" => Some(Self::OfflineAccess),
            "online_access" => Some(Self::OnlineAccess),
            _ if text.len() <= SCOPES_BYTES_MAX => ResourceScope::parse(text).map(Self::Resources),
            _ => None,
        }
    }
}

/// What the scopes of a token reach of one resource type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// Nothing.
    Nothing,
    /// Only resources that match one of these restrictions, whichever.
    Only(Vec<&'a Restriction>),
    /// Every resource of the type, as far as consent goes.
    All,
}

/// Why a list of scopes is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// It is too long.
    #[error("the scopes are longer than {SCOPES_BYTES_MAX} bytes")]
    TooLong,
    /// It has too many.
    #[error("there are more than {SCOPES_MAX} scopes")]
    TooMany,
}

/// The scopes of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Reads scopes with spaces between them, and leaves out those that are not understood.
    ///
    /// # Errors
    ///
    /// [`ScopeError`] when there is more than is ever read; nothing is granted then.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        if text.len() > SCOPES_BYTES_MAX {
            return Err(ScopeError::TooLong);
        }
        let mut understood = Vec::new();
        for (before, word) in text.split_ascii_whitespace().enumerate() {
            if before == SCOPES_MAX {
                return Err(ScopeError::TooMany);
            }
            understood.extend(Scope::parse(word));
        }
        Ok(Self(understood))
    }

    /// Whether this interaction with every resource of the type may be asked for.
    ///
    /// Restricted scopes do not count: saying yes would widen them to the whole type. Levels do not
    /// stand in for each other. `resource_type` is `*` when something concerns every type at once,
    /// which only scopes for every type allow.
    #[must_use]
    pub fn allows(&self, level: Level, resource_type: &str, interaction: Interaction) -> bool {
        self.reach(level, resource_type, interaction) == Reach::All
    }

    /// What may be asked for by this interaction, for whoever can hold an answer to restrictions.
    #[must_use]
    pub fn reach(&self, level: Level, resource_type: &str, interaction: Interaction) -> Reach<'_> {
        let mut restrictions = Vec::new();
        for scope in self.resources().filter(|s| s.names(level, resource_type, interaction)) {
            match scope.restriction() {
                None => return Reach::All,
                Some(restriction) => restrictions.push(restriction),
            }
        }
        if restrictions.is_empty() { Reach::Nothing } else { Reach::Only(restrictions) }
    }

    /// The scopes that are understood, in the order given.
    #[must_use]
    pub fn as_slice(&self) -> &[Scope] {
        &self.0
    }

    /// Those for resources.
    pub fn resources(&self) -> impl Iterator<Item = &ResourceScope> {
        self.0.iter().filter_map(|scope| match scope {
            Scope::Resources(resources) => Some(resources),
            _ => None,
        })
    }

    /// Whether one of these scopes grants all that `scope` grants.
    #[must_use]
    pub fn covers(&self, scope: &Scope) -> bool {
        self.0.iter().any(|own| match (own, scope) {
            (Scope::Resources(own), Scope::Resources(other)) => own.covers(other),
            (own, other) => own == other,
        })
    }
}
