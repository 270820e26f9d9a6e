//! Dialects by the name that people search for, each with one frame written out by hand from the
//! protocol's own documents.
//!
//! The example frames serve wherever a real one is needed: in the scanner's tests, as the fuzzer's first inputs, and in
//! the table that `resound dialects` prints.

use std::str::FromStr;

use super::{DEFAULT_MAX, Dialect, DialectError, KeyError, Width};

/// A dialect with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// As in `preset=kafka`.
    pub name: &'static str,
    /// Whose dialect it is.
    pub who: &'static str,
    /// The dialect, with the limit that is usual there.
    pub dialect: Dialect,
    /// Where the limit is from, and what to look out for.
    pub note: &'static str,
    /// The head of one real frame: what its makers put before the length, and the length.
    pub head: &'static [u8],
    /// The payload of that frame.
    pub payload: &'static [u8],
}

impl Preset {
    /// The frame: [`head`](Self::head) and [`payload`](Self::payload) in one piece.
    #[must_use]
    pub fn example(&self) -> Vec<u8> {
        [self.head, self.payload].concat()
    }
}

impl FromStr for Preset {
    type Err = KeyError;

    fn from_str(name: &str) -> Result<Self, KeyError> {
        presets().iter().find(|preset| preset.name == name).copied().ok_or_else(|| {
            let names: Vec<&str> = presets().iter().map(|preset| preset.name).collect();
            KeyError::value("preset", name, format!("one of {}", names.join(", ")))
        })
    }
}

/// All presets; the default dialect is the first.
///
/// ```
/// for preset in resound::frame::presets() {
///     let scan = preset.dialect.scan(&preset.example());
///     assert_eq!((scan.whole, scan.frames), (preset.example().len(), 1));
/// }
/// ```
#[must_use]
pub const fn presets() -> &'static [Preset] {
    PRESETS
}

/// Checked when this file is compiled.
const fn dialect(width: Width, offset: u8, adjust: i32, max: u64) -> Dialect {
    match Dialect::checked(width, offset, adjust, max) {
        Ok(dialect) => dialect,
        Err(DialectError::Max { .. } | DialectError::NothingFits { .. }) => {
            panic!("a preset that no frame fits")
        }
    }
}

const PRESETS: &[Preset] = &[
    Preset {
        name: "go-tutorial",
        who: "Go socket tutorials: binary.Write(w, binary.LittleEndian, int32(n))",
        dialect: dialect(Width::U32Le, 0, 0, DEFAULT_MAX),
        note: "the default; they set no limit, this one is resound's",
        head: b"\x05\x00\x00\x00",
        payload: b"hello",
    },
    Preset {
        name: "tokio",
        who: "tokio-util LengthDelimitedCodec",
        dialect: dialect(Width::U32Be, 0, 0, 8 << 20),
        note: "the codec's default limit of 8 MiB",
        head: b"\x00\x00\x00\x0b",
        payload: b"hello world",
    },
    Preset {
        name: "netty",
        who: "Netty LengthFieldPrepender(4), LengthFieldBasedFrameDecoder(max, 0, 4, 0, 4)",
        dialect: dialect(Width::U32Be, 0, 0, DEFAULT_MAX),
        note: "there the caller sets the limit; other fields by length, offset and adjust",
        head: b"\x00\x00\x00\x0c",
        payload: b"HELLO, WORLD",
    },
    Preset {
        name: "erlang-1",
        who: "Erlang gen_tcp {packet, 1}",
        dialect: dialect(Width::U8, 0, 0, 255),
        note: "255 bytes is all that the field can count",
        head: b"\x05",
        payload: b"hello",
    },
    Preset {
        name: "erlang-2",
        who: "Erlang gen_tcp {packet, 2}",
        dialect: dialect(Width::U16Be, 0, 0, 65_535),
        note: "65,535 bytes is all that the field can count",
        head: b"\x00\x05",
        payload: b"hello",
    },
    Preset {
        name: "erlang-4",
        who: "Erlang gen_tcp {packet, 4}",
        dialect: dialect(Width::U32Be, 0, 0, DEFAULT_MAX),
        note: "there {packet_size, N} sets the limit",
        head: b"\x00\x00\x00\x05",
        payload: b"hello",
    },
    Preset {
        name: "twisted-8",
        who: "Twisted Int8StringReceiver",
        dialect: dialect(Width::U8, 0, 0, 255),
        note: "255 bytes is all that the field can count",
        head: b"\x05",
        payload: b"hello",
    },
    Preset {
        name: "twisted-16",
        who: "Twisted Int16StringReceiver",
        dialect: dialect(Width::U16Be, 0, 0, 65_535),
        note: "65,535 bytes is all that the field can count",
        head: b"\x00\x05",
        payload: b"hello",
    },
    Preset {
        name: "twisted-32",
        who: "Twisted Int32StringReceiver",
        dialect: dialect(Width::U32Be, 0, 0, 99_999),
        note: "the receiver's MAX_LENGTH",
        head: b"\x00\x00\x00\x05",
        payload: b"hello",
    },
    Preset {
        name: "thrift",
        who: "Apache Thrift TFramedTransport",
        dialect: dialect(Width::U32Be, 0, 0, 16_384_000),
        note: "the default maxFrameSize",
        // A strict binary-protocol call, `ping()`: version 1, type call, name, sequence 0, stop.
        head: b"\x00\x00\x00\x11",
        payload: b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x00\x00",
    },
    Preset {
        name: "kafka",
        who: "Apache Kafka",
        dialect: dialect(Width::U32Be, 0, 0, 100 << 20),
        note: "socket.request.max.bytes, 100 MiB",
        // ApiVersions: API key 18, version 0, correlation 1, no client id.
        head: b"\x00\x00\x00\x0a",
        payload: b"\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff",
    },
    Preset {
        name: "dns",
        who: "DNS over TCP (RFC 1035, 4.2.2; RFC 7766); RTP over TCP (RFC 4571)",
        dialect: dialect(Width::U16Be, 0, 0, 65_535),
        note: "65,535 bytes is all that the field can count",
        // Id 0x1234, recursion desired, one question: example.com, type A, class IN.
        head: b"\x00\x1d",
        payload: b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\
                   \x07example\x03com\x00\x00\x01\x00\x01",
    },
    Preset {
        name: "protobuf",
        who: "Protocol Buffers writeDelimitedTo, SerializeDelimitedToOstream",
        dialect: dialect(Width::Varint, 0, 0, 64 << 20),
        note: "the readers' usual limit, 64 MiB",
        // The encoding guide's first message: field 1, a varint, is 150.
        head: b"\x03",
        payload: b"\x08\x96\x01",
    },
    Preset {
        name: "chrome",
        who: "Chrome and Firefox native messaging",
        dialect: dialect(Width::U32Le, 0, 0, 1 << 20),
        note: "1 MiB towards the browser; native byte order, here little-endian",
        head: b"\x10\x00\x00\x00",
        payload: br#"{"text":"hello"}"#,
    },
    Preset {
        name: "postgres",
        who: "PostgreSQL, typed messages",
        dialect: dialect(Width::U32Be, 1, -4, DEFAULT_MAX),
        note: "the length counts itself, not the type; a startup message has no type, and its limit is \
               10,000",
        // Query.
        head: b"Q\x00\x00\x00\x0d",
        payload: b"SELECT 1\x00",
    },
    Preset {
        name: "mongodb",
        who: "MongoDB wire protocol",
        dialect: dialect(Width::U32Le, 0, -4, 48_000_000 - 4),
        note: "the length counts itself; maxMessageSizeBytes is 48,000,000 with it",
        // Request 1, in response to none, OP_MSG (2013), no flags, a body: {ping: 1, $db: "admin"}.
        head: b"\x33\x00\x00\x00",
        payload: b"\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00\x00\x00\x00\
                   \x1e\x00\x00\x00\x10ping\x00\x01\x00\x00\x00\
                   \x02$db\x00\x06\x00\x00\x00admin\x00\x00",
    },
    Preset {
        name: "grpc",
        who: "gRPC messages, inside their HTTP/2 stream",
        dialect: dialect(Width::U32Be, 1, 0, 4 << 20),
        note: "a flag for compression before the length; 4 MiB is the receivers' default",
        // HelloRequest {name: "world"}, not compressed.
        head: b"\x00\x00\x00\x00\x07",
        payload: b"\x0a\x05world",
    },
    Preset {
        name: "jmeter",
        who: "JMeter LengthPrefixedBinaryTCPClientImpl",
        dialect: dialect(Width::U16Be, 0, 0, 32_767),
        note: "tcp.binarylength.prefix.length=2, read as signed",
        head: b"\x00\x05",
        payload: b"hello",
    },
    Preset {
        name: "bgp",
        who: "BGP-4 (RFC 4271, 4.1)",
        dialect: dialect(Width::U16Be, 16, -18, 4_096 - 18),
        note: "a marker before the length, which counts all; 4,096 bytes in all",
        // KEEPALIVE.
        head: b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x13",
        payload: b"\x04",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_is_one_frame_that_we_would_write_too() {
        for preset in presets() {
            let name = preset.name;
            let example = preset.example();
            let head = preset.dialect.head(&example).unwrap().unwrap();
            assert_eq!(head.size, preset.head.len(), "{name}");
            assert_eq!(head.payload, preset.payload.len(), "{name}");

            let mut written = Vec::new();
            preset.dialect.encode(preset.payload, &mut written).unwrap();
            let offset = preset.dialect.offset();
            assert_eq!(written[..offset], vec![0; offset], "{name}");
            assert_eq!(written[offset..], example[offset..], "{name}");
        }
    }

    #[test]
    fn names_are_found_and_the_first_is_the_default() {
        for preset in presets() {
            assert_eq!(preset.name.parse(), Ok(*preset), "no name twice");
        }
        assert_eq!(presets()[0].dialect, Dialect::default());
    }

    #[test]
    fn limits_are_what_the_notes_say() {
        let limit = |name: &str| name.parse::<Preset>().unwrap().dialect.limit();
        for (name, bytes) in [
            ("tokio", 8_388_608),
            ("twisted-8", 255),
            ("twisted-16", 65_535),
            ("twisted-32", 99_999),
            ("thrift", 16_384_000),
            ("kafka", 104_857_600),
            ("protobuf", 67_108_864),
            ("chrome", 1_048_576),
            ("mongodb", 47_999_996),
            ("grpc", 4_194_304),
            ("jmeter", 32_767),
            ("bgp", 4_078),
        ] {
            assert_eq!(limit(name), bytes, "{name}");
        }
    }
}
