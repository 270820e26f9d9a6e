//! The log: on standard error, so that standard output holds data alone.

use log::LevelFilter;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    #[arg(
        long,
        global = true,
        env = "RESOUND_LOG_LEVEL",
        hide_env_values = true,
        value_name = "LEVEL",
        value_parser = level,
        help = "off, error, warn, info, debug (connections) or trace (reads and writes) \
 [default: RUST_LOG, else info]",
        long_help = "How much to log: off, error, warn, info, debug (each connection) or trace (each read and \
                     write).\n\nWithout it RUST_LOG decides, which can also set the level of one module \
                     (resound::connection=trace); without that it is info."
    )]
    log_level: Option<LevelFilter>,
}

fn level(text: &str) -> Result<LevelFilter, String> {
    text.parse().map_err(|_| {
        "not a log level; write off, error, warn, info, debug or trace, like debug".to_owned()
    })
}

impl LogArgs {
    pub(crate) fn start(&self) {
        let mut builder = env_logger::Builder::new();
        builder.filter_level(LevelFilter::Info).format_timestamp_micros();
        match self.log_level {
            Some(level) => builder.filter_level(level),
            None => builder.parse_default_env(),
        };
        builder.init();
    }
}
