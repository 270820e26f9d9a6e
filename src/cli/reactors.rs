//! `--reactors`: one or several event loops, each with its own listeners. They share the limits, and the counters that
//! the main thread reads. With `--descriptor-tables own`, each also has a table of descriptors of its own, where all that it
//! opens is opened.

use std::{io, net::UdpSocket, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use resound::{
    Config, Endpoint, Limits, Listener, Reactor,
    listen::{Address, Listen},
};

use super::{
    Failure, cannot,
    new_loop::{Loop, NewLoop},
    supervisor::Supervisor,
    systemd::notify::Notifier,
};
use crate::{
    common::{protocols::Service, signals::Signals, table_thread::Table},
    handover::{Claimed, LoopHandle, Offered, Role, Successor, Target},
    timeline::recording::Recording,
};

/// The event loops of one daemon; at least one.
pub(crate) struct Reactors {
    loops: Vec<NewLoop>,
    limits: Arc<Limits>,
    /// The sockets that they serve, or will.
    offered: Vec<Offered>,
    /// How many `--listen` there were so far.
    groups: usize,
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
    /// Sets up `count` event loops, which share the limits of `config`; each with a table of descriptors of its own, if so.
    pub(crate) fn new(config: &Config, count: usize, own_tables: bool) -> Result<Self, Failure> {
        let config = Config { share_ports: count > 1, ..config.clone() };
        let limits = Arc::new(Limits::new(&config));
        let failed = |error: io::Error| cannot("set up the event loop", &error);
        // All of them before the first table, which begins as a copy: any thread may wake any loop, and their wakers must
        // have the same number in all tables.
        let loops: Vec<Loop> = (0..count)
            .map(|_| Reactor::sharing(config.clone(), Arc::clone(&limits)))
            .collect::<io::Result<_>>()
            .map_err(failed)?;
        let place = |(index, one)| match own_tables {
            false => Ok(NewLoop::Sharing(one)),
            true => {
                let table = Table::start(format!("table-{index}"))?;
                Ok(NewLoop::Apart(table.foreign(one)))
            }
        };
        let loops =
            loops.into_iter().enumerate().map(place).collect::<io::Result<_>>().map_err(failed)?;
        Ok(Self { loops, limits, offered: Vec::new(), groups: 0 })
    }

    /// The limits of all loops together.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.limits)
    }

    /// Records what each loop does.
    pub(crate) fn record(&mut self, recording: &Recording) -> Result<(), Failure> {
        for (one, recorder) in self.loops.iter_mut().zip(recording.recorders()) {
            let recorder = Arc::clone(recorder);
            one.with(move |one| one.record(recorder))
                .map_err(|error| cannot("record what the loops do", &error))?;
        }
        Ok(())
    }

    /// How many loops there are.
    pub(crate) const fn count(&self) -> usize {
        self.loops.len()
    }

    /// Lets each loop listen on `endpoint`, with one of `services` each, as `listen` says; returns the endpoint with the
    /// port that the kernel chose. The first loop alone serves a Unix socket.
    pub(crate) fn listen(
        &mut self,
        listen: &Listen,
        endpoint: &Endpoint,
        services: Vec<Service>,
    ) -> io::Result<Endpoint> {
        self.groups += 1;
        let shared = self.loops.len() > 1;
        let mut bound = endpoint.clone();
        for (index, service) in services.into_iter().enumerate() {
            match &bound {
                Endpoint::Unix(_) if index > 0 => break,
                Endpoint::Tcp(_) if index == 0 && shared => probe(&bound, &service)?,
                _ => {}
            }
            let role = role(&service);
            let at = bound.clone();
            bound = self.loops[index].with(move |one| self::listen(one, &at, service))??;
            self.note(listen, role, &bound, index);
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
        listen: &Listen,
        socket: OwnedFd,
        services: Vec<Service>,
    ) -> io::Result<Endpoint> {
        self.groups += 1;
        let mut bound = None;
        // It has the same number in all tables, which began as copies of the one that it was passed in.
        let socket = Arc::new(socket);
        for (index, service) in services.into_iter().enumerate() {
            let (role, socket) = (role(&service), Arc::clone(&socket));
            let adopt = move |one: &mut Loop| adopt(one, &socket, service);
            let endpoint = self.loops[index].with(adopt)??;
            self.note(listen, role, &endpoint, index);
            if role == Role::Datagrams || matches!(endpoint, Endpoint::Unix(_)) {
                return Ok(endpoint);
            }
            bound = Some(endpoint);
        }
        bound.ok_or_else(|| io::Error::other("there is no loop"))
    }

    /// Keeps places for the sockets that this process has claimed from the one that it replaces, one for each socket or one
    /// for each loop, whichever is more; `service` makes what each place speaks. Loops without a socket of their own get a
    /// copy of another loop's, as in [`adopt`](Self::adopt). Returns where they are bound.
    pub(crate) fn take_over(
        &mut self,
        listen: &Listen,
        claimed: &Claimed,
        service: impl Fn() -> Result<Service, String>,
        successor: &mut Successor,
    ) -> Result<Address, String> {
        self.groups += 1;
        let Claimed(sockets) = claimed;
        let (_, first) = sockets.first().ok_or("there is no socket")?;
        let endpoint = first
            .bound
            .parse()
            .map_or_else(|_| Endpoint::Unix((&first.bound).into()), Endpoint::Tcp);
        let is_spread = first.role == Role::Connections && matches!(endpoint, Endpoint::Tcp(_));
        let count = if is_spread { sockets.len().max(self.loops.len()) } else { sockets.len() };
        for (place, (number, offered)) in sockets.iter().cycle().take(count).enumerate() {
            let reactor = place % self.loops.len();
            let one = &mut self.loops[reactor];
            let (service, at) = (service()?, endpoint.clone());
            let reserved = one.with(move |one| {
                let index = match (service, &at) {
                    (Service::Connections(protocol), _) => one.reserve(&at, protocol)?,
                    (Service::Datagrams(config), Endpoint::Tcp(address)) => {
                        one.reserve_udp(*address, &config)
                    }
                    (Service::Datagrams(_), Endpoint::Unix(_)) => {
                        return Err(io::Error::other("not a UDP socket"));
                    }
                };
                Ok((index, one.handle()))
            });
            let (index, handle) =
                reserved.and_then(|reserved| reserved).map_err(|error| error.to_string())?;
            let handle = LoopHandle::new(handle, one.table());
            let (number, is_copy) = (*number, place >= sockets.len());
            let takes_connections =
                !is_copy && offered.role == Role::Connections && offered.terms == terms(listen);
            successor.place(Target { number, handle, index, is_copy, takes_connections });
            self.note(listen, offered.role, &endpoint, reactor);
        }
        Ok(endpoint.into())
    }

    /// Notes that the loop `reactor` has one more socket.
    fn note(&mut self, listen: &Listen, role: Role, bound: &Endpoint, reactor: usize) {
        let is_before = |other: &&Offered| (other.reactor, other.role) == (reactor, role);
        self.offered.push(Offered {
            role,
            group: self.groups,
            asked: listen.address.to_string(),
            bound: bound.to_string(),
            terms: terms(listen),
            reactor,
            index: self.offered.iter().filter(is_before).count(),
        });
    }

    /// The sockets that the loops serve.
    pub(crate) fn offered(&self) -> Vec<Offered> {
        self.offered.clone()
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

const fn role(service: &Service) -> Role {
    match service {
        Service::Connections(_) => Role::Connections,
        Service::Datagrams(_) => Role::Datagrams,
    }
}

/// The protocol and the keys of `listen`, without its address.
fn terms(listen: &Listen) -> String {
    let keys = listen.keys.iter().map(|(key, value)| format!(",{key}={value}"));
    let tls = if listen.tls { "+tls" } else { "" };
    format!("{}{tls}{}", listen.protocol, keys.collect::<String>())
}

/// Lets a loop serve a copy of `socket`; returns where it is bound.
fn adopt(reactor: &mut Loop, socket: &OwnedFd, service: Service) -> io::Result<Endpoint> {
    let copy = socket.try_clone()?;
    match service {
        Service::Datagrams(config) => Ok(Endpoint::Tcp(reactor.adopt_udp(copy, &config)?)),
        Service::Connections(protocol) => reactor.adopt(Listener::inherit(copy)?, protocol),
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
