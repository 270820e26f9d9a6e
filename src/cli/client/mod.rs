//! `resound client`: talks to a server from a terminal, or pipes through it and checks what comes back.

mod interactive;
mod pipe;
mod window;
mod wire;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use clap::ValueEnum;
use resound::listen::Listen;
use socket2::Socket;

use self::wire::{Cut, Wire};
use super::{
    Failure,
    socket::{self, Server},
    tls_args::TlsArgs,
};
use crate::common::{
    protocols,
    tls::{Connector, Link},
    units::{Size, TimeLimit},
};

/// Talk to a server: type lines, or pipe data through it and check the echo
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = NOTES_AND_EXAMPLES)]
#[command(allow_negative_numbers = true)]
pub(crate) struct ClientArgs {
    #[arg(
        default_value = "127.0.0.1:30000",
        help = "The server's address: HOST:PORT, unix:PATH or PROTOCOL://ADDRESS, with the KEY=VALUE pairs of its \
                --listen"
    )]
    address: Target,

    /// The server's protocol [default: the one in the address, else frames]
    #[arg(long, short, value_enum)]
    protocol: Option<Speaks>,

    /// Send standard input in frames of this size instead of one frame per line
    #[arg(long, short, value_name = "SIZE")]
    chunk: Option<Size>,

    /// Give up when an answer is due and no byte was sent or received for this long (off: never)
    #[arg(long, short, value_name = "TIME", default_value_t = TimeLimit(Some(Duration::from_secs(10))))]
    timeout: TimeLimit,

    /// Do not compare what comes back with what was sent
    #[arg(long)]
    no_check: bool,

    #[command(flatten)]
    tls: TlsArgs,
}

macro_rules! examples {
    () => {
        "\
Examples:
  resound client
  resound client --chunk 64KiB <big.file >back.file
  resound client [::1]:30001,length=u16be
  echo hello | resound client --protocol raw 127.0.0.1:7007
  resound client unix:/run/resound.sock
  resound client frames+tls://localhost:30443 --ca echo.pem"
    };
}

const EXAMPLES: &str = examples!();

const NOTES_AND_EXAMPLES: &str = concat!(
    "\
On a terminal, each line is sent and the reply is shown; exit, quit, q, Ctrl-D and Ctrl-C end the session.

Otherwise standard input is sent and the reply is written to standard output, byte for byte. The exit \
code is 1 if the echo is too short or differs. Each line is sent as a frame without its newline; an empty line is \
an empty frame; a last line without a newline is sent as well, and comes back without one. No other byte \
has a special meaning.

",
    examples!()
);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Speaks {
    /// Each line or chunk is a frame
    Frames,
    /// Bytes unchanged, line by line
    Lines,
    /// Bytes unchanged
    Raw,
}

/// A server's address, with its protocol if the address names one.
#[derive(Debug, Clone)]
struct Target {
    listen: Listen,
    protocol: Option<Speaks>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = match text.strip_prefix("unix:") {
            _ if text.contains("://") => text.to_owned(),
            Some(path) => format!("frames+unix://{path}"),
            None => format!("frames://{text}"),
        };
        let listen: Listen = whole.parse().map_err(|error| format!("{error}"))?;
        if !text.contains("://") {
            return Ok(Self { listen, protocol: None });
        }
        let protocol = Speaks::from_str(&listen.protocol, false).map_err(|_| {
            let spoken = Speaks::value_variants()
                .iter()
                .filter_map(Speaks::to_possible_value)
                .map(|value| value.get_name().to_owned())
                .collect::<Vec<_>>();
            format!(
                "the client does not support {}; it supports {}",
                listen.protocol,
                spoken.join(", ")
            )
        })?;
        Ok(Self { listen, protocol: Some(protocol) })
    }
}

impl ClientArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let wire = self.wire().map_err(Failure::Usage)?;
        let cut = self.cut(wire).map_err(Failure::Usage)?;
        let address = &self.address.listen.address;
        let interactive =
            self.chunk.is_none() && io::stdin().is_terminal() && io::stdout().is_terminal();
        let connector = self.tls.connector(&self.address.listen, true)?;
        let link = self.connect(connector)?;
        if interactive {
            return interactive::run(wire, self.timeout.0, link, &address.to_string());
        }
        let job = pipe::Job { wire, cut, check: !self.no_check, timeout: self.timeout.0 };
        pipe::run(job, link)
    }

    /// Connects, and makes the handshake of TLS.
    fn connect(&self, connector: Option<Arc<Connector>>) -> Result<Link, Failure> {
        let (address, timeout) = (&self.address.listen.address, self.timeout.0);
        let socket = socket::connect(address, timeout, Server::Echo)?;
        let Some(connector) = connector else { return Ok(Link::Plain(socket)) };
        let failed = |cause| Failure::Failed(format!("cannot connect to {address}: {cause}"));
        let limited = |socket: &Socket, timeout| {
            socket::set_timeouts(socket, timeout).map_err(|error| failed(error.to_string()))
        };
        limited(&socket, timeout)?;
        let within = format!(" within {}", self.timeout);
        let link = Link::secured(socket, connector, within).map_err(failed)?;
        limited(link.socket(), None)?;
        Ok(link)
    }

    fn wire(&self) -> Result<Wire, String> {
        let Target { listen, protocol } = &self.address;
        let speaks = match (protocol, self.protocol) {
            (Some(written), Some(given)) if *written != given => {
                return Err(format!(
                    "--protocol contradicts the address {listen}; give one of the two"
                ));
            }
            (Some(speaks), _) => *speaks,
            (None, given) => given.unwrap_or(Speaks::Frames),
        };
        match speaks {
            Speaks::Frames => protocols::dialect(listen, protocols::DEFAULT_MAX_FRAME)
                .map(Wire::Frames)
                .map_err(|error| format!("wrong address {listen}: {error}")),
            Speaks::Lines | Speaks::Raw if !listen.keys.is_empty() => Err(format!(
                "wrong address {listen}: only frames have keys here; remove the comma and everything after it"
            )),
            Speaks::Lines => Ok(Wire::Lines),
            Speaks::Raw => Ok(Wire::Raw),
        }
    }

    fn cut(&self, wire: Wire) -> Result<Cut, String> {
        let Some(chunk) = self.chunk else {
            return Ok(Cut::Lines);
        };
        let Wire::Frames(dialect) = wire else {
            return Err(
                "--chunk sets the size of frames, and this protocol has none: leave --chunk out, the input \
                        is sent unchanged"
                    .to_owned(),
            );
        };
        if chunk.0 > dialect.limit() {
            return Err(format!(
                "--chunk {chunk} is over the limit of {} for a frame ({dialect}); choose a smaller one, or \
                 add max= to the address if the server accepts more",
                Size(dialect.limit())
            ));
        }
        Ok(Cut::Chunks(chunk.in_memory()))
    }
}
