//! Enumerations whose numbers are fixed because contracts, stored records and other programs use
//! them: a number, once given, keeps its meaning forever.

/// A number that names nothing in the enumeration it was read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{number} is no {of}")]
pub struct UnknownNumber {
    /// What was expected, such as `record kind`.
    pub of: &'static str,
    /// The number found.
    pub number: u8,
}

/// Declares an enumeration with fixed numbers and one text name each.
macro_rules! numbered {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $of:literal {
            $( $(#[$variant_meta:meta])* $variant:ident = $number:literal $text:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[repr(u8)]
        pub enum $name {
            $( $(#[$variant_meta])* $variant = $number, )+
        }

        impl $name {
            /// Every value, in the order of the numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number that contracts and stored records use.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The name that people read and type.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl TryFrom<u8> for $name {
            type Error = $crate::UnknownNumber;

            fn try_from(number: u8) -> Result<Self, Self::Error> {
                match number {
                    $($number => Ok(Self::$variant),)+
                    _ => Err($crate::UnknownNumber { of: $of, number }),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            /// Parses the name that [`Self::name`] gives.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.name() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|value| value.name()).collect();
                    format!("`{text}` is no {}; one of: {}", $of, names.join(", "))
                })
            }
        }
    };
}

/// Declares a set over a `numbered!` enumeration: bit `n` is the value with number `n`.
macro_rules! numbered_set {
    ($(#[$meta:meta])* pub struct $set:ident($bits:ty) of $name:ident;) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $set($bits);

        impl $set {
            /// The set without members.
            pub const EMPTY: Self = Self(0);

            /// The set of every value there is.
            pub const ALL: Self = Self::of($name::ALL);

            /// The set of the given values.
            #[must_use]
            pub const fn of(values: &[$name]) -> Self {
                let mut bits = 0;
                let mut index = 0;
                while index < values.len() {
                    bits |= 1 << values[index].number();
                    index += 1;
                }
                Self(bits)
            }

            /// The set as contracts hold it. Bits that name nothing here are kept.
            #[must_use]
            pub const fn from_bits(bits: $bits) -> Self {
                Self(bits)
            }

            /// The set as contracts hold it.
            #[must_use]
            pub const fn bits(self) -> $bits {
                self.0
            }

            /// Whether `value` is in the set.
            #[must_use]
            pub const fn contains(self, value: $name) -> bool {
                self.0 >> value.number() & 1 == 1
            }

            /// Whether the set has no members.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// What is in both sets.
            #[must_use]
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// What is in either set.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// What is in this set and not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// The members, in the order of their numbers.
            pub fn iter(self) -> impl Iterator<Item = $name> {
                $name::ALL.iter().copied().filter(move |value| self.contains(*value))
            }
        }

        impl FromIterator<$name> for $set {
            fn from_iter<I: IntoIterator<Item = $name>>(values: I) -> Self {
                values.into_iter().fold(Self::EMPTY, |set, value| set.union(Self::of(&[value])))
            }
        }

        impl std::fmt::Display for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let names: Vec<_> = self.iter().map($name::name).collect();
                f.write_str(&names.join(", "))
            }
        }

        impl std::fmt::Debug for $set {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{{{self}}}")
            }
        }
    };
}

pub(crate) use {numbered, numbered_set};
