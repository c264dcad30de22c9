//! Tell who asks, by a SMART token.
