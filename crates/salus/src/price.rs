//! What gas would cost on a public chain.

/// Prices at which gas is turned into money.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Price {
    /// Price of gas, in gwei.
    pub(crate) gwei: f64,
    /// Price of ether, in US dollars.
    pub(crate) usd_per_ether: f64,
}

impl Default for Price {
    /// The average of 2 June 2026.
    ///
    /// # Source
    ///
    /// Etherscan, daily average gas price (1,366,606,750 wei) and ether price (1,857.16 dollars).
    fn default() -> Self {
        Self { gwei: 1.367, usd_per_ether: 1_857.16 }
    }
}

impl Price {
    /// What `gas` costs, in US dollars.
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits only")]
    pub(crate) fn usd(&self, gas: u64) -> f64 {
        gas as f64 * self.gwei * 1e-9 * self.usd_per_ether
    }
}
