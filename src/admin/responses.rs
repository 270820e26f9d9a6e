//! Responses that several paths give.

use resound::protocol::http::service::HttpResponse;
use serde_json::Value;

pub(super) fn json_response(status: &'static str, value: &Value) -> HttpResponse {
    let mut response = HttpResponse::text(status, format!("{value:#}\n"));
    response.content_type = "application/json";
    response.fields = FIELDS;
    response
}

/// JSON that is written already.
pub(super) const fn written_json(body: Vec<u8>) -> HttpResponse {
    HttpResponse { status: "200 OK", content_type: "application/json", fields: FIELDS, body }
}

const FIELDS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\n";

pub(super) fn bad_request(what: &str) -> HttpResponse {
    HttpResponse::text("400 Bad Request", format!("{what}\n"))
}

pub(super) fn unavailable(why: &str) -> HttpResponse {
    HttpResponse::text("503 Service Unavailable", format!("{why}\n"))
}
