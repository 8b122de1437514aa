//! What SQL may name, by paths, links and URLs, and what a location leads to.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use super::*;
use crate::catalog::{CatalogEntry, CatalogState, Change, Definition, Grants, LocationDefinition};

struct Fixture {
    dir: tempfile::TempDir,
    warehouse: Arc<Warehouse>,
}

/// `warehouse/`, `allowed/` and `secret/` beside each other.
async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    for file in [
        "warehouse/data/a.csv",
        "warehouse/catalog/1.json",
        "warehouse/models/m/1/manifest.json",
        "warehouse/tables/t/x.parquet",
        "allowed/b.csv",
        "allowed/data/a.csv",
        "secret/s.csv",
    ] {
        let path = dir.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x\n1\n").unwrap();
    }
    let warehouse = Warehouse::open(dir.path().join("warehouse").to_str().unwrap())
        .await
        .unwrap();
    Fixture { dir, warehouse }
}

impl Fixture {
    fn path(&self, path: &str) -> String {
        self.dir
            .path()
            .canonicalize()
            .unwrap()
            .join(path)
            .to_str()
            .unwrap()
            .into()
    }

    fn locations(&self, allowed: &[&str]) -> Locations {
        let allowed: Vec<String> = allowed.iter().map(|path| self.path(path)).collect();
        Locations::new(&self.warehouse, &allowed).unwrap()
    }
}

fn state(found: Result<Url>) -> &'static str {
    found.map_or_else(|error| error.sqlstate(), |_| "ok")
}

#[tokio::test]
async fn relative_paths_are_tried_in_order() {
    let f = fixture().await;
    let locations = f.locations(&["allowed"]);
    let url = |path: &str| locations.resolve(path).unwrap().to_file_path().unwrap();
    assert_eq!(
        url("data/a.csv").to_str().unwrap(),
        f.path("warehouse/data/a.csv")
    );
    assert_eq!(url("b.csv").to_str().unwrap(), f.path("allowed/b.csv"));
    assert_eq!(
        url("none.csv").to_str().unwrap(),
        f.path("warehouse/none.csv")
    );
    assert!(
        locations
            .resolve("data")
            .unwrap()
            .as_str()
            .ends_with("/warehouse/data/")
    );
    assert_eq!(
        url("data/../data/./a.csv").to_str().unwrap(),
        f.path("warehouse/data/a.csv")
    );
}

#[tokio::test]
async fn nothing_escapes() {
    let f = fixture().await;
    symlink(f.path("secret"), f.path("warehouse/link")).unwrap();
    symlink(f.path("secret/s.csv"), f.path("warehouse/data/s.csv")).unwrap();
    symlink(f.path("secret/new.csv"), f.path("warehouse/dangling.csv")).unwrap();
    symlink(f.path("allowed/data"), f.path("warehouse/inside")).unwrap();
    let locations = f.locations(&["allowed"]);
    let file_url = |path: &str| format!("file://{}", f.path(path));
    for path in [
        "../secret/s.csv".to_owned(),
        "data/../../secret/s.csv".into(),
        "none/../../secret/s.csv".into(),
        "link/s.csv".into(),
        "link/none.csv".into(),
        "data/s.csv".into(),
        "dangling.csv".into(),
        // The target's parent is allowed/, whose sibling is secret/.
        "inside/../../secret/s.csv".into(),
        f.path("secret/s.csv"),
        f.path("secret"),
        f.path("warehouse/../secret/s.csv"),
        f.path("warehouse-sibling"),
        "/etc/passwd".into(),
        file_url("secret/s.csv"),
        file_url("warehouse/%2e%2e/secret/s.csv"),
        file_url("warehouse/..%2fsecret/s.csv"),
        "file:///etc/passwd".into(),
        "file:/etc/passwd".into(),
    ] {
        let error = locations.resolve(&path).unwrap_err();
        assert!(
            matches!(error, Error::LocationRefused { .. }),
            "{path}: {error:?}"
        );
        assert!(error.hint().unwrap().contains("--allow-location"));
        assert!(error.to_string().contains(&path));
    }
    assert_eq!(state(locations.resolve("inside/a.csv")), "ok");
    assert_eq!(state(locations.resolve("inside/../b.csv")), "ok");
    assert_eq!(state(locations.resolve("s3://bucket/x")), "42501");
    assert_eq!(state(locations.resolve("ftp://host/x")), "0A000");
    assert_eq!(state(locations.resolve("a\0b")), "22023");
    // In a plain path, % is a character.
    let literal = locations.resolve("%2e%2e/secret/s.csv").unwrap();
    assert!(
        literal
            .path()
            .ends_with("/warehouse/%252e%252e/secret/s.csv"),
        "{literal}"
    );
}

#[tokio::test]
async fn the_engines_folders_are_its_own() {
    let f = fixture().await;
    symlink(f.path("warehouse/catalog"), f.path("allowed/log")).unwrap();
    let locations = f.locations(&["allowed"]);
    for path in [
        "catalog",
        "catalog/1.json",
        "models/m/1/manifest.json",
        &f.path("allowed/log/1.json"),
    ] {
        let error = locations.resolve(path).unwrap_err();
        assert!(
            matches!(error, Error::LocationReserved { .. }),
            "{path}: {error:?}"
        );
        assert_eq!(error.sqlstate(), "42501");
    }
    assert_eq!(state(f.locations(&[]).resolve(".")), "42501");
    assert_eq!(state(locations.resolve("tables/t/x.parquet")), "ok");
    assert_eq!(
        state(locations.resolve_for_write("tables/t/x.parquet")),
        "42501"
    );
    assert_eq!(state(locations.resolve_for_write("data/new.csv")), "ok");
    // Allowing a folder above the warehouse does not open what the warehouse keeps.
    let wide = f.locations(&["."]);
    assert_eq!(state(wide.resolve(&f.path("secret/s.csv"))), "ok");
    assert_eq!(state(wide.resolve(&f.path("."))), "42501");
    assert_eq!(
        state(wide.resolve(&f.path("warehouse/catalog/1.json"))),
        "42501"
    );
}

#[tokio::test]
async fn an_allowed_location_must_exist() {
    let f = fixture().await;
    let error = Locations::new(&f.warehouse, &[f.path("nowhere")]).unwrap_err();
    assert_eq!(error.sqlstate(), "58P01");
    let file = f.locations(&["secret/s.csv"]);
    assert_eq!(state(file.resolve(&f.path("secret/s.csv"))), "ok");
    assert_eq!(state(file.resolve(&f.path("secret/t.csv"))), "42501");
}

#[tokio::test]
async fn what_a_location_leads_to_lies_in_the_innermost_that_holds_it() {
    let f = fixture().await;
    let locations = f.locations(&["."]);
    let folder = |path: &str| Url::from_directory_path(f.path(path)).unwrap();
    let external = |path: &str| {
        let definition = LocationDefinition {
            url: Locations::canonical(&f.path(path)).unwrap(),
            credential: None,
            grants: Grants::default(),
        };
        Change::Put(CatalogEntry::new(
            "",
            path,
            Definition::Location(definition),
        ))
    };
    let changes = vec![external("allowed"), external("allowed/data")];
    let state = CatalogState::bootstrap().unwrap();
    let (state, _) = state.apply(1, 0, changes).unwrap();
    f.warehouse.stores().adopt(&state);
    let root = Url::parse("file:///").unwrap();
    let leads = |from: &str, to: &str| {
        let to = ObjectPath::from(f.path(to).trim_start_matches('/'));
        let checked = locations.led_to_by(&folder(from)).check_object(&root, &to);
        checked.map_or_else(|error| error.sqlstate(), |()| "ok")
    };
    assert_eq!(leads("allowed/data", "allowed/data/a.csv"), "ok");
    assert_eq!(leads("allowed", "allowed/data/a.csv"), "ok");
    assert_eq!(leads("allowed/data", "allowed/b.csv"), "42501");
    assert_eq!(leads("allowed", "secret/s.csv"), "42501");
    // No external location holds it.
    assert_eq!(leads("secret", "allowed/b.csv"), "ok");
    assert_eq!(leads("secret", "warehouse/tables/t/x.parquet"), "42501");
    assert_eq!(
        leads("warehouse/data", "warehouse/tables/t/x.parquet"),
        "42501"
    );
    assert_eq!(
        leads("warehouse/tables/t", "warehouse/tables/t/x.parquet"),
        "ok"
    );
    symlink(f.path("secret/s.csv"), f.path("allowed/link.csv")).unwrap();
    assert_eq!(leads("allowed", "allowed/link.csv"), "42501");
    assert_eq!(leads("secret", "allowed/link.csv"), "ok");
}

#[tokio::test]
async fn urls_are_allowed_by_whole_prefixes() {
    let f = fixture().await;
    let allowed = ["s3://lake/raw".to_owned(), "https://example.com/d/".into()];
    let locations = Locations::new(&f.warehouse, &allowed).unwrap();
    for inside in [
        "s3://lake/raw/x.csv",
        "s3://lake/raw/",
        "https://example.com/d/x.csv",
    ] {
        assert_eq!(locations.resolve(inside).unwrap().as_str(), inside);
    }
    for outside in [
        "s3://lake/rawest/x.csv",
        "s3://lake/raw/../x.csv",
        "s3://lake/raw/%2e%2e/x.csv",
        "s3://other/raw/x.csv",
        "https://example.com/x.csv",
        "http://example.com/d/x.csv",
        "https://example.com.evil.org/d/x.csv",
        "https://example.com:8443/d/x.csv",
        "gs://lake/raw/x.csv",
    ] {
        assert_eq!(state(locations.resolve(outside)), "42501", "{outside}");
    }
    for malformed in [
        "s3://u:p@lake/raw/x",
        "s3://lake/raw/..%2fx",
        "https://example.com/d/x?q=1",
    ] {
        assert_eq!(state(locations.resolve(malformed)), "22023", "{malformed}");
    }
    let root = Url::parse("s3://lake/").unwrap();
    let check = |path: &str| {
        locations
            .check_object(&root, &ObjectPath::from(path))
            .is_ok()
    };
    assert!(check("raw/a b/%41.parquet") && !check("secret/a.parquet"));
}
