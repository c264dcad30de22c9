//! Measure what each use case costs on chain.
//!
//! Nothing here is estimated: what has a price was executed, signed, on the real machine, and the gas is the
//! receipt's.

pub mod row;
pub mod tally;
pub mod lists;
pub mod workload;
pub mod execute;
pub mod fit;
pub mod prices;
pub mod results;
pub mod gather;
pub mod tables;
pub mod report;
pub mod manifest;
pub mod figures;
pub mod run;
pub mod simulate;
