//! Many connections at once, each of which has made one round trip.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use socket2::SockRef;

use super::stage::Stage;

/// How long one of them waits for its byte. A server that is right needs none of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Open connections. They end with RST, so that none is left in `TIME_WAIT` and keeps its port.
#[derive(Debug)]
pub(super) struct Crowd(Vec<TcpStream>);

impl Crowd {
    /// Opens `count` connections, one after the other, as far as the server serves them.
    ///
    /// # Errors
    ///
    /// Text, if one cannot be opened or is not answered in time, and at Ctrl-C.
    pub(super) fn connect(stage: &Stage, count: u64) -> Result<Self, String> {
        let mut crowd = Self(Vec::new());
        for _ in 0..count {
            if stage.is_stopped() {
                return Err("stopped".to_owned());
            }
            let stream = TcpStream::connect(stage.address())
                .map_err(|error| format!("connection {}: {error}", crowd.0.len() + 1))?;
            let ping = || {
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                stream.set_read_timeout(Some(PATIENCE))?;
                (&stream).write_all(b"p")?;
                (&stream).read_exact(&mut [0])
            };
            match ping() {
                Ok(()) => crowd.0.push(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let number = crowd.0.len() + 1;
                    return Err(format!("connection {number} was not answered in time"));
                }
                // The server has closed it.
                Err(_) => {}
            }
        }
        Ok(crowd)
    }

    pub(super) fn served(&self) -> u64 {
        self.0.len() as u64
    }
}
