//! Who may ask the admin port for what.
//!
//! A web page in the operator's browser can send requests to loopback too, in two ways. With a host name of its own that
//! it lets resolve to 127.0.0.1 (DNS rebinding) it could read the answers: `Host` then has that name, and only IP addresses and
//! `localhost` are accepted. From its own origin it can send simple requests without reading the answers (CSRF): these
//! have no JSON content type, which would need the permission of a CORS preflight, and browsers name the page in
//! `Origin`. Browsers of today also say in `Sec-Fetch-Site` that the page is another one.

use std::{fs, io, net::IpAddr, path::Path};

use resound::protocol::http::service::{HttpRequest, HttpResponse};

use super::page;

/// Paths of probes, which need no token: load balancers cannot have one, and these paths tell nothing else. Nor does
/// the page: a browser cannot send a token for its files, and they are the same for everyone.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// What a request must show.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) token: Option<Token>,
}

/// The secret of `--admin-token-file`.
pub(crate) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The first line of a file.
    ///
    /// # Errors
    ///
    /// As reading the file; `InvalidData` where the line has fewer than 16 characters, or others than visible ASCII.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(path)?;
        let line = text.lines().next().unwrap_or_default().trim();
        if line.len() < 16 || !line.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = "its first line is no token; write at least 16 letters and digits, such as from: openssl rand -hex 16";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self(line.to_owned()))
    }

    /// For a request that shows it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Compares in a time that does not depend on where the two differ.
    fn is(&self, other: &str) -> bool {
        let (one, other) = (self.0.as_bytes(), other.as_bytes());
        let differences = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
        one.len() == other.len() && std::hint::black_box(differences) == 0
    }
}

impl Access {
    /// Whether the request may be answered.
    ///
    /// # Errors
    ///
    /// The response to refuse it with.
    pub(crate) fn check(&self, request: &HttpRequest<'_>) -> Result<(), HttpResponse> {
        let host = request.field("Host");
        if !host.is_none_or(is_own) {
            return Err(forbidden(
                "the Host field is neither an IP address nor localhost: a web page may be behind this request. \
                 Use http://ADDRESS:PORT with the IP address",
            ));
        }
        // Browsers say in Sec-Fetch-Site where a request comes from (Fetch Metadata). Another page may have a link to this
        // one, and nothing else.
        let site = request.field("Sec-Fetch-Site").unwrap_or("none");
        let is_link =
            request.method == "GET" && request.field("Sec-Fetch-Mode") == Some("navigate");
        if !matches!(site, "none" | "same-origin") && !is_link {
            return Err(forbidden(
                "the Sec-Fetch-Site field says that a web page of another origin asks",
            ));
        }
        self.check_token(request)?;
        if request.method == "GET" {
            return Ok(());
        }
        let Some(host) = host else {
            return Err(forbidden("a request that changes something needs a Host field"));
        };
        let own_origin = format!("http://{host}");
        if request.field("Origin").is_some_and(|origin| !origin.eq_ignore_ascii_case(&own_origin)) {
            return Err(forbidden("the Origin field names a web page of another origin"));
        }
        let media_type = request.field("Content-Type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case("application/json") {
            return Err(forbidden(
                "a request that changes something needs the field Content-Type: application/json",
            ));
        }
        Ok(())
    }

    fn check_token(&self, request: &HttpRequest<'_>) -> Result<(), HttpResponse> {
        let Some(token) = &self.token else { return Ok(()) };
        if PROBES.contains(&request.path) || page::file(request.path).is_some() {
            return Ok(());
        }
        let shown = request.field("Authorization").and_then(|field| {
            let (scheme, shown) = field.split_once(' ')?;
            scheme.eq_ignore_ascii_case("Bearer").then_some(shown.trim())
        });
        match shown {
            Some(shown) if token.is(shown) => Ok(()),
            _ => {
                let text = "this needs the field Authorization: Bearer TOKEN, with the token of --admin-token-file\n";
                let mut response = HttpResponse::text("401 Unauthorized", text);
                response.fields = "WWW-Authenticate: Bearer\r\n";
                Err(response)
            }
        }
    }
}

fn forbidden(why: &str) -> HttpResponse {
    HttpResponse::text("403 Forbidden", format!("{why}\n"))
}

/// Whether a `Host` is an IP address or `localhost`, with or without a port.
fn is_own(host: &str) -> bool {
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, _)| is_address(address));
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    is_address(name) || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_own_hosts_and_names_are_not() {
        for own in
            ["127.0.0.1", "127.0.0.1:30900", "[::1]:1", "[::1]", "localhost", "LOCALHOST:8080"]
        {
            assert!(is_own(own), "{own}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:30900",
            "localhost.evil.example",
            "127.0.0.1.evil",
            "[evil]",
        ] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_token_is_only_itself() {
        let token = Token("0123456789abcdef".to_owned());
        assert!(token.is("0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef0"] {
            assert!(!token.is(wrong), "{wrong}");
        }
    }
}
