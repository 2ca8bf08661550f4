//! The subcommands. What they print goes to standard output, logs go to standard error.

mod restore;

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit, umask};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::clock::{Clock, Stopwatch, SystemClock};
use crate::config::{
    Cli, Command, DumpFormat, DumpSettings, ServeArgs, ServeSettings, SimulateArgs, TokenSettings, VerifyArgs,
};
use crate::demo::Place;
use crate::domain::plan::Plan;
use crate::domain::time::Timestamp;
use crate::dump::table::Table;
use crate::dump::{self, DumpError, DumpFilter, remote};
use crate::http::{Running, ServeError};
use crate::plans::first_plans;
use crate::simulate::{Simulation, show_path};
use crate::store::{OpenError, Store, StoreOptions, Verified};
use crate::tokens::Signer;
use crate::{config, demo, http, log, secrets};

/// Why a subcommand failed.
#[derive(Debug)]
pub enum Failure {
    /// The command line is wrong: a line for each fault.
    Usage(Vec<String>),
    /// It could not be done.
    Run(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

/// Runs one subcommand to its end.
///
/// # Errors
/// When the command line is wrong, or it could not be done.
pub fn run(cli: Cli) -> Result<(), Failure> {
    // Whatever is made is its owner's alone, also in a directory that others may read.
    umask(Mode::RWXG | Mode::RWXO);
    if !matches!(cli.command, Command::Serve(_)) {
        warn_of_unread_variables();
    }
    match cli.command {
        Command::Serve(args) => serve(&args),
        Command::Dump(args) => dump(args.check().map_err(Failure::Usage)?),
        Command::Restore(args) => restore::restore(&args),
        Command::Verify(args) => verify(&args),
        Command::Token(args) => token(args.check().map_err(Failure::Usage)?),
        Command::Simulate(args) => simulate(args),
    }
}

/// Says it where there is no log.
fn warn_of_unread_variables() {
    for variable in config::unread_variables() {
        complain(&format!("warning: nothing reads {variable}: is its name misspelt?"));
    }
}

fn serve(args: &ServeArgs) -> Result<(), Failure> {
    let mut settings = args.check().map_err(Failure::Usage)?;
    let _log = log::start(&settings.log)?;
    for variable in config::unread_variables() {
        tracing::warn!(variable, "nothing reads this variable: is its name misspelt?");
    }
    raise_open_files();
    // Dropped, and so deleted, when the demo ends.
    let throw_away = settings.demo.then(tempfile::tempdir).transpose()?;
    if let Some(dir) = &throw_away {
        settings.data_dir = dir.path().join("db");
        // Nobody wants it back, and the backups of real data must not give way to it.
        settings.backups = None;
    }
    actix_web::rt::System::new().block_on(serve_until_signal(&settings))?;
    Ok(())
}

async fn serve_until_signal(settings: &ServeSettings) -> Result<(), Box<dyn Error>> {
    // Before the start, so that no signal is missed during it.
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let clock = Arc::new(SystemClock);
    let mut server = http::start(settings, clock.clone()).await?;
    tracing::info!(
        public = %server.public_address(),
        admin = %server.admin_address(),
        data_dir = %settings.data_dir.display(),
        flush_every_ms = settings.flush_within.as_millis(),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    warn_if_reachable(server.admin_address());
    if settings.demo {
        print_demo(&server, settings, clock.now()).await?;
    }
    let refused = told_or_refused(&mut signals, &mut server).await;
    let first = Stopwatch::start();
    match &refused {
        Ok(()) => tracing::info!("stopping: finishing what runs; a second signal stops at once"),
        Err(error) => tracing::error!(error = error as &dyn Error, "stopping, as the store is refused"),
    }
    // Nothing else may hold the store once the server has let go of it.
    let store = Arc::downgrade(server.store());
    let (stop, again) = (Box::pin(server.stop()), Box::pin(told_again(&mut signals, &first)));
    match select(stop, again).await {
        Either::Left((stopped, _again)) => stopped?,
        Either::Right(((), _stop)) => {
            // First what was counted: nothing that fails may come before it.
            let ended = stop_at_once(store.upgrade()).await;
            secrets::remove_admin_address(&settings.data_dir)?;
            return Err(ended);
        }
    }
    refused?;
    tracing::info!("stopped; everything is on disk");
    Ok(())
}

/// Waits for a signal: either of the two.
async fn told_to_stop(signals: &mut [Signal; 2]) {
    let [terminate, interrupt] = signals;
    select(Box::pin(terminate.recv()), Box::pin(interrupt.recv())).await;
}

/// Waits for a signal, or until the store is refused after all.
async fn told_or_refused(signals: &mut [Signal; 2], server: &mut Running) -> Result<(), ServeError> {
    match select(Box::pin(told_to_stop(signals)), Box::pin(server.opened())).await {
        Either::Left(((), _opening)) => Ok(()),
        Either::Right((opened, told)) => {
            opened?;
            tracing::info!("all accounts and keys are in memory");
            told.await;
            Ok(())
        }
    }
}

/// Waits for a signal that is a second one: what sends them may send one twice, such as `timeout` of GNU.
async fn told_again(signals: &mut [Signal; 2], first: &Stopwatch) {
    loop {
        told_to_stop(signals).await;
        if u128::from(first.elapsed_us()) >= SAME_SIGNAL_WITHIN.as_micros() {
            return;
        }
    }
}

/// Has what was written so far on disk, and answers what to end with.
async fn stop_at_once(store: Option<Arc<Store>>) -> Box<dyn Error> {
    tracing::warn!("stopping at once: what runs is cut off");
    let commit = move || store.map_or(Ok(()), |store| store.probe());
    match actix_web::rt::task::spawn_blocking(commit).await {
        Ok(Ok(())) => "stopped at once by a second signal: what ran was cut off; what was counted is on disk".into(),
        Ok(Err(error)) => error.into(),
        Err(panicked) => panicked.into(),
    }
}

/// Says when other machines may come to the admin listener, where a token is sent in clear.
fn warn_if_reachable(admin: SocketAddr) {
    if !admin.ip().to_canonical().is_loopback() {
        tracing::warn!(
            %admin,
            "other machines may reach the admin listener, which speaks no TLS: keep it to a private network, or tunnel to a loopback address"
        );
    }
}

async fn print_demo(server: &Running, settings: &ServeSettings, now: Timestamp) -> Result<(), Box<dyn Error>> {
    let (store, signer) = (Arc::clone(server.store()), server.signer());
    let format = settings.key_format.clone();
    // Of the built-in API it is the links; of an upstream only the prefix is known.
    let path = match &settings.gateway {
        None => "/api/v1/public/links",
        Some(gateway) if gateway.prefix.is_empty() => "/",
        Some(gateway) => &gateway.prefix,
    };
    let place = Place {
        path: path.to_owned(),
        public: server.public_address(),
        admin: server.admin_address(),
        admin_token: server.admin_token().clone(),
    };
    let set_up = move || demo::set_up(&store, &format, &signer, &place, now);
    let text = actix_web::rt::task::spawn_blocking(set_up).await??;
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Takes as many open files as the system lets this process have: connections are files.
fn raise_open_files() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(error = &error as &dyn Error, "could not raise the number of open files");
    }
}

/// Within this time a signal is the first one again.
const SAME_SIGNAL_WITHIN: Duration = Duration::from_secs(1);
/// A file that is read to its end is read in pieces of this size; larger ones are not faster.
const READ_BYTES_AT_ONCE: usize = 64 * 1024;

fn dump(settings: DumpSettings) -> Result<(), Failure> {
    refuse_closed(&settings.data_dir)?;
    if !Store::is_in(&settings.data_dir) {
        return Err(format!("there is no klinky data directory at {}", settings.data_dir.display()).into());
    }
    let out = BufWriter::new(io::stdout().lock());
    let done = match settings.format {
        DumpFormat::Json => write_dump(settings, out),
        DumpFormat::Table => write_dump(settings, Table::new(out)),
    };
    unless_left(done)
}

/// Refuses a data directory that this user may not look into, and may not take for one that is not there.
fn refuse_closed(dir: &Path) -> Result<(), String> {
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let (user, dir) = (geteuid().as_raw(), dir.display());
            Err(format!("user {user} may not read {dir}: run klinky as the user that owns it, or with sudo"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// What a command that prints came to: whoever reads may have read enough, as `head` has.
fn unless_left(done: Result<(), Box<dyn Error>>) -> Result<(), Failure> {
    match done {
        Err(error) if is_broken_pipe(error.as_ref()) => Ok(()),
        other => Ok(other?),
    }
}

fn write_dump(settings: DumpSettings, mut out: impl Write) -> Result<(), Box<dyn Error>> {
    let filter = DumpFilter { only: settings.only, account: settings.account };
    match open(&settings.data_dir, &first_plans()?) {
        Ok(store) => {
            let caught_up = dump::catch_up(&store, &filter).map_err(DumpError::from);
            let written = caught_up.and_then(|()| dump::write(&store, &filter, SystemClock.now(), &mut out));
            store.close()?;
            written?;
        }
        Err(OpenError::InUse { .. }) => {
            let admin = settings.admin_listen.or_else(|| secrets::find_admin_address(&settings.data_dir));
            let admin = admin.ok_or("a server has the data directory open, but left no word of where its admin listener is; name it with --admin-listen")?;
            let token = settings.admin_token.map_or_else(|| secrets::find_admin_token(&settings.data_dir), Ok)?;
            remote::stream_dump(admin, &token, &filter, &mut out)?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(out.flush()?)
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn open_file(path: &Path) -> Result<BufReader<File>, String> {
    let file = File::open(path).map_err(|error| format!("could not open {}: {error}", show_path(path)))?;
    Ok(BufReader::with_capacity(READ_BYTES_AT_ONCE, file))
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    refuse_closed(&args.data_dir)?;
    let Verified { faults, rows } = Store::verify(&args.data_dir)?;
    let mut out = BufWriter::new(io::stdout().lock());
    faults.iter().try_for_each(|fault| writeln!(out, "{fault}"))?;
    let counted: Vec<String> = rows.iter().map(|(tree, rows)| format!("{rows} {tree}")).collect();
    writeln!(out, "{} faults in {}", faults.len(), counted.join(", "))?;
    out.flush()?;
    if faults.is_empty() {
        return Ok(());
    }
    let dir = args.data_dir.display();
    Err(format!("the store in {dir} is damaged. Move {dir} away and run `klinky restore BACKUP --data-dir {dir}` with your newest dump").into())
}

fn token(settings: TokenSettings) -> Result<(), Failure> {
    let secret = match settings.jwt_secret {
        Some(secret) => secret,
        None => {
            refuse_closed(&settings.data_dir)?;
            secrets::find_jwt_secret(&settings.data_dir)?
        }
    };
    let (token, _expires_at) = Signer::new(&secret).sign(settings.account, settings.ttl, SystemClock.now())?;
    writeln!(io::stdout(), "{token}")?;
    Ok(())
}

fn simulate(args: SimulateArgs) -> Result<(), Failure> {
    let plans = match &args.plans {
        Some(path) => plans_of(path),
        None => first_plans().map_err(|error| error.to_string()),
    };
    let settings = args.check(plans).map_err(Failure::Usage)?;
    let mut simulation = Simulation::new(&settings);
    if settings.files.is_empty() {
        simulation.read("standard input", io::stdin().lock())?;
    }
    // All are opened before one is read: who mistyped the last name need not wait for it.
    for (path, log) in open_all(&settings.files)? {
        simulation.read(&show_path(path), log)?;
    }
    let report = simulation.report()?;
    report.unreadable.iter().for_each(|line| complain(line));
    let mut out = BufWriter::new(io::stdout().lock());
    let written = report.write(&settings, &mut out).and_then(|()| out.flush());
    unless_left(written.map_err(Into::into))
}

fn plans_of(path: &Path) -> Result<Vec<Plan>, String> {
    dump::read_plans(open_file(path)?).map_err(|error| format!("{}: {error}", show_path(path)))
}

/// Opens all files, or says of each one that could not be opened why.
fn open_all(paths: &[PathBuf]) -> Result<Vec<(&Path, BufReader<File>)>, String> {
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for path in paths {
        match open_file(path) {
            Ok(file) => files.push((path.as_path(), file)),
            Err(fault) => faults.push(fault),
        }
    }
    if faults.is_empty() { Ok(files) } else { Err(faults.join("; ")) }
}

/// Opens a store for a command, which itself counts nothing: its writes are all durable ones.
fn open(dir: &Path, first_plans: &[Plan]) -> Result<Store, OpenError> {
    let options = StoreOptions { dir: dir.to_owned(), flush_within: Duration::ZERO };
    let store = Store::open(&options, first_plans)?;
    // Of a server that crashed. If it stays, nothing is lost by it now.
    let _left = secrets::remove_admin_address(dir);
    warn_of_owner(dir);
    Ok(store)
}

/// Root may write to anyone's directory, where its owner then may not read what root has written.
fn warn_of_owner(dir: &Path) {
    let owner = fs::metadata(dir).map(|dir| dir.uid());
    if let Some(owner) = owner.ok().filter(|uid| *uid != 0 && geteuid().is_root()) {
        let dir = dir.display();
        complain(&format!(
            "warning: {dir} belongs to user {owner}, whose server may not open it after root: finish with `chown -R --reference={dir} {dir}`"
        ));
    }
}

/// Nobody can be told if standard error is closed.
fn complain(text: &str) {
    let _closed = writeln!(io::stderr(), "klinky: {text}");
}
