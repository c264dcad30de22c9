//! Which counts and extracts a source may give without telling of few people. Pure: sets of people in, a count or a
//! refusal out.
//!
//! A count is rounded down to a multiple of [`CELL`], and fewer than that are never told. That alone does not
//! keep somebody from asking twice for nearly the same people: "with diabetes", and "with diabetes, without
//! asthma". So each question is held against all that was answered of the same study, and against the whole
//! of those who consented, whom everybody can count on chain: two such sets differ by at least [`CELL`] people. When
//! the one is within the other, these are the cell that a subtraction gives; also when they are the same, because
//! a cell of nobody is small as well: what all have who consented, is known of each of them.
//!
//! Fewer than [`CELL`] are always answered alike, and compared with nothing: whether somebody is one of a few must
//! not be seen by whether a later question is refused.
//!
//! Who came or went since an earlier answer, everybody can see on chain. When these are few, two answers to one
//! question would tell of them, whatever else is asked: so counts with criteria wait until nobody, or at least
//! [`CELL`] people, came or went. How many consented is always told.
//!
//! An extract is held against all that too, because who is in one and not in another is seen by the pseudonyms: it
//! differs by nobody, under the same criteria, or by at least [`CELL`], of those who consented both then and now. Who
//! came or went in between did so for everybody to see, and whoever went has to be missing from the next extract.
//! The people who are really in it, when some have nothing that can be given out, are held against those of others.
//!
//! A refusal says that between two sets there are fewer than [`CELL`] people, and whoever knows all but one
//! of them learns of that one. So only [`REFUSALS_MAX`] questions with criteria are refused; then none is
//! answered any more. Three counts and more can still be added and subtracted; what keeps these from coming out is
//! that they are rounded.

use std::collections::BTreeSet;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

/// The smallest number of people that is told.
///
/// # Source
///
/// `CELL` in `DataExchange.sol`.
pub const CELL: usize = 5;

/// How many questions of one study a source answers.
///
/// # Source
///
/// `MAX_QUERIES` in `DataExchange.sol`.
const QUESTIONS_MAX: usize = 64;

/// How many questions of one study with criteria a source refuses, before it answers none any more: enough for
/// those who do not know what is too close, and few to find somebody out with.
const REFUSALS_MAX: usize = 8;

/// Why a source told nothing. It says of nobody who, or how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It would differ from what was told before by a small cell.
    #[error(
        "withheld: from what was told before, or from all who consented, it differs by fewer than {CELL} people"
    )]
    TooClose,
    /// Few came or went since others were answered: who, everybody can see.
    #[error(
        "withheld: since an earlier question fewer than {CELL} people, and not none, came or went"
    )]
    TooSoon,
    /// As many questions were answered, or refused, as may be.
    #[error("withheld: as many questions of this study were answered or refused as may be")]
    TooMany,
    /// An extract would be of a small cell.
    #[error("withheld: fewer than {CELL} people are in it")]
    TooFew,
}

/// What is told of a cohort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Fewer than [`CELL`], which may be nobody.
    Suppressed,
    /// At least so many: a multiple of [`CELL`].
    AtLeast(u32),
}

impl Count {
    /// What may be told of a number of people.
    #[must_use]
    pub fn of(people: usize) -> Self {
        match u32::try_from(people - people % CELL) {
            Ok(0) => Self::Suppressed,
            Ok(rounded) => Self::AtLeast(rounded),
            // More people than there are; a multiple of the cell, too.
            Err(_) => Self::AtLeast(u32::MAX),
        }
    }

    /// As the contract holds it.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Suppressed => 0,
            Self::AtLeast(rounded) => rounded,
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Suppressed => write!(f, "fewer than {CELL}"),
            Self::AtLeast(rounded) => write!(f, "at least {rounded}"),
        }
    }
}

/// Of whom is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Of all who consented: everybody can count them on chain.
    Everybody,
    /// Of those who fit criteria, which this names.
    Fitting(B256),
}

/// An answer that was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered<T: Ord> {
    /// Of whom was asked.
    pub scope: Scope,
    /// Who they were.
    pub cohort: BTreeSet<T>,
    /// Who of them is in the extract; nobody for a count.
    pub given: BTreeSet<T>,
    /// Who had consented then.
    pub population: BTreeSet<T>,
    /// What was told, as the contract holds it; nothing for an extract.
    pub told: Option<u32>,
}

/// Remembers what was answered of one study.
#[derive(Clone, Debug, Default)]
pub struct Auditor<T: Ord> {
    answered: Vec<Answered<T>>,
    refusals: usize,
}

impl<T: Ord + Clone> Auditor<T> {
    /// An auditor who knows what was answered before, and how many questions with criteria were refused.
    #[must_use]
    pub const fn of(answered: Vec<Answered<T>>, refusals: usize) -> Self {
        Self { answered, refusals }
    }

    /// What may be told of a cohort, which is remembered then. `population` is everybody who consented.
    ///
    /// # Errors
    ///
    /// [`Withheld`]; then nothing was told, and only that is remembered.
    pub fn count(
        &mut self,
        scope: Scope,
        population: &BTreeSet<T>,
        cohort: &BTreeSet<T>,
    ) -> Result<(Count, Answered<T>), Withheld> {
        self.require_patience(scope)?;
        if self.answered.iter().filter(|one| one.told.is_some()).count() >= QUESTIONS_MAX {
            return Err(Withheld::TooMany);
        }
        let count = Count::of(cohort.len());
        if scope != Scope::Everybody {
            let is_too_soon = |one: &Answered<T>| {
                let is_of_all = one.scope == Scope::Everybody && one.told.is_some();
                let moved = population.symmetric_difference(&one.population).count();
                !is_of_all && (1..CELL).contains(&moved)
            };
            // It depends on nobody's records, and so is no refusal to count.
            if self.answered.iter().any(is_too_soon) {
                return Err(Withheld::TooSoon);
            }
        }
        if scope != Scope::Everybody && count != Count::Suppressed {
            let differs = |other: &BTreeSet<T>| cohort.symmetric_difference(other).count();
            let is_too_close = |one: &Answered<T>| match (differs(&one.cohort), one.told) {
                // Of an extract, everybody knows how many they are, and what was asked for.
                (0, None) => scope != one.scope,
                (difference, _) => difference < CELL,
            };
            if differs(population) < CELL || self.compared().any(is_too_close) {
                return Err(self.refuse(scope, Withheld::TooClose));
            }
        }
        let (cohort, told) = (cohort.clone(), Some(count.number()));
        let population = population.clone();
        let answered = Answered { scope, cohort, given: BTreeSet::new(), population, told };
        self.answered.push(answered.clone());
        Ok((count, answered))
    }

    /// Whether an extract of a cohort may be made.
    ///
    /// # Errors
    ///
    /// [`Withheld`]; then nothing was given, and only that is remembered.
    pub fn may_extract(
        &mut self,
        scope: Scope,
        population: &BTreeSet<T>,
        cohort: &BTreeSet<T>,
    ) -> Result<(), Withheld> {
        self.require_patience(scope)?;
        if cohort.len() < CELL {
            return Err(self.refuse(scope, Withheld::TooFew));
        }
        let is_too_close = |one: &Answered<T>| match differing(
            (cohort, population),
            (&one.cohort, &one.population),
        ) {
            0 => scope != Scope::Everybody && scope != one.scope,
            difference => difference < CELL,
        };
        let left_out = population.difference(cohort).count();
        let is_nearly_all = scope != Scope::Everybody && left_out < CELL;
        if is_nearly_all || self.compared().any(is_too_close) {
            return Err(self.refuse(scope, Withheld::TooClose));
        }
        Ok(())
    }

    /// Whether an extract may be given out in which `given` of a cohort are, which is remembered then.
    ///
    /// # Errors
    ///
    /// [`Withheld`]; then nothing was given, and only that is remembered.
    pub fn extract(
        &mut self,
        scope: Scope,
        population: &BTreeSet<T>,
        cohort: &BTreeSet<T>,
        given: &BTreeSet<T>,
    ) -> Result<Answered<T>, Withheld> {
        self.may_extract(scope, population, cohort)?;
        if given.len() < CELL {
            return Err(self.refuse(scope, Withheld::TooFew));
        }
        let is_too_close = |one: &Answered<T>| {
            let difference = differing((given, population), (&one.given, &one.population));
            one.told.is_none() && (1..CELL).contains(&difference)
        };
        if self.compared().any(is_too_close) {
            return Err(self.refuse(scope, Withheld::TooClose));
        }
        let (cohort, given) = (cohort.clone(), given.clone());
        let answered =
            Answered { scope, cohort, given, population: population.clone(), told: None };
        self.answered.push(answered.clone());
        Ok(answered)
    }

    /// What others are compared with: all but counts of few.
    fn compared(&self) -> impl Iterator<Item = &Answered<T>> {
        self.answered.iter().filter(|one| one.told != Some(Count::Suppressed.number()))
    }

    fn require_patience(&self, scope: Scope) -> Result<(), Withheld> {
        if scope != Scope::Everybody && self.refusals >= REFUSALS_MAX {
            return Err(Withheld::TooMany);
        }
        Ok(())
    }

    /// Whoever asks for everybody chooses nobody, and so finds nobody out.
    fn refuse(&mut self, scope: Scope, why: Withheld) -> Withheld {
        self.refusals += usize::from(scope != Scope::Everybody);
        why
    }
}

/// How many are in one of two sets only, of those who consented both times.
fn differing<T: Ord>(
    (one, population): (&BTreeSet<T>, &BTreeSet<T>),
    (other, earlier): (&BTreeSet<T>, &BTreeSet<T>),
) -> usize {
    let is_in_both = |person: &&T| population.contains(*person) && earlier.contains(*person);
    one.symmetric_difference(other).filter(is_in_both).count()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn set(people: impl IntoIterator<Item = u8>) -> BTreeSet<u8> {
        people.into_iter().collect()
    }

    /// Of those who fit criteria that nobody else asked for.
    const FITTING: Scope = Scope::Fitting(B256::repeat_byte(1));

    fn told<T>(counted: Result<(Count, T), Withheld>) -> Result<Count, Withheld> {
        counted.map(|(count, _)| count)
    }

    /// What comes of questions, asked one after the other of a population of twenty.
    #[track_caller]
    fn check(cohorts: &[BTreeSet<u8>], expected: &[Result<Count, Withheld>]) {
        let mut auditor = Auditor::default();
        let population = set(0..20);
        let all: Vec<_> = cohorts
            .iter()
            .map(|cohort| told(auditor.count(FITTING, &population, cohort)))
            .collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn counts_are_rounded_down_and_small_ones_suppressed() {
        check(&[set(0..14)], &[Ok(Count::AtLeast(10))]);
        check(&[set(0..5)], &[Ok(Count::AtLeast(5))]);
        check(&[set(0..4)], &[Ok(Count::Suppressed)]);
        check(&[set([])], &[Ok(Count::Suppressed)]);
        assert_eq!(Count::of(usize::MAX), Count::AtLeast(u32::MAX));
        assert_eq!(u32::MAX as usize % CELL, 0, "and so it is a multiple");
    }

    #[test]
    fn a_question_with_one_less_is_refused() {
        check(&[set(0..10), set(0..9)], &[Ok(Count::AtLeast(10)), Err(Withheld::TooClose)]);
        check(&[set(0..10), set(0..5)], &[Ok(Count::AtLeast(10)), Ok(Count::AtLeast(5))]);
    }

    #[test]
    fn the_same_people_under_another_question_are_refused() {
        check(&[set(0..10), set(0..10)], &[Ok(Count::AtLeast(10)), Err(Withheld::TooClose)]);
    }

    #[test]
    fn all_but_a_few_are_refused() {
        check(&[set(1..20)], &[Err(Withheld::TooClose)]);
        check(&[set(5..20)], &[Ok(Count::AtLeast(15))]);
        let population = set(0..20);
        let mut auditor = Auditor::default();
        auditor.may_extract(FITTING, &population, &set(5..20)).unwrap();
        let nearly = auditor.may_extract(FITTING, &population, &set(1..20));
        assert_eq!(nearly, Err(Withheld::TooClose));
    }

    #[test]
    fn what_everybody_has_is_told_of_nobody() {
        check(&[set(0..20)], &[Err(Withheld::TooClose)]);
        let (mut auditor, population) = (Auditor::default(), set(0..20));
        let all = auditor.may_extract(FITTING, &population, &population);
        assert_eq!(all, Err(Withheld::TooClose));
        let counted = auditor.count(Scope::Everybody, &population, &population);
        assert_eq!(told(counted), Ok(Count::AtLeast(20)), "that is public");
        auditor.extract(Scope::Everybody, &population, &population, &population).unwrap();
        // What all in an extract have, who are not all who consented, is another matter of the same kind.
        let (other, some) = (Scope::Fitting(B256::repeat_byte(2)), set(0..10));
        auditor.extract(FITTING, &population, &some, &some).unwrap();
        let counted = auditor.count(other, &population, &some);
        assert_eq!(told(counted), Err(Withheld::TooClose));
        assert_eq!(auditor.may_extract(other, &population, &some), Err(Withheld::TooClose));
        auditor.extract(FITTING, &population, &some, &some).unwrap();
    }

    #[test]
    fn whether_one_of_few_is_in_another_set_is_not_seen() {
        let population = set(0..20);
        for one in [0, 19] {
            let mut auditor = Auditor::default();
            auditor.extract(FITTING, &population, &set(0..5), &set(0..5)).unwrap();
            let counted = auditor.count(FITTING, &population, &set([one]));
            assert_eq!(told(counted), Ok(Count::Suppressed), "in the extract or not");
            // And the other way round.
            let mut auditor = Auditor::default();
            auditor.count(FITTING, &population, &set([one])).unwrap();
            auditor.extract(FITTING, &population, &set(0..5), &set(0..5)).unwrap();
            let counted = auditor.count(FITTING, &population, &set(5..12));
            assert_eq!(told(counted), Ok(Count::AtLeast(5)));
        }
    }

    #[test]
    fn refusals_come_to_an_end() {
        let population = set(0..40);
        let mut auditor = Auditor::default();
        auditor.count(FITTING, &population, &set(0..10)).unwrap();
        for _ in 0..REFUSALS_MAX {
            let close = auditor.count(FITTING, &population, &set(0..9));
            assert_eq!(told(close), Err(Withheld::TooClose));
        }
        for cohort in [set(0..9), set(0..20), set([])] {
            let counted = auditor.count(FITTING, &population, &cohort);
            assert_eq!(told(counted), Err(Withheld::TooMany));
            assert_eq!(auditor.may_extract(FITTING, &population, &cohort), Err(Withheld::TooMany));
        }
        auditor.count(Scope::Everybody, &population, &population).unwrap();
        auditor.extract(Scope::Everybody, &population, &population, &population).unwrap();
    }

    #[test]
    fn who_is_really_in_two_extracts_differs_by_nobody_or_enough() {
        let population = set(0..40);
        let mut auditor = Auditor::default();
        auditor.extract(FITTING, &population, &set(0..10), &set(0..7)).unwrap();
        let other = Scope::Fitting(B256::repeat_byte(2));
        let cohort = set(0..15);
        let one_more = auditor.extract(other, &population, &cohort, &set(0..8));
        assert_eq!(one_more, Err(Withheld::TooClose), "fifteen fit, and eight are in it");
        let few = auditor.extract(other, &population, &cohort, &set(0..4));
        assert_eq!(few, Err(Withheld::TooFew));
        auditor.extract(other, &population, &cohort, &set(0..15)).unwrap();
    }

    #[test]
    fn what_would_single_out_one_is_refused_by_the_questions_beside() {
        let (one, other) = (set(0..10), set(1..15));
        // Neither is within the other, so nothing comes of subtracting. What is in both, or in either, would be.
        let told = [
            Ok(Count::AtLeast(10)),
            Ok(Count::AtLeast(10)),
            Err(Withheld::TooClose),
            Err(Withheld::TooClose),
        ];
        check(&[one, other, set(1..10), set(0..15)], &told);
    }

    #[test]
    fn few_among_others_do_not_keep_others_from_being_told() {
        let told = [Ok(Count::Suppressed), Ok(Count::AtLeast(5)), Ok(Count::Suppressed)];
        check(&[set(0..2), set(10..16), set(0..3)], &told);
    }

    #[test]
    fn what_was_refused_is_not_remembered() {
        let told = [Ok(Count::AtLeast(10)), Err(Withheld::TooClose), Ok(Count::AtLeast(5))];
        check(&[set(0..10), set(0..9), set(0..5)], &told);
    }

    #[test]
    fn questions_come_to_an_end() {
        let population: BTreeSet<u32> = (0..1_000).collect();
        let mut auditor = Auditor::default();
        for number in 0..64 {
            let cohort = (0..5 + 5 * number).collect();
            auditor.count(FITTING, &population, &cohort).unwrap();
        }
        let more = (0..600).collect();
        assert_eq!(told(auditor.count(FITTING, &population, &more)), Err(Withheld::TooMany));
    }

    /// An extract in which all are who fit.
    fn extract(
        auditor: &mut Auditor<u8>,
        population: &BTreeSet<u8>,
        cohort: &BTreeSet<u8>,
    ) -> Result<(), Withheld> {
        auditor.extract(FITTING, population, cohort, cohort).map(drop)
    }

    #[test]
    fn extracts_do_not_single_anybody_out() {
        let (mut auditor, population) = (Auditor::default(), set(0..20));
        let auditor = &mut auditor;
        assert_eq!(extract(auditor, &population, &set(0..4)), Err(Withheld::TooFew));
        extract(auditor, &population, &set(0..10)).unwrap();
        // The same again says nothing new; with one less it says who that is.
        extract(auditor, &population, &set(0..10)).unwrap();
        assert_eq!(extract(auditor, &population, &set(0..9)), Err(Withheld::TooClose));
        assert_eq!(extract(auditor, &population, &set(1..20)), Err(Withheld::TooClose));
        let count =
            |auditor: &mut Auditor<u8>, cohort| told(auditor.count(FITTING, &population, &cohort));
        assert_eq!(count(auditor, set(0..9)), Err(Withheld::TooClose));
        assert_eq!(count(auditor, set(0..10)), Ok(Count::AtLeast(10)));
        assert_eq!(extract(auditor, &population, &set(0..11)), Err(Withheld::TooClose));
    }

    #[test]
    fn whoever_went_is_missing_and_whoever_came_is_there() {
        let mut auditor = Auditor::default();
        let with_20 = |people: BTreeSet<u8>| people.union(&set([20])).copied().collect();
        extract(&mut auditor, &set(0..20), &set(0..10)).unwrap();
        extract(&mut auditor, &set(1..20), &set(1..10)).unwrap();
        extract(&mut auditor, &set(1..21), &with_20(set(1..10))).unwrap();
        let but_one = with_20(set(2..10));
        assert_eq!(extract(&mut auditor, &set(1..21), &but_one), Err(Withheld::TooClose));
    }

    #[test]
    fn whoever_comes_or_goes_alone_is_not_told_by_a_count() {
        // Five fit, and then four, or the other way round: that would be told of who went, or came.
        let (four, five, few) = (set(1..5), set(0..5), set(1..20));
        for (before, after) in
            [((set(0..20), &five), (few.clone(), &four)), ((few, &four), (set(0..20), &five))]
        {
            let mut auditor = Auditor::default();
            auditor.count(FITTING, &before.0, before.1).unwrap();
            for scope in [FITTING, Scope::Fitting(B256::repeat_byte(2))] {
                for cohort in [after.1.clone(), set([]), set(5..15)] {
                    let counted = auditor.count(scope, &after.0, &cohort);
                    assert_eq!(told(counted), Err(Withheld::TooSoon), "whoever fits");
                }
            }
            let counted = auditor.count(Scope::Everybody, &after.0, &after.0);
            assert!(counted.is_ok(), "that is public");
            let others = after.0.union(&set(30..35)).copied().collect();
            let counted = auditor.count(FITTING, &others, &set(10..20));
            assert_eq!(told(counted), Ok(Count::AtLeast(10)), "with five more");
        }
        let mut auditor = Auditor::default();
        let everybody = set(0..20);
        auditor.extract(Scope::Everybody, &everybody, &everybody, &everybody).unwrap();
        let counted = auditor.count(FITTING, &set(1..20), &four);
        assert_eq!(told(counted), Err(Withheld::TooSoon), "an extract tells exactly");
    }

    /// A question about a population of forty: somebody else's, or one that is nearly one before.
    #[derive(Clone, Debug)]
    enum Asked {
        Fresh(u64),
        Like { earlier: prop::sample::Index, changed: Vec<u8> },
        Complement { earlier: prop::sample::Index },
    }

    fn asked() -> impl Strategy<Value = Asked> {
        prop_oneof![
            any::<u64>().prop_map(Asked::Fresh),
            (any::<prop::sample::Index>(), vec(0..40_u8, 0..7))
                .prop_map(|(earlier, changed)| Asked::Like { earlier, changed }),
            any::<prop::sample::Index>().prop_map(|earlier| Asked::Complement { earlier }),
        ]
    }

    /// Who comes or goes: mostly nobody, sometimes few, sometimes enough.
    fn toggled() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![6 => Just(Vec::new()), 1 => vec(0..40_u8, 1..3), 1 => vec(0..40_u8, 6..12)]
    }

    proptest! {
        /// X3: from no two counts that were told, nor from one and all who consented, does a cell of fewer than
        /// five people follow; patients come and go meanwhile.
        #[test]
        fn no_difference_of_two_answers_is_a_small_cell(
            asked in vec((asked(), toggled()), 1..60),
        ) {
            let mut population: BTreeSet<u8> = (0..40).collect();
            let mut auditor = Auditor::default();
            let (mut known, mut all): (Vec<BTreeSet<u8>>, Vec<BTreeSet<u8>>) = Default::default();
            let mut populations: Vec<BTreeSet<u8>> = Vec::new();
            for (asked, toggled) in asked {
                for person in toggled {
                    if !population.remove(&person) {
                        population.insert(person);
                    }
                }
                let mut cohort = match asked {
                    Asked::Fresh(bits) => (0..40).filter(|bit| bits >> bit & 1 == 1).collect(),
                    Asked::Like { .. } | Asked::Complement { .. } if all.is_empty() => continue,
                    Asked::Like { earlier, changed } => {
                        let mut cohort = earlier.get(&all).clone();
                        for person in changed {
                            if !cohort.remove(&person) {
                                cohort.insert(person);
                            }
                        }
                        cohort
                    }
                    Asked::Complement { earlier } => {
                        population.difference(earlier.get(&all)).copied().collect()
                    }
                };
                // Whoever does not consent is never counted.
                cohort.retain(|person| population.contains(person));
                all.push(cohort.clone());
                let counted = auditor.count(FITTING, &population, &cohort);
                if counted == Err(Withheld::TooMany) {
                    // Another who is as patient, and knows all that was told.
                    auditor = Auditor::of(auditor.answered, 0);
                }
                let Ok((count, _)) = counted else { continue };
                let told = usize::try_from(count.number()).unwrap();
                prop_assert!(told % CELL == 0 && told <= cohort.len() && cohort.len() < told + CELL);
                for other in &populations {
                    let moved = population.symmetric_difference(other).count();
                    prop_assert!(moved == 0 || moved >= CELL, "{moved} came or went");
                }
                populations.push(population.clone());
                if count == Count::Suppressed {
                    continue;
                }
                for other in known.iter().chain([&population]) {
                    let is_within = cohort.is_subset(other);
                    let (within, around) =
                        if is_within { (&cohort, other) } else { (other, &cohort) };
                    if within.is_subset(around) {
                        let cell = around.len() - within.len();
                        prop_assert!(cell >= CELL, "a cell of {cell}");
                    }
                    // And what the contract holds a source to.
                    prop_assert!(within.symmetric_difference(around).count() >= CELL);
                }
                known.push(cohort);
            }
        }

        /// Nor is anybody singled out by two extracts, of those who consented to both.
        #[test]
        fn no_two_extracts_differ_by_few(
            asked in vec((vec(0..30_u8, 0..30), vec(0..30_u8, 0..3), any::<bool>()), 1..40),
        ) {
            let mut population: BTreeSet<u8> = (0..30).collect();
            let mut auditor = Auditor::default();
            let mut given: Vec<Answered<u8>> = Vec::new();
            for (people, toggled, like_last) in asked {
                for person in toggled {
                    if !population.remove(&person) {
                        population.insert(person);
                    }
                }
                let mut cohort: BTreeSet<u8> = people.into_iter().collect();
                if let Some(last) = given.last().filter(|_| like_last) {
                    let few: BTreeSet<u8> = cohort.into_iter().take(3).collect();
                    cohort = last.cohort.symmetric_difference(&few).copied().collect();
                }
                cohort.retain(|person| population.contains(person));
                let extract = auditor.extract(FITTING, &population, &cohort, &cohort);
                if extract == Err(Withheld::TooMany) {
                    auditor = Auditor::of(auditor.answered, 0);
                }
                let Ok(extract) = extract else { continue };
                let left_out = population.difference(&extract.cohort).count();
                prop_assert!(left_out >= CELL, "{left_out} have not what all others have");
                prop_assert!(extract.cohort.len() >= CELL);
                for other in &given {
                    let both: BTreeSet<u8> =
                        extract.population.intersection(&other.population).copied().collect();
                    let different = extract.cohort.symmetric_difference(&other.cohort);
                    let few = different.filter(|person| both.contains(person)).count();
                    prop_assert!(few == 0 || few >= CELL, "{few} are singled out");
                }
                given.push(extract);
            }
        }
    }
}
