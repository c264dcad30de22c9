//! `salus study`: what each use case costs on chain, executed. It needs no network and no running consortium.

use std::{
    path::Path,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use study::{
    execute::ExecuteError,
    prices::{FixedPrice, gwei_text},
    run::{Execution, Finished, Options, PriceFiles, Progress, StudyError, run, verify},
    tables::mode_name,
    tally::Mode,
};

use crate::{
    Error,
    cli::{StudyMode, StudyOptions},
    gateway::interruption,
    printing::{complain, say},
    table::{Table, thousands},
};

/// Does a study, or holds one against itself; then the exit code is 1 when something differs.
pub(crate) async fn study(options: StudyOptions) -> Result<ExitCode, Error> {
    let interrupted = interruption()?;
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stop);
    let mut work = tokio::task::spawn_blocking(move || match &options.verify {
        Some(folder) => again(folder, &options, &stopping),
        None => first(&options, &stopping),
    });
    tokio::select! {
        outcome = &mut work => return outcome?,
        () = interrupted => {}
    }
    stop.store(true, Ordering::Relaxed);
    complain(format_args!("\nstopping; once more to stop at once\n"));
    tokio::select! {
        outcome = work => outcome?,
        // Finished parts were renamed into place; whatever else is there is begun anew.
        () = interruption()? => std::process::exit(INTERRUPTED.into()),
    }
}

/// What a shell expects of a program that was interrupted.
const INTERRUPTED: u8 = 130;

fn first(options: &StudyOptions, stop: &AtomicBool) -> Result<ExitCode, Error> {
    let (resume, jobs) = (options.resume, jobs(options.jobs));
    let execution = Execution { out: &options.out, resume, jobs, stop };
    let watch = Watch::default();
    let outcome = run(&asked(options), &execution, &|progress| watch.see(progress));
    watch.stop();
    let finished = match outcome {
        Err(StudyError::Execute(ExecuteError::Stopped)) => {
            complain(format_args!("stopped; the same command with --resume goes on from here\n"));
            return Ok(ExitCode::from(INTERRUPTED));
        }
        outcome => outcome?,
    };
    tell(&finished, &options.out);
    Ok(ExitCode::SUCCESS)
}

fn again(folder: &Path, options: &StudyOptions, stop: &AtomicBool) -> Result<ExitCode, Error> {
    let scratch = std::env::temp_dir().join(format!("salus-verify-{}", std::process::id()));
    let execution = Execution { out: &scratch, resume: false, jobs: jobs(options.jobs), stop };
    let watch = Watch::default();
    let outcome = verify(folder, &options.files, &execution, &|progress| watch.see(progress));
    watch.stop();
    let found = match outcome {
        Err(StudyError::Execute(ExecuteError::Stopped)) => {
            return Ok(ExitCode::from(INTERRUPTED));
        }
        outcome => outcome?,
    };
    if found.is_empty() {
        say!("{}: the same, to the last byte", folder.display());
        return Ok(ExitCode::SUCCESS);
    }
    say!("{} differs:", folder.display());
    for difference in found {
        say!("  {difference}");
    }
    Ok(ExitCode::from(1))
}

fn asked(options: &StudyOptions) -> Options {
    let files = options.gas_price.clone().zip(options.ether_price.clone());
    let daily = files.map(|(gas, ether)| PriceFiles { gas, ether, euro: options.fx.clone() });
    let mut fixed = FixedPrice { eur_per_ether: options.eur, ..FixedPrice::default() };
    if let Some((wei, usd)) = options.gwei.zip(options.usd) {
        fixed.wei_per_gas = wei;
        fixed.usd_per_ether = usd;
        fixed.origin = "as the command says".into();
    }
    let modes = match options.mode {
        Some(StudyMode::Row) => [Mode::Row].into(),
        Some(StudyMode::Patient) => [Mode::Patient].into(),
        Some(StudyMode::Batch) => [Mode::Batch].into(),
        Some(StudyMode::All) | None => [Mode::Row, Mode::Patient, Mode::Batch].into(),
    };
    Options {
        files: options.files.clone(),
        daily,
        fixed,
        modes,
        every_patient: options.mode.is_some(),
        rows: options.rows,
        seed: options.seed,
        strict: options.strict,
        allow_overlap: options.allow_overlap,
    }
}

fn jobs(asked: Option<u16>) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    asked.map_or_else(processors, usize::from)
}

/// Shows how far it is, where somebody looks.
#[derive(Default)]
struct Watch(Mutex<Option<ProgressBar>>);

impl Watch {
    fn see(&self, progress: Progress) {
        let mut bar = self.0.lock().expect("nothing panics while it is held");
        match progress {
            Progress::Reading => complain(format_args!("reading\n")),
            Progress::PatientsOnlyOf { date, patients, of } => complain(format_args!(
                "patient mode: {} referrals, of {date} only; all dates would be about {} (--mode all)\n",
                thousands(patients),
                thousands(of)
            )),
            Progress::Begins { mode, size } => {
                finish(&mut bar);
                let what = if mode == Mode::Batch { "rows in censuses" } else { "transactions" };
                complain(format_args!("{} mode: {} {what}\n", mode_name(mode), thousands(size)));
                *bar = Some(ProgressBar::new(size).with_style(style()));
            }
            Progress::Done(more) => {
                if let Some(bar) = &*bar {
                    bar.inc(more);
                }
            }
            Progress::Writing => {
                finish(&mut bar);
                complain(format_args!("writing tables, figures and report\n"));
            }
        }
    }

    fn stop(&self) {
        finish(&mut self.0.lock().expect("nothing panics while it is held"));
    }
}

fn finish(bar: &mut Option<ProgressBar>) {
    if let Some(bar) = bar.take() {
        let elapsed = HumanDuration(bar.elapsed());
        bar.finish_and_clear();
        complain(format_args!("  {} in {elapsed}\n", thousands(bar.position())));
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("  {bar:40} {human_pos} of {human_len}, {per_sec}, {eta} left")
        .expect("the template is one")
}

fn tell(finished: &Finished, out: &Path) {
    let head = ["mode", "rows", "patients", "transactions", "gas", "USD, days", "USD, fixed"];
    let mut table = Table::new(&head, &[1, 2, 3, 4, 5, 6]);
    for (&mode, done) in &finished.results.modes {
        let sums = done.total.sums;
        let on_day = done.total.on_day.map_or_else(|| "-".into(), |cost| cost.usd.with_decimals(2));
        table.row(vec![
            mode_name(mode).into(),
            thousands(sums.rows),
            thousands(sums.patients),
            thousands(sums.transactions),
            thousands(sums.gas.total()),
            on_day,
            done.total.fixed.usd.with_decimals(2),
        ]);
    }
    say!("{table}");
    let fixed = &finished.results.prices.fixed;
    say!(
        "fixed price: {} gwei, USD {} for an ether ({})",
        gwei_text(fixed.wei_per_gas),
        fixed.usd_per_ether.text(),
        fixed.origin
    );
    let rejected = finished.results.dataset.sources.iter().map(|source| source.rows_rejected);
    let rejected: u64 = rejected.sum();
    if rejected > 0 {
        let list = out.join("rejected.csv");
        say!("rows that could not be read: {} ({})", thousands(rejected), list.display());
    }
    say!("report: {}", out.join("report.html").display());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::price::Price;

    #[test]
    fn the_fixed_price_is_that_of_every_command() {
        let (fixed, shown) = (FixedPrice::default(), Price::default());
        assert_eq!(gwei_text(fixed.wei_per_gas), shown.gwei.to_string());
        assert_eq!(fixed.usd_per_ether.text(), shown.usd_per_ether.to_string());
    }
}
