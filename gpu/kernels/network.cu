// What dense networks do with single numbers: activations and their slopes. The products are those of product.cu,
// the first layer's those of glm.cu, and so are losses and sums over rows.
//
// Roofline: a number is read and written once, so both kernels are bound by the device's memory.

typedef unsigned int u32;
typedef unsigned long long u64;

#include "elementary.cuh"

// The activations of gpu/src/product.rs by number.
#define IDENTITY 0
#define RELU 1
#define LOGISTIC 2

// z (n_outputs, n_rows) <- activation(z + intercept of its output), where there are intercepts.
extern "C" __global__ void activate(u32 n_rows, const double *intercepts, u32 intercept_step,
                                    u32 activation, double *z)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n_rows) return;
    u64 place = (u64)blockIdx.y * n_rows + row;
    double sum = z[place];
    if (intercepts) sum += intercepts[(u64)blockIdx.y * intercept_step];
    if (activation == RELU) {
        // Written so that NaN is kept.
        sum = sum <= 0.0 ? 0.0 : sum;
    } else if (activation == LOGISTIC) {
        double t = exponential(-fabs(sum));
        sum = (sum < 0.0 ? t : 1.0) / (1.0 + t);
    } else if (activation != IDENTITY) {
        double t = exponential(-2.0 * fabs(sum));
        double size = (1.0 - t) / (1.0 + t);
        sum = sum < 0.0 ? -size : size;
    }
    z[place] = sum;
}

// residuals <- residuals * the slope of the activation, which its value tells; both (n_outputs, n_rows).
extern "C" __global__ void descend(u32 n_rows, u32 activation, const double *values,
                                   double *residuals)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= n_rows || activation == IDENTITY) return;
    u64 place = (u64)blockIdx.y * n_rows + row;
    double a = values[place];
    if (activation == RELU) {
        residuals[place] = a <= 0.0 ? 0.0 : residuals[place];
    } else if (activation == LOGISTIC) {
        residuals[place] *= a * (1.0 - a);
    } else {
        residuals[place] *= 1.0 - a * a;
    }
}
