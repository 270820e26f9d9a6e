//! `resound serve`: the words on its command line become listeners and a [`Config`], and the reactor runs.

use std::{process::ExitCode, str::FromStr};

use resound::{Config, listen::Listen};

use super::{
    Failure, protocols,
    units::{Size, Time, TimeLimit},
};

/// Run the echo server
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ServeArgs {
    /// Where to listen and what to speak there; repeatable, in any mix
    #[arg(
        long,
        short,
        env = "RESOUND_LISTEN",
        hide_env_values = true,
        value_name = "PROTOCOL://ADDRESS[,KEY=VALUE]...",
        default_value = "frames://127.0.0.1:30000",
        long_help = protocols::listen_help()
    )]
    listen: Vec<Listeners>,

    /// The kernel's queue of connections that wait to be accepted (it allows net.core.somaxconn at most)
    #[arg(long, env = "RESOUND_BACKLOG", hide_env_values = true, value_name = "N")]
    #[arg(default_value_t = 4096, value_parser = number::<i32>)]
    backlog: i32,

    /// How long SIGTERM and SIGINT let open connections finish; a second signal ends at once
    #[arg(long, env = "RESOUND_GRACE", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = Time(Config::default().grace))]
    grace: Time,

    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    timeouts: TimeoutArgs,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Connections open at once; more wait in the backlog [default: what the limit of open files allows]
    #[arg(long, env = "RESOUND_MAX_CONNECTIONS", hide_env_values = true, value_name = "N")]
    #[arg(value_parser = number::<u64>)]
    max_connections: Option<u64>,

    /// The longest frame or line; a listener's own max= overrides it
    #[arg(long, env = "RESOUND_MAX_FRAME", hide_env_values = true, value_name = "SIZE")]
    #[arg(default_value_t = Size(16 << 20))]
    max_frame: Size,

    /// Bytes buffered for all connections together; one that would need more is closed
    #[arg(long, env = "RESOUND_MAX_MEMORY", hide_env_values = true, value_name = "SIZE")]
    #[arg(default_value_t = Size(Config::default().max_memory as u64))]
    max_memory: Size,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Timeouts (30s, 100ms; off for none)")]
struct TimeoutArgs {
    /// Close a connection on which nothing happens for this long
    #[arg(long, env = "RESOUND_IDLE_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().idle_timeout))]
    idle_timeout: TimeLimit,

    /// A frame that has begun must be whole within this time, however steadily its bytes come
    #[arg(long, env = "RESOUND_FRAME_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().frame_timeout))]
    frame_timeout: TimeLimit,

    /// A peer must take some of what it is owed within this time
    #[arg(long, env = "RESOUND_WRITE_TIMEOUT", hide_env_values = true, value_name = "TIME")]
    #[arg(default_value_t = TimeLimit(Config::default().write_timeout))]
    write_timeout: TimeLimit,
}

const EXAMPLES: &str = "\
Examples:
  resound serve
  resound serve --listen frames://[::]:30001,length=u16be,max=64KiB --listen raw://127.0.0.1:7007
  resound serve --listen frames+unix:///run/resound.sock --idle-timeout 5m
  RESOUND_LISTEN='frames://:30000 raw://:30007' RESOUND_MAX_FRAME=1MiB resound serve";

/// One `--listen`, or all of `RESOUND_LISTEN`: descriptions with spaces between them.
#[derive(Debug, Clone)]
struct Listeners(Vec<Listen>);

impl FromStr for Listeners {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let listeners: Vec<Listen> = text
            .split_whitespace()
            .map(|one| {
                let listen = one.parse::<Listen>().map_err(|error| error.to_string())?;
                // Tried here as well, so that a wrong key is reported like any other wrong value.
                protocols::protocol(&listen, Size(1))?;
                Ok(listen)
            })
            .collect::<Result<_, String>>()?;
        if listeners.is_empty() {
            return Err(
                "nothing to listen on; write PROTOCOL://ADDRESS, like frames://127.0.0.1:30000"
                    .to_owned(),
            );
        }
        Ok(Self(listeners))
    }
}

/// A whole number of at least 1.
fn number<N: FromStr + PartialOrd + From<bool>>(text: &str) -> Result<N, String> {
    text.parse()
        .ok()
        .filter(|number| *number >= N::from(true))
        .ok_or_else(|| "not a whole number of at least 1; write one like 4096".to_owned())
}
