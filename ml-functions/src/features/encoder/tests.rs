//! Tests of fitting and encoding, on small columns whose statistics are known.

use std::sync::Arc;

use datafusion::arrow::array::{
    BooleanArray, Float32Array, Float64Array, Int64Array, NullArray, StringArray,
};
use datafusion::arrow::datatypes::{Field, Schema};

use super::*;
use crate::features::{EncoderFit, EncoderPartial, FitLimits};
use crate::run::Warning;

fn schema(columns: &[(&str, &ArrayRef)]) -> FeatureSchema {
    let feature = |(name, array): &(&str, &ArrayRef)| Feature::of(name, array.data_type()).unwrap();
    FeatureSchema {
        features: columns.iter().map(feature).collect(),
    }
}

/// Fits over chunks of these arrays, merged in order.
fn fit_chunks(name: &str, chunks: &[ArrayRef]) -> Result<(FeatureEncoder, Vec<Warning>)> {
    let fit = EncoderFit::new(schema(&[(name, &chunks[0])]), FitLimits::ENCODED);
    let mut merged: Option<EncoderPartial> = None;
    let mut first_row = 0;
    for chunk in chunks {
        let columns = [chunk.clone()];
        let rows = Rows::all([chunk.len()].into_iter());
        // Any injective function of the row is a hash good enough here.
        let hash = |row: usize| ((first_row + row) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let parts = [&rows, &Rows::default()];
        let partial = fit.chunk(&[&columns], parts, hash).unwrap();
        first_row += chunk.len();
        match &mut merged {
            None => merged = Some(partial),
            Some(into) => fit.merge(into, partial),
        }
    }
    let fitted = fit.finish(merged.unwrap())?;
    Ok((fitted.encoder, fitted.warnings))
}

fn numeric(encoder: &FeatureEncoder) -> &NumericStatistics {
    encoder.numeric().next().unwrap().1
}

#[test]
fn moments_over_chunks() {
    let chunks: Vec<ArrayRef> = vec![
        Arc::new(Float64Array::from(vec![Some(1.0), None, Some(2.0)])),
        Arc::new(Float64Array::from(vec![
            Some(f64::NAN),
            Some(3.0),
            Some(10.0),
        ])),
    ];
    let (encoder, warnings) = fit_chunks("x", &chunks).unwrap();
    let found = numeric(&encoder);
    assert_eq!((found.count, found.null_count), (4, 2));
    assert_eq!(
        (found.min, found.max, found.mean, found.median),
        (1.0, 10.0, 4.0, 2.0)
    );
    assert!((found.stddev - (50.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    let codes: Vec<&str> = warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect();
    assert_eq!(codes, ["nan_as_null", "nulls_filled"]);
    assert_eq!(
        warnings[1].message,
        "2 NULL values in column \"x\" were filled with the mean"
    );
}

#[test]
fn medians_of_many_rows_come_from_a_sample() {
    let chunks: Vec<ArrayRef> = (0..4)
        .map(|chunk| {
            let values = (0..50_000).map(|row| (chunk * 50_000 + row) as f32);
            Arc::new(Float32Array::from_iter_values(values)) as ArrayRef
        })
        .collect();
    let median = numeric(&fit_chunks("x", &chunks).unwrap().0).median;
    assert!((median - 100_000.0).abs() < 4_000.0, "{median}");
}

#[test]
fn infinite_and_huge_values_are_refused() {
    for (value, text) in [
        (f64::INFINITY, "Infinity"),
        (f64::NEG_INFINITY, "-Infinity"),
        (1e300, "1e300"),
    ] {
        let chunk: ArrayRef = Arc::new(Float64Array::from(vec![1.0, value]));
        let error = fit_chunks("x", &[chunk]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("column \"x\" holds the value {text}, which training cannot use")
        );
        assert_eq!(error.sqlstate(), "22003");
    }
}

#[test]
fn constant_and_all_null_columns() {
    let (encoder, warnings) =
        fit_chunks("x", &[Arc::new(Float64Array::from(vec![2.0; 3]))]).unwrap();
    assert_eq!(
        (numeric(&encoder).mean, numeric(&encoder).stddev),
        (2.0, 0.0)
    );
    assert!(warnings.is_empty());
    let (encoder, warnings) = fit_chunks("x", &[Arc::new(NullArray::new(3))]).unwrap();
    assert_eq!(
        (numeric(&encoder).mean, numeric(&encoder).null_count),
        (0.0, 3)
    );
    assert_eq!(warnings[0].code, "all_null_feature");
}

#[test]
fn categories_are_sorted_counted_and_collapsed() {
    let chunks: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![Some("b"), None, Some("a")])),
        Arc::new(StringArray::from(vec![Some("b"), Some("c")])),
    ];
    let (encoder, _) = fit_chunks("x", &chunks).unwrap();
    let found = encoder.categorical().next().unwrap().1;
    assert_eq!(found.categories, ["a", "b", "c"]);
    assert_eq!(
        (found.counts.as_slice(), found.null_count),
        ([1, 2, 1].as_slice(), 1)
    );

    let many = StringArray::from_iter_values((0..32_010).map(|n| format!("{n:05}")));
    let twice = StringArray::from_iter_values((32_000..32_010).map(|n| format!("{n:05}")));
    let (encoder, warnings) = fit_chunks("x", &[Arc::new(many), Arc::new(twice)]).unwrap();
    let found = encoder.categorical().next().unwrap().1;
    assert_eq!(
        (found.categories.len(), found.collapsed_count),
        (32_000, 10)
    );
    assert_eq!(found.categories.last().map(String::as_str), Some("32009"));
    assert_eq!(warnings[0].code, "categories_collapsed");
}

#[test]
fn encodes_nulls_and_unseen_categories() {
    let number: ArrayRef = Arc::new(Float32Array::from(vec![
        Some(1.0),
        None,
        Some(f32::NAN),
        Some(3.0),
    ]));
    let (encoder, _) = fit_chunks("n", std::slice::from_ref(&number)).unwrap();
    let rows = Rows::all([4].into_iter());
    let (dense, codes) = BatchEncoder::new(&encoder, Missing::Mean)
        .encode(&[&[number]], &rows)
        .unwrap();
    assert_eq!(dense, Dense::F32(vec![1.0, 2.0, 2.0, 3.0]));
    assert!(codes.is_empty());

    let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, true]));
    let (encoder, _) = fit_chunks("b", &[flags]).unwrap();
    let new: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]));
    let rows = Rows::all([3].into_iter());
    let (_, codes) = BatchEncoder::new(&encoder, Missing::Mean)
        .encode(&[&[new]], &rows)
        .unwrap();
    assert_eq!(codes, [[0, 2, 1]]);
}

#[test]
fn features_are_found_by_name_and_type() {
    let number: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let features = schema(&[("Age", &number)]).features;
    let of = |name: &str, data_type: DataType| {
        Arc::new(Schema::new(vec![Field::new(name, data_type, true)]))
    };
    let find = |schema| find_features(&features, &schema, "rows to predict");
    assert_eq!(find(of("age", DataType::Float32)).unwrap(), [0]);
    assert_eq!(find(of("Age", DataType::Null)).unwrap(), [0]);
    assert_eq!(
        find(of("Age", DataType::Utf8)).unwrap_err().to_string(),
        "column \"Age\" is of type text but the model expects bigint"
    );
    let error = find(of("ages", DataType::Int64)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column \"Age\" does not exist in the rows to predict"
    );
    assert_eq!(error.hint().as_deref(), Some("Did you mean \"ages\"?"));
}
