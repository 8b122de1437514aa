//! Standard errors of a linear model's coefficients.
//!
//! In: the Hessian of the objective at its minimum; out: [`Uncertainty`]. The covariance is the
//! inverse Hessian times the variance of the noise; with l2 costs that is the usual approximation.

use super::layout::Layout;
use super::model::{LinearModel, Uncertainty};
use super::symmetric::Factor;
use crate::error::{Error, Result};

/// The uncertainty of a model with one output, of the Hessian of its parameters.
pub(super) fn uncertainty(
    hessian: &[f64],
    variance: f64,
    degrees: Option<f64>,
    layout: &Layout,
    model: &LinearModel,
) -> Result<Uncertainty> {
    let n = layout.n_parameters();
    let factor = Factor::new(hessian, n);
    if let Some(dropped) = factor.first_dropped() {
        return Err(dependent(dropped, layout, model));
    }
    let covariance = factor.inverse();
    let lengths = layout.lengths();
    let mut errors = vec![0.0; model.n_cols() + 1];
    for (i, &column) in layout.free.iter().enumerate() {
        errors[column] = lengths[i] * (variance * covariance[i * n + i]).sqrt();
    }
    if !layout.fit_intercept {
        return Ok(Uncertainty {
            errors,
            error_at_means: 0.0,
            degrees,
        });
    }
    // The intercept of raw features is b − Σ β·shift, a combination of all parameters.
    let shift = |column: &usize| layout.frame.shift.get(*column).copied().unwrap_or(0.0);
    let mut combination: Vec<f64> = layout
        .free
        .iter()
        .zip(&lengths)
        .map(|(column, length)| -shift(column) * length)
        .collect();
    combination.push(1.0);
    let row = |i: usize| super::objective::dot(&covariance[i * n..][..n], &combination);
    let own: f64 = (0..n).map(|i| combination[i] * row(i)).sum();
    errors[model.n_cols()] = (variance * own).sqrt();
    let error_at_means = (variance * covariance[n * n - 1]).sqrt();
    Ok(Uncertainty {
        errors,
        error_at_means,
        degrees,
    })
}

/// Says which feature is a combination of others.
fn dependent(parameter: usize, layout: &Layout, model: &LinearModel) -> Error {
    let name = match layout
        .free
        .get(parameter)
        .map(|&column| &model.terms[column])
    {
        None => "the intercept".to_owned(),
        Some(term) => match &term.category {
            None => format!("feature \"{}\"", term.feature),
            Some(None) => format!("NULL of feature \"{}\"", term.feature),
            Some(Some(category)) => {
                format!("category \"{category}\" of feature \"{}\"", term.feature)
            }
        },
    };
    Error::ConflictingOptions {
        message: format!(
            "option \"calculate_p_values\" needs independent features, but {name} is a linear combination of others"
        ),
        hint: "Leave that feature out, or set calculate_p_values = FALSE.".to_owned(),
    }
}
