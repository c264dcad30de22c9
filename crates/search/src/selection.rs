//! From a query to the rows that may be what it asks for: one statement, written and bound at once.

use std::fmt::Write as _;

use sqlx::any::AnyArguments;
use sqlx::{AnyConnection, Arguments as _, AssertSqlSafe, Row as _};
use vault::StoreError;

use crate::index::{Index, is_sqlite};
use crate::keys::{self, Form, Lookup};
use crate::output::SortKey;
use crate::parameters::{Parameter, ParameterKind};
use crate::query::{Criterion, Query};
use crate::terms::{Prefix, RangeTerm, Term};

/// How many values one statement may have. SQLite takes 32,766, PostgreSQL 65,535.
const BOUND_MAX: usize = 30_000;

/// Which of the resources that match are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Only those of this patient, by account: much quicker than to say it in the query.
    pub patient: Option<&'a [u8]>,
    /// Only those whose number is greater. Together with `limit` that is a page that stays as it is
    /// while others write, for a query that is not sorted.
    pub after: i64,
    /// How many, at most.
    pub limit: i64,
}

impl Scope<'_> {
    /// Everybody's, as many as there are.
    pub const ALL: Self = Self { patient: None, after: 0, limit: i64::MAX };
}

/// Why there are no candidates.
#[derive(Debug, thiserror::Error)]
pub enum CandidatesError {
    /// The query still has [links](Query::links).
    #[error("the query has links that are not resolved")]
    Unresolved,
    /// Links found so much, or the query has so many values, that no statement holds them.
    #[error("the query has too many values; narrow its links")]
    TooLarge,
    /// The database failed.
    #[error("the index could not be searched")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for CandidatesError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Index {
    /// The numbers of all resources that the query [matches](crate::matches), and perhaps of some that
    /// it does not. None is given twice, and none that is deleted.
    ///
    /// They are in the order of `_sort` as far as it is [known here](SortKey::is_known_to_index), and
    /// then in that of their numbers.
    ///
    /// # Errors
    ///
    /// See [`CandidatesError`].
    pub async fn candidates(
        &self,
        connection: &mut AnyConnection,
        query: &Query,
        scope: Scope<'_>,
    ) -> Result<Vec<i64>, CandidatesError> {
        if query.links().next().is_some() {
            return Err(CandidatesError::Unresolved);
        }
        let mut statement = Statement::new(is_sqlite(connection));
        self.select(&mut statement, query, scope)?;
        if statement.bound > BOUND_MAX {
            return Err(CandidatesError::TooLarge);
        }
        // Lists of many lengths would drive statements that are used again out of the cache.
        let is_common = statement.bound <= 32;
        let rows = sqlx::query_with(AssertSqlSafe(statement.text), statement.arguments)
            .persistent(is_common)
            .fetch_all(connection)
            .await?;
        rows.iter().map(|row| row.try_get(0).map_err(CandidatesError::from)).collect()
    }

    fn select(
        &self,
        sql: &mut Statement,
        query: &Query,
        scope: Scope<'_>,
    ) -> Result<(), sqlx::Error> {
        let criteria = query.criteria();
        let first = if scope.patient.is_some() { None } else { first(criteria) };
        let of_first = first.and_then(|at| match &criteria[at] {
            Criterion::AnyOf { parameter, terms } => single(parameter, terms),
            _ => None,
        });
        // One text has its rows in the order of their resources, so that a page needs no others.
        let number = if let Some((parameter, lookup)) = &of_first {
            sql.push("select r.number from fhir_index as i cross join fhir_resources as r where i.parameter = ");
            sql.bind(self.digests.number(parameter))?;
            sql.push(" and ");
            self.lookup(sql, parameter, lookup)?;
            sql.push(" and r.number = i.resource");
            "i.resource"
        } else {
            sql.push("select r.number from fhir_resources as r where 1 = 1");
            "r.number"
        };
        sql.push(" and r.type = ");
        sql.bind_text(query.resource_type())?;
        sql.push(" and r.deleted <> 1");
        if let Some(patient) = scope.patient {
            sql.push(" and r.patient = ");
            sql.bind_bytes(patient)?;
        }
        if scope.after > 0 && query.output().sort.is_empty() {
            sql.push(" and ");
            sql.compare(number, ">", scope.after)?;
        }
        for (at, criterion) in criteria.iter().enumerate() {
            let is_first = first == Some(at);
            if !(is_first && of_first.is_some()) {
                self.condition(sql, criterion, is_first)?;
            }
        }
        self.order(sql, &query.output().sort)?;
        sql.push(number);
        if scope.limit < i64::MAX {
            sql.push(" limit ");
            sql.bind(scope.limit.max(0))?;
        }
        Ok(())
    }

    fn condition(
        &self,
        sql: &mut Statement,
        criterion: &Criterion,
        is_first: bool,
    ) -> Result<(), sqlx::Error> {
        let exists = if is_first { Exists::First } else { Exists::Yes };
        match criterion {
            Criterion::Id { ids, is_denied } => {
                if ids.is_empty() {
                    sql.push(if *is_denied { "" } else { " and 1 = 0" });
                    return Ok(());
                }
                sql.push(if *is_denied { " and r.id not in (" } else { " and r.id in (" });
                sql.list(ids, |sql, id| sql.bind_text(id))?;
                sql.push(")");
            }
            Criterion::LastUpdated(ranges) => {
                // Some read a version before the newest, which can only be older than that.
                let is_of_newest = ranges.iter().all(|range| range.goes_up());
                sql.push(if is_of_newest { " and (" } else { " and (r.version > 1 or " });
                sql.any_of(ranges, |sql, range| range.push(sql, "r.updated", "r.updated"))?;
                sql.push(")");
            }
            Criterion::Missing { parameter, is_missing } => {
                let exists = if *is_missing { Exists::No } else { Exists::Yes };
                self.exists(sql, parameter, &[Lookup::Anything], exists)?;
            }
            Criterion::AnyOf { parameter, terms } => {
                self.exists(sql, parameter, &merged(terms.iter().map(keys::of_term)), exists)?;
            }
            Criterion::NoneOf { parameter, terms } => {
                // What the index has more of cannot be left out by it.
                let exact = merged(terms.iter().filter_map(keys::exactly));
                if !exact.is_empty() {
                    self.exists(sql, parameter, &exact, Exists::No)?;
                }
            }
        }
        Ok(())
    }

    /// That a resource has a row, or none, with one of the lookups.
    fn exists(
        &self,
        sql: &mut Statement,
        parameter: &Parameter,
        lookups: &[Lookup<'_>],
        exists: Exists,
    ) -> Result<(), sqlx::Error> {
        sql.push(match exists {
            Exists::First => " and r.number in (select i.resource from fhir_index as i where ",
            Exists::Yes => {
                " and exists (select 1 from fhir_index as i where i.resource = r.number and "
            }
            Exists::No => {
                // Of a resource with several versions there may be rows of more than one.
                " and (r.version > 1 or not exists (select 1 from fhir_index as i where i.resource = r.number and "
            }
        });
        // A row that is there or not is looked up in one step. Otherwise the few of the resource are
        // gone through, and not all of the parameter: the plus sign keeps databases from beginning there.
        let is_one_row = match lookups {
            [Lookup::Anything] => true,
            [Lookup::Texts(_, texts)] => texts.len() == 1,
            _ => false,
        };
        let is_plain = is_one_row || exists == Exists::First;
        sql.push(if is_plain { "i.parameter = " } else { "+i.parameter = " });
        sql.bind(self.digests.number(parameter))?;
        if !lookups.contains(&Lookup::Anything) {
            sql.push(" and (");
            sql.any_of(lookups, |sql, lookup| self.lookup(sql, parameter, lookup))?;
            sql.push(")");
        }
        // PostgreSQL would look for all that have such a row before it looks at a resource; what has an
        // offset it leaves where it stands.
        sql.push(match exists {
            Exists::First => ")",
            Exists::Yes => " limit 1 offset 0)",
            Exists::No => " limit 1 offset 0))",
        });
        Ok(())
    }

    fn lookup(
        &self,
        sql: &mut Statement,
        parameter: &Parameter,
        lookup: &Lookup<'_>,
    ) -> Result<(), sqlx::Error> {
        let (form, texts) = match lookup {
            Lookup::Anything => {
                sql.push("1 = 1");
                return Ok(());
            }
            Lookup::Range(range) => return range.push(sql, "i.low", "i.high"),
            Lookup::Texts(form, texts) => (*form, texts),
        };
        let digests: Vec<_> =
            texts.iter().map(|text| self.digests.of_text(parameter, form, text)).collect();
        match *digests.as_slice() {
            [] => sql.push("1 = 0"),
            [(low, high)] => {
                sql.push("i.low = ");
                sql.bind(low)?;
                sql.push(" and i.high = ");
                sql.bind(high)?;
            }
            // Of many, the first 64 bits are enough.
            _ => {
                sql.push("i.low in (");
                sql.list(&digests, |sql, (low, _)| sql.bind(*low))?;
                sql.push(")");
            }
        }
        Ok(())
    }

    /// The beginning of the order, after which the numbers decide.
    fn order(&self, sql: &mut Statement, keys: &[SortKey]) -> Result<(), sqlx::Error> {
        sql.push(" order by ");
        for key in keys.iter().filter(|key| key.is_known_to_index()) {
            let direction = if key.is_descending { " desc, " } else { " asc, " };
            match key.parameter.name() {
                "_id" => sql.push("r.id"),
                "_lastUpdated" => sql.push("r.updated"),
                _ => {
                    // The databases disagree about where nothing belongs. What has no value is last.
                    let (first, last) =
                        if key.is_descending { ("max", i64::MIN) } else { ("min", i64::MAX) };
                    sql.push("coalesce((select ");
                    sql.push(first);
                    sql.push("(s.low) from fhir_index as s where s.resource = r.number and +s.parameter = ");
                    sql.bind(self.digests.number(key.parameter))?;
                    sql.push("), ");
                    sql.bind(last)?;
                    sql.push(")");
                }
            }
            sql.push(direction);
        }
        Ok(())
    }
}

/// What is said of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exists {
    Yes,
    No,
    /// That it exists, and that it is where to begin.
    First,
}

/// Where to begin: with the condition that is likely to leave least. Without statistics neither database
/// knows, so it is said to them: the index is read for one condition, and the others are looked up for
/// each row found. `None` is to go through the resources of the type, or of the patient.
fn first(criteria: &[Criterion]) -> Option<usize> {
    if criteria.iter().any(|one| matches!(one, Criterion::Id { is_denied: false, .. })) {
        return None;
    }
    let ranks = criteria.iter().enumerate().filter_map(|(at, one)| Some((rank(one)?, at)));
    ranks.min().map(|(_, at)| at)
}

/// The one text that a condition looks up.
fn single<'t>(
    parameter: &'static Parameter,
    terms: &'t [Term],
) -> Option<(&'static Parameter, Lookup<'t>)> {
    match merged(terms.iter().map(keys::of_term)).as_slice() {
        [lookup @ Lookup::Texts(_, texts)] if texts.len() == 1 => Some((parameter, lookup.clone())),
        _ => None,
    }
}

/// How little a condition is likely to leave, least first; `None` when nothing can begin with it.
fn rank(criterion: &Criterion) -> Option<u8> {
    let Criterion::AnyOf { parameter, terms } = criterion else { return None };
    let of_term = |term: &Term| match (keys::of_term(term), parameter.name()) {
        (Lookup::Texts(..), "identifier") => Some(0),
        (Lookup::Texts(Form::Reference | Form::Identifier | Form::Uri, _), _) => Some(1),
        (Lookup::Texts(Form::Prefix, _), _) => Some(2),
        (Lookup::Texts(Form::Code, _), _) => Some(if is_coarse(parameter) { 5 } else { 3 }),
        (Lookup::Range(RangeTerm { prefix: Prefix::Equal | Prefix::Approximately, .. }), _) => {
            Some(4)
        }
        (Lookup::Range(_) | Lookup::Anything, _) => None,
    };
    // The weakest alternative decides.
    let ranks: Option<Vec<_>> = terms.iter().map(of_term).collect();
    ranks?.into_iter().max()
}

/// Whether a code says little: a status or a category is the same for most.
fn is_coarse(parameter: &Parameter) -> bool {
    parameter.kind() == ParameterKind::Token
        && [
            "status", "category", "intent", "gender", "active", "use", "priority", "action",
            "outcome",
        ]
        .iter()
        .any(|name| parameter.name().ends_with(name))
}

/// Lookups of texts of the same form as one.
fn merged<'t>(lookups: impl Iterator<Item = Lookup<'t>>) -> Vec<Lookup<'t>> {
    let mut merged: Vec<Lookup<'t>> = Vec::new();
    for lookup in lookups {
        if let Lookup::Texts(form, texts) = &lookup {
            let same = merged.iter_mut().find_map(|one| match one {
                Lookup::Texts(of, all) if of == form => Some(all),
                _ => None,
            });
            if let Some(all) = same {
                all.extend(texts.iter().cloned());
                continue;
            }
        }
        merged.push(lookup);
    }
    merged
}

impl RangeTerm {
    /// [`RangeTerm::holds`], as SQL.
    fn push(self, sql: &mut Statement, low: &str, high: &str) -> Result<(), sqlx::Error> {
        match self.prefix {
            Prefix::Equal => {
                sql.compare(low, ">=", self.low)?;
                sql.push(" and ");
                // It follows from the next one, but tells the database where to stop.
                sql.compare(low, "<=", self.high)?;
                sql.push(" and ");
                sql.compare(high, "<=", self.high)
            }
            Prefix::NotEqual => {
                sql.compare(low, "<", self.low)?;
                sql.push(" or ");
                sql.compare(high, ">", self.high)
            }
            Prefix::Greater => sql.compare(high, ">", self.high),
            Prefix::Less => sql.compare(low, "<", self.low),
            Prefix::GreaterOrEqual => sql.compare(high, ">=", self.low),
            Prefix::LessOrEqual => sql.compare(low, "<=", self.high),
            Prefix::StartsAfter => sql.compare(low, ">", self.high),
            Prefix::EndsBefore => sql.compare(high, "<", self.low),
            Prefix::Approximately => {
                sql.compare(low, "<=", self.high)?;
                sql.push(" and ");
                sql.compare(high, ">=", self.low)
            }
        }
    }
}

/// A statement in the making. What is bound stands in the text where it is bound.
struct Statement {
    text: String,
    arguments: AnyArguments,
    bound: usize,
    is_sqlite: bool,
}

impl Statement {
    fn new(is_sqlite: bool) -> Self {
        Self { text: String::new(), arguments: AnyArguments::default(), bound: 0, is_sqlite }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn placeholder(&mut self) {
        self.bound += 1;
        if self.is_sqlite {
            self.text.push('?');
        } else {
            write!(self.text, "${}", self.bound).expect("writing to a string does not fail");
        }
    }

    fn bind(&mut self, number: i64) -> Result<(), sqlx::Error> {
        self.placeholder();
        self.arguments.add(number).map_err(sqlx::Error::Encode)
    }

    fn bind_text(&mut self, text: &str) -> Result<(), sqlx::Error> {
        self.placeholder();
        self.arguments.add(text.to_owned()).map_err(sqlx::Error::Encode)
    }

    fn bind_bytes(&mut self, bytes: &[u8]) -> Result<(), sqlx::Error> {
        self.placeholder();
        self.arguments.add(bytes.to_vec()).map_err(sqlx::Error::Encode)
    }

    fn compare(&mut self, column: &str, operator: &str, number: i64) -> Result<(), sqlx::Error> {
        self.push(column);
        self.push(" ");
        self.push(operator);
        self.push(" ");
        self.bind(number)
    }

    fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut push: impl FnMut(&mut Self, T) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.push(", ");
            }
            push(self, item)?;
        }
        Ok(())
    }

    fn any_of<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut push: impl FnMut(&mut Self, T) -> Result<(), sqlx::Error>,
    ) -> Result<(), sqlx::Error> {
        for (at, item) in items.into_iter().enumerate() {
            self.push(if at > 0 { " or (" } else { "(" });
            push(self, item)?;
            self.push(")");
        }
        Ok(())
    }
}
