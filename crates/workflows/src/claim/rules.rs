//! What of a claim is approved, and why not the rest: one pure function over coverage, claim and tariff.
//!
//! The tariff is data (`tariff.json` beside this file has the demonstration's own). What was done comes from the
//! receipt and the order behind it, never from the claim. A claim that says more than that is *upcoded*: it is
//! flagged and cut to what was done, and a service is paid once, whatever codes it is claimed by. Amounts are whole
//! cents; what overflows is refused, not wrapped.

use std::{fmt, str::FromStr, sync::LazyLock};

use alloy_primitives::{B256, keccak256};
use serde::Deserialize;

use super::money::{Cents, WHOLE};

/// How many items a claim has at most.
pub const ITEMS_MAX: usize = 100;

/// How long a code is at most, in bytes.
pub const CODE_MAX: usize = 64;

/// Which workflow's receipt a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A completed fill.
    Prescription,
    /// A laboratory order with a result.
    LabOrder,
    /// An operation that was signed out.
    Surgery,
}

impl Source {
    /// As the contract counts them.
    ///
    /// # Source
    ///
    /// `Source` in `Claims.sol`.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Prescription => 0,
            Self::LabOrder => 1,
            Self::Surgery => 2,
        }
    }

    pub(super) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Prescription),
            1 => Some(Self::LabOrder),
            2 => Some(Self::Surgery),
            _ => None,
        }
    }
}

/// The text names no workflow that can be claimed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a service is a prescription, a lab-order or a surgery")]
pub struct UnknownSource;

impl FromStr for Source {
    type Err = UnknownSource;

    fn from_str(text: &str) -> Result<Self, UnknownSource> {
        match text {
            "prescription" => Ok(Self::Prescription),
            "lab-order" => Ok(Self::LabOrder),
            "surgery" => Ok(Self::Surgery),
            _ => Err(UnknownSource),
        }
    }
}

/// Why less is approved than claimed, as the contract has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No reason.
    pub const NONE: Self = Self(0);
    /// It was claimed before.
    pub const DUPLICATE: Self = Self(1);
    /// The claim says more than the record.
    pub const UPCODED: Self = Self(2);
    /// The policy does not cover it.
    pub const NOT_COVERED: Self = Self(4);
    /// It costs more than the policy pays.
    pub const EXCESSIVE: Self = Self(8);
    /// The patient says that it did not happen. Nobody but the patient gives it.
    pub const CONTESTED: Self = Self(128);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::DUPLICATE, "duplicate"),
        (Self::UPCODED, "upcoded"),
        (Self::NOT_COVERED, "not covered"),
        (Self::EXCESSIVE, "excessive"),
        (Self::CONTESTED, "contested"),
    ];

    /// Whether it has one of these.
    #[must_use]
    pub const fn has(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            Self::NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name).collect();
        f.pad(&if names.is_empty() { "no flags".to_owned() } else { names.join(", ") })
    }
}

/// What an insurer pays for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tariff {
    /// What it is, in words.
    pub about: String,
    /// Where it comes from.
    pub source: String,
    /// What is paid for.
    pub lines: Vec<Line>,
    /// What a policy can be.
    pub plans: Vec<Plan>,
    /// Of its text.
    #[serde(skip)]
    digest: B256,
}

/// One thing that is paid for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// By which it is claimed.
    pub code: String,
    /// For which services it can be claimed.
    pub service: Source,
    /// What it is, in words.
    pub text: String,
    /// What it is called in orders; nothing when it may accompany any of these services.
    pub words: Vec<String>,
    /// The most that is paid for a unit, in cents.
    pub cents: u64,
    /// How many units are paid for at most.
    pub most_units: u32,
}

/// What a policy excludes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Its name.
    pub plan: String,
    /// The codes that it does not cover.
    pub excluded: Vec<String>,
}

impl Plan {
    fn excludes(&self, line: &Line) -> bool {
        self.excluded.contains(&line.code)
    }
}

impl Line {
    const fn accompanies(&self) -> bool {
        self.words.is_empty()
    }

    fn names(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let words = text.split(|letter: char| !letter.is_alphanumeric());
        words.into_iter().any(|word| self.words.iter().any(|begin| word.starts_with(&**begin)))
    }
}

/// The tariff makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum TariffError {
    /// It is no JSON of this form.
    #[error("the tariff is not of the form that is expected")]
    Form(#[source] serde_json::Error),
    /// A code or a plan is there twice, or empty, or a plan excludes what there is not.
    #[error("the tariff names {0} twice, or not at all")]
    Name(String),
}

impl Tariff {
    /// Reads a tariff.
    ///
    /// # Errors
    ///
    /// [`TariffError`] when it makes no sense.
    pub fn parse(text: &str) -> Result<Self, TariffError> {
        let mut tariff: Self = serde_json::from_str(text).map_err(TariffError::Form)?;
        for line in &tariff.lines {
            let same = tariff.lines.iter().filter(|other| other.code == line.code).count();
            let is_lower =
                line.words.iter().all(|word| *word == word.to_lowercase() && !word.is_empty());
            if same != 1 || line.code.is_empty() || line.code.len() > CODE_MAX || !is_lower {
                return Err(TariffError::Name(line.code.clone()));
            }
        }
        for plan in &tariff.plans {
            let same = tariff.plans.iter().filter(|other| other.plan == plan.plan).count();
            let known = plan.excluded.iter().all(|code| tariff.line(code).is_some());
            if same != 1 || plan.plan.is_empty() || !known {
                return Err(TariffError::Name(plan.plan.clone()));
            }
        }
        tariff.digest = keccak256(text);
        Ok(tariff)
    }

    /// The demonstration's own.
    #[must_use]
    pub fn demonstration() -> &'static Self {
        static TARIFF: LazyLock<Tariff> = LazyLock::new(|| {
            let text = include_str!("tariff.json");
            Tariff::parse(text).expect("the tariff beside this file makes sense; a test reads it")
        });
        &TARIFF
    }

    /// What decisions name the rules by.
    #[must_use]
    pub const fn digest(&self) -> B256 {
        self.digest
    }

    /// A plan by its name.
    #[must_use]
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.plan == name)
    }

    fn line(&self, code: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.code == code)
    }
}

/// One thing that is claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// By the tariff.
    pub code: String,
    /// How many units.
    pub quantity: u32,
    /// For each.
    pub unit_price: Cents,
}

/// What a coverage pays.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// Of which plan it is.
    pub plan: &'a str,
    /// The patient's part, in hundredths of a percent.
    pub copayment: u16,
    /// The most that the insurer's share of this claim can be.
    pub remaining: Cents,
    /// What was granted for it beforehand.
    pub authorised: Option<Cents>,
}

/// What was done, by the receipt and the order behind it.
#[derive(Clone, Debug)]
pub struct Performed {
    /// In which workflow.
    pub source: Source,
    /// In the words of each document that tells of it: the order, and of an operation also its report. Empty words
    /// where an insurer reads neither.
    pub texts: Vec<String>,
    /// How many units.
    pub units: u32,
    /// Whether the patient says that it did not happen.
    pub contested: bool,
}

/// Why an item is approved as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The claim has it twice.
    Twice,
    /// The tariff does not know it.
    NotInTariff,
    /// The plan excludes it.
    Excluded,
    /// Something else was done.
    NotPerformed,
    /// Less was done.
    MoreThanPerformed {
        /// How many units.
        units: u32,
    },
    /// It is claimed as something else.
    Otherwise {
        /// What was done.
        code: String,
    },
    /// More units than are paid for.
    TooMany {
        /// How many are.
        units: u32,
    },
    /// It costs more than the tariff pays.
    AboveTariff {
        /// What it pays for a unit.
        most: Cents,
    },
    /// The patient says that it did not happen.
    Contested,
    /// The coverage does not pay that much any more.
    LimitReached,
    /// It was granted beforehand.
    Authorised,
    /// An adjudicator raised it.
    Raised,
}

impl Finding {
    /// The flag that goes with it, when it takes something away.
    #[must_use]
    pub const fn flag(&self) -> Flags {
        match self {
            Self::Twice => Flags::DUPLICATE,
            Self::NotInTariff | Self::Excluded => Flags::NOT_COVERED,
            Self::NotPerformed
            | Self::MoreThanPerformed { .. }
            | Self::Otherwise { .. }
            | Self::Contested => Flags::UPCODED,
            Self::TooMany { .. } | Self::AboveTariff { .. } | Self::LimitReached => {
                Flags::EXCESSIVE
            }
            Self::Authorised | Self::Raised => Flags::NONE,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Twice => f.write_str("the claim has it twice"),
            Self::NotInTariff => f.write_str("it is not in the tariff"),
            Self::Excluded => f.write_str("the plan does not cover it"),
            Self::NotPerformed => f.write_str("the record is of something else"),
            Self::MoreThanPerformed { units } => write!(f, "the record is of {units} units"),
            Self::Otherwise { code } => write!(f, "the record is of what {code} is for"),
            Self::TooMany { units } => write!(f, "at most {units} units are paid for"),
            Self::AboveTariff { most } => write!(f, "at most {most} is paid for a unit"),
            Self::Contested => f.write_str("the patient says that it did not happen"),
            Self::LimitReached => f.write_str("the limit of the coverage is reached"),
            Self::Authorised => f.write_str("it was granted beforehand"),
            Self::Raised => f.write_str("an adjudicator raised it"),
        }
    }
}

/// What comes of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// What is claimed for it.
    pub claimed: Cents,
    /// What is approved.
    pub approved: Cents,
    /// Why.
    pub findings: Vec<Finding>,
}

/// What comes of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjudication {
    /// Item by item, as the claim has them.
    pub items: Vec<Decided>,
    /// What is claimed in all.
    pub claimed: Cents,
    /// What is approved in all: at most that.
    pub approved: Cents,
    /// The insurer's part of it.
    pub share: Cents,
    copayment: u16,
}

/// Why nothing can be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RulesError {
    /// Amounts are larger than anybody counts.
    #[error("the amounts of the claim are too large to be counted")]
    Overflow,
    /// There are no items, or too many.
    #[error("a claim has from 1 to {ITEMS_MAX} items")]
    Items,
    /// The plan is not in the tariff.
    #[error("the tariff has no such plan")]
    UnknownPlan,
    /// The patient's part is more than a whole.
    #[error("a co-payment is at most a whole")]
    Copayment,
}

/// What is claimed in all.
///
/// # Errors
///
/// [`RulesError`] when that cannot be counted, or there is nothing.
pub fn total(items: &[Item]) -> Result<Cents, RulesError> {
    if items.is_empty() || items.len() > ITEMS_MAX {
        return Err(RulesError::Items);
    }
    let each = items.iter().map(|item| item.unit_price.times(item.quantity));
    let each: Option<Vec<Cents>> = each.collect();
    each.and_then(Cents::sum).ok_or(RulesError::Overflow)
}

/// Decides a claim by the rules.
///
/// # Errors
///
/// [`RulesError`] when the claim cannot be counted, or the coverage is of no plan of the tariff.
pub fn adjudicate(
    policy: &Policy<'_>,
    items: &[Item],
    performed: &Performed,
    tariff: &Tariff,
) -> Result<Adjudication, RulesError> {
    let claimed = total(items)?;
    let plan = tariff.plan(policy.plan).ok_or(RulesError::UnknownPlan)?;
    let mut decided = Vec::with_capacity(items.len());
    let mut given = 0;
    for (index, item) in items.iter().enumerate() {
        let is_twice = items[..index].iter().any(|earlier| earlier.code == item.code);
        decided.push(decide(item, is_twice, &mut given, plan, performed, tariff)?);
    }
    let mut made = Adjudication {
        items: decided,
        claimed,
        approved: Cents::ZERO,
        share: Cents::ZERO,
        copayment: policy.copayment,
    };
    made.sum_up()?;
    let unbound = Flags::DUPLICATE.and(Flags::UPCODED).and(Flags::EXCESSIVE);
    if let Some(granted) = policy.authorised
        && !made.found().has(unbound)
    {
        made.raise(granted, &Finding::Authorised)?;
    }
    made.cut(policy.remaining)?;
    Ok(made)
}

/// Decides one item; `given` is how many units of the service are paid for so far, under whatever code.
fn decide(
    item: &Item,
    is_twice: bool,
    given: &mut u32,
    plan: &Plan,
    performed: &Performed,
    tariff: &Tariff,
) -> Result<Decided, RulesError> {
    let claimed = item.unit_price.times(item.quantity).ok_or(RulesError::Overflow)?;
    let nothing = |finding| Ok(Decided { claimed, approved: Cents::ZERO, findings: vec![finding] });
    let Some(line) = tariff.line(&item.code) else { return nothing(Finding::NotInTariff) };
    if performed.contested {
        return nothing(Finding::Contested);
    }
    if line.service != performed.source {
        return nothing(Finding::NotPerformed);
    }
    if is_twice {
        return nothing(Finding::Twice);
    }
    let mut findings = Vec::new();
    let (mut price, mut most) = (line.cents, line.most_units);
    // What accompanies a service is in no record: the tariff alone bounds it.
    let (mut left, mut before) = (u32::MAX, 0);
    let mut is_excluded = plan.excludes(line);
    if !line.accompanies() {
        // No document makes it dearer than another says that it was.
        for text in performed.texts.iter().filter(|text| !line.names(text)) {
            // What was done, by its own words.
            let done = tariff.lines.iter().filter(|other| {
                other.service == performed.source && !other.accompanies() && other.names(text)
            });
            let done: Vec<&Line> = done.collect();
            is_excluded |= done.iter().any(|other| plan.excludes(other));
            // Of several lines for it, the cheapest.
            let Some(cheapest) = done.into_iter().min_by_key(|other| other.cents) else {
                return nothing(Finding::NotPerformed);
            };
            let otherwise = Finding::Otherwise { code: cheapest.code.clone() };
            if !findings.contains(&otherwise) {
                findings.push(otherwise);
            }
            (price, most) = (price.min(cheapest.cents), most.min(cheapest.most_units));
        }
        // The service is one, whatever codes it is claimed by.
        (left, before) = (performed.units.saturating_sub(*given), *given);
        if item.quantity > left {
            findings.push(Finding::MoreThanPerformed { units: performed.units });
        }
    }
    if is_excluded {
        findings.push(Finding::Excluded);
        return Ok(Decided { claimed, approved: Cents::ZERO, findings });
    }
    let (quantity, room) = (item.quantity.min(left), most.saturating_sub(before));
    if quantity > room {
        findings.push(Finding::TooMany { units: most });
    }
    if item.unit_price > Cents(price.into()) && price == line.cents {
        findings.push(Finding::AboveTariff { most: Cents(price.into()) });
    }
    let paid = quantity.min(room);
    if !line.accompanies() {
        *given += paid;
    }
    let approved = item.unit_price.min(Cents(price.into())).times(paid);
    Ok(Decided { claimed, approved: approved.ok_or(RulesError::Overflow)?, findings })
}

impl Adjudication {
    /// Why less is approved than claimed; nothing when it is not less.
    #[must_use]
    pub fn flags(&self) -> Flags {
        if self.approved == self.claimed { Flags::NONE } else { self.found() }
    }

    /// The patient's part of what is approved.
    #[must_use]
    pub const fn copayment(&self) -> Cents {
        self.approved.less(self.share)
    }

    /// Raises what is approved to `least`, or to all that is claimed, item by item.
    ///
    /// # Errors
    ///
    /// [`RulesError::Overflow`] when that cannot be counted.
    pub fn raise_to(&mut self, least: Cents) -> Result<(), RulesError> {
        self.raise(least, &Finding::Raised)
    }

    fn found(&self) -> Flags {
        let all = self.items.iter().flat_map(|item| &item.findings);
        all.fold(Flags::NONE, |flags, finding| flags.and(finding.flag()))
    }

    fn raise(&mut self, least: Cents, why: &Finding) -> Result<(), RulesError> {
        let mut missing = least.min(self.claimed).less(self.approved);
        for item in &mut self.items {
            let more = item.claimed.less(item.approved).min(missing);
            if more > Cents::ZERO {
                item.approved = item.approved.plus(more).ok_or(RulesError::Overflow)?;
                item.findings.push(why.clone());
                missing = missing.less(more);
            }
        }
        self.sum_up()
    }

    /// Cuts what is approved until the insurer's share is at most `remaining`, from the last item on.
    fn cut(&mut self, remaining: Cents) -> Result<(), RulesError> {
        if self.share <= remaining {
            return Ok(());
        }
        // The largest amount of which the share, rounded down, is still within: not whole when it is here.
        let insured = u128::from(WHOLE - self.copayment);
        let room = remaining.0.checked_add(1).and_then(|more| more.checked_mul(WHOLE.into()));
        let most = Cents(room.ok_or(RulesError::Overflow)?.div_ceil(insured) - 1);
        let mut excess = self.approved.less(most);
        for item in self.items.iter_mut().rev() {
            let less = item.approved.min(excess);
            if less > Cents::ZERO {
                item.approved = item.approved.less(less);
                item.findings.push(Finding::LimitReached);
                excess = excess.less(less);
            }
        }
        self.sum_up()
    }

    fn sum_up(&mut self) -> Result<(), RulesError> {
        if self.copayment > WHOLE {
            return Err(RulesError::Copayment);
        }
        let approved = Cents::sum(self.items.iter().map(|item| item.approved));
        self.approved = approved.ok_or(RulesError::Overflow)?;
        self.share = self.approved.share(self.copayment).ok_or(RulesError::Overflow)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
