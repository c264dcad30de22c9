//! Where the walk is: a path that costs nothing until somebody wants to read it.

use std::fmt;

/// How long a name of an element may be to be shown. The longest of R4 has 39 characters.
const NAME_LENGTH_MAX: usize = 64;

/// A place in a resource; each place knows the one around it.
pub(crate) struct Path<'a> {
    around: Option<&'a Path<'a>>,
    step: Step<'a>,
    depth: usize,
}

enum Step<'a> {
    Name(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(crate) const fn root(name: &'a str) -> Self {
        Self { around: None, step: Step::Name(name), depth: 0 }
    }

    pub(crate) const fn name<'b>(&'b self, name: &'b str) -> Path<'b> {
        Path { around: Some(self), step: Step::Name(name), depth: self.depth + 1 }
    }

    pub(crate) const fn index(&self, index: usize) -> Path<'_> {
        Path { around: Some(self), step: Step::Index(index), depth: self.depth }
    }

    /// How many names are before this one.
    pub(crate) const fn depth(&self) -> usize {
        self.depth
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(around) = self.around {
            around.fmt(f)?;
        }
        match self.step {
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Name(name) => {
                let dot = if self.around.is_some() { "." } else { "" };
                write!(f, "{dot}{}", shown(name))
            }
        }
    }
}

/// The name if it looks like one: anything may stand before a colon in JSON.
fn shown(name: &str) -> &str {
    let is_name = name.len() <= NAME_LENGTH_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name { name } else { "(unnamed)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_like_fhirpath() {
        let root = Path::root("Observation");
        let component = root.name("component");
        let first = component.index(0);
        assert_eq!(first.name("code").to_string(), "Observation.component[0].code");
        assert_eq!(first.name("Mary O'Hara").to_string(), "Observation.component[0].(unnamed)");
    }
}
