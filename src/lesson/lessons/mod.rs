//! The lessons, in the order in which a server grows.

mod delayed_ack;
mod emfile_spin;
mod half_close;
mod lost_edge;
mod lost_reply;
mod short_write;
mod slow_reader;
mod small_send_buffer;
mod sticky_packets;
mod thread_per_connection;
mod thundering_herd;
mod unbounded_buffer;
mod write_per_frame;

use super::Lesson;

pub(crate) const LESSONS: [&Lesson; 13] = [
    &sticky_packets::LESSON,
    &thread_per_connection::LESSON,
    &lost_edge::LESSON,
    &short_write::LESSON,
    &slow_reader::LESSON,
    &unbounded_buffer::LESSON,
    &half_close::LESSON,
    &lost_reply::LESSON,
    &emfile_spin::LESSON,
    &delayed_ack::LESSON,
    &small_send_buffer::LESSON,
    &write_per_frame::LESSON,
    &thundering_herd::LESSON,
];
