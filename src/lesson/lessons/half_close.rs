//! The end of what a client sends is taken for the end of the connection.

use super::super::{
    Lesson,
    client::Client,
    figure::{Bound, Figure},
    servers::half_close,
    stage::Stage,
};

pub(super) const LESSON: Lesson = Lesson {
    name: "half-close",
    title: "the end of what a client sends is taken for the end of the connection",
    story: "FIN ends one direction. A client that has nothing more to send says so (shutdown(2), or netcat at the \
          end of its input), and then waits for its answers. A server that closes when it sees FIN drops them: \
          those that wait for room in the send buffer, and those to what it has not even read.",
    method: "The server is paused while a client sends 64 KiB and FIN, so that it finds both at once. Then it goes \
          on, and the client reads to the end.",
    hint: "Read until read(2) returns 0: behind FIN there are no more bytes, but before it there may be. Then send \
          what is owed, wait for room if there is none, and close when all is sent. EPOLLRDHUP says that FIN has \
          come; it does not say that the connection is over.",
    file: "examples/lessons/half_close.rs",
    source: include_str!("../../../examples/lessons/half_close.rs"),
    serve: half_close::serve,
    protocol: "raw://",
    resound: "",
    measure,
    right: "src/reactor/connection.rs: State::HalfClosed",
    test: "connection::tests::fin_while_output_is_blocked_waits_until_all_is_taken",
    pages: "shutdown(2), recv(2): a return value of 0. epoll_ctl(2): EPOLLRDHUP. tcp(7).",
    cases: &["fin-behind-a-message", "fin-behind-much", "fin-after-an-answer"],
};

const SENT: u64 = 64 << 10;

fn measure(stage: &Stage) -> Result<Vec<Figure>, String> {
    let mut client = Client::connect(stage)?;
    stage.while_paused(|| {
        client.flood(SENT)?;
        client.finish();
        Ok(())
    })?;
    let come = client.receive(SENT)?;
    Ok(vec![Figure::judged("bytes that came back, of 65,536", come, Bound::AtLeast(SENT))])
}
