//! Measure what each use case costs on chain.
//!
//! Nothing here is estimated: what has a price was executed, signed, on the real machine, and the gas is the
//! receipt's.

pub mod execute;
pub mod figures;
pub mod fit;
pub mod gather;
pub mod lists;
pub mod manifest;
pub mod prices;
pub mod report;
pub mod results;
pub mod row;
pub mod run;
pub mod simulate;
pub mod tables;
pub mod tally;
pub mod workload;
