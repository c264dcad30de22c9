//! Which counts and extracts a source may give without telling of few people. Pure: sets of people in, a count or a
//! refusal out.
//!
//! A count is rounded down to a multiple of [`CELL`], and fewer than that are never told. That alone does not
//! keep somebody from asking twice for nearly the same people: "with diabetes", and "with diabetes, without
//! asthma". So each question is held against all that was answered of the same study, and against the whole
//! of those who consented, whom everybody can count on chain: two such sets differ by at least [`CELL`] people. When
//! the one is within the other, these are the cell that a subtraction gives; also when they are the same, because
//! a cell of nobody is small as well.
//!
//! An extract is held against all that too, because who is in one and not in another is seen by the pseudonyms: it
//! differs by nobody or by at least [`CELL`], of those who consented both then and now. Who came or went
//! in between did so for everybody to see, and whoever went has to be missing from the next extract.
//!
//! A refusal says no more than a suppressed count does: that somewhere between two sets there are fewer than
//! [`CELL`] people, or none. Three counts and more can still be added and subtracted; what keeps these from
//! coming out is that they are rounded.

use std::collections::BTreeSet;

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

/// Why a source told nothing. It says of nobody who, or how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Withheld {
    /// It would differ from what was told before by a small cell.
    #[error(
        "withheld: from what was told before, or from all who consented, it differs by fewer than {CELL} people"
    )]
    TooClose,
    /// As many questions were answered as may be.
    #[error("withheld: as many questions of this study were answered as may be")]
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

/// An answer that was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered<T: Ord> {
    /// Of whom.
    pub cohort: BTreeSet<T>,
    /// Who had consented then.
    pub population: BTreeSet<T>,
    /// What was told, as the contract holds it; nothing for an extract.
    pub told: Option<u32>,
}

/// Remembers what was answered of one study.
#[derive(Clone, Debug, Default)]
pub struct Auditor<T: Ord> {
    answered: Vec<Answered<T>>,
}

impl<T: Ord + Clone> Auditor<T> {
    /// An auditor who knows what was answered before.
    #[must_use]
    pub const fn of(answered: Vec<Answered<T>>) -> Self {
        Self { answered }
    }

    /// What may be told of a cohort, which is remembered then. `population` is everybody who consented.
    ///
    /// # Errors
    ///
    /// [`Withheld`]; then nothing is remembered, because nothing was told.
    pub fn count(
        &mut self,
        population: &BTreeSet<T>,
        cohort: &BTreeSet<T>,
    ) -> Result<(Count, Answered<T>), Withheld> {
        if self.answered.iter().filter(|one| one.told.is_some()).count() >= QUESTIONS_MAX {
            return Err(Withheld::TooMany);
        }
        let differs = |other: &BTreeSet<T>| cohort.symmetric_difference(other).count();
        let is_too_close = |one: &Answered<T>| match (differs(&one.cohort), one.told) {
            // Of an extract, everybody knows how many they are.
            (0, None) => false,
            (difference, _) => difference < CELL,
        };
        // Whoever asks for all asks for what everybody can count.
        let is_nearly_all = (1..CELL).contains(&differs(population));
        if is_nearly_all || self.answered.iter().any(is_too_close) {
            return Err(Withheld::TooClose);
        }
        let count = Count::of(cohort.len());
        Ok((count, self.remember(population, cohort, Some(count.number()))))
    }

    /// Whether an extract of a cohort may be given, which is remembered then.
    ///
    /// # Errors
    ///
    /// [`Withheld`]; then nothing is remembered, because nothing was given.
    pub fn extract(
        &mut self,
        population: &BTreeSet<T>,
        cohort: &BTreeSet<T>,
    ) -> Result<Answered<T>, Withheld> {
        if cohort.len() < CELL {
            return Err(Withheld::TooFew);
        }
        let is_too_close = |one: &Answered<T>| {
            let different = cohort.symmetric_difference(&one.cohort);
            let is_in_both =
                |person: &&T| population.contains(*person) && one.population.contains(*person);
            (1..CELL).contains(&different.filter(is_in_both).count())
        };
        let left_out = population.difference(cohort).count();
        if (1..CELL).contains(&left_out) || self.answered.iter().any(is_too_close) {
            return Err(Withheld::TooClose);
        }
        Ok(self.remember(population, cohort, None))
    }

    fn remember(
        &mut self,
        population: &BTreeSet<T>,
        cohort: &BTreeSet<T>,
        told: Option<u32>,
    ) -> Answered<T> {
        let (cohort, population) = (cohort.clone(), population.clone());
        let answered = Answered { cohort, population, told };
        self.answered.push(answered.clone());
        answered
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn set(people: impl IntoIterator<Item = u8>) -> BTreeSet<u8> {
        people.into_iter().collect()
    }

    fn told<T>(counted: Result<(Count, T), Withheld>) -> Result<Count, Withheld> {
        counted.map(|(count, _)| count)
    }

    /// What comes of questions, asked one after the other of a population of twenty.
    #[track_caller]
    fn check(cohorts: &[BTreeSet<u8>], expected: &[Result<Count, Withheld>]) {
        let mut auditor = Auditor::default();
        let population = set(0..20);
        let all: Vec<_> =
            cohorts.iter().map(|cohort| told(auditor.count(&population, cohort))).collect();
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
        check(&[set(0..20)], &[Ok(Count::AtLeast(20))]);
        check(&[set(5..20)], &[Ok(Count::AtLeast(15))]);
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
        let told = [Ok(Count::Suppressed), Ok(Count::AtLeast(5)), Err(Withheld::TooClose)];
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
            auditor.count(&population, &cohort).unwrap();
        }
        let more = (0..600).collect();
        assert_eq!(told(auditor.count(&population, &more)), Err(Withheld::TooMany));
    }

    #[test]
    fn extracts_do_not_single_anybody_out() {
        let (mut auditor, population) = (Auditor::default(), set(0..20));
        assert_eq!(auditor.extract(&population, &set(0..4)), Err(Withheld::TooFew));
        auditor.extract(&population, &set(0..10)).unwrap();
        // The same again says nothing new; with one less it says who that is.
        auditor.extract(&population, &set(0..10)).unwrap();
        assert_eq!(auditor.extract(&population, &set(0..9)), Err(Withheld::TooClose));
        assert_eq!(auditor.extract(&population, &set(1..20)), Err(Withheld::TooClose));
        assert_eq!(told(auditor.count(&population, &set(0..9))), Err(Withheld::TooClose));
        assert_eq!(told(auditor.count(&population, &set(0..10))), Ok(Count::AtLeast(10)));
        assert_eq!(auditor.extract(&population, &set(0..11)), Err(Withheld::TooClose));
    }

    #[test]
    fn whoever_went_is_missing_and_whoever_came_is_there() {
        let mut auditor = Auditor::default();
        auditor.extract(&set(0..20), &set(0..10)).unwrap();
        auditor.extract(&set(1..20), &set(1..10)).unwrap();
        auditor.extract(&set(1..21), &set(1..10).union(&set([20])).copied().collect()).unwrap();
        let but_one = set(2..10).union(&set([20])).copied().collect();
        assert_eq!(auditor.extract(&set(1..21), &but_one), Err(Withheld::TooClose));
        // Of a count, who went would be told by a rounded number that is another.
        let mut auditor = Auditor::default();
        auditor.count(&set(0..20), &set(0..10)).unwrap();
        assert_eq!(told(auditor.count(&set(1..20), &set(1..10))), Err(Withheld::TooClose));
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

    proptest! {
        /// X3: from no two counts that were told, nor from one and all who consented, does a cell of fewer than
        /// five people follow; patients come and go meanwhile.
        #[test]
        fn no_difference_of_two_answers_is_a_small_cell(
            asked in vec((asked(), vec(0..40_u8, 0..3)), 1..60),
        ) {
            let mut population: BTreeSet<u8> = (0..40).collect();
            let mut auditor = Auditor::default();
            let (mut known, mut all): (Vec<BTreeSet<u8>>, Vec<BTreeSet<u8>>) = Default::default();
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
                let Ok((count, _)) = auditor.count(&population, &cohort) else { continue };
                let told = usize::try_from(count.number()).unwrap();
                prop_assert!(told % CELL == 0 && told <= cohort.len() && cohort.len() < told + CELL);
                for other in known.iter().chain((cohort != population).then_some(&population)) {
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
                let Ok(extract) = auditor.extract(&population, &cohort) else { continue };
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
