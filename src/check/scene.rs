//! What the script of a case works with: the server under test, its clients, and payloads.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{
    peer::{Dial, Peer},
    script::Script,
    subject::Subject,
    target::Target,
    verdict::{Fail, Verdict},
};
use crate::load::random::Random;

/// One case's surroundings.
#[derive(Debug)]
pub(crate) struct Scene<'r> {
    pub(super) target: Arc<Target>,
    /// Bounds every wait.
    pub(super) timeout: Duration,
    pub(super) script: Script,
    /// How many descriptors this process may open.
    pub(super) descriptors: u64,
    pub(super) subject: Option<&'r RefCell<Subject>>,
    pub(super) seed: Cell<u64>,
}

/// Between parts of a message that are meant to be read one by one. Nothing depends on whether they are.
const PAUSE: Duration = Duration::from_millis(2);

impl Scene<'_> {
    /// A client that has connected.
    pub(super) fn peer(&self, name: &str) -> Result<Peer, Fail> {
        Peer::connect(name, &self.dial(false))
    }

    /// A client that has connected, and has sent no handshake.
    pub(super) fn bare_peer(&self, name: &str) -> Result<Peer, Fail> {
        Peer::connect_only(name, &self.dial(false))
    }

    /// A client that takes little at a time.
    pub(super) fn small_peer(&self, name: &str) -> Result<Peer, Fail> {
        Peer::connect(name, &self.dial(true))
    }

    /// As many as `count`, called `NAME1`, `NAME2` …
    pub(super) fn peers(&self, name: &str, count: usize) -> Result<Vec<Peer>, Fail> {
        (1..=count).map(|number| self.peer(&format!("{name}{number}"))).collect()
    }

    fn dial(&self, is_small: bool) -> Dial<'_> {
        Dial { target: &self.target, timeout: self.timeout, script: &self.script, is_small }
    }

    /// Letters and digits, `length` of them or as many as fit a message, different each time.
    pub(super) fn payload(&self, length: usize) -> Vec<u8> {
        const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
        let length = length.min(usize::try_from(self.target.limit).unwrap_or(usize::MAX));
        let mut random = Random::new(self.seed.replace(self.seed.get() + 1));
        let mut payload = Vec::with_capacity(length);
        while payload.len() < length {
            let bits = random.next().to_le_bytes();
            payload.extend(bits.iter().map(|byte| LETTERS[usize::from(byte % 64)]));
        }
        payload.truncate(length);
        self.target.fitted(payload)
    }

    /// So many payloads of that length.
    pub(super) fn payloads(&self, count: usize, length: usize) -> Vec<Vec<u8>> {
        (0..count).map(|_| self.payload(length)).collect()
    }

    /// The messages with these payloads, one behind the other.
    pub(super) fn messages(&self, payloads: &[Vec<u8>]) -> Vec<u8> {
        payloads.iter().flat_map(|payload| self.target.message(payload)).collect()
    }

    /// Lets the server read what it has, if it is fast. Nothing is judged by it.
    pub(super) fn pause(&self) {
        thread::sleep(PAUSE);
    }

    /// Expects that a new client is served.
    pub(super) fn others_are_served(&self) -> Verdict {
        let mut other = self.peer("other")?;
        other.ping()
    }

    /// The server's processes.
    ///
    /// # Errors
    ///
    /// [`Fail::Skipped`], if it was not started by us.
    pub(super) fn subject(&self) -> Result<&RefCell<Subject>, Fail> {
        self.subject.ok_or_else(|| Fail::Skipped("needs --server".to_owned()))
    }
}
