//! Go's `net/rpc` over gob, as `rpc.Dial` speaks it, with one method. A client is the one of Go's tutorials:
//!
//! ```go
//! client, err := rpc.Dial("tcp", "127.0.0.1:30003")
//! err = client.Call("Arith.Multiply", &Args{7, 8}, &product)
//! ```
//!
//! `cargo run --example gob_rpc` starts the server. The wire format is in the documentation of Go's package `encoding/gob`: each
//! message is a frame with a length of its own kind ([`Width::Gob`]). It defines a type, or it is a value of a type. A
//! call is two values, a `Request` and the argument; the answer is a `Response` and the result.

use std::{collections::HashMap, io};

use resound::{
    Config, Endpoint, Reactor, Reason, Token,
    frame::{Dialect, FrameError, Width},
    protocol::{Framed, Handler, Reply},
};

/// The longest message, in bytes.
const MAX: u64 = 64 << 10;

/// Types that a connection may define.
const TYPES: usize = 64;

// Numbers of the types that gob knows by itself.
const BOOL: i64 = 1;
const INT: i64 = 2;
const UINT: i64 = 3;
const FLOAT: i64 = 4;
const BYTES: i64 = 5;
const STRING: i64 = 6;

/// The server's own number for the type of its responses.
const RESPONSE: i64 = 65;

/// The definition of that type: minus its number, then field 2 of a `wireType`, which is a struct with a name, a number and
/// three fields, each of which has a name and the number of its type.
const RESPONSE_TYPE: &[u8] = b"\xff\x81\x03\x01\x01\x08Response\x01\xff\x82\x00\x01\x03\
    \x01\x0dServiceMethod\x01\x0c\x00\x01\x03Seq\x01\x06\x00\x01\x05Error\x01\x0c\x00\x00\x00";

/// The protocol: frames whose lengths are written as gob writes unsigned integers.
pub(crate) fn protocol() -> Framed<GobRpc> {
    let dialect = Dialect::new(Width::Gob).with_max(MAX).expect("less than 2 GiB");
    Framed::new(dialect, GobRpc::default())
}

/// Answers calls.
#[derive(Default)]
pub(crate) struct GobRpc(HashMap<Token, Conversation>);

/// What is known of a connection.
#[derive(Default)]
struct Conversation {
    /// The names and types of the fields of each struct that the client has defined.
    structs: HashMap<i64, Vec<(String, i64)>>,
    /// The request whose argument comes next.
    request: Option<Request>,
    /// Whether the client knows the type of responses.
    knows_responses: bool,
}

struct Request {
    method: String,
    number: u64,
}

/// A value whose structs have no structs in them.
enum Value {
    Int(i64),
    Uint(u64),
    Bytes(Vec<u8>),
    Struct(HashMap<String, Self>),
    /// Of a type that has no use here.
    Other,
}

/// The message is not gob; the connection ends.
struct Malformed;

impl Handler for GobRpc {
    fn frame(
        &mut self,
        connection: Token,
        message: &[u8],
        reply: &mut Reply<'_>,
    ) -> Result<(), FrameError> {
        let conversation = self.0.entry(connection).or_default();
        match conversation.read(message) {
            Err(Malformed) => {
                reply.finish();
                Ok(())
            }
            Ok(None) => Ok(()),
            Ok(Some(value)) => match conversation.request.take() {
                None => {
                    conversation.request = Request::from(&value);
                    if conversation.request.is_none() {
                        reply.finish();
                    }
                    Ok(())
                }
                Some(request) => {
                    if !conversation.knows_responses {
                        conversation.knows_responses = true;
                        reply.frame(RESPONSE_TYPE)?;
                    }
                    respond(&request, call(&request.method, &value), reply)
                }
            },
        }
    }

    fn closed(&mut self, connection: Token, _: Reason) {
        self.0.remove(&connection);
    }
}

impl Conversation {
    /// Reads a message: the definitions of types, which it keeps, and then a value, if there is one.
    fn read(&mut self, message: &[u8]) -> Result<Option<Value>, Malformed> {
        let mut input = Input(message);
        while !input.0.is_empty() {
            let kind = input.int()?;
            if kind >= 0 {
                return input.value(kind, &self.structs).map(Some);
            }
            if self.structs.len() == TYPES {
                return Err(Malformed);
            }
            match input.definition()? {
                Some(fields) => drop(self.structs.insert(kind.wrapping_neg(), fields)),
                // A map, a slice or the like, which is not read further.
                None => break,
            }
        }
        Ok(None)
    }
}

impl Request {
    fn from(value: &Value) -> Option<Self> {
        let Value::Struct(fields) = value else { return None };
        // A field that is missing has the value zero.
        let method = match fields.get("ServiceMethod") {
            Some(Value::Bytes(name)) => String::from_utf8_lossy(name).into_owned(),
            Some(_) => return None,
            None => String::new(),
        };
        let number = match fields.get("Seq") {
            Some(Value::Uint(number)) => *number,
            Some(_) => return None,
            None => 0,
        };
        Some(Self { method, number })
    }
}

fn call(method: &str, argument: &Value) -> Result<i64, String> {
    if method != "Arith.Multiply" {
        return Err(format!("no method {method}; there is Arith.Multiply"));
    }
    let number = |name: &str| {
        let number = match argument {
            Value::Struct(fields) => fields.get(name).unwrap_or(&Value::Int(0)),
            other => other,
        };
        match number {
            Value::Int(number) => Ok(*number),
            _ => Err(format!("{name} is not a whole number of 64 bits")),
        }
    };
    number("A")?.checked_mul(number("B")?).ok_or_else(|| "the product overflows".to_owned())
}

/// Sends a `Response` and the result, which is 0 beside an error: the client reads it and drops it.
fn respond(
    request: &Request,
    result: Result<i64, String>,
    reply: &mut Reply<'_>,
) -> Result<(), FrameError> {
    let error = result.as_ref().err().map_or("", String::as_str);
    let mut response = Vec::new();
    write_int(RESPONSE, &mut response);
    // A field is the distance from the one before it and its value; those that are zero are left out.
    let mut distance = 0;
    let mut write = |is_zero: bool, value: &dyn Fn(&mut Vec<u8>)| {
        distance += 1;
        if !is_zero {
            write_uint(distance, &mut response);
            value(&mut response);
            distance = 0;
        }
    };
    write(request.method.is_empty(), &|out| write_text(&request.method, out));
    write(request.number == 0, &|out| write_uint(request.number, out));
    write(error.is_empty(), &|out| write_text(error, out));
    response.push(0);
    reply.frame(&response)?;

    // A value that is no struct has a zero in front of it.
    let mut product = Vec::new();
    write_int(INT, &mut product);
    product.push(0);
    write_int(result.unwrap_or(0), &mut product);
    reply.frame(&product)
}

/// What is left of a message.
struct Input<'m>(&'m [u8]);

impl Input<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// One byte below 128; otherwise minus how many bytes follow, and these, big-endian.
    fn uint(&mut self) -> Result<u64, Malformed> {
        let first = self.take(1)?[0];
        if first < 0x80 {
            return Ok(first.into());
        }
        let count = usize::from(first.wrapping_neg());
        if count > 8 {
            return Err(Malformed);
        }
        let digits = self.take(count)?;
        Ok(digits.iter().fold(0, |number, &digit| number << 8 | u64::from(digit)))
    }

    /// The sign is in the lowest bit; the other bits of a negative number are turned over.
    fn int(&mut self) -> Result<i64, Malformed> {
        let bits = self.uint()?;
        let number = (bits >> 1).cast_signed();
        Ok(if bits & 1 == 0 { number } else { !number })
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Malformed> {
        let length = usize::try_from(self.uint()?).map_err(|_| Malformed)?;
        self.take(length).map(<[u8]>::to_vec)
    }

    /// Calls `field` with the index of each field of a struct, which has to read its value.
    fn fields(
        &mut self,
        mut field: impl FnMut(u64, &mut Self) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let mut next = 0_u64;
        loop {
            match self.uint()? {
                0 => return Ok(()),
                distance => {
                    next = next.checked_add(distance).ok_or(Malformed)?;
                    field(next - 1, self)?;
                }
            }
        }
    }

    /// A `wireType`: the fields of the struct that it defines, or `None` if it defines something else.
    fn definition(&mut self) -> Result<Option<Vec<(String, i64)>>, Malformed> {
        let mut fields = Vec::new();
        // Field 2 of the wireType is a struct.
        if self.uint()? != 3 {
            return Ok(None);
        }
        self.fields(|index, input| match index {
            // The name and the number of the type.
            0 => input.fields(|index, input| match index {
                0 => input.bytes().map(drop),
                _ => input.int().map(drop),
            }),
            _ => {
                for _ in 0..input.uint()? {
                    let (mut name, mut kind) = (Vec::new(), 0);
                    input.fields(|index, input| {
                        match index {
                            0 => name = input.bytes()?,
                            _ => kind = input.int()?,
                        }
                        Ok(())
                    })?;
                    fields.push((String::from_utf8_lossy(&name).into_owned(), kind));
                }
                Ok(())
            }
        })?;
        // The end of the wireType.
        if self.uint()? == 0 { Ok(Some(fields)) } else { Err(Malformed) }
    }

    /// The value of a message, of the type `kind`.
    fn value(
        &mut self,
        kind: i64,
        structs: &HashMap<i64, Vec<(String, i64)>>,
    ) -> Result<Value, Malformed> {
        let Some(fields) = structs.get(&kind) else {
            return if self.uint()? == 0 { self.simple(kind) } else { Err(Malformed) };
        };
        let mut values = HashMap::new();
        self.fields(|index, input| {
            let field = usize::try_from(index).ok().and_then(|index| fields.get(index));
            let (name, kind) = field.ok_or(Malformed)?;
            let value = input.simple(*kind)?;
            if matches!(value, Value::Other) {
                // Its length is not known without its type, so what follows cannot be read.
                input.0 = &[0];
            }
            values.insert(name.clone(), value);
            Ok(())
        })?;
        Ok(Value::Struct(values))
    }

    fn simple(&mut self, kind: i64) -> Result<Value, Malformed> {
        Ok(match kind {
            INT => Value::Int(self.int()?),
            BOOL | UINT | FLOAT => Value::Uint(self.uint()?),
            BYTES | STRING => Value::Bytes(self.bytes()?),
            _ => Value::Other,
        })
    }
}

fn write_uint(number: u64, out: &mut Vec<u8>) {
    let digits = number.to_be_bytes();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    if number >= 0x80 {
        out.push((8 - zeros).wrapping_neg().to_le_bytes()[0]);
    }
    out.extend(&digits[zeros.min(7)..]);
}

fn write_int(number: i64, out: &mut Vec<u8>) {
    let bits = number.cast_unsigned() << 1;
    write_uint(if number < 0 { !bits } else { bits }, out);
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_uint(text.len() as u64, out);
    out.extend(text.as_bytes());
}

fn main() -> io::Result<()> {
    let mut reactor = Reactor::new(Config::default())?;
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:30003".to_owned());
    let endpoint: Endpoint = address.parse()?;
    println!("listening on {}", reactor.listen(endpoint, protocol())?);
    reactor.run()
}
