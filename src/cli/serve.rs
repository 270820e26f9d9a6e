//! `resound serve`: its arguments become listeners and a [`Config`], and then the event loops run.

use std::{
    fmt, io,
    os::fd::{AsRawFd, OwnedFd},
    process::ExitCode,
    str::FromStr,
    sync::Arc,
    thread,
    time::Duration,
};

use ::log::{debug, info, warn};
use resound::{
    Config, Endpoint, Listener, Overload, Unserved,
    listen::{Address, Listen},
    plural::connections,
    protocol::{
        Terms,
        fault::{Faults, Kind},
        identity::Template,
    },
};

use super::{
    Failure,
    admin::{self, AdminArgs},
    bind_error, cannot, descriptors,
    explain::{self, Explained},
    fault_files::FaultArgs,
    format::Format,
    log,
    output::Output,
    reactors::{self, Reactors},
    record::RecordArgs,
    replace::{HandoverPort, Program, ReplaceArgs, Replacer},
    systemd::{notify::Notifier, sockets::Sockets},
};
use crate::{
    admin::{Daemon, Faulty},
    common::{
        descriptor_table, protocols, resolve,
        signals::Signals,
        tls::{self, Acceptor},
        units::{Size, Time, TimeLimit},
    },
    handover::{Claimed, Offered, Role, Successor},
};

/// Run the echo server
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct ServeArgs {
    /// Where to listen and what to speak there; repeatable, in any mix
    #[arg(
        long,
        short,
        env = "RESOUND_LISTEN",
        hide_env_values = true,
        value_name = "PROTOCOL://ADDRESS[,KEY=VALUE]...",
        default_value = "frames://127.0.0.1:30000",
        long_help = protocols::listen_help()
    )]
    listen: Vec<Listeners>,

    /// Connections that may wait to be accepted, for each listener (the kernel allows net.core.somaxconn at most)
    #[arg(long, env = "RESOUND_BACKLOG", hide_env_values = true, value_name = "N")]
    #[arg(default_value_t = Config::default().backlog, value_parser = number::<u32>)]
    backlog: u32,

    /// How long open connections may take to finish after SIGTERM, SIGINT or SIGHUP; a second SIGTERM or SIGINT ends the
    /// process at once
    #[arg(long, env = "RESOUND_GRACE", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().grace))]
    grace: Time,

    /// How long to go on accepting after SIGTERM, SIGINT, SIGHUP or POST /drain, while /readyz of --admin says 503, so that
    /// load balancers send their connections elsewhere; then --grace
    #[arg(long, env = "RESOUND_DRAIN_DELAY", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = Time(Duration::ZERO))]
    drain_delay: Time,

    /// Event loops, a thread each; auto is one for each processor
    ///
    /// Each has its own listeners on the same ports, among which the kernel spreads connections by address. All limits
    /// hold for all of them together. Only the first serves Unix sockets.
    #[arg(long, env = "RESOUND_REACTORS", hide_env_values = true, value_name = "N")]
    #[arg(default_value = "1", value_parser = reactors::count)]
    reactors: usize,

    /// Whether all --reactors share one table of descriptors, or each has its own: then each may open as many files as the
    /// limit says
    #[arg(long, env = "RESOUND_DESCRIPTOR_TABLES", hide_env_values = true, value_name = "WHICH")]
    #[arg(value_enum, default_value_t = DescriptorTables::Shared)]
    descriptor_tables: DescriptorTables,

    /// Before a loop sleeps, look for events for this long without blocking: lower latency for more CPU time (50us; off for
    /// none)
    #[arg(long, env = "RESOUND_BUSY_POLL", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().busy_poll))]
    busy_poll: TimeLimit,

    /// What each connection receives first: as a frame, a line or a message. {hostname}, {pid}, {peer} and {local} are
    /// filled in; http sends no banner
    #[arg(long, env = "RESOUND_BANNER", hide_env_values = true, value_name = "TEXT")]
    #[arg(value_parser = protocols::template)]
    banner: Option<Template>,

    /// The X-Served-By header of every http answer and every ws handshake; the same fields are filled in
    #[arg(long, env = "RESOUND_TAG", hide_env_values = true, value_name = "TEXT")]
    #[arg(value_parser = protocols::template)]
    tag: Option<Template>,

    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    timeouts: TimeoutArgs,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    record: RecordArgs,
    #[command(flatten)]
    replace: ReplaceArgs,
    #[command(flatten)]
    faults: FaultArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Connections open at once; --overload says what happens to more [default: what the limit of open files allows]
    #[arg(long, env = "RESOUND_MAX_CONNECTIONS", hide_env_values = true, value_name = "N")]
    #[arg(value_parser = number::<u64>)]
    max_connections: Option<u64>,

    /// Connections open at once from one IP address, or one IPv6 /64; more are refused. Behind proxy=, the address in the
    /// PROXY header counts [default: no limit]
    #[arg(long, env = "RESOUND_MAX_CONNECTIONS_PER_IP", hide_env_values = true, value_name = "N")]
    #[arg(value_parser = number::<u32>)]
    max_connections_per_ip: Option<u32>,

    /// What to do with connections over --max-connections, or when descriptors run out
    #[arg(long, env = "RESOUND_OVERLOAD", hide_env_values = true, value_name = "POLICY")]
    #[arg(value_enum, default_value_t = OverloadPolicy::Wait)]
    overload: OverloadPolicy,

    /// The longest frame, line, message or body; a listener's own max= overrides it
    #[arg(long, env = "RESOUND_MAX_FRAME", hide_env_values = true, value_name = "SIZE")]
    #[arg(default_value_t = protocols::DEFAULT_MAX_FRAME, value_parser = protocols::max_frame)]
    max_frame: Size,

    /// Bytes buffered for all connections together; over it, the connection that holds most is closed
    #[arg(long, env = "RESOUND_MAX_MEMORY", hide_env_values = true, value_name = "SIZE")]
    #[arg(default_value_t = Size(Config::default().max_memory as u64))]
    max_memory: Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DescriptorTables {
    /// One table: the limit of open files holds for all reactors together
    Shared,
    /// One for each reactor, where the system allows it (unshare(2)); only with --reactors above 1
    Own,
}

/// [`Overload`] as a word.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum OverloadPolicy {
    /// Leave them in the backlog until others close
    Wait,
    /// Close them at once, so that their peers can try another server
    Refuse,
}

impl From<OverloadPolicy> for Overload {
    fn from(policy: OverloadPolicy) -> Self {
        match policy {
            OverloadPolicy::Wait => Self::Wait,
            OverloadPolicy::Refuse => Self::Refuse,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Timeouts (30s, 100ms; off for none)")]
struct TimeoutArgs {
    /// Close a connection on which nothing happens for this long
    #[arg(long, env = "RESOUND_IDLE_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().idle_timeout))]
    idle_timeout: TimeLimit,

    /// Close a connection whose frame is not complete this long after its first byte, even if bytes keep coming
    #[arg(long, env = "RESOUND_FRAME_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().frame_timeout))]
    frame_timeout: TimeLimit,

    /// Close a connection whose PROXY header, TLS handshake, WebSocket handshake or first HTTP request head is not complete
    /// this long after it was accepted
    #[arg(long, env = "RESOUND_HANDSHAKE_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().handshake_timeout))]
    handshake_timeout: TimeLimit,

    /// Close a connection whose peer has taken none of its unsent bytes for this long
    #[arg(long, env = "RESOUND_WRITE_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().write_timeout))]
    write_timeout: TimeLimit,

    /// Ask the host of a peer that has sent nothing for this long whether it is still there, up to three times, a third of
    /// this time apart (TCP keepalive; 1s to 32767s)
    #[arg(long, env = "RESOUND_KEEPALIVE", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().keepalive), value_parser = keepalive)]
    keepalive: TimeLimit,

    /// Close a connection whose peer has acknowledged nothing of what was sent for this long (off: the kernel gives up
    /// after about 15 minutes)
    #[arg(long, env = "RESOUND_USER_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().user_timeout))]
    user_timeout: TimeLimit,
}

const EXAMPLES: &str = "\
Signals:
  SIGTERM, SIGINT, SIGHUP  stop: accept no more, answer what has come, close (see --grace)
  SIGUSR1                  log what has been served so far; write the file of --record
  SIGUSR2                  start the program again, with the same arguments; it takes over the listeners and connections

Examples:
  resound serve
  resound serve --listen frames://[::]:30001,length=u16be,max=64KiB --listen raw://127.0.0.1:7007
  resound serve --listen frames+unix:///run/resound.sock --idle-timeout 5m
  RESOUND_LISTEN='frames://:30000 raw://:30007' RESOUND_MAX_FRAME=1MiB resound serve";

impl ServeArgs {
    /// Serves. `sockets` are those that the process was started with.
    pub(crate) fn run(&self, sockets: Sockets) -> Result<ExitCode, Failure> {
        // First, so that a signal that comes while the daemon starts is not lost.
        let signals = Signals::catch().map_err(|error| cannot("catch signals", &error))?;
        let mut successor = self.replace.predecessor()?;
        let served = self.serve(signals, sockets, &mut successor);
        if let (Err(failure), Some(successor)) = (&served, &mut successor) {
            successor.fail(&failure.to_string());
        }
        served
    }

    /// Serves; takes over from another process first, if this is its `successor`.
    fn serve(
        &self,
        signals: Signals,
        sockets: Sockets,
        successor: &mut Option<Successor>,
    ) -> Result<ExitCode, Failure> {
        let program =
            Program::of_this_process().map_err(|error| cannot("find this program", &error))?;
        let output = Output::start("stdout", Format::Text, io::stdout())?;
        let listeners: Vec<&Listen> = self.listen.iter().flat_map(|some| &some.0).collect();
        let tables = self.tables();
        let config = self.config(&listeners, tables);
        let mut reactors = Reactors::new(&config, self.reactors, tables > 1)?;
        let recording = self.record.recording(reactors.count());
        recording.iter().try_for_each(|recording| reactors.record(recording))?;
        let record = match &recording {
            Some(recording) => self.record.file(recording)?,
            None => None,
        };
        let mut spoken = Vec::new();
        let (mut ready, mut shown) = (String::new(), Vec::new());
        let (mut plans, mut faulty) = (String::new(), Vec::new());
        let (mut unserved, mut acceptors) = (Vec::new(), Vec::new());
        let mut fault_files = self.faults.open()?;
        for (number, (listen, place)) in (1..).zip(places(listeners, sockets, successor)?) {
            let faults = fault_files.of(number, listen)?;
            let of_listener = faults.as_ref().and_then(|faults| faults.plan().of_listener());
            let verb = if of_listener == Some(Kind::Refuse) { "refusing" } else { "listening" };
            let acceptor = tls::acceptor(listen)
                .map_err(|error| Failure::Usage(format!("--listen {listen}: {error}")))?;
            let bound = match &of_listener {
                None => {
                    let terms = self.terms(faults.as_ref(), acceptor.as_ref());
                    self.listen(&mut reactors, listen, place, successor, &terms)?
                }
                Some(kind) => {
                    let terms = Terms { faults: faults.clone(), ..Terms::default() };
                    protocols::service(listen, &terms)
                        .map_err(|error| Failure::Usage(format!("--listen {listen}: {error}")))?;
                    let socket = serve_nobody(listen, kind, &place, successor.is_some())?;
                    let bound = socket.address().map_err(|error| cannot_listen(listen, error))?;
                    unserved.push(socket);
                    Address::Ip(bound)
                }
            };
            let place = Listen { address: bound, keys: Vec::new(), ..listen.clone() };
            if let Some(acceptor) = acceptor.filter(|_| of_listener.is_none()) {
                tls::announce(listen, &place, &acceptor)
                    .map_err(|error| cannot_listen(listen, &error))?;
                acceptors.push((place.to_string(), acceptor));
            }
            ready.push_str(&format!("{verb} on {place}\n"));
            spoken.push(explain::spoken(listen, &place, self.limits.max_frame));
            // The counters of UDP sockets have the shown name already, and nobody's have none.
            if !protocols::is_udp(listen) && of_listener.is_none() {
                shown.push((place.address.to_string(), place.to_string()));
            }
            if let Some(faults) = faults {
                let plan = faults.plan();
                let seed = match plan.is_repeating() {
                    true => String::new(),
                    false => format!(", seed={}", plan.seed),
                };
                plans.push_str(&format!("faults on {place}: {plan}{seed}\n"));
                faulty.push(Faulty { name: place.to_string(), listen: place, faults });
            }
        }
        tls::watch(acceptors.clone())
            .map_err(|error| Failure::no_thread("the thread that watches certificates", &error))?;

        let limits = reactors.limits();
        let reactors_count = reactors.count();
        let admin = self.admin.bind(successor.as_mut())?;
        let (mut port, own) = self.replace.port(successor.as_mut())?;
        fault_files.begin(successor.is_some())?;
        let (path, replace_timeout) = self.replace.offer();
        let mut offered = reactors.offered();
        let mut supervisor = reactors.start(signals, Notifier::from_env(), self.drain_delay.0)?;
        let faults: Vec<Arc<Faults>> = faulty.iter().map(|one| Arc::clone(&one.faults)).collect();
        supervisor.sum_up(faults.clone());
        if let Some((port, access)) = admin {
            ready.push_str(&format!("listening on {}\n", admin::place(&port.endpoint())));
            let asked = self.admin.asked().unwrap_or_default();
            let bound = port.endpoint().to_string();
            offered.push(Offered::alone(Role::Admin, asked, bound, reactors_count));
            let (loops, lifecycle, start) = supervisor.observed();
            let own = descriptors::count_open() + self.of_admin(tables);
            let connection_room =
                descriptors::max_connections(None, descriptors::raise_limit(), own, tables);
            let daemon = Daemon {
                loops,
                listeners: shown,
                faulty,
                acceptors,
                plans: fault_files.plans.clone(),
                limits,
                connection_room,
                tables: supervisor.tables(),
                start,
                lifecycle,
                log: log::CONTROL,
                recording: recording.clone(),
            };
            supervisor.serve_admin(port, access, daemon)?;
        }
        offered.extend(
            path.map(|path| Offered::alone(Role::Handover, path.clone(), path, reactors_count)),
        );
        if let Some(mut successor) = successor.take() {
            fault_files.note_replaced();
            let taken = successor.take_over(own).map_err(|why| {
                successor.fail(&why);
                Failure::Failed(format!("cannot take over from the running daemon: {why}"))
            })?;
            port = port.or_else(|| taken.map(HandoverPort::new));
            let rest = thread::Builder::new().name("takeover".to_owned());
            rest.spawn(move || successor.take_rest())
                .map_err(|error| Failure::no_thread("the thread of the take-over", &error))?;
        }
        faults.iter().for_each(|faults| faults.begin_listener());
        let handles = supervisor.handles();
        supervisor.record(record.clone());
        supervisor.replace_with(Replacer::new(program, port, offered, handles, replace_timeout));
        supervisor.ready(&ready);
        output.say(&ready);
        output.say(&plans);
        let told = recording.filter(|_| self.record.explain);
        let explained = told.map(|told| Explained::start(&told, spoken, &output)).transpose()?;
        let outcome = supervisor.wait();
        // Also after a failure: what the loops did before it is of use then.
        let saved = record.map_or(Ok(()), |file| file.save());
        drop(explained);
        output.say(&format!("served for {}\n", supervisor.summary()));
        output.flush();
        let journal = fault_files.finish();
        outcome.and(journal).and(saved).map(|()| ExitCode::SUCCESS)
    }

    /// How many tables of descriptors the loops have together.
    fn tables(&self) -> usize {
        if self.descriptor_tables == DescriptorTables::Shared || self.reactors == 1 {
            return 1;
        }
        match descriptor_table::can_be_own() {
            Ok(()) => self.reactors,
            Err(error) => {
                warn!("the reactors share one table of descriptors: unshare(2): {error}");
                1
            }
        }
    }

    /// How many descriptors the admin port takes in a table that has connections: a table that is a loop's own has none of it.
    fn of_admin(&self, tables: usize) -> u64 {
        if tables > 1 { 0 } else { self.admin.descriptors() }
    }

    fn config(&self, listeners: &[&Listen], tables: usize) -> Config {
        let Self { limits, timeouts, .. } = self;
        let limit = descriptors::raise_limit();
        let of_each = Config::OWN_DESCRIPTORS + listeners.len() as u64;
        let own =
            descriptors::count_open() + self.reactors as u64 * of_each + self.of_admin(tables);
        let config = Config {
            max_connections: descriptors::max_connections(
                limits.max_connections,
                limit,
                own,
                tables,
            ),
            backlog: self.backlog,
            max_connections_per_ip: limits.max_connections_per_ip,
            overload: limits.overload.into(),
            max_memory: limits.max_memory.in_memory(),
            idle_timeout: timeouts.idle_timeout.0,
            frame_timeout: timeouts.frame_timeout.0,
            handshake_timeout: timeouts.handshake_timeout.0,
            write_timeout: timeouts.write_timeout.0,
            keepalive: timeouts.keepalive.0,
            user_timeout: timeouts.user_timeout.0,
            grace: self.grace.0,
            busy_poll: self.busy_poll.0,
            measure_turns: self.admin.is_on(),
            ..Config::default()
        };
        info!(
            "at most {} ({}), {} buffered",
            connections(config.max_connections),
            descriptors::open_files(limit, tables),
            limits.max_memory
        );
        for listen in listeners {
            let longest = protocols::longest(listen, limits.max_frame);
            if let Some(longest) = longest.filter(|longest| longest.0 > limits.max_memory.0) {
                warn!(
                    "{listen}: the longest frame is {longest}, and --max-memory is {}: a connection that sends more \
                     than that in one frame is closed. Raise --max-memory, or lower --max-frame or the listener's max=",
                    limits.max_memory
                );
            }
        }
        debug!("{config:?}");
        config
    }

    /// What a listener's keys leave to the flags, and what its loops share.
    fn terms(&self, faults: Option<&Arc<Faults>>, acceptor: Option<&Arc<Acceptor>>) -> Terms {
        let mut terms = Terms {
            max_frame: self.limits.max_frame.0,
            banner: self.banner.clone(),
            tag: self.tag.clone(),
            faults: faults.cloned(),
            ..Terms::default()
        };
        tls::put(&mut terms, acceptor.cloned());
        terms
    }

    /// Listens at `place` as `listen` says; returns the address with the port that the kernel chose.
    fn listen(
        &self,
        reactors: &mut Reactors,
        listen: &Listen,
        place: Place,
        successor: &mut Option<Successor>,
        terms: &Terms,
    ) -> Result<Address, Failure> {
        let service = || protocols::service(listen, terms);
        let services = (0..reactors.count())
            .map(|_| service())
            .collect::<Result<_, String>>()
            .map_err(|error| Failure::Usage(format!("--listen {listen}: {error}")))?;
        let bound = match (place, successor) {
            (Place::TakeOver(claimed), Some(successor)) => {
                return reactors
                    .take_over(listen, &claimed, service, successor)
                    .map_err(|error| cannot_listen(listen, error));
            }
            (Place::TakeOver(_), None) => return Err(cannot_listen(listen, "there is no socket")),
            (Place::Bind(endpoint), _) => {
                reactors.listen(listen, &endpoint, services).map_err(|error| {
                    cannot_listen(listen, bind_error::explain(&endpoint, &error, "--listen"))
                })
            }
            (Place::Adopt(socket), _) => {
                let number = socket.as_raw_fd();
                reactors.adopt(listen, socket, services).map_err(|error| {
                    cannot_listen(listen, format!("descriptor {number} does not fit: {error}"))
                })
            }
        };
        bound.map(Address::from)
    }
}

/// Where a listener is.
enum Place {
    Bind(Endpoint),
    /// A socket that was passed.
    Adopt(OwnedFd),
    /// Sockets of the process that this one replaces.
    TakeOver(Claimed),
}

/// Each of `listeners` with its place, or as often as it has places: several sockets may have one name. `sockets` are
/// those that were passed.
fn places<'l>(
    listeners: Vec<&'l Listen>,
    mut sockets: Sockets,
    successor: &mut Option<Successor>,
) -> Result<Vec<(&'l Listen, Place)>, Failure> {
    let mut places = Vec::new();
    for listen in listeners {
        let claimed = successor.as_mut().map(|successor| claim(successor, listen));
        if let Some(claimed) = claimed.filter(|claimed| !claimed.is_empty()) {
            places.extend(claimed.into_iter().map(|group| (listen, Place::TakeOver(group))));
            continue;
        }
        let bind = |endpoint| vec![Place::Bind(endpoint)];
        let here = match &listen.address {
            Address::Ip(address) => Ok(bind(Endpoint::Tcp(*address))),
            Address::Name { host, port } => {
                resolve::look_up_to_listen(host, *port).map(Endpoint::Tcp).map(bind)
            }
            Address::Unix(path) => Ok(bind(Endpoint::Unix(path.clone()))),
            Address::Passed(name) => {
                sockets.named(name).map(|sockets| sockets.into_iter().map(Place::Adopt).collect())
            }
        };
        let here = here.map_err(|error| cannot_listen(listen, error))?;
        places.extend(here.into_iter().map(|place| (listen, place)));
    }
    let unused = sockets.unused();
    if !unused.is_empty() {
        warn!(
            "sockets were passed that no --listen names: {unused}. Nobody accepts the connections that come there; \
             write one like --listen frames://fd:NAME"
        );
    }
    Ok(places)
}

/// What the process that is replaced has for `listen`.
fn claim(successor: &mut Successor, listen: &Listen) -> Vec<Claimed> {
    let role = if protocols::is_udp(listen) { Role::Datagrams } else { Role::Connections };
    let asked = listen.address.to_string();
    successor.claim(role, &asked, &asked)
}

/// Binds a socket at which nobody is served, because of the fault `kind`. It may be that of the process that this one
/// `replaces` as well.
fn serve_nobody(
    listen: &Listen,
    kind: &Kind,
    place: &Place,
    replaces: bool,
) -> Result<Unserved, Failure> {
    let Place::Bind(endpoint @ Endpoint::Tcp(address)) = place else {
        let why = format!(
            "fault={kind} takes a port of its own, and no socket that listens already; write HOST:PORT"
        );
        return Err(cannot_listen(listen, why));
    };
    let bound = match kind {
        Kind::Refuse => Unserved::refusing(*address),
        _ => Unserved::full(*address, replaces),
    };
    bound.map_err(|error| cannot_listen(listen, bind_error::explain(endpoint, &error, "--listen")))
}

fn cannot_listen(listen: &Listen, why: impl fmt::Display) -> Failure {
    Failure::Failed(format!("cannot listen on {listen}: {why}"))
}

/// One `--listen`, or all of `RESOUND_LISTEN`: descriptions with spaces between them.
#[derive(Debug, Clone)]
struct Listeners(Vec<Listen>);

impl FromStr for Listeners {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let listeners: Vec<Listen> = text
            .split_whitespace()
            .map(|one| {
                let listen = one.parse::<Listen>().map_err(|error| error.to_string())?;
                // Tried here too, so that a wrong key is reported like any other wrong value.
                protocols::service(&listen, &Terms::default())?;
                Ok(listen)
            })
            .collect::<Result<_, String>>()?;
        if listeners.is_empty() {
            return Err(
                "nothing to listen on; write PROTOCOL://ADDRESS, like frames://127.0.0.1:30000"
                    .to_owned(),
            );
        }
        Ok(Self(listeners))
    }
}

/// A time that the kernel takes for keepalive.
fn keepalive(text: &str) -> Result<TimeLimit, String> {
    let limit: TimeLimit = text.parse()?;
    let (least, most) = (Listener::KEEPALIVE_AT_LEAST, Listener::KEEPALIVE_AT_MOST);
    match limit.0 {
        Some(time) if !(least..=most).contains(&time) => {
            Err("the kernel takes 1s to 32767s; write one of those, or off".to_owned())
        }
        _ => Ok(limit),
    }
}

/// A whole number of at least 1.
fn number<N: FromStr + PartialOrd + From<bool>>(text: &str) -> Result<N, String> {
    text.parse()
        .ok()
        .filter(|number| *number >= N::from(true))
        .ok_or_else(|| "not a whole number of at least 1; write one like 4096".to_owned())
}
