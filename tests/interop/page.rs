//! The live page of the admin port in headless Chromium, and other pages that try to use the port.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
};

use serde_json::{Value, json};

use crate::{
    chromium::{Profile, reported},
    common::{Daemon, PATIENCE, eventually, ping, resound, tool},
    devtools::Page,
    source,
};

/// The page of a daemon.
fn open(chromium: &Path, name: &str, daemon: &Daemon) -> Page {
    let mut page = Page::open(chromium, Profile::new(name), &[]);
    page.go_to(&format!("http://{}/", daemon.address(1)));
    page
}

/// What the admin port answers.
fn get(daemon: &Daemon, path: &str) -> Value {
    let mut stream = TcpStream::connect(daemon.address(1)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
}

/// Whether the texts of the elements that `selector` finds have `text` in them.
fn shows(selector: &str, text: &str) -> String {
    let (selector, text) = (json!(selector), json!(text));
    format!(
        "[...document.querySelectorAll({selector})].some(one => one.textContent.includes({text}))"
    )
}

#[test]
fn the_page_shows_what_the_daemon_does_in_each_width_in_light_and_dark() {
    let Some(chromium) = tool("chromium") else { return };
    // It warns that a frame may be longer than the memory for all.
    let daemon = Daemon::with_admin(&["--max-memory", "1MiB", "--max-connections", "10"]);
    let mut streams: Vec<TcpStream> = (0..3).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    let mut page = open(&chromium, "chromium-admin-page", &daemon);
    page.until(&shows(".tile", "Connections3of 10"));
    page.until(&shows(".tile", "Frames"));
    page.until(&shows("#limits", "3 of 10"));
    page.until(&shows("#limits th", "frame timeout1 min"));
    page.until(&shows("#listeners th", &daemon.listening[0]));
    for stream in &streams {
        page.until(&shows("#connections td", &stream.local_addr().unwrap().to_string()));
    }
    page.until(&shows("#warnings li", "--max-memory is 1MiB"));
    // It goes on asking.
    streams.push(daemon.connect());
    page.until(&shows(".tile", "Connections4of 10"));
    let contrast = fs::read_to_string(source("contrast.js")).unwrap();
    for width in [360, 800, 1600] {
        for is_dark in [false, true] {
            page.view(width, is_dark);
            let needed = page.value("document.documentElement.scrollWidth");
            assert!(needed.as_u64().unwrap() <= width.into(), "{needed} of {width}");
            assert_eq!(page.value(&contrast), "", "at {width}, dark: {is_dark}");
        }
    }
    // What a screen reader is told.
    let tree = page.call("Accessibility.getFullAXTree", &json!({}));
    let mut named = 0;
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or_default();
        let needs_name =
            ["button", "combobox", "table", "meter", "image", "columnheader", "rowheader", "link"];
        if needs_name.contains(&role) && node["ignored"] == false {
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.trim().is_empty(), "{node}");
            named += 1;
        }
    }
    assert!(named > 20, "{named}: {tree}");
    assert_eq!(page.value("performance.getEntriesByType('resource').filter(one => new URL(one.name).origin !== origin).length"), 0);
}

#[test]
fn a_drain_is_started_by_its_button_once_it_is_confirmed() {
    let Some(chromium) = tool("chromium") else { return };
    let mut daemon = Daemon::with_admin(&["--grace", "60s"]);
    let mut client = daemon.connect();
    ping(&mut client);
    let mut page = open(&chromium, "chromium-admin-drain", &daemon);
    page.until("document.getElementById('drain').checkVisibility()");
    page.value("document.getElementById('drain').focus()");
    // Who presses Enter twice has not confirmed anything: the focus is on Cancel.
    for key in ["Enter", "Escape"] {
        page.press("Enter");
        page.until("document.getElementById('confirm').open");
        page.press(key);
        page.until(
            "!document.getElementById('confirm').open && document.activeElement.id === 'drain'",
        );
    }
    assert_eq!(get(&daemon, "/stats")["stage"], "serving");
    ping(&mut client);
    page.press("Enter");
    page.until("document.getElementById('confirm').open");
    page.press("Tab");
    page.until("document.activeElement.id === 'confirm-yes'");
    page.press("Enter");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    let ended = daemon.wait();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    page.until(&shows("#lost", "The daemon has ended, as it was asked to."));
    assert_eq!(page.value("document.getElementById('stage').textContent"), "ended");
}

#[test]
fn a_connection_is_closed_and_the_log_level_set_by_buttons() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon = Daemon::with_admin(&[]);
    let mut client = daemon.connect();
    ping(&mut client);
    let mut page = open(&chromium, "chromium-admin-buttons", &daemon);
    page.until("document.querySelector('#connections button')");
    page.value("document.querySelector('#connections button').click()");
    let peer = client.local_addr().unwrap().to_string();
    page.until(&shows("#confirm-text", &peer));
    page.value("document.getElementById('confirm-yes').click()");
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    page.until(&shows("#news", "is closed"));
    page.value("document.getElementById('level').value = 'error'");
    page.value("document.querySelector('#log button').click()");
    page.until(&shows("#news", "The log level is error now"));
    assert_eq!(get(&daemon, "/warnings")["log_level"], "error");
}

#[test]
fn a_hostile_page_changes_nothing_and_reads_nothing() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon = Daemon::with_admin(&[]);
    let mut client = daemon.connect();
    ping(&mut client);
    let name = get(&daemon, "/connections")["connections"][0]["name"].clone();
    let site = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = fs::read_to_string(source("hostile.html")).unwrap();
    let text = text.replace("ADMIN_URL", &format!("http://{}", daemon.address(1)));
    let text = text.replace("CONNECTION", name.as_str().unwrap());
    let mut page = Page::open(&chromium, Profile::new("chromium-hostile"), &[]);
    let address = format!("http://{}/", site.local_addr().unwrap());
    let report = thread::spawn(move || reported(&site, &text));
    page.go_to(&address);
    assert_eq!(report.join().unwrap(), "nothing was read");
    // Nor is the page shown in a frame of the other one.
    let tree = page.call("Page.getFrameTree", &json!({}));
    let frames = tree["frameTree"]["childFrames"].as_array().unwrap();
    assert_eq!(frames.len(), 2, "{tree}");
    let framed = &frames[0]["frame"];
    assert_eq!(framed["url"], "chrome-error://chromewebdata/", "{tree}");
    ping(&mut client);
    let stats = get(&daemon, "/stats");
    assert_eq!((&stats["stage"], &stats["connections"]["open"]), (&"serving".into(), &1.into()));
    assert_eq!(get(&daemon, "/warnings")["log_level"], "info");
}

#[test]
fn a_page_whose_name_was_made_to_resolve_to_loopback_is_refused() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon = Daemon::with_admin(&[]);
    let rules = "--host-resolver-rules=MAP evil.example 127.0.0.1";
    let upgrades = "--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable";
    let mut page = Page::open(&chromium, Profile::new("chromium-rebinding"), &[rules, upgrades]);
    let (_, port) = daemon.address(1).rsplit_once(':').unwrap();
    page.go_to(&format!("http://evil.example:{port}/stats"));
    page.until("document.body.innerText.includes('neither an IP address nor localhost')");
    // For the browser it is one origin: only the daemon can tell.
    let codes = page.value(
        "Promise.all([fetch('/stats'), fetch('/drain', { method: 'POST', body: '{}', \
         headers: { 'Content-Type': 'application/json' } })]).then(all => all.map(one => one.status))",
    );
    assert_eq!(codes, json!([403, 403]));
    assert_eq!(get(&daemon, "/stats")["stage"], "serving");
}

#[test]
fn markup_in_what_the_daemon_says_is_shown_as_text() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon = Daemon::with_admin(&[]);
    let mut client = daemon.connect();
    ping(&mut client);
    let mut page = Page::open(&chromium, Profile::new("chromium-markup"), &[]);
    // Every text in every answer, and the names of what was closed, are markup that would run a script.
    let replace = r#"
        const real = window.fetch;
        const markup = `"'><img src=x onerror="window.hacked = true"><script>window.hacked = true</script>`;
        const kept = ["stage", "time", "level", "log_level"];
        const spoil = (value, key) => typeof value === "string" ? (kept.includes(key) ? value : value + markup)
            : Array.isArray(value) ? value.map(one => spoil(one, key))
            : value && typeof value === "object"
                ? Object.fromEntries(Object.entries(value).map(([key, one]) => [key, spoil(one, key)]))
            : value;
        const warning = { time: "2026-01-01T00:00:00.000Z", level: "warn", target: "x", message: "y", count: 2 };
        window.fetch = async (path, options) => {
            const response = await real(path, options);
            if (path === "/readyz") return new Response(markup, { status: 503 });
            const body = await response.json();
            if (path === "/warnings") body.warnings = [warning];
            if (path === "/stats") body.connections.closed = { [markup]: 3 };
            return new Response(JSON.stringify(spoil(body)));
        };
    "#;
    page.call("Page.enable", &json!({}));
    page.call("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": replace }));
    page.go_to(&format!("http://{}/", daemon.address(1)));
    for place in
        ["#version", "#listeners th", "#totals th", "#connections td", "#warnings li", "#condition"]
    {
        page.until(&shows(place, "<img src=x onerror="));
    }
    page.value("document.querySelector('#connections button').click()");
    page.until(&shows("#confirm-text", "<img src=x onerror="));
    assert_eq!(page.value("document.querySelectorAll('img, body script').length"), 0);
    assert_eq!(page.value("window.hacked === undefined"), true);
}

#[test]
fn replacing_is_offered_by_a_daemon_that_can_and_asked_for_once_it_is_confirmed() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon = Daemon::with_admin(&[]);
    let mut page = Page::open(&chromium, Profile::new("chromium-replace"), &[]);
    // The answers to this path are the test's: a daemon that can, and has done it.
    let replace = r#"
        const real = window.fetch;
        window.fetch = async (path, options) => {
            if (path !== "/replace") return real(path, options);
            if (options.method === "GET") return new Response("", { status: 405 });
            window.asked = `${options.method} ${options.headers["Content-Type"]}`;
            return new Response("process 7 has taken over");
        };
    "#;
    page.call("Page.enable", &json!({}));
    page.call("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": replace }));
    page.go_to(&format!("http://{}/", daemon.address(1)));
    page.until("document.getElementById('replace').checkVisibility()");
    page.value("document.getElementById('replace').click()");
    page.until("document.getElementById('confirm').open");
    assert_eq!(page.value("window.asked === undefined"), true);
    page.value("document.getElementById('confirm-yes').click()");
    page.until(&shows("#news", "process 7 has taken over"));
    assert_eq!(page.value("window.asked"), "POST application/json");
}

#[test]
fn the_token_is_asked_for_and_kept_in_memory_only() {
    let Some(chromium) = tool("chromium") else { return };
    let file = std::env::temp_dir().join(format!("resound-page-token-{}", std::process::id()));
    fs::write(&file, "0123456789abcdef\n").unwrap();
    let mut command = resound();
    command.args(["serve", "--listen", "frames://127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.arg("--admin-token-file").arg(&file);
    let daemon = Daemon::spawn(command, 2);
    fs::remove_file(&file).unwrap();
    let mut page = open(&chromium, "chromium-admin-token", &daemon);
    let enter = |page: &mut Page, token: &str| {
        page.until("document.activeElement.id === 'token'");
        page.value(&format!("document.getElementById('token').value = '{token}'"));
        page.press("Enter");
    };
    enter(&mut page, "0123456789abcdeX");
    page.until(&shows("#login-error", "This is not the token"));
    assert_eq!(page.value("document.getElementById('content').checkVisibility()"), false);
    enter(&mut page, "0123456789abcdef");
    page.until("document.getElementById('content').checkVisibility()");
    page.until(&shows("#listeners th", &daemon.listening[0]));
    let kept = "localStorage.length + sessionStorage.length + document.cookie.length + location.search.length";
    assert_eq!(page.value(kept), 0);
    page.call("Page.reload", &json!({}));
    page.until("document.activeElement.id === 'token'");
}

#[test]
fn a_daemon_that_does_not_answer_is_noticed_and_so_is_its_return() {
    let Some(chromium) = tool("chromium") else { return };
    let daemon = Daemon::with_admin(&[]);
    let mut page = open(&chromium, "chromium-admin-lost", &daemon);
    page.until("document.getElementById('stage').textContent === 'serving'");
    daemon.pause();
    page.until(&shows("#lost", "The daemon no longer answers."));
    page.until("document.title.startsWith('no answer')");
    daemon.resume();
    page.until("document.getElementById('stage').textContent === 'serving'");
    assert_eq!(page.value("document.getElementById('lost').textContent"), "");
    eventually("it is asked again", || get(&daemon, "/stats")["stage"] == "serving");
}
