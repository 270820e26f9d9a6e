//! The live page: its files are part of the program, and it loads nothing from elsewhere.

use resound::protocol::http::service::HttpResponse;

/// What each file of the page is sent with. The policy allows what the page itself has, and no frame around it: in a
/// frame, another page could bring a user to click its buttons.
const FIELDS: &str = "Cache-Control: no-cache\r\n\
    Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n\
    X-Frame-Options: DENY\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Referrer-Policy: no-referrer\r\n\
    Cross-Origin-Opener-Policy: same-origin\r\n\
    Cross-Origin-Resource-Policy: same-origin\r\n";

/// A file of the page.
#[derive(Debug)]
pub(super) struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: [File; 9] = [
    File { path: "/", content_type: HTML, text: include_str!("index.html") },
    File { path: "/page/style.css", content_type: CSS, text: include_str!("style.css") },
    File { path: "/page/icon.svg", content_type: SVG, text: include_str!("icon.svg") },
    File { path: "/page/main.js", content_type: SCRIPT, text: include_str!("main.js") },
    File { path: "/page/daemon.js", content_type: SCRIPT, text: include_str!("daemon.js") },
    File { path: "/page/elements.js", content_type: SCRIPT, text: include_str!("elements.js") },
    File { path: "/page/numbers.js", content_type: SCRIPT, text: include_str!("numbers.js") },
    File { path: "/page/rates.js", content_type: SCRIPT, text: include_str!("rates.js") },
    File { path: "/page/tables.js", content_type: SCRIPT, text: include_str!("tables.js") },
];

/// The file of the page at `path`.
pub(super) fn file(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path)
}

impl File {
    pub(super) fn response(&self) -> HttpResponse {
        HttpResponse {
            status: "200 OK",
            content_type: self.content_type,
            fields: FIELDS,
            body: self.text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_names_no_other_place() {
        let size: usize = FILES.iter().map(|file| file.text.len()).sum();
        assert!(size < 100_000, "{size} bytes");
        for File { path, text, .. } in &FILES {
            // The name of SVG is an address that nothing is loaded from.
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http:", "https:", "\"//", "url(", "@import"] {
                assert!(!text.contains(foreign), "{path} has {foreign}");
            }
            assert!(!text.contains("innerHTML") && !text.contains("outerHTML"), "{path}");
        }
    }

    #[test]
    fn each_file_that_the_page_names_is_served() {
        let mut named = 0;
        for File { path, text, .. } in &FILES {
            // The sources of scripts are written relative to their folder.
            let text = text.replace("from \"./", "from \"/page/");
            for (at, _) in text.match_indices("\"/page/") {
                let name = text[at + 1..].split('"').next().unwrap();
                assert!(file(name).is_some(), "{path} names {name}");
                named += 1;
            }
        }
        assert!(named >= FILES.len() - 1, "{named}");
    }
}
