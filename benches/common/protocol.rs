//! What servers and loads speak.

use std::fmt;
use std::str::FromStr;

/// A protocol, by its name in an address of `resound bench`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Frames,
    Raw,
    Lines,
    Udp,
    /// Frames inside TLS.
    Tls,
    Http,
    WebSocket,
}

impl Protocol {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 7] =
        [Self::Frames, Self::Raw, Self::Lines, Self::Udp, Self::Tls, Self::Http, Self::WebSocket];

    /// As in `frames://127.0.0.1:30000`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames",
            Self::Raw => "raw",
            Self::Lines => "lines",
            Self::Udp => "udp",
            Self::Tls => "frames+tls",
            Self::Http => "http",
            Self::WebSocket => "ws",
        }
    }

    /// The server that all others are compared with.
    pub const fn yardstick(self) -> &'static str {
        match self {
            Self::Frames | Self::Raw => "bare-c",
            Self::Lines => "lines-c",
            Self::Udp => "udp-c",
            // No C loop does as much as they, so the question is what the others cost beside this crate.
            Self::Tls | Self::Http | Self::WebSocket => "resound",
        }
    }

    /// What follows the address in `--listen` of `resound serve`, so that it answers all of a load.
    pub const fn keys(self) -> &'static str {
        match self {
            Self::Frames | Self::Raw | Self::Lines | Self::Http | Self::WebSocket => "",
            Self::Udp => ",rate=0,loop-guard=off",
            Self::Tls => ",cert={certificate},key={key}",
        }
    }

    /// What every load of it needs besides its own arguments. The cipher is one that all servers have.
    pub const fn flags(self) -> &'static str {
        match self {
            Self::Tls => "--insecure --cipher TLS_AES_128_GCM_SHA256",
            _ => "",
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or_else(|| {
            format!("no protocol {name:?}: it is one of {:?}", Self::ALL.map(Self::name))
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
