//! Who is connected, which messages have no reply yet, and to whom a typed line goes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use resound::Token;

use crate::cli::prompt::means_leave;

/// The connections, by the numbers that the user sees.
#[derive(Debug)]
pub(super) struct Conversation {
    /// To whom a line without a number goes.
    plain: Plain,
    connections: BTreeMap<u64, Connection>,
    numbers: HashMap<Token, u64>,
    /// The highest number so far.
    last: u64,
    /// The connection whose message came last.
    latest: Option<u64>,
    /// The connection of each message that has no reply yet, oldest first.
    unanswered: VecDeque<u64>,
}

#[derive(Debug)]
struct Connection {
    token: Token,
    /// The peer has sent FIN: it waits for the reply, and for FIN behind it.
    is_half_closed: bool,
}

/// To whom a line without a number goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    /// To the connection whose message came last.
    Latest,
    /// To the connection with the oldest message that has no reply.
    Oldest,
}

/// What a typed line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Order<'l> {
    /// End the server.
    Leave,
    /// End a connection.
    Close(Token),
    /// Send a text; behind it, end the connection if it is the `last`.
    Reply { to: Token, text: &'l str, last: bool },
}

impl Conversation {
    pub(super) fn new(plain: Plain) -> Self {
        Self {
            plain,
            connections: BTreeMap::new(),
            numbers: HashMap::new(),
            last: 0,
            latest: None,
            unanswered: VecDeque::new(),
        }
    }

    /// A connection has been accepted. Returns its number.
    pub(super) fn opened(&mut self, token: Token) -> u64 {
        self.last += 1;
        self.connections.insert(self.last, Connection { token, is_half_closed: false });
        self.numbers.insert(token, self.last);
        self.last
    }

    /// A message has come. Returns the number of its connection.
    pub(super) fn heard(&mut self, token: Token) -> Option<u64> {
        let number = *self.numbers.get(&token)?;
        self.latest = Some(number);
        self.unanswered.push_back(number);
        Some(number)
    }

    /// The peer has sent FIN. Returns the number of the connection, and whether a message of it has no reply yet.
    pub(super) fn half_closed(&mut self, token: Token) -> Option<(u64, bool)> {
        let number = *self.numbers.get(&token)?;
        self.connections.get_mut(&number)?.is_half_closed = true;
        Some((number, self.unanswered.contains(&number)))
    }

    /// A connection is closed. Returns its number.
    pub(super) fn closed(&mut self, token: Token) -> Option<u64> {
        let number = self.numbers.remove(&token)?;
        self.connections.remove(&number);
        self.unanswered.retain(|of| *of != number);
        Some(number)
    }

    /// Whether a line without a number can be sent, or the user can be told why not.
    pub(super) fn takes_line(&self) -> bool {
        self.plain == Plain::Latest || !self.unanswered.is_empty()
    }

    /// What `line` asks for, which is then done; or why nothing can be done.
    pub(super) fn order<'l>(&mut self, line: &'l str) -> Result<Order<'l>, String> {
        if means_leave(line) {
            return Ok(Order::Leave);
        }
        let addressed = addressed(line);
        let plain = match self.plain {
            Plain::Latest => self.latest,
            Plain::Oldest => self.unanswered.front().copied(),
        };
        let (number, text) = match (addressed, plain) {
            (Some(addressed), _) => addressed,
            (None, Some(number)) => (number, line),
            (None, None) => return Err("not sent: no message has come yet".to_owned()),
        };
        let Some(connection) = self.connections.get(&number) else {
            return Err(match number {
                1.. if number <= self.last => format!("not sent: connection {number} is closed"),
                _ => format!("not sent: there is no connection {number}"),
            });
        };
        let to = connection.token;
        if addressed.is_some() && means_leave(text) {
            return Ok(Order::Close(to));
        }
        if let Some(answered) = self.unanswered.iter().position(|of| *of == number) {
            self.unanswered.remove(answered);
        }
        let last = connection.is_half_closed && !self.unanswered.contains(&number);
        Ok(Order::Reply { to, text, last })
    }
}

/// The number and the text of a line like `@2 text`.
fn addressed(line: &str) -> Option<(u64, &str)> {
    let (number, text) = line.strip_prefix('@')?.split_once(' ')?;
    Some((number.parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Token = Token::new(1, 1);
    const TWO: Token = Token::new(2, 1);

    fn reply(to: Token, text: &str) -> Result<Order<'_>, String> {
        Ok(Order::Reply { to, text, last: false })
    }

    #[test]
    fn a_line_goes_to_the_latest_sender_or_to_the_one_that_it_names() {
        let mut talk = Conversation::new(Plain::Latest);
        assert_eq!((talk.opened(ONE), talk.opened(TWO)), (1, 2));
        assert_eq!(talk.order("hi"), Err("not sent: no message has come yet".to_owned()));
        assert_eq!(talk.order("@2 hi"), reply(TWO, "hi"));
        assert_eq!(talk.heard(ONE), Some(1));
        for (line, order) in [
            ("hi", reply(ONE, "hi")),
            ("", reply(ONE, "")),
            ("@2 ", reply(TWO, "")),
            ("@2  @1 hi", reply(TWO, " @1 hi")),
            ("@everyone hi", reply(ONE, "@everyone hi")),
            ("@2", reply(ONE, "@2")),
            ("@2 exit", Ok(Order::Close(TWO))),
            ("exit", Ok(Order::Leave)),
            (" q ", Ok(Order::Leave)),
        ] {
            assert_eq!(talk.order(line), order, "{line:?}");
        }
        assert_eq!(talk.order("@3 hi"), Err("not sent: there is no connection 3".to_owned()));
        assert_eq!(talk.closed(ONE), Some(1));
        assert_eq!((talk.closed(ONE), talk.heard(ONE)), (None, None));
        for line in ["hi", "@1 hi"] {
            assert_eq!(talk.order(line), Err("not sent: connection 1 is closed".to_owned()));
        }
    }

    #[test]
    fn lines_of_a_file_answer_the_messages_in_their_order() {
        let mut talk = Conversation::new(Plain::Oldest);
        talk.opened(ONE);
        talk.opened(TWO);
        assert!(!talk.takes_line());
        for token in [ONE, TWO, ONE, TWO] {
            talk.heard(token);
        }
        assert_eq!(talk.order("a"), reply(ONE, "a"));
        assert_eq!(talk.order("@1 b"), reply(ONE, "b"));
        assert_eq!(talk.order("c"), reply(TWO, "c"));
        talk.closed(TWO);
        assert!(!talk.takes_line());
    }

    #[test]
    fn the_last_reply_ends_a_connection_that_has_sent_fin() {
        let mut talk = Conversation::new(Plain::Latest);
        talk.opened(ONE);
        assert_eq!(talk.half_closed(ONE), Some((1, false)));
        talk.heard(ONE);
        talk.heard(ONE);
        assert_eq!(talk.half_closed(ONE), Some((1, true)));
        assert_eq!(talk.order("a"), reply(ONE, "a"));
        assert_eq!(talk.order("b"), Ok(Order::Reply { to: ONE, text: "b", last: true }));
    }
}
