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
    block.commit_block().await.unwrap();
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

#[tokio::test]
async fn the_table_that_others_change_is_committed_before_those_of_the_block_alone() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    // What is committed first comes last in the order of ids.
    for id in ["a", "z"] {
        let made = f.create_from(id, Arc::clone(&schema), rows(vec![numbers(0..3)]));
        made.await.unwrap();
    }
    let block = begin_block(&f.tables, &["a", "z"]);
    for id in ["a", "z"] {
        let added = append_to(&block, id, rows(vec![numbers(3..4)])).await;
        assert_eq!(added.unwrap(), 1);
    }
    block.commit_table("z").await.unwrap();
    assert_eq!(f.managed("z", COUNT).await, counted(4, 6));
    assert_eq!(f.managed("a", COUNT).await, counted(3, 3));
    block.commit_block().await.unwrap();
    assert_eq!(f.managed("z", COUNT).await, counted(4, 6));
    assert_eq!(f.managed("a", COUNT).await, counted(4, 6));
}

async fn seen(f: &Fixture, block: &Tables, id: &str) -> String {
    let state = f.session.state();
    f.show(COUNT, block.provider(&managed(id), &state).await)
        .await
}
