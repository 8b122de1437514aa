//! What a transaction block sees of tables that others make and change meanwhile.

use super::managed::rows;
use super::*;

#[tokio::test]
async fn a_block_meets_a_table_that_was_made_since_with_its_rows() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    let old = f.create_from("old", Arc::clone(&schema), rows(vec![numbers(0..3)]));
    old.await.unwrap();
    let block = begin_block(&f.tables, &["old"]);
    let new = f.create_from("new", schema, rows(vec![numbers(0..5)]));
    new.await.unwrap();
    f.append("old", rows(vec![numbers(3..4)])).await.unwrap();
    assert_eq!(seen(&f, &block, "old").await, counted(3, 3));
    assert_eq!(seen(&f, &block, "new").await, counted(5, 10));
    f.append("new", rows(vec![numbers(5..6)])).await.unwrap();
    assert_eq!(seen(&f, &block, "new").await, counted(5, 10));
    append_to(&block, "new", rows(vec![numbers(6..7)]))
        .await
        .unwrap();
    assert_eq!(seen(&f, &block, "new").await, counted(6, 16));
    block.commit_block(None).await.unwrap();
    assert_eq!(f.managed("new", COUNT).await, counted(7, 21));
}

#[tokio::test]
async fn a_block_sees_the_first_rows_of_a_table_that_another_server_has_just_made() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    let other = open(f.path("")).await;
    let new = f.create_from("new", schema, rows(vec![numbers(0..5)]));
    new.await.unwrap();
    let block = begin_block(&other, &["new"]);
    assert_eq!(seen(&f, &block, "new").await, counted(5, 10));
}

async fn seen(f: &Fixture, block: &Tables, id: &str) -> String {
    let state = f.session.state();
    f.show(COUNT, block.provider(&managed(id), &state).await)
        .await
}
