//! A comparison as a table in Markdown.

use anyhow::Context;
use serde_json::Value;

use super::{PASSES, number};

/// The comparison as a table in Markdown, with the geometric means over the convolutions.
pub(super) fn table(record: &Value) -> anyhow::Result<String> {
    let rows = record["rows"].as_array().context("a record of a comparison without rows")?;
    let first = rows.first().context("a record of a comparison without rows")?;
    let whose = peer(first);
    let mut lines = vec![
        format!(
            "| work | forward: ours, ms | {whose}, ms | ratio | forward+backward: ours, ms | \
             {whose}, ms | ratio | peak: ours, MiB | {whose}, MiB |"
        ),
        "|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let mut logs = [Vec::new(), Vec::new()];
    for of_case in rows.chunk_by(|a, b| a["case"] == b["case"]) {
        let case = of_case[0]["case"].as_str().unwrap_or("?");
        let mut line = match peer(&of_case[0]) {
            other if other != whose => format!("| {case} (beside {other}) |"),
            _ => format!("| {case} |"),
        };
        for (pass, logs) in PASSES.iter().zip(&mut logs) {
            let Some(row) = of_case.iter().find(|row| row["pass"] == *pass) else {
                line += " – | – | – |";
                continue;
            };
            let ratio = number(row, "ratio")?;
            let (ours, theirs) = (number(row, "ours_ms")?, number(row, "torch_ms")?);
            line += &format!(" {ours:.1} | {theirs:.1} | {ratio:.2} |");
            if row["op"] == "conv2d" {
                logs.push(ratio.ln());
            }
        }
        let last = &of_case[of_case.len() - 1];
        let (ours, theirs) = (number(last, "ours_mib")?, number(last, "torch_mib")?);
        lines.push(line + &format!(" {ours:.0} | {theirs:.0} |"));
    }
    let mean = |logs: &[f64]| (logs.iter().sum::<f64>() / logs.len() as f64).exp();
    if !logs[0].is_empty() {
        let (forward, both) = (mean(&logs[0]), mean(&logs[1]));
        let count = logs[0].len();
        lines.push(format!(
            "| **geometric mean of {count} convolutions** | | | **{forward:.2}** | | | \
             **{both:.2}** | | |"
        ));
    }
    lines.push(String::new());
    let text = |key: &str| record[key].as_str().unwrap_or("?");
    let theirs = match whose {
        NUMPY => format!("numpy {} and ours, one thread each", text("numpy")),
        PILLOW => format!("Pillow {} and ours, as many threads as the name says", text("pillow")),
        _ => format!(
            "PyTorch {} in the better of its two memory formats; {} threads each",
            text("torch"),
            text("threads")
        ),
    };
    lines.push(format!(
        "Ratio: {whose}'s time by ours, above 1 we are faster. {theirs} on {}; both sides in turn, \
         medians of {} rounds. Peak memory of the process, libraries included.",
        text("cpu"),
        record["rounds"],
    ));
    Ok(lines.join("\n"))
}

/// Who does the other side's work of a case or of a row.
pub(super) fn peer(case: &Value) -> &'static str {
    match case["op"].as_str() {
        Some("confusion") => NUMPY,
        Some("photographs") => PILLOW,
        _ => "PyTorch",
    }
}

const NUMPY: &str = "numpy";
const PILLOW: &str = "Pillow";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    #[test]
    fn the_readme_shows_the_committed_records() {
        let benches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches");
        let readme = std::fs::read_to_string(benches.join("README.md")).unwrap();
        let mut shown = 0;
        for record in std::fs::read_dir(benches.join("results")).unwrap() {
            let path = record.unwrap().path();
            let record = std::fs::read_to_string(&path).unwrap();
            let table = match path.extension().and_then(|extension| extension.to_str()) {
                Some("json") => table(&serde_json::from_str(&record).unwrap()).unwrap(),
                _ => record,
            };
            assert!(readme.contains(&table), "expected in benches/README.md:\n{table}");
            shown += 1;
        }
        assert!(shown > 0, "no record is committed");
    }

    #[test]
    fn what_has_no_gradients_has_one_pass_and_may_have_another_peer() {
        let row = |case: &str, op: &str, pass: &str| {
            json!({ "case": case, "op": op, "pass": pass, "ours_ms": 1.0, "torch_ms": 6.0,
                "ratio": 6.0, "ours_mib": 5.0, "torch_mib": 7.0 })
        };
        let (count, pool) = (row("c", "confusion", "forward"), row("p", "max_pool2d", "forward"));
        let both = row("p", "max_pool2d", "forward-backward");
        let table_of = |rows: &[&Value]| {
            table(&json!({ "torch": "2.8.0", "numpy": "2.3", "threads": "2", "rounds": 5,
                "cpu": "X", "rows": rows }))
            .unwrap()
        };
        let alone = table_of(&[&count]);
        assert!(alone.contains("| c | 1.0 | 6.0 | 6.00 | – | – | – | 5 | 7 |"), "{alone}");
        assert!(alone.contains("| numpy, ms |") && !alone.contains("PyTorch"), "{alone}");
        assert!(alone.contains("numpy 2.3 and ours, one thread each on X"), "{alone}");
        let mixed = table_of(&[&pool, &both, &count]);
        assert!(mixed.contains("| p | 1.0 | 6.0 | 6.00 | 1.0 | 6.0 | 6.00 | 5 | 7 |"), "{mixed}");
        assert!(mixed.contains("| c (beside numpy) | 1.0 | 6.0 | 6.00 | – |"), "{mixed}");
        assert!(mixed.contains("| PyTorch, ms |"), "{mixed}");
    }

    #[test]
    fn a_table_has_a_line_a_case_and_the_convolutions_mean() {
        let row = |case: &str, op: &str, pass: &str, ratio: f64| {
            json!({ "case": case, "op": op, "pass": pass, "ours_ms": 10.0,
                "torch_ms": 10.0 * ratio, "ratio": ratio, "ours_mib": 5.0, "torch_mib": 7.0 })
        };
        let rows = [
            row("a", "conv2d", "forward", 2.0),
            row("a", "conv2d", "forward-backward", 4.0),
            row("b", "conv2d", "forward", 0.5),
            row("b", "conv2d", "forward-backward", 1.0),
            row("c", "max_pool2d", "forward", 9.0),
            row("c", "max_pool2d", "forward-backward", 9.0),
        ];
        let record = json!({ "torch": "2.8.0", "threads": "2", "rounds": 5, "cpu": "X",
            "rows": rows });
        let table = table(&record).unwrap();
        assert!(
            table.contains("| a | 10.0 | 20.0 | 2.00 | 10.0 | 40.0 | 4.00 | 5 | 7 |"),
            "{table}"
        );
        assert!(
            table.contains("mean of 2 convolutions** | | | **1.00** | | | **2.00** |"),
            "{table}"
        );
        assert!(table.contains("2 threads each on X"), "{table}");
    }
}
