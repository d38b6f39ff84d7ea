//! `report`, what `train` shows of itself while it runs, and the manual pages.

mod common_cli;
#[path = "support/require.rs"]
mod require;

use asng_wgpu::metrics::Summary;
use asng_wgpu::run::RunLock;
use common_cli::{Folder, assert_well_formed, run_folder};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What must not reach a page as it is.
const HOSTILE: &str = "<script>alert(1)</script>";
const SMALL: [&str; 6] = ["--patch", "16,16,16", "--features", "4", "--levels", "2"];

/// A demo data set in `data` whose label has a hostile name, and one of whose cases has an odd one.
fn hostile_data(f: &Folder) {
    let data = f.demo("heart", 5);
    let path = data.join("dataset.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    json["labels"]["1"] = HOSTILE.into();
    let text = json.to_string().replace("heart_001", "a&b'c");
    for folder in ["imagesTr", "labelsTr"] {
        let name = |case: &str| data.join(folder).join(format!("{case}.nii.gz"));
        std::fs::rename(name("heart_001"), name("a&b'c")).unwrap();
    }
    std::fs::write(&path, text).unwrap();
}

/// Trains a small network for two epochs of two iterations, with validation.
fn train(f: &Folder, more: &[&str]) -> common_cli::Done {
    let run = ["train", "data", "--out", "run", "--epochs", "2", "--iterations", "2"];
    f.ok(&[&run[..], &SMALL, more].concat())
}

fn page(f: &Folder) -> String {
    String::from_utf8(f.bytes("run/fold_0/report.html")).unwrap()
}

/// The cells of the rows of a page's section.
fn rows(page: &str, section: &str) -> Vec<Vec<String>> {
    let begin = page.find(&format!("<section id=\"{section}\">")).expect("the section is there");
    let section = &page[begin..begin + page[begin..].find("</section>").unwrap()];
    let cells = |row: &str| {
        let row = row.split("</tr>").next().unwrap();
        row.split("<td>").skip(1).map(|c| c.split("</td>").next().unwrap().to_owned()).collect()
    };
    section.split("<tr").skip(1).map(cells).filter(|row: &Vec<String>| !row.is_empty()).collect()
}

/// A page that loads nothing, runs nothing and nests well.
fn assert_self_contained(page: &str) {
    let body = page.strip_prefix("<!DOCTYPE html>\n").expect("a document of HTML 5");
    assert_well_formed(body);
    for forbidden in ["<script", "http://", "https://", "<link", "<iframe", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for (i, _) in page.match_indices("src=\"") {
        assert!(page[i + 5..].starts_with("data:image/png;base64,"), "{}", &page[i..i + 40]);
    }
}

fn assert_png(bytes: &[u8]) {
    let decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    assert!(pixels.iter().any(|p| *p != 255), "an empty picture");
}

#[test]
fn a_training_leaves_a_report_of_its_own_numbers() {
    let f = Folder::new();
    hostile_data(&f);
    train(&f, &["--tensorboard"]);
    let page = page(&f);
    assert_self_contained(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;") && page.contains("a&amp;b&#x27;c"));
    assert!(page.contains("Trained for 2 epoch(s) and validated."), "{page}");
    assert_png(&f.bytes("run/fold_0/progress.png"));

    let summary = String::from_utf8(f.bytes("run/fold_0/validation/summary.json")).unwrap();
    let summary = Summary::from_json(&summary).unwrap();
    let three = |v: f64| if v.is_nan() { "–".to_owned() } else { format!("{v:.3}") };
    let two = |v: f64| if v.is_nan() { "–".to_owned() } else { format!("{v:.2}") };
    let rows = rows(&page, "results");
    let of = |m: &asng_wgpu::metrics::summary::Metrics, name: &str| m[name].value();
    assert_eq!(rows[0][0], "all labels");
    assert_eq!(rows[0][1], three(of(&summary.foreground_mean, "Dice")));
    assert_eq!(rows[1][3], two(of(&summary.mean["1"], "HD95")));
    let mut expected: Vec<(f64, String, String)> = summary
        .metric_per_case
        .iter()
        .map(|case| {
            let m = &case.metrics["1"];
            (of(m, "Dice"), three(of(m, "Dice")), two(of(m, "HD95")))
        })
        .collect();
    expected.sort_by(|a, b| a.0.total_cmp(&b.0));
    let shown: Vec<_> = rows[2..].iter().map(|r| (r[2].clone(), r[3].clone())).collect();
    assert_eq!(shown, expected.into_iter().map(|(_, d, h)| (d, h)).collect::<Vec<_>>());
    assert_eq!(page.matches("<img ").count(), 3 * summary.metric_per_case.len());

    let metrics = String::from_utf8(f.bytes("run/fold_0/metrics.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
    assert!(page.contains(&format!("<b>{:.4}</b>", last["loss"].as_f64().unwrap())));
    let validation = format!("validation {:.4} in epoch 2", last["val_loss"].as_f64().unwrap());
    assert!(page.contains(&validation), "{validation}");
    let theta = page.matches("probability of rotation").count();
    assert!(theta >= 2, "the policy is drawn");

    // TensorBoard's records: a version, the begin of a session, two epochs.
    let names = f.list("run/fold_0/tensorboard");
    assert_eq!(names.len(), 1);
    assert!(names[0].starts_with("events.out.tfevents."), "{names:?}");
    let events = f.bytes(&format!("run/fold_0/tensorboard/{}", names[0]));
    let (mut at, mut records) = (0, 0);
    while at < events.len() {
        at += 16 + u64::from_le_bytes(events[at..at + 8].try_into().unwrap()) as usize;
        records += 1;
    }
    assert_eq!((at, records), (events.len(), 4));

    // Written anew, it is the same but for the time.
    let done = f.ok(&["report", "run"]);
    let paths: Vec<&str> = done.stdout.lines().collect();
    let tail = |path: &str| Path::new(path).file_name().unwrap().to_owned();
    assert_eq!([tail(paths[0]), tail(paths[1])], ["report.html", "progress.png"]);
    let timeless = |page: &str| {
        page.lines().filter(|l| !l.contains("This page was written at")).collect::<String>()
    };
    assert_eq!(timeless(&self::page(&f)), timeless(&page));
    // Without the data set the pictures are missing, and it says so.
    std::fs::rename(f.path("data"), f.path("moved")).unwrap();
    f.ok(&["report", "run", "--fold", "0"]);
    let page = self::page(&f);
    assert_self_contained(&page);
    assert!(page.contains("is not shown") && !page.contains("<img "), "{page}");
}

#[test]
fn a_training_goes_on_without_a_report() {
    let f = Folder::new();
    f.demo("heart", 5);
    std::fs::create_dir_all(f.path("run/fold_0/report.html/in the way")).unwrap();
    let done = train(&f, &["--no-validate", "--searcher", "none"]);
    assert_eq!(done.stderr.matches("the report cannot be written").count(), 1, "{}", done.all());
    assert!(done.stderr.contains("report.html") && done.stderr.contains("epoch 2/2"));
}

/// A run whose first fold is under way: its metrics so far.
fn under_way(f: &Folder, metrics: &str) {
    let data = f.demo("heart", 1);
    run_folder(&f.path("run"), &data, &[], [16, 16, 16]);
    std::fs::create_dir_all(f.path("run/fold_0")).unwrap();
    std::fs::write(f.path("run/fold_0/metrics.jsonl"), metrics).unwrap();
}

#[test]
fn a_run_under_way_has_a_report() {
    let f = Folder::new();
    let line = |epoch: u64, rest: &str| {
        format!("{{\"epoch\":{epoch},\"loss\":0.5,\"learning_rate\":3e-4,\"seconds\":2.5{rest}}}\n")
    };
    under_way(&f, "");
    // Whoever trains holds the lock.
    let _lock = RunLock::acquire(&f.path("run/fold_0"), &mut |_| ()).unwrap();
    f.ok(&["report", "run"]);
    let empty = page(&f);
    assert_self_contained(&empty);
    assert!(empty.contains("no epoch is done yet") && empty.contains("no validation yet"));
    assert_png(&f.bytes("run/fold_0/progress.png"));

    let text =
        line(1, "") + &line(2, ",\"skipped\":3,\"loss_of_another_version\":1") + "{\"epoch\":3,";
    std::fs::write(f.path("run/fold_0/metrics.jsonl"), &text).unwrap();
    std::fs::write(f.path("run/fold_0/policy.jsonl"), "nonsense\n{\"epoch\":0,\"th").unwrap();
    f.ok(&["report", "run"]);
    let page = page(&f);
    assert_self_contained(&page);
    for words in [
        "In training: 2 epoch(s) are done",
        "no validation yet",
        "predicted and evaluated once the training ends",
        "3 step(s) in 1 epoch(s) were skipped",
        "line 1 of &#x27;run&#x2f;fold_0&#x2f;policy.jsonl&#x27; is left out",
        "reload it for later epochs",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    assert_eq!(std::fs::read_to_string(f.path("run/fold_0/metrics.jsonl")).unwrap(), text);
    // Nothing else is written.
    let names = [".lock", "metrics.jsonl", "policy.jsonl", "progress.png", "report.html"];
    assert_eq!(f.list("run/fold_0"), names);
}

#[test]
fn strange_numbers_make_no_strange_pages() {
    let f = Folder::new();
    let values = ["1e308", "-1e308", "0", "1e-300", "null"];
    let lines: Vec<String> = (1..400u64)
        .map(|epoch| {
            let of = |i: u64| values[((epoch + i) % 5) as usize];
            format!(
                "{{\"epoch\":{epoch},\"loss\":{},\"val_loss\":{},\"dice\":[{}],\"seconds\":{},\
                 \"learning_rate\":{},\"delta\":{}}}\n",
                of(0),
                of(1),
                of(2),
                ["1e308", "0", "1"][(epoch % 3) as usize],
                of(3),
                of(4)
            )
        })
        .collect();
    under_way(&f, &lines.concat());
    f.ok(&["report", "run"]);
    let page = page(&f);
    assert_self_contained(&page);
    let drawn: String =
        page.split("<svg").skip(1).map(|s| s.split("</svg>").next().unwrap()).collect();
    assert!(!drawn.contains("NaN") && !drawn.contains("inf\"") && !drawn.contains("inf,"));
    assert_png(&f.bytes("run/fold_0/progress.png"));
    let text = "{\"epoch\":18446744073709551615,\"loss\":0.5}\n{\"epoch\":1,\"loss\":2}\n";
    std::fs::write(f.path("run/fold_0/metrics.jsonl"), text).unwrap();
    f.ok(&["report", "run"]);
}

#[test]
fn what_is_no_run_is_refused() {
    let f = Folder::new();
    let data = f.demo("heart", 1);
    f.refused(&["report", "nowhere"], 1, &["nowhere", "config.json"]);
    f.refused(&["report", "data"], 1, &["data", "is no run"]);
    run_folder(&f.path("run"), &data, &[], [16, 16, 16]);
    f.refused(&["report", "run"], 1, &["no fold yet"]);
    std::fs::create_dir_all(f.path("run/fold_1")).unwrap();
    f.refused(&["report", "run", "--fold", "0"], 1, &["fold 0"]);
    assert!(f.ok(&["report", "run"]).stdout.contains("fold_1"));
    std::fs::write(f.path("run/config.json"), "{").unwrap();
    f.refused(&["report", "run"], 1, &["config.json"]);
}

#[test]
fn every_command_has_a_manual_page() {
    let f = Folder::new();
    f.ok(&["man", "pages/man1"]);
    let names = f.list("pages/man1");
    for name in
        ["asng-wgpu.1", "asng-wgpu-train.1", "asng-wgpu-report.1", "asng-wgpu-policy-plot.1"]
    {
        assert!(names.iter().any(|n| n == name), "{name} in {names:?}");
    }
    for name in names {
        let text = String::from_utf8(f.bytes(&format!("pages/man1/{name}"))).unwrap();
        assert!(text.starts_with(".ie") || text.starts_with(".TH"), "{name}: {text}");
        assert!(text.contains(".SH NAME") && text.contains(".SH SYNOPSIS"), "{name}: {text}");
    }
    std::fs::write(f.path("file"), "").unwrap();
    f.refused(&["man", "file"], 1, &["file"]);
}

/// A browser on this machine.
fn browser() -> Option<&'static str> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];
    let runs = |name: &&str| {
        Command::new(name).arg("--version").output().is_ok_and(|out| out.status.success())
    };
    names.into_iter().find(runs)
}

/// What a page says of itself once it is loaded: its width, what is wider, pictures that are not
/// there, and the smallest font.
const PROBE: &str = "<script>
addEventListener('load', () => {
  const all = [...document.querySelectorAll('body *')].filter(e => e.localName !== 'script');
  const texts = all.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    images: document.images.length,
    missing: [...document.images].filter(i => !(i.complete && i.naturalWidth > 0)).length,
    smallest: Math.min(...texts.map(e => parseFloat(getComputedStyle(e).fontSize))),
    smallestInPictures: Math.min(...[...document.querySelectorAll('svg')].map(s =>
      12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width)),
  }), '*');
});
</script>";

/// Shows the probed page in a frame, which may be narrower than a browser's window, and takes what
/// it says as the title.
const FRAME: &str = "<!DOCTYPE html><title>none</title>
<script>addEventListener('message', e => document.title = 'probe ' + e.data)</script>
<iframe src=\"probed.html\" style=\"border:0;height:1000px;width:WIDTHpx\"></iframe>";

#[test]
fn a_browser_shows_the_report_at_every_width() {
    let Some(browser) = require::need("chromium", browser()) else { return };
    let f = Folder::new();
    hostile_data(&f);
    train(&f, &[]);
    let show = |name: &str, more: &[&str]| {
        let url = format!("file://{}", f.path(name).display());
        let profile = format!("--user-data-dir={}", f.path("profile").display());
        let out = assert_cmd::Command::new(browser)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom", &profile])
            .args(["--enable-logging=stderr", "--v=0", "--virtual-time-budget=5000"])
            .args(more)
            .arg(&url)
            .timeout(Duration::from_secs(120))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(out.status.success(), "{}", text(&out.stderr));
        (text(&out.stdout), text(&out.stderr))
    };
    // As it is: nothing to complain about.
    let (_, said) = show("run/fold_0/report.html", &[]);
    assert!(!said.contains("CONSOLE"), "{said}");
    // With a script of ours, which its policy forbids.
    let page = page(&f);
    let begin = page.find("<meta http-equiv=\"Content-Security-Policy\"").unwrap();
    let end = begin + page[begin..].find('>').unwrap() + 1;
    let probed = format!("{}{}", &page[..begin], &page[end..])
        .replace("</body>", &format!("{PROBE}</body>"));
    std::fs::write(f.path("probed.html"), probed).unwrap();
    for width in [400, 1400] {
        std::fs::write(f.path("frame.html"), FRAME.replace("WIDTH", &width.to_string())).unwrap();
        let (dom, _) = show("frame.html", &["--window-size=1600,1000"]);
        let title = dom.split("<title>probe ").nth(1).expect("the probe ran");
        let title = title.split("</title>").next().unwrap();
        let probe: serde_json::Value = serde_json::from_str(title).unwrap();
        let number = |name: &str| probe[name].as_f64().unwrap();
        assert_eq!(number("width"), f64::from(width), "{probe}");
        assert_eq!((number("overflow"), number("missing")), (0.0, 0.0), "{probe}");
        assert!(number("images") >= 3.0, "{probe}");
        assert!(number("smallest") >= 11.0, "{probe}");
        assert!(number("smallestInPictures") >= 11.0, "{probe}");
    }
}
