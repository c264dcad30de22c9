//! JSON objects whose members stay as they were written.
//!
//! A resource is given back as it came in: the order of its members, the digits of its decimals, members
//! that nobody here knows. So the server changes the text of the few members that it sets, and no other.

use std::{collections::HashSet, fmt};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A JSON object, member by member.
#[derive(Clone, Debug, Default)]
pub struct RawObject(Vec<(String, Box<RawValue>)>);

impl RawObject {
    /// Reads an object.
    ///
    /// # Errors
    ///
    /// `serde_json`'s, also when a name comes twice: FHIR forbids it, and readers would differ on which
    /// of both counts. Its text may quote the document; show its place only.
    pub fn parse(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// A member as it was written.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, value)| &**value)
    }

    /// A member that is a string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// The members, in their order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    /// Sets a member. A new one comes after the member `after`, or first when there is none.
    pub fn set(&mut self, name: &str, value: &impl serde::Serialize, after: &str) {
        let value = serde_json::value::to_raw_value(value).expect("plain values have a JSON form");
        match self.0.iter_mut().find(|(member, _)| member == name) {
            Some((_, old)) => *old = value,
            None => {
                let before = self.0.iter().position(|(member, _)| member == after);
                self.0.insert(before.map_or(0, |place| place + 1), (name.into(), value));
            }
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(member, _)| member != name);
    }

    /// Keeps only the members that `keep` says.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|(member, _)| keep(member));
    }
}

impl serde::Serialize for RawObject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl fmt::Display for RawObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = RawObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut members: Vec<(String, Box<RawValue>)> = Vec::new();
                let mut names = HashSet::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom("a name comes twice"));
                    }
                    members.push((name, value));
                }
                Ok(RawObject(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays_as_it_was_written() {
        let mut object =
            RawObject::parse(br#"{"resourceType": "X", "v": 1.10, "w": [ 1e2 ]}"#).unwrap();
        object.set("id", &"a", "resourceType");
        object.set("v2", &true, "nothing");
        assert_eq!(
            object.to_string(),
            r#"{"v2":true,"resourceType":"X","id":"a","v":1.10,"w":[ 1e2 ]}"#
        );
    }

    #[test]
    fn names_that_come_twice_are_refused() {
        assert!(RawObject::parse(br#"{"a":1,"a":2}"#).is_err());
        assert!(RawObject::parse(b"[1]").is_err());
    }
}
