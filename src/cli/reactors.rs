//! `--reactors`: several event loops, each with a thread and listeners of its own, and nothing shared but what
//! the main thread reads of them in the end.

use std::{io, net::UdpSocket, os::unix::net::UnixStream, sync::Arc, thread};

use log::error;
use resound::{
    Config, Endpoint, Handle, Listener, Reactor, Stats, dispatcher::Phase, protocol::Protocol,
};

use super::{Failure, cannot};
use crate::common::protocols::Service;

type One = Reactor<Box<dyn Protocol + Send>>;

/// The event loops of one daemon; at least one.
pub(crate) struct Reactors(Vec<One>);

/// Parses `--reactors`.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ if text == "auto" => Ok(thread::available_parallelism().map_or(1, Into::into)),
        _ => Err("not a number from 1 to 1024; write one, or auto".to_owned()),
    }
}

impl Reactors {
    /// So many event loops, which share the limits of `config` equally.
    pub(crate) fn new(config: &Config, count: usize) -> Result<Self, Failure> {
        if config.max_connections < count {
            return Err(Failure::Usage(format!(
                "--max-connections {} leaves some of {count} reactors with none; allow more, or have fewer \
                 --reactors",
                config.max_connections
            )));
        }
        if count > 1 && config.max_connections_per_ip.is_some() {
            return Err(Failure::Usage(
                "--max-connections-per-ip is counted by one reactor, and the connections of an address may come to \
                 any; leave it out, or have one of --reactors"
                    .to_owned(),
            ));
        }
        let share = |whole: usize, index| whole / count + usize::from(index < whole % count);
        (0..count)
            .map(|index| {
                Reactor::new(Config {
                    max_connections: share(config.max_connections, index),
                    max_memory: share(config.max_memory, index),
                    share_ports: count > 1,
                    ..config.clone()
                })
            })
            .collect::<io::Result<_>>()
            .map(Self)
            .map_err(|error| cannot("set up the event loop", &error))
    }

    /// How many there are.
    pub(crate) const fn count(&self) -> usize {
        self.0.len()
    }

    /// Has each listen on `endpoint` with one of `services`; returns where that really is.
    pub(crate) fn listen(
        &mut self,
        endpoint: &Endpoint,
        services: Vec<Service>,
    ) -> io::Result<Endpoint> {
        let shared = self.0.len() > 1;
        let mut bound = endpoint.clone();
        for (index, (reactor, service)) in self.0.iter_mut().zip(services).enumerate() {
            match &bound {
                Endpoint::Unix(_) if index > 0 => break,
                Endpoint::Tcp(_) if index == 0 && shared => probe(&bound, &service)?,
                _ => {}
            }
            bound = listen(reactor, &bound, service)?;
        }
        Ok(bound)
    }

    /// Serves until `stop` becomes readable and all have finished; what they have done together.
    pub(crate) fn run(self, stop: UnixStream) -> (io::Result<()>, Stats) {
        let stats: Vec<Arc<Stats>> = self.0.iter().map(Reactor::stats).collect();
        let handles: Vec<Handle> = self.0.iter().map(Reactor::handle).collect();
        let outcome = run_all(self.0, stop, &handles);
        (outcome, Stats::sum(stats.iter().map(|stats| &**stats)))
    }
}

/// Runs the first on this thread and each other one on its own. Whichever stops first, all do.
fn run_all(reactors: Vec<One>, stop: UnixStream, handles: &[Handle]) -> io::Result<()> {
    let stop_all = || handles.iter().for_each(Handle::stop);
    let mut reactors = reactors.into_iter();
    let Some(mut first) = reactors.next() else { return Ok(()) };
    first.stop_on(mio::net::UnixStream::from_std(stop))?;
    thread::scope(|scope| {
        for (index, mut reactor) in (1..).zip(reactors) {
            let run = move || {
                if let Err(error) = reactor.run() {
                    error!("reactor {index}: {error}");
                }
                stop_all();
            };
            thread::Builder::new().name(format!("reactor-{index}")).spawn_scoped(scope, run)?;
        }
        let outcome = loop {
            match first.turn(None) {
                Ok(Phase::Running) => {}
                Ok(Phase::Draining { .. }) => stop_all(),
                Ok(Phase::Stopped) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        stop_all();
        outcome
    })
}

fn listen(reactor: &mut One, endpoint: &Endpoint, service: Service) -> io::Result<Endpoint> {
    match (service, endpoint) {
        (Service::Datagrams(config), Endpoint::Tcp(address)) => {
            reactor.listen_udp(*address, &config).map(Endpoint::Tcp)
        }
        (Service::Connections(protocol), _) => reactor.listen(endpoint, protocol),
        (Service::Datagrams(_), Endpoint::Unix(_)) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Fails if someone else is on `endpoint` already: the kernel would let us share a port with them, too.
fn probe(endpoint: &Endpoint, service: &Service) -> io::Result<()> {
    match (service, endpoint) {
        (Service::Datagrams(_), Endpoint::Tcp(address)) => UdpSocket::bind(address).map(drop),
        (_, Endpoint::Tcp(_)) => Listener::bind(endpoint, 1, false).map(drop),
        (_, Endpoint::Unix(_)) => Ok(()),
    }
}
