//! Tell people and systems that something is there for them.
