//! A listener with TLS on the simulated kernel. Its peers are rustls clients: what they decrypt is compared with what they
//! have sent, and how they end with what the server counts.
//!
//! Keys are random, so the bytes of two runs with the same seed differ. Their number does not: the certificate is signed
//! with Ed25519, and all else in a handshake has a fixed length. So each run takes the same decisions again.

use std::{
    cell::RefCell,
    io::{ErrorKind, Read, Write},
    path::PathBuf,
    rc::Rc,
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use resound::{
    Config, Reason, Recorder,
    dispatcher::{Dispatcher, Phase},
    net::Readiness,
    protocol::{
        Frames,
        tls::{Acceptor, Failure, Identity, Tls, TlsTerms},
    },
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use super::{
    budget::Moved,
    choices::Choices,
    kernel::{Faults, Kernel, SharedKernel, Simulated},
};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a peer that takes nothing is waited for.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Clients in a run.
const CLIENTS: usize = 8;

/// What a connection may have beside the bytes that it has read and not answered: a handshake, records that are not
/// whole, and the room by which buffers grow.
const OVERHEAD: u64 = 40 << 10;

/// A certificate, and what accepts connections with it. It is made once: key generation is slow.
struct Identities {
    acceptor_terms: TlsTerms,
    roots: RootCertStore,
}

static IDENTITIES: LazyLock<Identities> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.serial_number = Some(7.into());
    let certificate = params.self_signed(&key).unwrap();
    let folder = std::env::temp_dir().join(format!("resound-simulation-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let put = |name: &str, text: String| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = (put("chain.pem", certificate.pem()), put("key.pem", key.serialize_pem()));
    let acceptor_terms = TlsTerms { identity: Identity::Files(vec![files]), ..TlsTerms::default() };
    // It reads the files now.
    Acceptor::new(acceptor_terms.clone()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()).unwrap();
    Identities { acceptor_terms, roots }
});

/// How a client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finale {
    /// `close_notify`, and then it receives until the server's FIN.
    CloseNotify,
    /// `close_notify` and FIN.
    CloseNotifyAndFin,
    /// FIN without `close_notify`: a truncation.
    Fin,
    /// RST.
    Reset,
    /// It says nothing more in the middle of its handshake.
    Stall,
    /// It changes, leaves out or doubles a byte of what it sends.
    Damage,
}

const FINALES: [Finale; 8] = [
    Finale::CloseNotify,
    Finale::CloseNotify,
    Finale::CloseNotifyAndFin,
    Finale::CloseNotifyAndFin,
    Finale::Fin,
    Finale::Reset,
    Finale::Stall,
    Finale::Damage,
];

/// From 0 to `most`; all of it once a script has come to its end, so that the run does, too.
fn some(choices: &mut Choices, most: usize) -> usize {
    if choices.is_exhausted() { most } else { choices.length(most) }
}

/// A peer.
struct Client {
    wire: usize,
    tls: ClientConnection,
    finale: Finale,
    /// What it says inside TLS, and how much of it is encrypted.
    input: Vec<u8>,
    said: usize,
    /// Where each whole frame of it ends.
    ends: Vec<usize>,
    /// Encrypted, and not sent.
    ciphertext: Vec<u8>,
    /// How many bytes it has sent, and where it stalls or does damage.
    sent: u64,
    mishap_at: u64,
    /// By how much more it says, sends and takes at once than usual.
    haste: usize,
    /// Whether it takes nothing for now.
    is_deaf: bool,
    output: Vec<u8>,
    has_said_goodbye: bool,
    /// Whether the server's `close_notify` has come.
    is_closed: bool,
    /// Why its TLS cannot go on.
    error: Option<rustls::Error>,
    accepted: Option<Duration>,
}

impl Client {
    fn new(kernel: &mut Kernel) -> Self {
        let choices = &mut kernel.choices;
        let version = choices.one_of(&[&TLS13, &TLS13, &TLS12]);
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[version]).unwrap();
        let mut config =
            builder.with_root_certificates(IDENTITIES.roots.clone()).with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.max_fragment_size = choices.one_of(&[None, None, Some(32 + 5), Some(1_000)]);
        let name = "localhost".try_into().unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), name).unwrap();
        tls.set_buffer_limit(None);
        let (mut input, mut ends) = (Vec::new(), Vec::new());
        let longest = choices.one_of(&[0, 20, 3_000, 200_000]);
        for _ in 0..choices.below(if longest > 3_000 { 4 } else { 12 }) {
            let length = choices.length(longest);
            let byte = choices.below(256) as u8;
            input.extend((length as u32).to_le_bytes());
            input.extend((0..length).map(|at| byte.wrapping_add((at % 251) as u8)));
            ends.push(input.len());
        }
        if choices.chance(20) {
            // A frame that is never whole.
            input.extend(1_000_u32.to_le_bytes());
            input.extend(vec![1; choices.below(1_000)]);
        }
        let finale = choices.one_of(&FINALES);
        let mishap_at = match finale {
            // A ClientHello is longer, so this is in the middle of a handshake.
            Finale::Stall => choices.below(200) as u64,
            _ => choices.length(5_000) as u64,
        };
        let is_deaf = choices.chance(20);
        Self {
            wire: kernel.connect(0),
            tls,
            finale,
            input,
            said: 0,
            ends,
            ciphertext: Vec::new(),
            sent: 0,
            mishap_at,
            haste: 1,
            is_deaf,
            output: Vec::new(),
            has_said_goodbye: false,
            is_closed: false,
            error: None,
            accepted: None,
        }
    }

    /// The whole frames among the first `said` bytes.
    fn whole(&self) -> &[u8] {
        let count = self.ends.partition_point(|&end| end <= self.said);
        &self.input[..count.checked_sub(1).map_or(0, |last| self.ends[last])]
    }

    /// Whether it breaks off in the middle of a frame.
    fn is_cut_in_frame(&self) -> bool {
        self.whole().len() < self.said
    }

    /// Receives, says some more, and sends some of it.
    fn act(&mut self, kernel: &mut Kernel) {
        if self.accepted.is_none() && kernel.wire(self.wire).token.is_some() {
            self.accepted = Some(kernel.now);
        }
        self.receive(kernel);
        if kernel.wire(self.wire).closed.is_some() || kernel.wire(self.wire).reset {
            return;
        }
        self.speak(kernel);
        self.send(kernel);
    }

    fn receive(&mut self, kernel: &mut Kernel) {
        self.is_deaf &= !kernel.choices.chance(5) && !kernel.choices.is_exhausted();
        let most = if self.is_deaf { 0 } else { some(&mut kernel.choices, 100_000 * self.haste) };
        kernel.deliver(self.wire, most);
        let bytes: Vec<u8> = kernel.wire_mut(self.wire).delivered.drain(..).collect();
        let mut rest = &bytes[..];
        while !rest.is_empty() && self.error.is_none() {
            self.tls.read_tls(&mut rest).unwrap();
            self.error = self.tls.process_new_packets().err();
            let mut piece = vec![0; 1 << 16];
            loop {
                match self.tls.reader().read(&mut piece) {
                    Ok(0) => {
                        self.is_closed = true;
                        break;
                    }
                    Ok(count) => self.output.extend(&piece[..count]),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::WouldBlock, "no FIN is told to it");
                        break;
                    }
                }
            }
            if self.is_closed {
                assert!(rest.is_empty(), "{} bytes behind close_notify", rest.len());
                break;
            }
        }
        let whole = self.whole();
        assert!(whole.starts_with(&self.output), "{} B for {}", self.output.len(), whole.len());
    }

    fn speak(&mut self, kernel: &mut Kernel) {
        let left = self.input.len() - self.said;
        if self.tls.is_handshaking() || self.error.is_some() {
            // The handshake says what is to be said.
        } else if left > 0 {
            if self.tls.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3)
                && kernel.choices.chance(5)
            {
                self.tls.refresh_traffic_keys().unwrap();
            }
            let count = some(&mut kernel.choices, 60_000 * self.haste).min(left);
            self.tls.writer().write_all(&self.input[self.said..self.said + count]).unwrap();
            self.said += count;
        } else if !self.has_said_goodbye {
            self.has_said_goodbye = true;
            if matches!(self.finale, Finale::CloseNotify | Finale::CloseNotifyAndFin) {
                self.tls.send_close_notify();
            }
        }
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.ciphertext).unwrap();
        }
    }

    fn send(&mut self, kernel: &mut Kernel) {
        let window = kernel.wire(self.wire).window();
        let mut count =
            some(&mut kernel.choices, 40_000 * self.haste).min(self.ciphertext.len()).min(window);
        if self.finale == Finale::Stall {
            count = count.min(usize::try_from(self.mishap_at - self.sent).unwrap());
        }
        let mut bytes: Vec<u8> = self.ciphertext.drain(..count).collect();
        let range = self.sent..self.sent + count as u64;
        if self.finale == Finale::Damage && range.contains(&self.mishap_at) {
            let at = usize::try_from(self.mishap_at - self.sent).unwrap();
            match kernel.choices.below(3) {
                0 => bytes[at] ^= 1 << kernel.choices.below(8),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        self.sent += count as u64;
        let is_urgent = kernel.choices.chance(5);
        kernel.send(self.wire, &bytes, is_urgent);
        let is_done = self.has_said_goodbye && self.ciphertext.is_empty();
        let gives_up = self.error.is_some() && self.ciphertext.is_empty();
        let goes = match self.finale {
            Finale::Reset if is_done || kernel.choices.chance(2) => return kernel.reset(self.wire),
            // It waits for the server.
            Finale::CloseNotify | Finale::Stall => {
                gives_up || kernel.wire(self.wire).fin_sent.is_some()
            }
            _ => is_done || gives_up,
        };
        if goes && !kernel.wire(self.wire).fin {
            kernel.fin(self.wire);
        }
    }
}

/// What a loop has recorded: no turn of it moves more than its budget.
struct Recording {
    recorder: Arc<Recorder>,
    next: u64,
    moved: Moved,
}

impl Recording {
    fn check(&mut self) {
        for one in self.recorder.read(self.next) {
            assert_eq!(one.number, self.next, "events are lost");
            self.next += 1;
            self.moved.add(&one);
        }
    }
}

/// A run: what happened, without what is random about it.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Trace(Vec<(Duration, usize, u64, u64)>);

struct Run {
    kernel: SharedKernel,
    dispatcher: Dispatcher<Simulated, Tls<Frames>>,
    acceptor: Arc<Acceptor>,
    max_memory: usize,
    clients: Vec<Client>,
    recording: Recording,
    /// Whether the next poll blocks, and how many in a row neither did nor led to anything.
    blocks: bool,
    idle_rounds: u32,
    stops: bool,
    trace: Trace,
}

impl Run {
    fn new(mut choices: Choices) -> Self {
        let c = &mut choices;
        let hostility = Faults {
            interrupted: c.one_of(&[0, 20]),
            short_write: c.one_of(&[0, 10, 50]),
            meanwhile: c.one_of(&[0, 50]),
            register: 0,
            accept: 0,
        };
        let max_memory = c.one_of(&[1 << 30, 1 << 30, 300_000]);
        let stops = c.chance(20);
        let kernel = Rc::new(RefCell::new(Kernel::new(choices, hostility, 1_000)));
        let acceptor = Arc::new(Acceptor::new(IDENTITIES.acceptor_terms.clone()).unwrap());
        let config = Config {
            max_memory,
            frame_timeout: None,
            idle_timeout: None,
            handshake_timeout: Some(HANDSHAKE_TIMEOUT),
            write_timeout: Some(WRITE_TIMEOUT),
            ..Config::default()
        };
        let mut dispatcher = Dispatcher::new(Simulated(Rc::clone(&kernel)), config);
        let protocol = Tls::new(Arc::clone(&acceptor), Frames::default());
        dispatcher.listen(0, "tls".to_owned(), protocol).unwrap();
        let recorder = Arc::new(Recorder::new(Instant::now(), 1 << 16));
        dispatcher.record(Arc::clone(&recorder));
        let recording = Recording { recorder, next: 0, moved: Moved::default() };
        let clients =
            (0..CLIENTS).map(|_| Client::new(&mut kernel.borrow_mut())).collect::<Vec<_>>();
        Self {
            kernel,
            dispatcher,
            acceptor,
            max_memory,
            clients,
            recording,
            blocks: true,
            idle_rounds: 0,
            stops,
            trace: Trace::default(),
        }
    }

    fn run(mut self) -> Trace {
        for round in 0_u32.. {
            assert!(round < 300_000, "it does not come to an end: {:?}", self.dispatcher.inspect());
            for client in &mut self.clients {
                client.act(&mut self.kernel.borrow_mut());
            }
            let is_quiet = self.step();
            self.check();
            let kernel = &self.kernel;
            let is_closed = |client: &Client| kernel.borrow().wire(client.wire).closed.is_some();
            if self.clients.iter().all(is_closed) {
                break;
            }
            if self.stops && kernel.borrow_mut().choices.chance(1) {
                self.dispatcher.stop();
            }
            self.pass_time(is_quiet);
        }
        self.check_ends();
        self.dispatcher.stop();
        while self.dispatcher.phase() != Phase::Stopped {
            self.dispatcher.expire();
        }
        let held = self.dispatcher.inspect();
        assert!(held.connections.is_empty() && held.lent == 0, "{held:?}");
        self.trace
    }

    /// One round of the loop. Returns whether nothing was to do.
    fn step(&mut self) -> bool {
        let calls = self.kernel.borrow().calls;
        let events = {
            let mut kernel = self.kernel.borrow_mut();
            let mut events = kernel.poll(40);
            if kernel.choices.chance(5) {
                let client = &self.clients[kernel.choices.below(CLIENTS)];
                events.extend(kernel.wire(client.wire).token.map(|token| (token, Readiness::ALL)));
            }
            events
        };
        let is_quiet = events.is_empty();
        self.dispatcher.polled(|| events.len());
        for (token, readiness) in events {
            self.dispatcher.event(token, readiness);
        }
        self.dispatcher.run_queued();
        self.dispatcher.expire();
        let did_nothing = !self.blocks && is_quiet && self.kernel.borrow().calls == calls;
        self.idle_rounds = if did_nothing { self.idle_rounds + 1 } else { 0 };
        let stopped = self.dispatcher.phase() == Phase::Stopped;
        assert!(self.idle_rounds < 2 || stopped, "it spins: {:?}", self.dispatcher.inspect());
        self.blocks = self.dispatcher.wait() != Some(Duration::ZERO);
        is_quiet
    }

    /// Lets some time pass, or all until the next deadline where nothing else can happen.
    fn pass_time(&mut self, is_quiet: bool) {
        let wait = self.dispatcher.wait().unwrap_or_default();
        let mut kernel = self.kernel.borrow_mut();
        let waits = |client: &Client| {
            let wire = kernel.wire(client.wire);
            let is_stalled = client.finale == Finale::Stall && client.sent == client.mishap_at;
            wire.closed.is_some() || is_stalled || (wire.fin && !client.is_deaf)
        };
        let everyone_waits = self.clients.iter().all(waits) || kernel.choices.is_exhausted();
        if is_quiet && everyone_waits && !kernel.has_events() {
            kernel.now += wait;
        } else if kernel.choices.chance(20) {
            kernel.now += Duration::from_millis(1);
        }
    }

    /// What must hold after each round.
    fn check(&mut self) {
        self.recording.check();
        let inspection = self.dispatcher.inspect();
        let kernel = self.kernel.borrow();
        for c in &inspection.connections {
            let index = self.clients.iter().position(|client| {
                let wire = kernel.wire(client.wire);
                wire.token == Some(c.token) && wire.closed.is_none()
            });
            let index = index.unwrap_or_else(|| panic!("of nobody: {c:?}"));
            let wire = kernel.wire(self.clients[index].wire);
            let unanswered = wire.read.saturating_sub(wire.written);
            let most = OVERHEAD + 4 * unanswered;
            assert!(c.capacity as u64 <= most, "{unanswered} B are not answered: {c:?}");
            if !c.queued && !wire.has_edge() {
                let is_stuck = if c.owed > 0 { !wire.is_blocked() } else { wire.is_readable() };
                assert!(!is_stuck, "nothing wakes it: {c:?}, {wire:?}");
            }
        }
        assert!(inspection.lent <= self.max_memory + (64 << 10), "{} B", inspection.lent);
        for (index, client) in self.clients.iter().enumerate() {
            let wire = kernel.wire(client.wire);
            self.trace.0.push((kernel.now, index, wire.read, wire.written));
        }
    }

    /// What must hold when all connections are closed.
    fn check_ends(&mut self) {
        let stats = self.dispatcher.stats().total();
        let mut cut_short = 0;
        let mut stalled = 0;
        let is_undisturbed = self.max_memory == 1 << 30 && !self.stops;
        for client in &mut self.clients {
            client.is_deaf = false;
            let kernel = &mut *self.kernel.borrow_mut();
            kernel.deliver(client.wire, usize::MAX);
            while !kernel.wire(client.wire).delivered.is_empty() {
                client.receive(kernel);
            }
            client.receive(kernel);
            let wire = kernel.wire(client.wire);
            let context = format!("{:?}, {:?}, {wire:?}", client.finale, client.error);
            if !is_undisturbed || stats.closed(Reason::SlowReader) > 0 {
                continue;
            }
            match client.finale {
                Finale::CloseNotify | Finale::CloseNotifyAndFin | Finale::Fin => {
                    assert!(client.output == client.whole(), "not all of it: {context}");
                    assert!(client.is_closed, "no close_notify: {context}");
                    let is_cut = client.finale == Finale::Fin || client.is_cut_in_frame();
                    cut_short += u64::from(is_cut);
                }
                Finale::Stall => {
                    stalled += 1;
                    let due = client.accepted.unwrap() + HANDSHAKE_TIMEOUT;
                    let fin = wire.fin_sent.unwrap_or_else(|| panic!("no FIN: {context}"));
                    // It is seen to be accepted up to one round later.
                    let early = Duration::from_millis(1);
                    assert!(fin.at <= due && fin.at + early >= due, "{due:?}: {context}");
                }
                Finale::Reset | Finale::Damage => {}
            }
        }
        let others =
            self.clients.iter().any(|c| matches!(c.finale, Finale::Reset | Finale::Damage));
        if !is_undisturbed || stats.closed(Reason::SlowReader) > 0 {
            return;
        }
        // A ClientHello of which a byte is missing is waited for, too.
        assert!(stats.closed(Reason::SlowHandshake) >= stalled, "{stats:?}");
        assert!(stats.truncated.value() >= cut_short, "{stats:?}");
        if !others {
            assert_eq!(stats.closed(Reason::SlowHandshake), stalled);
            assert_eq!(stats.truncated.value(), cut_short, "{stats:?}");
            assert_eq!(stats.closed(Reason::PeerClosed), CLIENTS as u64 - stalled);
            let handshakes = self.acceptor.handshakes();
            assert_eq!((handshakes.full(), handshakes.resumed()), (CLIENTS as u64 - stalled, 0));
            let silent: u64 = handshakes
                .failed()
                .iter()
                .map(|&(failure, count)| {
                    assert_eq!(failure, Failure::Silent);
                    count
                })
                .sum();
            assert!(silent <= stalled);
        }
    }
}

/// One run.
pub(crate) fn run(choices: Choices) -> Trace {
    Run::new(choices).run()
}

/// Runs in `cargo test`.
#[cfg(test)]
const SEEDS: u64 = 20;

#[test]
fn tls_holds_every_invariant_whatever_the_kernel_and_the_peers_do() {
    crate::seeds::each(SEEDS, "simulation tls", |seed| {
        run(Choices::Seed(seed));
    });
}

#[test]
fn a_script_comes_to_its_end_however_short_it_is() {
    for length in [0, 1, 10, 100, 1_000] {
        for byte in [0, 7, 99, 255] {
            run(Choices::Script { bytes: vec![byte; length], next: 0 });
        }
    }
}

#[test]
fn the_turns_of_long_frames_inside_tls_have_their_budget() {
    let mut run = Run::new(Choices::Script { bytes: Vec::new(), next: 0 });
    for client in &mut run.clients[..2] {
        run.kernel.borrow_mut().wire_mut(client.wire).capacity = 8 << 20;
        client.haste = 1_000;
        client.input = [&(4_u32 << 20).to_le_bytes()[..], &vec![7; 4 << 20]].concat();
        client.ends = vec![client.input.len()];
    }
    run.run();
}

#[test]
fn a_seed_gives_the_same_run_although_its_keys_are_others() {
    for seed in 100..110 {
        assert!(run(Choices::Seed(seed)) == run(Choices::Seed(seed)), "seed {seed}");
    }
}
