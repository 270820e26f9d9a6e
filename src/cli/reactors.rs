//! `--reactors`: one or several event loops, each with its own listeners. They share the limits, and the counters that
//! the main thread reads.

use std::{io, net::UdpSocket, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use resound::{Config, Endpoint, Limits, Listener, Reactor};

use super::{
    Failure, cannot,
    supervisor::{Loop, Supervisor},
    systemd::notify::Notifier,
};
use crate::common::{protocols::Service, signals::Signals};

/// The event loops of one daemon; at least one.
pub(crate) struct Reactors {
    loops: Vec<Loop>,
    limits: Arc<Limits>,
}

/// Parses `--reactors`.
pub(crate) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1024) => Ok(count),
        _ if text == "auto" => Ok(thread::available_parallelism().map_or(1, Into::into)),
        _ => Err("not a number from 1 to 1024; write one, or auto".to_owned()),
    }
}

impl Reactors {
    /// Sets up `count` event loops, which share the limits of `config`.
    pub(crate) fn new(config: &Config, count: usize) -> Result<Self, Failure> {
        let config = Config { share_ports: count > 1, ..config.clone() };
        let limits = Arc::new(Limits::new(&config));
        let loops = (0..count)
            .map(|_| Reactor::sharing(config.clone(), Arc::clone(&limits)))
            .collect::<io::Result<_>>()
            .map_err(|error| cannot("set up the event loop", &error))?;
        Ok(Self { loops, limits })
    }

    /// The limits of all loops together.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    /// How many loops there are.
    pub(crate) const fn count(&self) -> usize {
        self.loops.len()
    }

    /// Lets each loop listen on `endpoint`, with one of `services` each; returns the endpoint with the port that the
    /// kernel chose. The first loop alone serves a Unix socket.
    pub(crate) fn listen(
        &mut self,
        endpoint: &Endpoint,
        services: Vec<Service>,
    ) -> io::Result<Endpoint> {
        let shared = self.loops.len() > 1;
        let mut bound = endpoint.clone();
        for (index, (reactor, service)) in self.loops.iter_mut().zip(services).enumerate() {
            match &bound {
                Endpoint::Unix(_) if index > 0 => break,
                Endpoint::Tcp(_) if index == 0 && shared => probe(&bound, &service)?,
                _ => {}
            }
            bound = listen(reactor, &bound, service)?;
        }
        Ok(bound)
    }

    /// Lets the loops serve a socket that was passed at the start; returns where it is bound.
    ///
    /// All loops accept from copies of a TCP socket: a second socket at its port is not ours to bind, and the other loops
    /// would have nothing to do. A connection then wakes all that wait, and goes to the one that is first. The first loop
    /// alone serves a UDP socket, whose limits hold for each loop by itself, and a Unix socket.
    pub(crate) fn adopt(
        &mut self,
        socket: OwnedFd,
        services: Vec<Service>,
    ) -> io::Result<Endpoint> {
        let mut bound = None;
        for (reactor, service) in self.loops.iter_mut().zip(services) {
            let copy = socket.try_clone()?;
            let endpoint = match service {
                Service::Datagrams(config) => {
                    return reactor.adopt_udp(copy, &config).map(Endpoint::Tcp);
                }
                Service::Connections(protocol) => {
                    reactor.adopt(Listener::inherit(copy)?, protocol)?
                }
            };
            if matches!(endpoint, Endpoint::Unix(_)) {
                return Ok(endpoint);
            }
            bound = Some(endpoint);
        }
        bound.ok_or_else(|| io::Error::other("there is no loop"))
    }

    /// Starts them all; `notifier` is told how they are. A stop that is asked for begins `drain_delay` later.
    pub(crate) fn start(
        self,
        signals: Signals,
        notifier: Notifier,
        drain_delay: Duration,
    ) -> Result<Supervisor, Failure> {
        Supervisor::start(self.loops, signals, notifier, drain_delay)
    }
}

fn listen(reactor: &mut Loop, endpoint: &Endpoint, service: Service) -> io::Result<Endpoint> {
    match (service, endpoint) {
        (Service::Datagrams(config), Endpoint::Tcp(address)) => {
            reactor.listen_udp(*address, &config).map(Endpoint::Tcp)
        }
        (Service::Connections(protocol), _) => reactor.listen(endpoint, protocol),
        (Service::Datagrams(_), Endpoint::Unix(_)) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Fails if another process listens on `endpoint` already. Without this check the kernel would let both share the port
/// (`SO_REUSEPORT`, socket(7)).
fn probe(endpoint: &Endpoint, service: &Service) -> io::Result<()> {
    match (service, endpoint) {
        (Service::Datagrams(_), Endpoint::Tcp(address)) => UdpSocket::bind(address).map(drop),
        (_, Endpoint::Tcp(_)) => Listener::bind(endpoint, 1, false).map(drop),
        (_, Endpoint::Unix(_)) => Ok(()),
    }
}
