//! Products of the Hessian of a generalised linear model with a direction: predictors at the coefficients and along
//! the direction, then both bent to what the columns are summed with.

use super::glm::{add_sums, check_blocks, number, predict};
use super::layout::{self, Needs, count, each};
use super::residents::Role;
use super::session::{Argument, Failure, Lane, Session};
use crate::device::{Design, Loss};

/// See [`crate::Device::hessian_product`]; `vectors` are the coefficients and the direction.
pub(super) fn hessian_product(
    session: &Session,
    design: &Design<'_>,
    weights: Option<&[f64]>,
    vectors: [&[f64]; 2],
    n_outputs: usize,
    loss: Loss,
) -> Result<Vec<f64>, Failure> {
    check_blocks(design, n_outputs)?;
    let n_values = vectors[0].len();
    let mut product = vec![0.0; n_values];
    if n_outputs == 0 {
        return Ok(product);
    }
    let lane = Lane::First;
    let coefficients = session.upload(lane, vectors[0])?;
    let direction = session.upload(lane, vectors[1])?;
    let sums = session.zeros(lane, n_values)?;
    let needs = Needs {
        row_bytes: 8 * (1 + 2 * n_outputs),
        chunk_bytes: 8 * n_values,
    };
    layout::for_each_segment(session, design, needs, |segment| {
        let (lane, n) = (segment.lane, segment.n_rows());
        let weights = weights.map(|weights| segment.vector(session, Role::Weights, weights));
        let weights = weights.transpose()?;
        let z = session.room(lane, n * n_outputs)?;
        let u = session.room(lane, n * n_outputs)?;
        predict(session, segment, &coefficients, n_outputs, [1, n], &z)?;
        predict(session, segment, &direction, n_outputs, [1, n], &u)?;
        let weights = weights.as_deref();
        let arguments = [
            Argument::Count(count(n)?),
            Argument::Count(count(n_outputs)?),
            Argument::Count(number(loss)),
            Argument::Address(weights.map_or(0, |weights| session.raw_address(lane, weights))),
            session.address(lane, &z),
            session.address(lane, &u),
        ];
        session.launch(lane, "bend", each(n, 1), &arguments)?;
        let columns = (segment.design(), design.n_cols() + 1);
        add_sums(session, segment, columns, (&u, n_outputs), &sums)
    })?;
    session.download(lane, &sums, &mut product)?;
    Ok(product)
}
