//! The study's pages: only what the study wrote, and only as it wrote it.

use std::{fs, path::Path, sync::Arc};

use alloy_primitives::B256;
use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::world::World;

const REPORT: &str = "# What it costs\n\n20 rows were executed.\n\n- **Row mode**: 20 transactions.\n\n## Method\n\n\
    ![Four bars, by age](figures/cost-by-age-row.svg)\n\n**Figure 1.** Total cost by age.\n";

/// A folder as `salus study` writes one, small.
fn write_study(folder: &Path) {
    let files = [
        ("report.md", REPORT.as_bytes()),
        ("report.html", b"<script>alert(1)</script>"),
        ("figures/cost-by-age-row.svg", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"),
        ("figures/cost-by-age-row.png", b"\x89PNG"),
        (
            "tables/age.csv",
            b"mode,age,gas_used\r\nrow,0-15,100\r\nrow,<b>16-64,200\r\nbatch,0-15,7\r\n",
        ),
        (
            "tables/README.md",
            b"## age.csv\n\n| column | what it holds |\n|---|---|\n| `gas_used` | all of it |\n",
        ),
    ];
    let mut outputs = Map::new();
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        outputs.insert(name.into(), json!(B256::from_slice(&Sha256::digest(content))));
    }
    let manifest = json!({
        "setup": {
            "seed": 1, "rows": 20, "patients_only_of": null, "overlap_allowed": false,
            "version": "0.1.0", "contracts": B256::repeat_byte(1),
        },
        "options": {
            "files": [], "daily": null, "modes": ["row"], "every_patient": false,
            "fixed": { "wei_per_gas": 1_367_000_000_u64, "usd_per_ether": 1_857_160_000_u64, "eur_per_ether": null, "origin": "a test" },
        },
        "inputs": [{ "role": "waiting list", "file": "list.csv", "digest": B256::repeat_byte(2) }],
        "chains": [],
        "outputs": Value::Object(outputs),
    });
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    fs::write(folder.join("secret.txt"), "not of the study").unwrap();
}

fn world_with(folder: &Path) -> Arc<World> {
    let mut world = World::begin();
    world.study = Some(folder.to_owned());
    Arc::new(world)
}

#[tokio::test]
async fn figures_are_shown_with_their_tables_and_what_they_were_made_of() {
    let folder = tempfile::tempdir().unwrap();
    write_study(folder.path());
    let mut browser = world_with(folder.path()).browser();
    let page = browser.page("/study").await;
    page.says(&[
        "20 rows were executed.",
        "Row mode: 20 transactions.",
        "Total cost by age.",
        "alt=\"Four bars, by age\"",
        "src=\"/study/files/figures/cost-by-age-row.svg\"",
        "&lt;b&gt;16-64",
        "1.367 gwei",
        "USD 1857.16",
        "list.csv",
        "waiting list",
    ]);
    page.hides(&["<b>16-64", "batch"]);
    let figure = browser.page("/study/figures/cost-by-age-row").await;
    figure.says(&["As PNG", "all of it", "age.csv"]);
    browser.page("/study/tables/age").await.says(&["batch"]);
    browser.page("/study/check").await.says(&["Every file is what the study wrote", "6 files"]);

    let svg = browser.page("/study/files/figures/cost-by-age-row.svg").await;
    assert_eq!(svg.headers["content-type"], "image/svg+xml");
    assert_eq!(svg.headers["x-content-type-options"], "nosniff");
    // The report is somebody else's page: it is kept, never shown as one of the portal's.
    let report = browser.page("/study/files/report/report.html").await;
    assert_eq!(report.headers["content-disposition"], "attachment");
    assert!(
        report.headers["content-security-policy"].to_str().unwrap().contains("default-src 'none'")
    );
}

#[tokio::test]
async fn nothing_else_can_be_named() {
    let folder = tempfile::tempdir().unwrap();
    write_study(folder.path());
    let mut browser = world_with(folder.path()).browser();
    for path in [
        "/study/files/figures/..%2Fsecret.txt",
        "/study/files/figures/%2e%2e%2fsecret.svg",
        "/study/files/../secret.txt",
        "/study/files/./secret.txt",
        "/study/files/report/manifest.json",
        "/study/files/work/begun.json",
        "/study/files/figures/other.svg",
        "/study/files/tables/README.md",
        "/study/figures/..%2f..%2fsecret",
        "/study/figures/other",
        "/study/tables/other",
        "/study/tables/..%2Fmanifest",
        "/study/files/%00/a.svg",
    ] {
        let answer = browser.get(path).await;
        assert!(
            matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST),
            "{path}: {}",
            answer.status
        );
        answer.hides(&["not of the study"]);
    }
}

#[tokio::test]
async fn what_was_altered_is_told_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    write_study(folder.path());
    let mut browser = world_with(folder.path()).browser();
    fs::write(folder.path().join("figures/cost-by-age-row.svg"), "<svg>cheaper</svg>").unwrap();
    fs::remove_file(folder.path().join("tables/age.csv")).unwrap();
    let picture = browser.get("/study/files/figures/cost-by-age-row.svg").await;
    assert_eq!(picture.status, StatusCode::UNPROCESSABLE_ENTITY);
    picture.hides(&["cheaper"]);
    browser.page("/study/check").await.says(&[
        "Not every file is what the study wrote",
        "figures/cost-by-age-row.svg",
        "altered",
        "tables/age.csv",
        "missing",
    ]);
    browser.page("/study/figures/cost-by-age-row").await.says(&["is not what was written"]);
}

#[tokio::test]
async fn without_a_study_it_says_which_command_makes_one() {
    let world = Arc::new(World::begin());
    world.browser().page("/study").await.says(&["No study is shown here yet", "salus study"]);
    let folder = tempfile::tempdir().unwrap();
    world_with(folder.path())
        .browser()
        .page("/study")
        .await
        .says(&["There is no finished study yet", "--resume"]);
}
