//! Linear models: one file an estimator, and the solvers that they share.
//!
//! Code map: `layout` says which columns a design has; `products` and `steps` are the two passes over the rows;
//! `objective` is what solvers minimise; `symmetric`, `coordinate_descent`, `newton`, `lbfgs` and
//! `gradient_descent` are the solvers; `model` is what they learn, `uncertainty` and `distributions`
//! say how sure it is, `inspect` and `attributions` show it.

mod attributions;
mod coordinate_descent;
mod distributions;
mod gradient_descent;
mod inspect;
mod layout;
mod lbfgs;
mod linear_reg;
mod logistic_reg;
mod model;
mod newton;
mod objective;
mod products;
mod steps;
mod symmetric;
#[cfg(test)]
mod tests;
mod uncertainty;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::estimator::Estimator;
use crate::features::TargetEncoding;
use crate::model::Model;
use crate::options::{Hyperparameter, Kind, Options};
use crate::run::TrainingRun;
use crate::training_set::TrainingSet;
use layout::Layout;
use model::{LinearModel, Link};
use objective::Outcome;

/// The family's estimators.
pub(crate) static ESTIMATORS: &[&dyn Estimator] =
    &[&linear_reg::LinearReg, &logistic_reg::LogisticReg];

/// What solves for the coefficients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strategy {
    Auto,
    BatchGradientDescent,
    NormalEquation,
    Newton,
    Lbfgs,
    CoordinateDescent,
}

impl Strategy {
    fn of(options: &Options) -> Strategy {
        match options.text("optimize_strategy") {
            Some("BATCH_GRADIENT_DESCENT") => Strategy::BatchGradientDescent,
            Some("NORMAL_EQUATION") => Strategy::NormalEquation,
            Some("NEWTON") => Strategy::Newton,
            Some("LBFGS") => Strategy::Lbfgs,
            Some("COORDINATE_DESCENT") => Strategy::CoordinateDescent,
            _ => Strategy::Auto,
        }
    }
}

const fn optimize_strategy(choices: &'static [&'static str]) -> Hyperparameter {
    Hyperparameter {
        name: "optimize_strategy",
        aliases: &["solver"],
        kind: Kind::Choice(choices),
        default: "AUTO_STRATEGY",
        doc: "What solves for the coefficients; AUTO_STRATEGY chooses by size and penalties, and runs to its own tolerance.",
    }
}

const fn positive(
    name: &'static str,
    aliases: &'static [&'static str],
    default: &'static str,
    doc: &'static str,
) -> Hyperparameter {
    let kind = Kind::Float {
        min: 0.0,
        min_inclusive: false,
        max: f64::MAX,
    };
    Hyperparameter {
        name,
        aliases,
        kind,
        default,
        doc,
    }
}

const fn penalty(
    name: &'static str,
    aliases: &'static [&'static str],
    doc: &'static str,
) -> Hyperparameter {
    let kind = Kind::Float {
        min: 0.0,
        min_inclusive: true,
        max: f64::MAX,
    };
    Hyperparameter {
        name,
        aliases,
        kind,
        default: "0",
        doc,
    }
}

const fn flag(
    name: &'static str,
    aliases: &'static [&'static str],
    default: &'static str,
    doc: &'static str,
) -> Hyperparameter {
    Hyperparameter {
        name,
        aliases,
        kind: Kind::Bool,
        default,
        doc,
    }
}

/// The hyperparameters that both estimators have after `optimize_strategy`, `l1_reg` and `l2_reg`.
const SHARED: [Hyperparameter; 9] = [
    Hyperparameter {
        name: "max_iterations",
        aliases: &["max_iter"],
        kind: Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        default: "20",
        doc: "Iterations at most; binds solvers other than gradient descent only when written.",
    },
    Hyperparameter {
        name: "learn_rate_strategy",
        aliases: &[],
        kind: Kind::Choice(&["LINE_SEARCH", "CONSTANT"]),
        default: "LINE_SEARCH",
        doc: "Whether gradient descent searches its step or always makes the same.",
    },
    positive(
        "learn_rate",
        &["learning_rate"],
        "0.1",
        "The step of gradient descent with CONSTANT, on standardised features.",
    ),
    positive(
        "ls_init_learn_rate",
        &[],
        "0.1",
        "The first step that LINE_SEARCH tries.",
    ),
    flag(
        "early_stop",
        &["early_stopping"],
        "TRUE",
        "Whether training ends after an iteration that lowers the objective by a smaller share than min_rel_progress; binds solvers other than gradient descent only when written.",
    ),
    positive("min_rel_progress", &["tol"], "0.01", "See early_stop."),
    flag(
        "calculate_p_values",
        &[],
        "FALSE",
        "Whether standard errors and p-values are computed; needs category_encoding_method = 'DUMMY_ENCODING' and l1_reg = 0.",
    ),
    flag(
        "fit_intercept",
        &[],
        "TRUE",
        "Whether there is an intercept.",
    ),
    Hyperparameter {
        name: "category_encoding_method",
        aliases: &[],
        kind: Kind::Choice(&["ONE_HOT_ENCODING", "DUMMY_ENCODING"]),
        default: "ONE_HOT_ENCODING",
        doc: "Whether every category has a coefficient, or all but the most frequent.",
    },
];

/// Which options go together.
fn check(options: &Options) -> Result<()> {
    let conflict = |message: &str, hint: &str| {
        Err(Error::ConflictingOptions {
            message: message.to_owned(),
            hint: hint.to_owned(),
        })
    };
    let is_constant = options.text("learn_rate_strategy") == Some("CONSTANT");
    if options.is_written("learn_rate") && !is_constant {
        return conflict(
            "option \"learn_rate\" needs learn_rate_strategy 'CONSTANT'",
            "Set learn_rate_strategy = 'CONSTANT', or set ls_init_learn_rate instead.",
        );
    }
    if options.is_written("ls_init_learn_rate") && is_constant {
        return conflict(
            "option \"ls_init_learn_rate\" does not go with learn_rate_strategy 'CONSTANT'",
            "Set learn_rate instead, or learn_rate_strategy = 'LINE_SEARCH'.",
        );
    }
    let has_l1 = options.f64("l1_reg") > 0.0;
    if has_l1 && Strategy::of(options) == Strategy::NormalEquation {
        return conflict(
            "option \"l1_reg\" does not go with optimize_strategy 'NORMAL_EQUATION'",
            "Set l1_reg = 0, or optimize_strategy = 'COORDINATE_DESCENT'.",
        );
    }
    if !options.bool("calculate_p_values") {
        return Ok(());
    }
    if options.text("category_encoding_method") != Some("DUMMY_ENCODING") {
        return conflict(
            "option \"calculate_p_values\" needs category_encoding_method 'DUMMY_ENCODING'",
            "Add category_encoding_method = 'DUMMY_ENCODING'.",
        );
    }
    if has_l1 {
        return conflict(
            "option \"calculate_p_values\" does not go with \"l1_reg\"",
            "Set l1_reg = 0; l2_reg is allowed.",
        );
    }
    Ok(())
}

/// A solver that holds a matrix of the parameters refuses more of them than memory should hold.
fn check_width(strategy: &str, found: usize, most: usize) -> Result<()> {
    if found <= most {
        return Ok(());
    }
    Err(Error::ConflictingOptions {
        message: format!(
            "{strategy} allows at most {most} coefficients, but the encoded features have {found}"
        ),
        hint:
            "Leave optimize_strategy out or set it to 'LBFGS', and set calculate_p_values = FALSE."
                .to_owned(),
    })
}

/// The label's encoding, which every supervised training has.
fn target(samples: &dyn TrainingSet) -> Result<&TargetEncoding> {
    samples.target().ok_or_else(|| Error::Internal {
        what: "a supervised estimator was given samples without a label".to_owned(),
    })
}

/// Where a warm start begins; a model of another kind, or of other features alone, is told in a warning.
fn warm_start(
    run: &TrainingRun,
    link: Link,
    layout: &Layout,
    samples: &dyn TrainingSet,
) -> Option<Vec<f64>> {
    let previous: &Arc<dyn Model> = run.warm_start.as_ref()?;
    let model = previous.as_any().downcast_ref::<LinearModel>();
    let model = model.filter(|model| model.has_link(link));
    let parameters = model
        .and_then(|model| model.warm_parameters(link, layout, samples.encoder(), samples.target()));
    if parameters.is_none() {
        let why = match model {
            None => "is of another kind",
            Some(_) => "has no feature in common with the training query",
        };
        let message = format!("the last version {why}, so that training started anew");
        run.warn("no_warm_start", message, None);
    }
    parameters
}

/// Warns when a solver ended before its minimum.
fn warn_unless_converged(run: &TrainingRun, outcome: Outcome, limit: usize) {
    if outcome == Outcome::Exhausted {
        let message = format!("training did not converge within {limit} iterations");
        let hint = "Raise max_iterations, raise l2_reg, or leave optimize_strategy out.";
        run.warn("no_convergence", message, Some(hint));
    }
}
