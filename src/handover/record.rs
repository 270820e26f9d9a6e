//! Connections and listeners as messages. Their bytes follow the JSON, in the order of the records.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use resound::{
    Begun, ConnectionState, Excuse, ListeningSocket, Peer, Reason, Record, ReleasedConnection,
    ReleasedListener, ReleasedSocket,
};
use serde::{Deserialize, Serialize};

/// A connection without its socket and its bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ConnectionRecord {
    /// The index of its listener in the offer.
    pub(super) listener: usize,
    state: String,
    begun: u8,
    ended_for: Option<String>,
    age: Duration,
    received: u64,
    sent: u64,
    frames: u64,
    seen: usize,
    need: usize,
    is_stopped: bool,
    call_when_sent: bool,
    peer: Option<String>,
    wait_left: Option<Duration>,
    unit_left: Option<Duration>,
    call_left: Option<Duration>,
    excuse: Option<u8>,
    /// How many bytes of each kind follow.
    held: usize,
    owed: usize,
    protocol: usize,
}

/// A listener or a UDP socket without its descriptor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ListenerRecord {
    /// Its index in the offer.
    pub(super) listener: usize,
    is_inherited: bool,
    file: Option<(u64, u64)>,
    /// Where each datagram goes that is owed, and how many bytes it has.
    owed: Vec<(SocketAddr, usize)>,
}

const STATES: [ConnectionState; 4] = [
    ConnectionState::Open,
    ConnectionState::HalfClosed,
    ConnectionState::Finishing,
    ConnectionState::Lingering,
];
const BEGUN: [Begun; 3] = [Begun::Nothing, Begun::Handshake, Begun::Frame];
const EXCUSES: [Excuse; 3] = [Excuse::Waits, Excuse::Used, Excuse::UsedUp];

/// The index of `one` in a short list.
fn number<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let index = all.iter().position(|other| other == one).unwrap_or_default();
    u8::try_from(index).unwrap_or_default()
}

impl ConnectionRecord {
    /// Describes `connection`, whose listener has the index `listener` in the offer, and appends its bytes.
    pub(super) fn new(
        listener: usize,
        connection: &ReleasedConnection,
        bytes: &mut Vec<u8>,
    ) -> Self {
        let Record {
            state,
            begun,
            ended_for,
            age,
            received,
            sent,
            frames,
            held,
            seen,
            need,
            is_stopped,
            owed,
            call_when_sent,
            peer,
            wait_left,
            unit_left,
            excuse,
            call_left,
            protocol,
        } = &connection.record;
        [held, owed, protocol].into_iter().for_each(|part| bytes.extend_from_slice(part));
        Self {
            listener,
            state: state.as_str().to_owned(),
            begun: number(&BEGUN, begun),
            ended_for: ended_for.map(|reason| reason.as_str().to_owned()),
            age: *age,
            received: *received,
            sent: *sent,
            frames: *frames,
            seen: *seen,
            need: *need,
            is_stopped: *is_stopped,
            call_when_sent: *call_when_sent,
            peer: peer.map(|peer| peer.to_string()),
            wait_left: *wait_left,
            unit_left: *unit_left,
            call_left: *call_left,
            excuse: excuse.as_ref().map(|excuse| number(&EXCUSES, excuse)),
            held: held.len(),
            owed: owed.len(),
            protocol: protocol.len(),
        }
    }

    /// The connection, which belongs to the listener with the index `listener` of its new loop. Takes its bytes from the
    /// front of `bytes`; `None` if the record makes no sense.
    pub(super) fn connection(
        self,
        socket: OwnedFd,
        listener: usize,
        bytes: &mut &[u8],
    ) -> Option<ReleasedConnection> {
        let mut take = |count: usize| {
            let (part, rest) = bytes.split_at_checked(count)?;
            *bytes = rest;
            Some(part.to_vec())
        };
        let (held, owed) = (take(self.held)?, take(self.owed)?);
        let protocol = take(self.protocol)?;
        let reason =
            |text: String| Reason::ALL.iter().copied().find(|reason| reason.as_str() == text);
        let record = Record {
            state: *STATES.iter().find(|state| state.as_str() == self.state)?,
            begun: *BEGUN.get(usize::from(self.begun))?,
            ended_for: self.ended_for.and_then(reason),
            age: self.age,
            received: self.received,
            sent: self.sent,
            frames: self.frames,
            held,
            seen: self.seen,
            need: self.need,
            is_stopped: self.is_stopped,
            owed,
            call_when_sent: self.call_when_sent,
            peer: self.peer.map(|peer| peer.parse().map_or(Peer::Unix, Peer::Tcp)),
            wait_left: self.wait_left,
            unit_left: self.unit_left,
            excuse: self.excuse.and_then(|number| EXCUSES.get(usize::from(number)).copied()),
            call_left: self.call_left,
            protocol,
        };
        Some(ReleasedConnection { socket, listener, record })
    }
}

impl ListenerRecord {
    /// Describes `released`, which has the index `listener` in the offer, and appends its bytes. Also its descriptor.
    pub(super) fn new<'l>(
        listener: usize,
        released: &'l ReleasedListener,
        bytes: &mut Vec<u8>,
    ) -> (Self, BorrowedFd<'l>) {
        match &released.socket {
            ReleasedSocket::Listening(ListeningSocket { socket, is_inherited, file }) => {
                let (is_inherited, file) = (*is_inherited, *file);
                (Self { listener, is_inherited, file, owed: Vec::new() }, socket.as_fd())
            }
            ReleasedSocket::Datagrams { socket, owed } => {
                owed.iter().for_each(|(_, payload)| bytes.extend_from_slice(payload));
                let owed = owed.iter().map(|(to, payload)| (*to, payload.len())).collect();
                (Self { listener, is_inherited: false, file: None, owed }, socket.as_fd())
            }
        }
    }

    /// The listener or UDP socket, for the place `index` of a loop. Takes its bytes from the front of `bytes`; `None` if
    /// the record makes no sense.
    pub(super) fn listener(
        &self,
        is_datagrams: bool,
        socket: OwnedFd,
        index: usize,
        bytes: &mut &[u8],
    ) -> Option<ReleasedListener> {
        let socket = if is_datagrams {
            let take = |&(to, length): &(SocketAddr, usize)| {
                let (payload, rest) = bytes.split_at_checked(length)?;
                *bytes = rest;
                Some((to, payload.to_vec()))
            };
            let owed = self.owed.iter().map(take).collect::<Option<_>>()?;
            ReleasedSocket::Datagrams { socket, owed }
        } else {
            let (is_inherited, file) = (self.is_inherited, self.file);
            ReleasedSocket::Listening(ListeningSocket { socket, is_inherited, file })
        };
        Some(ReleasedListener { index, socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let second = Duration::from_millis(1_250);
        let mut record = Record {
            state: ConnectionState::Finishing,
            begun: Begun::Frame,
            ended_for: Some(Reason::Refused),
            age: Duration::from_millis(98_700),
            received: 1,
            sent: 2,
            frames: 3,
            held: b"held".to_vec(),
            seen: 4,
            need: 5,
            is_stopped: true,
            owed: b"owed to the peer".to_vec(),
            call_when_sent: true,
            peer: Some(Peer::Tcp("192.0.2.1:7".parse().unwrap())),
            wait_left: Some(second),
            unit_left: Some(2 * second),
            excuse: Some(Excuse::UsedUp),
            call_left: Some(3 * second),
            protocol: b"state".to_vec(),
        };
        let socket = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        for state in STATES {
            record.state = state;
            let released = ReleasedConnection { socket: socket(), listener: 3, record };
            let mut bytes = Vec::new();
            let sent = ConnectionRecord::new(8, &released, &mut bytes);
            let json = serde_json::to_string(&sent).unwrap();
            let came: ConnectionRecord = serde_json::from_str(&json).unwrap();
            assert_eq!(came.listener, 8);
            let mut rest = &bytes[..];
            let back = came.connection(socket(), 5, &mut rest).unwrap();
            assert_eq!((back.listener, rest.len()), (5, 0));
            assert_eq!(back.record, released.record);
            let again = serde_json::from_str::<ConnectionRecord>(&json).unwrap();
            assert!(again.connection(socket(), 5, &mut &bytes[1..]).is_none(), "too few bytes");
            record = back.record;
        }
    }
    #[test]
    fn the_datagrams_that_a_socket_owes_come_back_in_order() {
        let socket = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let to = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let owed = [(to(1), b"first".to_vec()), (to(2), Vec::new()), (to(1), b"last".to_vec())];
        for count in [0, 1, 3] {
            let owed = owed[..count].iter().cloned().collect();
            let socket_and_owed = ReleasedSocket::Datagrams { socket: socket(), owed };
            let released = ReleasedListener { index: 2, socket: socket_and_owed };
            let mut bytes = Vec::new();
            let (sent, _) = ListenerRecord::new(7, &released, &mut bytes);
            let json = serde_json::to_string(&sent).unwrap();
            let came: ListenerRecord = serde_json::from_str(&json).unwrap();
            assert_eq!(came.listener, 7);
            let mut rest = &bytes[..];
            let back = came.listener(true, socket(), 4, &mut rest).unwrap();
            assert_eq!((back.index, rest.len()), (4, 0));
            let (
                ReleasedSocket::Datagrams { owed: back, .. },
                ReleasedSocket::Datagrams { owed, .. },
            ) = (back.socket, released.socket)
            else {
                panic!("no UDP socket");
            };
            assert_eq!(back, owed);
            if let Some(short) = bytes.len().checked_sub(1) {
                assert!(came.listener(true, socket(), 4, &mut &bytes[..short]).is_none());
            }
        }
    }
}
