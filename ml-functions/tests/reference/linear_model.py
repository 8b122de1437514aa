"""Writes linear_model.json and p_values.json: samples, and what scikit-learn, statsmodels and scipy make of them.

Run: python linear_model.py   (scikit-learn, statsmodels)
Coefficients stand in the order of the design: a, b, c, then g = "blue", "green", "red" and NULL; the
one that dummy encoding drops is 0.
"""

import json
import pathlib

import numpy as np
import scipy
import scipy.stats
import sklearn
import statsmodels
import statsmodels.api as sm
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge

CATEGORIES = ["blue", "green", "red", None]
N = 150


def samples():
    random = np.random.default_rng(7)
    a = (random.normal(1e4, 200, N)).round(2)
    b = (random.normal(0, 0.01, N)).round(5)
    c = (0.004 * a + random.normal(0, 0.3, N)).round(3)
    g = random.choice(4, N, p=[0.2, 0.4, 0.3, 0.1])
    effect = np.array([3.0, -1.0, 0.5, 2.0])[g]
    y = (0.02 * a + 150 * b - 2 * c + effect + random.normal(0, 1.5, N)).round(3)
    z = (a - 1e4) / 200 + 80 * b + 0.5 * effect
    two = (z + random.logistic(0, 1, N) > 0.3).astype(int)
    three = np.argmax([z, 0.5 - 0.5 * z, np.full(N, 0.2)] + random.gumbel(0, 1, (3, N)), axis=0)
    w = random.uniform(0.2, 3, N).round(2)
    return a, b, c, g, y, two, three, w


a, b, c, g, y, two, three, w = samples()
ONE_HOT = np.column_stack([a, b, c] + [g == k for k in range(4)]).astype(float)
KEPT = [0, 1, 2] + [3 + k for k in range(4) if k != np.bincount(g).argmax()]
DUMMY = ONE_HOT[:, KEPT]
LABELS = {"y": y, "two": two, "three": three}
cases = []


def case(name, estimator, label, fitted, options=None, weights=False, dummy=False, **extra):
    coefficients = np.atleast_2d(fitted.coef_)
    if dummy:
        whole = np.zeros((len(coefficients), ONE_HOT.shape[1]))
        whole[:, KEPT] = coefficients
        coefficients = whole
    options = dict(options or {})
    if dummy:
        options["category_encoding_method"] = "DUMMY_ENCODING"
    cases.append(
        dict(
            name=name,
            estimator=estimator,
            label=label,
            options=options,
            weights=weights,
            coefficients=coefficients.tolist(),
            intercepts=np.atleast_1d(fitted.intercept_).tolist(),
            **extra,
        )
    )


def linear():
    for weights in [False, True]:
        sample_weight = w if weights else None
        fit = lambda model, x: model.fit(x, y, sample_weight=sample_weight)
        suffix = ", weighted" if weights else ""
        case("least squares" + suffix, "linear_reg", "y", fit(LinearRegression(tol=1e-12), ONE_HOT), weights=weights)
        ols = fit(LinearRegression(tol=1e-12), DUMMY)
        exact = sm.WLS(y, sm.add_constant(DUMMY, prepend=True), weights=sample_weight if weights else 1.0).fit()
        case(
            "dummy encoding" + suffix, "linear_reg", "y", ols, {"calculate_p_values": True}, weights, True,
            standard_errors=exact.bse.tolist(), p_values=exact.pvalues.tolist(),
        )
        case("ridge" + suffix, "linear_reg", "y", fit(Ridge(alpha=2.5), ONE_HOT), {"l2_reg": 2.5}, weights)
        lasso = fit(Lasso(alpha=0.05, tol=1e-14, max_iter=10_000_000), ONE_HOT)
        # scikit-learn rescales weights to sum to n.
        total = w.sum() if weights else N
        case("lasso" + suffix, "linear_reg", "y", lasso, {"l1_reg": 0.05 * total}, weights)
        elastic = fit(ElasticNet(alpha=0.02, l1_ratio=0.3, tol=1e-14, max_iter=10_000_000), ONE_HOT)
        options = {"l1_reg": 0.02 * 0.3 * total, "l2_reg": 0.02 * 0.7 * total}
        case("elastic net" + suffix, "linear_reg", "y", elastic, options, weights)
    through_origin = LinearRegression(fit_intercept=False, tol=1e-12).fit(DUMMY, y)
    case("no intercept", "linear_reg", "y", through_origin, {"fit_intercept": False}, dummy=True)
    ridge = Ridge(alpha=1.0, fit_intercept=False).fit(ONE_HOT, y)
    case("ridge, no intercept", "linear_reg", "y", ridge, {"fit_intercept": False, "l2_reg": 1.0})


class Raw:
    """Coefficients fitted on standardised numbers, in the units of the raw ones."""

    def __init__(self, fitted, shift, scale):
        self.coef_ = fitted.coef_ / scale
        self.intercept_ = fitted.intercept_ - self.coef_ @ shift


def logistic():
    for label in ["two", "three"]:
        for weights in [False, True]:
            sample_weight = w if weights else None
            suffix = f", {label} classes" + (", weighted" if weights else "")
            # Solvers need standardised columns to converge; without penalties that changes nothing.
            shift, scale = DUMMY.mean(axis=0), DUMMY.std(axis=0)
            model = LogisticRegression(C=np.inf, tol=1e-13, max_iter=100_000, solver="lbfgs" if label == "three" else "newton-cholesky")
            fitted = model.fit((DUMMY - shift) / scale, LABELS[label], sample_weight=sample_weight)
            extra = {}
            if label == "two" and not weights:
                exact = sm.Logit(two, sm.add_constant((DUMMY - shift) / scale, prepend=True)).fit(disp=0, tol=1e-14, maxiter=200)
                # Back to raw units: errors of slopes scale, that of the intercept is a combination.
                combination = np.concatenate([[1.0], -shift / scale])
                errors = np.concatenate([[np.sqrt(combination @ exact.cov_params() @ combination)], exact.bse[1:] / scale])
                weights_of = np.concatenate([[Raw(fitted, shift, scale).intercept_[0]], fitted.coef_[0] / scale])
                extra = dict(
                    standard_errors=errors.tolist(),
                    p_values=(2 * scipy.stats.norm.sf(np.abs(weights_of / errors))).tolist(),
                )
            options = {"calculate_p_values": True} if extra else {}
            case("maximum likelihood" + suffix, "logistic_reg", label, Raw(fitted, shift, scale), options, weights, True, **extra)
            # Penalties concern raw units: shift only, and scale all columns by one factor.
            shift = ONE_HOT.mean(axis=0)
            for l2 in [0.3, 20.0]:
                model = LogisticRegression(C=1 / l2, tol=1e-13, max_iter=1_000_000, solver="newton-cholesky")
                fitted = model.fit(ONE_HOT - shift, LABELS[label], sample_weight=sample_weight)
                case(f"l2 {l2}" + suffix, "logistic_reg", label, Raw(fitted, shift, np.ones(len(shift))), {"l2_reg": l2}, weights)


def lasso_logistic():
    """scikit-learn's saga on columns a, b, c that are rounded z-scores, so that it converges."""
    z = np.column_stack([a, b, c])
    z = ((z - z.mean(axis=0)) / z.std(axis=0)).round(3)
    fits = []
    for label in ["two", "three"]:
        for l1, l2 in [(4.0, 0.0), (2.0, 3.0)]:
            model = LogisticRegression(C=1 / (l1 + l2), l1_ratio=l1 / (l1 + l2), solver="saga", tol=1e-12, max_iter=1_000_000, random_state=0)
            fitted = model.fit(z, LABELS[label])
            fits.append(dict(label=label, l1_reg=l1, l2_reg=l2, coefficients=fitted.coef_.tolist(), intercepts=fitted.intercept_.tolist()))
    return dict(z=z.tolist(), fits=fits)


def p_values():
    values = []
    for t in [0.05, 0.1, -0.5, 1.0, 1.7, -2.5, 4.0, 8.0, 20.0, 35.0]:
        values += [(t, degrees, 2 * float(scipy.stats.t.sf(abs(t), degrees))) for degrees in [1.0, 2.0, 5.0, 30.5, 1000.0, 4e6]]
        values.append((t, None, 2 * float(scipy.stats.norm.sf(abs(t)))))
    return values


def write(name, value):
    path = pathlib.Path(__file__).with_name(name)
    path.write_text(json.dumps(value, separators=(",", ":")) + "\n")


linear()
logistic()
write("p_values.json", p_values())
write(
    "linear_model.json",
    dict(
        versions={"scikit-learn": sklearn.__version__, "statsmodels": statsmodels.__version__, "numpy": np.__version__, "scipy": scipy.__version__},
        columns=dict(a=a.tolist(), b=b.tolist(), c=c.tolist(), g=[CATEGORIES[k] for k in g]),
        labels={name: values.tolist() for name, values in LABELS.items()},
        weights=w.tolist(),
        cases=cases,
        lasso_logistic=lasso_logistic(),
    ),
)
