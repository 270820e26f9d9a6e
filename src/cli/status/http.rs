//! Requests to an admin port.

use std::{
    io::{ErrorKind, Read, Write},
    time::Duration,
};

use resound::listen::Address;
use serde_json::Value;
use socket2::Socket;

use crate::{
    admin::Token,
    cli::{
        Failure,
        socket::{self, Server},
    },
    common::units::TimeLimit,
};

/// Bytes that an answer may have: many times as many as those of 256 connections.
const LONGEST: u64 = 16 << 20;

/// Where an admin port is, and the token to show there.
#[derive(Debug)]
pub(super) struct AdminPort {
    pub(super) address: Address,
    pub(super) token: Option<Token>,
    /// How long connecting may take, and then each read; `None` for ever.
    pub(super) timeout: Option<Duration>,
}

/// What it answered.
pub(super) enum Answer {
    Json(Value),
    /// It cannot tell now, and this is why.
    Unavailable(String),
}

impl AdminPort {
    /// Asks for `path`.
    pub(super) fn get(&self, path: &str) -> Result<Answer, Failure> {
        let mut socket = socket::connect(&self.address, self.timeout, Server::Admin)?;
        let response = self.exchange(&mut socket, path).map_err(|error| {
            let why = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    format!("no answer within {} (--timeout)", TimeLimit(self.timeout))
                }
                _ => error.to_string(),
            };
            Failure::Failed(format!("{}: {why}", self.address))
        })?;
        self.read(&response)
    }

    /// Sends a request, and reads until the other side closes: HTTP/1.0 has no chunks and no second request.
    fn exchange(&self, socket: &mut Socket, path: &str) -> std::io::Result<Vec<u8>> {
        socket::set_timeouts(socket, self.timeout)?;
        // The port takes no other names than localhost.
        let host = match &self.address {
            Address::Ip(address) => address.to_string(),
            _ => "localhost".to_owned(),
        };
        let mut request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n");
        if let Some(token) = &self.token {
            request.push_str(&format!("Authorization: Bearer {}\r\n", token.as_str()));
        }
        request.push_str("\r\n");
        socket.write_all(request.as_bytes())?;
        let mut response = Vec::new();
        socket.take(LONGEST).read_to_end(&mut response)?;
        Ok(response)
    }

    fn read(&self, response: &[u8]) -> Result<Answer, Failure> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let Ok(httparse::Status::Complete(length)) = head.parse(response) else {
            return Err(self.is_other("it does not speak HTTP"));
        };
        let body = &response[length..];
        let text = || String::from_utf8_lossy(body).trim().to_owned();
        match head.code.unwrap_or_default() {
            200 => match serde_json::from_slice(body) {
                Ok(value) => Ok(Answer::Json(value)),
                Err(_) => Err(self.is_other("its answer is not JSON")),
            },
            401 if self.token.is_some() => Err(Failure::Failed(format!(
                "{}: this is not its token; give the file that the server has as --admin-token-file",
                self.address
            ))),
            401 => Err(Failure::Failed(format!(
                "{}: it asks for a token; give --token-file with the file that the server has as --admin-token-file",
                self.address
            ))),
            503 => Ok(Answer::Unavailable(text())),
            404 | 405 => Err(self.is_other("it has no such path")),
            code => {
                Err(Failure::Failed(format!("{}: it answers {code}: {}", self.address, text())))
            }
        }
    }

    /// Something else listens there.
    pub(super) fn is_other(&self, why: &str) -> Failure {
        Failure::Failed(format!(
            "{} is not the admin port of resound: {why}. The server shows the address when it starts: `listening on \
             admin://ADDRESS`",
            self.address
        ))
    }
}
