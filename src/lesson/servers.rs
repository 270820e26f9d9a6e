//! The wrong servers. They are examples, too, so each has a `main` that is not used here.
#![allow(dead_code, reason = "of an example only `serve` is used here")]

#[path = "../../examples/lessons/delayed_ack.rs"]
pub(super) mod delayed_ack;
#[path = "../../examples/lessons/emfile_spin.rs"]
pub(super) mod emfile_spin;
#[path = "../../examples/lessons/half_close.rs"]
pub(super) mod half_close;
#[path = "../../examples/lessons/lost_edge.rs"]
pub(super) mod lost_edge;
#[path = "../../examples/lessons/lost_reply.rs"]
pub(super) mod lost_reply;
#[path = "../../examples/lessons/short_write.rs"]
pub(super) mod short_write;
#[path = "../../examples/lessons/slow_reader.rs"]
pub(super) mod slow_reader;
#[path = "../../examples/lessons/small_send_buffer.rs"]
pub(super) mod small_send_buffer;
#[path = "../../examples/lessons/sticky_packets.rs"]
pub(super) mod sticky_packets;
#[path = "../../examples/lessons/thread_per_connection.rs"]
pub(super) mod thread_per_connection;
#[path = "../../examples/lessons/thundering_herd.rs"]
pub(super) mod thundering_herd;
#[path = "../../examples/lessons/unbounded_buffer.rs"]
pub(super) mod unbounded_buffer;
#[path = "../../examples/lessons/write_per_frame.rs"]
pub(super) mod write_per_frame;
