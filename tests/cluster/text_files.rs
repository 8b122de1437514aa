//! Workers read CSV and JSON files, each line once, however the files can be divided.

use std::fmt::Write as _;

use auspex_tests::rows;

use crate::machines::Machines;

const N_ROWS: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn workers_read_each_line_of_text_files_once() {
    let machines = Machines::start(3).await;
    let client = machines.client().await;
    let (mut plain, mut quoted) = ("id,word,day\n".to_owned(), "id,word,day\n".to_owned());
    let mut lines = String::new();
    for id in 0..N_ROWS {
        let day = format!("2026-0{}-11", id % 9 + 1);
        writeln!(plain, "{id},word number {},{day}", id % 13).unwrap();
        writeln!(quoted, "{id},\"word\nnumber {}\",{day}", id % 13).unwrap();
        writeln!(
            lines,
            "{{\"id\": {id}, \"word\": \"word number {}\", \"day\": \"{day}\"}}",
            id % 13
        )
        .unwrap();
    }
    let array = format!("[{}]", lines.trim_end().replace('\n', ","));
    let texts = [
        ("plain.csv", plain),
        ("quoted.csv", quoted),
        ("lines.ndjson", lines),
        ("array.json", array),
    ];
    for (name, text) in texts {
        let path = machines.files().join(name);
        std::fs::write(&path, text).unwrap();
        let query = format!(
            "SELECT id % 5 AS g, count(*), sum(id), min(word), max(day) FROM '{}' GROUP BY g ORDER BY g",
            path.display()
        );
        let plan = rows(&client, &format!("EXPLAIN {query}")).await.unwrap();
        let plan = plan.concat().join("\n");
        assert!(plan.contains("Stage 1"), "{name}: {plan}");
        let found = rows(&client, &query).await.unwrap();
        let n_rows: usize = found
            .iter()
            .map(|row| row[1].parse::<usize>().unwrap())
            .sum();
        assert_eq!(n_rows, N_ROWS, "{name}");
        let here = "SET min_distributed_size = '1TB'";
        client.batch_execute(here).await.unwrap();
        assert_eq!(found, rows(&client, &query).await.unwrap(), "{name}");
        let anywhere = "RESET min_distributed_size";
        client.batch_execute(anywhere).await.unwrap();
    }
    let damaged = machines.files().join("damaged.csv");
    let mut text = "id\n".to_owned();
    (0..N_ROWS).for_each(|id| writeln!(text, "{id}").unwrap());
    text.push_str("seven\n");
    std::fs::write(&damaged, text).unwrap();
    let query = format!(
        "SELECT id % 5, count(*) FROM '{}' GROUP BY 1",
        damaged.display()
    );
    let error = rows(&client, &query).await.unwrap_err();
    assert!(error.contains("damaged.csv"), "{error}");
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    assert_eq!(error, rows(&client, &query).await.unwrap_err());
}
