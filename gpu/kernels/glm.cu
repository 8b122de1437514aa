// Generalised linear models: predictors, losses with residuals and curvature, and weighted sums of
// columns. Each operation on a row is the CPU's, in the CPU's order, so that a row's numbers are the same bits;
// sums over rows are added in another order.
//
// Roofline: `linear` and `weighted_sums` read each value of the block once an output and do one fused
// multiply-add with it, so both are bound by the device's memory.

#include "design.cuh"
#include "elementary.cuh"

// The losses of gpu/src/device.rs by number.
#define SQUARED 0
#define LOGISTIC 1

template <typename T>
__device__ __forceinline__ void linear(const Design &design, const double *coefficients,
                                       u32 row_stride, u32 output_stride, double *out)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    u32 output = blockIdx.y;
    if (row >= design.n_rows) return;
    const double *slopes = coefficients + (u64)output * (design.n_columns + 1);
    double z = slopes[design.n_columns];
    for (u32 column = 0; column < design.n_dense; ++column)
        z = fma(slopes[column], dense_value<T>(design, column, row), z);
    u32 column = design.n_dense;
    while (column < design.n_columns) {
        // The indicators of one column of codes: at most one of them is set.
        u32 codes = design.code_column[column - design.n_dense];
        u32 first = column;
        while (column < design.n_columns && design.code_column[column - design.n_dense] == codes)
            ++column;
        u32 code = design.codes[(u64)codes * design.n_rows + row];
        z += code < column - first ? slopes[first + code] : 0.0;
    }
    out[(u64)row * row_stride + (u64)output * output_stride] = z;
}

extern "C" __global__ void linear_f32(Design design, const double *coefficients, u32 row_stride,
                                      u32 output_stride, double *out)
{
    linear<float>(design, coefficients, row_stride, output_stride, out);
}

extern "C" __global__ void linear_f64(Design design, const double *coefficients, u32 row_stride,
                                      u32 output_stride, double *out)
{
    linear<double>(design, coefficients, row_stride, output_stride, out);
}

// Turns predictors (n_outputs, n_rows) into residuals d loss / d z, and writes losses (n_rows) and, unless
// null, the curvature of each pair of outputs (0,0), (1,0), (1,1), (2,0) ... as (n_pairs, n_rows).
extern "C" __global__ void link(u32 n_rows, u32 n_outputs, u32 loss, const double *response,
                                const double *weights, double *z, double *losses,
                                double *curvature)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n_rows) return;
    double y = response[row];
    double w = weights ? weights[row] : 1.0;
    if (loss == SQUARED) {
        double error = z[row] - y;
        losses[row] = 0.5 * w * error * error;
        z[row] = w * error;
        if (curvature) curvature[row] = w;
        return;
    }
    if (loss == LOGISTIC) {
        double predictor = z[row];
        double t = exponential(-fabs(predictor));
        double positive = predictor < 0.0 ? 0.0 : predictor;
        losses[row] = w * (fma(y, -predictor, positive) + logarithm_1p(t));
        double p = (predictor < 0.0 ? t : 1.0) / (1.0 + t);
        if (curvature) curvature[row] = w * p * (1.0 - p);
        z[row] = w * (p - y);
        return;
    }
    double greatest = -1.0 / 0.0, total = 0.0, of_class = 0.0;
    for (u32 output = 0; output < n_outputs; ++output) {
        double predictor = z[(u64)output * n_rows + row];
        of_class -= y == (double)output ? predictor : 0.0;
        greatest = predictor <= greatest ? greatest : predictor;
    }
    for (u32 output = 0; output < n_outputs; ++output) {
        double share = exponential(z[(u64)output * n_rows + row] - greatest);
        z[(u64)output * n_rows + row] = share;
        total += share;
    }
    losses[row] = w * (of_class + greatest + logarithm(total));
    double scale = 1.0 / total;
    for (u32 output = 0; output < n_outputs; ++output) z[(u64)output * n_rows + row] *= scale;
    if (curvature) {
        u32 pair = 0;
        for (u32 a = 0; a < n_outputs; ++a) {
            double p = z[(u64)a * n_rows + row];
            for (u32 b = 0; b <= a; ++b, ++pair) {
                double q = z[(u64)b * n_rows + row];
                curvature[(u64)pair * n_rows + row] = w * p * ((a == b ? 1.0 : 0.0) - q);
            }
        }
    }
    for (u32 output = 0; output < n_outputs; ++output) {
        double p = z[(u64)output * n_rows + row];
        z[(u64)output * n_rows + row] = w * (p - (y == (double)output ? 1.0 : 0.0));
    }
}

// u <- weight * (second derivative of the loss in z) * u, for the predictors z (n_outputs, n_rows), which are scratch
// behind it. The curvature of outputs a and b is p_a * ([a = b] - p_b), so its product with u is
// p_a * (u_a - sum of p_b * u_b).
extern "C" __global__ void bend(u32 n_rows, u32 n_outputs, u32 loss, const double *weights,
                                double *z, double *u)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n_rows) return;
    double w = weights ? weights[row] : 1.0;
    if (loss == SQUARED) {
        u[row] *= w;
        return;
    }
    if (loss == LOGISTIC) {
        double predictor = z[row];
        double t = exponential(-fabs(predictor));
        double p = (predictor < 0.0 ? t : 1.0) / (1.0 + t);
        u[row] *= w * p * (1.0 - p);
        return;
    }
    double greatest = -1.0 / 0.0, total = 0.0, mean = 0.0;
    for (u32 output = 0; output < n_outputs; ++output) {
        double predictor = z[(u64)output * n_rows + row];
        greatest = predictor <= greatest ? greatest : predictor;
    }
    for (u32 output = 0; output < n_outputs; ++output) {
        double share = exponential(z[(u64)output * n_rows + row] - greatest);
        z[(u64)output * n_rows + row] = share;
        total += share;
    }
    double scale = 1.0 / total;
    for (u32 output = 0; output < n_outputs; ++output) {
        double p = z[(u64)output * n_rows + row] * scale;
        z[(u64)output * n_rows + row] = p;
        mean = fma(p, u[(u64)output * n_rows + row], mean);
    }
    for (u32 output = 0; output < n_outputs; ++output) {
        u64 place = (u64)output * n_rows + row;
        u[place] = w * z[place] * (u[place] - mean);
    }
}

// out[chunk][vector][column] = sum over the chunk's rows of vector * column, with ones behind the columns;
// vectors are (n_vectors, n_rows). A block has one chunk, column and vector.
template <typename T>
__device__ __forceinline__ void weighted_sums(const Design &design, const double *vectors,
                                              u32 rows_per_chunk, double *out)
{
    __shared__ double scratch[REDUCERS];
    u32 column = blockIdx.y;
    const double *vector = vectors + (u64)blockIdx.z * design.n_rows;
    u32 first = blockIdx.x * rows_per_chunk;
    u32 end = min(first + rows_per_chunk, design.n_rows);
    double sum = 0.0;
    for (u32 row = first + threadIdx.x; row < end; row += REDUCERS) {
        double x = column < design.n_columns ? value<T>(design, column, row) : 1.0;
        sum = fma(vector[row], x, sum);
    }
    sum = block_sum(sum, scratch);
    u64 place = ((u64)blockIdx.x * gridDim.z + blockIdx.z) * gridDim.y + column;
    if (threadIdx.x == 0) out[place] = sum;
}

extern "C" __global__ void weighted_sums_f32(Design design, const double *vectors,
                                             u32 rows_per_chunk, double *out)
{
    weighted_sums<float>(design, vectors, rows_per_chunk, out);
}

extern "C" __global__ void weighted_sums_f64(Design design, const double *vectors,
                                             u32 rows_per_chunk, double *out)
{
    weighted_sums<double>(design, vectors, rows_per_chunk, out);
}
