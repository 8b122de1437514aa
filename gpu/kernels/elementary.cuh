// Exponential and logarithm: the same sequence of rounded operations as gpu/src/cpu/elementary.rs, hence
// the same bits. See there for the method, its errors and its sources.

#define ROUNDER 6755399441055744.0
#define LOG2_E 1.44269504088896340736
#define LN_2_HIGH 6.93147180369123816490e-1
#define LN_2_LOW 1.90821492927058770002e-10
#define SQRT_HALF_BITS 0x3FE6A09E667F3BCDull

__device__ __forceinline__ double exponential(double x)
{
    x = x < -708.0 ? -708.0 : (x > 709.0 ? 709.0 : x);
    double rounded = fma(x, LOG2_E, ROUNDER);
    double n = rounded - ROUNDER;
    double r = fma(n, -LN_2_LOW, fma(n, -LN_2_HIGH, x));
    double sum = 1.0 / 6227020800.0;
    sum = fma(r, sum, 1.0 / 479001600.0);
    sum = fma(r, sum, 1.0 / 39916800.0);
    sum = fma(r, sum, 1.0 / 3628800.0);
    sum = fma(r, sum, 1.0 / 362880.0);
    sum = fma(r, sum, 1.0 / 40320.0);
    sum = fma(r, sum, 1.0 / 5040.0);
    sum = fma(r, sum, 1.0 / 720.0);
    sum = fma(r, sum, 1.0 / 120.0);
    sum = fma(r, sum, 1.0 / 24.0);
    sum = fma(r, sum, 1.0 / 6.0);
    sum = fma(r, sum, 0.5);
    sum = fma(r, sum, 1.0);
    u64 bits = ((u64)__double_as_longlong(rounded) << 52) + (1023ull << 52);
    return fma(r, sum, 1.0) * __longlong_as_double((long long)bits);
}

// log(1 + f) + exponent * ln 2 for 1 + f in [sqrt(1/2), sqrt(2)].
__device__ __forceinline__ double log_near_one(double f, double exponent)
{
    double s = f / (2.0 + f);
    double z = s * s;
    double sum = 1.479819860511658591e-1;
    sum = fma(z, sum, 1.531383769920937332e-1);
    sum = fma(z, sum, 1.818357216161805012e-1);
    sum = fma(z, sum, 2.222219843214978396e-1);
    sum = fma(z, sum, 2.857142874366239149e-1);
    sum = fma(z, sum, 3.999999999940941908e-1);
    sum = fma(z, sum, 6.666666666666735130e-1);
    double half_square = 0.5 * f * f;
    double tail = fma(s, fma(z, sum, half_square), exponent * LN_2_LOW);
    return fma(exponent, LN_2_HIGH, f - (half_square - tail));
}

// log(1 + t) for t in [0, 1].
__device__ __forceinline__ double logarithm_1p(double t)
{
    bool halved = t > 1.41421356237309504880 - 1.0;
    return log_near_one(halved ? 0.5 * (t - 1.0) : t, halved ? 1.0 : 0.0);
}

// log x for finite x >= 1.
__device__ __forceinline__ double logarithm(double x)
{
    u64 bits = (u64)__double_as_longlong(x);
    u64 exponent_bits = (bits - SQRT_HALF_BITS) >> 52;
    double mantissa = __longlong_as_double((long long)(bits - (exponent_bits << 52)));
    u64 rounder = (u64)__double_as_longlong(ROUNDER);
    double exponent = __longlong_as_double((long long)(exponent_bits + rounder)) - ROUNDER;
    return log_near_one(mantissa - 1.0, exponent);
}
